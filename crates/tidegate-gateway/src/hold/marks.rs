//! What a request mentions that costs more than its text: images, sounds, documents, caches.

use std::borrow::Cow;
use std::sync::OnceLock;

use aho_corasick::AhoCorasick;
use memchr::memmem::Finder;

/// The words that say so.
const MARKS: [&str; 10] = [
    "image",
    "\"file",
    "\"document\"",
    "cachedContent",
    "audio",
    "cache_control",
    "\"inline",
    "ignature\"",
    "\"video",
    "\"type\"",
];

/// How an escape of a letter begins.
const ESCAPE: &str = "\\u00";

/// What the body mentions, found by words that all dialects use for it. A word may stand in a text, too: then the estimate
/// is too high.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Marks {
    /// Images at most.
    pub(super) images: u64,
    /// Something that the provider keeps and nobody here sees.
    pub(super) has_cache_of_providers: bool,
    /// Documents or sounds of which the body may hold only an address.
    pub(super) has_references: bool,
    /// Documents and sounds in the body, reasoning of earlier turns behind its signature: nobody here can count those.
    pub(super) is_uncountable: bool,
    pub(super) has_audio: bool,
    /// Parts that may be anything.
    pub(super) has_parts: bool,
    pub(super) has_cache_control: bool,
}

impl Marks {
    pub(super) fn of(body: &[u8]) -> Self {
        static ANY: OnceLock<Option<AhoCorasick>> = OnceLock::new();
        static WORDS: OnceLock<[Finder<'static>; 10]> = OnceLock::new();
        let any = ANY.get_or_init(|| AhoCorasick::new(MARKS.iter().chain(&[ESCAPE])).ok());
        if any.as_ref().is_some_and(|any| !any.is_match(body)) {
            return Self::default();
        }
        let [image, file, document, cached, audio, cache_control, inline, signature, video, kind] =
            WORDS.get_or_init(|| MARKS.map(Finder::new));
        let body = &*without_needless_escapes(body);
        let has = |word: &Finder<'_>| word.find(body).is_some();
        Self {
            images: u64::try_from(image.find_iter(body).count()).unwrap_or(u64::MAX),
            has_cache_of_providers: has(cached),
            has_references: has(file) || has(document) || has(cached) || has(video),
            has_parts: has(kind) || has(audio) || has(inline),
            is_uncountable: has(inline) || has(signature) || has(audio),
            has_audio: has(audio),
            has_cache_control: has(cache_control),
        }
    }
}

/// The body with its words as every JSON parser reads them: `"im\u0061ge"` is an image. No encoder escapes letters, so
/// hardly any body is copied for this.
fn without_needless_escapes(body: &[u8]) -> Cow<'_, [u8]> {
    static FINDER: OnceLock<Finder<'static>> = OnceLock::new();
    let escape = FINDER.get_or_init(|| Finder::new(ESCAPE));
    let mut plain: Option<Vec<u8>> = None;
    let mut copied = 0;
    for place in escape.find_iter(body) {
        let Some(letter) = letter_at(body, place + escape.needle().len()) else { continue };
        let plain = plain.get_or_insert_with(|| Vec::with_capacity(body.len()));
        plain.extend_from_slice(body.get(copied..place).unwrap_or_default());
        plain.push(letter);
        copied = place + escape.needle().len() + 2;
    }
    match plain {
        None => Cow::Borrowed(body),
        Some(mut plain) => {
            plain.extend_from_slice(body.get(copied..).unwrap_or_default());
            Cow::Owned(plain)
        }
    }
}

/// The letter, digit, `_` or `-` that two hexadecimal digits stand for.
fn letter_at(body: &[u8], place: usize) -> Option<u8> {
    let digits = std::str::from_utf8(body.get(place..place + 2)?).ok()?;
    let byte = u8::from_str_radix(digits, 16).ok()?;
    (byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')).then_some(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_words_are_found_and_escapes_of_other_characters_left_alone() {
        let marks =
            Marks::of(br#"{"type":"im\u0061ge_url","c\u0061che\u005Fcontrol":{},"f":"\u0022f\u0069le"}"#);
        assert_eq!((marks.images, marks.has_cache_control), (1, true));
        assert!(Marks::of(br#"{"\u0066\u0069le":{"file_id":"f"}}"#).has_references);
        for untouched in
            [&br#"{"text":"caf\u00e9 \u003cb\u003e \u0022"}"#[..], br#"{"text":"\u00"}"#, b"\\u006"]
        {
            assert!(matches!(without_needless_escapes(untouched), Cow::Borrowed(_)));
        }
    }
}
