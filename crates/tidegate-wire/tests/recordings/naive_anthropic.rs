//! Anthropic Messages, read plainly. See `naive`.

use serde_json::{Map, Value, json};

use crate::naive::{
    Choice, Counts, Item, Kind, Reply, Request, Role, call, canonical, is_nothing, join_texts, rest_of,
    result, text_of,
};

pub(crate) fn request(body: &Value) -> Request {
    let mut items = Vec::new();
    read_content(&body["system"], Role::System, &mut items);
    for message in body["messages"].as_array().unwrap() {
        let role = match message["role"].as_str().unwrap() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            _ => Role::System,
        };
        read_content(&message["content"], role, &mut items);
        let rest =
            Item::new(role, Kind::Message, "").with_rest(message.as_object().unwrap(), &["role", "content"]);
        if !rest.marks.is_empty() {
            items.push(rest);
        }
    }
    let mut settings = Map::new();
    let mut tools = Vec::new();
    for (name, value) in body.as_object().unwrap() {
        let value = match name.as_str() {
            "system" | "messages" | "model" | "stream" => continue,
            "tools" => {
                let keyed = value.as_array().unwrap().iter().map(tool);
                Value::Object(keyed.inspect(|(key, _)| tools.push(key.clone())).collect())
            }
            "cache_control" => cache(value),
            _ => value.clone(),
        };
        if !is_nothing(&value) {
            settings.insert(name.clone(), canonical(&value));
        }
    }
    Request { items: join_texts(items), settings: Value::Object(settings), tools }
}

fn tool(tool: &Value) -> (String, Value) {
    let mut tool = tool.clone();
    let fields = tool.as_object_mut().unwrap();
    fields.retain(|_, value| !value.is_null());
    if let Some(marker) = fields.get_mut("cache_control") {
        *marker = cache(marker);
    }
    let is_function = fields.get("type").is_none_or(|kind| kind == "custom");
    if is_function {
        fields.remove("type");
        let name = text_of(&fields.remove("name").unwrap());
        return (name, canonical(&tool));
    }
    (text_of(&tool), canonical(&tool))
}

/// Five minutes are the default.
fn cache(marker: &Value) -> Value {
    if marker["ttl"] == "5m" { json!({ "type": "ephemeral" }) } else { marker.clone() }
}

fn read_content(content: &Value, role: Role, items: &mut Vec<Item>) {
    if let Some(text) = content.as_str() {
        items.push(Item::new(role, Kind::Text, text));
    }
    for block in content.as_array().into_iter().flatten() {
        let mut fields = block.as_object().unwrap().clone();
        if let Some(marker) = fields.get_mut("cache_control") {
            *marker = cache(marker);
        }
        if fields.get("is_error") == Some(&json!(false)) {
            fields.remove("is_error");
        }
        let item = |kind, what: String, known: &[&str]| {
            Item::new(role, kind, what).with_rest(&fields, &[&["type"], known].concat())
        };
        items.push(match block["type"].as_str().unwrap() {
            "text" => item(Kind::Text, text_of(&block["text"]), &["text"]),
            "thinking" => item(Kind::Reasoning, text_of(&block["thinking"]), &["thinking"]),
            "redacted_thinking" => item(Kind::Redacted, text_of(&block["data"]), &["data"]),
            "image" | "document" => item(Kind::Media, text_of(&block["source"]), &["source"]),
            "tool_use" => {
                let input = call(&block["id"], &block["name"], &text_of(&block["input"]));
                item(Kind::Call, input, &["id", "name", "input"])
            }
            "tool_result" => {
                let mut inner = Vec::new();
                read_content(&block["content"], role, &mut inner);
                let known = ["type", "tool_use_id", "content"];
                let id = text_of(&block["tool_use_id"]);
                items.extend(result(&id, inner, &|item| item.with_rest(&fields, &known)));
                continue;
            }
            kind => Item::new(role, Kind::Native, format!("{kind} {}", canonical(block))),
        });
    }
}

pub(crate) fn reply(body: &Value) -> Reply {
    let mut items = Vec::new();
    read_content(&body["content"], Role::Assistant, &mut items);
    let choice = Choice {
        items: join_texts(items),
        finish: body["stop_reason"].as_str().unwrap_or_default().to_owned(),
        rest: rest_of(
            body,
            &[
                "id",
                "type",
                "role",
                "model",
                "content",
                "stop_reason",
                "usage",
                "container",
                "context_management",
            ],
        ),
        ..Choice::default()
    };
    let rest = ["container", "context_management"].iter().filter(|name| !is_nothing(&body[**name]));
    Reply {
        choices: vec![choice],
        usage: counts(&body["usage"]),
        rest: rest.map(|name| ((*name).to_owned(), text_of(&body[*name]))).collect(),
    }
}

fn counts(usage: &Value) -> Counts {
    let count = |name: &str| usage[name].as_u64().unwrap_or(0);
    let (cached, written) = (count("cache_read_input_tokens"), count("cache_creation_input_tokens"));
    Counts {
        input: count("input_tokens") + cached + written,
        output: count("output_tokens"),
        cached,
        written,
        reasoning: usage["output_tokens_details"]["thinking_tokens"].as_u64().unwrap_or(0),
        ..Counts::default()
    }
}

/// The events of a stream as the whole message.
pub(crate) fn put_together(frames: &[Value]) -> Value {
    let mut whole = json!({});
    let mut blocks: Vec<Value> = Vec::new();
    let mut inputs: Vec<String> = Vec::new();
    for frame in frames {
        let delta = &frame["delta"];
        match frame["type"].as_str().unwrap() {
            "message_start" if whole.get("id").is_none() => whole = frame["message"].clone(),
            "content_block_start" => {
                blocks.push(frame["content_block"].clone());
                inputs.push(String::new());
            }
            "content_block_delta" => {
                let block = blocks.last_mut().unwrap();
                for (name, value) in delta.as_object().unwrap() {
                    match name.as_str() {
                        "type" => {}
                        "partial_json" => *inputs.last_mut().unwrap() += value.as_str().unwrap(),
                        "citation" => {
                            let mut list = block["citations"].as_array().cloned().unwrap_or_default();
                            list.push(value.clone());
                            block["citations"] = list.into();
                        }
                        _ => {
                            let before = block[name].as_str().unwrap_or_default();
                            block[name] = match value.as_str() {
                                Some(more) => format!("{before}{more}").into(),
                                None => value.clone(),
                            };
                        }
                    }
                }
            }
            "content_block_stop" => {
                let input = inputs.last().unwrap();
                if !input.is_empty() {
                    blocks.last_mut().unwrap()["input"] = serde_json::from_str(input).unwrap();
                }
            }
            "message_delta" => {
                for (name, value) in delta.as_object().into_iter().flatten() {
                    whole[name] = value.clone();
                }
                for (name, value) in frame.as_object().unwrap() {
                    if !["type", "delta", "usage"].contains(&name.as_str()) {
                        whole[name] = value.clone();
                    }
                }
                for (name, value) in frame["usage"].as_object().into_iter().flatten() {
                    if !value.is_null() {
                        whole["usage"][name] = value.clone();
                    }
                }
            }
            _ => {}
        }
    }
    whole["content"] = blocks.into();
    whole
}
