//! Images, sounds and documents in a conversation, wherever a dialect has a place for them: in turns, in tool results, in
//! parts of function responses, in documents. Called by `features`.
//!
//! It goes by what things are called, in the words of all dialects: a word of another dialect would not be understood by
//! the target, but must not slip through either. What has a type that nobody here knows, or a file that only the provider
//! sees, may be any of them.

use std::borrow::Cow;

use tidegate_policy::{Feature, Features};
use tidegate_wire::json::{Kind, Value};

use super::features::Uses;

/// Content inside documents inside tool results inside turns is half as deep; what is deeper counts as unknown.
const MAX_DEPTH: usize = 16;

/// What is the caller's or a tool's own data and says nothing of the conversation, or only describes what stands beside it.
const NOT_CONTENT: [&str; 22] = [
    "input",
    "args",
    "arguments",
    "response",
    "toolcalls",
    "functioncall",
    "cachecontrol",
    "signature",
    "thoughtsignature",
    "citations",
    "annotations",
    "metadata",
    "partmetadata",
    "videometadata",
    "mediaresolution",
    "executablecode",
    "codeexecutionresult",
    "reasoningdetails",
    "reasoning",
    "thinking",
    "logprobs",
    "extracontent",
];

/// Types of content that is text, or stands for a tool.
const TEXT: [&str; 14] = [
    "text",
    "inputtext",
    "outputtext",
    "refusal",
    "thinking",
    "redactedthinking",
    "function",
    "custom",
    "message",
    "content",
    "compaction",
    "fallback",
    "toolreference",
    "json",
];

/// Ends of the types of calls to tools and of what came back.
const ENDS_OF_TOOLS: [&str; 6] = ["use", "result", "call", "output", "error", "location"];

/// A name as all dialects write it: `image_url` and `imageUrl` are one.
pub(super) fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

/// The media that a plain name speaks of. Moving images are images.
pub(super) fn media_of(name: &str) -> Features {
    let says = |words: &[&str]| words.iter().any(|word| name.contains(word));
    let mut media = Features::default();
    if says(&["image", "video", "picture", "photo", "screenshot", "vision"]) {
        media.insert(Feature::Images);
    }
    if says(&["audio", "voice", "speech", "sound"]) {
        media.insert(Feature::Audio);
    }
    if says(&["document", "pdf", "attachment"]) || (name.contains("file") && !name.contains("profile")) {
        media.insert(Feature::Documents);
    }
    media
}

/// What may be any of them.
fn any() -> Features {
    [Feature::Images, Feature::Audio, Feature::Documents].into_iter().collect()
}

/// Adds what stands in a part of the conversation.
pub(super) fn add_media(value: Value<'_>, uses: &mut Uses) {
    walk(value, uses, false, MAX_DEPTH);
}

fn walk(value: Value<'_>, uses: &mut Uses, is_inside: bool, depth: usize) {
    let Some(depth) = depth.checked_sub(1) else {
        if matches!(value.kind(), Kind::Array | Kind::Object) {
            uses.beyond = uses.beyond.union(any());
        }
        return;
    };
    match value.kind() {
        Kind::Array => value.elements().for_each(|element| walk(element, uses, is_inside, depth)),
        Kind::Object => object(value, uses, is_inside, depth),
        // The file that is sent along may be something else than the part says.
        Kind::String if is_inside => {
            if let Some(kind) = kind_of_data_url(value) {
                uses.beyond.insert(of_kind(&kind));
            }
        }
        _ => {}
    }
}

fn object(value: Value<'_>, uses: &mut Uses, is_inside: bool, depth: usize) {
    let kind = value.get("type").and_then(Value::as_string).map(|kind| plain(&kind));
    let media = kind.as_deref().map(media_of).unwrap_or_default();
    let is_media = !media.is_empty();
    let is_unknown = !is_media && kind.as_deref().is_some_and(|kind| !is_text(kind));
    if is_media {
        uses.features = uses.features.union(media);
    } else if is_unknown {
        uses.beyond = uses.beyond.union(any());
    }
    if is_media && !is_inside {
        uses.count(value);
    }
    if (is_media || is_unknown) && !is_of_known_size(kind.as_deref().unwrap_or_default(), media, value) {
        uses.refers = true;
    }
    let is_inside = is_inside || is_media;
    for (key, inner) in value.members() {
        let name = plain(&key.name());
        if inner.is_null() || NOT_CONTENT.contains(&&*name) {
            continue;
        }
        match &*name {
            "inlinedata" | "filedata" if inner.kind() == Kind::Object => blob(inner, uses, is_inside),
            // How a medium is sent: its own type is not one of content, but there may be content in it.
            "source" if inner.kind() == Kind::Object => {
                for inner in inner.members().filter(|(key, _)| !key.is("type")).map(|(_, inner)| inner) {
                    walk(inner, uses, true, depth);
                }
            }
            _ => {
                // Some servers go by the name alone, others pass over it: no target need be able to take it.
                let media = media_of(&name);
                uses.beyond = uses.beyond.union(media);
                if !media.is_empty() && !is_of_known_size(&name, media, inner) {
                    uses.refers = true;
                }
                walk(inner, uses, is_inside || !media.is_empty(), depth);
            }
        }
    }
}

/// Google's way, with the kind beside the data. Without one only the provider knows what it is.
fn blob(data: Value<'_>, uses: &mut Uses, is_inside: bool) {
    let kind = data.get("mimeType").or_else(|| data.get("mime_type")).and_then(Value::as_string);
    if let Some(kind) = kind.as_ref().filter(|kind| !kind.is_empty()) {
        uses.features.insert(of_kind(kind));
    } else {
        uses.features.insert(Feature::Documents);
        uses.beyond = uses.beyond.union(any());
    }
    if !is_inside {
        uses.count(data);
    }
    let kind = kind.as_deref().unwrap_or_default();
    let is_image = kind.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("image/"));
    let is_document = of_kind(kind) == Feature::Documents;
    uses.refers |= !is_image && (is_document || !has_data(data, MAX_DEPTH));
}

/// Whether no more tokens can come of this medium than its bytes here: images are counted by themselves, documents can hold
/// far more than their bytes, and of the others it must be the data and not an address.
fn is_of_known_size(name: &str, media: Features, value: Value<'_>) -> bool {
    let is_image = media == std::iter::once(Feature::Images).collect() && !name.contains("video");
    is_image || (!media.contains(Feature::Documents) && has_data(value, MAX_DEPTH))
}

/// Whether the data itself stands there.
fn has_data(value: Value<'_>, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    match value.kind() {
        Kind::String => kind_of_data_url(value).is_some(),
        Kind::Object => value.members().any(|(key, inner)| {
            let is_data = matches!(&*plain(&key.name()), "data" | "bytes" | "base64" | "b64json");
            let is_address = || inner.as_string().is_some_and(|text| text.contains("://"));
            (is_data && inner.kind() == Kind::String && !is_address()) || has_data(inner, depth)
        }),
        _ => false,
    }
}

fn is_text(kind: &str) -> bool {
    TEXT.contains(&kind)
        || kind.starts_with("reasoning")
        || kind.starts_with("summary")
        || ENDS_OF_TOOLS.iter().any(|end| kind.ends_with(end))
}

/// The MIME type of a `data:` URL.
fn kind_of_data_url(value: Value<'_>) -> Option<Cow<'_, str>> {
    let text = value.as_string()?;
    let is_data = text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
    is_data.then(|| match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(5..).unwrap_or_default()),
        Cow::Owned(text) => Cow::Owned(text.get(5..).unwrap_or_default().to_owned()),
    })
}

/// The feature of a MIME type.
fn of_kind(kind: &str) -> Feature {
    let is = |family: &str| kind.get(..family.len()).is_some_and(|start| start.eq_ignore_ascii_case(family));
    if is("image/") || is("video/") {
        Feature::Images
    } else if is("audio/") {
        Feature::Audio
    } else {
        Feature::Documents
    }
}
