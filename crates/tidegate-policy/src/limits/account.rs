//! What a level spends in each calendar period. [`Counters`](super::Counters) keeps them.

use tidegate_catalog::NanoDollars;

use super::{Budget, BudgetKind, BudgetPeriod, BudgetRoom, BudgetUsage, PeriodStart, Shortage};

/// Nothing has been said yet of any soft budget.
const NOTHING_TOLD: NanoDollars = NanoDollars(-1);

const PERIODS: usize = BudgetPeriod::ALL.len();

/// Spending in the current period of each kind, in the order of [`BudgetPeriod::ALL`].
///
/// What every call changes stands together, and apart from what a period's end changes: threads that count for the same
/// level take it from each other.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct Accounts {
    /// What calls in flight may cost.
    held: [NanoDollars; PERIODS],
    /// What settled calls cost.
    used: [NanoDollars; PERIODS],
    starts: [PeriodStart; PERIODS],
    /// The highest soft budget that has been reported as used up in this period. Not a flag: limits change.
    told: [NanoDollars; PERIODS],
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            held: [NanoDollars::ZERO; PERIODS],
            used: [NanoDollars::ZERO; PERIODS],
            starts: [PeriodStart::MIN; PERIODS],
            told: [NOTHING_TOLD; PERIODS],
        }
    }
}

impl Accounts {
    /// Learns what was spent before in the period that began then. What it already knows stays, when that is more.
    pub(super) fn restore(&mut self, period: BudgetPeriod, start: PeriodStart, spent: NanoDollars) {
        let place = place(period);
        self.roll_one(place, start);
        if self.starts[place] == start && spent > self.used[place] {
            self.used[place] = spent;
            self.told[place] = self.told[place].max(spent);
        }
    }

    /// Begins anew where a new period has begun. A clock that jumps back into an earlier one gives nothing back.
    pub(super) fn roll(&mut self, starts: &[PeriodStart; PERIODS]) {
        if self.starts == *starts {
            return;
        }
        for (place, start) in starts.iter().enumerate() {
            self.roll_one(place, *start);
        }
    }

    fn roll_one(&mut self, place: usize, start: PeriodStart) {
        if start > self.starts[place] {
            self.starts[place] = start;
            self.used[place] = NanoDollars::ZERO;
            self.held[place] = NanoDollars::ZERO;
            self.told[place] = NOTHING_TOLD;
        }
    }

    pub(super) fn check(&self, budget: &Budget, cost: NanoDollars) -> Result<(), Shortage> {
        let place = place(budget.per);
        let (used, held) = (self.used[place], self.held[place]);
        if budget.kind == BudgetKind::Soft || used + held + cost <= budget.usd {
            return Ok(());
        }
        Err(Shortage::Budget {
            budget: *budget,
            used,
            held,
            resets_at: self.resets_at(budget.per),
            blocked_by_holds: used + cost <= budget.usd,
        })
    }

    /// Holds this much in every period.
    pub(super) fn hold(&mut self, cost: NanoDollars) {
        for held in &mut self.held {
            *held += cost;
        }
    }

    /// Replaces what was held in the periods that began then. An earlier period is over, and so is the matter.
    pub(super) fn settle(&mut self, starts: &[PeriodStart; PERIODS], held: NanoDollars, cost: NanoDollars) {
        for (place, start) in starts.iter().enumerate() {
            if *start == self.starts[place] {
                self.held[place] = NanoDollars::ZERO.max(self.held[place] - held);
                self.used[place] += cost;
            }
        }
    }

    /// Whether this soft budget turns out to be used up, for the first time in this period.
    pub(super) fn is_newly_used_up(&mut self, budget: &Budget) -> bool {
        let place = place(budget.per);
        let used = self.used[place];
        let used_up = budget.kind == BudgetKind::Soft && used > NanoDollars::ZERO && used >= budget.usd;
        if !used_up || budget.usd <= self.told[place] {
            return false;
        }
        self.told[place] = budget.usd;
        true
    }

    pub(super) fn room(&self, budget: &Budget) -> BudgetRoom {
        let place = place(budget.per);
        let remaining = NanoDollars::ZERO.max(budget.usd - self.used[place] - self.held[place]);
        BudgetRoom { limit: budget.usd, remaining }
    }

    pub(super) fn usage(&self, budget: &Budget) -> BudgetUsage {
        let BudgetRoom { remaining, .. } = self.room(budget);
        let place = place(budget.per);
        let (used, held) = (self.used[place], self.held[place]);
        BudgetUsage { budget: *budget, used, held, remaining, resets_at: self.resets_at(budget.per) }
    }

    fn resets_at(&self, period: BudgetPeriod) -> Option<PeriodStart> {
        period.next_start(self.starts[place(period)])
    }
}

/// Its place in [`BudgetPeriod::ALL`].
fn place(period: BudgetPeriod) -> usize {
    match period {
        BudgetPeriod::Hour => 0,
        BudgetPeriod::Day => 1,
        BudgetPeriod::Week => 2,
        BudgetPeriod::Month => 3,
        BudgetPeriod::Lifetime => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_period_has_the_place_that_it_has_among_all() {
        assert_eq!(BudgetPeriod::ALL.map(place), [0, 1, 2, 3, 4]);
    }
}
