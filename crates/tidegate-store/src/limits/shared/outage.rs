//! Limits while Redis is away: each replica goes on with its share of them, in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tidegate_catalog::NanoDollars;
use tidegate_policy::{
    Amounts, BudgetPeriod, Limits, Measure, PeriodStart, RateLimit, RatePeriod, RateUsage, Spending,
};

use super::super::answers::{LevelUsage, Refused};
use super::super::hold::{Hold, Taken};
use super::super::limiter::Level;
use super::super::local::{Local, LocalHold, LocalOptions};
use super::answer::TakenLevel;
use super::held::Held;
use super::link::{Link, Settle};
use crate::{CallId, Scope};

/// Outages that follow each other closely are one: otherwise each would begin with empty windows.
const SAME_OUTAGE: Duration = Duration::from_secs(60);

/// What Redis said so shortly before it went away is taken as it was. What is older may lack what other replicas have spent
/// since, so the ledger is asked too.
const FRESH: Duration = Duration::from_millis(100);

/// Levels whose spending is remembered for an outage. Some 100 bytes each.
const MOST_KNOWN: usize = 65_536;

/// What is needed when Redis goes away, and the counters while it is.
#[derive(Default)]
pub(super) struct Outages {
    known: Mutex<HashMap<Scope, Known>>,
    current: Mutex<Option<Current>>,
}

/// How far a level's limits were used when Redis was last asked.
#[derive(Default)]
struct Known {
    at: Option<Instant>,
    /// In which outage the ledger was asked too.
    asked_in: u64,
    /// What was spent and held in each period with a budget.
    budgets: Vec<(BudgetPeriod, PeriodStart, NanoDollars)>,
    requests: Vec<(RatePeriod, u64)>,
    tokens: Vec<(RatePeriod, u64)>,
}

struct Current {
    number: u64,
    began: Instant,
    counters: Arc<Local>,
}

impl Outages {
    /// Remembers what Redis said.
    pub(super) fn remember(&self, levels: &[TakenLevel]) {
        let now = Timestamp::now().as_second();
        for LevelUsage { scope, usage } in levels.iter().map(|level| &level.usage) {
            let budgets = usage.budgets.iter();
            let spent =
                budgets.map(|usage| (usage.budget.per, usage.budget.per.start(now), usage.used + usage.held));
            let windows =
                |usage: &[RateUsage]| usage.iter().map(|rate| (rate.limit.per, rate.used)).collect();
            self.know(scope, |known| {
                *known = Known {
                    at: Some(Instant::now()),
                    asked_in: 0,
                    budgets: spent.collect(),
                    requests: windows(&usage.requests),
                    tokens: windows(&usage.tokens),
                };
            });
        }
    }

    /// Whether it is known what this level has spent; without budgets nobody needs to know.
    pub(super) fn knows(&self, link: &Link, level: &Level) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        level.limits.budgets.is_empty()
            || known.get(&level.scope).is_some_and(|known| {
                known.asked_in == link.outages() || known.at.is_some_and(|at| at + FRESH >= link.away_since())
            })
    }

    /// Adds what the ledger says to what Redis said; `None`, when it says nothing.
    pub(super) fn learn(&self, link: &Link, scope: &Scope, spent: Option<&Spending>) {
        self.know(scope, |known| {
            known.asked_in = link.outages();
            let Some(spent) = spent else { return };
            for per in BudgetPeriod::ALL {
                let (start, amount) = (per.start(spent.as_of), spent.in_period(per));
                match known.budgets.iter_mut().find(|known| (known.0, known.1) == (per, start)) {
                    Some(known) => known.2 = known.2.max(amount),
                    None => known.budgets.push((per, start, amount)),
                }
            }
        });
    }

    fn know(&self, scope: &Scope, change: impl FnOnce(&mut Known)) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_KNOWN && !known.contains_key(scope) {
            // Which ones go does not matter: whoever is missed is asked for again.
            let mut left = MOST_KNOWN / 8;
            known.retain(|_, _| {
                left = left.saturating_sub(1);
                left == 0
            });
        }
        match known.get_mut(scope) {
            Some(known) => change(known),
            None => change(known.entry(scope.clone()).or_default()),
        }
    }

    /// Takes room from this replica's share.
    pub(super) fn reserve(
        &self,
        link: &Arc<Link>,
        call: CallId,
        levels: &[&Level],
        amounts: Amounts,
    ) -> Result<Hold, Refused> {
        let now = Timestamp::now().as_second();
        let replicas = link.replicas();
        let shares: Vec<Level> = levels.iter().map(|level| self.share(level, replicas, now)).collect();
        // Its counters ask nobody, so it always answers at once.
        let answer = self.counters(link).try_reserve(&shares, amounts);
        let hold = answer
            .unwrap_or_else(|| {
                Err(Refused::Unavailable { reason: "no counters".to_owned(), retry_after: SAME_OUTAGE })
            })
            .map_err(|refused| of_whole(refused, levels, &shares))?;
        Ok(hold.taken_as(|taken| match taken {
            Taken::Local(local) => {
                let held = Arc::new(Held::new(levels, amounts.cost));
                link.hold_without(call, &held);
                Taken::Outage(Box::new(OutageHold { local, link: link.clone(), call, held }))
            }
            taken => taken,
        }))
    }

    fn counters(&self, link: &Link) -> Arc<Local> {
        let number = link.outages();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = &*current
            && (current.number == number || current.began.elapsed() < SAME_OUTAGE)
        {
            return current.counters.clone();
        }
        let counters = Arc::new(Local::new(LocalOptions::default()));
        *current = Some(Current { number, began: Instant::now(), counters: counters.clone() });
        counters
    }

    fn share(&self, level: &Level, replicas: u64, now: i64) -> Level {
        let all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let nothing = Known::default();
        let known = all.get(&level.scope).unwrap_or(&nothing);
        let mut limits = Limits::clone(&level.limits);
        for budget in &mut limits.budgets {
            let start = budget.per.start(now);
            let spent = known.budgets.iter().find(|(per, since, _)| *per == budget.per && *since == start);
            let left = NanoDollars::ZERO.max(budget.usd - spent.map_or(NanoDollars::ZERO, |spent| spent.2));
            budget.usd = NanoDollars(left.0 / i64::try_from(replicas).unwrap_or(i64::MAX));
        }
        let share = |limit: &mut RateLimit, used: &[(RatePeriod, u64)]| {
            let is_in_window =
                known.at.is_some_and(|at| at.elapsed() < Duration::from_millis(limit.per.milliseconds()));
            let used = used.iter().find(|(per, used)| is_in_window && *per == limit.per && *used > 0);
            limit.max = match used {
                Some((_, used)) => limit.max.saturating_sub(*used) / replicas,
                None => share_of(limit.max, replicas),
            };
        };
        limits.requests.iter_mut().for_each(|limit| share(limit, &known.requests));
        limits.tokens.iter_mut().for_each(|limit| share(limit, &known.tokens));
        drop(all);
        limits.in_flight =
            limits.in_flight.map(|limit| u32::try_from(share_of(limit.into(), replicas)).unwrap_or(limit));
        Level::new(level.scope.clone(), Arc::new(limits))
    }
}

/// With fewer than there are replicas each still gets one: a little too much for a while is better than nothing at all.
fn share_of(max: u64, replicas: u64) -> u64 {
    (max / replicas).max(max.min(1))
}

/// Callers are told of the limit that they have, not of the part of it that this replica may give.
fn of_whole(mut refused: Refused, levels: &[&Level], shares: &[Level]) -> Refused {
    let pair = |scope: &Scope| {
        let place = shares.iter().position(|share| share.scope == *scope)?;
        Some((&*levels.get(place)?.limits, &*shares.get(place)?.limits))
    };
    match &mut refused {
        Refused::Budget { scope, usd, per, used, is_share, .. } => {
            *is_share = true;
            let found = pair(scope).and_then(|(whole, share)| {
                let mut both = whole.budgets.iter().zip(&share.budgets);
                both.find(|(whole, share)| whole.per == *per && share.usd == *usd).map(|(whole, _)| whole.usd)
            });
            if let Some(whole) = found {
                // What is not this replica's to give is as good as spent.
                *used += whole - *usd;
                *usd = whole;
            }
        }
        Refused::Limit { scope, measure, limit, per, is_share, .. } => {
            *is_share = true;
            let found = pair(scope).and_then(|(whole, share)| {
                let (whole, share) = match measure {
                    Measure::Requests => (&whole.requests, &share.requests),
                    Measure::Tokens => (&whole.tokens, &share.tokens),
                    Measure::InFlight => return whole.in_flight.map(u64::from),
                };
                let mut both = whole.iter().zip(share);
                let found = both.find(|(whole, share)| Some(whole.per) == *per && share.max == *limit);
                found.map(|(whole, _)| whole.max)
            });
            *limit = found.unwrap_or(*limit);
        }
        Refused::Unavailable { .. } => {}
    }
    refused
}

/// Room taken from this replica's share.
#[derive(Debug)]
pub(in super::super) struct OutageHold {
    local: Box<LocalHold>,
    link: Arc<Link>,
    call: CallId,
    held: Arc<Held>,
}

impl OutageHold {
    pub(in super::super) fn end(self, actual: Option<Amounts>) {
        let Self { local, link, call, held } = self;
        local.end(actual);
        let cost = actual.map_or(NanoDollars::ZERO, |actual| actual.cost);
        link.note_spent(&held, cost);
        if !link.end_without(call) {
            // Redis came back meanwhile and was told what this call holds.
            link.settle(Settle { call, actual, is_first: true, held: Some(held), ended: link.now() });
        } else if cost > NanoDollars::ZERO {
            // Redis is told when it is back.
            link.owe(&held, cost);
        }
    }
}
