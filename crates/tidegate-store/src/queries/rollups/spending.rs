//! What levels have spent, for the limiter: at a start all organisations, teams and keys, later single levels.
//!
//! What is spent is the charge, or the cost where there is no charge of its own.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use tidegate_catalog::NanoDollars;
use tidegate_policy::{BudgetPeriod, RecentCalls, Spending};

use super::{HOUR_MS, bucket, fresh::BY_BATCH};
use crate::{
    Scope,
    database::{Database, Kind, Query, Row, query, query_text},
    error::StoreError,
    ledger::SHADOW,
    queries::calls::{RANGE_OF_MILLISECONDS, id_range},
};

/// Scopes that are read at once at a start.
const PAGE: u32 = 10_000;
/// The calls of so long ago are told one second from the other, older ones by the hour.
const LATELY: Duration = Duration::from_secs(60);
const LATELY_MS: i64 = 60_000;
/// Rate limits look back a day at most.
const HOURS_BACK: i64 = 24;
/// Rows of the last minute, a second and a scope each. Beyond that it is told by the hour.
const MAX_SECONDS: i64 = 200_000;

/// The kinds of scopes that a limiter counts from its start on.
const COUNTED: [&str; 4] = ["experiment", "key", "org", "team"];

/// What these scopes have spent, in their order.
pub(crate) async fn of_scopes(
    database: &Database,
    scopes: &[Scope],
    now: Timestamp,
) -> Result<Vec<Spending>, StoreError> {
    let mut answers = Vec::with_capacity(scopes.len());
    for scope in scopes {
        answers.push(of_scope(database, scope, now).await?);
    }
    Ok(answers)
}

async fn of_scope(database: &Database, scope: &Scope, now: Timestamp) -> Result<Spending, StoreError> {
    let name = scope.to_string();
    let days = query_text(format!(
        "SELECT {BUDGETS} FROM (SELECT bucket_ms, charge_nanodollars FROM scope_days WHERE scope = $5 \
         UNION ALL SELECT bucket_ms, charge_nanodollars FROM scope_fresh WHERE scope = $5 AND {BY_BATCH}) AS days",
        BUDGETS = budgets()
    ))
    .bind_all(budget_starts(now))
    .bind(&name);
    let mut spending = match database.fetch_optional(days).await? {
        Some(row) => budgets_from_row(&row, now)?,
        None => nothing(now),
    };
    // One bucket after the other: the table is ordered by time first.
    let buckets: Vec<String> = hours_back(now).map(|bucket| bucket.to_string()).collect();
    let buckets = buckets.join(", ");
    let hours = query_text(format!(
        "SELECT bucket_ms, {HOURS} FROM (SELECT {OF_HOURS} FROM scope_hours WHERE scope = $1 AND bucket_ms IN ({buckets}) \
         UNION ALL SELECT {OF_HOURS} FROM scope_fresh WHERE scope = $1 AND bucket_ms IN ({buckets}) AND {BY_BATCH}) AS hours \
         GROUP BY bucket_ms",
    ));
    let mut hours = database
        .fetch_all(hours.bind(&name))
        .await?
        .iter()
        .map(HourOfScope::from_row)
        .collect::<Result<Vec<_>, _>>()?;
    // Nearly always there is nothing, and the calls need not be looked at.
    let lately = bucket(now.as_millisecond() - LATELY_MS, HOUR_MS);
    if hours.iter().any(|hour| hour.bucket_ms >= lately) {
        for row in database.fetch_all(seconds_of_scope(database.kind(), scope, now)).await? {
            take_second(&row, now, &mut spending, &mut hours)?;
        }
    }
    take_hours(&hours, now, &mut spending);
    Ok(spending)
}

/// What all organisations, teams, keys and shadows of experiments have spent. Of those that spent nothing there is nothing.
pub(crate) async fn of_all(
    database: &Database,
    now: Timestamp,
) -> Result<HashMap<Scope, Spending>, StoreError> {
    let mut all = HashMap::new();
    for kind in COUNTED {
        read_budgets(database, kind, now, &mut all).await?;
    }
    let mut hours: HashMap<Scope, Vec<HourOfScope>> = HashMap::new();
    let fresh = fresh_hours(database).await?;
    for bucket_ms in hours_back(now) {
        for kind in COUNTED {
            read_hours(database, kind, (bucket_ms, fresh.contains(&bucket_ms)), &mut hours).await?;
        }
    }
    read_seconds(database, now, &mut all, &mut hours).await?;
    for (scope, hours) in &hours {
        let spending = all.entry(scope.clone()).or_insert_with(|| nothing(now));
        take_hours(hours, now, spending);
    }
    Ok(all)
}

async fn read_budgets(
    database: &Database,
    kind: &str,
    now: Timestamp,
    all: &mut HashMap<Scope, Spending>,
) -> Result<(), StoreError> {
    let sql = format!(
        "SELECT scope, {} FROM (SELECT scope, bucket_ms, charge_nanodollars FROM scope_days WHERE scope > $5 AND scope <= $6 \
         UNION ALL SELECT scope, bucket_ms, charge_nanodollars FROM scope_fresh WHERE scope > $5 AND scope <= $6 \
         AND {BY_BATCH}) AS days GROUP BY scope",
        budgets()
    );
    // `key:` itself stands for calls without a key. `;` follows `:`.
    let (mut after, end) = (format!("{kind}:"), format!("{kind};"));
    while after != end {
        let bound = query_text(format!(
            "SELECT scope FROM scope_days WHERE scope > $1 AND scope < $2 ORDER BY scope LIMIT 1 OFFSET {PAGE}"
        ));
        let until = bound_or_end(database, bound.bind(&after), &end).await?;
        let page = query_text(sql.as_str()).bind_all(budget_starts(now)).bind(&after).bind(&until);
        for row in &database.fetch_all(page).await? {
            if let Ok(scope) = row.get::<String>("scope")?.parse() {
                all.insert(scope, budgets_from_row(row, now)?);
            }
        }
        after = until;
    }
    Ok(())
}

/// Where a page ends. Not cut by a `LIMIT` of its own: a scope can be in two tables, and each page is read from both in one
/// statement, as scopes move from one to the other.
async fn bound_or_end(database: &Database, bound: Query, end: &String) -> Result<String, StoreError> {
    let bound = database.fetch_optional(bound.bind(end)).await?;
    bound.map_or_else(|| Ok(end.clone()), |row| row.get("scope"))
}

/// The hours for which some sums are fresh: one or two, as a rule.
async fn fresh_hours(database: &Database) -> Result<HashSet<i64>, StoreError> {
    let rows = database.fetch_all(query("SELECT DISTINCT bucket_ms FROM scope_fresh")).await?;
    rows.iter().map(|row| row.get("bucket_ms")).collect()
}

async fn read_hours(
    database: &Database,
    kind: &str,
    (bucket_ms, has_fresh): (i64, bool),
    hours: &mut HashMap<Scope, Vec<HourOfScope>>,
) -> Result<(), StoreError> {
    let range = "scope > $1 AND scope <= $2 AND bucket_ms = $3";
    let fresh = if has_fresh {
        format!(" UNION ALL SELECT scope, {OF_HOURS} FROM scope_fresh WHERE {range} AND {BY_BATCH}")
    } else {
        String::new()
    };
    let sql = format!(
        "SELECT scope, bucket_ms, {HOURS} FROM (SELECT scope, {OF_HOURS} FROM scope_hours WHERE {range}{fresh}) AS hours \
         GROUP BY scope, bucket_ms"
    );
    let (mut after, end) = (format!("{kind}:"), format!("{kind};"));
    while after != end {
        let bound = query_text(format!(
            "SELECT scope FROM scope_hours WHERE scope > $1 AND scope < $2 AND bucket_ms = {bucket_ms} \
             ORDER BY scope LIMIT 1 OFFSET {PAGE}"
        ));
        let until = bound_or_end(database, bound.bind(&after), &end).await?;
        let page = query_text(sql.as_str()).bind(&after).bind(&until).bind(bucket_ms);
        for row in &database.fetch_all(page).await? {
            if let Ok(scope) = row.get::<String>("scope")?.parse() {
                hours.entry(scope).or_default().push(HourOfScope::from_row(row)?);
            }
        }
        after = until;
    }
    Ok(())
}

/// The last minute of all of them.
async fn read_seconds(
    database: &Database,
    now: Timestamp,
    all: &mut HashMap<Scope, Spending>,
    hours: &mut HashMap<Scope, Vec<HourOfScope>>,
) -> Result<(), StoreError> {
    for (column, make) in [
        ("organization_id", (|id| Scope::Organization(id.into())) as fn(&str) -> Scope),
        ("team_id", |id| Scope::Team(id.into())),
        ("key_id", |id| Scope::Key(id.into())),
    ] {
        let sql = format!(
            "SELECT {column} AS id, {SECONDS} AND {column} IS NOT NULL GROUP BY {column}, started_at_ms / 1000 LIMIT $5",
            SECONDS = seconds()
        );
        let question = query_text(sql).bind_all(lately(now)).bind(MAX_SECONDS);
        for row in database.fetch_all(question).await? {
            let scope = make(&row.get::<String>("id")?);
            let spending = all.entry(scope.clone()).or_insert_with(|| nothing(now));
            take_second(&row, now, spending, hours.entry(scope).or_default())?;
        }
    }
    Ok(())
}

/// One scope's calls of the last minute, by the second.
fn seconds_of_scope(kind: Kind, scope: &Scope, now: Timestamp) -> Query {
    let (condition, values) = match scope {
        Scope::Organization(id) => ("organization_id = $6", vec![id.as_str()]),
        Scope::Team(id) => ("team_id = $6", vec![id.as_str()]),
        Scope::Key(id) => ("key_id = $6", vec![id.as_str()]),
        Scope::EndUser(user) => {
            ("organization_id = $6 AND end_user = $7", vec![user.organization_id.as_str(), &user.name])
        }
        Scope::Tag(name, value) => (
            match kind {
                Kind::Sqlite => "tags ->> $6 = $7",
                Kind::Postgres => "CAST(tags AS json) ->> $6 = $7",
            },
            vec![&**name, &**value],
        ),
        Scope::Experiment(name) => (
            match kind {
                Kind::Sqlite => "operation = $6 AND experiment ->> 'experiment' = $7",
                Kind::Postgres => "operation = $6 AND CAST(experiment AS json) ->> 'experiment' = $7",
            },
            vec![SHADOW, &**name],
        ),
    };
    let sql = format!(
        "SELECT {SECONDS} AND {condition} GROUP BY started_at_ms / 1000 LIMIT $5",
        SECONDS = seconds()
    );
    values.into_iter().fold(query_text(sql).bind_all(lately(now)).bind(MAX_SECONDS), Query::bind)
}

fn seconds() -> String {
    let [from_id, until_id, from, until] = RANGE_OF_MILLISECONDS;
    format!(
        "MAX(started_at_ms) AS latest_ms, COUNT(*) AS calls, CAST(SUM(input_tokens + output_tokens) AS BIGINT) AS tokens \
         FROM calls WHERE {from_id} $1 AND {until_id} $2 AND {from} $3 AND {until} $4"
    )
}

fn lately(now: Timestamp) -> [crate::database::Value; 4] {
    let now = now.as_millisecond();
    id_range(now - LATELY_MS, now + 1)
}

/// What is read of an hour.
const OF_HOURS: &str = "bucket_ms, calls, input_tokens + output_tokens AS tokens, charge_nanodollars";
/// The same, summed up from both tables.
const HOURS: &str = "CAST(SUM(calls) AS BIGINT) AS calls, CAST(SUM(tokens) AS BIGINT) AS tokens, \
    CAST(SUM(charge_nanodollars) AS BIGINT) AS charge_nanodollars";

/// An hour of a scope, less what is told by the second.
struct HourOfScope {
    bucket_ms: i64,
    calls: u64,
    tokens: u64,
    charge: i64,
}

impl HourOfScope {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            bucket_ms: row.get("bucket_ms")?,
            calls: row.number("calls")?,
            tokens: row.number("tokens")?,
            charge: row.get("charge_nanodollars")?,
        })
    }
}

/// Tells a second for itself, and takes it out of its hour.
fn take_second(
    row: &Row,
    now: Timestamp,
    spending: &mut Spending,
    hours: &mut [HourOfScope],
) -> Result<(), StoreError> {
    let latest_ms: i64 = row.get("latest_ms")?;
    let (requests, tokens) = (row.number("calls")?, row.number("tokens")?);
    let bucket_ms = bucket(latest_ms, HOUR_MS);
    if let Some(hour) = hours.iter_mut().find(|hour| hour.bucket_ms == bucket_ms) {
        hour.calls = hour.calls.saturating_sub(requests);
        hour.tokens = hour.tokens.saturating_sub(tokens);
    }
    spending.recent.push(RecentCalls { age: age(now, latest_ms), requests, tokens });
    Ok(())
}

fn take_hours(hours: &[HourOfScope], now: Timestamp, spending: &mut Spending) {
    let this_hour = bucket(now.as_millisecond(), HOUR_MS);
    for hour in hours {
        if hour.bucket_ms == this_hour {
            spending.hour = NanoDollars(hour.charge);
        }
        if hour.calls > 0 {
            // When in the hour is not known: as late as it can have been.
            let age = age(now, hour.bucket_ms + HOUR_MS).max(LATELY);
            spending.recent.push(RecentCalls { age, requests: hour.calls, tokens: hour.tokens });
        }
    }
}

fn age(now: Timestamp, moment_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(now.as_millisecond() - moment_ms).unwrap_or(0))
}

fn hours_back(now: Timestamp) -> impl Iterator<Item = i64> {
    let this_hour = bucket(now.as_millisecond(), HOUR_MS);
    (0..=HOURS_BACK).map(move |back| this_hour - back * HOUR_MS)
}

/// The sums for each period of a budget, from whole days.
fn budgets() -> String {
    let periods = DAY_PERIODS.iter().zip(1..);
    let sums: Vec<String> = periods
        .map(|(period, place)| {
            let name = period.as_str();
            format!(
                "CAST(COALESCE(SUM(charge_nanodollars) FILTER (WHERE bucket_ms >= ${place}), 0) AS BIGINT) AS of_{name}"
            )
        })
        .collect();
    sums.join(", ")
}

/// The periods that consist of whole days.
const DAY_PERIODS: [BudgetPeriod; 4] =
    [BudgetPeriod::Day, BudgetPeriod::Week, BudgetPeriod::Month, BudgetPeriod::Lifetime];

fn budget_starts(now: Timestamp) -> [crate::database::Value; 4] {
    DAY_PERIODS.map(|period| (period.start(now.as_second()) * 1_000).into())
}

fn budgets_from_row(row: &Row, now: Timestamp) -> Result<Spending, StoreError> {
    let of = |period: BudgetPeriod| row.get(&format!("of_{}", period.as_str())).map(NanoDollars);
    Ok(Spending {
        day: of(BudgetPeriod::Day)?,
        week: of(BudgetPeriod::Week)?,
        month: of(BudgetPeriod::Month)?,
        lifetime: of(BudgetPeriod::Lifetime)?,
        ..nothing(now)
    })
}

fn nothing(now: Timestamp) -> Spending {
    Spending { as_of: now.as_second(), ..Spending::default() }
}
