//! Reasoning on this wire: OpenRouter's `reasoning_details`, both ways. Called by `assistant`, `turns`, `reply` and the
//! streams.
//!
//! OpenAI itself shows no reasoning in chat completions; compatible servers give the text as `reasoning_content` or
//! `reasoning`, and OpenRouter gives what a provider needs back as a list of details. A detail's proof is kept as the
//! whole detail without its text, because the server that wrote it wants all of that back, whatever dialect the caller
//! in between speaks.

use serde_json::{Map, Value};

use super::HERE;
use crate::Dialect;
use crate::carry::Signature;
use crate::conversation::{Content, Part, Rest};

const TEXT: &str = "reasoning.text";
const SUMMARY: &str = "reasoning.summary";
const ENCRYPTED: &str = "reasoning.encrypted";

/// One entry of `reasoning_details`, read.
#[derive(Debug)]
pub(super) enum Detail {
    /// Reasoning in words, or more of it, or its proof.
    Text {
        text: String,
        signature: Option<Signature>,
        /// What tells this block from its neighbours.
        index: Option<u64>,
        /// Its other fields, where no proof keeps them.
        rest: Rest,
    },
    /// A block that the provider gave only encrypted.
    Encrypted(Signature),
}

/// Reads one entry; `None` where it says nothing.
pub(super) fn parse_detail(detail: &Value) -> Option<Detail> {
    let fields = detail.as_object()?;
    let text_of = |name: &str| fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let kind = text_of("type").unwrap_or(TEXT);
    if let Some(data) = text_of("data") {
        return Some(Detail::Encrypted(signature_of(fields, data)));
    }
    let text = text_of("text").or_else(|| text_of("summary")).unwrap_or_default().to_owned();
    let signature = text_of("signature").map(|signature| signature_of(fields, signature));
    if text.is_empty() && signature.is_none() {
        return None;
    }
    let mut rest = Rest::new();
    if signature.is_none() {
        rest = leftovers(fields);
        if kind == TEXT {
            rest.shift_remove("type");
        }
    }
    Some(Detail::Text { text, signature, index: fields.get("index").and_then(Value::as_u64), rest })
}

/// A stranger's proof is unwrapped; one of this wire is kept with the fields that stand beside it.
fn signature_of(fields: &Map<String, Value>, field: &str) -> Signature {
    let signature = Signature::from_field(field, HERE);
    if signature.origin != HERE {
        return signature;
    }
    Signature::new(HERE, Value::Object(leftovers(fields)).to_string())
}

/// A detail without its words and its place, which is told anew by its order. Sorted, so that it is the same text again
/// when it comes back.
fn leftovers(fields: &Map<String, Value>) -> Rest {
    let is_kept =
        |name: &str, value: &Value| !matches!(name, "text" | "summary" | "index") && !value.is_null();
    let mut rest: Rest = fields
        .iter()
        .filter(|(name, value)| is_kept(name, value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    rest.sort_keys();
    rest
}

/// The parts that a whole list of details makes. Entries that continue the one before (as gathered by clients that
/// append a stream's pieces one after the other) are joined.
pub(super) fn parse_details(details: &[Value]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut last_index = None;
    for detail in details {
        match parse_detail(detail) {
            None => {}
            Some(Detail::Encrypted(signature)) => {
                last_index = None;
                parts.push(Part { signature: Some(signature), ..Part::new(Content::RedactedReasoning) });
            }
            Some(Detail::Text { text, signature, index, rest }) => {
                let continues = index.is_some() && index == last_index;
                last_index = index;
                match parts.last_mut() {
                    Some(Part {
                        content: Content::Reasoning { text: before },
                        signature: proof @ None,
                        rest: beside,
                        ..
                    }) if continues => {
                        before.push_str(&text);
                        if signature.is_some() {
                            *proof = signature;
                            beside.clear();
                        }
                    }
                    _ => parts.push(Part { signature, rest, ..Part::new(Content::Reasoning { text }) }),
                }
            }
        }
    }
    parts
}

/// Writes a block's words, its proof, or both, as one detail.
pub(super) fn render_detail(
    index: usize,
    text: Option<&str>,
    signature: Option<&Signature>,
    rest: Option<&Rest>,
) -> Value {
    let mut detail = Rest::new();
    detail.insert("type".to_owned(), TEXT.into());
    if let Some(rest) = rest {
        detail.extend(rest.clone());
    }
    if let Some(signature) = signature {
        extend_with_proof(&mut detail, signature, "signature");
    }
    if let Some(text) = text {
        let name =
            if detail.get("type").and_then(Value::as_str) == Some(SUMMARY) { "summary" } else { "text" };
        detail.insert(name.to_owned(), text.into());
    }
    detail.insert("index".to_owned(), index.into());
    Value::Object(detail)
}

/// Writes a block that there is only encrypted.
pub(super) fn render_encrypted(index: usize, signature: &Signature) -> Value {
    let mut detail = Rest::new();
    detail.insert("type".to_owned(), ENCRYPTED.into());
    extend_with_proof(&mut detail, signature, "data");
    detail.insert("index".to_owned(), index.into());
    Value::Object(detail)
}

fn extend_with_proof(detail: &mut Rest, signature: &Signature, name: &str) {
    if let Some(own) = whole_detail(signature) {
        detail.extend(own);
        return;
    }
    detail.insert(name.to_owned(), signature.to_field(HERE).into());
    detail.insert("format".to_owned(), format_of(signature.origin).into());
}

fn whole_detail(signature: &Signature) -> Option<Rest> {
    if signature.origin != HERE {
        return None;
    }
    serde_json::from_str(&signature.data).ok()
}

/// OpenRouter's words for whose reasoning it is.
fn format_of(origin: Dialect) -> &'static str {
    match origin {
        Dialect::AnthropicMessages => "anthropic-claude-v1",
        Dialect::Gemini => "google-gemini-v1",
        Dialect::OpenAiChat => "unknown",
    }
}
