//! Gemini's generateContent, read plainly. See `naive`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::naive::{
    Choice, Counts, Item, Kind, Reply, Request, Role, call, canonical, is_nothing, join_texts, rest_of,
    result, standard_base64, text_of,
};

pub(crate) fn request(body: &Value) -> Request {
    let body = &camel(body);
    let mut items = Vec::new();
    read_content(&body["systemInstruction"], Role::System, &mut items);
    for content in list(&body["contents"]) {
        let role = if content["role"] == "model" { Role::Assistant } else { Role::User };
        read_content(content, role, &mut items);
    }
    let mut settings = Map::new();
    let mut tools = Vec::new();
    for (name, value) in body.as_object().unwrap() {
        match name.as_str() {
            "systemInstruction" | "contents" | "model" => {}
            "tools" => {
                let keyed = list(value).into_iter().flat_map(tools_of);
                let keyed = keyed.inspect(|(key, _)| tools.push(key.clone())).collect();
                settings.insert("tools".into(), canonical(&Value::Object(keyed)));
            }
            "generationConfig" => {
                let mut config = value.clone();
                settings_of(config.as_object_mut().unwrap());
                settings.insert(name.clone(), canonical(&config));
            }
            _ => {
                settings.insert(name.clone(), canonical(value));
            }
        }
    }
    settings.retain(|_, value| !is_nothing(value));
    Request { items: join_texts(items), settings: Value::Object(settings), tools }
}

/// Two spellings of one configuration.
fn settings_of(config: &mut Map<String, Value>) {
    config.retain(|_, value| !is_nothing(value));
    if config.get("responseMimeType") == Some(&json!("text/plain")) {
        config.remove("responseMimeType");
    }
    // What is so anyway.
    if config.get("responseModalities") == Some(&json!(["TEXT"])) {
        config.remove("responseModalities");
    }
    if config.get("candidateCount") == Some(&json!(1)) {
        config.remove("candidateCount");
    }
    if let Some(schema) = config.remove("responseSchema") {
        config.insert("responseJsonSchema".into(), small_letters(&schema));
    }
    if config.contains_key("responseJsonSchema") {
        config.insert("responseMimeType".into(), "application/json".into());
    }
}

/// Google's own schemas write the types in capitals, and keywords in two spellings.
fn small_letters(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, value)| {
                    let value = match value.as_str().filter(|_| name == "type") {
                        Some(word) => word.to_ascii_lowercase().into(),
                        None => small_letters(value),
                    };
                    let name = match name.as_str() {
                        "any_of" => "anyOf",
                        "property_ordering" => "propertyOrdering",
                        name => name,
                    };
                    (name.to_owned(), value)
                })
                .collect(),
        ),
        Value::Array(items) => items.iter().map(small_letters).collect(),
        other => other.clone(),
    }
}

fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Null => Vec::new(),
        one => vec![one],
    }
}

fn tools_of(tool: &Value) -> Vec<(String, Value)> {
    let mut keyed = Vec::new();
    for declaration in list(&tool["functionDeclarations"]) {
        let mut fields = declaration.as_object().unwrap().clone();
        fields.retain(|_, value| !value.is_null());
        let name = text_of(&fields.remove("name").unwrap());
        if let Some(schema) = fields.remove("parameters") {
            fields.insert("parametersJsonSchema".into(), small_letters(&schema));
        }
        keyed.push((name, Value::Object(fields)));
    }
    let mut others = tool.as_object().unwrap().clone();
    others.remove("functionDeclarations");
    others.retain(|_, value| !value.is_null());
    if !others.is_empty() {
        keyed.push((canonical(&Value::Object(others.clone())).to_string(), Value::Object(others)));
    }
    keyed
}

fn read_content(content: &Value, role: Role, items: &mut Vec<Item>) {
    if let Some(text) = content.as_str() {
        items.push(Item::new(role, Kind::Text, text));
        return;
    }
    for part in list(&content["parts"]) {
        let fields = part.as_object().unwrap();
        let signature = &part["thoughtSignature"];
        let is_thought = part["thought"] == true;
        let item = |kind, what: String, known: &[&str]| {
            let mut item = Item::new(role, kind, what)
                .with_rest(fields, &[&["thoughtSignature", "thought"], known].concat());
            item.mark("signature", signature);
            item
        };
        let data = ["text", "inlineData", "fileData", "functionCall", "functionResponse"];
        let kind = data.iter().find(|name| fields.get(**name).is_some_and(|value| !value.is_null()));
        let others = fields.keys().filter(|name| !["thought", "thoughtSignature"].contains(&name.as_str()));
        items.push(match kind {
            Some(&"text") if is_thought => item(Kind::Reasoning, text_of(&part["text"]), &["text"]),
            Some(&"text") => item(Kind::Text, text_of(&part["text"]), &["text"]),
            Some(&"functionCall") => {
                let inner = &part["functionCall"];
                let args = if inner["args"].is_null() { "{}".to_owned() } else { text_of(&inner["args"]) };
                let mut item = item(Kind::Call, call(&inner["id"], &inner["name"], &args), &["functionCall"]);
                for (name, value) in rest_of(inner, &["id", "name", "args"]) {
                    item.marks.insert(format!("functionCall.{name}"), value);
                }
                item
            }
            Some(&"functionResponse") => {
                let inner = &part["functionResponse"];
                let (words, is_error) = answer_of(&inner["response"]);
                let mut content = vec![Item::new(role, Kind::Text, words)];
                read_content(inner, role, &mut content);
                items.extend(result(inner["id"].as_str().unwrap_or_default(), content, &|answer| {
                    let mut answer = answer.with_rest(fields, &["functionResponse", "thoughtSignature"]);
                    answer.mark("is_error", &is_error);
                    answer.mark("signature", signature);
                    for (name, value) in rest_of(inner, &["id", "response", "parts"]) {
                        answer.marks.insert(format!("functionResponse.{name}"), value);
                    }
                    answer
                }));
                continue;
            }
            Some(name) => {
                let inner = &part[*name];
                let data = inner["data"].as_str().map(standard_base64).unwrap_or_default();
                let what = data + inner["fileUri"].as_str().unwrap_or_default();
                let mut item = item(Kind::Media, what, &[*name]);
                for (field, value) in rest_of(inner, &["data", "fileUri"]) {
                    item.marks.insert(format!("{name}.{field}"), value);
                }
                item
            }
            None if others.clone().next().is_none() => item(Kind::Text, String::new(), &[]),
            None => {
                let kind = others.cloned().collect::<Vec<_>>().join("+");
                Item::new(role, Kind::Native, format!("{kind} {}", canonical(part)))
            }
        });
    }
}

/// What a function answered, and whether it failed: an `output` or `error` alone is the answer itself.
fn answer_of(response: &Value) -> (String, Value) {
    let fields = response.as_object().cloned().unwrap_or_default();
    let is_error = if is_nothing(&response["error"]) { Value::Null } else { true.into() };
    let alone = fields.iter().next().filter(|(name, value)| {
        fields.len() == 1 && ["output", "error"].contains(&name.as_str()) && value.is_string()
    });
    (alone.map_or_else(|| text_of(response), |(_, value)| text_of(value)), is_error)
}

/// Google takes its fields in two spellings; here all are camelCase.
fn camel(value: &Value) -> Value {
    /// Objects whose keys are somebody's own data.
    const OPAQUE: [&str; 9] = [
        "args",
        "response",
        "parameters",
        "parametersJsonSchema",
        "parameters_json_schema",
        "responseJsonSchema",
        "response_json_schema",
        "labels",
        "responseSchema",
    ];
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, value)| {
                    let value = if OPAQUE.contains(&name.as_str()) { value.clone() } else { camel(value) };
                    let mut words = name.split('_');
                    let mut camel = words.next().unwrap().to_owned();
                    for word in words {
                        camel += &word[..1].to_uppercase();
                        camel += &word[1..];
                    }
                    (camel, value)
                })
                .collect(),
        ),
        Value::Array(items) => items.iter().map(camel).collect(),
        other => other.clone(),
    }
}

pub(crate) fn reply(body: &Value) -> Reply {
    let candidates = body["candidates"].as_array().into_iter().flatten();
    let choices = candidates.map(|candidate| {
        let mut items = Vec::new();
        read_content(&candidate["content"], Role::Assistant, &mut items);
        let tokens = candidate["logprobsResult"]["chosenCandidates"].as_array().into_iter().flatten();
        Choice {
            items: join_texts(items),
            finish: match &candidate["finishReason"] {
                Value::Number(number) => {
                    ["", "STOP", "MAX_TOKENS"][usize::try_from(number.as_u64().unwrap()).unwrap()].to_owned()
                }
                word => word.as_str().unwrap_or_default().to_owned(),
            },
            logprobs: tokens
                .map(|token| (text_of(&token["token"]), text_of(&token["logProbability"])))
                .collect(),
            rest: rest_of(candidate, &["content", "finishReason", "index", "logprobsResult"]),
        }
    });
    let mut rest =
        rest_of(body, &["candidates", "usageMetadata", "modelVersion", "createTime", "responseId"]);
    rest.extend(rest_of(
        &body["usageMetadata"],
        &[
            "promptTokenCount",
            "candidatesTokenCount",
            "totalTokenCount",
            "thoughtsTokenCount",
            "cachedContentTokenCount",
        ],
    ));
    Reply { choices: choices.collect(), usage: counts(&body["usageMetadata"]), rest }
}

fn counts(usage: &Value) -> Counts {
    let count = |name: &str| usage[name].as_u64().unwrap_or(0);
    let audio = |name: &str| {
        let details = usage[name].as_array().into_iter().flatten();
        details
            .filter(|detail| detail["modality"] == "AUDIO")
            .map(|detail| detail["tokenCount"].as_u64().unwrap_or(0))
            .sum()
    };
    Counts {
        input: count("promptTokenCount") + count("toolUsePromptTokenCount"),
        output: count("candidatesTokenCount") + count("thoughtsTokenCount"),
        cached: count("cachedContentTokenCount"),
        reasoning: count("thoughtsTokenCount"),
        audio_in: audio("promptTokensDetails"),
        audio_out: audio("candidatesTokensDetails"),
        ..Counts::default()
    }
}

/// The frames of a stream as the whole answer.
pub(crate) fn put_together(frames: &[Value]) -> Value {
    let mut whole = json!({});
    let mut candidates: BTreeMap<u64, (Value, Vec<Value>)> = BTreeMap::new();
    for frame in frames {
        for (name, value) in frame.as_object().unwrap() {
            let says_counts = name != "usageMetadata" || value.get("promptTokenCount").is_some();
            if name != "candidates" && says_counts {
                whole[name] = value.clone();
            }
        }
        for piece in frame["candidates"].as_array().into_iter().flatten() {
            let index = piece["index"].as_u64().unwrap_or(0);
            let (candidate, parts) = candidates.entry(index).or_insert_with(|| (json!({}), Vec::new()));
            for (name, value) in piece.as_object().unwrap() {
                match name.as_str() {
                    "content" => push_parts(value, parts),
                    "logprobsResult" => {
                        let tokens = value["chosenCandidates"].as_array().into_iter().flatten().cloned();
                        let known = candidate["logprobsResult"]["chosenCandidates"].as_array().cloned();
                        let all: Vec<Value> = known.into_iter().flatten().chain(tokens).collect();
                        candidate["logprobsResult"] = json!({ "chosenCandidates": all });
                    }
                    _ => candidate[name] = value.clone(),
                }
            }
        }
    }
    let candidates = candidates.into_values().map(|(mut candidate, parts)| {
        candidate["content"] = json!({ "role": "model", "parts": parts });
        candidate
    });
    whole["candidates"] = candidates.collect();
    whole
}

fn push_parts(content: &Value, parts: &mut Vec<Value>) {
    for part in content["parts"].as_array().into_iter().flatten() {
        let inner = &part["functionCall"];
        if inner["willContinue"] == true && inner["name"].is_string() {
            let mut begun = part.clone();
            begun["functionCall"] = json!({ "name": inner["name"], "args": {} });
            if let Some(id) = inner.get("id") {
                begun["functionCall"]["id"] = id.clone();
            }
            parts.push(begun);
        } else if let Some(pieces) = inner["partialArgs"].as_array() {
            for piece in pieces {
                put_piece(&mut parts.last_mut().unwrap()["functionCall"]["args"], piece);
            }
        } else if inner.is_null() || inner["name"].is_string() {
            parts.push(part.clone());
        }
    }
}

/// Puts a piece of streamed arguments where its path says.
fn put_piece(arguments: &mut Value, piece: &Value) {
    let path =
        piece["jsonPath"].as_str().unwrap().trim_start_matches("$.").replace('[', ".").replace(']', "");
    let mut place = arguments;
    for step in path.split('.') {
        place = match step.parse::<usize>() {
            Ok(index) => {
                if !place.is_array() {
                    *place = json!([]);
                }
                let items = place.as_array_mut().unwrap();
                items.resize(items.len().max(index + 1), Value::Null);
                &mut items[index]
            }
            Err(_) => &mut place[step],
        };
    }
    let text = piece["stringValue"].as_str();
    *place = match text {
        Some(more) => format!("{}{more}", place.as_str().unwrap_or_default()).into(),
        None => {
            ["numberValue", "boolValue"].iter().find_map(|name| piece.get(*name)).cloned().unwrap_or_default()
        }
    };
}
