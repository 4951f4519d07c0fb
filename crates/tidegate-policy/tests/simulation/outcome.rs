//! What came of a run.

use std::time::Duration;

use tidegate_policy::Moment;

use crate::run::{DEADLINE, WARM_UP};

/// Counted are calls that arrived after the warm-up.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    calls: u64,
    answered: u64,
    first_tokens: Vec<Duration>,
    cost: u64,
    wasted: u64,
    hedges: u64,
    /// The most retries in flight, and how many the budget allowed then.
    most_retries: (usize, usize),
    /// Who was asked when.
    asked: Vec<(usize, Moment)>,
}

impl Outcome {
    pub(crate) fn arrived(&mut self, now: Moment) {
        self.calls += u64::from(now >= WARM_UP);
    }

    pub(crate) fn asked(&mut self, target: usize, now: Moment) {
        self.asked.push((target, now));
    }

    pub(crate) fn spoke(&mut self, arrived: Moment, now: Moment) {
        if arrived >= WARM_UP {
            self.first_tokens.push(now - arrived);
        }
    }

    pub(crate) fn wasted(&mut self, cost: u64) {
        self.wasted += 1;
        self.cost += cost;
    }

    pub(crate) fn hedged(&mut self, now: Moment) {
        self.hedges += u64::from(now >= WARM_UP);
    }

    pub(crate) fn retries(&mut self, retries: usize, calls: usize) {
        let budget = (calls / 5).max(3);
        assert!(retries <= budget, "{retries} retries in flight with {calls} calls");
        if retries > self.most_retries.0 {
            self.most_retries = (retries, budget);
        }
    }

    pub(crate) fn over(&mut self, arrived: Moment, cost: Option<u64>, has_spoken: bool) {
        self.cost += cost.unwrap_or(0);
        if arrived >= WARM_UP {
            self.answered += u64::from(cost.is_some());
            if !has_spoken {
                self.first_tokens.push(DEADLINE);
            }
        }
    }

    /// Several nights together: the tail of one is a matter of luck.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.calls += other.calls;
        self.answered += other.answered;
        self.first_tokens.extend(other.first_tokens);
        self.cost += other.cost;
        self.wasted += other.wasted;
        self.hedges += other.hedges;
        self.most_retries = self.most_retries.max(other.most_retries);
        self.asked.extend(other.asked);
        self
    }

    /// How often a target was asked between two seconds.
    pub(crate) fn times_asked(&self, target: usize, from: u64, until: u64) -> usize {
        let within = Moment::from_secs(from)..Moment::from_secs(until);
        self.asked.iter().filter(|(who, at)| *who == target && within.contains(at)).count()
    }

    pub(crate) fn success_rate(&self) -> f64 {
        self.answered as f64 / self.calls as f64
    }

    /// Seconds to the first token; calls that failed before it count as having waited for their whole deadline.
    pub(crate) fn first_token(&self, quantile: f64) -> f64 {
        let mut sorted = self.first_tokens.clone();
        sorted.sort_unstable();
        let place = (sorted.len() as f64 * quantile).ceil() as usize;
        sorted[place.clamp(1, sorted.len()) - 1].as_secs_f64()
    }

    /// Dollars for a thousand calls that were answered, wasted attempts included.
    pub(crate) fn cost(&self) -> f64 {
        self.cost as f64 / 1e9 / self.answered as f64 * 1000.0
    }

    /// Attempts in vain, for a hundred calls.
    pub(crate) fn wasted_share(&self) -> f64 {
        self.wasted as f64 * 100.0 / self.calls as f64
    }

    pub(crate) fn hedged_share(&self) -> f64 {
        self.hedges as f64 / self.calls as f64
    }

    pub(crate) fn most_retries(&self) -> (usize, usize) {
        self.most_retries
    }
}
