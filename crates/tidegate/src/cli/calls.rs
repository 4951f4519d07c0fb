//! `tidegate calls`: the newest calls of the ledger, or everything about one of them.

use std::fmt::Write as _;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_catalog::NanoDollars;
use tidegate_store::{Attempt, CallId, CallsQuery, LedgerEntry, Text};

use super::ledger::{Place, moment};
use crate::failure::Failure;
use crate::output::{Side, Table, duration, grouped, print, print_json};

/// List calls from the ledger, or show one of them
#[derive(Debug, Args)]
#[command(after_help = "The id of a call is the `x-request-id` that its caller got.")]
pub(crate) struct Options {
    /// The id of one call, to see everything about it
    #[arg(value_name = "ID")]
    id: Option<CallId>,
    /// At most so many, the newest first
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// From then on: 7d, 24h, 2026-01-31, 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    if let Some(id) = options.id {
        let found = options.place.ask(async |store| Ok((store.call(id).await?, store.bodies(id).await?)))?;
        let (entry, bodies) = found;
        let entry = entry.ok_or_else(|| anyhow::anyhow!("no call with the id {id} is in the ledger"))?;
        let mut described = describe(&entry);
        if let Some(bodies) = bodies {
            described["request"] = json!(bodies.request.map(|body| body.text));
            described["response"] = json!(bodies.response.map(|body| body.text));
        }
        return if options.json { print_json(&described) } else { print(&page(&described)) };
    }
    let query = CallsQuery { since: options.since, ..CallsQuery::latest(options.limit) };
    let calls = options.place.ask(async |store| Ok(store.calls(&query).await?))?;
    if options.json {
        return print_json(&Value::Array(calls.iter().map(describe).collect()));
    }
    print(&table(&calls))
}

fn table(calls: &[LedgerEntry]) -> String {
    use Side::{Left, Right};
    if calls.is_empty() {
        return "no calls\n".to_owned();
    }
    let mut table = Table::new([
        ("ID", Left),
        ("BEGAN (UTC)", Left),
        ("MODEL", Left),
        ("ANSWERED BY", Left),
        ("OUTCOME", Left),
        ("IN", Right),
        ("OUT", Right),
        ("COST $", Right),
        ("TOOK", Right),
    ]);
    for call in calls {
        table.row([
            call.id.to_string(),
            call.id.started_at().strftime("%Y-%m-%d %H:%M:%S").to_string(),
            call.model.as_deref().unwrap_or("–").to_owned(),
            target(call).unwrap_or_else(|| "–".to_owned()),
            call.failure.as_deref().unwrap_or(call.outcome.as_str()).to_owned(),
            grouped(call.usage.input),
            grouped(call.usage.output),
            call.cost_nanodollars.map_or_else(|| "?".to_owned(), |cost| dollars(cost).to_string()),
            duration(call.duration_us),
        ]);
    }
    table.render()
}

fn target(call: &LedgerEntry) -> Option<String> {
    Some(format!("{}/{}", call.provider.as_ref()?, call.upstream_model.as_ref()?))
}

fn dollars(nanodollars: u64) -> NanoDollars {
    NanoDollars(i64::try_from(nanodollars).unwrap_or(i64::MAX))
}

fn describe(call: &LedgerEntry) -> Value {
    let prices: Option<Value> = call.prices.as_deref().and_then(|prices| serde_json::from_str(prices).ok());
    json!({
        "id": call.id.to_string(),
        "began": call.id.started_at().to_string(),
        "duration_us": call.duration_us,
        "time_to_first_token_us": call.time_to_first_token_us,
        "outcome": call.outcome.as_str(),
        "failure": call.failure,
        "status": call.status,
        "finish_reason": call.finish_reason,
        "dialect": call.dialect,
        "operation": call.operation,
        "streamed": call.streamed,
        "model": call.model,
        "target": target(call),
        "key_label": call.key_label,
        "key": call.key_id,
        "team": call.team_id,
        "organization": call.organization_id,
        "end_user": call.end_user,
        "tags": call.tags.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect::<serde_json::Map<_, _>>(),
        "service_tier": call.service_tier,
        "usage": call.usage,
        "cost_usd": call.cost_nanodollars.map(|cost| dollars(cost).to_string()),
        "charge_usd": call.charge_nanodollars.map(|charge| dollars(charge).to_string()),
        "is_estimated": call.is_estimated,
        "nanodollars_per_million": prices,
        "attempts": call.attempts.iter().map(attempt).collect::<Vec<_>>(),
        "dropped": call.dropped.iter().map(Text::as_str).collect::<Vec<_>>(),
        "cache": call.cache.map(tidegate_store::CacheState::as_str),
        "bytes_in": call.bytes_in,
        "bytes_out": call.bytes_out,
    })
}

/// An attempt; its prices, where it has its own, are called as the call's are.
fn attempt(attempt: &Attempt) -> Value {
    let mut described = json!(attempt);
    if let Some(used) = described.get_mut("used").and_then(Value::as_object_mut)
        && let Some(Value::String(prices)) = used.remove("prices")
    {
        let prices = serde_json::from_str(&prices).unwrap_or(Value::String(prices));
        used.insert("nanodollars_per_million".to_owned(), prices);
    }
    described
}

/// What is known of a call, a line each; what is not is left out.
fn page(described: &Value) -> String {
    let mut text = String::new();
    for (name, value) in described.as_object().into_iter().flatten() {
        // Writing into a `String` cannot fail.
        match value {
            Value::Null => {}
            Value::Array(list) if list.is_empty() => {}
            Value::Object(map) if map.is_empty() => {}
            Value::Array(list) => {
                for item in list {
                    let _ = writeln!(text, "{name:24}{item}");
                }
            }
            Value::String(word) => {
                let _ = writeln!(text, "{name:24}{word}");
            }
            other => {
                let _ = writeln!(text, "{name:24}{other}");
            }
        }
    }
    text
}
