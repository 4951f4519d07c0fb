//! A whole JSON object, checked once, with its top-level members at hand. `accept` makes one of each request body,
//! `splice` edits it, the relay makes one of each stream event that it looks into.

use bytes::Bytes;
use smallvec::SmallVec;

use super::error::{JsonError, Problem};
use super::scan::{Kind, Reason, Scanner, Span, Stop, check_utf8};
use super::value::{Key, Value};

/// The most members the object may have. The widest request schema has about forty; a place is noted for each, so that
/// without a limit a body of tiny members would cost many times its own size.
pub const MAX_MEMBERS: usize = 1024;

/// As many as a usual request has, kept without allocating.
pub(crate) type MemberList = SmallVec<[Member; 12]>;

/// Where one member of an object lies in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The name, with its quotes.
    pub key: Span,
    /// The value, without whitespace around it.
    pub value: Span,
    /// What kind of value it is.
    pub kind: Kind,
}

/// A text that is one valid JSON object.
#[derive(Debug, Clone)]
pub struct Document {
    body: Bytes,
    members: MemberList,
    names: Names,
}

/// What the names of an object's members look like, a bit for each: requests are asked for many members that hardly any
/// has, and mostly one look here tells.
#[derive(Debug, Clone, Copy, Default)]
struct Names(u64);

impl Names {
    fn of(members: &[Member], body: &[u8]) -> Self {
        members.iter().fold(Self::default(), |names, member| {
            let quoted = member.key.of(body);
            let written = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
            // An escape can stand for anything.
            let is_plain = !written.contains(&b'\\');
            Self(names.0 | if is_plain { Self::bit(written) } else { u64::MAX })
        })
    }

    fn may_have(self, name: &str) -> bool {
        self.0 & Self::bit(name.as_bytes()) != 0
    }

    fn bit(name: &[u8]) -> u64 {
        let last = name.last().copied().unwrap_or_default();
        1 << ((name.len() * 5 + usize::from(last)) % 64)
    }
}

impl Document {
    /// Checks the whole text and notes the members; anything but an object is an error.
    pub fn parse(body: Bytes) -> Result<Self, JsonError> {
        check_utf8(&body)?;
        let members = read_members(&body)?;
        let names = Names::of(&members, &body);
        Ok(Self { body, members, names })
    }

    /// The text, as it was given.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The text, taken back.
    pub fn into_body(self) -> Bytes {
        self.body
    }

    /// Where the members lie, in their order, duplicates included.
    pub fn member_spans(&self) -> &[Member] {
        &self.members
    }

    /// The members in their order, duplicates included.
    pub fn members(&self) -> impl Iterator<Item = (Key<'_>, Value<'_>)> {
        self.members.iter().map(|member| {
            (Key::new(member.key.of(&self.body)), Value::new(member.kind, member.value.of(&self.body)))
        })
    }

    /// Whether a member of that name may be there, at a glance; without one, it is mostly told here.
    pub fn may_have(&self, name: &str) -> bool {
        self.names.may_have(name)
    }

    /// The member of that name; the last one, if there are several, as the common parsers do.
    pub fn get(&self, name: &str) -> Option<Value<'_>> {
        if !self.may_have(name) {
            return None;
        }
        let member = self.members.iter().rev().find(|member| Key::new(member.key.of(&self.body)).is(name))?;
        Some(Value::new(member.kind, member.value.of(&self.body)))
    }

    /// The member of a member: `get_nested("stream_options", "include_usage")`.
    pub fn get_nested(&self, outer: &str, inner: &str) -> Option<Value<'_>> {
        self.get(outer)?.get(inner)
    }

    /// A member's text as a slice of the body that shares its memory.
    pub fn slice(&self, span: Span) -> Bytes {
        if span.start <= span.end && span.end <= self.body.len() {
            self.body.slice(span.start..span.end)
        } else {
            Bytes::new()
        }
    }

    /// The names that stand more than once.
    pub fn duplicate_keys(&self) -> impl Iterator<Item = Key<'_>> {
        let key = |member: &Member| Key::new(member.key.of(&self.body));
        self.members
            .iter()
            .enumerate()
            .filter(move |(index, member)| {
                self.members.iter().take(*index).any(|earlier| key(earlier) == key(member))
            })
            .map(move |(_, member)| key(member))
    }
}

/// Reads one object that makes up the whole text, which must be UTF-8.
pub(crate) fn read_members(text: &[u8]) -> Result<MemberList, JsonError> {
    let mut scanner = Scanner::new(text);
    let mut members = MemberList::new();
    match read_into(&mut scanner, &mut members) {
        Ok(None) => Ok(members),
        Ok(Some(excess)) => {
            Err(JsonError::at(text, excess.start, Problem::TooManyMembers { limit: MAX_MEMBERS }))
        }
        Err(stop) => Err(scanner.explain(stop)),
    }
}

/// Gives the key of the first member that is one too many.
fn read_into(scanner: &mut Scanner<'_>, members: &mut MemberList) -> Result<Option<Span>, Stop> {
    scanner.enter(b'{', &Reason::Expected("a JSON object"))?;
    while scanner.has_item(members.is_empty(), b'}')? {
        let key = scanner.key()?;
        if members.len() == MAX_MEMBERS {
            return Ok(Some(key));
        }
        let (kind, value) = scanner.value()?;
        members.push(Member { key, value, kind });
    }
    scanner.end()?;
    Ok(None)
}
