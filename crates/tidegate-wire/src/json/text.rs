//! Between values and their JSON text: resolving a string's escapes, and texts that are known to be valid JSON.

use std::borrow::Cow;

use bytes::Bytes;
use memchr::memchr;
use serde::Serialize;

use super::error::JsonError;
use super::scan::{find_special, validate};

/// One JSON value as text, valid by construction: what `splice` puts into a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonText(Bytes);

impl JsonText {
    /// A string, escaped as needed.
    pub fn string(value: &str) -> Self {
        if find_special(value.as_bytes(), 0) < value.len() {
            return Self(Bytes::from(serde_json::Value::from(value).to_string()));
        }
        let mut text = Vec::with_capacity(value.len() + 2);
        text.push(b'"');
        text.extend_from_slice(value.as_bytes());
        text.push(b'"');
        Self(Bytes::from(text))
    }

    /// `true` or `false`.
    pub fn boolean(value: bool) -> Self {
        Self(Bytes::from_static(if value { b"true" } else { b"false" }))
    }

    /// A whole number.
    pub fn number(value: u64) -> Self {
        Self(Bytes::copy_from_slice(itoa::Buffer::new().format(value).as_bytes()))
    }

    /// Whatever can be written as JSON.
    pub fn of(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::to_vec(value).map(|text| Self(Bytes::from(text)))
    }

    /// A text that is checked to be one JSON value.
    pub fn parse(text: Bytes) -> Result<Self, JsonError> {
        validate(&text).map(|_| Self(text))
    }

    /// The text.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

/// The content of a checked string, given with its quotes.
pub(super) fn decode_string(quoted: &[u8]) -> Cow<'_, str> {
    let content = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    // A checked text is UTF-8, so this neither fails nor copies.
    let content = simdutf8::basic::from_utf8(content).unwrap_or_default();
    if memchr(b'\\', content.as_bytes()).is_none() {
        return Cow::Borrowed(content);
    }
    let mut decoded = String::with_capacity(content.len());
    let mut pieces = content.split('\\');
    decoded.push_str(pieces.next().unwrap_or_default());
    let mut high_surrogate = None;
    while let Some(piece) = pieces.next() {
        let Some(letter) = piece.chars().next() else {
            // Two backslashes: this piece lies between them, the next one follows both.
            end_surrogate(&mut decoded, &mut high_surrogate);
            decoded.push('\\');
            decoded.push_str(pieces.next().unwrap_or_default());
            continue;
        };
        let rest = if letter == 'u' {
            decode_code_unit(&mut decoded, &mut high_surrogate, piece.get(1..5).unwrap_or_default());
            piece.get(5..).unwrap_or_default()
        } else {
            end_surrogate(&mut decoded, &mut high_surrogate);
            decoded.push(match letter {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                other => other,
            });
            piece.get(letter.len_utf8()..).unwrap_or_default()
        };
        if !rest.is_empty() {
            end_surrogate(&mut decoded, &mut high_surrogate);
            decoded.push_str(rest);
        }
    }
    end_surrogate(&mut decoded, &mut high_surrogate);
    Cow::Owned(decoded)
}

fn decode_code_unit(decoded: &mut String, high_surrogate: &mut Option<u32>, digits: &str) {
    let unit = u32::from_str_radix(digits, 16).unwrap_or(0xFFFD);
    match (*high_surrogate, unit) {
        (Some(high), 0xDC00..=0xDFFF) => {
            *high_surrogate = None;
            let code_point = 0x1_0000 + ((high - 0xD800) << 10) + (unit - 0xDC00);
            decoded.push(char::from_u32(code_point).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        (_, 0xD800..=0xDBFF) => {
            end_surrogate(decoded, high_surrogate);
            *high_surrogate = Some(unit);
        }
        _ => {
            end_surrogate(decoded, high_surrogate);
            decoded.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
    }
}

/// A high surrogate that no low one follows stands for no character.
fn end_surrogate(decoded: &mut String, high_surrogate: &mut Option<u32>) {
    if high_surrogate.take().is_some() {
        decoded.push(char::REPLACEMENT_CHARACTER);
    }
}
