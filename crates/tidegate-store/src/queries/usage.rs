//! Usage reports. They are answered from the roll-ups as far as these tell apart what is asked for, and from the calls
//! where they do not: whole days come from the days' sums, the hours before and after from the hours', the minutes at both
//! ends from the calls. Of scopes there may be sums besides that are fresh, for any of these times.
//!
//! What is older than the calls that are kept has only whole hours.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    database::{Database, Kind, Query, Row, Value, query_text},
    error::StoreError,
    ledger::{GroupBy, SHADOW, Text, UsageFilter, UsageOrder, UsageQuery, UsageRow, UsageTotal},
};

use super::{
    calls::{RANGE_OF_MILLISECONDS, id_range, number, tokens_from_row},
    rollups::{BY_BATCH, DAY_MS, HOUR_MS, LONGEST, SUMS},
};

/// Names that are looked up by one statement.
const IDS_AT_ONCE: usize = 500;

/// The rows of a report.
pub(crate) async fn report(database: &Database, query: &UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
    let rows = database.fetch_all(statement(database.kind(), query)).await?;
    let mut rows: Vec<UsageRow> =
        rows.iter().map(|row| usage_from_row(row, query.group_by.len())).collect::<Result<_, _>>()?;
    for (place, by) in query.group_by.iter().enumerate() {
        let table = match by {
            GroupBy::Organization => "organizations",
            GroupBy::Team => "teams",
            GroupBy::Key => "keys",
            _ => continue,
        };
        label(database, table, place, &mut rows).await?;
    }
    Ok(rows)
}

/// What all rows of a report come to, without its limit. It is asked of the same sums as the rows are: others may reach
/// further back.
pub(crate) async fn total(database: &Database, query: &UsageQuery) -> Result<UsageTotal, StoreError> {
    let (Values { values, .. }, groups) = grouped(database.kind(), query);
    let sums = ["calls", "cost_nanodollars", "unpriced"];
    let sums = sums.map(|column| format!("CAST(COALESCE(SUM({column}), 0) AS BIGINT) AS {column}"));
    let select =
        query_text(format!("SELECT COUNT(*) AS row_count, {} FROM ({groups}) AS sums", sums.join(", ")));
    let row = database.fetch_one(select.bind_all(values)).await?;
    Ok(UsageTotal {
        rows: number(&row, "row_count")?,
        calls: number(&row, "calls")?,
        cost_nanodollars: number(&row, "cost_nanodollars")?,
        unpriced: number(&row, "unpriced")?,
    })
}

/// Puts the names beside the ids that stand in this place.
async fn label(
    database: &Database,
    table: &str,
    place: usize,
    rows: &mut [UsageRow],
) -> Result<(), StoreError> {
    let ids: BTreeSet<String> =
        rows.iter().filter_map(|row| row.names.get(place).cloned().flatten()).collect();
    let ids: Vec<String> = ids.into_iter().collect();
    let mut names = BTreeMap::<String, String>::new();
    for some in ids.chunks(IDS_AT_ONCE) {
        let places: Vec<String> = (1..=some.len()).map(|number| format!("${number}")).collect();
        let select = query_text(format!("SELECT id, name FROM {table} WHERE id IN ({})", places.join(", ")));
        for row in database.fetch_all(select.bind_all(some.iter().map(Value::from))).await? {
            names.insert(row.get("id")?, row.get("name")?);
        }
    }
    for row in rows {
        let name = row.names.get(place).and_then(Option::as_ref).and_then(|id| names.get(id)).cloned();
        if let Some(label) = row.labels.get_mut(place) {
            *label = name;
        }
    }
    Ok(())
}

/// Where a part of the answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Days,
    Hours,
    /// Sums of scopes by hour that are in none of the two above yet.
    Fresh,
    Calls,
}

/// A part of the time that is asked about, and where its sums come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    source: Source,
    from_ms: i64,
    until_ms: i64,
}

/// Which roll-ups can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Rollup {
    /// By organisation, team, model, provider, upstream model.
    Usage,
    /// Everything about one scope.
    Scope(String),
    /// Every key.
    Keys,
}

fn statement(kind: Kind, query: &UsageQuery) -> Query {
    let (mut values, groups) = grouped(kind, query);
    let limit = values.add(query.limit);
    query_text(format!("SELECT * FROM ({groups}) AS sums ORDER BY {} LIMIT {limit}", order(query).join(", ")))
        .bind_all(values.values)
}

/// The groups with their sums: all of them, in no order.
fn grouped(kind: Kind, query: &UsageQuery) -> (Values, String) {
    let rollup = rollup(query);
    let by_hour = query.group_by.contains(&GroupBy::Hour);
    let sources: &[Source] = match (&rollup, by_hour) {
        (None, _) => &[],
        (Some(_), true) => &[Source::Hours],
        (Some(_), false) => &[Source::Days, Source::Hours],
    };
    let from = query.since.map_or(0, |since| since.as_millisecond().max(0));
    let until = query.until.map_or(i64::MAX, |until| until.as_millisecond().max(0));
    let mut parts = Vec::new();
    cover(from, until, sources, &mut parts);
    if matches!(rollup, Some(Rollup::Scope(_) | Rollup::Keys)) {
        let summed = parts.iter().filter(|part| part.source != Source::Calls);
        let fresh: Vec<Part> = summed.map(|part| Part { source: Source::Fresh, ..*part }).collect();
        parts.extend(fresh);
    }

    let mut values = Values { kind, values: Vec::new() };
    let selects: Vec<String> =
        parts.into_iter().map(|part| select(&mut values, query, rollup.as_ref(), part)).collect();
    let groups = query.group_by.len();
    let names: Vec<String> = (0..groups).map(|number| format!("name_{number}")).collect();
    let sums: Vec<String> = SUMS.iter().map(|column| sum(column)).collect();
    let group = if groups == 0 { String::new() } else { format!("GROUP BY {}", names.join(", ")) };
    let columns: Vec<String> = names.iter().cloned().chain(sums).collect();
    // Without a group there would be a row of nothing where there are no calls.
    let groups = format!(
        "SELECT {} FROM ({}) AS parts {group} HAVING SUM(calls) > 0",
        columns.join(", "),
        selects.join(" UNION ALL "),
    );
    (values, groups)
}

/// Divides a time among sources, the coarsest first, whose buckets must lie in it whole.
fn cover(from_ms: i64, until_ms: i64, sources: &[Source], parts: &mut Vec<Part>) {
    let Some((source, finer)) = sources.split_first() else {
        if from_ms < until_ms || parts.is_empty() {
            parts.push(Part { source: Source::Calls, from_ms, until_ms });
        }
        return;
    };
    let length = if *source == Source::Days { DAY_MS } else { HOUR_MS };
    let first = from_ms.saturating_add(length - 1) / length * length;
    let last = if until_ms == i64::MAX { until_ms } else { until_ms / length * length };
    if first >= last {
        cover(from_ms, until_ms, finer, parts);
        return;
    }
    parts.push(Part { source: *source, from_ms: first, until_ms: last });
    if from_ms < first {
        cover(from_ms, first, finer, parts);
    }
    if last < until_ms {
        cover(last, until_ms, finer, parts);
    }
}

/// The roll-ups that tell apart everything that this question needs, if there are such.
fn rollup(query: &UsageQuery) -> Option<Rollup> {
    let UsageFilter {
        organization,
        team,
        key,
        model,
        provider,
        upstream_model,
        end_user,
        tag,
        outcome,
        shadows_of,
    } = &query.filter;
    if outcome.is_some() {
        return None;
    }
    let only_time = query.group_by.iter().all(|by| matches!(by, GroupBy::All | GroupBy::Hour | GroupBy::Day));
    if let Some(experiment) = shadows_of {
        let of_shadows = [organization, team, key, model, provider, upstream_model, end_user];
        let is_alone = only_time && tag.is_none() && of_shadows.iter().all(|filter| filter.is_none());
        return is_alone.then(|| Rollup::Scope(format!("experiment:{experiment}")));
    }
    let of_usage = key.is_none() && end_user.is_none() && tag.is_none();
    let of_scope = [team, model, provider, upstream_model].iter().all(|filter| filter.is_none());
    if of_usage && query.group_by.iter().all(is_in_usage) {
        return Some(Rollup::Usage);
    }
    let by_key = |by: &GroupBy| matches!(by, GroupBy::All | GroupBy::Key | GroupBy::Hour | GroupBy::Day);
    if !of_scope {
        return None;
    }
    match (organization, key, end_user, tag) {
        (None, None, None, None) if query.group_by.iter().all(by_key) => Some(Rollup::Keys),
        (None, Some(key), None, None) if only_time => Some(Rollup::Scope(format!("key:{key}"))),
        (Some(organization), None, Some(name), None) if only_time => {
            Some(Rollup::Scope(format!("user:{organization}/{name}")))
        }
        (None, None, None, Some((name, value))) if only_time => {
            Some(Rollup::Scope(format!("tag:{name}={value}")))
        }
        _ => None,
    }
}

fn is_in_usage(by: &GroupBy) -> bool {
    match by {
        GroupBy::All
        | GroupBy::Model
        | GroupBy::Target
        | GroupBy::Provider
        | GroupBy::Organization
        | GroupBy::Team
        | GroupBy::Hour
        | GroupBy::Day => true,
        GroupBy::Key | GroupBy::EndUser | GroupBy::Outcome | GroupBy::Tag(_) => false,
    }
}

/// The sums of one part, with the names that it is grouped by.
fn select(values: &mut Values, query: &UsageQuery, rollup: Option<&Rollup>, part: Part) -> String {
    let mut columns = Vec::new();
    for (number, by) in query.group_by.iter().enumerate() {
        columns.push(format!("{} AS name_{number}", name(values, by, part.source)));
    }
    let grouped: Vec<String> = (1..=query.group_by.len()).map(|place| place.to_string()).collect();
    let group = if grouped.is_empty() { String::new() } else { format!(" GROUP BY {}", grouped.join(", ")) };
    let (table, mut conditions) = match part.source {
        Source::Calls => {
            columns.extend(CALL_SUMS.iter().map(|(column, value)| format!("{value} AS {column}")));
            let conditions = id_range(part.from_ms, part.until_ms)
                .into_iter()
                .zip(RANGE_OF_MILLISECONDS)
                .map(|(value, condition)| format!("{condition} {}", values.add(value)))
                .collect();
            ("calls", conditions)
        }
        Source::Days | Source::Hours | Source::Fresh => {
            columns.extend(SUMS.iter().map(|column| sum(column)));
            let conditions = vec![
                format!("bucket_ms >= {}", values.add(part.from_ms)),
                format!("bucket_ms < {}", values.add(part.until_ms)),
            ];
            let table = match (rollup, part.source) {
                (_, Source::Fresh) => "scope_fresh",
                (Some(Rollup::Usage) | None, Source::Days) => "usage_days",
                (Some(Rollup::Usage) | None, _) => "usage_hours",
                (Some(_), Source::Days) => "scope_days",
                (Some(_), _) => "scope_hours",
            };
            (table, conditions)
        }
    };
    match rollup {
        Some(Rollup::Scope(scope)) if part.source != Source::Calls => {
            conditions.push(format!("scope = {}", values.add(scope.as_str())));
            if part.source == Source::Fresh {
                conditions.push(BY_BATCH.to_owned());
            }
        }
        // `;` follows `:`.
        Some(Rollup::Keys) if part.source != Source::Calls => {
            conditions.push("scope >= 'key:' AND scope < 'key;'".to_owned());
        }
        _ => conditions.extend(filters(values, &query.filter)),
    }
    if part.source == Source::Calls {
        conditions.push(shadows(values, query.filter.shadows_of.as_ref()));
    }
    format!("SELECT {} FROM {table} WHERE {}{group}", columns.join(", "), conditions.join(" AND "))
}

/// Shadows are no caller's calls.
fn shadows(values: &mut Values, experiment: Option<&Text>) -> String {
    let shadow = values.add(SHADOW);
    let Some(experiment) = experiment else { return format!("operation <> {shadow}") };
    let name = values.add(experiment.as_str());
    match values.kind {
        Kind::Sqlite => format!("operation = {shadow} AND experiment ->> 'experiment' = {name}"),
        Kind::Postgres => {
            format!("operation = {shadow} AND CAST(experiment AS json) ->> 'experiment' = {name}")
        }
    }
}

fn filters(values: &mut Values, filter: &UsageFilter) -> Vec<String> {
    let mut conditions = Vec::new();
    for (column, wanted) in [
        ("organization_id", &filter.organization),
        ("team_id", &filter.team),
        ("key_id", &filter.key),
        ("model", &filter.model),
        ("provider", &filter.provider),
        ("upstream_model", &filter.upstream_model),
        ("end_user", &filter.end_user),
        ("COALESCE(failure, outcome)", &filter.outcome),
    ] {
        if let Some(wanted) = wanted {
            conditions.push(format!("{column} = {}", values.add(wanted.as_str())));
        }
    }
    if let Some((name, value)) = &filter.tag {
        let tag = values.tag(name);
        conditions.push(format!("{tag} = {}", values.add(value.as_str())));
    }
    conditions
}

/// What a row is called by this. The roll-ups have an empty text where a call has nothing.
fn name(values: &mut Values, by: &GroupBy, source: Source) -> String {
    let time = if source == Source::Calls { "started_at_ms" } else { "bucket_ms" };
    match by {
        GroupBy::All => "CAST(NULL AS TEXT)".to_owned(),
        GroupBy::Model => "NULLIF(model, '')".to_owned(),
        GroupBy::Target => "NULLIF(provider, '') || '/' || NULLIF(upstream_model, '')".to_owned(),
        GroupBy::Provider => "NULLIF(provider, '')".to_owned(),
        GroupBy::Organization => "NULLIF(organization_id, '')".to_owned(),
        GroupBy::Team => "NULLIF(team_id, '')".to_owned(),
        GroupBy::Key if source == Source::Calls => "NULLIF(key_id, '')".to_owned(),
        // After `key:`.
        GroupBy::Key => "NULLIF(SUBSTR(scope, 5), '')".to_owned(),
        GroupBy::EndUser => "NULLIF(end_user, '')".to_owned(),
        GroupBy::Outcome => "COALESCE(failure, outcome)".to_owned(),
        GroupBy::Tag(tag) => values.tag(tag),
        GroupBy::Hour => format!("CAST({time} / {HOUR_MS} * {HOUR_MS} AS TEXT)"),
        GroupBy::Day => format!("CAST({time} / {DAY_MS} * {DAY_MS} AS TEXT)"),
    }
}

fn sum(column: &str) -> String {
    if column == LONGEST {
        format!("MAX({column}) AS {column}")
    } else {
        format!("CAST(SUM({column}) AS BIGINT) AS {column}")
    }
}

/// How the sums of the roll-ups are made from calls.
const CALL_SUMS: [(&str, &str); SUMS.len()] = [
    ("calls", "COUNT(*)"),
    ("answered", "COUNT(*) FILTER (WHERE outcome = 'answered')"),
    ("failed", "COUNT(*) FILTER (WHERE outcome = 'failed')"),
    ("refused", "COUNT(*) FILTER (WHERE outcome = 'refused')"),
    ("cancelled", "COUNT(*) FILTER (WHERE outcome = 'cancelled')"),
    ("input_tokens", "CAST(SUM(input_tokens) AS BIGINT)"),
    ("cache_read_tokens", "CAST(SUM(cache_read_tokens) AS BIGINT)"),
    ("cache_write_5m_tokens", "CAST(SUM(cache_write_5m_tokens) AS BIGINT)"),
    ("cache_write_1h_tokens", "CAST(SUM(cache_write_1h_tokens) AS BIGINT)"),
    ("input_audio_tokens", "CAST(SUM(input_audio_tokens) AS BIGINT)"),
    ("output_tokens", "CAST(SUM(output_tokens) AS BIGINT)"),
    ("reasoning_tokens", "CAST(SUM(reasoning_tokens) AS BIGINT)"),
    ("output_audio_tokens", "CAST(SUM(output_audio_tokens) AS BIGINT)"),
    ("web_searches", "CAST(SUM(web_searches) AS BIGINT)"),
    ("cost_nanodollars", "CAST(COALESCE(SUM(cost_nanodollars), 0) AS BIGINT)"),
    (
        "charge_nanodollars",
        "CAST(COALESCE(SUM(COALESCE(charge_nanodollars, cost_nanodollars)), 0) AS BIGINT)",
    ),
    (
        "unpriced",
        "COUNT(*) FILTER (WHERE cost_nanodollars IS NULL \
            AND (outcome = 'answered' OR input_tokens + output_tokens > 0))",
    ),
    ("estimated", "COUNT(*) FILTER (WHERE is_estimated)"),
    ("duration_us", "CAST(SUM(duration_us) AS BIGINT)"),
    ("first_tokens", "COUNT(time_to_first_token_us)"),
    ("time_to_first_token_us", "CAST(COALESCE(SUM(time_to_first_token_us), 0) AS BIGINT)"),
    (LONGEST, "MAX(duration_us)"),
];

fn order(query: &UsageQuery) -> Vec<String> {
    let is_time = |by: &GroupBy| matches!(by, GroupBy::Hour | GroupBy::Day);
    let times = query.group_by.iter().enumerate().filter(|(_, by)| is_time(by));
    let mut order: Vec<String> = match query.order {
        UsageOrder::Usual => times.map(|(number, _)| format!("name_{number} DESC")).collect(),
        UsageOrder::Cost | UsageOrder::Name => Vec::new(),
        UsageOrder::Calls => vec!["calls DESC".to_owned()],
        UsageOrder::Tokens => vec!["input_tokens + output_tokens DESC".to_owned()],
    };
    if query.order != UsageOrder::Name {
        order.extend(["cost_nanodollars DESC".to_owned(), "calls DESC".to_owned()]);
    }
    // The databases do not agree on where NULLs come.
    order.extend((0..query.group_by.len()).map(|number| format!("COALESCE(name_{number}, '')")));
    if order.is_empty() {
        order.push("calls".to_owned());
    }
    order
}

/// Parameters, numbered as they come.
struct Values {
    kind: Kind,
    values: Vec<Value>,
}

impl Values {
    fn add(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("${}", self.values.len())
    }

    /// The value of a tag of a call.
    fn tag(&mut self, name: &str) -> String {
        let name = self.add(name);
        match self.kind {
            Kind::Sqlite => format!("tags ->> {name}"),
            Kind::Postgres => format!("CAST(tags AS json) ->> {name}"),
        }
    }
}

fn usage_from_row(row: &Row, groups: usize) -> Result<UsageRow, StoreError> {
    let calls = number(row, "calls")?;
    let first_tokens = number(row, "first_tokens")?;
    let names = (0..groups).map(|place| row.get(&format!("name_{place}"))).collect::<Result<_, _>>()?;
    Ok(UsageRow {
        names,
        labels: vec![None; groups],
        calls,
        answered: number(row, "answered")?,
        failed: number(row, "failed")?,
        refused: number(row, "refused")?,
        cancelled: number(row, "cancelled")?,
        usage: tokens_from_row(row)?,
        cost_nanodollars: number(row, "cost_nanodollars")?,
        charge_nanodollars: number(row, "charge_nanodollars")?,
        unpriced: number(row, "unpriced")?,
        estimated: number(row, "estimated")?,
        average_duration_us: number(row, "duration_us")?.checked_div(calls).unwrap_or(0),
        longest_duration_us: number(row, LONGEST)?,
        average_time_to_first_token_us: number(row, "time_to_first_token_us")?.checked_div(first_tokens),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(from_ms: i64, until_ms: i64) -> Vec<(Source, i64, i64)> {
        let mut parts = Vec::new();
        cover(from_ms, until_ms, &[Source::Days, Source::Hours], &mut parts);
        parts.sort_by_key(|part| part.from_ms);
        parts.into_iter().map(|part| (part.source, part.from_ms, part.until_ms)).collect()
    }

    #[test]
    fn a_time_is_divided_into_days_hours_and_what_is_left_without_a_gap() {
        use Source::{Calls, Days, Hours};
        assert_eq!(parts(0, i64::MAX), [(Days, 0, i64::MAX)]);
        assert_eq!(parts(DAY_MS, 3 * DAY_MS), [(Days, DAY_MS, 3 * DAY_MS)]);
        assert_eq!(parts(5, 7), [(Calls, 5, 7)]);
        assert_eq!(
            parts(DAY_MS - HOUR_MS - 5, 2 * DAY_MS + HOUR_MS + 7),
            [
                (Calls, DAY_MS - HOUR_MS - 5, DAY_MS - HOUR_MS),
                (Hours, DAY_MS - HOUR_MS, DAY_MS),
                (Days, DAY_MS, 2 * DAY_MS),
                (Hours, 2 * DAY_MS, 2 * DAY_MS + HOUR_MS),
                (Calls, 2 * DAY_MS + HOUR_MS, 2 * DAY_MS + HOUR_MS + 7),
            ]
        );
        assert_eq!(parts(5, i64::MAX).last(), Some(&(Days, DAY_MS, i64::MAX)));
        assert_eq!(parts(7, 5), [(Calls, 7, 5)]);
    }
}
