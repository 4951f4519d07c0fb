//! What a request mentions that costs more than its text: images, sounds, documents, caches.

use std::borrow::Cow;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};
use memchr::memmem::Finder;

/// What a word says.
#[derive(Debug, Clone, Copy)]
enum Mark {
    Image,
    Reference,
    CacheOfProviders,
    Audio,
    CacheControl,
    Inline,
    Signature,
    Part,
    /// Any of the others may be behind it.
    Escape,
}

/// The words that say so. No two of them can overlap in JSON, so that one search finds all.
const WORDS: [(&str, Mark); 11] = [
    ("image", Mark::Image),
    ("\"file", Mark::Reference),
    ("\"document\"", Mark::Reference),
    ("\"video", Mark::Reference),
    ("cachedContent", Mark::CacheOfProviders),
    ("audio", Mark::Audio),
    ("cache_control", Mark::CacheControl),
    ("\"inline", Mark::Inline),
    ("ignature\"", Mark::Signature),
    ("\"type\"", Mark::Part),
    (ESCAPE, Mark::Escape),
];

/// How an escape of a letter begins.
const ESCAPE: &str = "\\u00";

/// Looks for all words at once, by their rarest bytes: most bodies have none.
static SEARCH: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let words = WORDS.map(|(word, _)| word);
    AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(words).ok()
});

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
    /// Of a body of which nothing is known.
    const ALL: Self = Self {
        images: 1,
        has_cache_of_providers: true,
        has_references: true,
        is_uncountable: true,
        has_audio: true,
        has_parts: true,
        has_cache_control: true,
    };

    pub(super) fn of(body: &[u8]) -> Self {
        let Some(search) = &*SEARCH else { return Self::ALL };
        Self::found(search, body, true)
            .or_else(|| Self::found(search, &without_needless_escapes(body), false))
            .unwrap_or_default()
    }

    /// `None` where an escape comes that may hide a word, unless they are taken out.
    fn found(search: &AhoCorasick, body: &[u8], may_be_escaped: bool) -> Option<Self> {
        let mut marks = Self::default();
        for word in search.find_iter(body) {
            match WORDS.get(word.pattern().as_usize())?.1 {
                Mark::Image => marks.images += 1,
                Mark::Reference => marks.has_references = true,
                Mark::CacheOfProviders => {
                    marks.has_cache_of_providers = true;
                    marks.has_references = true;
                }
                Mark::Audio => {
                    marks.has_audio = true;
                    marks.has_parts = true;
                    marks.is_uncountable = true;
                }
                Mark::CacheControl => marks.has_cache_control = true,
                Mark::Inline => {
                    marks.has_parts = true;
                    marks.is_uncountable = true;
                }
                Mark::Signature => marks.is_uncountable = true,
                Mark::Part => marks.has_parts = true,
                Mark::Escape if may_be_escaped => return None,
                Mark::Escape => {}
            }
        }
        Some(marks)
    }
}

/// The body with its words as every JSON parser reads them: `"im\u0061ge"` is an image. No encoder escapes letters, so
/// hardly any body is copied for this.
fn without_needless_escapes(body: &[u8]) -> Cow<'_, [u8]> {
    let escape = Finder::new(ESCAPE);
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
