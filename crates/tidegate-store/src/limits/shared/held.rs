//! What a call in flight holds, kept for when Redis has lost it.

use std::fmt;

use tidegate_catalog::NanoDollars;
use tidegate_policy::{BudgetPeriod, PeriodStart};

use super::super::limiter::Level;
use super::question::{self, SettleLevel};

/// The room of one call: its cost at most, on these levels.
pub(super) struct Held {
    pub(super) levels: Vec<SettleLevel>,
    pub(super) cost: NanoDollars,
}

impl Held {
    pub(super) fn new(levels: &[&Level], cost: NanoDollars) -> Self {
        Self { levels: question::settle_levels(levels), cost }
    }

    /// The accounts that the call counts in at this second.
    pub(super) fn accounts(&self, now: i64) -> impl Iterator<Item = (&str, BudgetPeriod, PeriodStart)> {
        self.levels.iter().flat_map(move |(scope, letters)| {
            let is_meant = |per: &BudgetPeriod| letters.contains(question::period_letter(*per));
            BudgetPeriod::ALL.into_iter().filter(is_meant).map(move |per| (&**scope, per, per.start(now)))
        })
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Held").field("cost", &self.cost).finish_non_exhaustive()
    }
}
