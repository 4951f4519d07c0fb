//! The parts of a message's content, both ways. Called by `messages`, `assistant` and `turns`.
//!
//! A part that the canonical model has no word for stays as it is: `Native`.

use std::borrow::Cow;

use serde_json::Value;
use serde_json::value::RawValue;

use super::super::fields::{Fields, Path, items_of, to_value};
use super::HERE;
use super::media::{media_of_url, parse_file, parse_input_audio, parse_media_url, render_media};
use super::types::{ContentPart, KnownPart, UrlText, Without};
use crate::conversation::{CacheMarker, Content, MediaKind, MediaSource, Native, Part, Rest};
use crate::{CacheMarkers, RequestError, TargetTraits};

/// Fields of a part's `rest` that say how it is written and are not written themselves.
const FORM_ONLY: &[&str] = &["type"];

/// Reads `content`: a text, or an array of parts. An empty text is no part.
pub(super) fn parse_content(raw: &RawValue, path: &Path<'_>) -> Result<Vec<Part>, RequestError> {
    if raw.get().starts_with('"') {
        let text: String =
            serde_json::from_str(raw.get()).map_err(|error| path.misread("a string", &error))?;
        return Ok(if text.is_empty() { Vec::new() } else { vec![Part::text(text)] });
    }
    if !raw.get().starts_with('[') {
        return Err(path.expected("a string or an array of content parts"));
    }
    let items = items_of(raw, path)?.into_iter().enumerate();
    items.map(|(index, item)| parse_part(item, &path.item(index))).collect()
}

fn parse_part(raw: &RawValue, path: &Path<'_>) -> Result<Part, RequestError> {
    // Some clients put bare strings into the array.
    if raw.get().starts_with('"') {
        let text: String =
            serde_json::from_str(raw.get()).map_err(|error| path.misread("a string", &error))?;
        return Ok(Part::text(text));
    }
    let mut fields = Fields::of(raw, path)?;
    let kind = fields.peek_text("type").map(Cow::into_owned);
    let part = match kind.as_deref() {
        Some("text") => Part::text(fields.take_text("text", path)?.unwrap_or_default()),
        Some("image_url") => {
            Part::new(Content::Media(parse_media_url(&mut fields, "image_url", MediaKind::Image, path)?))
        }
        Some("video_url") => {
            Part::new(Content::Media(parse_media_url(&mut fields, "video_url", MediaKind::Video, path)?))
        }
        Some("audio_url") => {
            Part::new(Content::Media(parse_media_url(&mut fields, "audio_url", MediaKind::Audio, path)?))
        }
        Some("input_audio") if fields.peek_text("input_audio").is_none() => {
            Part::new(Content::Media(parse_input_audio(&mut fields, path)?))
        }
        Some("file") if fields.has("file") => Part::new(Content::Media(parse_file(&mut fields, path)?)),
        Some("document_url") if fields.peek_text("document_url").is_some() => {
            return parse_document_url(fields, path);
        }
        Some("refusal") => {
            Part::new(Content::Refusal(fields.take_text("refusal", path)?.unwrap_or_default()))
        }
        Some("thinking") => match parse_thinking(&mut fields) {
            Some(text) => Part::new(Content::Reasoning { text }),
            None => return native(raw, path),
        },
        _ => return native(raw, path),
    };
    let cache = parse_cache_marker(&mut fields)?;
    fields.take("type");
    Ok(Part { cache, rest: fields.into_rest(path)?, ..part })
}

fn native(raw: &RawValue, path: &Path<'_>) -> Result<Part, RequestError> {
    Ok(Part::new(Content::Native(Native { dialect: HERE, value: to_value(raw, path)? })))
}

/// Mistral's form of a document; `type` stays in the rest to tell it from a `file`.
fn parse_document_url(mut fields: Fields<'_>, path: &Path<'_>) -> Result<Part, RequestError> {
    let mut media = media_of_url(MediaKind::Document, fields.require_text("document_url", path)?);
    media.name = fields.take_text("document_name", path)?;
    Ok(Part { rest: fields.into_rest(path)?, ..Part::new(Content::Media(media)) })
}

/// Mistral's thinking: an array of texts. `None` where it holds anything else (references), or is not an array.
fn parse_thinking(fields: &mut Fields<'_>) -> Option<String> {
    let chunks: Vec<Value> = serde_json::from_str(fields.take("thinking")?.get()).ok()?;
    chunks
        .iter()
        .map(|chunk| match chunk.get("type").and_then(Value::as_str) {
            Some("text") => chunk.get("text").and_then(Value::as_str),
            _ => None,
        })
        .collect()
}

/// Reads the two markers of a place up to which the prompt is cached: Anthropic's, as OpenRouter's and LiteLLM's callers
/// write it, and OpenAI's own.
pub(super) fn parse_cache_marker(fields: &mut Fields<'_>) -> Result<Option<CacheMarker>, RequestError> {
    let mut marker = None;
    for name in ["cache_control", "prompt_cache_breakpoint"] {
        if let Some(raw) = fields.take(name) {
            let value = to_value(raw, &Path::ROOT.field(name))?;
            let is_long = matches!(value.get("ttl").and_then(Value::as_str), Some("1h" | "12h" | "24h"));
            marker = Some(if is_long { CacheMarker::Hour } else { CacheMarker::Short });
        }
    }
    Ok(marker)
}

/// Whether a marker has a form at the target.
pub(super) fn knows_cache_marker(part: &Part, traits: &TargetTraits) -> bool {
    part.cache.is_none() || traits.cache_markers != CacheMarkers::No
}

/// Writes one part of a message's content. `None` where this wire has no form for it.
pub(super) fn render_part<'a>(
    part: &'a Part,
    traits: &TargetTraits,
    is_own: bool,
) -> Option<ContentPart<'a>> {
    let known = match &part.content {
        Content::Text { text, .. } => {
            KnownPart { kind: "text", text: Some(text.as_str().into()), ..KnownPart::default() }
        }
        Content::Refusal(text) => KnownPart { kind: "refusal", refusal: Some(text), ..KnownPart::default() },
        Content::Media(media) if is_document_url(&part.rest) && is_own => KnownPart {
            kind: "document_url",
            document_url: super::media::url_of(media),
            document_name: media.name.as_deref(),
            ..KnownPart::default()
        },
        Content::Media(media) => match &media.source {
            MediaSource::Url(_) if !traits.media_urls => return None,
            _ => render_media(media, is_own)?,
        },
        Content::Reasoning { text } => KnownPart {
            kind: "thinking",
            thinking: Some(serde_json::json!([{ "type": "text", "text": text }])),
            ..KnownPart::default()
        },
        Content::Native(native) if native.dialect == HERE => return Some(ContentPart::Native(&native.value)),
        Content::Native(_) | Content::ToolCall(_) | Content::ToolResult(_) | Content::RedactedReasoning => {
            return None;
        }
    };
    let marker = |style| part.cache.filter(|_| traits.cache_markers == style);
    Some(ContentPart::Known(Box::new(KnownPart {
        cache_control: marker(CacheMarkers::CacheControl).map(Into::into),
        prompt_cache_breakpoint: marker(CacheMarkers::Breakpoint).map(Into::into),
        rest: Without { rest: Some(&part.rest).filter(|_| is_own), names: FORM_ONLY },
        ..known
    })))
}

/// An image of an answer, in OpenRouter's form.
pub(super) fn render_image(url: UrlText<'_>) -> ContentPart<'_> {
    ContentPart::Known(Box::new(KnownPart {
        kind: "image_url",
        image_url: Some(super::types::MediaUrl { url, detail: None }),
        ..KnownPart::default()
    }))
}

fn is_document_url(rest: &Rest) -> bool {
    rest.get("type").and_then(Value::as_str) == Some("document_url")
}
