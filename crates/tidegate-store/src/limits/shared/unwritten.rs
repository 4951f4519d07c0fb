//! What this replica has spent and the ledger may not have yet: an empty Redis that is filled from the ledger lacks it.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_catalog::NanoDollars;
use tidegate_policy::{BudgetPeriod, PeriodStart};

use super::super::spending::LedgerProgress;
use super::held::Held;

/// A call is recorded right after its room is settled. After so long it is among those that the ledger has been given.
const RECORDED_AFTER: Duration = Duration::from_millis(100);

/// Whoever fills a level has asked the ledger before, though never so long ago. In microseconds.
const FILLED_WITHIN: i64 = 3_000_000;

/// Levels that are kept, some 200 bytes each. Only while the database is away there can be many.
const MOST_LEVELS: usize = 65_536;

/// Amounts that are told apart for a level; the oldest are taken together.
const AMOUNTS_PER_LEVEL: usize = 16;

/// What a call has cost.
#[derive(Debug)]
pub(super) struct Spent {
    pub(super) held: Arc<Held>,
    pub(super) cost: NanoDollars,
    /// The second in which it ended, by the clock of Redis.
    pub(super) second: i64,
}

/// Each with the time at which the ledger had it, by the clock of Redis; 0 where it does not have it yet.
type Costs = Vec<(NanoDollars, i64)>;

/// What Redis is told of one account.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) scope: String,
    pub(super) period: BudgetPeriod,
    pub(super) start: PeriodStart,
    pub(super) costs: Costs,
}

struct Amount {
    period: BudgetPeriod,
    start: PeriodStart,
    cost: NanoDollars,
    /// The ledger has it when it has written so many entries.
    mark: u64,
    written_at: i64,
}

pub(super) struct Unwritten {
    ledger: Option<Arc<dyn LedgerProgress>>,
    /// Perhaps not even recorded.
    fresh: VecDeque<(Instant, Spent)>,
    levels: HashMap<String, Vec<Amount>>,
}

impl Unwritten {
    pub(super) fn new(ledger: Option<Arc<dyn LedgerProgress>>) -> Self {
        Self { ledger, fresh: VecDeque::new(), levels: HashMap::new() }
    }

    /// Takes what was spent since, and looks how far the ledger is. `now`: by the clock of Redis.
    pub(super) fn look(&mut self, spent: Vec<Spent>, now: i64) {
        let Some(ledger) = self.ledger.clone() else { return };
        let at = Instant::now();
        self.fresh.extend(spent.into_iter().map(|spent| (at, spent)));
        let mark = ledger.recorded();
        while let Some((at, _)) = self.fresh.front()
            && at.elapsed() >= RECORDED_AFTER
            && let Some((_, spent)) = self.fresh.pop_front()
        {
            self.keep(&spent, mark);
        }
        let written = ledger.written();
        self.levels.retain(|_, amounts| {
            for amount in amounts.iter_mut().filter(|amount| amount.written_at == 0 && amount.mark <= written)
            {
                amount.written_at = now;
            }
            amounts.retain(|amount| amount.written_at == 0 || now - amount.written_at < FILLED_WITHIN);
            !amounts.is_empty()
        });
    }

    /// All of it.
    pub(super) fn told(&self) -> Vec<Told> {
        let mut told: HashMap<(&str, BudgetPeriod, PeriodStart), Costs> = HashMap::new();
        for (scope, amounts) in &self.levels {
            for amount in amounts {
                let account = told.entry((scope, amount.period, amount.start)).or_default();
                account.push((amount.cost, amount.written_at));
            }
        }
        for (_, spent) in &self.fresh {
            for account in spent.held.accounts(spent.second) {
                let costs = told.entry(account).or_default();
                match costs.last_mut() {
                    Some((cost, 0)) => *cost += spent.cost,
                    _ => costs.push((spent.cost, 0)),
                }
            }
        }
        let told = told.into_iter().map(|((scope, period, start), costs)| Told {
            scope: scope.to_owned(),
            period,
            start,
            costs,
        });
        told.collect()
    }

    fn keep(&mut self, spent: &Spent, mark: u64) {
        for (scope, period, start) in spent.held.accounts(spent.second) {
            if self.levels.len() >= MOST_LEVELS && !self.levels.contains_key(scope) {
                continue;
            }
            let new = Amount { period, start, cost: spent.cost, mark, written_at: 0 };
            let Some(amounts) = self.levels.get_mut(scope) else {
                self.levels.insert(scope.to_owned(), vec![new]);
                continue;
            };
            let is_same = |amount: &&mut Amount| {
                (amount.period, amount.start, amount.mark, amount.written_at) == (period, start, mark, 0)
            };
            match amounts.iter_mut().rev().find(is_same) {
                Some(amount) => amount.cost += spent.cost,
                None => amounts.push(new),
            }
            if amounts.len() > AMOUNTS_PER_LEVEL {
                merge(amounts);
            }
        }
    }
}

/// Takes what was not written together, as if all of it were as late as the last.
fn merge(amounts: &mut Vec<Amount>) {
    for amount in mem::take(amounts) {
        let is_same = |other: &&mut Amount| {
            (other.period, other.start) == (amount.period, amount.start)
                && (other.written_at == 0) == (amount.written_at == 0)
        };
        match amounts.iter_mut().find(is_same) {
            Some(other) => {
                other.cost += amount.cost;
                other.mark = other.mark.max(amount.mark);
                other.written_at = other.written_at.max(amount.written_at);
            }
            None => amounts.push(amount),
        }
    }
}
