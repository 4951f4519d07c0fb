//! From the file's text to a tree in which every value knows its place. Called by `load`, read through `read`.
//!
//! A tree, and not the file types at once, because all mistakes are reported together: a deserializer that goes straight
//! from text to types stops at the first one.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Location, Spanned};

use crate::diagnostic::Mistake;

/// Mappings and lists inside each other. The deepest setting sits five levels down.
const MAX_DEPTH: usize = 16;
/// Values in the file, aliases written out. A file of the largest size allowed holds fewer that mean anything.
const MAX_NODES: usize = 100_000;

/// The whole file.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) root: Node,
    /// Where the values stand that are not in the tree, because their key was there before.
    pub(crate) discarded: Vec<Range<usize>>,
}

/// One value of the file.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its number, unique in the tree.
    pub(crate) id: usize,
    /// Where it stands, in bytes of the file.
    pub(crate) place: Range<usize>,
    /// How to get there from the top: `models.fast.targets[1]`. Empty at the top.
    pub(crate) path: String,
    pub(crate) shape: Shape,
}

#[derive(Debug)]
pub(crate) enum Shape {
    Null,
    /// Text, number, truth value: what it is depends on who asks.
    Scalar(String),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_place: Range<usize>,
    pub(crate) value: Node,
}

impl Node {
    /// The entries of a mapping; none for anything else.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.shape {
            Shape::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// Whether it is a list without anything in it.
    pub(crate) fn is_empty_list(&self) -> bool {
        matches!(&self.shape, Shape::Sequence(items) if items.is_empty())
    }

    /// The value under a key of a mapping.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }
}

/// Parses the text. Keys written twice are reported in `mistakes`, and the first one is kept; text that is not YAML is an
/// error, as nothing after it can be trusted.
pub(crate) fn parse(text: &str, mistakes: &mut Vec<Mistake>) -> Result<Tree, Mistake> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: MAX_NODES.saturating_mul(3),
            max_recorded_anchor_events: MAX_NODES,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_NODES },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Spanned<Draft>>(text, options) {
        Ok(draft) => {
            let mut builder = Builder { text, next_id: 0, discarded: Vec::new(), mistakes };
            let root = builder.build(draft, String::new());
            Ok(Tree { root, discarded: builder.discarded })
        }
        Err(error) => Err(syntax_mistake(text, &error)),
    }
}

fn syntax_mistake(text: &str, error: &serde_saphyr::Error) -> Mistake {
    let rendered = error.to_string();
    // The place is shown in the margin; the library repeats it at the end of its sentence.
    let message = rendered.split(" at line ").next().unwrap_or(&rendered);
    let mut mistake = if message.starts_with("budget breached") || message.contains("alias replay limit") {
        Mistake::new("this file is nested too deeply or holds too many values")
            .help(format!("at most {MAX_DEPTH} levels and {MAX_NODES} values, aliases written out"))
    } else if message.contains("multiple YAML documents") {
        Mistake::new("the file holds several YAML documents").help("keep one, without `---` in between")
    } else {
        Mistake::new(format!("this is not YAML: {message}"))
    };
    if let Some(location) = error.location() {
        let place = place_of(text, &location);
        if mistake.help.is_none() && stands_at_tab(text, place.start) {
            mistake = mistake.help("YAML is indented with spaces, not with tabs");
        }
        let line_start =
            text.get(..place.start).and_then(|before| before.rfind('\n')).map_or(0, |index| index + 1);
        let line = text.get(line_start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        if mistake.help.is_none() && line.contains("${") {
            mistake = mistake.help("inside `{ … }` and `[ … ]` a `${…}` needs quotes: `\"${…}\"`");
        }
        mistake = mistake.at(place);
    }
    mistake
}

/// The library points at a tab or right behind it.
fn stands_at_tab(text: &str, position: usize) -> bool {
    let (before, after) = text.split_at_checked(position).unwrap_or_default();
    before.ends_with('\t') || after.starts_with('\t')
}

/// The library knows bytes for most places and always line and column.
fn place_of(text: &str, location: &Location) -> Range<usize> {
    let to_usize = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let span = location.span();
    let start = span.byte_offset().map_or_else(
        || {
            let line_index = to_usize(location.line().saturating_sub(1));
            let line_start: usize = text.split_inclusive('\n').take(line_index).map(str::len).sum();
            let column_index = to_usize(location.column().saturating_sub(1));
            let line = text.get(line_start..).unwrap_or_default();
            line_start + line.chars().take(column_index).map(char::len_utf8).sum::<usize>()
        },
        to_usize,
    );
    let mut start = start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = start.saturating_add(span.byte_len().map_or(1, to_usize)).min(text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}

struct Builder<'a> {
    text: &'a str,
    next_id: usize,
    discarded: Vec<Range<usize>>,
    mistakes: &'a mut Vec<Mistake>,
}

impl Builder<'_> {
    fn build(&mut self, draft: Spanned<Draft>, path: String) -> Node {
        let id = self.next_id;
        self.next_id += 1;
        let place = place_of(self.text, &draft.referenced);
        let shape = match draft.value {
            Draft::Null => Shape::Null,
            Draft::Text(text) => Shape::Scalar(text),
            // The file's own spelling: a key made of digits must not be rounded.
            Draft::Typed(text) => {
                let written = self.text.get(place_of(self.text, &draft.defined)).unwrap_or_default().trim();
                Shape::Scalar(if written.is_empty() { text } else { written.to_owned() })
            }
            Draft::Sequence(items) => Shape::Sequence(
                items
                    .into_iter()
                    .enumerate()
                    .map(|(index, item)| self.build(item, format!("{path}[{index}]")))
                    .collect(),
            ),
            Draft::Mapping(entries) => Shape::Mapping(self.build_entries(entries, &path)),
        };
        Node { id, place, path, shape }
    }

    fn build_entries(&mut self, drafts: Vec<(Spanned<String>, Spanned<Draft>)>, path: &str) -> Vec<Entry> {
        let mut seen = indexmap::IndexMap::<String, Range<usize>>::new();
        let mut entries = Vec::with_capacity(drafts.len());
        for (key, value) in drafts {
            let key_place = place_of(self.text, &key.referenced);
            let value_path =
                if path.is_empty() { key.value.clone() } else { format!("{path}.{}", key.value) };
            if let Some(first) = seen.get(&key.value) {
                let line = self.text.get(..first.start).map_or(0, |before| before.matches('\n').count()) + 1;
                self.mistakes.push(
                    Mistake::new(format!("the key `{}` stands here twice", key.value))
                        .help(format!("the first one is on line {line}; keep one of them"))
                        .at(key_place),
                );
                self.discard(&value);
                continue;
            }
            seen.insert(key.value.clone(), key_place.clone());
            entries.push(Entry { key: key.value, key_place, value: self.build(value, value_path) });
        }
        entries
    }
}

impl Builder<'_> {
    fn discard(&mut self, draft: &Spanned<Draft>) {
        match &draft.value {
            Draft::Sequence(items) => items.iter().for_each(|item| self.discard(item)),
            Draft::Mapping(entries) => entries.iter().for_each(|(_, value)| self.discard(value)),
            Draft::Null | Draft::Text(_) | Draft::Typed(_) => {
                self.discarded.push(place_of(self.text, &draft.referenced));
            }
        }
    }
}

/// A value as the YAML library hands it over.
enum Draft {
    Null,
    Text(String),
    /// Something that YAML takes for a number or a truth value, in the library's spelling.
    Typed(String),
    Sequence(Vec<Spanned<Draft>>),
    Mapping(Vec<(Spanned<String>, Spanned<Draft>)>),
}

impl<'de> Deserialize<'de> for Draft {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DraftVisitor)
    }
}

struct DraftVisitor;

impl<'de> Visitor<'de> for DraftVisitor {
    type Value = Draft;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Draft, E> {
        Ok(Draft::Null)
    }

    fn visit_str<E>(self, text: &str) -> Result<Draft, E> {
        Ok(Draft::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Draft, E> {
        Ok(Draft::Typed(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Draft, E> {
        Ok(Draft::Typed(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Draft, E> {
        Ok(Draft::Typed(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Draft, E> {
        Ok(Draft::Typed(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Draft, E> {
        Ok(Draft::Typed(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Draft, E> {
        Ok(Draft::Typed(value.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Draft, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Draft::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Draft, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Draft::Mapping(entries))
    }
}
