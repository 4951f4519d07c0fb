//! `/admin/v1/usage`: sums over the ledger, as JSON or CSV. A member sees those of its own team.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use tidegate_catalog::NanoDollars;
use tidegate_gateway::GatewayError;
use tidegate_store::{GroupBy, Text, UsageFilter, UsageOrder, UsageQuery, UsageRow};

use super::context::{Context, Query, Reply};
use super::refusal::{forbidden, invalid, of_store};

/// Rows of a report at most.
const MOST_ROWS: u32 = 10_000;
/// Each combination is a row: with more dimensions a report is the list of calls.
const MOST_GROUPS: usize = 4;
/// The header of an answer that lacks rows: CSV has no other place to say so.
const TRUNCATED: &str = "x-tidegate-truncated";

/// The words for `group_by` that stand for themselves.
const GROUPS: [(&str, GroupBy); 11] = [
    ("all", GroupBy::All),
    ("organization", GroupBy::Organization),
    ("team", GroupBy::Team),
    ("key", GroupBy::Key),
    ("end_user", GroupBy::EndUser),
    ("model", GroupBy::Model),
    ("target", GroupBy::Target),
    ("provider", GroupBy::Provider),
    ("outcome", GroupBy::Outcome),
    ("hour", GroupBy::Hour),
    ("day", GroupBy::Day),
];

/// Those of them that are ids, whose names are shown as well.
const LABELLED: [&str; 3] = ["organization", "team", "key"];

/// The words for `order`.
const ORDERS: [(&str, UsageOrder); 4] = [
    ("cost", UsageOrder::Cost),
    ("calls", UsageOrder::Calls),
    ("tokens", UsageOrder::Tokens),
    ("name", UsageOrder::Name),
];

/// What may stand behind the `?`.
pub(super) const QUERY: [(&str, &str); 16] = [
    (
        "group_by",
        "One or several of organization, team, key, end_user, model, target, provider, outcome, hour, day, tag:NAME, all; \
         model, when left out",
    ),
    ("since", "Calls from this moment on: 2026-01-31T12:00:00Z"),
    ("until", "Calls before this moment"),
    ("organization_id", "Only calls of this organization"),
    ("team_id", "Only calls of this team"),
    ("key_id", "Only calls of this key"),
    ("end_user", "Only calls of this end user"),
    ("model", "Only calls of this model, by the name that callers used"),
    ("provider", "Only calls of this provider"),
    ("upstream_model", "Only calls of this model, by the provider's name"),
    ("tag", "Only calls with this tag: NAME=VALUE"),
    (
        "outcome",
        "Only calls that were answered, refused or cancelled, or that failed by this kind of failure",
    ),
    ("shadows_of", "The shadows of this experiment instead of callers' calls; they stand in no other report"),
    ("order", "cost, calls, tokens or name; the latest first and then the dearest, when left out"),
    (
        "limit",
        "Rows at most, 1000 when left out, 10000 at most; where there are more, `truncated` is true, and the answer has the \
         header `x-tidegate-truncated: true`",
    ),
    ("format", "json or csv"),
];

/// A usage report.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct UsageReport {
    data: Vec<UsageRowView>,
    /// Whether there are more rows than `limit`: the last ones in the order that was asked for are left out.
    truncated: bool,
}

/// One row of a usage report.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "UsageRow")]
struct UsageRowView {
    /// What the row stands for, by the words of `group_by`; null gathers the calls that have no such thing.
    group: BTreeMap<String, Option<String>>,
    /// What its organization, team and key are called; null where there is none of that id any more.
    labels: BTreeMap<String, Option<String>>,
    calls: u64,
    answered: u64,
    failed: u64,
    refused: u64,
    cancelled: u64,
    input_tokens: u64,
    cache_read_tokens: u64,
    cache_write_5m_tokens: u64,
    cache_write_1h_tokens: u64,
    input_audio_tokens: u64,
    output_tokens: u64,
    reasoning_tokens: u64,
    output_audio_tokens: u64,
    web_searches: u64,
    /// In US dollars, as far as prices were known.
    cost_usd: String,
    /// What is charged: the cost with the teams' margins.
    charge_usd: String,
    /// Calls that used something whose price is not known.
    unpriced_calls: u64,
    /// Calls whose tokens are estimated.
    estimated_calls: u64,
    average_duration_us: u64,
    longest_duration_us: u64,
    average_time_to_first_token_us: Option<u64>,
}

pub(super) async fn report(context: Context) -> Result<Reply, GatewayError> {
    let query = &context.query;
    let words: Vec<&str> = query.get("group_by").unwrap_or("model").split(',').map(str::trim).collect();
    if words.len() > MOST_GROUPS {
        return Err(invalid("group_by", &format!("at most {MOST_GROUPS} at once")));
    }
    if (1..words.len()).any(|place| words[..place].contains(&words[place])) {
        return Err(invalid("group_by", "the same stands there twice"));
    }
    let groups = words.iter().map(|word| group(word)).collect::<Result<Vec<_>, _>>()?;
    let mut usage = UsageQuery::by_all(groups);
    usage.filter = filter(query)?;
    if let Some(own) = context.caller.confined_to() {
        if usage.filter.team.as_ref().is_some_and(|team| team != own.as_str()) {
            return Err(forbidden("A member sees the usage of its own team only. Leave `team_id` out."));
        }
        usage.filter.team = Some(Text::from(own.to_string()));
    }
    usage.since = query.moment("since")?;
    usage.until = query.moment("until")?;
    let limit = match query.limit()? {
        0 => usage.limit,
        asked => asked.min(MOST_ROWS),
    };
    usage.limit = limit + 1;
    if let Some(word) = query.get("order") {
        usage.order = find(&ORDERS, word).ok_or_else(|| invalid("order", &one_of(&ORDERS, word)))?;
    }
    let csv = match query.get("format") {
        None | Some("json") => false,
        Some("csv") => true,
        Some(other) => return Err(invalid("format", &format!("`{other}`: it takes json or csv"))),
    };
    let mut rows = context.administration.store.usage(&usage).await.map_err(|error| of_store(&error))?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let truncated = rows.len() > limit;
    rows.truncate(limit);
    let data: Vec<UsageRowView> = rows.into_iter().map(|row| view(&words, row)).collect();
    let reply =
        if csv { Reply::csv(as_csv(&words, &data)) } else { Reply::json(&UsageReport { data, truncated })? };
    Ok(reply.marked(truncated, TRUNCATED, "true"))
}

fn group(word: &str) -> Result<GroupBy, GatewayError> {
    if let Some(name) = word.strip_prefix("tag:").filter(|name| tidegate_store::Tags::is_name(name)) {
        return Ok(GroupBy::Tag(Text::from(name.to_owned())));
    }
    find(&GROUPS, word).ok_or_else(|| invalid("group_by", &format!("{}, or tag:NAME", one_of(&GROUPS, word))))
}

fn find<T: Clone>(words: &[(&str, T)], word: &str) -> Option<T> {
    words.iter().find(|(known, _)| *known == word).map(|(_, value)| value.clone())
}

fn one_of<T>(words: &[(&str, T)], word: &str) -> String {
    unknown_word(word, &words.iter().map(|(word, _)| *word).collect::<Vec<_>>())
}

fn unknown_word(word: &str, words: &[&str]) -> String {
    format!("`{}`: it takes {}", word.chars().take(100).collect::<String>(), words.join(", "))
}

fn filter(query: &Query) -> Result<UsageFilter, GatewayError> {
    let text = |name: &str| query.get(name).map(|value| Text::from(value.to_owned()));
    let tag = match query.get("tag") {
        None => None,
        Some(tag) => {
            let (name, value) = tag.split_once('=').ok_or_else(|| invalid("tag", "write it NAME=VALUE"))?;
            Some((Text::from(name.to_owned()), Text::from(value.to_owned())))
        }
    };
    if let Some(word) = query.get("outcome") {
        let words = UsageFilter::outcome_words();
        if !words.contains(&word) {
            let why = "calls that failed go by the kind of their failure";
            return Err(invalid("outcome", &format!("{}; {why}", unknown_word(word, &words))));
        }
    }
    Ok(UsageFilter {
        organization: text("organization_id"),
        team: text("team_id"),
        key: text("key_id"),
        model: text("model"),
        provider: text("provider"),
        upstream_model: text("upstream_model"),
        end_user: text("end_user"),
        tag,
        outcome: text("outcome"),
        shadows_of: text("shadows_of"),
    })
}

fn view(words: &[&str], row: UsageRow) -> UsageRowView {
    let dollars = |nano: u64| NanoDollars(i64::try_from(nano).unwrap_or(i64::MAX)).to_string();
    let labels = words.iter().zip(&row.labels).filter(|(word, _)| LABELLED.contains(word));
    UsageRowView {
        labels: labels.map(|(word, label)| ((*word).to_owned(), label.clone())).collect(),
        group: words.iter().map(|word| (*word).to_owned()).zip(row.names).collect(),
        calls: row.calls,
        answered: row.answered,
        failed: row.failed,
        refused: row.refused,
        cancelled: row.cancelled,
        input_tokens: row.usage.input,
        cache_read_tokens: row.usage.cache_read,
        cache_write_5m_tokens: row.usage.cache_write_5m,
        cache_write_1h_tokens: row.usage.cache_write_1h,
        input_audio_tokens: row.usage.input_audio,
        output_tokens: row.usage.output,
        reasoning_tokens: row.usage.reasoning,
        output_audio_tokens: row.usage.output_audio,
        web_searches: row.usage.web_searches,
        cost_usd: dollars(row.cost_nanodollars),
        charge_usd: dollars(row.charge_nanodollars),
        unpriced_calls: row.unpriced,
        estimated_calls: row.estimated,
        average_duration_us: row.average_duration_us,
        longest_duration_us: row.longest_duration_us,
        average_time_to_first_token_us: row.average_time_to_first_token_us,
    }
}

/// The groups first, then what those are called that are ids, then all figures; a report without rows has the groups alone as its heading.
fn as_csv(words: &[&str], rows: &[UsageRowView]) -> String {
    let labelled: Vec<&str> = words.iter().copied().filter(|word| LABELLED.contains(word)).collect();
    let mut heading = words.join(",");
    for word in &labelled {
        heading.extend([",", word, "_label"]);
    }
    let mut lines = String::new();
    for row in rows {
        let figures = match serde_json::to_value(row) {
            Ok(Value::Object(mut figures)) => {
                figures.shift_remove("group");
                figures.shift_remove("labels");
                figures
            }
            _ => Map::new(),
        };
        if lines.is_empty() {
            figures.keys().for_each(|name| heading.extend([",", name]));
        }
        let text = |of: &BTreeMap<String, Option<String>>, word: &str| {
            field(of.get(word).and_then(Option::as_deref).unwrap_or_default())
        };
        let named = words.iter().map(|word| text(&row.group, word));
        let labels = labelled.iter().map(|word| text(&row.labels, word));
        let counted = figures.values().map(|value| match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        lines.push_str(&named.chain(labels).chain(counted).collect::<Vec<_>>().join(","));
        lines.push('\n');
    }
    format!("{heading}\n{lines}")
}

/// A name in a CSV line, in quotes where RFC 4180 wants them. Names come from callers: one that a spreadsheet would take
/// for a formula gets an apostrophe, which makes it text.
fn field(text: &str) -> String {
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
            ("=1+1", "'=1+1"),
            ("\t=1", "'\t=1"),
        ] {
            assert_eq!(field(name), written);
        }
    }
}
