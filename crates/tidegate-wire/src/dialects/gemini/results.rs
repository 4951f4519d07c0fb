//! What functions answered: `functionResponse`, both ways. Called by `parse.rs` and `render.rs`.
//!
//! The wire wants an object. Google reads its `output` as the answer and its `error` as the failure, and the whole object
//! as the answer where it has neither. A text stands here alone exactly when it stood alone in one of the two; any other
//! object stands here as its JSON text, and such text becomes that object again.

use std::borrow::Cow;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::media::{blob_of, file_of};
use super::parts::{self, Read, as_object, keep_nested, take_nested};
use super::types::{FunctionResponse, Part as WirePart};
use crate::Dialect;
use crate::conversation::{Content, Native, Part, Rest, ToolResult};

/// Reads an answer. `call_id` is left as it stood on the wire.
pub(super) fn read(response: FunctionResponse<'static>, rest: &mut Rest) -> ToolResult {
    keep_nested(rest, "functionResponse", response.rest);
    let (text, is_error) = response.response.as_deref().map(RawValue::get).map_or((None, false), read_object);
    let mut parts: Vec<Part> = text.map(Part::text).into_iter().collect();
    parts.extend(response.parts.into_iter().filter_map(|part| match parts::read(part) {
        Read::Part(part) => Some(part),
        Read::Call { .. } | Read::Response(_) => None,
    }));
    ToolResult {
        call_id: response.id.map(Cow::into_owned).unwrap_or_default(),
        name: response.name.filter(|name| !name.is_empty()).map(Cow::into_owned),
        parts,
        is_error,
    }
}

fn read_object(json: &str) -> (Option<String>, bool) {
    let Ok(object) = serde_json::from_str::<Map<String, Value>>(json) else {
        return (Some(json.to_owned()), false);
    };
    let is_error = object.get("error").is_some_and(|error| !error.is_null());
    let alone = match object.iter().next() {
        Some((name, Value::String(text))) if object.len() == 1 && (name == "output" || name == "error") => {
            Some(text).filter(|text| !stands_as_object(text, is_error))
        }
        _ => None,
    };
    (Some(alone.map_or_else(|| json.to_owned(), Clone::clone)), is_error)
}

/// Whether a text is written as the response object itself instead of being put into one.
fn stands_as_object(text: &str, is_error: bool) -> bool {
    if !text.trim_start().starts_with('{') {
        return false;
    }
    serde_json::from_str::<Map<String, Value>>(text).is_ok_and(|object| {
        let says_error = object.get("error").is_some_and(|error| !error.is_null());
        says_error || !is_error
    })
}

/// What an answer consists of on this wire.
pub(super) struct WrittenResult<'a> {
    /// The response itself.
    pub(super) response: FunctionResponse<'a>,
    /// Parts that it cannot hold, by their numbers.
    pub(super) left_over: Vec<usize>,
}

/// Writes an answer. Media go into its `parts` where the target knows them (`has_parts`); `is_own` says that the request
/// came in this dialect.
pub(super) fn write<'a>(
    result: &'a ToolResult,
    has_parts: bool,
    is_own: bool,
    rest: &mut Rest,
) -> WrittenResult<'a> {
    let mut texts = Vec::new();
    let mut media = Vec::new();
    let mut left_over = Vec::new();
    for (number, part) in result.parts.iter().enumerate() {
        match &part.content {
            Content::Text { text, .. } => texts.push(text.as_str()),
            Content::Media(medium) if has_parts => {
                let mut rest = if is_own { part.rest.clone() } else { Rest::new() };
                let inline_data = blob_of(medium, is_own, take_nested(&mut rest, "inlineData"));
                let file_data = file_of(medium, is_own, take_nested(&mut rest, "fileData"));
                media.push(WirePart { inline_data, file_data, rest, ..WirePart::default() });
            }
            Content::Native(Native { dialect: Dialect::Gemini, value: Value::Object(block) }) => {
                media.push(WirePart { rest: block.clone(), ..WirePart::default() });
            }
            _ => left_over.push(number),
        }
    }
    let text = match texts.as_slice() {
        [one] => Cow::Borrowed(*one),
        several => Cow::Owned(several.join("\n")),
    };
    let response = FunctionResponse {
        id: Some(Cow::Borrowed(result.call_id.as_str())).filter(|id| !id.is_empty()),
        name: Some(Cow::Borrowed(result.name.as_deref().unwrap_or_default())),
        response: response_object(text, result.is_error),
        parts: media,
        rest: take_nested(rest, "functionResponse"),
    };
    WrittenResult { response, left_over }
}

fn response_object(text: Cow<'_, str>, is_error: bool) -> Option<Cow<'_, RawValue>> {
    if stands_as_object(&text, is_error) {
        return match text {
            Cow::Borrowed(text) => as_object(text),
            Cow::Owned(text) => RawValue::from_string(text).ok().map(Cow::Owned),
        };
    }
    let name = if is_error { "error" } else { "output" };
    let object = Value::Object(Map::from_iter([(name.to_owned(), Value::from(text.into_owned()))]));
    serde_json::value::to_raw_value(&object).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(response: &str) -> (String, bool, String) {
        let wire = serde_json::from_str(&format!(r#"{{"name":"f","response":{response}}}"#)).unwrap();
        let result = read(wire, &mut Rest::new());
        let Content::Text { text, .. } = &result.parts[0].content else { panic!("no text") };
        let written =
            write(&result, true, true, &mut Rest::new()).response.response.unwrap().get().to_owned();
        (text.clone(), result.is_error, written)
    }

    #[test]
    fn every_response_object_comes_back_as_it_was() {
        for (response, text, is_error) in [
            (r#"{"output":"plain"}"#, "plain", false),
            (r#"{"output":""}"#, "", false),
            (r#"{"error":"broken"}"#, "broken", true),
            (r#"{"temperature":20.50,"big":123456789012345678901234567890}"#, "", false),
            (r#"{"output":{"a":1}}"#, "", false),
            (r#"{"output":"{\"a\":1}"}"#, "", false),
            (r#"{"output":"{\"error\":\"x\"}"}"#, "", false),
            (r#"{"error":"{\"a\":1}"}"#, r#"{"a":1}"#, true),
            (r#"{"error":"{\"error\":1}"}"#, "", true),
            (r#"{"error":{"code":5}}"#, "", true),
            (r#"{"error":null,"output":"x"}"#, "", false),
            (r#"{"error":"e","output":"x"}"#, "", true),
            ("{}", "", false),
        ] {
            let (read, error, written) = round_trip(response);
            assert_eq!(written, response);
            assert_eq!(error, is_error, "{response}");
            assert!(read == text || read == response, "{read}");
        }
    }
}
