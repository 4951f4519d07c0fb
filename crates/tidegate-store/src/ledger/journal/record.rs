//! A call as it stands in the journal.
//!
//! Not [`LedgerEntry`] itself: records of an older program must be read by a newer one, and their bytes know no names of
//! fields. So a layout, once released, stays as it is. For a change, make a `RecordV2` beside it with the next version
//! number, encode that one, and keep decoding the old.

use serde::{Deserialize, Serialize, Serializer};
use tidegate_wire::Usage;
use uuid::Uuid;

use super::frame;
use crate::ledger::{Attempt, CacheState, CallId, LedgerEntry, Outcome, Tags, Text};

/// The layout that is written.
const VERSION: u8 = 1;
/// Longer strings are cut, here as in the database. With the limits below and those of tags, a record stays below
/// [`frame::MAX_PAYLOAD_BYTES`].
const MAX_TEXT_BYTES: usize = 512;
/// A call makes fewer.
const MAX_ATTEMPTS: usize = 64;
/// Losses are listed up to this number.
const MAX_DROPPED: usize = 64;

/// Borrowed where it is encoded and where it is decoded; lists are written from where they lie.
#[derive(Serialize, Deserialize)]
struct RecordV1<'a, T, A, D> {
    id: [u8; 16],
    duration_us: u64,
    time_to_first_token_us: Option<u64>,
    #[serde(borrow)]
    organization_id: Option<&'a str>,
    key_id: Option<&'a str>,
    team_id: Option<&'a str>,
    end_user: Option<&'a str>,
    dialect: &'a str,
    operation: &'a str,
    model: Option<&'a str>,
    provider: Option<&'a str>,
    upstream_model: Option<&'a str>,
    key_label: Option<&'a str>,
    streamed: bool,
    /// By its place in [`Outcome::ALL`].
    outcome: u8,
    failure: Option<&'a str>,
    status: Option<u16>,
    finish_reason: Option<&'a str>,
    usage: UsageV1,
    cost_nanodollars: Option<u64>,
    charge_nanodollars: Option<u64>,
    is_estimated: bool,
    prices: Option<&'a str>,
    tags: T,
    attempts: A,
    dropped: D,
    /// By its place in [`CacheState::ALL`].
    cache: Option<u8>,
    bytes_in: u64,
    bytes_out: u64,
}

#[derive(Serialize, Deserialize)]
struct UsageV1 {
    input: u64,
    cache_read: u64,
    cache_write_5m: u64,
    cache_write_1h: u64,
    input_audio: u64,
    output: u64,
    reasoning: u64,
    output_audio: u64,
    web_searches: u64,
}

#[derive(Serialize, Deserialize)]
struct AttemptV1<'a> {
    #[serde(borrow)]
    target: &'a str,
    failure: Option<&'a str>,
    status: Option<u16>,
    duration_us: u64,
}

struct TagsToWrite<'a>(&'a Tags);
struct AttemptsToWrite<'a>(&'a [Attempt]);
struct DroppedToWrite<'a>(&'a [Text]);

/// The frame of a call; `None` if it could not be encoded, which its limits exclude.
pub(in crate::ledger) fn encode(entry: &LedgerEntry) -> Option<Vec<u8>> {
    let usage = &entry.usage;
    let record = RecordV1 {
        id: entry.id.uuid().into_bytes(),
        duration_us: entry.duration_us,
        time_to_first_token_us: entry.time_to_first_token_us,
        organization_id: optional(entry.organization_id.as_ref()),
        key_id: optional(entry.key_id.as_ref()),
        team_id: optional(entry.team_id.as_ref()),
        end_user: optional(entry.end_user.as_ref()),
        dialect: cut(&entry.dialect),
        operation: cut(&entry.operation),
        model: optional(entry.model.as_ref()),
        provider: optional(entry.provider.as_ref()),
        upstream_model: optional(entry.upstream_model.as_ref()),
        key_label: optional(entry.key_label.as_ref()),
        streamed: entry.streamed,
        outcome: index(&Outcome::ALL, &entry.outcome)?,
        failure: optional(entry.failure.as_ref()),
        status: entry.status,
        finish_reason: optional(entry.finish_reason.as_ref()),
        usage: UsageV1 {
            input: usage.input,
            cache_read: usage.cache_read,
            cache_write_5m: usage.cache_write_5m,
            cache_write_1h: usage.cache_write_1h,
            input_audio: usage.input_audio,
            output: usage.output,
            reasoning: usage.reasoning,
            output_audio: usage.output_audio,
            web_searches: usage.web_searches,
        },
        cost_nanodollars: entry.cost_nanodollars,
        charge_nanodollars: entry.charge_nanodollars,
        is_estimated: entry.is_estimated,
        prices: optional(entry.prices.as_ref()),
        tags: TagsToWrite(&entry.tags),
        attempts: AttemptsToWrite(entry.attempts.get(..MAX_ATTEMPTS).unwrap_or(&entry.attempts)),
        dropped: DroppedToWrite(entry.dropped.get(..MAX_DROPPED).unwrap_or(&entry.dropped)),
        cache: entry.cache.as_ref().and_then(|cache| index(&CacheState::ALL, cache)),
        bytes_in: entry.bytes_in,
        bytes_out: entry.bytes_out,
    };
    frame::seal(postcard::to_extend(&record, frame::begin(VERSION)).ok()?)
}

/// The call in a frame; `None` where this program can make nothing of it.
pub(super) fn decode(version: u8, payload: &[u8]) -> Option<LedgerEntry> {
    match version {
        VERSION => {
            postcard::from_bytes::<RecordV1<'_, Vec<(&str, &str)>, Vec<AttemptV1<'_>>, Vec<&str>>>(payload)
                .ok()?
                .into_entry()
        }
        _ => None,
    }
}

impl RecordV1<'_, Vec<(&str, &str)>, Vec<AttemptV1<'_>>, Vec<&str>> {
    fn into_entry(self) -> Option<LedgerEntry> {
        let mut tags = Tags::default();
        for (name, value) in self.tags {
            tags.insert(name.to_owned(), value.to_owned()).ok()?;
        }
        Some(LedgerEntry {
            id: CallId::from_uuid(Uuid::from_bytes(self.id)),
            duration_us: self.duration_us,
            time_to_first_token_us: self.time_to_first_token_us,
            organization_id: self.organization_id.map(text),
            key_id: self.key_id.map(text),
            team_id: self.team_id.map(text),
            end_user: self.end_user.map(text),
            dialect: text(self.dialect),
            operation: text(self.operation),
            model: self.model.map(text),
            provider: self.provider.map(text),
            upstream_model: self.upstream_model.map(text),
            key_label: self.key_label.map(text),
            streamed: self.streamed,
            outcome: *Outcome::ALL.get(usize::from(self.outcome))?,
            failure: self.failure.map(text),
            status: self.status,
            finish_reason: self.finish_reason.map(text),
            usage: Usage {
                input: self.usage.input,
                cache_read: self.usage.cache_read,
                cache_write_5m: self.usage.cache_write_5m,
                cache_write_1h: self.usage.cache_write_1h,
                input_audio: self.usage.input_audio,
                output: self.usage.output,
                reasoning: self.usage.reasoning,
                output_audio: self.usage.output_audio,
                web_searches: self.usage.web_searches,
            },
            cost_nanodollars: self.cost_nanodollars,
            charge_nanodollars: self.charge_nanodollars,
            is_estimated: self.is_estimated,
            prices: self.prices.map(text),
            tags,
            attempts: self
                .attempts
                .into_iter()
                .map(|attempt| Attempt {
                    target: text(attempt.target),
                    failure: attempt.failure.map(text),
                    status: attempt.status,
                    duration_us: attempt.duration_us,
                })
                .collect(),
            dropped: self.dropped.into_iter().map(text).collect(),
            cache: match self.cache {
                None => None,
                Some(index) => Some(*CacheState::ALL.get(usize::from(index))?),
            },
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
        })
    }
}

impl Serialize for TagsToWrite<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter())
    }
}

impl Serialize for AttemptsToWrite<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|attempt| AttemptV1 {
            target: cut(&attempt.target),
            failure: optional(attempt.failure.as_ref()),
            status: attempt.status,
            duration_us: attempt.duration_us,
        }))
    }
}

impl Serialize for DroppedToWrite<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|field| cut(field)))
    }
}

fn index<T: PartialEq>(all: &[T], value: &T) -> Option<u8> {
    all.iter().position(|known| known == value).and_then(|index| u8::try_from(index).ok())
}

fn optional(value: Option<&Text>) -> Option<&str> {
    value.map(|value| cut(value))
}

/// The string, cut at the limit and before a NUL, which PostgreSQL cannot store.
fn cut(whole: &str) -> &str {
    let mut end = whole.len().min(MAX_TEXT_BYTES);
    while !whole.is_char_boundary(end) {
        end -= 1;
    }
    let cut = whole.get(..end).unwrap_or_default();
    cut.split_once('\0').map_or(cut, |(before, _)| before)
}

fn text(value: &str) -> Text {
    Text::Shared(value.into())
}
