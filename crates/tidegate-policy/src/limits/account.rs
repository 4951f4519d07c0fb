//! What a level spends in one calendar period. [`Counters`](super::Counters) keeps one for each kind of period.

use tidegate_catalog::NanoDollars;

use super::{Budget, BudgetKind, BudgetPeriod, BudgetRoom, BudgetUsage, PeriodStart, Shortage};

/// Nothing has been said yet of any soft budget.
const NOTHING_TOLD: NanoDollars = NanoDollars(-1);

/// Spending in the current period.
#[derive(Debug, Clone, Copy)]
pub(super) struct Account {
    period: BudgetPeriod,
    start: PeriodStart,
    /// What settled calls cost.
    used: NanoDollars,
    /// What calls in flight may cost.
    held: NanoDollars,
    /// The highest soft budget that has been reported as used up in this period. Not a flag: limits change.
    told: NanoDollars,
}

impl Account {
    pub(super) fn new(period: BudgetPeriod) -> Self {
        Self {
            period,
            start: PeriodStart::MIN,
            used: NanoDollars::ZERO,
            held: NanoDollars::ZERO,
            told: NOTHING_TOLD,
        }
    }

    /// Learns what was spent before. What it already knows stays, when that is more.
    pub(super) fn restore(&mut self, start: PeriodStart, spent: NanoDollars) {
        self.roll(start);
        if self.start == start && spent > self.used {
            self.used = spent;
            self.told = self.told.max(spent);
        }
    }

    /// Begins anew, when a new period has begun. A clock that jumps back into an earlier one gives nothing back.
    pub(super) fn roll(&mut self, start: PeriodStart) {
        if start > self.start {
            *self = Self { start, ..Self::new(self.period) };
        }
    }

    pub(super) fn check(&self, budget: &Budget, cost: NanoDollars) -> Result<(), Shortage> {
        if budget.kind == BudgetKind::Soft || self.used + self.held + cost <= budget.usd {
            return Ok(());
        }
        Err(Shortage::Budget {
            budget: *budget,
            used: self.used,
            held: self.held,
            resets_at: self.resets_at(),
            blocked_by_holds: self.used + cost <= budget.usd,
        })
    }

    pub(super) fn hold(&mut self, cost: NanoDollars) {
        self.held += cost;
    }

    /// Replaces what was held in the period that began then. An earlier period is over, and so is the matter.
    pub(super) fn settle(&mut self, start: PeriodStart, held: NanoDollars, cost: NanoDollars) {
        if start == self.start {
            self.held = NanoDollars::ZERO.max(self.held - held);
            self.used += cost;
        }
    }

    /// Whether this soft budget turns out to be used up, for the first time in this period.
    pub(super) fn is_newly_used_up(&mut self, budget: &Budget) -> bool {
        let used_up =
            budget.kind == BudgetKind::Soft && self.used > NanoDollars::ZERO && self.used >= budget.usd;
        if !used_up || budget.usd <= self.told {
            return false;
        }
        self.told = budget.usd;
        true
    }

    pub(super) fn room(&self, budget: &Budget) -> BudgetRoom {
        BudgetRoom { limit: budget.usd, remaining: NanoDollars::ZERO.max(budget.usd - self.used - self.held) }
    }

    pub(super) fn usage(&self, budget: &Budget) -> BudgetUsage {
        let BudgetRoom { remaining, .. } = self.room(budget);
        let resets_at = self.resets_at();
        BudgetUsage { budget: *budget, used: self.used, held: self.held, remaining, resets_at }
    }

    fn resets_at(&self) -> Option<PeriodStart> {
        self.period.next_start(self.start)
    }
}
