//! The figures that go to `/metrics`, with handles kept where they are used: looking a series up by its labels on every
//! call would cost more than counting.
//!
//! Names follow OpenTelemetry's GenAI conventions where those have one.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Counter, Histogram, Label};
use tidegate_policy::Priority;
use tidegate_store::Outcome;
use tidegate_wire::{FailureKind, Usage};

use crate::admit::RefusalReason;
use crate::queue::NoPlace;

/// The series of one target.
#[derive(Debug)]
pub(crate) struct TargetSeries {
    labels: [Label; 2],
    calls: [OnceLock<Counter>; Outcome::ALL.len()],
    failures: [OnceLock<Counter>; FailureKind::ALL.len()],
    handles: OnceLock<Handles>,
}

/// The series that every answered call touches.
#[derive(Debug)]
struct Handles {
    duration: Histogram,
    first_token: Histogram,
    input_tokens: Counter,
    cached_tokens: Counter,
    output_tokens: Counter,
    reasoning_tokens: Counter,
    cost: Counter,
}

impl TargetSeries {
    pub(crate) fn new(provider: &str, model: &str) -> Self {
        Self {
            labels: [Label::new("provider", provider.to_owned()), Label::new("model", model.to_owned())],
            calls: Default::default(),
            failures: Default::default(),
            handles: OnceLock::new(),
        }
    }

    /// A call ended at this target.
    pub(crate) fn call(&self, outcome: Outcome, duration: Duration, first_token: Option<Duration>) {
        let place = Outcome::ALL.iter().position(|other| *other == outcome).unwrap_or(0);
        if let Some(counter) = self.calls.get(place) {
            counter
                .get_or_init(|| self.counter("tidegate_calls_total", Some(("outcome", outcome.as_str()))))
                .increment(1);
        }
        // Names come from callers, and a histogram is many series: one that never answered gets none.
        if outcome != Outcome::Answered && self.handles.get().is_none() {
            return;
        }
        let handles = self.handles();
        handles.duration.record(duration);
        if let Some(first_token) = first_token {
            handles.first_token.record(first_token);
        }
    }

    /// An attempt at this target failed.
    pub(crate) fn failure(&self, kind: FailureKind) {
        let place = FailureKind::ALL.iter().position(|other| *other == kind).unwrap_or(0);
        if let Some(counter) = self.failures.get(place) {
            counter
                .get_or_init(|| {
                    self.counter("tidegate_attempt_failures_total", Some(("kind", kind.as_str())))
                })
                .increment(1);
        }
    }

    /// Tokens were used at this target.
    pub(crate) fn usage(&self, usage: &Usage, cost_nanodollars: Option<u64>) {
        if *usage == Usage::default() && self.handles.get().is_none() {
            return;
        }
        let handles = self.handles();
        handles.input_tokens.increment(usage.input);
        handles.output_tokens.increment(usage.output);
        if usage.cache_read > 0 {
            handles.cached_tokens.increment(usage.cache_read);
        }
        if usage.reasoning > 0 {
            handles.reasoning_tokens.increment(usage.reasoning);
        }
        if let Some(cost) = cost_nanodollars {
            handles.cost.increment(cost);
        }
    }

    fn handles(&self) -> &Handles {
        self.handles.get_or_init(|| Handles {
            duration: self.histogram("tidegate_call_duration_seconds"),
            first_token: self.histogram("tidegate_time_to_first_token_seconds"),
            input_tokens: self.counter("tidegate_tokens_total", Some(("type", "input"))),
            cached_tokens: self.counter("tidegate_tokens_total", Some(("type", "input_cached"))),
            output_tokens: self.counter("tidegate_tokens_total", Some(("type", "output"))),
            reasoning_tokens: self.counter("tidegate_tokens_total", Some(("type", "output_reasoning"))),
            cost: self.counter("tidegate_cost_nanodollars_total", None),
        })
    }

    fn counter(&self, name: &'static str, more: Option<(&'static str, &'static str)>) -> Counter {
        let mut labels = self.labels.to_vec();
        labels.extend(more.map(|(name, value)| Label::new(name, value)));
        metrics::counter!(name, labels)
    }

    fn histogram(&self, name: &'static str) -> Histogram {
        metrics::histogram!(name, self.labels.to_vec())
    }
}

/// What became of streams that broke after a part of them was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Continued {
    /// Another target went on.
    Taken,
    /// The other target said something else.
    Departed,
    /// A budget has no room for another answer.
    NoRoom,
    /// Nobody was left to ask, or they failed as well.
    NobodyLeft,
    /// The answer is of a kind with which nobody can go on.
    Impossible,
}

impl Continued {
    const ALL: [Self; 5] = [Self::Taken, Self::Departed, Self::NoRoom, Self::NobodyLeft, Self::Impossible];

    fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Departed => "departed",
            Self::NoRoom => "no_room",
            Self::NobodyLeft => "nobody_left",
            Self::Impossible => "impossible",
        }
    }
}

/// What became of a hedge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HedgeOutcome {
    /// The second target answered.
    Won,
    /// The first one answered after all.
    Lost,
    /// Both failed.
    Failed,
    /// The caller hung up.
    Cancelled,
}

impl HedgeOutcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Won => "won",
            Self::Lost => "lost",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A hedge under way: counted when this is dropped, as cancelled unless somebody said better.
#[derive(Debug)]
pub(crate) struct HedgeCount<'a> {
    series: &'a GatewaySeries,
    outcome: HedgeOutcome,
}

impl HedgeCount<'_> {
    pub(crate) fn is(&mut self, outcome: HedgeOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for HedgeCount<'_> {
    fn drop(&mut self) {
        if let Some(counter) = self.series.hedges.get(self.outcome as usize) {
            let outcome = self.outcome.as_str();
            counter
                .get_or_init(|| metrics::counter!("tidegate_hedges_total", "outcome" => outcome))
                .increment(1);
        }
    }
}

/// The series of the gateway as a whole.
#[derive(Debug)]
pub(crate) struct GatewaySeries {
    overhead: Histogram,
    refused: Counter,
    soft_budgets: Counter,
    bodies_left_out: Counter,
    hedges: [OnceLock<Counter>; 4],
    not_admitted: [OnceLock<Counter>; RefusalReason::ALL.len()],
    continued: [OnceLock<Counter>; Continued::ALL.len()],
}

impl GatewaySeries {
    pub(crate) fn new() -> Self {
        Self {
            overhead: metrics::histogram!("tidegate_overhead_seconds"),
            refused: metrics::counter!("tidegate_calls_refused_total"),
            bodies_left_out: metrics::counter!("tidegate_bodies_left_out_total"),
            soft_budgets: metrics::counter!("tidegate_soft_budgets_crossed_total"),
            hedges: Default::default(),
            not_admitted: Default::default(),
            continued: Default::default(),
        }
    }

    /// A stream broke in the middle.
    pub(crate) fn continued(&self, outcome: Continued) {
        let place = Continued::ALL.iter().position(|other| *other == outcome).unwrap_or(0);
        if let Some(counter) = self.continued.get(place) {
            counter
                .get_or_init(
                    || metrics::counter!("tidegate_continuations_total", "outcome" => outcome.as_str()),
                )
                .increment(1);
        }
    }

    /// The time that a call spent in Tidegate itself, up to its answer's first byte.
    pub(crate) fn overhead(&self, time: Duration) {
        self.overhead.record(time);
    }

    /// A second target is asked.
    pub(crate) fn hedge(&self) -> HedgeCount<'_> {
        HedgeCount { series: self, outcome: HedgeOutcome::Cancelled }
    }

    /// A caller was turned away.
    pub(crate) fn not_admitted(&self, reason: RefusalReason) {
        let place = RefusalReason::ALL.iter().position(|other| *other == reason).unwrap_or(0);
        if let Some(counter) = self.not_admitted.get(place) {
            counter
                .get_or_init(|| metrics::counter!("tidegate_refusals_total", "reason" => reason.as_str()))
                .increment(1);
        }
    }

    /// What was said in a call could not be kept.
    pub(crate) fn bodies_left_out(&self) {
        self.bodies_left_out.increment(1);
    }

    /// A soft budget is used up.
    pub(crate) fn soft_budget(&self) {
        self.soft_budgets.increment(1);
    }

    /// A call ended before any target was asked.
    pub(crate) fn refused(&self) {
        self.refused.increment(1);
    }
}

/// The series of the queue for a place. A call that gets one at once touches none of them.
#[derive(Debug)]
pub(crate) struct QueueSeries([PrioritySeries; Priority::ALL.len()]);

#[derive(Debug)]
struct PrioritySeries {
    priority: Priority,
    wait: Histogram,
    refused: [Counter; NoPlace::ALL.len()],
}

impl QueueSeries {
    pub(crate) fn new() -> Self {
        Self(Priority::ALL.map(|priority| PrioritySeries {
            priority,
            wait: metrics::histogram!("tidegate_queue_wait_seconds", "priority" => priority.as_str()),
            refused: NoPlace::ALL.map(|why| {
                metrics::counter!(
                    "tidegate_queue_refusals_total",
                    "priority" => priority.as_str(),
                    "reason" => why.as_str()
                )
            }),
        }))
    }

    /// A call waited for its place, and has it.
    pub(crate) fn waited(&self, priority: Priority, time: Duration) {
        for series in self.0.iter().filter(|series| series.priority == priority) {
            series.wait.record(time);
        }
    }

    /// A call got no place.
    pub(crate) fn refused(&self, priority: Priority, why: NoPlace) {
        for series in self.0.iter().filter(|series| series.priority == priority) {
            for (counter, _) in series.refused.iter().zip(NoPlace::ALL).filter(|(_, it)| *it == why) {
                counter.increment(1);
            }
        }
    }
}
