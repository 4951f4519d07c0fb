//! The scanner: walks over a JSON text once, checks its grammar (RFC 8259) and says where values end. No tree, no
//! recursion, no allocation. `document` and `value` drive it.
//!
//! Numbers are checked for their form and never read, so none is too large. An escaped half of a surrogate pair passes,
//! since the grammar allows it and the common parsers of other languages accept it.

use super::error::{JsonError, Problem};

/// How many arrays and objects may lie within each other. The providers' own schemas need about ten; serde_json, which
/// parses bodies that are translated, stops at about the same number.
pub const MAX_DEPTH: usize = 128;

/// What kind of value a span holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// `1`, `-2.5e3`
    Number,
    /// `true` or `false`
    Boolean,
    /// `null`
    Null,
}

/// A range of bytes in a text. Unlike the standard library's range it can be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// These bytes of `text`; empty when `text` is not the one that the span was measured on.
    pub fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start..self.end).unwrap_or_default()
    }

    /// The same bytes in a longer text that has `offset` bytes before this one.
    #[must_use]
    pub fn moved_by(self, offset: usize) -> Self {
        Self { start: self.start + offset, end: self.end + offset }
    }
}

/// Checks that `text` is one JSON value of any kind and nothing else.
pub fn validate(text: &[u8]) -> Result<Kind, JsonError> {
    only_value(text).map(|(kind, _)| kind)
}

/// The one value that makes up a text.
pub(super) fn only_value(text: &[u8]) -> Result<(Kind, Span), JsonError> {
    check_utf8(text)?;
    let mut scanner = Scanner::new(text);
    let value = scanner.value().and_then(|value| scanner.end().map(|()| value));
    value.map_err(|stop| scanner.explain(stop))
}

pub(super) fn check_utf8(text: &[u8]) -> Result<(), JsonError> {
    if simdutf8::basic::from_utf8(text).is_ok() {
        return Ok(());
    }
    let offset = str::from_utf8(text).map_or_else(|error| error.valid_up_to(), str::len);
    Err(JsonError::at(text, offset, Problem::NotUtf8))
}

/// Why the scanner stopped: one word wide, so that results travel in registers. `Scanner::explain` makes it an error.
pub(super) type Stop = &'static Reason;

#[derive(Debug)]
pub(super) enum Reason {
    Expected(&'static str),
    TooDeep,
}

/// A place in a text, and the containers around it.
#[derive(Debug, Clone)]
pub(super) struct Scanner<'a> {
    text: &'a [u8],
    position: usize,
    depth: usize,
    /// One bit for each container around the place, the innermost lowest: 1 for an object. `MAX_DEPTH` bits.
    containers: u128,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, position: 0, depth: 0, containers: 0 }
    }

    /// Steps over `{` or `[`, if that is what comes; for readers that visit what is inside one by one.
    pub(super) fn enter(&mut self, opening: u8, expected: Stop) -> Result<(), Stop> {
        self.skip_whitespace();
        if self.peek() != Some(opening) {
            return Err(expected);
        }
        self.open(opening == b'{')
    }

    /// Whether another item follows in the container that was entered; steps over the comma or the closing bracket.
    pub(super) fn has_item(&mut self, is_first: bool, closing: u8) -> Result<bool, Stop> {
        self.skip_whitespace();
        match self.peek() {
            Some(byte) if byte == closing => {
                self.position += 1;
                self.close();
                Ok(false)
            }
            Some(b',') if !is_first => {
                self.position += 1;
                Ok(true)
            }
            _ if is_first => Ok(true),
            _ => Err(if closing == b'}' {
                &Reason::Expected("`,` or `}`")
            } else {
                &Reason::Expected("`,` or `]`")
            }),
        }
    }

    /// Steps over a key and its colon; gives the key with its quotes.
    pub(super) fn key(&mut self) -> Result<Span, Stop> {
        self.skip_whitespace();
        let start = self.position;
        if self.peek() != Some(b'"') {
            return Err(&Reason::Expected("a member name in double quotes"));
        }
        self.skip_string()?;
        let span = Span { start, end: self.position };
        self.skip_whitespace();
        if self.peek() != Some(b':') {
            return Err(&Reason::Expected("`:` after the member name"));
        }
        self.position += 1;
        Ok(span)
    }

    /// Steps over a value of any kind, with all that is within it.
    pub(super) fn value(&mut self) -> Result<(Kind, Span), Stop> {
        self.skip_whitespace();
        let start = self.position;
        let outer_depth = self.depth;
        let kind = self.begin_value()?;
        let mut is_first = true;
        while self.depth > outer_depth {
            let is_object = self.containers & 1 == 1;
            if !self.has_item(is_first, if is_object { b'}' } else { b']' })? {
                is_first = false;
                continue;
            }
            if is_object {
                self.key()?;
            }
            self.skip_whitespace();
            let depth = self.depth;
            self.begin_value()?;
            is_first = self.depth > depth;
        }
        Ok((kind, Span { start, end: self.position }))
    }

    /// Nothing but whitespace may follow.
    pub(super) fn end(&mut self) -> Result<(), Stop> {
        self.skip_whitespace();
        if self.position < self.text.len() { Err(&Reason::Expected("the end of the text")) } else { Ok(()) }
    }

    /// The error for a stop: it is always here, at the scanner's place, that something is wrong.
    #[cold]
    pub(super) fn explain(&self, stop: Stop) -> JsonError {
        match stop {
            Reason::Expected(expected) => JsonError::unexpected(self.text, self.position, expected),
            Reason::TooDeep => JsonError::at(self.text, self.position, Problem::TooDeep { limit: MAX_DEPTH }),
        }
    }

    /// Steps over a value without parts, or over the opening bracket of one with parts.
    fn begin_value(&mut self) -> Result<Kind, Stop> {
        match self.peek() {
            Some(b'"') => self.skip_string().map(|()| Kind::String),
            Some(b'{') => self.open(true).map(|()| Kind::Object),
            Some(b'[') => self.open(false).map(|()| Kind::Array),
            Some(b'-' | b'0'..=b'9') => self.skip_number().map(|()| Kind::Number),
            Some(b't') => self.skip_word(b"true", &Reason::Expected("`true`")).map(|()| Kind::Boolean),
            Some(b'f') => self.skip_word(b"false", &Reason::Expected("`false`")).map(|()| Kind::Boolean),
            Some(b'n') => self.skip_word(b"null", &Reason::Expected("`null`")).map(|()| Kind::Null),
            _ => Err(&Reason::Expected("a value")),
        }
    }

    fn open(&mut self, is_object: bool) -> Result<(), Stop> {
        if self.depth == MAX_DEPTH {
            return Err(&Reason::TooDeep);
        }
        self.position += 1;
        self.depth += 1;
        self.containers = self.containers << 1 | u128::from(is_object);
        Ok(())
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.containers >>= 1;
    }

    fn skip_string(&mut self) -> Result<(), Stop> {
        self.position += 1;
        loop {
            self.position = find_special(self.text, self.position);
            match self.peek() {
                Some(b'"') => {
                    self.position += 1;
                    return Ok(());
                }
                Some(b'\\') => self.skip_escape()?,
                Some(_) => {
                    return Err(&Reason::Expected(
                        "an escape, as control characters may not stand in a string",
                    ));
                }
                None => return Err(&Reason::Expected("a closing double quote")),
            }
        }
    }

    fn skip_escape(&mut self) -> Result<(), Stop> {
        self.position += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.position += 1,
            Some(b'u') => {
                for _ in 0..4 {
                    self.position += 1;
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return Err(&Reason::Expected("four hexadecimal digits after `\\u`"));
                    }
                }
                self.position += 1;
            }
            _ => return Err(&Reason::Expected("one of `\"\\/bfnrtu` after the backslash")),
        }
        Ok(())
    }

    fn skip_number(&mut self) -> Result<(), Stop> {
        if self.peek() == Some(b'-') {
            self.position += 1;
        }
        if self.peek() == Some(b'0') {
            self.position += 1;
        } else {
            self.skip_digits()?;
        }
        if self.peek() == Some(b'.') {
            self.position += 1;
            self.skip_digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.position += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.position += 1;
            }
            self.skip_digits()?;
        }
        Ok(())
    }

    fn skip_digits(&mut self) -> Result<(), Stop> {
        let start = self.position;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.position += 1;
        }
        if self.position == start { Err(&Reason::Expected("a digit")) } else { Ok(()) }
    }

    fn skip_word(&mut self, word: &[u8], expected: Stop) -> Result<(), Stop> {
        if !self.text.get(self.position..).is_some_and(|rest| rest.starts_with(word)) {
            return Err(expected);
        }
        self.position += word.len();
        Ok(())
    }

    #[inline]
    fn skip_whitespace(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.position += 1;
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.position).copied()
    }
}

/// How many words of eight bytes are looked at before a string counts as long: most keys and values end within these.
const WORDS_OF_A_SHORT_STRING: usize = 4;

/// A block this long is checked without a branch, which compiles to vector instructions.
const BLOCK_BYTES: usize = 64;

/// Where the first double quote, backslash or control character stands from `from` on, or the end of the text.
///
/// One pass looks for all three kinds, where `memchr2` would need a second one for control characters.
#[inline]
pub(super) fn find_special(text: &[u8], from: usize) -> usize {
    let mut rest = text.get(from..).unwrap_or_default();
    for _ in 0..WORDS_OF_A_SHORT_STRING {
        let Some((word, after)) = rest.split_first_chunk::<8>() else { break };
        let marks = mark_special(u64::from_le_bytes(*word));
        if marks != 0 {
            return text.len() - rest.len() + (marks.trailing_zeros() / 8) as usize;
        }
        rest = after;
    }
    find_special_far(text, rest)
}

fn find_special_far(text: &[u8], mut rest: &[u8]) -> usize {
    while let Some((block, after)) = rest.split_first_chunk::<BLOCK_BYTES>() {
        if block.iter().fold(0, |found, byte| found | is_special(*byte)) != 0 {
            break;
        }
        rest = after;
    }
    while let Some((word, after)) = rest.split_first_chunk::<8>() {
        let marks = mark_special(u64::from_le_bytes(*word));
        if marks != 0 {
            return text.len() - rest.len() + (marks.trailing_zeros() / 8) as usize;
        }
        rest = after;
    }
    text.len() - rest.len() + rest.iter().position(|byte| is_special(*byte) != 0).unwrap_or(rest.len())
}

/// Whether the byte is special, as 0 or 1: without a branch.
fn is_special(byte: u8) -> u8 {
    u8::from(byte == b'"') | u8::from(byte == b'\\') | u8::from(byte < 0x20)
}

/// Sets the top bit of the lowest special byte of the word, and perhaps of bytes above it, but of none below.
///
/// The usual trick: a byte less its bound borrows into its top bit. A borrow that runs on can only mark higher bytes.
fn mark_special(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xFF;
    const TOP_BITS: u64 = ONES * 0x80;
    let quote = word ^ (ONES * 0x22);
    let backslash = word ^ (ONES * 0x5C);
    let is_zero = |word: u64| word.wrapping_sub(ONES) & !word;
    (is_zero(quote) | is_zero(backslash) | word.wrapping_sub(ONES * 0x20) & !word) & TOP_BITS
}
