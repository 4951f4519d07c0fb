//! Images, sounds, documents and videos, both ways. Called by `parts` for requests and by `assistant`, `reply` and the
//! streams for answers.

use super::super::fields::{Fields, Path};
use super::types::{File, InputAudio, KnownPart, MediaUrl, UrlText};
use crate::RequestError;
use crate::conversation::{Media, MediaKind, MediaSource};

/// Stands for the type of inline data that came without one.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// A URL's medium: data URLs become inline data.
pub(super) fn media_of_url(kind: MediaKind, url: String) -> Media {
    let (media_type, source) = match split_data_url(&url) {
        Some((media_type, base64)) => (Some(media_type.to_owned()), MediaSource::Base64(base64.to_owned())),
        None => (None, MediaSource::Url(url)),
    };
    Media { kind, media_type, source, name: None, detail: None, transcript: None }
}

/// Only the plain form `data:type/subtype;base64,…` is taken apart; anything else stays a URL, so that nothing of it is
/// lost.
fn split_data_url(url: &str) -> Option<(&str, &str)> {
    let (media_type, base64) = url.strip_prefix("data:")?.split_once(";base64,")?;
    let is_plain = media_type.contains('/') && !media_type.contains([';', ',']);
    is_plain.then_some((media_type, base64))
}

/// `{"url": …, "detail": …}`, or the bare URL that Mistral takes.
pub(super) fn parse_media_url(
    fields: &mut Fields<'_>,
    name: &'static str,
    kind: MediaKind,
    path: &Path<'_>,
) -> Result<Media, RequestError> {
    if fields.peek_text(name).is_some() {
        return Ok(media_of_url(kind, fields.require_text(name, path)?));
    }
    let path = path.field(name);
    let raw = fields.take(name).ok_or_else(|| path.mistake("this field is required"))?;
    let mut inner = Fields::of(raw, &path)?;
    let media = media_of_url(kind, inner.require_text("url", &path)?);
    Ok(Media { detail: inner.take_text("detail", &path)?, ..media })
}

pub(super) fn parse_input_audio(fields: &mut Fields<'_>, path: &Path<'_>) -> Result<Media, RequestError> {
    let path = path.field("input_audio");
    let raw = fields.take("input_audio").ok_or_else(|| path.mistake("this field is required"))?;
    let mut inner = Fields::of(raw, &path)?;
    let data = inner.require_text("data", &path)?;
    let format = inner.take_text("format", &path)?;
    Ok(Media {
        kind: MediaKind::Audio,
        media_type: format.map(|format| type_of_format(&format)),
        source: MediaSource::Base64(data),
        name: None,
        detail: None,
        transcript: None,
    })
}

pub(super) fn parse_file(fields: &mut Fields<'_>, path: &Path<'_>) -> Result<Media, RequestError> {
    let path = path.field("file");
    let raw = fields.take("file").ok_or_else(|| path.mistake("this field is required"))?;
    let mut inner = Fields::of(raw, &path)?;
    let media = match (inner.take_text("file_data", &path)?, inner.take_text("file_id", &path)?) {
        (Some(data), _) if data.starts_with("data:") || data.starts_with("http") => {
            media_of_url(MediaKind::Document, data)
        }
        (Some(data), _) => Media {
            kind: MediaKind::Document,
            media_type: None,
            source: MediaSource::Base64(data),
            name: None,
            detail: None,
            transcript: None,
        },
        (None, Some(id)) => file_by_id(MediaKind::Document, id),
        (None, None) => return Err(path.expected("an object with file_data or file_id")),
    };
    Ok(Media { name: inner.take_text("filename", &path)?, ..media })
}

pub(super) fn file_by_id(kind: MediaKind, id: String) -> Media {
    Media {
        kind,
        media_type: None,
        source: MediaSource::FileId(id),
        name: None,
        detail: None,
        transcript: None,
    }
}

/// OpenAI names the formats of sounds by a word of their own.
fn type_of_format(format: &str) -> String {
    match format {
        "mp3" => "audio/mpeg".to_owned(),
        other => format!("audio/{other}"),
    }
}

/// The word for a sound's type, without what some write around it.
fn format_of_type(media_type: &str) -> &str {
    match media_type.split(';').next().unwrap_or_default().trim() {
        "audio/mpeg" | "audio/mp3" => "mp3",
        "audio/wav" | "audio/x-wav" | "audio/wave" | "audio/vnd.wave" => "wav",
        other => other.strip_prefix("audio/").unwrap_or(other),
    }
}

/// The medium's address, or its data as one. `None` where the wire has no form for its source.
pub(super) fn url_of(media: &Media) -> Option<UrlText<'_>> {
    match &media.source {
        MediaSource::Url(url) => Some(UrlText::Plain(url)),
        MediaSource::Base64(base64) => {
            Some(UrlText::Data { media_type: media.media_type.as_deref().unwrap_or(UNKNOWN_TYPE), base64 })
        }
        MediaSource::FileId(_) | MediaSource::Text(_) => None,
    }
}

/// Writes a medium as a part of a user's message. `None` where this wire has no form for it.
pub(super) fn render_media(media: &Media, is_own: bool) -> Option<KnownPart<'_>> {
    let url = || Some(MediaUrl { url: url_of(media)?, detail: media.detail.as_deref() });
    Some(match (media.kind, &media.source) {
        (MediaKind::Image, _) => {
            KnownPart { kind: "image_url", image_url: Some(url()?), ..KnownPart::default() }
        }
        (MediaKind::Video, _) => {
            KnownPart { kind: "video_url", video_url: Some(url()?), ..KnownPart::default() }
        }
        (MediaKind::Audio, MediaSource::Base64(data)) => KnownPart {
            kind: "input_audio",
            input_audio: Some(InputAudio {
                data,
                format: format_of_type(media.media_type.as_deref().unwrap_or("audio/wav")),
            }),
            ..KnownPart::default()
        },
        (MediaKind::Audio, _) => {
            KnownPart { kind: "audio_url", audio_url: Some(url()?), ..KnownPart::default() }
        }
        // A document of plain text is text to a model anyway, and most targets take no other files than PDFs.
        (MediaKind::Document, MediaSource::Text(text)) => {
            KnownPart { kind: "text", text: Some(text.as_str().into()), ..KnownPart::default() }
        }
        (MediaKind::Document, source) => {
            let name = media.name.as_deref();
            let file = match source {
                // File ids mean nothing to another provider than their own.
                MediaSource::FileId(id) if is_own => File { id: Some(id), filename: name, ..File::default() },
                MediaSource::FileId(_) => return None,
                MediaSource::Base64(data) if media.media_type.is_none() => {
                    File { data: Some(UrlText::Plain(data)), filename: name, ..File::default() }
                }
                _ => File { data: url_of(media), filename: filename(media, is_own), ..File::default() },
            };
            KnownPart { kind: "file", file: Some(file), ..KnownPart::default() }
        }
    })
}

/// OpenAI wants a file name beside the data; a stranger's document may have none.
fn filename(media: &Media, is_own: bool) -> Option<&str> {
    let made_up = match media.media_type.as_deref() {
        _ if is_own => None,
        Some("application/pdf") | None => Some("document.pdf"),
        Some("text/plain") => Some("document.txt"),
        Some(_) => Some("document"),
    };
    media.name.as_deref().or(made_up)
}
