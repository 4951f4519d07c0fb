//! A call as it stands in the journal.
//!
//! Not [`LedgerEntry`] itself: records of an older program must be read by a newer one, and their bytes know no names of
//! fields. So a layout, once released, stays as it is. For a change, make a `RecordV2` beside it with the next version
//! number, encode that one, and keep decoding the old.

use serde::{Deserialize, Serialize, Serializer};
use tidegate_policy::experiments::{Likeness, Seen};
use tidegate_wire::Usage;
use uuid::Uuid;

use super::texts::{KnownTexts, cut, index, optional};
use super::{frame, group};
use crate::ledger::{
    Attempt, AttemptUsage, CacheState, CallId, Exposure, LedgerEntry, Outcome, Pair, Tags, Text,
};

/// The layout that is written for most calls that are not in a [group].
const VERSION: u8 = 1;
/// The same with what few calls have behind it: a part in an experiment. Once also attempts that used something for nothing.
const WITH_MORE: u8 = 2;
/// The same with all that few calls have: of attempts that used something for nothing what their figures follow from, why a call
/// takes no part in an experiment, and the tier of service of an answer that was not served as usual.
const WITH_ALL: u8 = 3;
/// Attempts whose own prices are kept; a call has fewer. More would not fit into a record.
const MAX_OWN_PRICES: usize = 16;
/// A call makes fewer. With this limit, those below and those of texts and tags, a record stays below
/// [`frame::MAX_PAYLOAD_BYTES`].
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
pub(super) struct UsageV1 {
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

/// A record as it is read.
type ReadRecordV1<'a> = RecordV1<'a, Vec<(&'a str, &'a str)>, Vec<AttemptV1<'a>>, Vec<&'a str>>;

#[derive(Serialize, Deserialize)]
struct MoreV2<'a> {
    #[serde(borrow)]
    exposure: Option<ExposureV2<'a>>,
    /// By the attempt's place.
    used: Vec<(u8, UsedV2)>,
}

#[derive(Serialize, Deserialize)]
struct UsedV2 {
    input_tokens: u64,
    output_tokens: u64,
    cost_nanodollars: Option<u64>,
    is_estimated: bool,
}

#[derive(Serialize, Deserialize)]
struct MoreV3<'a> {
    #[serde(borrow)]
    exposure: Option<ExposureV2<'a>>,
    left_out: Option<&'a str>,
    service_tier: Option<&'a str>,
    /// By the attempt's place.
    used: Vec<(u8, UsedV3<'a>)>,
}

#[derive(Serialize, Deserialize)]
struct UsedV3<'a> {
    usage: UsageV1,
    prices: Option<&'a str>,
    cost_nanodollars: Option<u64>,
    is_estimated: bool,
}

#[derive(Serialize, Deserialize)]
struct ExposureV2<'a> {
    #[serde(borrow)]
    experiment: &'a str,
    run: &'a str,
    arm: &'a str,
    unit: Option<u64>,
    pair: Option<PairV2>,
}

#[derive(Serialize, Deserialize)]
struct PairV2 {
    of: [u8; 16],
    failed: bool,
    cost_nanodollars: Option<u64>,
    first_token_us: Option<u64>,
    latency_us: Option<u64>,
    output_tokens: Option<u64>,
    likeness: Option<LikenessV2>,
}

#[derive(Serialize, Deserialize)]
struct LikenessV2 {
    similarity: f64,
    control_characters: u64,
    shadow_characters: u64,
    tool_names: Option<bool>,
    tool_arguments: Option<bool>,
    json: Option<bool>,
}

struct TagsToWrite<'a>(&'a Tags);
struct AttemptsToWrite<'a>(&'a [Attempt]);
struct DroppedToWrite<'a>(&'a [Text]);

/// The frame of a call; `None` if it could not be encoded, which its limits exclude.
pub(in crate::ledger) fn encode(entry: &LedgerEntry) -> Option<Vec<u8>> {
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
        usage: UsageV1::of(&entry.usage),
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
    // Nothing is written that an older layout can say as well.
    let exposure = entry.exposure.as_deref().map(ExposureV2::of);
    let left_out = optional(entry.exposure.as_ref().and_then(|exposure| exposure.left_out.as_ref()));
    let service_tier = optional(entry.service_tier.as_ref());
    let used = UsedV3::of_attempts(entry);
    let framed = if !used.is_empty() || left_out.is_some() || service_tier.is_some() {
        let more = MoreV3 { exposure, left_out, service_tier, used };
        postcard::to_extend(&(record, more), frame::begin(WITH_ALL))
    } else if exposure.is_some() {
        postcard::to_extend(&(record, MoreV2 { exposure, used: Vec::new() }), frame::begin(WITH_MORE))
    } else {
        postcard::to_extend(&record, frame::begin(VERSION))
    };
    let mut framed = framed.ok()?;
    frame::seal(&mut framed)?;
    Some(framed)
}

/// Adds the calls in a frame to others; `None` where this program can make nothing of it.
pub(super) fn decode_frame(
    frame: &frame::Frame<'_>,
    known: &mut KnownTexts,
    entries: &mut Vec<LedgerEntry>,
) -> Option<usize> {
    if frame.version == group::VERSION {
        return group::decode(frame.payload, known, entries);
    }
    entries.push(decode(frame.version, frame.payload, known)?);
    Some(1)
}

/// How many calls a frame holds.
pub(super) fn count(frame: &frame::Frame<'_>) -> u64 {
    if frame.version == group::VERSION { group::count(frame.payload) } else { 1 }
}

/// The call in the frame of one; `None` where this program can make nothing of it.
pub(super) fn decode(version: u8, payload: &[u8], known: &mut KnownTexts) -> Option<LedgerEntry> {
    match version {
        VERSION => postcard::from_bytes::<ReadRecordV1<'_>>(payload).ok()?.into_entry(known),
        WITH_MORE => {
            let (record, more) = postcard::from_bytes::<(ReadRecordV1<'_>, MoreV2<'_>)>(payload).ok()?;
            let mut entry = record.into_entry(known)?;
            for (place, used) in more.used {
                entry.attempts.get_mut(usize::from(place))?.used = Some(used.into_used());
            }
            entry.exposure = more.exposure.map(|exposure| Box::new(exposure.into_exposure(known)));
            Some(entry)
        }
        WITH_ALL => {
            let (record, more) = postcard::from_bytes::<(ReadRecordV1<'_>, MoreV3<'_>)>(payload).ok()?;
            let mut entry = record.into_entry(known)?;
            for (place, used) in more.used {
                entry.attempts.get_mut(usize::from(place))?.used = Some(used.into_used(known));
            }
            entry.exposure = more.exposure.map(|exposure| Box::new(exposure.into_exposure(known)));
            if let Some(exposure) = &mut entry.exposure {
                exposure.left_out = more.left_out.map(|reason| known.text(reason));
            }
            entry.service_tier = more.service_tier.map(|tier| known.text(tier));
            Some(entry)
        }
        _ => None,
    }
}

impl ReadRecordV1<'_> {
    fn into_entry(self, known: &mut KnownTexts) -> Option<LedgerEntry> {
        let mut tags = Tags::default();
        for (name, value) in self.tags {
            tags.insert(name.to_owned(), value.to_owned()).ok()?;
        }
        Some(LedgerEntry {
            id: CallId::from_uuid(Uuid::from_bytes(self.id)),
            duration_us: self.duration_us,
            time_to_first_token_us: self.time_to_first_token_us,
            organization_id: known.optional(self.organization_id),
            key_id: known.caller(self.key_id),
            team_id: known.optional(self.team_id),
            end_user: known.caller(self.end_user),
            dialect: known.text(self.dialect),
            operation: known.text(self.operation),
            model: known.optional(self.model),
            provider: known.optional(self.provider),
            upstream_model: known.optional(self.upstream_model),
            key_label: known.optional(self.key_label),
            streamed: self.streamed,
            outcome: *Outcome::ALL.get(usize::from(self.outcome))?,
            failure: known.optional(self.failure),
            status: self.status,
            finish_reason: known.optional(self.finish_reason),
            usage: self.usage.into_usage(),
            cost_nanodollars: self.cost_nanodollars,
            charge_nanodollars: self.charge_nanodollars,
            is_estimated: self.is_estimated,
            prices: known.optional(self.prices),
            tags,
            attempts: self
                .attempts
                .into_iter()
                .map(|attempt| Attempt {
                    target: known.text(attempt.target),
                    failure: known.optional(attempt.failure),
                    status: attempt.status,
                    duration_us: attempt.duration_us,
                    used: None,
                })
                .collect(),
            dropped: self.dropped.into_iter().map(|field| known.text(field)).collect(),
            cache: match self.cache {
                None => None,
                Some(index) => Some(*CacheState::ALL.get(usize::from(index))?),
            },
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            exposure: None,
            service_tier: None,
        })
    }
}

impl UsageV1 {
    pub(super) fn of(it: &Usage) -> Self {
        Self {
            input: it.input,
            cache_read: it.cache_read,
            cache_write_5m: it.cache_write_5m,
            cache_write_1h: it.cache_write_1h,
            input_audio: it.input_audio,
            output: it.output,
            reasoning: it.reasoning,
            output_audio: it.output_audio,
            web_searches: it.web_searches,
        }
    }

    pub(super) fn into_usage(self) -> Usage {
        Usage {
            input: self.input,
            cache_read: self.cache_read,
            cache_write_5m: self.cache_write_5m,
            cache_write_1h: self.cache_write_1h,
            input_audio: self.input_audio,
            output: self.output,
            reasoning: self.reasoning,
            output_audio: self.output_audio,
            web_searches: self.web_searches,
        }
    }
}

impl UsedV2 {
    fn into_used(self) -> AttemptUsage {
        let usage = Usage { input: self.input_tokens, output: self.output_tokens, ..Usage::default() };
        AttemptUsage {
            cost_nanodollars: self.cost_nanodollars,
            ..AttemptUsage::new(&usage, self.is_estimated)
        }
    }
}

impl<'a> UsedV3<'a> {
    fn of_attempts(entry: &'a LedgerEntry) -> Vec<(u8, Self)> {
        let attempts = (0..).zip(entry.attempts.iter().take(MAX_ATTEMPTS));
        let mut priced = 0;
        attempts
            .filter_map(|(place, attempt)| {
                let used = attempt.used.as_ref()?;
                priced += usize::from(used.prices.is_some());
                let prices = optional(used.prices.as_ref()).filter(|_| priced <= MAX_OWN_PRICES);
                let (cost_nanodollars, is_estimated) = (used.cost_nanodollars, used.is_estimated);
                let usage = UsageV1::of(&used.counts());
                Some((place, Self { usage, prices, cost_nanodollars, is_estimated }))
            })
            .collect()
    }

    fn into_used(self, known: &mut KnownTexts) -> AttemptUsage {
        AttemptUsage {
            prices: known.optional(self.prices),
            cost_nanodollars: self.cost_nanodollars,
            ..AttemptUsage::new(&self.usage.into_usage(), self.is_estimated)
        }
    }
}

impl<'a> ExposureV2<'a> {
    fn of(it: &'a Exposure) -> Self {
        Self {
            experiment: cut(&it.experiment),
            run: cut(&it.run),
            arm: cut(&it.arm),
            unit: it.unit,
            pair: it.pair.as_ref().map(PairV2::of),
        }
    }

    fn into_exposure(self, known: &mut KnownTexts) -> Exposure {
        Exposure {
            experiment: known.text(self.experiment),
            run: known.text(self.run),
            arm: known.text(self.arm),
            unit: self.unit,
            pair: self.pair.map(PairV2::into_pair),
            left_out: None,
        }
    }
}

impl PairV2 {
    fn of(it: &Pair) -> Self {
        Self {
            of: it.of.uuid().into_bytes(),
            failed: it.control.failed,
            cost_nanodollars: it.control.cost_nanodollars,
            first_token_us: it.control.first_token_us,
            latency_us: it.control.latency_us,
            output_tokens: it.control.output_tokens,
            likeness: it.likeness.map(|it| LikenessV2 {
                similarity: it.similarity,
                control_characters: it.control_characters,
                shadow_characters: it.shadow_characters,
                tool_names: it.tool_names,
                tool_arguments: it.tool_arguments,
                json: it.json,
            }),
        }
    }

    fn into_pair(self) -> Pair {
        Pair {
            of: CallId::from_uuid(Uuid::from_bytes(self.of)),
            control: Seen {
                failed: self.failed,
                cost_nanodollars: self.cost_nanodollars,
                first_token_us: self.first_token_us,
                latency_us: self.latency_us,
                output_tokens: self.output_tokens,
            },
            likeness: self.likeness.map(|it| Likeness {
                similarity: it.similarity,
                control_characters: it.control_characters,
                shadow_characters: it.shadow_characters,
                tool_names: it.tool_names,
                tool_arguments: it.tool_arguments,
                json: it.json,
            }),
        }
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
