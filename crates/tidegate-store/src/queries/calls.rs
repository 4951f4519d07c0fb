//! The table `calls`: one row a call. Called by the ledger's writer (insert) and reports (read).

use std::sync::Arc;

use jiff::Timestamp;
use sqlx::{
    Arguments, AssertSqlSafe, Connection, Row, SqlSafeStr, SqlStr, SqliteConnection, SqlitePool,
    sqlite::{SqliteArguments, SqliteRow},
};
use tidegate_wire::Usage;
use uuid::Uuid;

use crate::ledger::{
    CacheState, CallId, CallsQuery, GroupBy, LedgerEntry, Outcome, Tags, Text, UsageQuery, UsageRow,
};

/// In the order in which [`bind`] adds the values.
const COLUMNS: [&str; 35] = [
    "id",
    "started_at_ms",
    "duration_us",
    "time_to_first_token_us",
    "key_id",
    "team_id",
    "end_user",
    "dialect",
    "operation",
    "model",
    "provider",
    "upstream_model",
    "key_label",
    "streamed",
    "outcome",
    "failure",
    "status",
    "finish_reason",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "input_audio_tokens",
    "output_tokens",
    "reasoning_tokens",
    "output_audio_tokens",
    "web_searches",
    "cost_nanodollars",
    "prices",
    "tags",
    "attempts",
    "dropped",
    "cache",
    "bytes_in",
    "bytes_out",
];

/// How many rows one statement inserts: the largest first, the rest of a batch by the smaller ones.
///
/// Measured, release build, per entry of a realistic size and with all 35 columns, batches of 512: one statement of 64
/// rows 3.8 µs of CPU, of 16 rows 4.6 µs, of one row 14 µs (each statement is a round trip to the connection's own
/// thread), `INSERT … SELECT … FROM json_each(?)` 23 µs (every column searches the JSON again).
const STATEMENT_ROWS: [usize; 4] = [64, 16, 4, 1];

/// Longer strings are cut. Names of models come from callers and are bounded by nothing but the size of a request.
const MAX_TEXT_BYTES: usize = 512;

/// Counts above this (10¹²) are cut: a provider that reports absurd ones must not make a report's sums overflow.
const MAX_COUNT: u64 = 1 << 40;

/// The dearest call that can be recorded, nine million dollars; for the same reason.
const MAX_COST_NANODOLLARS: u64 = 1 << 53;

/// The insert statements, made once for a writer.
#[derive(Debug)]
pub(crate) struct Inserts([(usize, SqlStr); STATEMENT_ROWS.len()]);

impl Inserts {
    pub(crate) fn new() -> Self {
        let row = format!("({})", ["?"; COLUMNS.len()].join(","));
        Self(STATEMENT_ROWS.map(|rows| {
            let values = vec![row.as_str(); rows].join(",");
            // A batch whose COMMIT was done but not acknowledged is sent again: what is there already stays as it is.
            let sql: Arc<str> = format!(
                "INSERT INTO calls ({}) VALUES {values} ON CONFLICT (id) DO NOTHING",
                COLUMNS.join(",")
            )
            .into();
            (rows, AssertSqlSafe(sql).into_sql_str())
        }))
    }
}

/// Writes all of them or none, in one transaction.
pub(crate) async fn insert_all(
    connection: &mut SqliteConnection,
    inserts: &Inserts,
    mut entries: &[LedgerEntry],
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for (rows, sql) in &inserts.0 {
        while let Some((chunk, rest)) = entries.split_at_checked(*rows) {
            let mut arguments = SqliteArguments::default();
            arguments.reserve(rows * COLUMNS.len(), 0);
            for entry in chunk {
                bind(&mut arguments, entry).map_err(sqlx::Error::Encode)?;
            }
            sqlx::query_with(sql.clone(), arguments).execute(&mut *transaction).await?;
            entries = rest;
        }
    }
    transaction.commit().await
}

fn bind(arguments: &mut SqliteArguments, entry: &LedgerEntry) -> Result<(), sqlx::error::BoxDynError> {
    arguments.add(entry.id.uuid())?;
    arguments.add(entry.id.started_at_ms())?;
    arguments.add(count(entry.duration_us))?;
    arguments.add(entry.time_to_first_token_us.map(count))?;
    arguments.add(optional_text(entry.key_id.as_ref()))?;
    arguments.add(optional_text(entry.team_id.as_ref()))?;
    arguments.add(optional_text(entry.end_user.as_ref()))?;
    arguments.add(text(&entry.dialect))?;
    arguments.add(text(&entry.operation))?;
    arguments.add(optional_text(entry.model.as_ref()))?;
    arguments.add(optional_text(entry.provider.as_ref()))?;
    arguments.add(optional_text(entry.upstream_model.as_ref()))?;
    arguments.add(optional_text(entry.key_label.as_ref()))?;
    arguments.add(entry.streamed)?;
    arguments.add(Arc::<str>::from(entry.outcome.as_str()))?;
    arguments.add(optional_text(entry.failure.as_ref()))?;
    arguments.add(entry.status.map(i64::from))?;
    arguments.add(optional_text(entry.finish_reason.as_ref()))?;
    let usage = &entry.usage;
    for tokens in [
        usage.input,
        usage.cache_read,
        usage.cache_write_5m,
        usage.cache_write_1h,
        usage.input_audio,
        usage.output,
        usage.reasoning,
        usage.output_audio,
        usage.web_searches,
    ] {
        arguments.add(count(tokens))?;
    }
    arguments.add(entry.cost_nanodollars.map(|cost| bounded(cost, MAX_COST_NANODOLLARS)))?;
    arguments.add(optional_text(entry.prices.as_ref()))?;
    arguments.add(if entry.tags.is_empty() { None } else { Some(serde_json::to_string(&entry.tags)?) })?;
    arguments.add(if entry.attempts.is_empty() {
        None
    } else {
        Some(serde_json::to_string(&entry.attempts)?)
    })?;
    arguments.add(if entry.dropped.is_empty() {
        None
    } else {
        Some(serde_json::to_string(&entry.dropped)?)
    })?;
    arguments.add(entry.cache.map(|cache| Arc::<str>::from(cache.as_str())))?;
    arguments.add(count(entry.bytes_in))?;
    arguments.add(count(entry.bytes_out))
}

fn count(value: u64) -> i64 {
    bounded(value, MAX_COUNT)
}

fn bounded(value: u64, most: u64) -> i64 {
    i64::try_from(value.min(most)).unwrap_or(i64::MAX)
}

fn optional_text(value: Option<&Text>) -> Option<Arc<str>> {
    value.map(text)
}

/// The string, cut at the limit and before a NUL, which PostgreSQL cannot store.
fn text(value: &Text) -> Arc<str> {
    let whole = value.as_str();
    let mut end = whole.find('\0').unwrap_or(whole.len()).min(MAX_TEXT_BYTES);
    while !whole.is_char_boundary(end) {
        end -= 1;
    }
    match value {
        Text::Shared(shared) if end == shared.len() => Arc::clone(shared),
        _ => Arc::from(whole.get(..end).unwrap_or_default()),
    }
}

/// The newest calls first.
pub(crate) async fn list(pool: &SqlitePool, query: &CallsQuery) -> Result<Vec<LedgerEntry>, sqlx::Error> {
    let sql = format!(
        "SELECT {} FROM calls WHERE id >= $1 AND id < $2 ORDER BY id DESC LIMIT $3",
        COLUMNS.join(",")
    );
    let (from, until) = range(query.since, query.until);
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(from)
        .bind(until)
        .bind(i64::from(query.limit))
        .fetch_all(pool)
        .await?;
    rows.iter().map(entry_from_row).collect()
}

/// One call.
pub(crate) async fn find(pool: &SqlitePool, id: CallId) -> Result<Option<LedgerEntry>, sqlx::Error> {
    let sql = format!("SELECT {} FROM calls WHERE id = $1", COLUMNS.join(","));
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id.uuid()).fetch_optional(pool).await?;
    row.as_ref().map(entry_from_row).transpose()
}

/// Sums by group: the dearest first, or the latest where groups are times.
pub(crate) async fn usage(pool: &SqlitePool, query: &UsageQuery) -> Result<Vec<UsageRow>, sqlx::Error> {
    const SUMS: &str = "\
        COUNT(*) AS calls, \
        COUNT(*) FILTER (WHERE outcome = 'answered') AS answered, \
        COUNT(*) FILTER (WHERE outcome = 'failed') AS failed, \
        COUNT(*) FILTER (WHERE outcome = 'refused') AS refused, \
        COUNT(*) FILTER (WHERE outcome = 'cancelled') AS cancelled, \
        CAST(SUM(input_tokens) AS BIGINT) AS input_tokens, \
        CAST(SUM(cache_read_tokens) AS BIGINT) AS cache_read_tokens, \
        CAST(SUM(cache_write_5m_tokens) AS BIGINT) AS cache_write_5m_tokens, \
        CAST(SUM(cache_write_1h_tokens) AS BIGINT) AS cache_write_1h_tokens, \
        CAST(SUM(input_audio_tokens) AS BIGINT) AS input_audio_tokens, \
        CAST(SUM(output_tokens) AS BIGINT) AS output_tokens, \
        CAST(SUM(reasoning_tokens) AS BIGINT) AS reasoning_tokens, \
        CAST(SUM(output_audio_tokens) AS BIGINT) AS output_audio_tokens, \
        CAST(SUM(web_searches) AS BIGINT) AS web_searches, \
        CAST(COALESCE(SUM(cost_nanodollars), 0) AS BIGINT) AS cost_nanodollars, \
        COUNT(*) FILTER (WHERE cost_nanodollars IS NULL \
            AND (outcome = 'answered' OR input_tokens + output_tokens > 0)) AS unpriced, \
        CAST(AVG(duration_us) AS BIGINT) AS average_duration_us, \
        MAX(duration_us) AS longest_duration_us, \
        CAST(AVG(time_to_first_token_us) AS BIGINT) AS average_time_to_first_token_us";
    let name = group_expression(&query.group_by);
    let order = match query.group_by {
        GroupBy::Hour | GroupBy::Day => "name DESC",
        _ => "cost_nanodollars DESC, calls DESC, name",
    };
    let sql = format!(
        "SELECT {name} AS name, {SUMS} FROM calls WHERE id >= $1 AND id < $2 GROUP BY 1 ORDER BY {order} LIMIT $3"
    );
    let (from, until) = range(query.since, query.until);
    let mut statement = sqlx::query(AssertSqlSafe(sql)).bind(from).bind(until).bind(i64::from(query.limit));
    if let GroupBy::Tag(tag) = &query.group_by {
        statement = statement.bind(tag.to_string());
    }
    let rows = statement.fetch_all(pool).await?;
    rows.iter().map(usage_from_row).collect()
}

/// Both databases understand all of these.
fn group_expression(group_by: &GroupBy) -> &'static str {
    match group_by {
        GroupBy::All => "CAST(NULL AS TEXT)",
        GroupBy::Model => "model",
        GroupBy::Target => "provider || '/' || upstream_model",
        GroupBy::Provider => "provider",
        GroupBy::Key => "key_id",
        GroupBy::Team => "team_id",
        GroupBy::EndUser => "end_user",
        GroupBy::Outcome => "COALESCE(failure, outcome)",
        GroupBy::Tag(_) => "tags ->> $4",
        GroupBy::Hour => "CAST(started_at_ms / 3600000 * 3600000 AS TEXT)",
        GroupBy::Day => "CAST(started_at_ms / 86400000 * 86400000 AS TEXT)",
    }
}

/// The ids between two moments: an id begins with its call's start.
fn range(since: Option<Timestamp>, until: Option<Timestamp>) -> (Uuid, Uuid) {
    (
        since.map_or(Uuid::nil(), |since| CallId::lowest_at(since).uuid()),
        until.map_or(Uuid::max(), |until| CallId::lowest_at(until).uuid()),
    )
}

fn usage_from_row(row: &SqliteRow) -> Result<UsageRow, sqlx::Error> {
    Ok(UsageRow {
        name: row.try_get("name")?,
        calls: number(row, "calls")?,
        answered: number(row, "answered")?,
        failed: number(row, "failed")?,
        refused: number(row, "refused")?,
        cancelled: number(row, "cancelled")?,
        usage: tokens_from_row(row)?,
        cost_nanodollars: number(row, "cost_nanodollars")?,
        unpriced: number(row, "unpriced")?,
        average_duration_us: number(row, "average_duration_us")?,
        longest_duration_us: number(row, "longest_duration_us")?,
        average_time_to_first_token_us: optional_number(row, "average_time_to_first_token_us")?,
    })
}

fn tokens_from_row(row: &SqliteRow) -> Result<Usage, sqlx::Error> {
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

fn entry_from_row(row: &SqliteRow) -> Result<LedgerEntry, sqlx::Error> {
    let outcome: String = row.try_get("outcome")?;
    let outcome = Outcome::from_word(&outcome).ok_or_else(|| unknown_word("outcome", &outcome))?;
    let cache: Option<String> = row.try_get("cache")?;
    let cache = cache
        .map(|word| CacheState::from_word(&word).ok_or_else(|| unknown_word("cache", &word)))
        .transpose()?;
    Ok(LedgerEntry {
        id: CallId::from_uuid(row.try_get("id")?),
        duration_us: number(row, "duration_us")?,
        time_to_first_token_us: optional_number(row, "time_to_first_token_us")?,
        key_id: word(row, "key_id")?,
        team_id: word(row, "team_id")?,
        end_user: word(row, "end_user")?,
        dialect: word(row, "dialect")?.unwrap_or_default(),
        operation: word(row, "operation")?.unwrap_or_default(),
        model: word(row, "model")?,
        provider: word(row, "provider")?,
        upstream_model: word(row, "upstream_model")?,
        key_label: word(row, "key_label")?,
        streamed: row.try_get("streamed")?,
        outcome,
        failure: word(row, "failure")?,
        status: optional_number(row, "status")?,
        finish_reason: word(row, "finish_reason")?,
        usage: tokens_from_row(row)?,
        cost_nanodollars: optional_number(row, "cost_nanodollars")?,
        prices: word(row, "prices")?,
        tags: json::<Tags>(row, "tags")?,
        attempts: json(row, "attempts")?,
        dropped: json(row, "dropped")?,
        cache,
        bytes_in: number(row, "bytes_in")?,
        bytes_out: number(row, "bytes_out")?,
    })
}

fn word(row: &SqliteRow, column: &str) -> Result<Option<Text>, sqlx::Error> {
    Ok(row.try_get::<Option<String>, _>(column)?.map(Text::from))
}

fn number(row: &SqliteRow, column: &str) -> Result<u64, sqlx::Error> {
    Ok(optional_number(row, column)?.unwrap_or(0))
}

fn optional_number<N: TryFrom<i64>>(row: &SqliteRow, column: &str) -> Result<Option<N>, sqlx::Error>
where
    N::Error: std::error::Error + Send + Sync + 'static,
{
    row.try_get::<Option<i64>, _>(column)?
        .map(N::try_from)
        .transpose()
        .map_err(|source| undecodable(column, source))
}

fn json<T: serde::de::DeserializeOwned + Default>(row: &SqliteRow, column: &str) -> Result<T, sqlx::Error> {
    row.try_get::<Option<&str>, _>(column)?
        .map_or_else(|| Ok(T::default()), serde_json::from_str)
        .map_err(|source| undecodable(column, source))
}

fn undecodable(column: &str, source: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: Box::new(source) }
}

fn unknown_word(column: &str, word: &str) -> sqlx::Error {
    sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: format!("`{word}` is not one of its words").into(),
    }
}
