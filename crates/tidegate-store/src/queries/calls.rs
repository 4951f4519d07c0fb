//! The table `calls`: one row a call. Called by the ledger's writer (insert) and reports (read).

use std::sync::Arc;

use jiff::Timestamp;
use rustc_hash::FxHashMap;
use tidegate_wire::Usage;
use uuid::Uuid;

use super::connection::Conditions;
use super::identity::Identity;
use super::many::ManyRows;
use crate::{
    database::{Database, Kind, Row, Transaction, Value, query_text},
    error::StoreError,
    ledger::{Attempt, CacheState, CallId, CallsQuery, LedgerEntry, MAX_TEXT_BYTES, Outcome, Tags, Text},
};

/// All columns, in the order in which [`push_own`] and [`push_shared`] add the values.
const COLUMNS: [&str; OWN.len() + SHARED.len()] = {
    let mut all = [""; OWN.len() + SHARED.len()];
    let mut place = 0;
    while place < all.len() {
        all[place] = if place < OWN.len() { OWN[place] } else { SHARED[place - OWN.len()] };
        place += 1;
    }
    all
};

/// Counts above this (10¹²) are cut: a provider that reports absurd ones must not make a report's sums overflow.
const MAX_COUNT: u64 = 1 << 40;

/// The dearest call that can be recorded, 70,000 dollars; for the same reason.
const MAX_COST_NANODOLLARS: u64 = 1 << 46;

/// Fewer alike ones than this are not worth a statement of their own.
const LEAST_ALIKE: usize = 16;

/// Inserts all that are not there yet. Says how many those were.
///
/// Most calls of a batch were answered by a few targets in the same way and differ in little but their figures: for those
/// all else is bound once a statement, which halves what an entry costs.
pub(crate) async fn insert(
    transaction: &mut Transaction,
    entries: &[LedgerEntry],
) -> Result<u64, StoreError> {
    static INSERTS: ManyRows = ManyRows::new("calls", &COLUMNS, unless_there);
    static ALIKE: ManyRows = ManyRows::sharing("calls", &SHARED, &OWN, unless_there);
    let mut places = FxHashMap::<Shape, usize>::default();
    let mut alike = Vec::<Vec<&LedgerEntry>>::new();
    let mut others = Vec::new();
    for entry in entries {
        let Some(shape) = Shape::of(entry) else {
            others.push(entry);
            continue;
        };
        let place = *places.entry(shape).or_insert(alike.len());
        match alike.get_mut(place) {
            Some(alike) => alike.push(entry),
            None => alike.push(vec![entry]),
        }
    }
    let mut inserted = 0;
    for entries in alike {
        match entries.first() {
            Some(first) if entries.len() >= LEAST_ALIKE => {
                let mut shared = Vec::with_capacity(SHARED.len());
                push_shared(&mut shared, first);
                inserted += ALIKE
                    .run_sharing(transaction, &shared, &entries, |values, it| push_own(values, it))
                    .await?;
            }
            _ => others.extend(entries),
        }
    }
    let push_all = |values: &mut Vec<Value>, entry: &&LedgerEntry| {
        push_own(values, entry);
        push_shared(values, entry);
    };
    Ok(inserted + INSERTS.run(transaction, &others, push_all).await?)
}

fn unless_there(kind: Kind) -> String {
    match kind {
        Kind::Sqlite => "ON CONFLICT (id) DO NOTHING".to_owned(),
        Kind::Postgres => "ON CONFLICT (id, started_at_ms) DO NOTHING".to_owned(),
    }
}

/// The columns that calls of the same shape have in common, in the order in which [`push_shared`] adds the values.
const SHARED: [&str; 27] = [
    "end_user",
    "dialect",
    "operation",
    "model",
    "provider",
    "upstream_model",
    "key_label",
    "failure",
    "finish_reason",
    "prices",
    "organization_id",
    "outcome",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "input_audio_tokens",
    "reasoning_tokens",
    "output_audio_tokens",
    "web_searches",
    "status",
    "streamed",
    "is_estimated",
    "tags",
    "attempts",
    "dropped",
    "cache",
    "experiment",
    "service_tier",
];

/// The columns that each call has for itself, in the order in which [`push_own`] adds the values.
const OWN: [&str; 14] = [
    "id",
    "started_at_ms",
    "duration_us",
    "time_to_first_token_us",
    "key_id",
    "team_id",
    "input_tokens",
    "cache_read_tokens",
    "output_tokens",
    "cost_nanodollars",
    "charge_nanodollars",
    "attempt_us",
    "bytes_in",
    "bytes_out",
];

fn push_own(values: &mut Vec<Value>, entry: &LedgerEntry) {
    let usage = &entry.usage;
    values.extend([
        entry.id.uuid().into(),
        entry.id.started_at_ms().into(),
        count(entry.duration_us).into(),
        entry.time_to_first_token_us.map(count).into(),
        optional_text(entry.key_id.as_ref()).into(),
        optional_text(entry.team_id.as_ref()).into(),
        count(usage.input).into(),
        count(usage.cache_read).into(),
        count(usage.output).into(),
        entry.cost_nanodollars.map(money).into(),
        entry.charge_nanodollars.map(money).into(),
        entry.plain_attempt_us().map(count).into(),
        count(entry.bytes_in).into(),
        count(entry.bytes_out).into(),
    ]);
}

/// What calls must have in common to be written together.
#[derive(PartialEq, Eq, Hash)]
struct Shape {
    texts: [Identity; 12],
    outcome: Outcome,
    tokens: [u64; 6],
    status: Option<u16>,
    flags: [bool; 2],
}

impl Shape {
    /// `None` for a call with more to say than most.
    fn of(entry: &LedgerEntry) -> Option<Self> {
        let is_plain = entry.tags.is_empty()
            && entry.dropped.is_empty()
            && entry.cache.is_none()
            && entry.exposure.is_none()
            && (entry.attempts.is_empty() || entry.plain_attempt_us().is_some());
        let usage = &entry.usage;
        is_plain.then(|| Self {
            texts: [
                Identity::of_optional(entry.end_user.as_ref()),
                Identity::of(&entry.dialect),
                Identity::of(&entry.operation),
                Identity::of_optional(entry.model.as_ref()),
                Identity::of_optional(entry.provider.as_ref()),
                Identity::of_optional(entry.upstream_model.as_ref()),
                Identity::of_optional(entry.key_label.as_ref()),
                Identity::of_optional(entry.failure.as_ref()),
                Identity::of_optional(entry.finish_reason.as_ref()),
                Identity::of_optional(entry.prices.as_ref()),
                Identity::of_optional(entry.organization_id.as_ref()),
                Identity::of_optional(entry.service_tier.as_ref()),
            ],
            outcome: entry.outcome,
            tokens: [
                usage.cache_write_5m,
                usage.cache_write_1h,
                usage.input_audio,
                usage.reasoning,
                usage.output_audio,
                usage.web_searches,
            ],
            status: entry.status,
            flags: [entry.streamed, entry.is_estimated],
        })
    }
}

fn push_shared(values: &mut Vec<Value>, entry: &LedgerEntry) {
    let usage = &entry.usage;
    values.extend([
        optional_text(entry.end_user.as_ref()).into(),
        text(&entry.dialect).into(),
        text(&entry.operation).into(),
        optional_text(entry.model.as_ref()).into(),
        optional_text(entry.provider.as_ref()).into(),
        optional_text(entry.upstream_model.as_ref()).into(),
        optional_text(entry.key_label.as_ref()).into(),
        optional_text(entry.failure.as_ref()).into(),
        optional_text(entry.finish_reason.as_ref()).into(),
        optional_text(entry.prices.as_ref()).into(),
        optional_text(entry.organization_id.as_ref()).into(),
        entry.outcome.as_str().into(),
        count(usage.cache_write_5m).into(),
        count(usage.cache_write_1h).into(),
        count(usage.input_audio).into(),
        count(usage.reasoning).into(),
        count(usage.output_audio).into(),
        count(usage.web_searches).into(),
        entry.status.map(i32::from).into(),
        entry.streamed.into(),
        entry.is_estimated.into(),
        json_text((!entry.tags.is_empty()).then_some(&entry.tags)),
        attempts_text(entry),
        json_text((!entry.dropped.is_empty()).then_some(&entry.dropped)),
        entry.cache.map(CacheState::as_str).into(),
        json_text(entry.exposure.as_deref()),
        optional_text(entry.service_tier.as_ref()).into(),
    ]);
}

/// As JSON, where there is more to say than how long the only one took.
fn attempts_text(entry: &LedgerEntry) -> Value {
    let has_more = !entry.attempts.is_empty() && entry.plain_attempt_us().is_none();
    json_text(has_more.then_some(&entry.attempts))
}

/// The attempts, wherever they are.
fn attempts(
    row: &Row,
    provider: Option<&Text>,
    upstream_model: Option<&Text>,
) -> Result<Vec<Attempt>, StoreError> {
    let duration_us = match row.optional_number("attempt_us")? {
        Some(duration_us) => Some(duration_us),
        // As it was written for a while.
        None => row.get::<Option<String>>("attempts")?.and_then(|text| text.parse().ok()),
    };
    let Some(((duration_us, provider), model)) = duration_us.zip(provider).zip(upstream_model) else {
        return json(row, "attempts");
    };
    Ok(vec![LedgerEntry::plain_attempt(format!("{provider}/{model}").into(), duration_us)])
}

/// Texts, numbers and lists of them always have a JSON form.
fn json_text(value: Option<&impl serde::Serialize>) -> Value {
    value.and_then(|value| serde_json::to_string(value).ok()).into()
}

/// Bounded, so that no sum of a report can overflow.
pub(super) fn money(value: u64) -> i64 {
    bounded(value, MAX_COST_NANODOLLARS)
}

/// Bounded, for the same reason.
pub(super) fn count(value: u64) -> i64 {
    bounded(value, MAX_COUNT)
}

fn bounded(value: u64, most: u64) -> i64 {
    i64::try_from(value.min(most)).unwrap_or(i64::MAX)
}

fn optional_text(value: Option<&Text>) -> Option<Arc<str>> {
    value.map(text)
}

/// The string, cut at the limit and before a NUL, which PostgreSQL cannot store.
pub(super) fn cut(value: &Text) -> &str {
    let whole = value.as_str();
    let mut end = memchr::memchr(0, whole.as_bytes()).unwrap_or(whole.len()).min(MAX_TEXT_BYTES);
    while !whole.is_char_boundary(end) {
        end -= 1;
    }
    whole.get(..end).unwrap_or_default()
}

fn text(value: &Text) -> Arc<str> {
    let cut = cut(value);
    match value {
        Text::Shared(shared) if cut.len() == shared.len() => Arc::clone(shared),
        _ => Arc::from(cut),
    }
}

/// The newest calls first.
pub(crate) async fn list(database: &Database, query: &CallsQuery) -> Result<Vec<LedgerEntry>, StoreError> {
    let from = query.since.map_or(0, Timestamp::as_millisecond);
    let until = query.until.map_or(i64::MAX, Timestamp::as_millisecond);
    let all = Conditions::of(format!("SELECT {} FROM calls WHERE TRUE", COLUMNS.join(",")));
    let question = RANGE_OF_MILLISECONDS
        .iter()
        .zip(id_range(from, until))
        .fold(all, |question, (condition, value)| question.and(condition, Some(value)))
        .and("id <", query.before.map(CallId::uuid))
        // The id says when as well, and PostgreSQL leaves out partitions by the time.
        .and("started_at_ms <=", query.before.map(CallId::started_at_ms))
        .and("team_id =", query.team.as_ref().map(Text::as_str))
        .and("key_id =", query.key.as_ref().map(Text::as_str));
    let rows = database.fetch_all(question.order("id DESC", query.limit)).await?;
    rows.iter().map(entry_from_row).collect()
}

/// One call.
pub(crate) async fn find(database: &Database, id: CallId) -> Result<Option<LedgerEntry>, StoreError> {
    let sql = format!("SELECT {} FROM calls WHERE id = $1 AND started_at_ms = $2", COLUMNS.join(","));
    let row = database.fetch_optional(query_text(sql).bind(id.uuid()).bind(id.started_at_ms())).await?;
    row.as_ref().map(entry_from_row).transpose()
}

/// The conditions that go with the values of [`id_range`]. The ids alone would say it; the times let PostgreSQL leave out
/// partitions.
pub(super) const RANGE_OF_MILLISECONDS: [&str; 4] = ["id >=", "id <", "started_at_ms >=", "started_at_ms <"];

/// The calls that began in this time: an id begins with its call's start.
pub(super) fn id_range(from_ms: i64, until_ms: i64) -> [Value; 4] {
    [
        CallId::lowest_at_ms(from_ms).uuid().into(),
        // What lies beyond the last id is meant to be without an end.
        (if until_ms == i64::MAX { Uuid::max() } else { CallId::lowest_at_ms(until_ms).uuid() }).into(),
        from_ms.into(),
        until_ms.into(),
    ]
}

pub(super) fn tokens_from_row(row: &Row) -> Result<Usage, StoreError> {
    Ok(Usage {
        input: number(row, "input_tokens")?,
        cache_read: number(row, "cache_read_tokens")?,
        cache_write_5m: number(row, "cache_write_5m_tokens")?,
        cache_write_1h: number(row, "cache_write_1h_tokens")?,
        input_audio: number(row, "input_audio_tokens")?,
        output: number(row, "output_tokens")?,
        reasoning: number(row, "reasoning_tokens")?,
        output_audio: number(row, "output_audio_tokens")?,
        web_searches: number(row, "web_searches")?,
    })
}

fn entry_from_row(row: &Row) -> Result<LedgerEntry, StoreError> {
    let outcome: String = row.get("outcome")?;
    let outcome = Outcome::from_word(&outcome).ok_or_else(|| unknown_word("outcome", &outcome))?;
    let cache: Option<String> = row.get("cache")?;
    let cache = cache
        .map(|word| CacheState::from_word(&word).ok_or_else(|| unknown_word("cache", &word)))
        .transpose()?;
    let (provider, upstream_model) = (word(row, "provider")?, word(row, "upstream_model")?);
    let attempts = attempts(row, provider.as_ref(), upstream_model.as_ref())?;
    Ok(LedgerEntry {
        id: CallId::from_uuid(row.get("id")?),
        duration_us: number(row, "duration_us")?,
        time_to_first_token_us: row.optional_number("time_to_first_token_us")?,
        key_id: word(row, "key_id")?,
        team_id: word(row, "team_id")?,
        end_user: word(row, "end_user")?,
        dialect: word(row, "dialect")?.unwrap_or_default(),
        operation: word(row, "operation")?.unwrap_or_default(),
        model: word(row, "model")?,
        provider,
        upstream_model,
        key_label: word(row, "key_label")?,
        streamed: row.get("streamed")?,
        outcome,
        failure: word(row, "failure")?,
        status: row.optional_number("status")?,
        finish_reason: word(row, "finish_reason")?,
        usage: tokens_from_row(row)?,
        cost_nanodollars: row.optional_number("cost_nanodollars")?,
        prices: word(row, "prices")?,
        tags: json::<Tags>(row, "tags")?,
        attempts,
        dropped: json(row, "dropped")?,
        cache,
        bytes_in: number(row, "bytes_in")?,
        bytes_out: number(row, "bytes_out")?,
        organization_id: word(row, "organization_id")?,
        charge_nanodollars: row.optional_number("charge_nanodollars")?,
        is_estimated: row.get("is_estimated")?,
        exposure: json(row, "experiment")?,
        service_tier: word(row, "service_tier")?,
    })
}

fn word(row: &Row, column: &str) -> Result<Option<Text>, StoreError> {
    Ok(row.get::<Option<String>>(column)?.map(Text::from))
}

pub(super) fn number(row: &Row, column: &str) -> Result<u64, StoreError> {
    Ok(row.optional_number(column)?.unwrap_or(0))
}

fn json<T: serde::de::DeserializeOwned + Default>(row: &Row, column: &str) -> Result<T, StoreError> {
    match row.get::<Option<String>>(column)? {
        Some(_) => row.json(column),
        None => Ok(T::default()),
    }
}

fn unknown_word(column: &str, word: &str) -> StoreError {
    StoreError::unreadable(column, sqlx::Error::Decode(format!("`{word}` is not one of its words").into()))
}
