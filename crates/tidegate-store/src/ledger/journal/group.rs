//! Calls that were answered alike, in one frame: what they have in common stands there once. Most calls are such, and those
//! that end in the same moment are written together, so that each takes a third of the room that it takes alone, and is
//! read in half the time. A call with more to say is a [record](super::record) for itself.
//!
//! The payload: what they have in common, then what each has for itself, one after the other, in postcard's format
//! (postcard.jamesmunns.com/wire-format).

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::record::UsageV1;
use super::texts::{KnownTexts, cut, index, optional};
use crate::ledger::{CallId, LedgerEntry, Outcome};

/// The layout of the payload. Like those of [records](super::record) it stays as it is.
pub(super) const VERSION: u8 = 4;

/// A call in two parts: bytes that it shares with others that were answered alike, and its own behind them.
#[derive(Debug)]
pub(in crate::ledger) struct Alike {
    bytes: Vec<u8>,
    common: usize,
}

#[derive(Serialize, Deserialize)]
struct CommonV4<'a> {
    #[serde(borrow)]
    organization_id: Option<&'a str>,
    dialect: &'a str,
    operation: &'a str,
    model: Option<&'a str>,
    provider: Option<&'a str>,
    upstream_model: Option<&'a str>,
    key_label: Option<&'a str>,
    failure: Option<&'a str>,
    finish_reason: Option<&'a str>,
    prices: Option<&'a str>,
    service_tier: Option<&'a str>,
    streamed: bool,
    /// By its place in [`Outcome::ALL`].
    outcome: u8,
    status: Option<u16>,
    is_estimated: bool,
}

#[derive(Serialize, Deserialize)]
struct OwnV4<'a> {
    id: [u8; 16],
    duration_us: u64,
    time_to_first_token_us: Option<u64>,
    #[serde(borrow)]
    key_id: Option<&'a str>,
    team_id: Option<&'a str>,
    end_user: Option<&'a str>,
    usage: UsageV1,
    cost_nanodollars: Option<u64>,
    charge_nanodollars: Option<u64>,
    /// Of its only attempt.
    attempt_us: u64,
    bytes_in: u64,
    bytes_out: u64,
}

impl Alike {
    /// `None` for a call with more to say than fits into this layout.
    pub(super) fn of(entry: &LedgerEntry) -> Option<Self> {
        let has_more = !entry.tags.is_empty()
            || !entry.dropped.is_empty()
            || entry.cache.is_some()
            || entry.exposure.is_some();
        let attempt_us = entry.plain_attempt_us().filter(|_| !has_more)?;
        let common = CommonV4 {
            organization_id: optional(entry.organization_id.as_ref()),
            dialect: cut(&entry.dialect),
            operation: cut(&entry.operation),
            model: optional(entry.model.as_ref()),
            provider: optional(entry.provider.as_ref()),
            upstream_model: optional(entry.upstream_model.as_ref()),
            key_label: optional(entry.key_label.as_ref()),
            failure: optional(entry.failure.as_ref()),
            finish_reason: optional(entry.finish_reason.as_ref()),
            prices: optional(entry.prices.as_ref()),
            service_tier: optional(entry.service_tier.as_ref()),
            streamed: entry.streamed,
            outcome: index(&Outcome::ALL, &entry.outcome)?,
            status: entry.status,
            is_estimated: entry.is_estimated,
        };
        let own = OwnV4 {
            id: entry.id.uuid().into_bytes(),
            duration_us: entry.duration_us,
            time_to_first_token_us: entry.time_to_first_token_us,
            key_id: optional(entry.key_id.as_ref()),
            team_id: optional(entry.team_id.as_ref()),
            end_user: optional(entry.end_user.as_ref()),
            usage: UsageV1::of(&entry.usage),
            cost_nanodollars: entry.cost_nanodollars,
            charge_nanodollars: entry.charge_nanodollars,
            attempt_us,
            bytes_in: entry.bytes_in,
            bytes_out: entry.bytes_out,
        };
        let bytes = postcard::to_extend(&common, Vec::with_capacity(512)).ok()?;
        let common = bytes.len();
        let bytes = postcard::to_extend(&own, bytes).ok()?;
        Some(Self { bytes, common })
    }

    /// What it shares.
    pub(super) fn common(&self) -> &[u8] {
        self.bytes.get(..self.common).unwrap_or_default()
    }

    /// What it has for itself.
    pub(super) fn own(&self) -> &[u8] {
        self.bytes.get(self.common..).unwrap_or_default()
    }
}

/// The calls in the payload of a frame; `None`, and none of them, where this program can make nothing of it.
pub(super) fn decode(
    payload: &[u8],
    known: &mut KnownTexts,
    entries: &mut Vec<LedgerEntry>,
) -> Option<usize> {
    let before = entries.len();
    let done = decode_all(payload, known, entries);
    if done.is_none() {
        entries.truncate(before);
    }
    done.map(|()| entries.len() - before)
}

fn decode_all(payload: &[u8], known: &mut KnownTexts, entries: &mut Vec<LedgerEntry>) -> Option<()> {
    let (common, mut rest) = postcard::take_from_bytes::<CommonV4<'_>>(payload).ok()?;
    let target = format!("{}/{}", common.provider?, common.upstream_model?);
    let target = known.text(&target);
    let id = CallId::from_uuid(Uuid::nil());
    let alike = LedgerEntry {
        organization_id: known.optional(common.organization_id),
        model: known.optional(common.model),
        provider: known.optional(common.provider),
        upstream_model: known.optional(common.upstream_model),
        key_label: known.optional(common.key_label),
        failure: known.optional(common.failure),
        finish_reason: known.optional(common.finish_reason),
        prices: known.optional(common.prices),
        service_tier: known.optional(common.service_tier),
        streamed: common.streamed,
        outcome: *Outcome::ALL.get(usize::from(common.outcome))?,
        status: common.status,
        is_estimated: common.is_estimated,
        ..LedgerEntry::new(id, known.text(common.dialect), known.text(common.operation))
    };
    while !rest.is_empty() {
        let (own, behind) = postcard::take_from_bytes::<OwnV4<'_>>(rest).ok()?;
        rest = behind;
        entries.push(LedgerEntry {
            id: CallId::from_uuid(Uuid::from_bytes(own.id)),
            duration_us: own.duration_us,
            time_to_first_token_us: own.time_to_first_token_us,
            key_id: known.caller(own.key_id),
            team_id: known.optional(own.team_id),
            end_user: known.caller(own.end_user),
            usage: own.usage.into_usage(),
            cost_nanodollars: own.cost_nanodollars,
            charge_nanodollars: own.charge_nanodollars,
            attempts: vec![LedgerEntry::plain_attempt(target.clone(), own.attempt_us)],
            bytes_in: own.bytes_in,
            bytes_out: own.bytes_out,
            ..alike.clone()
        });
    }
    Some(())
}

/// How many calls are in the payload of a frame, as far as this program can read it.
pub(super) fn count(payload: &[u8]) -> u64 {
    let Ok((_, mut rest)) = postcard::take_from_bytes::<CommonV4<'_>>(payload) else { return 0 };
    let mut count = 0;
    while let Ok((_, behind)) = postcard::take_from_bytes::<OwnV4<'_>>(rest) {
        rest = behind;
        count += 1;
    }
    count
}
