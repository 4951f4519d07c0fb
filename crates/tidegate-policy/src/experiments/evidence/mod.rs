//! How strongly what was seen speaks against a mean, so that it may be looked at after every call.
//!
//! For each possible mean a wager is kept that nobody can expect to win if that mean is the true one: a non-negative
//! supermartingale that begins at 1. By Ville's inequality it ever exceeds `1/alpha` with probability `alpha` at most, so
//! all means whose wager stays below form an interval that covers the truth at all times together (a confidence
//! sequence), and one divided by the wager is a p-value at all times. `against` is the logarithm of the wager.
//!
//! - **Values between 0 and 1** (errors, feedback), `share` and `pair`: likelihood ratios against the mean, mixed over
//!   many alternatives. Exact for failures, and still a supermartingale for anything between 0 and 1 (sub-Bernoulli). For
//!   feedback, which can vary far less than that allows for, half of the stake goes to empirical Bernstein wagers, which
//!   learn the variance. No approximation, from the first call on, whatever the error rate.
//! - **Long tails** (cost, latency, tokens): logarithms, and the wager of a normal distribution whose mean is mixed over
//!   a normal distribution, with the variance as it was seen. That holds as the number of calls grows (an asymptotic
//!   confidence sequence), so nothing is said below [`LEAST_CALLS`] calls.
//!
//! Two arms: wagers on both at once. For values between 0 and 1 a difference is refuted when all pairs of means that have
//! it are; the minimum over them is found numerically. For logarithms the wager is on the difference of the means alone
//! (the Bayes factor that is invariant under a shift of both). Both hold however calls are given to arms, also when a
//! bandit or a canary changes shares because of the differences seen. They hold for the average of means that change
//! with the time of day too, but arms whose shares changed meanwhile are then averages over different hours: hence the
//! stages of a canary.
//!
//! Sources: Howard, Ramdas, McAuliffe, Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", 2021
//! (sub-Bernoulli mixtures; empirical Bernstein, theorem 4); Robbins, "Statistical methods related to the law of the
//! iterated logarithm", 1970 (normal mixture); Johari, Koomen, Pekelis, Walsh, "Always valid inference", 2022 (mSPRT);
//! Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit theory and asymptotic confidence
//! sequences", 2024; Ramdas, Grünwald, Vovk, Shafer, "Game-theoretic statistics and safe anytime-valid inference", 2023.

mod pair;
mod search;
mod share;

use serde::{Deserialize, Serialize};

use super::metric::{Metric, Scale};
use super::numbers::real;
use super::sums::Sums;
use pair::Pair;
use search::{last_kept, least_of, stays_above};
use share::Share;

/// So many values an arm needs before anything is concluded from logarithms: the variance must be known. So many values
/// the other arm's variance stands for as well, because an arm that has not seen its rare values yet looks too sure.
const LEAST_CALLS: u64 = 30;

/// Values are not taken to vary by less than this part of themselves, so that constant ones can be compared too.
const LEAST_DEVIATION: f64 = 0.01;

/// How large a difference of logarithms is expected, before anything was seen: its variance is that of a value divided by
/// this. Small numbers find large differences soon, large ones small differences with fewer calls; this one is best
/// for what some hundred calls of an arm can show, and close to it for all else.
const EXPECTATION: f64 = 50.0;

/// Where a value lies. A bound that is not known yet is left out.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Interval {
    /// Not below this.
    pub low: Option<f64>,
    /// As seen.
    pub estimate: Option<f64>,
    /// Not above this.
    pub high: Option<f64>,
}

impl Interval {
    pub(super) fn map(self, change: impl Fn(f64) -> f64) -> Self {
        Self {
            low: self.low.map(&change),
            estimate: self.estimate.map(&change),
            high: self.high.map(&change),
        }
    }
}

/// What was seen of one arm, made ready to be held against means.
#[derive(Debug, Clone, Copy)]
pub(super) enum Evidence {
    /// Nothing, or too little.
    None,
    /// Of values between 0 and 1.
    Share(Share),
    /// Of logarithms, or of anything with a variance.
    Normal(Normal),
}

/// The mean of many values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Normal {
    mean: f64,
    /// The variance of a value.
    variance: f64,
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

impl Evidence {
    pub(super) fn of(metric: Metric, sums: &Sums) -> Self {
        match metric.scale() {
            Scale::Points if sums.count() == 0 => Self::None,
            Scale::Points => Self::Share(Share::new(metric, sums, sums.effect())),
            Scale::Ratio => Self::normal(sums, sums.compared_mean(), sums.compared_variance(), 1.0),
        }
    }

    /// Of errors, for a guard. Where too few units were seen to know how alike their calls are, each call counts: a guard
    /// that waited for more users would be none, and to stop an arm is the safe side.
    pub(super) fn of_errors_at_once(sums: &Sums) -> Self {
        if sums.count() == 0 {
            return Self::None;
        }
        let effect = if sums.has_enough_clusters() { sums.effect() } else { 1.0 };
        Self::Share(Share::new(Metric::Errors, sums, effect))
    }

    /// Of the values as they are, without logarithms, times a factor: for bills.
    pub(super) fn plain(sums: &Sums, factor: f64) -> Self {
        let mean = sums.mean().unwrap_or_default();
        Self::normal(sums, factor * mean, factor * factor * sums.plain_variance(), factor * mean)
    }

    fn normal(sums: &Sums, mean: f64, variance: f64, unit: f64) -> Self {
        if sums.count() < LEAST_CALLS {
            return Self::None;
        }
        Self::Normal(Normal {
            mean,
            variance: variance.max((LEAST_DEVIATION * unit).powi(2)),
            count: real(sums.count()) / sums.effect(),
        })
    }

    /// The interval that covers the mean at all times with probability `1 - alpha`.
    pub(super) fn interval(&self, alpha: f64) -> Interval {
        let enough = -alpha.ln();
        match self {
            Self::None => Interval::default(),
            Self::Share(share) => {
                let mean = share.mean();
                let refuted = |value: f64| share.against(value) >= enough;
                Interval {
                    low: Some(last_kept(mean, 0.0, refuted)),
                    estimate: Some(mean),
                    high: Some(last_kept(mean, 1.0, refuted)),
                }
            }
            Self::Normal(normal) => normal.alone().interval(enough),
        }
    }
}

/// The difference `arm - control` as far as it is known.
#[derive(Debug)]
pub(super) enum Difference {
    /// Nothing, or too little.
    None,
    Share(Box<Pair>),
    Normal(Bell),
}

impl Difference {
    pub(super) fn new(control: &Evidence, arm: &Evidence) -> Self {
        match (control, arm) {
            (Evidence::Share(control), Evidence::Share(arm)) => {
                Self::Share(Box::new(Pair::new(control, arm)))
            }
            // The wager that does not look at where both means lie together, but at how far they are apart.
            (Evidence::Normal(control), Evidence::Normal(arm)) => {
                let (of_control, of_arm) = (control.beside(arm), arm.beside(control));
                Self::Normal(Bell {
                    mean: of_arm.mean - of_control.mean,
                    variance: of_control.variance + of_arm.variance,
                    expected: of_control.expected + of_arm.expected,
                })
            }
            _ => Self::None,
        }
    }

    /// As seen.
    pub(super) fn estimate(&self) -> Option<f64> {
        match self {
            Self::None => None,
            Self::Share(pair) => Some(pair.difference()),
            Self::Normal(normal) => Some(normal.mean),
        }
    }

    /// How strongly was what seen speaks against this difference, as a logarithm.
    pub(super) fn against(&self, difference: f64) -> f64 {
        match self {
            Self::None => 0.0,
            Self::Share(pair) => match pair.means(difference) {
                None => f64::INFINITY,
                Some((low, start, high)) => least_of(low, start, high, |mean| pair.against(mean, difference)),
            },
            Self::Normal(normal) => normal.against(difference),
        }
    }

    /// Whether it speaks at least so strongly against it: much less work, mostly.
    pub(super) fn is_refuted(&self, difference: f64, enough: f64) -> bool {
        match self {
            Self::None => false,
            Self::Share(pair) => {
                // No mixture of likelihoods exceeds their maximum.
                let likely = pair.is_share_of_ones_and_zeros() && pair.most_against_none() < enough;
                if difference == 0.0 && likely {
                    return false;
                }
                match pair.means(difference) {
                    None => true,
                    Some((low, start, high)) => {
                        stays_above(enough, low, start, high, |mean| pair.against(mean, difference))
                    }
                }
            }
            Self::Normal(normal) => normal.against(difference) >= enough,
        }
    }

    /// The interval that covers the difference at all times with probability `1 - alpha`.
    pub(super) fn interval(&self, alpha: f64) -> Interval {
        let enough = -alpha.ln();
        match self {
            Self::None => Interval::default(),
            Self::Share(pair) => {
                let seen = pair.difference();
                let refuted = |value: f64| self.is_refuted(value, enough);
                Interval {
                    low: Some(last_kept(seen, -1.0, refuted)),
                    estimate: Some(seen),
                    high: Some(last_kept(seen, 1.0, refuted)),
                }
            }
            Self::Normal(normal) => normal.interval(enough),
        }
    }
}

impl Normal {
    fn alone(&self) -> Bell {
        Bell { mean: self.mean, variance: self.variance / self.count, expected: self.variance / EXPECTATION }
    }

    /// As one of two arms: with the variance of both in it, as far as its own is not well known.
    fn beside(&self, other: &Self) -> Bell {
        let both = (self.variance * self.count + other.variance * other.count) / (self.count + other.count);
        let borrowed = real(LEAST_CALLS);
        let shrunk = (self.variance * self.count + both * borrowed) / (self.count + borrowed);
        Self { variance: self.variance.max(shrunk), ..*self }.alone()
    }
}

impl Bell {
    fn against(&self, mean: f64) -> f64 {
        // Only where all values are 0.
        if self.variance <= 0.0 {
            return 0.0;
        }
        let distance = self.mean - mean;
        distance * distance / (2.0 * self.spread()) - self.cost()
    }

    fn interval(&self, enough: f64) -> Interval {
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
