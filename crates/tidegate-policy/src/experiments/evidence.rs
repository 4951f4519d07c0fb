//! How strongly what was seen speaks against a mean, so that it may be looked at after every call.
//!
//! For each possible mean a wager is kept that nobody can expect to win if that mean is the true one: a non-negative
//! supermartingale that begins at 1. By Ville's inequality it ever exceeds `1/alpha` with probability `alpha` at most, so
//! all means whose wager stays below form an interval that covers the truth at all times together (a confidence
//! sequence). `against` is the logarithm of that wager.
//!
//! - **Values between 0 and 1** (errors, feedback): likelihood ratios against the mean, mixed over a beta distribution.
//!   Exact for failures, and still a supermartingale for anything between 0 and 1 (sub-Bernoulli). For feedback, which
//!   can vary far less than that allows for, half of the stake goes to an empirical Bernstein wager, which learns the
//!   variance. No approximation, from the first call on.
//! - **Long tails** (cost, latency, tokens): logarithms, and the wager of a normal distribution whose mean is mixed over
//!   a normal distribution, with the variance as it was seen. That holds as the number of calls grows (an asymptotic
//!   confidence sequence), so nothing is said below [`LEAST_CALLS`] calls.
//!
//! Two arms: the product of both wagers is one too, at the true pair of means. A difference is refuted when all pairs of
//! means that have it are; the minimum over them is found numerically. This holds however calls are given to arms, also
//! when a bandit or a canary changes shares because of what was seen.
//!
//! Sources: Howard, Ramdas, McAuliffe, Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", 2021
//! (beta-binomial mixture; empirical Bernstein, theorem 4); Robbins, "Statistical methods related to the law of the
//! iterated logarithm", 1970 (normal mixture); Johari, Koomen, Pekelis, Walsh, "Always valid inference", 2022 (mSPRT);
//! Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit theory", 2024.

use serde::{Deserialize, Serialize};

use super::metric::{Metric, Scale};
use super::numbers::{ln_add, ln_beta, real};
use super::sums::Sums;

/// So many values an arm needs before anything is concluded from logarithms: the variance must be known.
pub(super) const LEAST_CALLS: u64 = 30;

/// After about so many calls the intervals of long-tailed metrics are narrowest compared with what is possible.
const BEST_AFTER_CALLS: f64 = 200.0;

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
    Share(ShareEvidence),
    /// Of logarithms, or of anything with a variance.
    Normal {
        mean: f64,
        /// The variance of the mean, widened by the mixture.
        spread: f64,
        /// The logarithm of what the mixture costs.
        cost: f64,
    },
}

#[derive(Debug, Clone, Copy)]
pub(super) struct ShareEvidence {
    hits: f64,
    misses: f64,
    mixed: f64,
    /// For values in between: the sum of squared surprises.
    surprise: Option<f64>,
}

/// The slopes of the empirical Bernstein wager: from those that win slowly and with many calls to those that win with
/// few. Mixed evenly.
const SLOPES: [f64; 6] = [0.015, 0.04, 0.1, 0.22, 0.45, 0.75];

impl Evidence {
    pub(super) fn of(metric: Metric, sums: &Sums) -> Self {
        match metric.scale() {
            Scale::Points => Self::share(metric, sums),
            Scale::Ratio => Self::normal(sums, sums.compared_mean(), sums.compared_variance()),
        }
    }

    /// Of the values as they are, without logarithms: for bills.
    pub(super) fn plain(sums: &Sums, factor: f64) -> Self {
        let mean = sums.mean().unwrap_or_default();
        Self::normal(sums, factor * mean, factor * factor * sums.plain_variance())
    }

    fn share(metric: Metric, sums: &Sums) -> Self {
        if sums.count() == 0 {
            return Self::None;
        }
        let effect = sums.effect();
        let count = real(sums.count()) / effect;
        let hits = count * sums.compared_mean();
        let misses = count - hits;
        let mixed = ln_beta(0.5 + hits, 0.5 + misses) - ln_beta(0.5, 0.5);
        let surprise = (metric == Metric::Feedback).then(|| sums.surprise() / effect);
        Self::Share(ShareEvidence { hits, misses, mixed, surprise })
    }

    fn normal(sums: &Sums, mean: f64, variance: f64) -> Self {
        if sums.count() < LEAST_CALLS {
            return Self::None;
        }
        let count = real(sums.count()) / sums.effect();
        Self::Normal {
            mean,
            spread: variance * (count + BEST_AFTER_CALLS) / (count * count),
            cost: 0.5 * (count / BEST_AFTER_CALLS).ln_1p(),
        }
    }

    fn mean(&self) -> Option<f64> {
        match self {
            Self::None => None,
            Self::Share(share) => Some(share.hits / (share.hits + share.misses)),
            Self::Normal { mean, .. } => Some(*mean),
        }
    }

    /// The interval that covers the mean at all times with probability `1 - alpha`.
    pub(super) fn interval(&self, alpha: f64) -> Interval {
        let enough = -alpha.ln();
        match self {
            Self::None => Interval::default(),
            Self::Share(share) => {
                let mean = share.hits / (share.hits + share.misses);
                let refuted = |value: f64| share.against(value) >= enough;
                Interval {
                    low: Some(last_kept(mean, 0.0, refuted)),
                    estimate: Some(mean),
                    high: Some(last_kept(mean, 1.0, refuted)),
                }
            }
            Self::Normal { mean, spread, cost } => {
                let radius = (2.0 * spread * (enough + cost)).sqrt();
                Interval { low: Some(mean - radius), estimate: Some(*mean), high: Some(mean + radius) }
            }
        }
    }
}

/// How strongly two arms speak against `arm - control = difference`, as a logarithm.
pub(super) fn against_difference(control: &Evidence, arm: &Evidence, difference: f64) -> f64 {
    match (control, arm) {
        (Evidence::Share(control), Evidence::Share(arm)) => {
            let low = (-difference).max(0.0);
            let high = (1.0 - difference).min(1.0);
            if low > high {
                return f64::INFINITY;
            }
            // Each wager is least at its own mean and convex, so their sum is least in between.
            let one = control.mean().clamp(low, high);
            let other = (arm.mean() - difference).clamp(low, high);
            least(one.min(other), one.max(other), |mean| {
                control.against(mean) + arm.against((mean + difference).clamp(0.0, 1.0))
            })
        }
        (
            Evidence::Normal { mean: control, spread: control_spread, cost: control_cost },
            Evidence::Normal { mean: arm, spread: arm_spread, cost: arm_cost },
        ) => {
            let spread = control_spread + arm_spread;
            let distance = arm - control - difference;
            if spread <= 0.0 {
                return 0.0;
            }
            distance * distance / (2.0 * spread) - control_cost - arm_cost
        }
        _ => 0.0,
    }
}

/// The interval that covers `arm - control` at all times with probability `1 - alpha`.
pub(super) fn difference(control: &Evidence, arm: &Evidence, alpha: f64) -> Interval {
    let (Some(control_mean), Some(arm_mean)) = (control.mean(), arm.mean()) else {
        return Interval::default();
    };
    let enough = -alpha.ln();
    let estimate = arm_mean - control_mean;
    if let (
        Evidence::Normal { spread: control_spread, cost: control_cost, .. },
        Evidence::Normal { spread: arm_spread, cost: arm_cost, .. },
    ) = (control, arm)
    {
        let radius = (2.0 * (control_spread + arm_spread) * (enough + control_cost + arm_cost)).sqrt();
        return Interval {
            low: Some(estimate - radius),
            estimate: Some(estimate),
            high: Some(estimate + radius),
        };
    }
    let refuted = |value: f64| against_difference(control, arm, value) >= enough;
    Interval {
        low: Some(last_kept(estimate, -1.0, refuted)),
        estimate: Some(estimate),
        high: Some(last_kept(estimate, 1.0, refuted)),
    }
}

impl ShareEvidence {
    fn mean(&self) -> f64 {
        self.hits / (self.hits + self.misses)
    }

    /// The logarithm of the wager against this mean.
    fn against(&self, mean: f64) -> f64 {
        let beta = self.mixed - times_ln(self.hits, mean) - times_ln(self.misses, 1.0 - mean);
        match self.surprise {
            None => beta,
            Some(surprise) => {
                let sum = self.hits - mean * (self.hits + self.misses);
                let halves = 2.0_f64.ln();
                let mut bernstein = f64::NEG_INFINITY;
                for slope in SLOPES {
                    let paid = (-(-slope).ln_1p() - slope) * surprise;
                    bernstein = ln_add(bernstein, ln_add(slope * sum, -slope * sum) - halves - paid);
                }
                let slopes = 6.0_f64.ln();
                ln_add(beta, bernstein - slopes) - halves
            }
        }
    }
}

/// `factor * ln(value)`, with nothing times anything being nothing.
fn times_ln(factor: f64, value: f64) -> f64 {
    if factor <= 0.0 { 0.0 } else { factor * value.ln() }
}

/// The value farthest from `kept` towards `bound` that is not refuted, where all beyond a refuted one are. Errs on the
/// wide side.
fn last_kept(kept: f64, bound: f64, refuted: impl Fn(f64) -> bool) -> f64 {
    if !refuted(bound) {
        return bound;
    }
    let (mut inside, mut outside) = (kept, bound);
    for _ in 0..40 {
        let middle = 0.5 * (inside + outside);
        if refuted(middle) {
            outside = middle;
        } else {
            inside = middle;
        }
    }
    outside
}

/// The least value of a convex function between two points, by golden sections.
fn least(mut low: f64, mut high: f64, function: impl Fn(f64) -> f64) -> f64 {
    const SECTION: f64 = 0.618_033_988_749_895;
    let mut left = high - SECTION * (high - low);
    let mut right = low + SECTION * (high - low);
    let (mut at_left, mut at_right) = (function(left), function(right));
    for _ in 0..32 {
        if at_left <= at_right {
            (high, right, at_right) = (right, left, at_left);
            left = high - SECTION * (high - low);
            at_left = function(left);
        } else {
            (low, left, at_left) = (left, right, at_right);
            right = low + SECTION * (high - low);
            at_right = function(right);
        }
    }
    at_left.min(at_right)
}
