//! `tidegate usage`: sums over the ledger.

use std::fmt::Write as _;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_catalog::NanoDollars;
use tidegate_store::{GroupBy, Text, UsageQuery, UsageRow};

use super::ledger::{Place, moment};
use crate::failure::Failure;
use crate::output::{Side, Table, duration, grouped, print, print_json};

/// The words for `--by` that stand for themselves.
const GROUPS: [(&str, GroupBy); 10] = [
    ("all", GroupBy::All),
    ("model", GroupBy::Model),
    ("target", GroupBy::Target),
    ("provider", GroupBy::Provider),
    ("key", GroupBy::Key),
    ("team", GroupBy::Team),
    ("end-user", GroupBy::EndUser),
    ("outcome", GroupBy::Outcome),
    ("hour", GroupBy::Hour),
    ("day", GroupBy::Day),
];

/// Sum up the ledger: calls, tokens, cost
#[derive(Debug, Args)]
#[command(
    after_help = "Works while a gateway runs. Callers set tags with the header `x-tidegate-tags: name=value,…`."
)]
pub(crate) struct Options {
    /// model, target, provider, key, team, end-user, outcome, hour, day, all, or tag:<name>
    #[arg(long, value_name = "WHAT", default_value = "model", value_parser = group)]
    by: GroupBy,
    /// From then on: 7d, 24h, 2026-01-31, 2026-01-31T12:00:00Z [default: everything]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Before then
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// As JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// As CSV
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let query =
        UsageQuery { since: options.since, until: options.until, ..UsageQuery::by(options.by.clone()) };
    let rows = options.place.ask(async |store| Ok(store.usage(&query).await?))?;
    if options.json {
        print_json(&Value::Array(rows.iter().map(|row| Value::Object(describe(row))).collect()))
    } else if options.csv {
        print(&csv(&rows))
    } else {
        print(&table(&options.by, &rows))
    }
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

/// The report as people read it, with the sum of everything at its end.
pub(super) fn table(by: &GroupBy, rows: &[UsageRow]) -> String {
    use Side::{Left, Right};
    if rows.is_empty() {
        return "no calls\n".to_owned();
    }
    let name = match by {
        GroupBy::Tag(_) => "TAG",
        GroupBy::EndUser => "END USER",
        GroupBy::All => "",
        GroupBy::Model => "MODEL",
        GroupBy::Target => "TARGET",
        GroupBy::Provider => "PROVIDER",
        GroupBy::Key => "KEY",
        GroupBy::Team => "TEAM",
        GroupBy::Outcome => "OUTCOME",
        GroupBy::Hour => "HOUR",
        GroupBy::Day => "DAY",
    };
    let mut table = Table::new([
        (name, Left),
        ("CALLS", Right),
        ("ANSWERED", Right),
        ("TOKENS IN", Right),
        ("CACHED", Right),
        ("TOKENS OUT", Right),
        ("COST $", Right),
        ("AVERAGE", Right),
        ("FIRST TOKEN", Right),
    ]);
    for row in rows {
        table.row(cells(row));
    }
    let unpriced: u64 = rows.iter().map(|row| row.unpriced).sum();
    let mut text = table.render();
    // Writing into a `String` cannot fail.
    if rows.len() > 1 {
        let calls: u64 = rows.iter().map(|row| row.calls).sum();
        let cost: NanoDollars = rows.iter().map(cost).sum();
        let _ = writeln!(text, "\n{} calls, {cost} $", grouped(calls));
    }
    if unpriced > 0 {
        let _ = writeln!(text, "≥: {} calls used something whose price is not known", grouped(unpriced));
    }
    text
}

fn cells(row: &UsageRow) -> [String; 9] {
    let at_least = if row.unpriced > 0 { "≥ " } else { "" };
    [
        row.name.clone().unwrap_or_else(|| "–".to_owned()),
        grouped(row.calls),
        grouped(row.answered),
        grouped(row.usage.input),
        grouped(row.usage.cache_read),
        grouped(row.usage.output),
        format!("{at_least}{}", cost(row)),
        duration(row.average_duration_us),
        row.average_time_to_first_token_us.map_or_else(|| "–".to_owned(), duration),
    ]
}

fn cost(row: &UsageRow) -> NanoDollars {
    NanoDollars(i64::try_from(row.cost_nanodollars).unwrap_or(i64::MAX))
}

/// Everything about a row; the same names as the columns of the CSV.
fn describe(row: &UsageRow) -> serde_json::Map<String, Value> {
    let usage = &row.usage;
    let value = json!({
        "name": row.name,
        "calls": row.calls,
        "answered": row.answered,
        "failed": row.failed,
        "refused": row.refused,
        "cancelled": row.cancelled,
        "input_tokens": usage.input,
        "cache_read_tokens": usage.cache_read,
        "cache_write_5m_tokens": usage.cache_write_5m,
        "cache_write_1h_tokens": usage.cache_write_1h,
        "input_audio_tokens": usage.input_audio,
        "output_tokens": usage.output,
        "reasoning_tokens": usage.reasoning,
        "output_audio_tokens": usage.output_audio,
        "web_searches": usage.web_searches,
        "cost_usd": cost(row).to_string(),
        "unpriced_calls": row.unpriced,
        "average_duration_us": row.average_duration_us,
        "longest_duration_us": row.longest_duration_us,
        "average_time_to_first_token_us": row.average_time_to_first_token_us,
    });
    match value {
        Value::Object(map) => map,
        _ => serde_json::Map::new(),
    }
}

fn csv(rows: &[UsageRow]) -> String {
    let mut text = String::new();
    for row in rows {
        let map = describe(row);
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
    let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_owned() };
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
    }
}
