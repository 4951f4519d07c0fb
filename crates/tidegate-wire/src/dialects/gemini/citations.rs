//! What an answer cites, both ways. Called by `decode.rs`, `reply.rs` and `encode.rs`.
//!
//! Grounding (`groundingMetadata`) ties segments of the answer to numbered sources, recitation (`citationMetadata`) names
//! sources outright. Both count bytes; [`Citation`] counts characters. The metadata themselves stay in the candidate's
//! rest and are given back to Gemini's own callers, so citations are written only for answers of other dialects.

use serde_json::{Map, Value, json};

use super::types::to_whole_number;
use crate::conversation::{Citation, Content, Part};

/// Reads the citations in a candidate's metadata. `text` is the answer's text as far as it is known.
pub(super) fn read(candidate: &Map<String, Value>, text: &str) -> Vec<Citation> {
    let mut citations = Vec::new();
    if let Some(grounding) = candidate.get("groundingMetadata") {
        read_grounding(grounding, text, &mut citations);
    }
    if let Some(metadata) = candidate.get("citationMetadata") {
        let sources = metadata.get("citations").or_else(|| metadata.get("citationSources"));
        for source in sources.and_then(Value::as_array).into_iter().flatten() {
            citations.push(Citation {
                url: text_at(source, "uri"),
                title: text_at(source, "title"),
                start: offset(source, "startIndex", text),
                end: offset(source, "endIndex", text),
                ..Citation::default()
            });
        }
    }
    citations
}

fn read_grounding(grounding: &Value, text: &str, citations: &mut Vec<Citation>) {
    let list =
        |name: &str| grounding.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let chunks = list("groundingChunks");
    for support in list("groundingSupports") {
        let segment = support.get("segment").unwrap_or(&Value::Null);
        let indices = support.get("groundingChunkIndices").and_then(Value::as_array);
        for index in indices.into_iter().flatten() {
            let Some(chunk) = index
                .as_u64()
                .and_then(|index| usize::try_from(index).ok())
                .and_then(|index| chunks.get(index))
            else {
                continue;
            };
            let source = ["web", "maps", "retrievedContext", "image"].iter().find_map(|kind| chunk.get(kind));
            let Some(source) = source else { continue };
            citations.push(Citation {
                url: text_at(source, "uri").or_else(|| text_at(source, "sourceUri")),
                title: text_at(source, "title"),
                cited_text: text_at(source, "text"),
                // Absent at the very beginning, as every number that is zero.
                start: offset(segment, "startIndex", text).or(Some(0)),
                end: offset(segment, "endIndex", text),
                native: None,
            });
        }
    }
}

fn text_at(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Characters before a byte of the answer; `None` where the metadata or the text does not say.
fn offset(value: &Value, name: &str, text: &str) -> Option<u64> {
    let bytes = usize::try_from(to_whole_number(value.get(name)?)?).ok()?;
    let before = text.get(..bytes)?;
    u64::try_from(before.chars().count()).ok()
}

/// Writes the citations of an answer that came in another dialect, as `citationMetadata`.
pub(super) fn write(parts: &[Part]) -> Option<Value> {
    let mut sources = Vec::new();
    for part in parts {
        if let Content::Text { text, citations } = &part.content {
            sources.extend(citations.iter().filter_map(|citation| write_one(citation, text)));
        }
    }
    wrap(&sources)
}

/// The list of sources as it stands on the wire; `None` where there are none.
pub(super) fn wrap(sources: &[Value]) -> Option<Value> {
    (!sources.is_empty()).then(|| json!({"citations": sources}))
}

/// Writes one citation; those without an address or a title have no place on this wire.
pub(super) fn write_one(citation: &Citation, text: &str) -> Option<Value> {
    if citation.url.is_none() && citation.title.is_none() {
        return None;
    }
    let mut source = Map::new();
    let bytes = |characters: u64| {
        let characters = usize::try_from(characters).ok()?;
        text.char_indices().map(|(byte, _)| byte).chain([text.len()]).nth(characters)
    };
    source.extend(citation.start.and_then(bytes).map(|byte| ("startIndex".to_owned(), byte.into())));
    source.extend(citation.end.and_then(bytes).map(|byte| ("endIndex".to_owned(), byte.into())));
    source.extend(citation.url.as_ref().map(|url| ("uri".to_owned(), url.as_str().into())));
    source.extend(citation.title.as_ref().map(|title| ("title".to_owned(), title.as_str().into())));
    Some(Value::Object(source))
}
