//! A call's tags: what the caller wants its calls to be told apart by. Parsed where a call is accepted, kept in the
//! ledger, grouped by in reports.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeMap};

use super::Text;

/// More tags than this make every row of the ledger heavy and no report better.
const MAX_TAGS: usize = 16;
/// Long enough for a name with a prefix.
const MAX_NAME_BYTES: usize = 64;
/// Long enough for an id or an address; tags are for grouping, not for content.
const MAX_VALUE_BYTES: usize = 256;

/// Names with values, bounded in number and length. A name appears once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tags(Vec<(Text, Text)>);

/// Why a tag is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// No `=`.
    #[error("the tag `{0}` has no value; tags are written name=value,name=value")]
    NoValue(String),
    /// A name that reports could not address.
    #[error(
        "the tag name `{0}` is not usable; it takes 1 to {MAX_NAME_BYTES} letters, digits, `_`, `-` or `.` and begins with a letter or `_`"
    )]
    Name(String),
    /// A value that is too long or holds control characters.
    #[error(
        "the value of the tag `{0}` is not usable; it takes up to {MAX_VALUE_BYTES} bytes without control characters"
    )]
    Value(String),
    /// More than the limit.
    #[error("more than {MAX_TAGS} tags on one call")]
    TooMany,
}

impl Tags {
    /// Reads `name=value,name=value`, the form of the `x-tidegate-tags` header. The last of two equal names counts.
    pub fn parse(header: &str) -> Result<Self, TagError> {
        let mut tags = Self::default();
        for part in header.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let Some((name, value)) = part.split_once('=') else {
                return Err(TagError::NoValue(shorten(part)));
            };
            tags.insert(name.trim().to_owned(), value.trim().to_owned())?;
        }
        Ok(tags)
    }

    /// Adds a tag, or replaces the value of the one that has this name.
    pub fn insert(&mut self, name: impl Into<Text>, value: impl Into<Text>) -> Result<(), TagError> {
        let (name, value) = (name.into(), value.into());
        if !Self::is_name(&name) {
            return Err(TagError::Name(shorten(&name)));
        }
        if value.len() > MAX_VALUE_BYTES || value.chars().any(char::is_control) {
            return Err(TagError::Value(name.to_string()));
        }
        if let Some(existing) = self.0.iter_mut().find(|(known, _)| *known == name) {
            existing.1 = value;
        } else if self.0.len() == MAX_TAGS {
            return Err(TagError::TooMany);
        } else {
            self.0.push((name, value));
        }
        Ok(())
    }

    /// Whether a tag can have this name.
    pub fn is_name(name: &str) -> bool {
        // A name that begins with a digit, `$` or `[` would be read as a position or a path by the database's JSON
        // operators, not as a name.
        name.len() <= MAX_NAME_BYTES
            && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of one tag.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All of them, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// A caller's string for an error message: it may be long.
fn shorten(text: &str) -> String {
    text.chars().take(MAX_NAME_BYTES).collect()
}

impl Serialize for Tags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Tags;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("tag names with their values")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Tags, A::Error> {
                let mut tags = Tags::default();
                while let Some((name, value)) = map.next_entry::<Text, Text>()? {
                    tags.insert(name, value).map_err(de::Error::custom)?;
                }
                Ok(tags)
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_and_what_is_wrong_is_named() {
        let tags = Tags::parse(" team=search, build=7=b ,team=ads,").unwrap();
        assert_eq!(tags.iter().collect::<Vec<_>>(), [("team", "ads"), ("build", "7=b")]);
        assert_eq!(Tags::parse("").unwrap(), Tags::default());
        for (header, expected) in [
            ("team", TagError::NoValue("team".into())),
            ("=x", TagError::Name(String::new())),
            ("$.a=x", TagError::Name("$.a".into())),
            ("0=x", TagError::Name("0".into())),
            ("a=x\u{0}y", TagError::Value("a".into())),
        ] {
            assert_eq!(Tags::parse(header), Err(expected), "{header:?}");
        }
        let many = (0..=MAX_TAGS).map(|n| format!("t{n}=x")).collect::<Vec<_>>().join(",");
        assert_eq!(Tags::parse(&many), Err(TagError::TooMany));
        assert_eq!(
            Tags::parse(&format!("a={}", "x".repeat(MAX_VALUE_BYTES + 1))),
            Err(TagError::Value("a".into()))
        );
    }
}
