//! From the tree to the file types, past every mistake instead of up to the first one. Called by `load`.
//!
//! Unknown keys are seen in one pass, since serde tells the deserializer which ones a type has. A value of the wrong type
//! ends a pass: it is reported, left out of the tree, and the tree is read again. That costs a pass for every such mistake,
//! which a small file and [`MAX_PASSES`] allow.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, Deserialize, DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer as _, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::diagnostic::Mistake;
use crate::suggest;
use crate::yaml::{Entry, Node, Shape};

/// Wrong values reported at once. Who has more has mistaken the format, and the rest is noise.
const MAX_PASSES: usize = 50;

/// The name under which [`Located`] asks for the place of a value.
const LOCATED: &str = "$located";

/// The name that a type takes (`serde(rename)`) to get its variant `Text` for a scalar and `Mapping` for a mapping. Settled by what stands
/// in the file, not by trying one after the other, so that a mistake inside is reported where it is.
const TEXT_OR_MAPPING: &str = "$text_or_mapping";

/// A value with its place in the file.
#[derive(Debug, Clone)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) place: Range<usize>,
    /// The place of its key in a mapping; that of the value where it has none.
    pub(crate) key_place: Range<usize>,
}

/// Reads a tree as `T`, as far as it goes. `T::default()` stands for a file that is not a mapping at all.
pub(crate) fn read<T: DeserializeOwned + Default>(
    tree: &Node,
    failed: &[Range<usize>],
    mistakes: &mut Vec<Mistake>,
) -> T {
    let context = Context::default();
    let mut skipped = HashSet::new();
    let mut value = T::default();
    for _ in 0..MAX_PASSES {
        match T::deserialize(Reader { node: tree, key_place: None, context: &context, skipped: &skipped }) {
            Ok(read) => {
                value = read;
                break;
            }
            Err(error) => {
                let Some((id, place)) = error.at else { break };
                if !failed.contains(&place) {
                    mistakes.push(Mistake { message: error.message, help: error.help, place: Some(place) });
                }
                if id == tree.id {
                    break;
                }
                skipped.insert(id);
            }
        }
    }
    mistakes.extend(context.unknown_keys.into_inner().into_values());
    value
}

/// What all readers of a tree share.
#[derive(Debug, Default)]
struct Context {
    /// By the byte at which the key stands, as every pass comes by again.
    unknown_keys: RefCell<BTreeMap<usize, Mistake>>,
}

#[derive(Debug)]
struct ReadError {
    message: String,
    help: Option<String>,
    /// The value at fault: its number and its place. Filled in by the reader nearest to it.
    at: Option<(usize, Range<usize>)>,
}

impl ReadError {
    fn new(message: String) -> Self {
        Self { message, help: None, at: None }
    }

    fn at(mut self, node: &Node) -> Self {
        self.at.get_or_insert_with(|| (node.id, node.place.clone()));
        self
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("`{field}` is missing here"))
    }
}

#[derive(Clone, Copy)]
struct Reader<'n> {
    node: &'n Node,
    /// Where the key of `node` stands, for the value of a mapping.
    key_place: Option<&'n Range<usize>>,
    context: &'n Context,
    skipped: &'n HashSet<usize>,
}

impl<'n> Reader<'n> {
    fn on(self, node: &'n Node, key_place: Option<&'n Range<usize>>) -> Self {
        Self { node, key_place, ..self }
    }

    fn expected(self, what: &str) -> ReadError {
        let found = match &self.node.shape {
            Shape::Null => "nothing",
            // Not quoted: a text in the place of a mapping is likely to be a key.
            Shape::Scalar(_) => "a text",
            Shape::Sequence(_) => "a list",
            Shape::Mapping(_) => "a mapping",
        };
        ReadError::new(format!("expected {what}, found {found}")).at(self.node)
    }

    fn not(self, what: &str, found: &str) -> ReadError {
        ReadError::new(format!("expected {what}, found `{found}`")).at(self.node)
    }

    fn scalar(self, what: &str) -> Result<&'n str, ReadError> {
        match &self.node.shape {
            Shape::Scalar(text) => Ok(text),
            _ => Err(self.expected(what)),
        }
    }

    fn mapping(self) -> Result<&'n [Entry], ReadError> {
        match &self.node.shape {
            Shape::Mapping(entries) => Ok(entries),
            _ => Err(self.expected("a mapping of names to values")),
        }
    }

    fn entries(self, entries: &'n [Entry], known: Option<&'static [&'static str]>) -> Entries<'n> {
        Entries { reader: self, rest: entries.iter(), known, value: None }
    }

    fn note_unknown_key(self, entry: &Entry, known: &[&str]) {
        let within =
            if self.node.path.is_empty() { String::new() } else { format!(" in `{}`", self.node.path) };
        let mistake = Mistake {
            message: format!("unknown key `{}`{within}", entry.key),
            help: suggest::hint(&entry.key, known.iter().copied()),
            place: Some(entry.key_place.clone()),
        };
        self.context.unknown_keys.borrow_mut().insert(entry.key_place.start, mistake);
    }
}

impl<'de> de::Deserializer<'de> for Reader<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.shape {
            Shape::Null => visitor.visit_unit(),
            Shape::Scalar(text) => visitor.visit_str(text),
            Shape::Sequence(_) => return self.deserialize_seq(visitor),
            Shape::Mapping(_) => return self.deserialize_map(visitor),
        }
        .map_err(|error: ReadError| error.at(self.node))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.scalar("`true` or `false`")? {
            "true" | "True" | "TRUE" => visitor.visit_bool(true),
            "false" | "False" | "FALSE" => visitor.visit_bool(false),
            other => Err(self.not("`true` or `false`", other)),
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let text = self.scalar("a whole number")?;
        let number: u64 = text.trim().parse().map_err(|_not_a_number| self.not("a whole number", text))?;
        visitor.visit_u64(number).map_err(|_too_large: ReadError| self.not("a smaller number", text))
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_str(self.scalar("a text")?).map_err(|error: ReadError| error.at(self.node))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.node.shape {
            Shape::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self).map_err(|error| error.at(self.node))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        if name == LOCATED {
            return visitor
                .visit_seq(PlaceAndValue { reader: self, next: 0 })
                .map_err(|error| error.at(self.node));
        }
        self.deserialize_seq(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let Shape::Sequence(items) = &self.node.shape else { return Err(self.expected("a list")) };
        visitor.visit_seq(Items { reader: self, items: items.iter() }).map_err(|error| error.at(self.node))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if matches!(self.node.shape, Shape::Null) {
            return visitor.visit_unit();
        }
        let entries = self.mapping()?;
        visitor.visit_map(self.entries(entries, None)).map_err(|error| error.at(self.node))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let entries = self.mapping()?;
        visitor.visit_map(self.entries(entries, Some(fields))).map_err(|error| error.at(self.node))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let variant = match &self.node.shape {
            Shape::Mapping(_) if name == TEXT_OR_MAPPING => "Mapping",
            Shape::Scalar(_) if name == TEXT_OR_MAPPING => "Text",
            _ if name == TEXT_OR_MAPPING => return Err(self.expected("a text or a mapping")),
            _ => self.scalar("a word")?,
        };
        if !variants.contains(&variant) {
            let mut error = ReadError::new(format!("`{variant}` is not possible here")).at(self.node);
            error.help = suggest::hint(variant, variants.iter().copied());
            return Err(error);
        }
        visitor.visit_enum(Variant { reader: self, variant }).map_err(|error| error.at(self.node))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u128 f32 f64 char bytes byte_buf unit unit_struct tuple identifier
    }
}

struct Items<'n> {
    reader: Reader<'n>,
    items: std::slice::Iter<'n, Node>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        let skipped = self.reader.skipped;
        let Some(item) = self.items.find(|item| !skipped.contains(&item.id)) else { return Ok(None) };
        seed.deserialize(self.reader.on(item, None)).map(Some).map_err(|error| error.at(item))
    }
}

struct Entries<'n> {
    reader: Reader<'n>,
    rest: std::slice::Iter<'n, Entry>,
    /// The keys that a type has; none where any name will do.
    known: Option<&'static [&'static str]>,
    /// The entry whose key was read and whose value was not.
    value: Option<&'n Entry>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        for entry in self.rest.by_ref() {
            if self.reader.skipped.contains(&entry.value.id) {
                continue;
            }
            if let Some(known) = self.known
                && !known.contains(&entry.key.as_str())
            {
                self.reader.note_unknown_key(entry, known);
                continue;
            }
            self.value = Some(entry);
            let key: StrDeserializer<'_, ReadError> = entry.key.as_str().into_deserializer();
            return seed.deserialize(key).map(Some).map_err(|error| error.at(&entry.value));
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let Some(entry) = self.value.take() else {
            return Err(
                ReadError::new("a value was asked for before its key".to_owned()).at(self.reader.node)
            );
        };
        seed.deserialize(self.reader.on(&entry.value, Some(&entry.key_place)))
            .map_err(|error| error.at(&entry.value))
    }
}

/// The four ends of a [`Located`] value's places, then the value itself.
struct PlaceAndValue<'n> {
    reader: Reader<'n>,
    next: usize,
}

impl<'de> SeqAccess<'de> for PlaceAndValue<'_> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        let place = &self.reader.node.place;
        let key_place = self.reader.key_place.unwrap_or(place);
        let ends = [place.start, place.end, key_place.start, key_place.end];
        let element = self.next;
        self.next += 1;
        match ends.get(element) {
            Some(end) => seed.deserialize((*end).into_deserializer()).map(Some),
            None if element == ends.len() => seed.deserialize(self.reader).map(Some),
            None => Ok(None),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Located<T> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LocatedVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for LocatedVisitor<T> {
            type Value = Located<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a value of the configuration file")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Located<T>, A::Error> {
                let mut end =
                    || access.next_element()?.ok_or_else(|| de::Error::custom("a place is missing"));
                let (start, after, key_start, key_after) = (end()?, end()?, end()?, end()?);
                let value = access.next_element()?.ok_or_else(|| de::Error::custom("a value is missing"))?;
                Ok(Located { value, place: start..after, key_place: key_start..key_after })
            }
        }

        deserializer.deserialize_tuple_struct(LOCATED, 5, LocatedVisitor(PhantomData))
    }
}

/// The word that chooses a variant, and for [`TEXT_OR_MAPPING`] the value inside it.
struct Variant<'n> {
    reader: Reader<'n>,
    variant: &'n str,
}

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = ReadError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), ReadError> {
        let variant: StrDeserializer<'_, ReadError> = self.variant.into_deserializer();
        Ok((seed.deserialize(variant)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ReadError> {
        seed.deserialize(self.reader)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, ReadError> {
        de::Deserializer::deserialize_seq(self.reader, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        de::Deserializer::deserialize_struct(self.reader, "", fields, visitor)
    }
}
