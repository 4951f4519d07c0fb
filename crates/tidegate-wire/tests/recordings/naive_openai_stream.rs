//! The chunks of a streamed chat completion, put together plainly. See `naive`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::naive::is_nothing;

/// The chunks of a stream as the whole answer.
pub(crate) fn put_together(frames: &[Value]) -> Value {
    let mut whole = Map::new();
    let mut choices: BTreeMap<u64, Value> = BTreeMap::new();
    for frame in frames {
        for (name, value) in frame.as_object().unwrap() {
            if name != "choices" && !is_nothing(value) {
                whole.insert(name.clone(), value.clone());
            }
        }
        if let Some(usage) = frame.pointer("/x_groq/usage") {
            whole.insert("usage".into(), usage.clone());
        }
        for choice in frame["choices"].as_array().into_iter().flatten() {
            let index = choice["index"].as_u64().unwrap_or(0);
            let known = choices.entry(index).or_insert_with(|| json!({ "message": {} }));
            for (name, value) in choice.as_object().unwrap() {
                match name.as_str() {
                    "delta" => merge_delta(known["message"].as_object_mut().unwrap(), value),
                    "usage" => {
                        whole.insert("usage".into(), value.clone());
                    }
                    "logprobs" if value["content"].is_array() => {
                        let tokens = value["content"].as_array().unwrap().clone();
                        let list = &mut known["logprobs"]["content"];
                        list.as_array_mut()
                            .map(|list| list.extend(tokens.clone()))
                            .unwrap_or_else(|| *list = tokens.into());
                    }
                    _ if is_nothing(value) => {}
                    _ => known[name] = value.clone(),
                }
            }
        }
    }
    whole.insert("choices".into(), choices.into_values().collect());
    Value::Object(whole)
}

fn merge_delta(message: &mut Map<String, Value>, delta: &Value) {
    for (name, value) in delta.as_object().into_iter().flatten() {
        let there = message.entry(name.clone()).or_insert(Value::Null);
        match (name.as_str(), value) {
            (_, Value::Null) => {}
            ("role", _) => *there = value.clone(),
            ("tool_calls", Value::Array(pieces)) => merge_pieces(there, pieces, "id"),
            ("reasoning_details", Value::Array(pieces)) => merge_pieces(there, pieces, "data"),
            (_, Value::String(more)) => {
                *there = format!("{}{more}", there.as_str().unwrap_or_default()).into();
            }
            ("content", Value::Array(parts)) => {
                if let Some(text) = there.as_str() {
                    *there =
                        if text.is_empty() { json!([]) } else { json!([{ "type": "text", "text": text }]) };
                }
                let list = if there.is_array() {
                    there
                } else {
                    *there = json!([]);
                    there
                };
                list.as_array_mut().unwrap().extend(parts.clone());
            }
            (_, Value::Array(more)) => {
                let mut list = there.as_array().cloned().unwrap_or_default();
                list.extend(more.clone());
                *there = list.into();
            }
            ("function_call" | "audio", Value::Object(_)) => {
                if !there.is_object() {
                    *there = json!({});
                }
                merge_delta(there.as_object_mut().unwrap(), value);
            }
            _ => *there = value.clone(),
        }
    }
}

/// Pieces of calls or of reasoning: those of one index follow one another; a new `id` begins another.
fn merge_pieces(there: &mut Value, pieces: &[Value], whole: &str) {
    if !there.is_array() {
        *there = json!([]);
    }
    let list = there.as_array_mut().unwrap();
    for piece in pieces {
        let is_same = |known: &Value| {
            known["index"] == piece["index"]
                && known["type"].as_str().unwrap_or("function")
                    == piece["type"].as_str().unwrap_or("function")
                && (is_nothing(&piece[whole]) || known[whole] == piece[whole])
        };
        let Some(place) = list.iter().rposition(is_same) else {
            list.push(piece.clone());
            continue;
        };
        for (name, value) in piece.as_object().unwrap() {
            let known = &mut list[place][name];
            match (name.as_str(), value) {
                (_, Value::Null) => {}
                ("function" | "custom", Value::Object(inner)) => {
                    for (name, value) in inner {
                        let before = known[name].as_str().unwrap_or_default();
                        known[name] = if name == "name" && before == value {
                            value.clone()
                        } else {
                            format!("{before}{}", value.as_str().unwrap_or_default()).into()
                        };
                    }
                }
                ("text" | "summary", Value::String(more)) => {
                    *known = format!("{}{more}", known.as_str().unwrap_or_default()).into();
                }
                _ => *known = value.clone(),
            }
        }
    }
}
