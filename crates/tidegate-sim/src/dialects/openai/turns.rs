//! Reads the messages of a request: roles, parts, and what must follow what.

use serde_json::Value;

use super::error::invalid;
use super::request::{check_name, missing, one_of, wrong_type};
use crate::asked::{Asked, Media, Part, Role, Turn};
use crate::dialects::Refused;
use crate::dialects::fields::{data_url, list, media, media_at, present, text};

pub(crate) fn read_messages(body: &Value, asked: &mut Asked) -> Result<(), Refused> {
    let messages = match present(body, "messages") {
        None => return Err(missing("messages")),
        Some(Value::Array(messages)) => messages,
        Some(other) => return Err(wrong_type("messages", "an array of objects", other)),
    };
    if messages.is_empty() {
        let message = "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array \
                       instead.";
        return Err(invalid(message, Some("messages"), Some("empty_array")));
    }
    // The calls that still wait for their results: id and name.
    let mut waiting: Vec<(String, String)> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let at = format!("messages[{index}]");
        let Some(role) = text(message, "role") else { return Err(missing(&format!("{at}.role"))) };
        if role != "tool" {
            all_answered(&waiting)?;
        }
        match role {
            "system" | "developer" => {
                let parts = content(message, &at, true)?;
                asked.system.extend(parts.into_iter().filter_map(|part| match part {
                    Part::Text { text } => Some(text),
                    _ => None,
                }));
            }
            "user" => {
                let parts = content(message, &at, true)?;
                asked.turns.push(Turn { role: Role::User, parts });
            }
            "assistant" => {
                let (parts, calls) = assistant(message, &at)?;
                waiting = calls;
                asked.turns.push(Turn { role: Role::Assistant, parts });
            }
            "tool" => {
                let part = tool_result(message, &at, &mut waiting)?;
                asked.turns.push(Turn { role: Role::Tool, parts: vec![part] });
            }
            "function" => {}
            other => {
                const ROLES: &[&str] = &["system", "assistant", "user", "function", "tool", "developer"];
                one_of(&format!("{at}.role"), other, ROLES)?;
            }
        }
    }
    all_answered(&waiting)
}

fn all_answered(waiting: &[(String, String)]) -> Result<(), Refused> {
    if waiting.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = waiting.iter().map(|(id, _)| id.as_str()).collect();
    let message = format!(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The \
         following tool_call_ids did not have response messages: {}",
        ids.join(", ")
    );
    Err(invalid(&message, Some("messages"), None))
}

fn tool_result(message: &Value, at: &str, waiting: &mut Vec<(String, String)>) -> Result<Part, Refused> {
    let Some(id) = text(message, "tool_call_id") else {
        return Err(missing(&format!("{at}.tool_call_id")));
    };
    let Some(position) = waiting.iter().position(|(waiting, _)| waiting == id) else {
        let message = "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.";
        return Err(invalid(message, Some(&format!("{at}.role")), None));
    };
    let (call_id, name) = waiting.swap_remove(position);
    let mut said = String::new();
    for part in content(message, at, true)? {
        let Part::Text { text } = part else {
            let message = format!("Invalid '{at}'. Content blocks are expected to be text.");
            return Err(invalid(&message, Some(at), Some("invalid_value")));
        };
        said.push_str(&text);
    }
    Ok(Part::Result { call_id, name, text: said, is_error: false, media: Vec::new() })
}

type Calls = Vec<(String, String)>;

fn assistant(message: &Value, at: &str) -> Result<(Vec<Part>, Calls), Refused> {
    let calls = list(message, "tool_calls");
    let mut parts = Vec::new();
    if let Some(thought) = text(message, "reasoning_content") {
        parts.push(Part::Thinking { text: thought.to_owned(), signed: false });
    }
    let refusal = text(message, "refusal");
    let optional = !calls.is_empty() || refusal.is_some() || present(message, "audio").is_some();
    parts.extend(content(message, at, !optional)?);
    parts.extend(refusal.map(|text| Part::Refusal { text: text.to_owned() }));
    if present(message, "tool_calls").is_some() && calls.is_empty() {
        let message = format!(
            "Invalid '{at}.tool_calls': empty array. Expected an array with minimum length 1, but got an empty array \
             instead."
        );
        return Err(invalid(&message, Some(&format!("{at}.tool_calls")), Some("empty_array")));
    }
    let mut named = Calls::new();
    for (index, call) in calls.iter().enumerate() {
        let at = format!("{at}.tool_calls[{index}]");
        let Some(id) = text(call, "id") else { return Err(missing(&format!("{at}.id"))) };
        if text(call, "type") != Some("function") {
            return Err(missing(&format!("{at}.type")));
        }
        let function = present(call, "function").ok_or_else(|| missing(&format!("{at}.function")))?;
        let name = text(function, "name").ok_or_else(|| missing(&format!("{at}.function.name")))?;
        check_name(name, &format!("{at}.function.name"))?;
        let arguments = match present(function, "arguments") {
            Some(Value::String(text)) => text,
            Some(other) => return Err(wrong_type(&format!("{at}.function.arguments"), "a string", other)),
            None => return Err(missing(&format!("{at}.function.arguments"))),
        };
        parts.push(Part::Call {
            id: id.to_owned(),
            name: name.to_owned(),
            arguments: serde_json::from_str(arguments).unwrap_or_else(|_| Value::String(arguments.clone())),
            signed: false,
        });
        named.push((id.to_owned(), name.to_owned()));
    }
    Ok((parts, named))
}

fn content(message: &Value, at: &str, needed: bool) -> Result<Vec<Part>, Refused> {
    let at = format!("{at}.content");
    match message.get("content") {
        Some(Value::String(text)) => Ok(vec![Part::Text { text: text.clone() }]),
        Some(Value::Array(parts)) => parts
            .iter()
            .enumerate()
            .map(|(index, part)| content_part(part, &format!("{at}[{index}]")))
            .collect(),
        None | Some(Value::Null) if !needed => Ok(Vec::new()),
        None => Err(missing(&at)),
        Some(Value::Null) => {
            let message = format!("Invalid value for 'content': expected a string, got null. ({at})");
            Err(invalid(&message, Some(&at), None))
        }
        Some(other) => Err(wrong_type(&at, "one of a string or array of objects", other)),
    }
}

fn content_part(part: &Value, at: &str) -> Result<Part, Refused> {
    match text(part, "type") {
        Some("text") => {
            let text = text(part, "text").ok_or_else(|| missing(&format!("{at}.text")))?;
            Ok(Part::Text { text: text.to_owned() })
        }
        Some("refusal") => Ok(Part::Refusal { text: text(part, "refusal").unwrap_or_default().to_owned() }),
        Some("image_url") => {
            let url = match present(part, "image_url") {
                Some(Value::Object(image)) => image.get("url").and_then(Value::as_str),
                Some(other) => return Err(wrong_type(&format!("{at}.image_url"), "an object", other)),
                None => None,
            };
            let url = url.ok_or_else(|| missing(&format!("{at}.image_url.url")))?;
            image(url, &format!("{at}.image_url.url")).map(Part::Media)
        }
        Some("input_audio") => {
            let audio = present(part, "input_audio").ok_or_else(|| missing(&format!("{at}.input_audio")))?;
            let format = text(audio, "format").ok_or_else(|| missing(&format!("{at}.input_audio.format")))?;
            one_of(&format!("{at}.input_audio.format"), format, &["wav", "mp3"])?;
            let data = text(audio, "data").ok_or_else(|| missing(&format!("{at}.input_audio.data")))?;
            media("audio", &format!("audio/{format}"), data, None)
                .map(Part::Media)
                .ok_or_else(|| not_base64(at))
        }
        Some("file") => file(part, at).map(Part::Media),
        Some(other) => {
            one_of(&format!("{at}.type"), other, &["text", "image_url", "input_audio", "refusal", "file"])?;
            Err(missing(at))
        }
        None => Err(missing(&format!("{at}.type"))),
    }
}

fn image(url: &str, at: &str) -> Result<Media, Refused> {
    if let Some((media_type, data)) = data_url(url) {
        if !["image/png", "image/jpeg", "image/gif", "image/webp"].contains(&media_type) {
            let message = "You uploaded an unsupported image. Please make sure your image has of one the following \
                           formats: ['png', 'jpeg', 'gif', 'webp'].";
            return Err(invalid(message, Some(at), Some("invalid_image_format")));
        }
        return media("image", media_type, data, None).ok_or_else(|| not_base64(at));
    }
    if url.starts_with("https://") || url.starts_with("http://") {
        return Ok(media_at("image", "", url));
    }
    let message = format!(
        "Invalid '{at}'. Expected a base64-encoded data URL with an image MIME type (e.g. \
         'data:image/png;base64,aW1nIGJ5dGVzIGhlcmU='), but got a value without the 'data:' prefix."
    );
    Err(invalid(&message, Some(at), Some("invalid_value")))
}

fn file(part: &Value, at: &str) -> Result<Media, Refused> {
    let file = present(part, "file").ok_or_else(|| missing(&format!("{at}.file")))?;
    if let Some(id) = text(file, "file_id") {
        return Ok(media_at("document", "", &format!("file:{id}")));
    }
    let at = format!("{at}.file.file_data");
    let data = text(file, "file_data").ok_or_else(|| missing(&at))?;
    let name = text(file, "filename").ok_or_else(|| missing(&at.replace("file_data", "filename")))?;
    let Some((media_type, data)) = data_url(data) else {
        let message = format!(
            "Invalid file data: '{at}'. Expected a base64-encoded data URL with a valid file MIME type (e.g. \
             'data:application/pdf;base64,aW1nIGJ5dGVzIGhlcmU='), but got a value without the 'data:' prefix."
        );
        return Err(invalid(&message, Some(&at), Some("invalid_value")));
    };
    media("document", media_type, data, Some(name)).ok_or_else(|| not_base64(&at))
}

fn not_base64(at: &str) -> Refused {
    invalid(&format!("Invalid '{at}': the data is not valid base64."), Some(at), Some("invalid_value"))
}
