//! What is summed up, as the roll-ups keep it and as a report says it.

use crate::{
    ledger::{LedgerEntry, Outcome},
    queries::calls::{count, money},
};

/// The columns, in the order of the values of [`Sums`].
pub(crate) const SUMS: [&str; 22] = [
    "calls",
    "answered",
    "failed",
    "refused",
    "cancelled",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "input_audio_tokens",
    "output_tokens",
    "reasoning_tokens",
    "output_audio_tokens",
    "web_searches",
    "cost_nanodollars",
    "charge_nanodollars",
    "unpriced",
    "estimated",
    "duration_us",
    "first_tokens",
    "time_to_first_token_us",
    LONGEST,
];

/// The one that is not a sum, but the greatest. The last.
pub(crate) const LONGEST: &str = "longest_duration_us";

/// The sums over some calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sums(pub(crate) [i64; SUMS.len()]);

impl Sums {
    /// Of one call.
    pub(crate) fn of(entry: &LedgerEntry) -> Self {
        let usage = &entry.usage;
        let is = |outcome: Outcome| i64::from(entry.outcome == outcome);
        let has_used = entry.outcome == Outcome::Answered || usage.input > 0 || usage.output > 0;
        let cost = entry.cost_nanodollars.map_or(0, money);
        Self([
            1,
            is(Outcome::Answered),
            is(Outcome::Failed),
            is(Outcome::Refused),
            is(Outcome::Cancelled),
            count(usage.input),
            count(usage.cache_read),
            count(usage.cache_write_5m),
            count(usage.cache_write_1h),
            count(usage.input_audio),
            count(usage.output),
            count(usage.reasoning),
            count(usage.output_audio),
            count(usage.web_searches),
            cost,
            entry.charge_nanodollars.map_or(cost, money),
            i64::from(entry.cost_nanodollars.is_none() && has_used),
            i64::from(entry.is_estimated),
            count(entry.duration_us),
            i64::from(entry.time_to_first_token_us.is_some()),
            entry.time_to_first_token_us.map_or(0, count),
            count(entry.duration_us),
        ])
    }

    /// Takes others in.
    pub(crate) fn add(&mut self, other: &Self) {
        let longest = self.longest().max(other.longest());
        for (sum, value) in self.0.iter_mut().zip(&other.0) {
            *sum = sum.saturating_add(*value);
        }
        if let Some(last) = self.0.last_mut() {
            *last = longest;
        }
    }

    fn longest(&self) -> i64 {
        self.0.last().copied().unwrap_or_default()
    }
}
