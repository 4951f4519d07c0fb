//! What the limiter answers, with whose limit it is. The gateway makes error messages, headers and log lines of it.

use std::time::Duration;

use jiff::Timestamp;
use tidegate_catalog::NanoDollars;
use tidegate_policy::{Amounts, Budget, BudgetPeriod, LimitsUsage, Measure, RatePeriod, Shortage};

use crate::Scope;

/// Why a call got no room. Nothing was taken, on any level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A rate limit, or the limit of calls in flight, is reached.
    #[error("{scope} has reached its limit of {limit} {}{}", measure.as_str(), per_words(*per))]
    Limit {
        /// Whose.
        scope: Scope,
        /// What is limited.
        measure: Measure,
        /// To how many.
        limit: u64,
        /// In which window; none for calls in flight.
        per: Option<RatePeriod>,
        /// When trying again makes sense.
        retry_after: Duration,
        /// Whether only this replica's share of it is, because the shared counters are away.
        is_share: bool,
    },
    /// A hard budget is used up, or what is left of it is less than the call may cost.
    #[error(
        "{scope} has {} of its {} budget of ${usd} left{}",
        left(*usd, *used, *held), per.as_str(), spent(*used, *held, *is_share)
    )]
    Budget {
        /// Whose.
        scope: Scope,
        /// The budget.
        usd: NanoDollars,
        /// Its period.
        per: BudgetPeriod,
        /// What is spent for certain.
        used: NanoDollars,
        /// What calls in flight may still spend.
        held: NanoDollars,
        /// When the next period begins; never for a lifetime.
        resets_at: Option<Timestamp>,
        /// Whether only calls in flight are in the way: once they are settled, there may be room.
        blocked_by_holds: bool,
        /// Whether only this replica's share of what was left is used up, because the shared counters are away. What is not
        /// this replica's to give counts as spent then.
        is_share: bool,
    },
    /// The counters cannot be reached, and the settings say not to go on without them.
    #[error("limits cannot be checked: {reason}")]
    Unavailable {
        /// Why, for the log.
        reason: String,
        /// When trying again makes sense.
        retry_after: Duration,
    },
}

fn per_words(per: Option<RatePeriod>) -> String {
    per.map_or_else(String::new, |per| format!(" per {}", per.as_str()))
}

fn left(usd: NanoDollars, used: NanoDollars, held: NanoDollars) -> String {
    format!("${}", NanoDollars::ZERO.max(usd - used - held))
}

fn spent(used: NanoDollars, held: NanoDollars, is_share: bool) -> String {
    if is_share {
        " for this replica, while the shared counters are away".to_owned()
    } else {
        format!(", ${used} is spent and ${held} held by calls in flight")
    }
}

impl Refused {
    pub(super) fn new(scope: &Scope, shortage: Shortage) -> Self {
        match shortage {
            Shortage::Rate { measure, limit, per, retry_after } => {
                Self::Limit { scope: scope.clone(), measure, limit, per, retry_after, is_share: false }
            }
            Shortage::Budget { budget, used, held, resets_at, blocked_by_holds } => Self::Budget {
                scope: scope.clone(),
                usd: budget.usd,
                per: budget.per,
                used,
                held,
                resets_at: resets_at.and_then(|seconds| Timestamp::from_second(seconds).ok()),
                blocked_by_holds,
                is_share: false,
            },
        }
    }
}

/// A soft budget that turned out to be used up. Reported once a period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crossed {
    /// Whose.
    pub scope: Scope,
    /// The budget.
    pub budget: Budget,
}

/// How far the limits of one level are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LevelUsage {
    /// Whose.
    pub scope: Scope,
    /// How far.
    pub usage: LimitsUsage,
}

impl LevelUsage {
    /// Why the level has no room for a call, if so, without taking any.
    pub fn refused(&self, amounts: Amounts) -> Option<Refused> {
        self.usage.shortage(amounts).map(|shortage| Refused::new(&self.scope, shortage))
    }
}
