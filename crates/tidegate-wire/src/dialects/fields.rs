//! One JSON object of a provider's wire, taken apart: known fields are taken out by name, what is left is the `rest`.
//! The dialects' parsers call it.
//!
//! Objects are read one level at a time, so that what lies inside (tool arguments, base64 data) stays the text it was
//! until somebody wants it. A field that is `null` is as good as absent. Mistakes name the place where they were found.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::RequestError;
use crate::conversation::Rest;

/// Where something stands in a body, for mistakes: `messages[0].content[1].type`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    segment: Segment<'p>,
}

#[derive(Debug, Clone, Copy)]
enum Segment<'p> {
    Root,
    Field(&'p str),
    Item(usize),
}

impl<'p> Path<'p> {
    pub(super) const ROOT: Path<'static> = Path { parent: None, segment: Segment::Root };

    pub(super) fn field(&'p self, name: &'p str) -> Path<'p> {
        Path { parent: Some(self), segment: Segment::Field(name) }
    }

    pub(super) fn item(&'p self, index: usize) -> Path<'p> {
        Path { parent: Some(self), segment: Segment::Item(index) }
    }

    /// The mistake that something else was expected here.
    pub(super) fn expected(&self, what: &str) -> RequestError {
        self.mistake(format!("expected {what}"))
    }

    /// The same, with what serde says of it: only what was found, since its lines and columns count from here on.
    pub(super) fn misread(&self, what: &str, error: &serde_json::Error) -> RequestError {
        let error = error.to_string();
        let found = error.split(", expected ").next().and_then(|found| found.split(" at line ").next());
        self.mistake(format!("expected {what}: {}", found.unwrap_or_default()))
    }

    pub(super) fn mistake(&self, message: impl Into<String>) -> RequestError {
        let param = self.to_string();
        RequestError { message: message.into(), param: (!param.is_empty()).then_some(param) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(formatter)?;
        }
        match self.segment {
            Segment::Root => Ok(()),
            Segment::Field(name) => {
                let is_first = self.parent.is_none_or(|parent| matches!(parent.segment, Segment::Root));
                formatter.write_str(if is_first { "" } else { "." })?;
                formatter.write_str(name)
            }
            Segment::Item(index) => write!(formatter, "[{index}]"),
        }
    }
}

/// The fields of one object that nobody has taken yet, in their order.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    entries: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Fields<'a> {
    /// Reads a whole body.
    pub(super) fn of_body(body: &'a [u8]) -> Result<Self, RequestError> {
        serde_json::from_slice(body).map_err(|error| RequestError {
            message: format!("the body is not a JSON object: {error}"),
            param: None,
        })
    }

    pub(super) fn of(raw: &'a RawValue, path: &Path<'_>) -> Result<Self, RequestError> {
        serde_json::from_str(raw.get()).map_err(|error| path.misread("an object", &error))
    }

    /// Takes a field out as it stands; of several with one name the last counts.
    pub(super) fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let last = self.entries.iter().rposition(|(key, _)| key == name)?;
        let (_, value) = self.entries.remove(last);
        if self.entries.iter().any(|(key, _)| key == name) {
            self.entries.retain(|(key, _)| key != name);
        }
        (value.get() != "null").then_some(value)
    }

    /// Takes a field out and reads it; `what` says what it must be, for the mistake.
    pub(super) fn take_as<T: Deserialize<'a>>(
        &mut self,
        name: &str,
        path: &Path<'_>,
        what: &str,
    ) -> Result<Option<T>, RequestError> {
        self.take(name)
            .map(|raw| {
                serde_json::from_str(raw.get()).map_err(|error| path.field(name).misread(what, &error))
            })
            .transpose()
    }

    pub(super) fn take_text(&mut self, name: &str, path: &Path<'_>) -> Result<Option<String>, RequestError> {
        self.take_as(name, path, "a string")
    }

    pub(super) fn require_text(&mut self, name: &str, path: &Path<'_>) -> Result<String, RequestError> {
        self.take_text(name, path)?.ok_or_else(|| path.field(name).mistake("this field is required"))
    }

    /// A look at a field that must be text, without taking it.
    pub(super) fn peek_text(&self, name: &str) -> Option<Cow<'a, str>> {
        let (_, raw) = self.entries.iter().rev().find(|(key, _)| key == name)?;
        serde_json::from_str::<Text<'a>>(raw.get()).ok().map(|text| text.0)
    }

    /// A look at a field as it stands, without taking it.
    pub(super) fn peek(&self, name: &str) -> Option<&'a RawValue> {
        let (_, raw) = self.entries.iter().rev().find(|(key, _)| key == name)?;
        (raw.get() != "null").then_some(*raw)
    }

    /// Whether a field stands there that is not `null`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(key, raw)| key == name && raw.get() != "null")
    }

    /// What nobody took.
    pub(super) fn into_rest(self, path: &Path<'_>) -> Result<Rest, RequestError> {
        let mut rest = Rest::new();
        for (key, raw) in self.entries {
            if raw.get() != "null" {
                let value = to_value(raw, &path.field(&key))?;
                rest.insert(key.into_owned(), value);
            }
        }
        Ok(rest)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::with_capacity(8);
                while let Some((Text(key), value)) = map.next_entry()? {
                    entries.push((key, value));
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_map(Entries).map(|entries| Self { entries })
    }
}

/// The items of an array, as they stand.
pub(super) fn items_of<'a>(raw: &'a RawValue, path: &Path<'_>) -> Result<Vec<&'a RawValue>, RequestError> {
    struct Items;
    impl<'de> Visitor<'de> for Items {
        type Value = Vec<&'de RawValue>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = sequence.next_element()? {
                items.push(item);
            }
            Ok(items)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    deserializer.deserialize_seq(Items).map_err(|error| path.misread("an array", &error))
}

/// A value as a tree.
pub(super) fn to_value(raw: &RawValue, path: &Path<'_>) -> Result<Value, RequestError> {
    serde_json::from_str(raw.get())
        .map_err(|error| path.mistake(format!("this value cannot be read: {error}")))
}

/// A string borrowed from the body where it has no escapes.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_taken_once_and_null_is_absent() {
        let body = br#"{"a":1,"b":null,"a":2,"c":{"d":[1e2,"x"]},"\u0065":"f"}"#;
        let mut fields = Fields::of_body(body).unwrap();
        assert_eq!(fields.take("a").unwrap().get(), "2");
        assert!(fields.take("a").is_none());
        assert!(!fields.has("b"));
        assert_eq!(fields.peek_text("e").unwrap(), "f");
        let rest = fields.into_rest(&Path::ROOT).unwrap();
        assert_eq!(Value::Object(rest), serde_json::json!({"c": {"d": [1e2, "x"]}, "e": "f"}));
    }

    #[test]
    fn mistakes_name_their_place() {
        let messages = Path::ROOT.field("messages");
        let item = messages.item(3);
        assert_eq!(item.field("role").expected("a string").param.unwrap(), "messages[3].role");
        assert_eq!(Path::ROOT.expected("x").param, None);
    }
}
