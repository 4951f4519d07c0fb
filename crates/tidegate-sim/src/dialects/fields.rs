//! Small helpers for reading JSON that strangers wrote.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::asked::Media;
use crate::digest::checksum;

/// A field, where it is there and not null.
pub(crate) fn present<'value>(value: &'value Value, name: &str) -> Option<&'value Value> {
    value.get(name).filter(|field| !field.is_null())
}

pub(crate) fn text<'value>(value: &'value Value, name: &str) -> Option<&'value str> {
    present(value, name).and_then(Value::as_str)
}

pub(crate) fn list<'value>(value: &'value Value, name: &str) -> &'value [Value] {
    present(value, name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The first field that is not one of these.
pub(crate) fn unknown<'value>(value: &'value Value, known: &[&str]) -> Option<&'value str> {
    value.as_object()?.keys().map(String::as_str).find(|name| !known.contains(name))
}

/// The fields of these names, where they are there and not null.
pub(crate) fn some_of(value: &Value, names: &[&str]) -> Map<String, Value> {
    let found =
        names.iter().filter_map(|name| present(value, name).map(|field| ((*name).to_owned(), field.clone())));
    found.collect()
}

/// What JSON calls a value.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a decimal number",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Media as base64; `None` where it is not base64.
pub(crate) fn media(kind: &'static str, media_type: &str, data: &str, name: Option<&str>) -> Option<Media> {
    let bytes = STANDARD.decode(data).ok()?;
    Some(Media {
        kind,
        media_type: media_type.to_owned(),
        url: None,
        bytes: Some(bytes.len()),
        checksum: Some(checksum(&bytes)),
        name: name.map(str::to_owned),
    })
}

/// Media by address.
pub(crate) fn media_at(kind: &'static str, media_type: &str, url: &str) -> Media {
    Media {
        kind,
        media_type: media_type.to_owned(),
        url: Some(url.to_owned()),
        bytes: None,
        checksum: None,
        name: None,
    }
}

/// The parts of a `data:` address: media type and base64.
pub(crate) fn data_url(url: &str) -> Option<(&str, &str)> {
    url.strip_prefix("data:")?.split_once(";base64,")
}
