//! What a level has spent so far, as the ledger knows it. The limiter begins with it after a restart.

use std::time::Duration;

use tidegate_catalog::NanoDollars;

use super::BudgetPeriod;

/// What one level has spent in the calendar periods that hold the moment `as_of`, and what it did lately.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Spending {
    /// The moment for which this was summed up, in seconds since 1970. It says which hour, day, week and month are meant.
    pub as_of: i64,
    /// Cost since the full hour, UTC.
    pub hour: NanoDollars,
    /// Cost since midnight, UTC.
    pub day: NanoDollars,
    /// Cost since Monday, midnight, UTC.
    pub week: NanoDollars,
    /// Cost since the first of the month, UTC.
    pub month: NanoDollars,
    /// Cost since ever.
    pub lifetime: NanoDollars,
    /// Calls that rate limits still have to count, in any order; calls that began close together may be summed up to one
    /// entry with the age of the latest. At least those of the last minute; the more of the last 24 hours are known, the
    /// less do limits per hour and day forget in a restart.
    pub recent: Vec<RecentCalls>,
}

/// Calls that began some time ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecentCalls {
    /// How long before `as_of` the latest of them began.
    pub age: Duration,
    /// How many.
    pub requests: u64,
    /// Their tokens, input and output together.
    pub tokens: u64,
}

impl Spending {
    /// The cost in one period.
    pub fn in_period(&self, period: BudgetPeriod) -> NanoDollars {
        match period {
            BudgetPeriod::Hour => self.hour,
            BudgetPeriod::Day => self.day,
            BudgetPeriod::Week => self.week,
            BudgetPeriod::Month => self.month,
            BudgetPeriod::Lifetime => self.lifetime,
        }
    }
}
