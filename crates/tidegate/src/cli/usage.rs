//! `tidegate usage`: sums over the ledger.

use std::fmt::Write as _;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_catalog::NanoDollars;
use tidegate_store::{GroupBy, Text, UsageFilter, UsageOrder, UsageQuery, UsageRow, UsageTotal};

use super::ledger::{Place, moment};
use crate::failure::Failure;
use crate::output::{Side, Table, duration, grouped, print, print_json, tell};

/// The words for `--by` that stand for themselves.
const GROUPS: [(&str, GroupBy); 11] = [
    ("all", GroupBy::All),
    ("model", GroupBy::Model),
    ("target", GroupBy::Target),
    ("provider", GroupBy::Provider),
    ("organization", GroupBy::Organization),
    ("team", GroupBy::Team),
    ("key", GroupBy::Key),
    ("end-user", GroupBy::EndUser),
    ("outcome", GroupBy::Outcome),
    ("hour", GroupBy::Hour),
    ("day", GroupBy::Day),
];

/// The words for `--order`.
const ORDERS: [(&str, UsageOrder); 4] = [
    ("cost", UsageOrder::Cost),
    ("calls", UsageOrder::Calls),
    ("tokens", UsageOrder::Tokens),
    ("name", UsageOrder::Name),
];

/// Sum up the ledger: calls, tokens, cost
#[derive(Debug, Args)]
#[command(
    after_help = "Works while a gateway runs. Callers set tags with the header `x-tidegate-tags: name=value,…`."
)]
pub(crate) struct Options {
    /// organization, team, key, end-user, model, target, provider, outcome, hour, day, all, tag:<name>; or several: team,model
    #[arg(long, value_name = "WHAT", default_value = "model", value_delimiter = ',', value_parser = group)]
    by: Vec<GroupBy>,
    /// From then on: 7d, 24h, 2026-01-31, 2026-01-31T12:00:00Z [default: everything]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Before then
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Only calls of which this is so: team=ID, model=NAME, tag:NAME=VALUE, …; several times for more
    #[arg(long, value_name = "WHAT=VALUE", value_parser = only)]
    only: Vec<Only>,
    /// cost, calls, tokens or name [default: the latest first, then the dearest]
    #[arg(long, value_name = "WHAT", value_parser = order)]
    order: Option<UsageOrder>,
    /// At most so many rows
    #[arg(long, value_name = "ROWS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// The shadows of this experiment instead of callers' calls
    #[arg(long, value_name = "NAME")]
    shadows_of: Option<String>,
    /// As JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// As CSV
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    place: Place,
}

/// One condition of which calls count.
#[derive(Debug, Clone, PartialEq)]
struct Only {
    what: GroupBy,
    value: Text,
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let mut places = options.by.iter().enumerate();
    if places.any(|(place, by)| options.by.iter().take(place).any(|earlier| earlier == by)) {
        return Err(Failure::wrong(
            "--by: the same stands there twice",
            "A report is grouped by each thing once: --by team,model.",
        ));
    }
    let query = UsageQuery {
        group_by: options.by.clone(),
        filter: UsageFilter {
            shadows_of: options.shadows_of.clone().map(Text::from),
            ..filter(&options.only)
        },
        since: options.since,
        until: options.until,
        order: options.order.unwrap_or_default(),
        // One more tells whether rows are left out.
        limit: options.limit.saturating_add(1),
    };
    let limit = usize::try_from(options.limit).unwrap_or(usize::MAX);
    let (rows, total) = options.place.ask(async |store| {
        let mut rows = store.usage(&query).await?;
        if rows.len() <= limit {
            let total = UsageTotal::of(&rows);
            return Ok((rows, total));
        }
        rows.truncate(limit);
        Ok((rows, store.usage_total(&query).await?))
    })?;
    if !options.json && !options.csv {
        return print(&table(&options.by, &rows, total));
    }
    // What a program reads has no place for it.
    if let Some(text) = left_out(&rows, total) {
        tell(&text);
    }
    if options.json {
        print_json(&Value::Array(rows.iter().map(|row| Value::Object(describe(&options.by, row))).collect()))
    } else {
        print(&csv(&options.by, &rows))
    }
}

/// What is said where there are more rows than are shown.
fn left_out(rows: &[UsageRow], total: UsageTotal) -> Option<String> {
    let shown = u64::try_from(rows.len()).unwrap_or(u64::MAX);
    let all = total.rows;
    (all > shown)
        .then(|| format!("{} of {} rows are shown; --limit {all} shows all", grouped(shown), grouped(all)))
}

fn group(text: &str) -> Result<GroupBy, String> {
    if let Some(name) = text.strip_prefix("tag:").filter(|name| !name.is_empty()) {
        return Ok(GroupBy::Tag(Text::from(name.to_owned())));
    }
    let found = GROUPS.into_iter().find(|(word, _)| *word == text).map(|(_, group)| group);
    found.ok_or_else(|| {
        let words = GROUPS.map(|(word, _)| word);
        let meant = tidegate_config::closest(text, words, 1);
        match meant.first() {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("one of {}, or tag:<name>", words.join(", ")),
        }
    })
}

fn order(text: &str) -> Result<UsageOrder, String> {
    let found = ORDERS.into_iter().find(|(word, _)| *word == text).map(|(_, order)| order);
    found.ok_or_else(|| format!("one of {}", ORDERS.map(|(word, _)| word).join(", ")))
}

fn only(text: &str) -> Result<Only, String> {
    let (what, value) = text.split_once('=').ok_or("write it as what=value: team=team_1, tag:app=search")?;
    let what = group(what)?;
    match what {
        GroupBy::All | GroupBy::Hour | GroupBy::Day => {
            Err("for times there are --since and --until".to_owned())
        }
        GroupBy::Target if !value.contains('/') => {
            Err("a target is written provider/upstream-model".to_owned())
        }
        GroupBy::Outcome if !UsageFilter::outcome_words().contains(&value) => Err(format!(
            "one of {}; calls that failed go by the kind of their failure",
            UsageFilter::outcome_words().join(", ")
        )),
        what => Ok(Only { what, value: Text::from(value.to_owned()) }),
    }
}

fn filter(conditions: &[Only]) -> UsageFilter {
    let mut filter = UsageFilter::default();
    for Only { what, value } in conditions {
        let value = value.clone();
        match what {
            GroupBy::Organization => filter.organization = Some(value),
            GroupBy::Team => filter.team = Some(value),
            GroupBy::Key => filter.key = Some(value),
            GroupBy::EndUser => filter.end_user = Some(value),
            GroupBy::Model => filter.model = Some(value),
            GroupBy::Provider => filter.provider = Some(value),
            GroupBy::Outcome => filter.outcome = Some(value),
            GroupBy::Tag(name) => filter.tag = Some((name.clone(), value)),
            GroupBy::Target => {
                let (provider, model) = value.split_once('/').unwrap_or((&value, ""));
                filter.provider = Some(Text::from(provider.to_owned()));
                filter.upstream_model = Some(Text::from(model.to_owned()));
            }
            // Refused when they were read.
            GroupBy::All | GroupBy::Hour | GroupBy::Day => {}
        }
    }
    filter
}

/// What a group is called in JSON and CSV.
fn word(by: &GroupBy) -> String {
    match by {
        GroupBy::Tag(name) => format!("tag:{name}"),
        by => {
            GROUPS.into_iter().find(|(_, group)| group == by).map_or("", |(word, _)| word).replace('-', "_")
        }
    }
}

/// The report as people read it, with the sum of everything at its end, also of rows that are left out.
pub(super) fn table(by: &[GroupBy], rows: &[UsageRow], total: UsageTotal) -> String {
    use Side::{Left, Right};
    if rows.is_empty() {
        return "no calls\n".to_owned();
    }
    let titles: Vec<String> = by.iter().map(title).collect();
    let is_charged = rows.iter().any(|row| row.charge_nanodollars != row.cost_nanodollars);
    let mut columns: Vec<(&str, Side)> = titles.iter().map(|title| (title.as_str(), Left)).collect();
    columns.extend([
        ("CALLS", Right),
        ("ANSWERED", Right),
        ("TOKENS IN", Right),
        ("CACHED", Right),
        ("TOKENS OUT", Right),
        ("COST $", Right),
    ]);
    if is_charged {
        columns.push(("CHARGE $", Right));
    }
    columns.extend([("AVERAGE", Right), ("FIRST TOKEN", Right)]);
    let mut table = Table::new(columns);
    for row in rows {
        table.row(cells(row, is_charged));
    }
    let mut text = table.render();
    // Writing into a `String` cannot fail.
    if total.rows > 1 {
        let _ = writeln!(text, "\n{} calls, {} $", grouped(total.calls), dollars(total.cost_nanodollars));
    }
    if total.unpriced > 0 {
        let _ =
            writeln!(text, "≥: {} calls used something whose price is not known", grouped(total.unpriced));
    }
    if let Some(said) = left_out(rows, total) {
        let _ = writeln!(text, "{said}");
    }
    text
}

fn title(by: &GroupBy) -> String {
    match by {
        GroupBy::Tag(name) => format!("TAG {name}"),
        GroupBy::All => String::new(),
        by => word(by).replace('_', " ").to_uppercase(),
    }
}

fn cells(row: &UsageRow, is_charged: bool) -> Vec<String> {
    let at_least = if row.unpriced > 0 { "≥ " } else { "" };
    let names = row.names.iter().zip(&row.labels).map(|(name, label)| label.as_ref().or(name.as_ref()));
    let mut cells: Vec<String> = names.map(|name| name.cloned().unwrap_or_else(|| "–".to_owned())).collect();
    cells.extend([
        grouped(row.calls),
        grouped(row.answered),
        grouped(row.usage.input),
        grouped(row.usage.cache_read),
        grouped(row.usage.output),
        format!("{at_least}{}", cost(row)),
    ]);
    if is_charged {
        cells.push(dollars(row.charge_nanodollars).to_string());
    }
    cells.extend([
        duration(row.average_duration_us),
        row.average_time_to_first_token_us.map_or_else(|| "–".to_owned(), duration),
    ]);
    cells
}

fn dollars(nanodollars: u64) -> NanoDollars {
    NanoDollars(i64::try_from(nanodollars).unwrap_or(i64::MAX))
}

fn cost(row: &UsageRow) -> NanoDollars {
    dollars(row.cost_nanodollars)
}

/// Everything about a row; the same names as the columns of the CSV. What it stands for is its `name` where that is one
/// thing, else each has its own.
fn describe(by: &[GroupBy], row: &UsageRow) -> serde_json::Map<String, Value> {
    let mut map = serde_json::Map::new();
    for ((by_one, name), label) in by.iter().zip(&row.names).zip(&row.labels) {
        let word = if by.len() == 1 { "name".to_owned() } else { word(by_one) };
        if matches!(by_one, GroupBy::Organization | GroupBy::Team | GroupBy::Key) {
            map.insert(format!("{word}_label"), label.clone().into());
        }
        map.insert(word, name.clone().into());
    }
    let usage = &row.usage;
    for (word, value) in [
        ("calls", json!(row.calls)),
        ("answered", json!(row.answered)),
        ("failed", json!(row.failed)),
        ("refused", json!(row.refused)),
        ("cancelled", json!(row.cancelled)),
        ("input_tokens", json!(usage.input)),
        ("cache_read_tokens", json!(usage.cache_read)),
        ("cache_write_5m_tokens", json!(usage.cache_write_5m)),
        ("cache_write_1h_tokens", json!(usage.cache_write_1h)),
        ("input_audio_tokens", json!(usage.input_audio)),
        ("output_tokens", json!(usage.output)),
        ("reasoning_tokens", json!(usage.reasoning)),
        ("output_audio_tokens", json!(usage.output_audio)),
        ("web_searches", json!(usage.web_searches)),
        ("cost_usd", json!(cost(row).to_string())),
        ("charge_usd", json!(dollars(row.charge_nanodollars).to_string())),
        ("unpriced_calls", json!(row.unpriced)),
        ("estimated_calls", json!(row.estimated)),
        ("average_duration_us", json!(row.average_duration_us)),
        ("longest_duration_us", json!(row.longest_duration_us)),
        ("average_time_to_first_token_us", json!(row.average_time_to_first_token_us)),
    ] {
        map.insert(word.to_owned(), value);
    }
    map
}

fn csv(by: &[GroupBy], rows: &[UsageRow]) -> String {
    let mut text = String::new();
    for row in rows {
        let map = describe(by, row);
        if text.is_empty() {
            text.push_str(&map.keys().map(String::as_str).collect::<Vec<_>>().join(","));
            text.push('\n');
        }
        text.push_str(&map.values().map(field).collect::<Vec<_>>().join(","));
        text.push('\n');
    }
    text
}

/// A field of a CSV line, in quotes where RFC 4180 wants them. Names come from callers: one that a spreadsheet would take
/// for a formula gets an apostrophe, which makes it text.
fn field(value: &Value) -> String {
    let text = match value {
        Value::Null => return String::new(),
        Value::String(text) => text.as_str(),
        other => return other.to_string(),
    };
    let text =
        if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_callers_named_cannot_break_a_csv_line_or_become_a_formula() {
        for (name, written) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=1+1", "'=1+1"),
            ("\t=1", "'\t=1"),
        ] {
            assert_eq!(field(&Value::from(name)), written);
        }
        assert_eq!(field(&Value::Null), "");
    }

    #[test]
    fn a_mistyped_group_is_answered_with_the_right_one() {
        assert!(matches!(group("tag:team"), Ok(GroupBy::Tag(name)) if name == "team"));
        assert_eq!(group("providr"), Err("did you mean `provider`?".to_owned()));
        assert!(group("tag:").is_err());
        assert!(only("hour=3").is_err() && only("team").is_err() && only("target=fast").is_err());
        let conditions =
            ["tag:app=a=b", "target=openai/gpt-5/x"].map(|text| only(text).expect("a condition"));
        let filter = filter(&conditions);
        assert_eq!(filter.tag, Some(("app".into(), "a=b".into())));
        assert_eq!((filter.provider, filter.upstream_model), (Some("openai".into()), Some("gpt-5/x".into())));
    }
}
