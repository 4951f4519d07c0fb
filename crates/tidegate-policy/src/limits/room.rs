//! What the counters answer: how much room is left, what is short, which budgets were used up. The gateway makes headers
//! and error messages of it.

use std::time::Duration;

use tidegate_catalog::NanoDollars;

use super::counters::IN_FLIGHT_RETRY_AFTER;
use super::{Budget, BudgetKind, PeriodStart, RateLimit, RatePeriod};

/// What a call takes: an upper estimate before it, the real figures after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amounts {
    /// Tokens, input and output together.
    pub tokens: u64,
    /// What it costs.
    pub cost: NanoDollars,
}

/// What a rate limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Measure {
    /// Requests in a window.
    Requests,
    /// Tokens in a window.
    Tokens,
    /// Calls at the same time.
    InFlight,
}

impl Measure {
    /// The word for messages and keys.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::InFlight => "calls in flight",
        }
    }
}

/// Why a level has no room for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// A rate limit, or the limit of calls in flight.
    Rate {
        /// What is limited.
        measure: Measure,
        /// To how many.
        limit: u64,
        /// In which window; none for calls in flight.
        per: Option<RatePeriod>,
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// A hard budget.
    Budget {
        /// Which.
        budget: Budget,
        /// What is spent for certain.
        used: NanoDollars,
        /// What calls in flight may still spend.
        held: NanoDollars,
        /// When the next period begins, in seconds since 1970.
        resets_at: Option<PeriodStart>,
        /// Whether only calls in flight are in the way: once they are settled, there may be room.
        blocked_by_holds: bool,
    },
}

/// The room that is left after a call has taken its own: the tightest limit of each kind, over all levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Room {
    /// Of the limits on requests.
    pub requests: Option<Remaining>,
    /// Of the limits on tokens.
    pub tokens: Option<Remaining>,
    /// Of the hard budgets.
    pub budget: Option<BudgetRoom>,
}

/// What is left of a rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remaining {
    /// How many at most.
    pub limit: u64,
    /// How many more now.
    pub remaining: u64,
    /// How long until all are there again, when nothing else happens.
    pub reset_after: Duration,
}

/// What is left of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetRoom {
    /// How much at most.
    pub limit: NanoDollars,
    /// How much more now, what calls in flight may still spend taken off.
    pub remaining: NanoDollars,
}

impl Room {
    /// Takes a limit on requests or tokens into account.
    pub fn narrow(&mut self, measure: Measure, remaining: Remaining) {
        let place = match measure {
            Measure::Requests => &mut self.requests,
            Measure::Tokens => &mut self.tokens,
            Measure::InFlight => return,
        };
        if place.is_none_or(|tightest| remaining.remaining < tightest.remaining) {
            *place = Some(remaining);
        }
    }

    /// Takes a budget into account.
    pub fn narrow_budget(&mut self, budget: BudgetRoom) {
        if self.budget.is_none_or(|tightest| budget.remaining < tightest.remaining) {
            self.budget = Some(budget);
        }
    }
}

/// How far the limits of one level are used, for the admin API.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LimitsUsage {
    /// Calls in flight, limited or not.
    pub in_flight: u64,
    /// The most that may be in flight.
    pub in_flight_limit: Option<u32>,
    /// Each limit on requests.
    pub requests: Vec<RateUsage>,
    /// Each limit on tokens.
    pub tokens: Vec<RateUsage>,
    /// Each budget.
    pub budgets: Vec<BudgetUsage>,
}

impl LimitsUsage {
    /// Why there is no room for a call, if so, without taking any: what `Counters::check` finds at this moment. Only when to try again
    /// is said by when everything is free, which may be later than necessary.
    pub fn shortage(&self, amounts: Amounts) -> Option<Shortage> {
        let budget = self.budgets.iter().find_map(|usage| usage.shortage(amounts.cost));
        let rate = |measure, usages: &[RateUsage], amount: &dyn Fn(RateLimit) -> u64| {
            let lacks = |usage: &&RateUsage| usage.used.saturating_add(amount(usage.limit)) > usage.limit.max;
            usages.iter().find(lacks).map(|usage| Shortage::Rate {
                measure,
                limit: usage.limit.max,
                per: Some(usage.limit.per),
                retry_after: usage.reset_after,
            })
        };
        let limit = self.in_flight_limit.map(u64::from);
        budget
            .or_else(|| rate(Measure::Requests, &self.requests, &|_| 1))
            .or_else(|| rate(Measure::Tokens, &self.tokens, &|limit| limit.cut(amounts.tokens)))
            .or_else(|| {
                limit.filter(|limit| self.in_flight >= *limit).map(|limit| Shortage::Rate {
                    measure: Measure::InFlight,
                    limit,
                    per: None,
                    retry_after: IN_FLIGHT_RETRY_AFTER,
                })
            })
    }
}

impl BudgetUsage {
    fn shortage(&self, cost: NanoDollars) -> Option<Shortage> {
        let Self { budget, used, held, resets_at, .. } = *self;
        let is_short = budget.kind == BudgetKind::Hard && used + held + cost > budget.usd;
        let blocked_by_holds = used + cost <= budget.usd;
        is_short.then_some(Shortage::Budget { budget, used, held, resets_at, blocked_by_holds })
    }
}

/// How far a rate limit is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateUsage {
    /// The limit.
    pub limit: RateLimit,
    /// What counts against it now, estimates of calls in flight included.
    pub used: u64,
    /// How many more now.
    pub remaining: u64,
    /// How long until all are there again, when nothing else happens.
    pub reset_after: Duration,
}

/// How far a budget is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetUsage {
    /// The budget.
    pub budget: Budget,
    /// What is spent for certain.
    pub used: NanoDollars,
    /// What calls in flight may still spend.
    pub held: NanoDollars,
    /// How much more now.
    pub remaining: NanoDollars,
    /// When the next period begins, in seconds since 1970; never for a lifetime.
    pub resets_at: Option<PeriodStart>,
}
