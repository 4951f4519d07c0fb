//! Evidence of one arm whose values lie between 0 and 1.

use crate::experiments::metric::Metric;
use crate::experiments::numbers::{ln_add, ln_beta, real};
use crate::experiments::sums::Sums;

/// The slopes of the empirical Bernstein wager: from those that win slowly and with many calls to those that win with
/// few. Mixed evenly.
const SLOPES: [f64; 6] = [0.015, 0.04, 0.1, 0.22, 0.45, 0.75];

/// What was seen of one arm.
#[derive(Debug, Clone, Copy)]
pub(in crate::experiments) struct Share {
    /// The sum of all values: for failures their number.
    pub(super) hits: f64,
    /// What is missing from all being 1.
    pub(super) misses: f64,
    /// The sum of squared surprises, for values in between.
    pub(super) surprise: Option<f64>,
}

impl Share {
    pub(super) fn new(metric: Metric, sums: &Sums, effect: f64) -> Self {
        let count = real(sums.count()) / effect;
        let hits = count * sums.compared_mean();
        let surprise = (metric == Metric::Feedback).then(|| sums.surprise() / effect);
        Self { hits, misses: (count - hits).max(0.0), surprise }
    }

    pub(super) fn count(&self) -> f64 {
        self.hits + self.misses
    }

    pub(super) fn mean(&self) -> f64 {
        self.hits / self.count()
    }

    /// The logarithm of the wager against this mean.
    pub(super) fn against(&self, mean: f64) -> f64 {
        let likelihood = self.mixed() - self.likelihood(mean);
        let Some(surprise) = self.surprise else {
            return likelihood;
        };
        let sum = self.hits - mean * self.count();
        let half = 2.0_f64.ln();
        let mut bernstein = f64::NEG_INFINITY;
        for slope in SLOPES {
            let either_way = ln_add(slope * sum, -slope * sum) - half;
            bernstein = ln_add(bernstein, either_way - price(slope) * surprise);
        }
        ln_add(likelihood, bernstein - 6.0_f64.ln()) - half
    }

    /// The logarithm of the likelihood, mixed over all means by Jeffreys' prior.
    pub(super) fn mixed(&self) -> f64 {
        ln_beta(0.5 + self.hits, 0.5 + self.misses) - std::f64::consts::PI.ln()
    }

    /// The logarithm of the likelihood of this mean.
    pub(super) fn likelihood(&self, mean: f64) -> f64 {
        times_ln(self.hits, mean) + times_ln(self.misses, 1.0 - mean)
    }
}

/// What an empirical Bernstein wager of this slope pays for each unit of squared surprise.
pub(super) fn price(slope: f64) -> f64 {
    -(-slope).ln_1p() - slope
}

/// `factor * ln(value)`, with nothing times anything being nothing.
fn times_ln(factor: f64, value: f64) -> f64 {
    if factor <= 0.0 { 0.0 } else { factor * value.ln() }
}
