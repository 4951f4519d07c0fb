//! Limits while Redis is away: each replica goes on with its share of them, in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tidegate_catalog::NanoDollars;
use tidegate_policy::{Amounts, BudgetPeriod, Limits, PeriodStart, RateLimit};

use super::super::answers::Refused;
use super::super::hold::{Hold, Taken};
use super::super::limiter::Level;
use super::super::local::{Local, LocalHold, LocalOptions};
use super::answer::TakenLevel;
use super::link::Link;
use crate::Scope;

/// Outages that follow each other closely are one: otherwise each would begin with empty windows.
const SAME_OUTAGE: Duration = Duration::from_secs(60);

/// Levels with budgets whose spending is remembered for an outage. Some 100 bytes each.
const MOST_KNOWN: usize = 65_536;

/// What is needed when Redis goes away, and the counters while it is.
#[derive(Default)]
pub(super) struct Outages {
    known: Mutex<HashMap<Scope, Known>>,
    current: Mutex<Option<Current>>,
}

/// What a level had spent and held in each period with a budget, when Redis was last asked.
type Known = Vec<(BudgetPeriod, PeriodStart, NanoDollars)>;

struct Current {
    number: u64,
    began: Instant,
    counters: Arc<Local>,
}

impl Outages {
    /// Remembers what Redis said.
    pub(super) fn remember(&self, levels: &[TakenLevel]) {
        let now = Timestamp::now().as_second();
        for level in levels.iter().map(|level| &level.usage).filter(|level| !level.usage.budgets.is_empty()) {
            let budgets = level.usage.budgets.iter();
            let spent =
                budgets.map(|usage| (usage.budget.per, usage.budget.per.start(now), usage.used + usage.held));
            self.know(&level.scope, spent.collect());
        }
    }

    /// Whether it is known what this level has spent; without budgets nobody needs to know.
    pub(super) fn knows(&self, level: &Level) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        level.limits.budgets.is_empty() || known.contains_key(&level.scope)
    }

    pub(super) fn know(&self, scope: &Scope, spent: Known) {
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
            Some(known) => *known = spent,
            None => drop(known.insert(scope.clone(), spent)),
        }
    }

    /// Takes room from this replica's share.
    pub(super) fn reserve(
        &self,
        link: &Arc<Link>,
        levels: &[&Level],
        amounts: Amounts,
    ) -> Result<Hold, Refused> {
        let now = Timestamp::now().as_second();
        let replicas = link.replicas();
        let shares: Vec<Level> = levels.iter().map(|level| self.share(level, replicas, now)).collect();
        // Its counters ask nobody, so it always answers at once.
        let answer = self.counters(link).try_reserve(&shares, amounts);
        let hold = answer.unwrap_or_else(|| {
            Err(Refused::Unavailable { reason: "no counters".to_owned(), retry_after: SAME_OUTAGE })
        })?;
        let accounts = levels.iter().flat_map(|level| accounts(level, now)).collect();
        Ok(hold.taken_as(|taken| match taken {
            Taken::Local(local) => {
                Taken::Outage(Box::new(OutageHold { local, link: link.clone(), accounts }))
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
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let spent = known.get(&level.scope).map_or(&[][..], Vec::as_slice);
        let mut limits = Limits::clone(&level.limits);
        for budget in &mut limits.budgets {
            let start = budget.per.start(now);
            let spent = spent.iter().find(|(per, since, _)| *per == budget.per && *since == start);
            let left = NanoDollars::ZERO.max(budget.usd - spent.map_or(NanoDollars::ZERO, |spent| spent.2));
            budget.usd = NanoDollars(left.0 / i64::try_from(replicas).unwrap_or(i64::MAX));
        }
        drop(known);
        let share = |limit: &mut RateLimit| limit.max = share_of(limit.max, replicas);
        limits.requests.iter_mut().for_each(share);
        limits.tokens.iter_mut().for_each(share);
        limits.in_flight =
            limits.in_flight.map(|limit| u32::try_from(share_of(limit.into(), replicas)).unwrap_or(limit));
        Level { scope: level.scope.clone(), limits: Arc::new(limits) }
    }
}

/// With fewer than there are replicas each still gets one: a little too much for a while is better than nothing at all.
fn share_of(max: u64, replicas: u64) -> u64 {
    (max / replicas).max(max.min(1))
}

fn accounts(level: &Level, now: i64) -> impl Iterator<Item = (String, BudgetPeriod, PeriodStart)> {
    let budgets = &level.limits.budgets;
    let is_first = |place: usize| budgets[..place].iter().all(|budget| budget.per != budgets[place].per);
    let account = move |per: BudgetPeriod| (level.scope.to_string(), per, per.start(now));
    budgets
        .iter()
        .enumerate()
        .filter(move |(place, _)| is_first(*place))
        .map(move |(_, budget)| account(budget.per))
}

/// Room taken from this replica's share.
#[derive(Debug)]
pub(in super::super) struct OutageHold {
    local: LocalHold,
    link: Arc<Link>,
    accounts: Vec<(String, BudgetPeriod, PeriodStart)>,
}

impl OutageHold {
    pub(in super::super) fn end(self, actual: Option<Amounts>) {
        self.local.end(actual);
        // Redis is told when it is back.
        if let Some(actual) = actual.filter(|actual| actual.cost > NanoDollars::ZERO) {
            self.link.owe(self.accounts, actual.cost);
        }
    }
}
