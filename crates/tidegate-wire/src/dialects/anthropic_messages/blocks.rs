//! Content blocks of requests and answers, read into canonical parts. Called by `parse` and `reply`; `decode` reads the
//! blocks that come whole in a stream with it.
//!
//! A block that the canonical model has no word for (server tools and their results, search results, uploads, …), or a
//! known one in a form that it cannot hold, stays as it is: `Native`.

use std::collections::HashMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::super::fields::{Fields, Path, items_of, to_value};
use crate::carry::{CarriedReasoning, Signature, detach_from_id};
use crate::conversation::{
    CacheMarker, Citation, Content, Media, MediaKind, MediaSource, Native, Part, ToolCall, ToolResult,
};
use crate::{Dialect, RequestError};

pub(super) const HERE: Dialect = Dialect::AnthropicMessages;

/// The names of the tools called so far, by the calls' ids: a result names only the id.
pub(super) type ToolNames = HashMap<String, String>;

/// Reads `content`: a text or an array of blocks.
pub(super) fn parse_content(
    raw: &RawValue,
    path: &Path<'_>,
    names: &mut ToolNames,
) -> Result<Vec<Part>, RequestError> {
    let mut parts = Vec::new();
    if raw.get().starts_with('"') {
        let text: String =
            serde_json::from_str(raw.get()).map_err(|error| path.misread("a string", &error))?;
        if !text.is_empty() {
            parts.push(Part::text(text));
        }
        return Ok(parts);
    }
    if !raw.get().starts_with('[') {
        return Err(path.expected("a string or an array of content blocks"));
    }
    for (index, block) in items_of(raw, path)?.into_iter().enumerate() {
        push_block(block, &path.item(index), names, &mut parts)?;
    }
    Ok(parts)
}

/// Reads one block. A tool call whose id carries reasoning brings that along, unless it stands there already.
pub(super) fn push_block(
    raw: &RawValue,
    path: &Path<'_>,
    names: &mut ToolNames,
    parts: &mut Vec<Part>,
) -> Result<(), RequestError> {
    let mut fields = Fields::of(raw, path)?;
    let kind = fields.peek_text("type").ok_or_else(|| path.field("type").expected("the block's type"))?;
    let part = match kind.as_ref() {
        "text" => parse_text(&mut fields, path)?,
        "image" | "document" => match parse_media(&mut fields, path)? {
            Some(part) => part,
            None => return push_native(raw, path, parts),
        },
        "tool_use" => parse_call(&mut fields, path, names, parts)?,
        "tool_result" => parse_result(&mut fields, path, names)?,
        "thinking" => {
            let text = fields.take_text("thinking", path)?.unwrap_or_default();
            let signature = fields.take_text("signature", path)?.and_then(|field| read_signature(&field));
            Part { signature, ..Part::new(Content::Reasoning { text }) }
        }
        "redacted_thinking" => {
            let data = fields.require_text("data", path)?;
            let signature = Some(Signature::from_field(&data, HERE));
            Part { signature, ..Part::new(Content::RedactedReasoning) }
        }
        _ => return push_native(raw, path, parts),
    };
    let cache = parse_cache_marker(&mut fields);
    fields.take("type");
    parts.push(Part { cache, rest: fields.into_rest(path)?, ..part });
    Ok(())
}

/// A thinking block's signature; none where the field is empty or says only that the reasoning is of foreign origin.
pub(super) fn read_signature(field: &str) -> Option<Signature> {
    let signature = Signature::from_field(field, HERE);
    (!signature.data.is_empty()).then_some(signature)
}

/// Reads `cache_control`. Only markers of this one type exist; anything else would be refused by the API anyway.
pub(super) fn parse_cache_marker(fields: &mut Fields<'_>) -> Option<CacheMarker> {
    let value: Value = serde_json::from_str(fields.take("cache_control")?.get()).ok()?;
    match value.get("ttl").and_then(Value::as_str) {
        Some("1h") => Some(CacheMarker::Hour),
        _ => Some(CacheMarker::Short),
    }
}

/// Reads a citation of any type. One that was made up for a source of another dialect has no native form.
pub(super) fn parse_citation(value: Value) -> Citation {
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let is_foreign =
        text("encrypted_index").is_some_and(|index| Signature::from_field(&index, HERE).origin != HERE);
    Citation {
        url: text("url"),
        title: text("title").or_else(|| text("document_title")).filter(|title| !title.is_empty()),
        cited_text: text("cited_text").filter(|cited| !cited.is_empty()),
        // The positions on this wire count in the source, not in the answer.
        start: None,
        end: None,
        native: (!is_foreign).then_some(Native { dialect: HERE, value }),
    }
}

fn push_native(raw: &RawValue, path: &Path<'_>, parts: &mut Vec<Part>) -> Result<(), RequestError> {
    parts.push(Part::new(Content::Native(Native { dialect: HERE, value: to_value(raw, path)? })));
    Ok(())
}

fn parse_text(fields: &mut Fields<'_>, path: &Path<'_>) -> Result<Part, RequestError> {
    let text = fields.take_text("text", path)?.unwrap_or_default();
    let mut citations = Vec::new();
    if let Some(raw) = fields.take("citations") {
        let path = path.field("citations");
        for (index, item) in items_of(raw, &path)?.into_iter().enumerate() {
            citations.push(parse_citation(to_value(item, &path.item(index))?));
        }
    }
    Ok(Part::new(Content::Text { text, citations }))
}

/// `None` where the source is none that the canonical model knows.
fn parse_media(fields: &mut Fields<'_>, path: &Path<'_>) -> Result<Option<Part>, RequestError> {
    let is_document = fields.peek_text("type").as_deref() == Some("document");
    let Some(raw) = fields.take("source") else {
        return Err(path.field("source").mistake("this field is required"));
    };
    let path = path.field("source");
    let mut source = Fields::of(raw, &path)?;
    let kind = source.take_text("type", &path)?.unwrap_or_default();
    let media_type = source.take_text("media_type", &path)?;
    let source_of = match kind.as_str() {
        "base64" => MediaSource::Base64(source.require_text("data", &path)?),
        "url" => MediaSource::Url(source.require_text("url", &path)?),
        "file" => MediaSource::FileId(source.require_text("file_id", &path)?),
        "text" => MediaSource::Text(source.require_text("data", &path)?),
        _ => return Ok(None),
    };
    if !source.into_rest(&path)?.is_empty() {
        return Ok(None);
    }
    Ok(Some(Part::new(Content::Media(Media {
        kind: if is_document { MediaKind::Document } else { MediaKind::Image },
        media_type,
        source: source_of,
        name: if is_document { fields.take_text("title", &path)? } else { None },
        detail: None,
        transcript: None,
    }))))
}

fn parse_call(
    fields: &mut Fields<'_>,
    path: &Path<'_>,
    names: &mut ToolNames,
    parts: &mut Vec<Part>,
) -> Result<Part, RequestError> {
    let field = fields.require_text("id", path)?;
    let name = fields.require_text("name", path)?;
    let (id, carried) = detach_from_id(&field);
    for reasoning in carried.reasoning {
        push_carried(reasoning, parts);
    }
    names.insert(id.to_owned(), name.clone());
    Ok(Part {
        signature: carried.signature,
        ..Part::new(Content::ToolCall(ToolCall {
            id: id.to_owned(),
            name,
            arguments: fields.take("input").map_or("{}", RawValue::get).to_owned(),
            free_text: false,
        }))
    })
}

fn push_carried(reasoning: CarriedReasoning, parts: &mut Vec<Part>) {
    let is_there = parts.iter().any(|part| part.signature.as_ref() == Some(&reasoning.signature));
    if !is_there {
        let content = match reasoning.text {
            Some(text) => Content::Reasoning { text },
            None => Content::RedactedReasoning,
        };
        let signature = Some(reasoning.signature).filter(|signature| !signature.data.is_empty());
        parts.push(Part { signature, ..Part::new(content) });
    }
}

fn parse_result(
    fields: &mut Fields<'_>,
    path: &Path<'_>,
    names: &mut ToolNames,
) -> Result<Part, RequestError> {
    let field = fields.require_text("tool_use_id", path)?;
    let (call_id, _) = detach_from_id(&field);
    let parts = match fields.take("content") {
        Some(raw) => parse_content(raw, &path.field("content"), names)?,
        None => Vec::new(),
    };
    Ok(Part::new(Content::ToolResult(ToolResult {
        call_id: call_id.to_owned(),
        name: names.get(call_id).cloned(),
        parts,
        is_error: fields.take_as("is_error", path, "true or false")?.unwrap_or_default(),
    })))
}
