//! What became of the shadows of an experiment in this process.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::Counter;

/// What can become of a shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShadowFate {
    /// It was sent, whatever the answer.
    Sent,
    /// Too many waited or were under way, or they were too large together.
    QueueFull,
    /// The request or the answer is too large.
    TooLarge,
    /// The budget is used up.
    NoBudget,
    /// The candidate's price is not known, and there is a budget.
    NoPrice,
    /// The candidate's provider does not take calls at the moment, or callers wait for a place here.
    NotReady,
    /// The ledger takes no more, or the process ends.
    NotRecorded,
}

impl ShadowFate {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Sent,
        Self::QueueFull,
        Self::TooLarge,
        Self::NoBudget,
        Self::NoPrice,
        Self::NotReady,
        Self::NotRecorded,
    ];

    /// The word for metrics and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::QueueFull => "queue_full",
            Self::TooLarge => "too_large",
            Self::NoBudget => "no_budget",
            Self::NoPrice => "no_price",
            Self::NotReady => "not_ready",
            Self::NotRecorded => "not_recorded",
        }
    }
}

/// How often each happened. Counted without locks: callers count what they drop.
#[derive(Debug)]
pub struct ShadowCounts([(AtomicU64, Counter); ShadowFate::ALL.len()]);

impl ShadowCounts {
    pub(crate) fn new(experiment: &str) -> Self {
        Self(ShadowFate::ALL.map(|fate| {
            let labels = [("experiment", experiment.to_owned()), ("result", fate.as_str().to_owned())];
            (AtomicU64::new(0), metrics::counter!("tidegate_shadows_total", &labels))
        }))
    }

    pub(crate) fn count(&self, fate: ShadowFate) {
        if let Some((count, counter)) =
            ShadowFate::ALL.iter().position(|other| *other == fate).and_then(|it| self.0.get(it))
        {
            count.fetch_add(1, Ordering::Relaxed);
            counter.increment(1);
        }
    }

    /// How often this happened since the process began.
    pub fn of(&self, fate: ShadowFate) -> u64 {
        let place = ShadowFate::ALL.iter().position(|other| *other == fate);
        place.and_then(|place| self.0.get(place)).map_or(0, |(count, _)| count.load(Ordering::Relaxed))
    }
}
