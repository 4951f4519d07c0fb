//! Evidence of means of many values with any variance: the wager of a normal distribution.

use super::Interval;
use crate::experiments::numbers::real;
use crate::experiments::sums::Sums;

/// So many values an arm needs before anything is concluded from logarithms: the variance must be known.
const LEAST_CALLS: u64 = 30;

/// Values are not taken to vary by less than this part of themselves, so that constant ones can be compared too.
const LEAST_DEVIATION: f64 = 0.01;

/// How large a difference of logarithms is expected, before anything was seen: its variance is that of a value divided by
/// this. Small numbers find large differences soon, large ones small differences with fewer calls; this one is best
/// for what some hundred calls of an arm can show, and close to it for all else.
const EXPECTATION: f64 = 50.0;

/// The mean of many values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Normal {
    mean: f64,
    /// The variance of a value.
    variance: f64,
    /// The variance that a value would need if all were independent, and their mean as uncertain as it is.
    effective: f64,
    /// How many values.
    count: f64,
}

/// Where a mean, or a difference of means, lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bell {
    mean: f64,
    /// The variance of the mean.
    variance: f64,
    /// How far means may lie from the one that is held against them: the variance over which the wager is mixed.
    expected: f64,
}

impl Normal {
    /// `None` for too few values.
    pub(super) fn of_logarithms(sums: &Sums) -> Option<Self> {
        Self::new(sums, sums.compared_mean(), sums.compared_variance(), 1.0)
    }

    /// Of the values as they are, times a factor.
    pub(super) fn of_values(sums: &Sums, factor: f64) -> Option<Self> {
        let mean = factor * sums.mean()?;
        Self::new(sums, mean, factor * factor * sums.plain_variance(), mean)
    }

    fn new(sums: &Sums, mean: f64, variance: f64, unit: f64) -> Option<Self> {
        let variance = variance.max((LEAST_DEVIATION * unit).powi(2));
        let is_known = sums.count() >= LEAST_CALLS;
        is_known.then(|| Self {
            mean,
            variance,
            effective: variance * sums.effect(),
            count: real(sums.count()),
        })
    }

    pub(super) fn alone(&self) -> Bell {
        Bell { mean: self.mean, variance: self.effective / self.count, expected: self.variance / EXPECTATION }
    }

    /// The difference to another one. The wager does not look at where both means lie together, only at how far they are
    /// apart.
    pub(super) fn to(&self, other: &Self) -> Bell {
        let (from, to) = (self.beside(other).alone(), other.beside(self).alone());
        Bell {
            mean: to.mean - from.mean,
            variance: from.variance + to.variance,
            expected: from.expected + to.expected,
        }
    }

    /// As one of two arms, with the variance of both if that is larger than its own. An arm with few calls that has not
    /// seen its rare values yet has too low a mean and too small a variance at once, and would look sure of it.
    fn beside(&self, other: &Self) -> Self {
        let both = |own: f64, others: f64| {
            own.max((own * self.count + others * other.count) / (self.count + other.count))
        };
        Self {
            variance: both(self.variance, other.variance),
            effective: both(self.effective, other.effective),
            ..*self
        }
    }
}

impl Bell {
    pub(super) fn mean(&self) -> f64 {
        self.mean
    }

    /// The logarithm of the wager against this mean.
    pub(super) fn against(&self, mean: f64) -> f64 {
        // Only where all values are 0.
        if self.variance <= 0.0 {
            return 0.0;
        }
        let distance = self.mean - mean;
        distance * distance / (2.0 * self.spread()) - self.cost()
    }

    pub(super) fn interval(&self, enough: f64) -> Interval {
        if self.variance <= 0.0 {
            return Interval { estimate: Some(self.mean), ..Interval::default() };
        }
        let radius = (2.0 * self.spread() * (enough + self.cost())).sqrt();
        Interval { low: Some(self.mean - radius), estimate: Some(self.mean), high: Some(self.mean + radius) }
    }

    /// The variance, widened by the mixture.
    fn spread(&self) -> f64 {
        self.variance * (self.variance + self.expected) / self.expected
    }

    /// The logarithm of what the mixture costs.
    fn cost(&self) -> f64 {
        0.5 * (self.expected / self.variance).ln_1p()
    }
}
