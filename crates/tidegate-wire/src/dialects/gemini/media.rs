//! Images, sounds and documents: `inlineData` and `fileData`, both ways. Called by `parts.rs` and `results.rs`.

use std::borrow::Cow;

use base64::Engine as _;
use serde_json::{Map, Value};

use super::parts::keep_nested;
use super::types::{Blob, FileData};
use crate::conversation::{Media, MediaKind, MediaSource, Rest};

/// Where the Files API and Cloud Storage keep what was uploaded; other addresses are fetched from the web.
const UPLOADED: [&str; 3] = ["https://generativelanguage.googleapis.com/", "gs://", "files/"];

/// MIME types by the ending of an address, for addresses that come without one.
const TYPES_BY_ENDING: [(&str, &str); 18] = [
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("webp", "image/webp"),
    ("gif", "image/gif"),
    ("heic", "image/heic"),
    ("heif", "image/heif"),
    ("pdf", "application/pdf"),
    ("txt", "text/plain"),
    ("md", "text/markdown"),
    ("html", "text/html"),
    ("csv", "text/csv"),
    ("mp3", "audio/mpeg"),
    ("wav", "audio/wav"),
    ("ogg", "audio/ogg"),
    ("flac", "audio/flac"),
    ("mp4", "video/mp4"),
    ("webm", "video/webm"),
];

/// Reads inline bytes.
pub(super) fn media_of_blob(blob: Blob<'_>, rest: &mut Rest) -> Media {
    keep_nested(rest, "inlineData", blob.rest);
    let data = blob.data.map(Cow::into_owned).unwrap_or_default();
    media(blob.mime_type, MediaSource::Base64(standard_base64(data)), blob.display_name)
}

/// Reads an address.
pub(super) fn media_of_file(file: FileData<'_>, rest: &mut Rest) -> Media {
    keep_nested(rest, "fileData", file.rest);
    let uri = file.file_uri.map(Cow::into_owned).unwrap_or_default();
    let is_uploaded = UPLOADED.iter().any(|place| uri.starts_with(place));
    let source = if is_uploaded { MediaSource::FileId(uri) } else { MediaSource::Url(uri) };
    media(file.mime_type, source, file.display_name)
}

fn media(mime_type: Option<Cow<'_, str>>, source: MediaSource, name: Option<Cow<'_, str>>) -> Media {
    let media_type = mime_type.filter(|mime_type| !mime_type.is_empty()).map(Cow::into_owned);
    let guessed = match &source {
        MediaSource::Url(address) => type_by_ending(address),
        _ => None,
    };
    let kind = match media_type.as_deref().or(guessed).and_then(|kind| kind.split('/').next()) {
        Some("image") => MediaKind::Image,
        Some("audio") => MediaKind::Audio,
        Some("video") => MediaKind::Video,
        _ => MediaKind::Document,
    };
    let name = name.map(Cow::into_owned);
    Media { kind, media_type, source, name, detail: None, transcript: None }
}

/// Inline bytes for the wire; `None` where the medium is an address. Names are written only for those who know the field:
/// the Developer API refuses it where no server-side tool is in use, so it is given back to Gemini's own callers alone.
pub(super) fn blob_of(media: &Media, with_name: bool, rest: Map<String, Value>) -> Option<Blob<'_>> {
    let (data, mime_type) = match &media.source {
        MediaSource::Base64(data) => (Cow::Borrowed(data.as_str()), media.media_type.as_deref()),
        MediaSource::Text(text) => (
            Cow::Owned(base64::engine::general_purpose::STANDARD.encode(text)),
            Some(media.media_type.as_deref().unwrap_or("text/plain")),
        ),
        MediaSource::Url(_) | MediaSource::FileId(_) => return None,
    };
    Some(Blob {
        mime_type: Some(Cow::Borrowed(mime_type.unwrap_or(default_type(media.kind)))),
        data: Some(data),
        display_name: media.name.as_deref().filter(|_| with_name).map(Cow::Borrowed),
        rest,
    })
}

/// An address for the wire; `None` where the medium is inline. Without a name, it is of another dialect's making, where
/// addresses often stand alone: the type is then read off the address.
pub(super) fn file_of(media: &Media, with_name: bool, rest: Map<String, Value>) -> Option<FileData<'_>> {
    let uri = match &media.source {
        MediaSource::Url(uri) | MediaSource::FileId(uri) => uri,
        MediaSource::Base64(_) | MediaSource::Text(_) => return None,
    };
    let mime_type = media.media_type.as_deref().or_else(|| type_by_ending(uri).filter(|_| !with_name));
    Some(FileData {
        mime_type: mime_type.map(Cow::Borrowed),
        file_uri: Some(Cow::Borrowed(uri)),
        display_name: media.name.as_deref().filter(|_| with_name).map(Cow::Borrowed),
        rest,
    })
}

/// What the ending of an address says about its type.
pub(super) fn type_by_ending(address: &str) -> Option<&'static str> {
    let path = address.split(['?', '#']).next()?;
    let (_, ending) = path.rsplit('/').next()?.rsplit_once('.')?;
    TYPES_BY_ENDING.iter().find(|(known, _)| ending.eq_ignore_ascii_case(known)).map(|(_, kind)| *kind)
}

/// Every inline medium has a type on this wire. Parsers always know it; this is for media made otherwise.
fn default_type(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Image => "image/png",
        MediaKind::Audio => "audio/wav",
        MediaKind::Document => "application/pdf",
        MediaKind::Video => "video/mp4",
    }
}

/// Google takes both alphabets of base64, padded or not, and its Python SDK writes the URL-safe one; the other providers
/// take only the standard one.
fn standard_base64(data: String) -> String {
    if memchr::memchr2(b'-', b'_', data.as_bytes()).is_none() && data.len().is_multiple_of(4) {
        return data;
    }
    let mut standard = data.replace('-', "+").replace('_', "/");
    while !standard.len().is_multiple_of(4) {
        standard.push('=');
    }
    standard
}
