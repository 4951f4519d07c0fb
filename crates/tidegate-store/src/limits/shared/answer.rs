//! What the script answers, read with the limits that were asked about.

use std::str::FromStr;
use std::time::Duration;

use tidegate_catalog::NanoDollars;
use tidegate_policy::{
    Budget, BudgetKind, BudgetRoom, BudgetUsage, IN_FLIGHT_RETRY_AFTER, LimitsUsage, Measure, PeriodStart,
    RateLimit, RateUsage, Remaining, Room, Shortage,
};

use super::super::answers::{Crossed, LevelUsage, Refused};
use super::super::limiter::Level;

/// The end of the year 9999.
const LATEST_START: PeriodStart = 253_402_300_799;

/// What the script says to a question about levels.
#[derive(Debug)]
pub(super) enum Answer {
    /// There is room, or this is how far the limits are used.
    Taken(Vec<TakenLevel>),
    /// There is none.
    Refused(Refused),
    /// First it must be told what these levels have spent.
    Fill(Vec<usize>),
}

/// One level after room was taken.
#[derive(Debug)]
pub(super) struct TakenLevel {
    pub(super) usage: LevelUsage,
    pub(super) crossed: Vec<Crossed>,
}

/// Reads an answer; `None`, when it is none that the script gives.
///
/// `cost`: what was asked for.
pub(super) fn read(words: &[String], levels: &[&Level], cost: NanoDollars) -> Option<Answer> {
    let mut words = Words(words.iter());
    match words.text()? {
        "fill" => {
            let mut places = Vec::new();
            while let Some(place) = words.number::<usize>() {
                places.push(place.checked_sub(1).filter(|place| *place < levels.len())?);
            }
            Some(Answer::Fill(places))
        }
        "short" => read_shortage(&mut words, levels, cost).map(Answer::Refused),
        "taken" => {
            levels.iter().map(|level| read_level(&mut words, level)).collect::<Option<_>>().map(Answer::Taken)
        }
        _ => None,
    }
}

/// The tightest of each kind.
pub(super) fn room(levels: &[TakenLevel]) -> Room {
    let mut room = Room::default();
    let remaining = |usage: &RateUsage| Remaining {
        limit: usage.limit.max,
        remaining: usage.remaining,
        reset_after: usage.reset_after,
    };
    for LevelUsage { usage, .. } in levels.iter().map(|level| &level.usage) {
        usage.requests.iter().for_each(|usage| room.narrow(Measure::Requests, remaining(usage)));
        usage.tokens.iter().for_each(|usage| room.narrow(Measure::Tokens, remaining(usage)));
        for usage in usage.budgets.iter().filter(|usage| usage.budget.kind == BudgetKind::Hard) {
            let BudgetUsage { budget, remaining, .. } = *usage;
            room.narrow_budget(BudgetRoom { limit: budget.usd, remaining });
        }
    }
    room
}

fn read_shortage(words: &mut Words<'_>, levels: &[&Level], cost: NanoDollars) -> Option<Refused> {
    let level = *levels.get(words.place()?)?;
    let limits = &level.limits;
    let kind = words.text()?;
    let shortage = match kind {
        "b" => {
            let budget = *limits.budgets.get(words.place()?)?;
            let total = NanoDollars(words.number()?);
            let held = NanoDollars(words.number()?);
            let resets_at = budget.per.next_start(words.start()?);
            let used = total - held;
            Shortage::Budget { budget, used, held, resets_at, blocked_by_holds: used + cost <= budget.usd }
        }
        "f" => Shortage::Rate {
            measure: Measure::InFlight,
            limit: limits.in_flight?.into(),
            per: None,
            retry_after: IN_FLIGHT_RETRY_AFTER,
        },
        _ => {
            let (measure, windows) = match kind {
                "r" => (Measure::Requests, &limits.requests),
                "t" => (Measure::Tokens, &limits.tokens),
                _ => return None,
            };
            let limit = RateLimit::windows(windows).nth(words.place()?)?;
            let retry_after = Duration::from_micros(words.number()?);
            Shortage::Rate { measure, limit: limit.max, per: Some(limit.per), retry_after }
        }
    };
    Some(Refused::new(&level.scope, shortage))
}

fn read_level(words: &mut Words<'_>, level: &Level) -> Option<TakenLevel> {
    let limits = &level.limits;
    let requests = RateLimit::windows(&limits.requests).map(|limit| read_rate(words, limit));
    let requests = requests.collect::<Option<_>>()?;
    let tokens = RateLimit::windows(&limits.tokens).map(|limit| read_rate(words, limit));
    let tokens = tokens.collect::<Option<_>>()?;
    let mut crossed = Vec::new();
    let mut budgets = Vec::new();
    for budget in &limits.budgets {
        let (usage, is_crossed) = read_budget(words, *budget)?;
        budgets.push(usage);
        if is_crossed {
            crossed.push(Crossed { scope: level.scope.clone(), budget: *budget });
        }
    }
    let in_flight = words.number()?;
    let usage = LimitsUsage { in_flight, in_flight_limit: limits.in_flight, requests, tokens, budgets };
    Some(TakenLevel { usage: LevelUsage { scope: level.scope.clone(), usage }, crossed })
}

fn read_rate(words: &mut Words<'_>, limit: RateLimit) -> Option<RateUsage> {
    let used = words.number::<i64>()?;
    let used = u64::try_from(used).unwrap_or(0);
    let reset_after = Duration::from_micros(words.number()?);
    Some(RateUsage { limit, used, remaining: limit.max.saturating_sub(used), reset_after })
}

fn read_budget(words: &mut Words<'_>, budget: Budget) -> Option<(BudgetUsage, bool)> {
    let total = NanoDollars(words.number()?);
    let held = NanoDollars(words.number()?);
    let resets_at = budget.per.next_start(words.start()?);
    let remaining = NanoDollars::ZERO.max(budget.usd - total);
    let usage = BudgetUsage { budget, used: total - held, held, remaining, resets_at };
    Some((usage, words.text()? == "1"))
}

struct Words<'a>(std::slice::Iter<'a, String>);

impl<'a> Words<'a> {
    fn text(&mut self) -> Option<&'a str> {
        self.0.next().map(String::as_str)
    }

    fn number<T: FromStr>(&mut self) -> Option<T> {
        self.text()?.parse().ok()
    }

    /// A second that the calendar knows.
    fn start(&mut self) -> Option<PeriodStart> {
        self.number().filter(|start| (0..=LATEST_START).contains(start))
    }

    /// Lua counts from one.
    fn place(&mut self) -> Option<usize> {
        self.number::<usize>()?.checked_sub(1)
    }
}
