//! One part of a turn or an answer, both ways. Called by the request's and the answer's readers and writers, whole and
//! streamed.

use std::borrow::Cow;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::media::{blob_of, file_of, media_of_blob, media_of_file};
use super::types::{FunctionCall, Part as WirePart};
use crate::Dialect;
use crate::carry::{Carried, Signature, detach_from_id};
use crate::conversation::{Content, Native, Part, Rest, ToolCall};

/// Arguments that are free text, or no JSON object, travel under this name: the field takes nothing but objects.
pub(super) const FREE_TEXT_ARGUMENT: &str = "input";
/// The same for arguments that are not JSON at all.
const INVALID_ARGUMENTS: &str = "invalid_json";

/// What a part of the wire is, before ids are made up.
pub(super) enum Read {
    /// Ready for use.
    Part(Part),
    /// A call; `id` as it stood on the wire, with nothing carried in it.
    Call { id: Option<String>, call: ToolCall, carried: Carried, signature: Option<Signature>, rest: Rest },
    /// What a function answered; read further by the request's parser.
    Response(Box<WirePart<'static>>),
}

/// Reads a part.
pub(super) fn read(mut wire: WirePart<'static>) -> Read {
    wire.rest.retain(|_, value| !value.is_null());
    let kinds = usize::from(wire.text.is_some())
        + usize::from(wire.inline_data.is_some())
        + usize::from(wire.file_data.is_some())
        + usize::from(wire.function_call.is_some())
        + usize::from(wire.function_response.is_some());
    let has_only_signature = kinds == 0 && wire.rest.is_empty();
    if kinds > 1 || (kinds == 0 && !has_only_signature) {
        let value = serde_json::to_value(&wire).unwrap_or_default();
        return Read::Part(Part::new(Content::Native(Native { dialect: Dialect::Gemini, value })));
    }
    if wire.function_response.is_some() {
        return Read::Response(Box::new(wire));
    }
    let signature = wire
        .thought_signature
        .filter(|signature| !signature.is_empty())
        .map(|field| Signature::from_field(&field, Dialect::Gemini));
    let mut rest = wire.rest;
    let is_thought = wire.thought == Some(true);
    if let Some(call) = wire.function_call {
        if is_thought {
            rest.insert("thought".to_owned(), true.into());
        }
        return read_call(call, signature, rest);
    }
    let content = if let Some(blob) = wire.inline_data {
        Content::Media(media_of_blob(blob, &mut rest))
    } else if let Some(file) = wire.file_data {
        Content::Media(media_of_file(file, &mut rest))
    } else if is_thought {
        let is_foreign = signature.as_ref().is_some_and(|signature| signature.origin != Dialect::Gemini);
        match wire.text {
            // How a redacted block of another provider is written for callers of this dialect: see `thought`.
            None if is_foreign => Content::RedactedReasoning,
            text => Content::Reasoning { text: text.map(Cow::into_owned).unwrap_or_default() },
        }
    } else {
        Content::Text { text: wire.text.map(Cow::into_owned).unwrap_or_default(), citations: Vec::new() }
    };
    if is_thought && matches!(content, Content::Media(_)) {
        rest.insert("thought".to_owned(), true.into());
    }
    Read::Part(Part { content, signature, cache: None, rest })
}

fn read_call(call: FunctionCall<'static>, signature: Option<Signature>, mut rest: Rest) -> Read {
    keep_nested(&mut rest, "functionCall", call.rest);
    let (id, carried) = call.id.filter(|id| !id.is_empty()).map_or((None, Carried::default()), |id| {
        let (own, carried) = detach_from_id(&id);
        (Some(own.to_owned()), carried)
    });
    let call = ToolCall {
        id: String::new(),
        name: call.name.map(Cow::into_owned).unwrap_or_default(),
        arguments: call.args.map_or_else(|| "{}".to_owned(), |args| args.get().to_owned()),
        free_text: false,
    };
    Read::Call { id, call, carried, signature, rest }
}

/// Unknown fields of an object within the part are kept under that object's name.
pub(super) fn keep_nested(rest: &mut Rest, name: &str, mut nested: Map<String, Value>) {
    nested.retain(|_, value| !value.is_null());
    if !nested.is_empty() {
        rest.insert(name.to_owned(), Value::Object(nested));
    }
}

/// The way back: takes what [`keep_nested`] kept out of the part's rest.
pub(super) fn take_nested(rest: &mut Rest, name: &str) -> Map<String, Value> {
    match rest.shift_remove(name) {
        Some(Value::Object(nested)) => nested,
        _ => Map::new(),
    }
}

/// Writes a part; `signature` is what goes into its signature field, `rest` is empty unless the part comes from this
/// dialect. `None` where this dialect has no word for it.
pub(super) fn write<'a>(
    part: &'a Part,
    signature: Option<Cow<'a, str>>,
    with_name: bool,
    mut rest: Rest,
) -> Option<WirePart<'a>> {
    let wire = match &part.content {
        Content::Text { text, .. } | Content::Refusal(text) => {
            WirePart { text: Some(Cow::Borrowed(text)), ..WirePart::default() }
        }
        Content::Reasoning { text } => {
            WirePart { text: Some(Cow::Borrowed(text)), thought: Some(true), ..WirePart::default() }
        }
        Content::RedactedReasoning => WirePart { thought: Some(true), ..WirePart::default() },
        Content::Media(media) => {
            let thought = (rest.shift_remove("thought") == Some(Value::Bool(true))).then_some(true);
            if let Some(blob) = blob_of(media, with_name, take_nested(&mut rest, "inlineData")) {
                WirePart { inline_data: Some(blob), thought, ..WirePart::default() }
            } else if let Some(file) = file_of(media, with_name, take_nested(&mut rest, "fileData")) {
                WirePart { file_data: Some(file), thought, ..WirePart::default() }
            } else {
                return None;
            }
        }
        Content::ToolCall(call) => WirePart {
            thought: (rest.shift_remove("thought") == Some(Value::Bool(true))).then_some(true),
            function_call: Some(FunctionCall {
                id: Some(Cow::Borrowed(call.id.as_str())).filter(|id| !id.is_empty()),
                name: Some(Cow::Borrowed(&call.name)),
                args: Some(arguments(call)),
                rest: take_nested(&mut rest, "functionCall"),
            }),
            ..WirePart::default()
        },
        Content::Native(Native { dialect: Dialect::Gemini, value: Value::Object(block) }) => {
            return Some(WirePart { rest: block.clone(), ..WirePart::default() });
        }
        Content::Native(_) | Content::ToolResult(_) => return None,
    };
    Some(WirePart { thought_signature: signature, rest, ..wire })
}

/// The call's arguments as a JSON object. What is none is wrapped into one, so that the model sees what it wrote.
fn arguments(call: &ToolCall) -> Cow<'_, RawValue> {
    if !call.free_text
        && let Some(object) = as_object(&call.arguments)
    {
        return object;
    }
    let name = match serde_json::from_str::<&RawValue>(&call.arguments) {
        Err(_) if !call.free_text => INVALID_ARGUMENTS,
        _ => FREE_TEXT_ARGUMENT,
    };
    let text = Value::Object(Map::from_iter([(name.to_owned(), Value::from(call.arguments.as_str()))]));
    serde_json::value::to_raw_value(&text).map_or_else(|_| Cow::Borrowed(empty_object()), Cow::Owned)
}

/// JSON text, if it is an object; nothing at all counts as an empty one.
pub(super) fn as_object(text: &str) -> Option<Cow<'_, RawValue>> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Some(Cow::Borrowed(empty_object()));
    }
    if !trimmed.starts_with('{') {
        return None;
    }
    serde_json::from_str::<&RawValue>(trimmed).ok().map(Cow::Borrowed)
}

fn empty_object() -> &'static RawValue {
    // Always parses; `null` only satisfies the type.
    serde_json::from_str("{}").unwrap_or(RawValue::NULL)
}
