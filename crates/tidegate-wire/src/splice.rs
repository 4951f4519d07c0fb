//! Changing a few members of a JSON object and leaving every other byte as it is: order, whitespace, unknown members,
//! the spelling of numbers. Called by the gateway on bodies that pass through in their own dialect.
//!
//! What stays is not copied when it is long: the result is a list of slices, which the HTTP client sends one after
//! another, or one piece for who needs that.

use std::ops::Range;

use bytes::Bytes;
use memchr::memchr;
use smallvec::SmallVec;

use crate::json::{Document, JsonText, Key, Kind, Member, read_members};

/// A piece of the body that is shorter than this is copied next to the new text instead of being a segment of its own:
/// below some kilobytes a copy costs less than sending one more piece.
pub const SHARED_SEGMENT_MIN_BYTES: usize = 4 * 1024;

/// How much longer than the body the result usually is, at most: a model's name, a usage option.
const ROOM_FOR_NEW_TEXT: usize = 128;

/// Changes to one body, gathered and then made in one go.
///
/// Of changes to the same member the last counts. A name that stands more than once in the body is changed, or removed,
/// everywhere, because parsers differ about which one they read.
#[derive(Debug, Clone)]
pub struct Splice<'a> {
    document: &'a Document,
    edits: Edits<'a>,
}

impl<'a> Splice<'a> {
    /// No changes yet.
    pub fn new(document: &'a Document) -> Self {
        Self { document, edits: Edits::default() }
    }

    /// Gives a member this value; adds it at the end where it is missing.
    #[must_use]
    pub fn set(mut self, name: &'a str, value: JsonText) -> Self {
        self.edits.put(name, Some(value));
        self
    }

    /// Gives a member of a member this value. Where the outer one is missing or not an object, it becomes one.
    #[must_use]
    pub fn set_nested(mut self, outer: &'a str, inner: &'a str, value: JsonText) -> Self {
        self.edits.nested(outer).put(inner, Some(value));
        self
    }

    /// Takes a member out, if it is there.
    #[must_use]
    pub fn remove(mut self, name: &'a str) -> Self {
        self.edits.put(name, None);
        self
    }

    /// Takes a member of a member out, if it is there. An outer object that this leaves empty stays.
    #[must_use]
    pub fn remove_nested(mut self, outer: &'a str, inner: &'a str) -> Self {
        self.edits.nested(outer).put(inner, None);
        self
    }

    /// The changed body.
    pub fn finish(self) -> Spliced {
        let body = self.document.body();
        let mut writer = Writer::new(body);
        self.edits.write_object(&mut writer, 0..body.len(), self.document.member_spans());
        writer.finish()
    }
}

/// A body in pieces that follow one another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spliced {
    segments: SmallVec<[Bytes; 4]>,
}

impl Spliced {
    /// The pieces, in order; none is empty.
    pub fn segments(&self) -> &[Bytes] {
        &self.segments
    }

    /// The pieces, one by one.
    pub fn into_segments(self) -> impl Iterator<Item = Bytes> + Send {
        self.segments.into_iter()
    }

    /// Bytes in all pieces together: the `content-length`.
    pub fn len(&self) -> usize {
        self.segments.iter().map(Bytes::len).sum()
    }

    /// Whether there is nothing, which no JSON body is.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The whole in one piece; copies only if there are several.
    pub fn into_bytes(mut self) -> Bytes {
        match self.segments.as_mut_slice() {
            [] => Bytes::new(),
            [only] => std::mem::take(only),
            several => Bytes::from(several.concat()),
        }
    }
}

/// Changes to the members of one object. A name stands in one of the two lists only.
#[derive(Debug, Clone, Default)]
struct Edits<'a> {
    /// The new value, or none to take the member out.
    members: Vec<(&'a str, Option<JsonText>)>,
    nested: Vec<(&'a str, Edits<'a>)>,
}

enum Action<'e, 'a> {
    Keep,
    Set(&'e JsonText),
    Remove,
    Nested(&'e Edits<'a>),
}

impl<'a> Edits<'a> {
    fn put(&mut self, name: &'a str, value: Option<JsonText>) {
        self.members.retain(|(other, _)| *other != name);
        self.nested.retain(|(other, _)| *other != name);
        self.members.push((name, value));
    }

    fn nested(&mut self, name: &'a str) -> &mut Self {
        self.members.retain(|(other, _)| *other != name);
        let place = self.nested.iter().position(|(other, _)| *other == name).unwrap_or_else(|| {
            self.nested.push((name, Self::default()));
            self.nested.len() - 1
        });
        &mut self.nested[place].1
    }

    fn action(&self, key: Key<'_>) -> Action<'_, 'a> {
        if let Some((_, value)) = self.members.iter().find(|(name, _)| key.is(name)) {
            return value.as_ref().map_or(Action::Remove, Action::Set);
        }
        let nested = self.nested.iter().find(|(name, _)| key.is(name));
        nested.map_or(Action::Keep, |(_, edits)| Action::Nested(edits))
    }

    /// Whether there is anything to write where the object is missing.
    fn sets_something(&self) -> bool {
        self.members.iter().any(|(_, value)| value.is_some())
            || self.nested.iter().any(|(_, edits)| edits.sets_something())
    }

    /// Writes the object that lies at `object`, perhaps with whitespace around it, with the changes made.
    fn write_object(&self, writer: &mut Writer<'_>, object: Range<usize>, members: &[Member]) {
        let opened =
            object.start + memchr(b'{', &writer.body[object.clone()]).map_or(object.len(), |brace| brace + 1);
        writer.keep(object.start..members.first().map_or(opened, |first| first.key.start));
        let mut is_first = true;
        for (index, member) in members.iter().enumerate() {
            let action = self.action(Key::new(member.key.of(writer.body)));
            if matches!(action, Action::Remove) {
                continue;
            }
            // A member that goes takes the comma before it along; the first one that stays needs none.
            let before = index.checked_sub(1).and_then(|index| members.get(index));
            if let Some(before) = before.filter(|_| !is_first) {
                writer.keep(before.value.end..member.key.start);
            }
            is_first = false;
            writer.keep(member.key.start..member.value.start);
            match action {
                Action::Set(value) if value.as_bytes() != member.value.of(writer.body) => writer.add(value),
                Action::Nested(edits) => edits.write_nested(writer, *member),
                _ => writer.keep(member.value.start..member.value.end),
            }
        }
        self.write_missing(writer, members, is_first);
        writer.keep(members.last().map_or(opened, |last| last.value.end)..object.end);
    }

    fn write_nested(&self, writer: &mut Writer<'_>, member: Member) {
        let place = member.value;
        if member.kind != Kind::Object {
            if self.sets_something() {
                self.write_new_object(writer);
            } else {
                writer.keep(place.start..place.end);
            }
            return;
        }
        match read_members(place.of(writer.body)) {
            Ok(mut inner) => {
                for inner_member in &mut inner {
                    inner_member.key = inner_member.key.moved_by(place.start);
                    inner_member.value = inner_member.value.moved_by(place.start);
                }
                self.write_object(writer, place.start..place.end, &inner);
            }
            // The text was checked, so there are merely more members than the limit. No provider has an object like
            // that; what was asked for is worth more than what it holds.
            Err(_) => self.write_new_object(writer),
        }
    }

    fn write_new_object(&self, writer: &mut Writer<'_>) {
        writer.add_bytes(b"{");
        self.write_missing(writer, &[], true);
        writer.add_bytes(b"}");
    }

    /// Writes the members that are to be set and are not among `members`.
    fn write_missing(&self, writer: &mut Writer<'_>, members: &[Member], mut is_first: bool) {
        let body = writer.body;
        let is_missing = |name: &str| !members.iter().any(|member| Key::new(member.key.of(body)).is(name));
        let mut write_key = |writer: &mut Writer<'_>, name: &str| {
            if !std::mem::take(&mut is_first) {
                writer.add_bytes(b",");
            }
            writer.add(&JsonText::string(name));
            writer.add_bytes(b":");
        };
        for (name, value) in &self.members {
            if let Some(value) = value
                && is_missing(name)
            {
                write_key(writer, name);
                writer.add(value);
            }
        }
        for (name, edits) in &self.nested {
            if edits.sets_something() && is_missing(name) {
                write_key(writer, name);
                edits.write_new_object(writer);
            }
        }
    }
}

/// Puts the result together from ranges of the body and new text.
struct Writer<'b> {
    body: &'b Bytes,
    segments: SmallVec<[Bytes; 4]>,
    /// New text and short copied ranges, not yet a segment.
    fresh: Vec<u8>,
    /// A range of the body that follows `fresh` and may still grow.
    kept: Range<usize>,
}

impl<'b> Writer<'b> {
    fn new(body: &'b Bytes) -> Self {
        Self { body, segments: SmallVec::new(), fresh: Vec::new(), kept: 0..0 }
    }

    fn keep(&mut self, range: Range<usize>) {
        if range.start != self.kept.end {
            self.flush_kept();
            self.kept.start = range.start;
        }
        self.kept.end = range.end;
    }

    fn add(&mut self, text: &JsonText) {
        if text.as_bytes().len() < SHARED_SEGMENT_MIN_BYTES {
            self.add_bytes(text.as_bytes());
        } else {
            self.flush_kept();
            self.share(text.as_bytes().clone());
        }
    }

    fn add_bytes(&mut self, bytes: &[u8]) {
        self.flush_kept();
        self.reserve(bytes.len());
        self.fresh.extend_from_slice(bytes);
    }

    fn finish(mut self) -> Spliced {
        let is_unchanged = self.fresh.is_empty() && self.segments.is_empty();
        if is_unchanged && self.kept == (0..self.body.len()) {
            self.share(self.body.clone());
        } else {
            self.flush_kept();
            self.share(Bytes::new());
        }
        Spliced { segments: self.segments }
    }

    fn flush_kept(&mut self) {
        let kept = std::mem::replace(&mut self.kept, 0..0);
        if kept.len() >= SHARED_SEGMENT_MIN_BYTES {
            self.share(self.body.slice(kept));
        } else if let Some(short) = self.body.get(kept) {
            self.reserve(short.len());
            self.fresh.extend_from_slice(short);
        }
    }

    /// Room for the whole of a short body at once, which is the usual case.
    fn reserve(&mut self, length: usize) {
        if self.fresh.capacity() == 0 {
            self.fresh.reserve(length.max(self.body.len().min(SHARED_SEGMENT_MIN_BYTES) + ROOM_FOR_NEW_TEXT));
        }
    }

    fn share(&mut self, segment: Bytes) {
        if !self.fresh.is_empty() {
            self.segments.push(Bytes::from(std::mem::take(&mut self.fresh)));
        }
        if !segment.is_empty() {
            self.segments.push(segment);
        }
    }
}
