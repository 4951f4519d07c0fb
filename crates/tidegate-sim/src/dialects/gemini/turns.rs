//! Reads the contents of a request: roles, parts, and what must follow what.

use serde_json::Value;

use super::error::invalid;
use super::request::{closed, get, parts, text};
use crate::answer::signature;
use crate::asked::{Asked, Media, Part, Role, Turn};
use crate::dialects::Refused;
use crate::dialects::fields::{media, media_at};
use crate::scenario::behaviour_of;

const PART: &[&str] = &[
    "text",
    "thought",
    "thoughtSignature",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "videoMetadata",
    "partMetadata",
    "mediaResolution",
    "toolCall",
    "toolResponse",
];
/// The two signatures that Google documents for calls which no model made.
const WAIVERS: [&str; 4] = [
    "skip_thought_signature_validator",
    "context_engineering_is_the_way_to_go",
    "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=",
    "Y29udGV4dF9lbmdpbmVlcmluZ19pc190aGVfd2F5X3RvX2dv",
];

pub(crate) fn read_contents(body: &Value, asked: &mut Asked) -> Result<(), Refused> {
    let contents: &[Value] = match get(body, "contents") {
        Some(Value::Array(contents)) => contents,
        Some(content @ Value::Object(_)) => std::slice::from_ref(content),
        _ => &[],
    };
    if contents.is_empty() {
        return Err(invalid("* GenerateContentRequest.contents: contents is not specified\n"));
    }
    // The names and ids of the calls that still wait for their responses.
    let mut waiting: Vec<(String, String)> = Vec::new();
    let mut unsigned: Vec<(usize, usize, String)> = Vec::new();
    for (index, content) in contents.iter().enumerate() {
        let at = format!("contents[{index}]");
        closed(content, &["role", "parts"], &at)?;
        let role = match text(content, "role") {
            None | Some("user" | "function") => Role::User,
            Some("model") => Role::Assistant,
            Some(_) => return Err(invalid("Please use a valid role: user, model.")),
        };
        let written = parts(content);
        if written.is_empty() {
            return Err(invalid(&format!(
                "* GenerateContentRequest.contents[{index}].parts: contents.parts must not be empty.\n"
            )));
        }
        let responds = written.iter().any(|part| get(part, "functionResponse").is_some());
        if !waiting.is_empty() && !responds {
            return Err(unequal());
        }
        let before = waiting.len();
        let responses = written.iter().filter(|part| get(part, "functionResponse").is_some()).count();
        if responds && responses != before {
            return Err(if before == 0 { out_of_turn() } else { unequal() });
        }
        let mut read = Vec::with_capacity(written.len());
        for (number, part) in written.iter().enumerate() {
            let at = format!("{at}.parts[{number}]");
            closed(part, PART, &at)?;
            read.extend(read_part(part, &at, &mut waiting)?);
        }
        if role == Role::Assistant {
            unsigned.extend(first_call_unsigned(written, index));
        } else if !responds {
            // A new turn of the user's: only the current turn's calls must be signed.
            unsigned.clear();
        }
        asked.turns.push(Turn { role, parts: read });
    }
    if !waiting.is_empty() {
        return Err(unequal());
    }
    calls_are_signed(&unsigned, asked)
}

fn unequal() -> Refused {
    invalid(
        "Please ensure that the number of function response parts is equal to the number of function call parts of the \
         function call turn.",
    )
}

fn out_of_turn() -> Refused {
    invalid("Please ensure that function response turn comes immediately after a function call turn.")
}

/// Where a step's first call has no signature.
fn first_call_unsigned(parts: &[Value], content: usize) -> Option<(usize, usize, String)> {
    let (position, part) = parts.iter().enumerate().find(|(_, part)| get(part, "functionCall").is_some())?;
    let name = get(part, "functionCall").and_then(|call| text(call, "name")).unwrap_or_default();
    text(part, "thoughtSignature").is_none().then(|| (content, position, name.to_owned()))
}

fn calls_are_signed(unsigned: &[(usize, usize, String)], asked: &Asked) -> Result<(), Refused> {
    let wanted = asked.model.contains("gemini-3") || behaviour_of(&asked.model).signed_calls;
    match unsigned.first() {
        Some((content, _, name)) if wanted => Err(invalid(&format!(
            "Function call is missing a thought_signature in functionCall parts. This is required for tools to work \
             correctly, and missing thought_signature may lead to degraded model performance. Additional data, function \
             call `default_api:{name}` , position {}. Please refer to \
             https://ai.google.dev/gemini-api/docs/thought-signatures for more details.",
            content + 1
        ))),
        _ => Ok(()),
    }
}

fn read_part(part: &Value, at: &str, waiting: &mut Vec<(String, String)>) -> Result<Option<Part>, Refused> {
    let signed = text(part, "thoughtSignature");
    let thought = get(part, "thought").and_then(Value::as_bool).unwrap_or(false);
    if let Some(said) = get(part, "text") {
        let said = said
            .as_str()
            .ok_or_else(|| invalid(&format!("Invalid value at '{at}.text' (TYPE_STRING), {said}")))?;
        if thought {
            return Ok(Some(Part::Thinking { text: said.to_owned(), signed: signed.is_some() }));
        }
        return Ok(Some(Part::Text { text: said.to_owned() }));
    }
    if let Some(data) = get(part, "inlineData") {
        closed(data, &["mimeType", "data", "displayName"], &format!("{at}.inline_data"))?;
        let kind = text(data, "mimeType").filter(|kind| !kind.is_empty()).ok_or_else(|| {
            invalid(&format!(
                "* GenerateContentRequest.{at}.inline_data.mime_type: mime_type is not specified\n"
            ))
        })?;
        // Bytes may come in either alphabet of base64; Google's Python SDK writes the URL-safe one.
        let bytes = text(data, "data").unwrap_or_default().replace('-', "+").replace('_', "/");
        let media = media(kind_of(kind), kind, &bytes, text(data, "displayName"));
        let media = media.filter(|media| media.bytes != Some(0));
        let media = media.ok_or_else(|| {
            invalid(&format!("Invalid value at '{at}.inline_data.data' (TYPE_BYTES), Base64 decoding failed"))
        })?;
        return Ok(Some(Part::Media(media)));
    }
    if let Some(data) = get(part, "fileData") {
        let url = text(data, "fileUri").filter(|url| !url.is_empty()).ok_or_else(|| {
            invalid(&format!("* GenerateContentRequest.{at}.file_data.file_uri: file_uri is not specified\n"))
        })?;
        let kind = text(data, "mimeType").unwrap_or_default();
        return Ok(Some(Part::Media(media_at(kind_of(kind), kind, url))));
    }
    if let Some(call) = get(part, "functionCall") {
        return read_call(call, at, signed, waiting).map(Some);
    }
    if let Some(response) = get(part, "functionResponse") {
        return read_response(response, at, waiting).map(Some);
    }
    let other = ["executableCode", "codeExecutionResult", "toolCall", "toolResponse"];
    if other.iter().any(|name| get(part, name).is_some()) || signed.is_some() {
        return Ok(None);
    }
    Err(invalid(&format!(
        "* GenerateContentRequest.{at}.data: required oneof field 'data' must have one initialized field\n"
    )))
}

fn read_call(
    call: &Value,
    at: &str,
    signed: Option<&str>,
    waiting: &mut Vec<(String, String)>,
) -> Result<Part, Refused> {
    closed(call, &["id", "name", "args", "partialArgs", "willContinue"], &format!("{at}.function_call"))?;
    let name = text(call, "name").filter(|name| !name.is_empty()).ok_or_else(|| {
        invalid(&format!("* GenerateContentRequest.{at}.function_call.name: Name cannot be empty.\n"))
    })?;
    let arguments = get(call, "args").cloned().unwrap_or_else(|| serde_json::json!({}));
    if !arguments.is_object() {
        return Err(invalid(&format!(
            "Invalid value at '{at}.function_call.args' (type.googleapis.com/google.protobuf.Struct), {arguments}"
        )));
    }
    let genuine = |signed: &str| signed == signature::of_call(name, &arguments) || WAIVERS.contains(&signed);
    if signed.is_some_and(|signed| !genuine(signed)) {
        return Err(invalid("Corrupted thought signature."));
    }
    let id = text(call, "id").unwrap_or_default();
    waiting.push((id.to_owned(), name.to_owned()));
    Ok(Part::Call { id: id.to_owned(), name: name.to_owned(), arguments, signed: signed.is_some() })
}

fn read_response(response: &Value, at: &str, waiting: &mut Vec<(String, String)>) -> Result<Part, Refused> {
    let known = ["id", "name", "response", "parts", "scheduling", "willContinue"];
    closed(response, &known, &format!("{at}.function_response"))?;
    let name = text(response, "name").filter(|name| !name.is_empty()).ok_or_else(|| {
        invalid(&format!("* GenerateContentRequest.{at}.function_response.name: Name cannot be empty.\n"))
    })?;
    let id = text(response, "id").unwrap_or_default();
    let by_id = waiting.iter().position(|(call, _)| !id.is_empty() && call == id);
    let by_name = || waiting.iter().position(|(_, call)| call == name);
    let Some(position) = by_id.or_else(by_name) else {
        return Err(invalid(&format!(
            "Function response for `{name}` at {at} does not answer any function call of the turn before."
        )));
    };
    let (call_id, _) = waiting.remove(position);
    let content = get(response, "response");
    if content.is_some_and(|content| !content.is_object()) {
        let content = content.cloned().unwrap_or_default();
        return Err(invalid(&format!(
            "Invalid value at '{at}.function_response.response' (type.googleapis.com/google.protobuf.Struct), {content}"
        )));
    }
    let (said, is_error) = said(content);
    let mut received: Vec<Media> = Vec::new();
    for part in parts(response) {
        let Some(data) = get(part, "inlineData") else { continue };
        let kind = text(data, "mimeType").unwrap_or_default();
        received.extend(media(
            kind_of(kind),
            kind,
            text(data, "data").unwrap_or_default(),
            text(data, "displayName"),
        ));
    }
    Ok(Part::Result { call_id, name: name.to_owned(), text: said, is_error, media: received })
}

/// `output` and `error` are the fields that the API names; anything else is the result as a whole.
fn said(content: Option<&Value>) -> (String, bool) {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let Some(content) = content else { return (String::new(), false) };
    if let Some(error) = content.get("error") {
        return (plain(error), true);
    }
    let alone = content.as_object().filter(|fields| fields.len() == 1);
    match alone.and_then(|fields| fields.get("output").or_else(|| fields.get("result"))) {
        Some(output) => (plain(output), false),
        None => (content.to_string(), false),
    }
}

fn kind_of(media_type: &str) -> &'static str {
    match media_type.split('/').next() {
        Some("image") => "image",
        Some("audio") => "audio",
        Some("video") => "video",
        _ => "document",
    }
}
