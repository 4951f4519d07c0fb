//! What is asked of the script, as JSON text. Written by the worker that asks, so that the courier only joins pieces.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use tidegate_catalog::NanoDollars;
use tidegate_policy::{Amounts, BudgetKind, BudgetPeriod, RateLimit, RatePeriod, Spending};

use super::super::limiter::Level;
use super::held::Held;
use super::link::{OwedKey, Settle};
use super::unwritten::Told;
use crate::CallId;

/// JSON numbers are exact up to here in Lua. A limit above it is none.
const LARGEST_NUMBER: u64 = 1 << 53;

/// Takes room.
pub(super) fn reserve(call: CallId, levels: &[&Level], amounts: Amounts, seeds: Seeds<'_>) -> String {
    let tokens = amounts.tokens.min(LARGEST_NUMBER);
    text(&("reserve", call.to_string(), tokens, amounts.cost.0.to_string(), wire_levels(levels, seeds)))
}

/// Looks how far limits are used.
pub(super) fn look(levels: &[&Level], seeds: Seeds<'_>) -> String {
    text(&("look", wire_levels(levels, seeds)))
}

/// Settles a call, or releases what it held.
pub(super) fn settle(settle: &Settle) -> String {
    let Settle { call, actual, is_first, held, ended } = settle;
    let levels = held.as_ref().map_or(&[][..], |held| &held.levels);
    let amounts = actual.unwrap_or_default();
    let tokens = amounts.tokens.min(LARGEST_NUMBER);
    let ended = ended.to_string();
    text(&(
        "settle",
        call.to_string(),
        tokens,
        amounts.cost.0.to_string(),
        actual.is_some(),
        is_first,
        levels,
        ended,
    ))
}

/// Adds what was spent elsewhere.
pub(super) fn add(id: &str, owed: HashMap<OwedKey, NanoDollars>) -> String {
    let cost = |(key, cost): (OwedKey, NanoDollars)| {
        let OwedKey { scope, period, start, ended } = key;
        (scope, period_letter(period), start.to_string(), cost.0.to_string(), ended.to_string())
    };
    text(&("add", id, owed.into_iter().map(cost).collect::<Vec<_>>()))
}

/// Says that a replica lives.
pub(super) fn beat(replica: &str, uncounted_after: u64, dead_after: u64) -> String {
    text(&("beat", replica, uncounted_after, dead_after))
}

/// Lists the calls in flight of this replica.
pub(super) fn list() -> String {
    text(&("list",))
}

/// Asks which era it is, or begins one of this name.
pub(super) fn enter(era: &str) -> String {
    text(&("enter", era))
}

/// Brings along what calls in flight hold.
pub(super) fn bring(calls: &[(CallId, Arc<Held>)]) -> String {
    let calls: Vec<_> = calls
        .iter()
        .map(|(call, held)| (call.to_string(), held.cost.0.to_string(), held.levels.as_slice()))
        .collect();
    text(&("bring", calls))
}

/// Tells what was spent that the ledger may not have.
pub(super) fn tell(replica: &str, told: &[Told]) -> String {
    let accounts = told.iter().map(|told| {
        let costs: Vec<_> = told
            .costs
            .iter()
            .map(|(cost, written_at)| (cost.0.to_string(), written_at.to_string()))
            .collect();
        (&told.scope, period_letter(told.period), told.start.to_string(), costs)
    });
    text(&("tell", replica, accounts.collect::<Vec<_>>()))
}

/// Says that all was brought along. `replicas`: how many there were when that was last known.
pub(super) fn joined(replica: &str, replicas: u64) -> String {
    text(&("joined", replica, replicas))
}

/// All operations of one command, for this era; for any where it is empty.
pub(super) fn join<'a>(replica: &str, era: &str, operations: impl Iterator<Item = &'a str>) -> String {
    let mut joined = format!("{{\"replica\":{},\"era\":{},\"operations\":[", text(&replica), text(&era));
    for (place, operation) in operations.enumerate() {
        if place > 0 {
            joined.push(',');
        }
        joined.push_str(operation);
    }
    joined.push_str("]}");
    joined
}

/// What a level has spent, as the ledger says.
#[derive(Debug, Clone)]
pub(super) struct Filling {
    /// Its place among the levels.
    pub(super) place: usize,
    pub(super) spending: Spending,
    /// When the ledger was asked, by the clock of Redis, in microseconds.
    pub(super) asked_at: i64,
}

pub(super) type Seeds<'a> = &'a [Filling];

/// A level's name and the letters of the periods it has budgets for.
pub(super) type SettleLevel = (String, String);

/// What is said of the levels when a call is settled whose hold is gone, or brought along.
pub(super) fn settle_levels(levels: &[&Level]) -> Vec<SettleLevel> {
    let letters = |level: &Level| {
        let mut letters = String::new();
        for budget in &level.limits.budgets {
            let letter = period_letter(budget.per);
            if !letters.contains(letter) {
                letters.push_str(letter);
            }
        }
        letters
    };
    levels.iter().map(|level| (level.scope.to_string(), letters(level))).collect()
}

/// The letter of a period in the script's keys.
pub(super) fn period_letter(period: BudgetPeriod) -> &'static str {
    match period {
        BudgetPeriod::Hour => "h",
        BudgetPeriod::Day => "d",
        BudgetPeriod::Week => "w",
        BudgetPeriod::Month => "m",
        BudgetPeriod::Lifetime => "l",
    }
}

#[derive(Serialize)]
struct WireLevel {
    /// The scope.
    s: String,
    /// Requests.
    r: Vec<(u64, &'static str)>,
    /// Tokens.
    t: Vec<(u64, &'static str)>,
    /// In flight; -1 for as many as come.
    f: i64,
    /// Budgets: period, amount, whether it is hard.
    b: Vec<(&'static str, String, u8)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<Seed>,
}

#[derive(Serialize)]
struct Seed {
    /// When the ledger was asked.
    a: String,
    h: (i64, String),
    d: (i64, String),
    w: (i64, String),
    m: (i64, String),
    l: (i64, String),
    /// Age in milliseconds, requests, tokens.
    recent: Vec<(u64, u64, u64)>,
}

fn wire_levels(levels: &[&Level], seeds: Seeds<'_>) -> Vec<WireLevel> {
    let seed = |place| seeds.iter().find(|filling| filling.place == place).map(wire_seed);
    levels.iter().enumerate().map(|(place, level)| wire_level(level, seed(place))).collect()
}

fn wire_level(level: &Level, seed: Option<Seed>) -> WireLevel {
    let limits = &level.limits;
    let windows = |limits: &[RateLimit]| {
        RateLimit::windows(limits)
            .map(|limit| (limit.max.min(LARGEST_NUMBER), rate_letter(limit.per)))
            .collect()
    };
    let is_hard = |kind| u8::from(kind == BudgetKind::Hard);
    WireLevel {
        s: level.scope.to_string(),
        r: windows(&limits.requests),
        t: windows(&limits.tokens),
        f: limits.in_flight.map_or(-1, i64::from),
        b: limits
            .budgets
            .iter()
            .map(|budget| (period_letter(budget.per), budget.usd.0.to_string(), is_hard(budget.kind)))
            .collect(),
        seed,
    }
}

fn wire_seed(filling: &Filling) -> Seed {
    let Filling { spending, asked_at, .. } = filling;
    let spent =
        |period: BudgetPeriod| (period.start(spending.as_of), spending.in_period(period).0.to_string());
    let recent = spending.recent.iter().map(|calls| {
        let age = u64::try_from(calls.age.as_millis()).unwrap_or(LARGEST_NUMBER).min(LARGEST_NUMBER);
        (age, calls.requests.min(LARGEST_NUMBER), calls.tokens.min(LARGEST_NUMBER))
    });
    Seed {
        a: asked_at.to_string(),
        h: spent(BudgetPeriod::Hour),
        d: spent(BudgetPeriod::Day),
        w: spent(BudgetPeriod::Week),
        m: spent(BudgetPeriod::Month),
        l: spent(BudgetPeriod::Lifetime),
        recent: recent.collect(),
    }
}

fn rate_letter(per: RatePeriod) -> &'static str {
    match per {
        RatePeriod::Second => "s",
        RatePeriod::Minute => "m",
        RatePeriod::Hour => "h",
        RatePeriod::Day => "d",
    }
}

/// Text and numbers always are JSON.
fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
