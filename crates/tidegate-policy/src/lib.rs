//! What to do: facts and a time in, decisions out.
//!
//! Pure: no clock, no sockets, no runtime. Times are durations since some fixed moment of the caller's choosing, so that
//! whole days of outages run in virtual time in a test. The gateway's `plan` and `attempt` stations call it.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail loudly")
)]

mod access;
mod admission_queue;
mod backoff;
mod breaker;
mod choice;
mod course;
pub mod experiments;
mod limits;
mod retry_budget;
pub mod routing;
mod rules;

pub use access::{Area, Feature, Features, ModelPattern, Permissions, Role};
pub use admission_queue::{AdmissionQueue, BATCH_TURN, Displaced, Priority, Queued, Ticket};
pub use backoff::Backoff;
pub use breaker::{Breaker, BreakerSettings, BreakerState, Comeback};
pub use choice::pick_key;
pub use course::{Candidate, Course, CourseSettings, FailureFacts, Readiness, Step, WhyOut};
pub use limits::{
    Amounts, Budget, BudgetKind, BudgetPeriod, BudgetRoom, BudgetUsage, Counters, IN_FLIGHT_RETRY_AFTER,
    Limits, LimitsUsage, Measure, PeriodStart, RateLimit, RatePeriod, RateUsage, RecentCalls, Remaining,
    Room, SLICES_PER_WINDOW, Shortage, Spending, Stamp, TakenWindows,
};
pub use retry_budget::{RetryBudget, is_retry_allowed};
pub use rules::{HealthEffect, NextTarget, Rule, SameTarget, rule};

/// A moment, as the time since the gateway started. Monotonic.
pub type Moment = std::time::Duration;
