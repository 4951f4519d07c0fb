//! A view of one value within a checked text, read only as far as somebody asks.
//!
//! The text was checked when its `Document` was made, so nothing here reports errors: what is not there, or is of
//! another kind, is `None`. Each descent scans the value again, which is cheap for what requests are asked about.

use std::borrow::Cow;

use serde::Deserialize;

use super::error::JsonError;
use super::scan::{Kind, Reason, Scanner, only_value};
use super::text::decode_string;

/// One value: its kind and its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value<'a> {
    kind: Kind,
    text: &'a [u8],
}

impl<'a> Value<'a> {
    pub(super) fn new(kind: Kind, text: &'a [u8]) -> Self {
        Self { kind, text }
    }

    /// Checks a whole text that is one value of any kind.
    pub fn parse(text: &'a [u8]) -> Result<Self, JsonError> {
        let (kind, span) = only_value(text)?;
        Ok(Self { kind, text: span.of(text) })
    }

    /// What kind of value it is.
    pub fn kind(self) -> Kind {
        self.kind
    }

    /// Its bytes, as they stand in the text.
    pub fn text(self) -> &'a [u8] {
        self.text
    }

    /// Whether it is `null`.
    pub fn is_null(self) -> bool {
        self.kind == Kind::Null
    }

    /// A string, its escapes resolved; borrowed when it has none. Halves of surrogate pairs become U+FFFD.
    pub fn as_string(self) -> Option<Cow<'a, str>> {
        (self.kind == Kind::String).then(|| decode_string(self.text))
    }

    /// `true` or `false`.
    pub fn as_bool(self) -> Option<bool> {
        (self.kind == Kind::Boolean).then_some(self.text == b"true")
    }

    /// A number written without fraction and exponent, from 0 to 2⁶⁴ − 1.
    pub fn as_u64(self) -> Option<u64> {
        self.number_text()?.parse().ok()
    }

    /// A number written without fraction and exponent, from −2⁶³ to 2⁶³ − 1.
    pub fn as_i64(self) -> Option<i64> {
        self.number_text()?.parse().ok()
    }

    /// Any number, rounded to the nearest that a double can hold; none that would be infinite.
    pub fn as_f64(self) -> Option<f64> {
        self.number_text()?.parse().ok().filter(|number: &f64| number.is_finite())
    }

    /// The member of that name, the last one if there are several; none when this is not an object.
    pub fn get(self, name: &str) -> Option<Value<'a>> {
        self.members().filter(|(key, _)| key.is(name)).last().map(|(_, value)| value)
    }

    /// The members in their order, duplicates included; none when this is not an object.
    pub fn members(self) -> Members<'a> {
        Members(Items::inside(self, Kind::Object))
    }

    /// The elements in their order; none when this is not an array.
    pub fn elements(self) -> Elements<'a> {
        Elements(Items::inside(self, Kind::Array))
    }

    /// Reads it into a type.
    pub fn deserialize<T: Deserialize<'a>>(self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(self.text)
    }

    fn number_text(self) -> Option<&'a str> {
        if self.kind == Kind::Number { str::from_utf8(self.text).ok() } else { None }
    }
}

/// A member's name: its bytes with the quotes.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    text: &'a [u8],
}

impl<'a> Key<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text }
    }

    /// Whether it is that name, however it is escaped.
    pub fn is(self, name: &str) -> bool {
        let written = self.text.get(1..self.text.len().saturating_sub(1)).unwrap_or_default();
        // Nearly all differ in the first letters; only an escape can stand for something else than it looks like.
        for (written, named) in written.iter().zip(name.as_bytes()) {
            if *written == b'\\' {
                return decode_string(self.text) == name;
            }
            if written != named {
                return false;
            }
        }
        written.len() == name.len()
    }

    /// The name, its escapes resolved.
    pub fn name(self) -> Cow<'a, str> {
        decode_string(self.text)
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text || self.name() == other.name()
    }
}

impl Eq for Key<'_> {}

/// The members of an object, one by one.
#[derive(Debug, Clone)]
pub struct Members<'a>(Option<Items<'a>>);

impl<'a> Iterator for Members<'a> {
    type Item = (Key<'a>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let items = self.0.as_mut()?;
        items.has_next(b'}')?;
        let key = items.scanner.key().ok()?.of(items.text);
        Some((Key::new(key), items.read_value()?))
    }
}

/// The elements of an array, one by one.
#[derive(Debug, Clone)]
pub struct Elements<'a>(Option<Items<'a>>);

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let items = self.0.as_mut()?;
        items.has_next(b']')?;
        items.read_value()
    }
}

#[derive(Debug, Clone)]
struct Items<'a> {
    text: &'a [u8],
    scanner: Scanner<'a>,
    is_first: bool,
    is_over: bool,
}

impl<'a> Items<'a> {
    fn inside(value: Value<'a>, kind: Kind) -> Option<Self> {
        if value.kind != kind {
            return None;
        }
        let mut scanner = Scanner::new(value.text);
        let opening = if kind == Kind::Object { b'{' } else { b'[' };
        scanner.enter(opening, &Reason::Expected("an opening bracket")).ok()?;
        Some(Self { text: value.text, scanner, is_first: true, is_over: false })
    }

    fn has_next(&mut self, closing: u8) -> Option<()> {
        // Also over after an error, which a checked text does not have.
        self.is_over = self.is_over || !self.scanner.has_item(self.is_first, closing).unwrap_or(false);
        self.is_first = false;
        (!self.is_over).then_some(())
    }

    fn read_value(&mut self) -> Option<Value<'a>> {
        let (kind, span) = self.scanner.value().ok()?;
        Some(Value::new(kind, span.of(self.text)))
    }
}
