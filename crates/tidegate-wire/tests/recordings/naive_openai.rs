//! Chat Completions, read plainly. See `naive`.

use serde_json::{Map, Value, json};

use crate::naive::{
    Choice, Counts, Item, Kind, Reply, Request, Role, call, canonical, is_nothing, join_texts, rest_of,
    result, text_of,
};

pub(crate) fn request(body: &Value) -> Request {
    let mut items = Vec::new();
    let messages = body["messages"].as_array().unwrap();
    for message in messages {
        read_message(message, &mut items);
    }
    let mut settings = Map::new();
    let mut tools = Vec::new();
    for (name, value) in body.as_object().unwrap() {
        let value = match name.as_str() {
            "messages" | "model" | "stream" | "stream_options" => continue,
            "max_tokens" | "max_completion_tokens" => {
                settings.insert("max_tokens".into(), value.clone());
                continue;
            }
            "stop" if value.is_string() => json!([value]),
            "tools" => {
                let keyed =
                    value.as_array().unwrap().iter().map(tool).inspect(|(key, _)| tools.push(key.clone()));
                Value::Object(keyed.collect())
            }
            // Mistral's word.
            "tool_choice" if *value == "any" => json!("required"),
            "response_format" if *value == json!({ "type": "text" }) => continue,
            // What is so anyway.
            "n" if *value == 1 => continue,
            "modalities" if *value == json!(["text"]) => continue,
            "reasoning_effort" if *value == "none" => {
                reasoning(&mut settings).insert("enabled".into(), false.into());
                continue;
            }
            "reasoning_effort" => {
                reasoning(&mut settings).insert("effort".into(), value.clone());
                continue;
            }
            "reasoning" => {
                let mut fields = value.as_object().unwrap().clone();
                if fields.get("effort") == Some(&json!("none")) {
                    fields = Map::from_iter([("enabled".to_owned(), json!(false))]);
                }
                reasoning(&mut settings).extend(fields);
                continue;
            }
            _ => value.clone(),
        };
        if !is_nothing(&value) {
            settings.insert(name.clone(), canonical(&value));
        }
    }
    Request { items: join_texts(items), settings: Value::Object(settings), tools }
}

fn reasoning(settings: &mut Map<String, Value>) -> &mut Map<String, Value> {
    settings.entry("reasoning").or_insert_with(|| json!({})).as_object_mut().unwrap()
}

/// A tool by its name; `parameters: {}` and none are the same.
fn tool(tool: &Value) -> (String, Value) {
    let mut tool = without_default_times(tool);
    let function = &mut tool["function"];
    let key = function["name"].as_str().map(str::to_owned);
    if let Some(function) = function.as_object_mut() {
        function.remove("name");
        function.retain(|_, value| !value.is_null());
        tool.as_object_mut().unwrap().remove("type");
    } else {
        tool.as_object_mut().unwrap().remove("function");
    }
    (key.unwrap_or_else(|| text_of(&tool)), canonical(&tool))
}

/// Markers of places up to which the prompt is cached, for the time that is usual.
fn without_default_times(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let is_default = |name: &str, value: &Value| name == "ttl" && (value == "5m" || value == "30m");
            let kept = fields.iter().filter(|(name, value)| !is_default(name, value));
            Value::Object(kept.map(|(name, value)| (name.clone(), without_default_times(value))).collect())
        }
        Value::Array(items) => items.iter().map(without_default_times).collect(),
        other => other.clone(),
    }
}

fn read_message(message: &Value, items: &mut Vec<Item>) {
    let message = &without_default_times(message);
    let fields = message.as_object().unwrap();
    match message["role"].as_str().unwrap() {
        "assistant" => items.extend(said(message)),
        "tool" | "function" => {
            let mut content = Vec::new();
            read_content(&message["content"], Role::User, &mut content);
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            // The name only repeats the call's.
            let known = ["role", "tool_call_id", "content", "name"];
            items.extend(result(id, content, &|item| item.with_rest(fields, &known)));
        }
        role => {
            let from = items.len();
            let as_role = if role == "user" { Role::User } else { Role::System };
            read_content(&message["content"], as_role, items);
            if role == "developer" {
                for item in &mut items[from..] {
                    item.mark("role", &json!("developer"));
                }
            }
            let rest = Item::new(as_role, Kind::Message, "").with_rest(fields, &["role", "content"]);
            if !rest.marks.is_empty() {
                items.push(rest);
            }
        }
    }
}

fn read_content(content: &Value, role: Role, items: &mut Vec<Item>) {
    if let Some(text) = content.as_str() {
        items.push(Item::new(role, Kind::Text, text));
    }
    for part in content.as_array().into_iter().flatten() {
        if let Some(text) = part.as_str() {
            items.push(Item::new(role, Kind::Text, text));
            continue;
        }
        let fields = part.as_object().unwrap();
        let kind = part["type"].as_str().unwrap();
        let inner = &part[kind];
        let known = ["type", kind];
        let mut item = match kind {
            "text" => Item::new(role, Kind::Text, text_of(inner)),
            "refusal" => Item::new(role, Kind::Refusal, text_of(inner)),
            "thinking" => {
                let texts = inner.as_array().unwrap().iter().map(|chunk| text_of(&chunk["text"]));
                Item::new(role, Kind::Reasoning, texts.collect::<String>())
            }
            "image_url" | "video_url" | "audio_url" | "document_url" => {
                let url = if inner.is_string() { inner } else { &inner["url"] };
                let mut item = Item::new(role, Kind::Media, text_of(url));
                for (name, value) in rest_of(inner, &["url"]) {
                    item.marks.insert(format!("{kind}.{name}"), value);
                }
                item
            }
            "input_audio" => {
                let format = text_of(&inner["format"]);
                Item::new(role, Kind::Media, format!("{format},{}", text_of(&inner["data"])))
            }
            "file" => {
                let mut item =
                    Item::new(role, Kind::Media, text_of(&inner["file_data"]) + &text_of(&inner["file_id"]));
                for (name, value) in rest_of(inner, &["file_data", "file_id"]) {
                    item.marks.insert(format!("file.{name}"), value);
                }
                item
            }
            other => Item::new(role, Kind::Native, format!("{other} {}", canonical(part))),
        };
        if item.kind == Kind::Media {
            item.what = item.what.replace("null", "");
        }
        let is_native = item.kind == Kind::Native;
        items.push(if is_native { item } else { item.with_rest(fields, &known) });
    }
}

/// What the model says in one message.
fn said(message: &Value) -> Vec<Item> {
    let role = Role::Assistant;
    let mut items = Vec::new();
    let details = message["reasoning_details"].as_array().filter(|details| !details.is_empty());
    if let Some(details) = details {
        for detail in details {
            match detail["type"].as_str().unwrap_or_default() {
                "reasoning.encrypted" => {
                    items.push(Item::new(role, Kind::Redacted, text_of(&detail["data"])));
                }
                kind => {
                    let text = detail.get(kind.trim_start_matches("reasoning.")).unwrap_or(&Value::Null);
                    let mut item = Item::new(role, Kind::Reasoning, text.as_str().unwrap_or_default());
                    item.mark("signature", &detail["signature"]);
                    items.push(item);
                }
            }
        }
    } else if let Some(text) = ["reasoning", "reasoning_content"]
        .iter()
        .find_map(|name| message[name].as_str())
        .filter(|text| !text.is_empty())
    {
        items.push(Item::new(role, Kind::Reasoning, text));
    }
    read_content(&message["content"], role, &mut items);
    if let Some(text) = message["refusal"].as_str().filter(|text| !text.is_empty()) {
        items.push(Item::new(role, Kind::Refusal, text));
    }
    for image in message["images"].as_array().into_iter().flatten() {
        items.push(Item::new(role, Kind::Media, text_of(&image["image_url"]["url"])));
    }
    let audio = &message["audio"];
    if !is_nothing(&audio["data"]) || !is_nothing(&audio["id"]) {
        items.push(Item::new(role, Kind::Media, text_of(&audio["data"]) + &text_of(&audio["transcript"])));
    }
    // Some servers write every field that there is, with nothing in it.
    if let Some(legacy) = message["function_call"].as_object().filter(|call| !is_nothing(&call["name"])) {
        items.push(Item::new(
            role,
            Kind::Call,
            call(&Value::Null, &legacy["name"], &text_of(&legacy["arguments"])),
        ));
    }
    for tool in message["tool_calls"].as_array().into_iter().flatten() {
        let kind = tool["type"].as_str().filter(|kind| tool.get(*kind).is_some()).unwrap_or("function");
        let inner = &tool[kind];
        let arguments = inner.get("arguments").or(inner.get("input")).unwrap_or(&Value::Null);
        let arguments = if arguments.is_null() { String::new() } else { text_of(arguments) };
        let mut item = Item::new(role, Kind::Call, call(&tool["id"], &inner["name"], &arguments));
        item.mark("signature", &tool["extra_content"]["google"]["thought_signature"]);
        let mut fields = tool.as_object().unwrap().clone();
        fields.retain(|_, value| value["name"] != "");
        items.push(item.with_rest(&fields, &["id", "type", kind, "index", "extra_content"]));
    }
    let rest = Item::new(role, Kind::Message, "").with_rest(
        message.as_object().unwrap(),
        &[
            "role",
            "content",
            "refusal",
            "tool_calls",
            "function_call",
            "reasoning",
            "reasoning_content",
            "reasoning_details",
            "images",
            "audio",
        ],
    );
    if !rest.marks.is_empty() {
        items.push(rest);
    }
    join_texts(items)
}

pub(crate) fn reply(body: &Value) -> Reply {
    let choices = body["choices"].as_array().into_iter().flatten();
    let choices = choices.map(|choice| {
        let tokens = choice["logprobs"]["content"].as_array().into_iter().flatten();
        Choice {
            items: said(&choice["message"]),
            finish: choice["finish_reason"].as_str().unwrap_or_default().to_owned(),
            logprobs: tokens.map(|token| (text_of(&token["token"]), text_of(&token["logprob"]))).collect(),
            rest: rest_of(choice, &["index", "message", "finish_reason", "logprobs"]),
        }
    });
    Reply {
        choices: choices.collect(),
        usage: counts(&body["usage"]),
        rest: rest_of(body, &["id", "object", "created", "model", "choices", "usage"]),
    }
}

fn counts(usage: &Value) -> Counts {
    let count = |path: &str| {
        usage.pointer(path).and_then(Value::as_f64).map_or(0, |count| format!("{count:.0}").parse().unwrap())
    };
    let first = |paths: &[&str]| paths.iter().map(|path| count(path)).find(|count| *count > 0).unwrap_or(0);
    let reasoning = first(&["/completion_tokens_details/reasoning_tokens", "/reasoning_tokens"]);
    let (input, output) = (count("/prompt_tokens"), count("/completion_tokens"));
    let cached = first(&[
        "/prompt_tokens_details/cached_tokens",
        "/prompt_cache_hit_tokens",
        "/cached_tokens",
        "/num_cached_tokens",
    ]);
    // xAI counts reasoning beside the output; the total tells.
    let beside = if count("/total_tokens") == input + output + reasoning { reasoning } else { 0 };
    Counts {
        input,
        output: output + beside,
        cached,
        // Those that were read were not written again.
        written: first(&["/prompt_tokens_details/cache_write_tokens", "/cache_creation_input_tokens"])
            .min(input - cached),
        reasoning,
        audio_in: count("/prompt_tokens_details/audio_tokens"),
        audio_out: count("/completion_tokens_details/audio_tokens"),
    }
}
