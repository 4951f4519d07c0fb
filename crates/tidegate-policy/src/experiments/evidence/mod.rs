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
//! Where units have several calls, variances are multiplied, and counts divided, by the design effect. That is known only
//! as well as clusters were seen, so more is demanded, as Student's distribution does.
//!
//! Sources: Howard, Ramdas, McAuliffe, Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", 2021
//! (sub-Bernoulli mixtures; empirical Bernstein, theorem 4); Robbins, "Statistical methods related to the law of the
//! iterated logarithm", 1970 (normal mixture); Johari, Koomen, Pekelis, Walsh, "Always valid inference", 2022 (mSPRT);
//! Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit theory and asymptotic confidence
//! sequences", 2024; Ramdas, Grünwald, Vovk, Shafer, "Game-theoretic statistics and safe anytime-valid inference", 2023.

mod bell;
mod pair;
mod search;
mod share;

use serde::{Deserialize, Serialize};

use super::metric::{Metric, Scale};
use super::sums::Sums;
use bell::{Bell, Normal};
use pair::Pair;
use search::{last_kept, least_of, stays_above};
use share::Share;

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
pub(super) struct Evidence {
    kind: Kind,
    /// How many units it is from, where they have several calls and these are taken for alike.
    units: Option<f64>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Nothing, or too little.
    None,
    /// Of values between 0 and 1.
    Share(Share),
    /// Of logarithms, or of anything with a variance.
    Normal(Normal),
}

impl Evidence {
    pub(super) fn of(metric: Metric, sums: &Sums) -> Self {
        let kind = match metric.scale() {
            Scale::Points if sums.count() == 0 => Kind::None,
            Scale::Points => Kind::Share(Share::new(metric, sums, sums.effect())),
            Scale::Ratio => Normal::of_logarithms(sums).map_or(Kind::None, Kind::Normal),
        };
        Self { kind, units: sums.units() }
    }

    /// Of errors, for a guard. Where too few units were seen to know how alike their calls are, each call counts: a guard
    /// that waited for more users would be none, and to stop an arm is the safe side.
    pub(super) fn of_errors_at_once(sums: &Sums) -> Self {
        if sums.count() == 0 || sums.has_enough_clusters() {
            return Self::of(Metric::Errors, sums);
        }
        Self { kind: Kind::Share(Share::new(Metric::Errors, sums, 1.0)), units: None }
    }

    /// Of the values as they are, without logarithms, times a factor: for bills.
    pub(super) fn plain(sums: &Sums, factor: f64) -> Self {
        Self { kind: Normal::of_values(sums, factor).map_or(Kind::None, Kind::Normal), units: sums.units() }
    }

    /// The interval that covers the mean at all times with probability `1 - alpha`.
    pub(super) fn interval(&self, alpha: f64) -> Interval {
        let enough = demanded(alpha, self.units);
        match self.kind {
            Kind::None => Interval::default(),
            Kind::Share(share) => {
                let mean = share.mean();
                let refuted = |value: f64| share.against(value) >= enough;
                Interval {
                    low: Some(last_kept(mean, 0.0, refuted)),
                    estimate: Some(mean),
                    high: Some(last_kept(mean, 1.0, refuted)),
                }
            }
            Kind::Normal(normal) => normal.alone().interval(enough),
        }
    }
}

/// The difference `arm - control` as far as it is known.
#[derive(Debug)]
pub(super) struct Difference {
    kind: DifferenceKind,
    units: Option<f64>,
}

#[derive(Debug)]
enum DifferenceKind {
    /// Nothing, or too little.
    None,
    Share(Box<Pair>),
    Normal(Bell),
}

impl Difference {
    pub(super) fn new(control: &Evidence, arm: &Evidence) -> Self {
        let kind = match (&control.kind, &arm.kind) {
            (Kind::Share(control), Kind::Share(arm)) => {
                DifferenceKind::Share(Box::new(Pair::new(control, arm)))
            }
            (Kind::Normal(control), Kind::Normal(arm)) => DifferenceKind::Normal(control.to(arm)),
            _ => DifferenceKind::None,
        };
        let units = match (control.units, arm.units) {
            (Some(control), Some(arm)) => Some(control.min(arm)),
            (control, arm) => control.or(arm),
        };
        Self { kind, units }
    }

    /// As seen.
    pub(super) fn estimate(&self) -> Option<f64> {
        match &self.kind {
            DifferenceKind::None => None,
            DifferenceKind::Share(pair) => Some(pair.difference()),
            DifferenceKind::Normal(bell) => Some(bell.mean()),
        }
    }

    /// The probability of seeing as much against this difference at any time if it were the true one, at most.
    pub(super) fn p_value(&self, difference: f64) -> f64 {
        let against = match &self.kind {
            DifferenceKind::None => 0.0,
            DifferenceKind::Share(pair) => match pair.means(difference) {
                None => f64::INFINITY,
                Some((low, start, high)) => least_of(low, start, high, |mean| pair.against(mean, difference)),
            },
            DifferenceKind::Normal(bell) => bell.against(difference),
        };
        probability(against, self.units)
    }

    /// Whether that probability is `alpha` at most: much less work, mostly.
    pub(super) fn is_refuted(&self, difference: f64, alpha: f64) -> bool {
        self.speaks_against(difference, demanded(alpha, self.units))
    }

    fn speaks_against(&self, difference: f64, enough: f64) -> bool {
        match &self.kind {
            DifferenceKind::None => false,
            DifferenceKind::Share(pair) => {
                // No mixture of likelihoods exceeds their maximum.
                if difference == 0.0 && pair.is_share_of_ones_and_zeros() && pair.most_against_none() < enough
                {
                    return false;
                }
                match pair.means(difference) {
                    None => true,
                    Some((low, start, high)) => {
                        stays_above(enough, low, start, high, |mean| pair.against(mean, difference))
                    }
                }
            }
            DifferenceKind::Normal(bell) => bell.against(difference) >= enough,
        }
    }

    /// The interval that covers the difference at all times with probability `1 - alpha`.
    pub(super) fn interval(&self, alpha: f64) -> Interval {
        let enough = demanded(alpha, self.units);
        match &self.kind {
            DifferenceKind::None => Interval::default(),
            DifferenceKind::Share(pair) => {
                let seen = pair.difference();
                let refuted = |value: f64| self.speaks_against(value, enough);
                Interval {
                    low: Some(last_kept(seen, -1.0, refuted)),
                    estimate: Some(seen),
                    high: Some(last_kept(seen, 1.0, refuted)),
                }
            }
            DifferenceKind::Normal(bell) => bell.interval(enough),
        }
    }
}

/// How much evidence, as a logarithm, has a probability of `alpha` at most. Where the variance is known from few units only,
/// more is demanded: as much as Student's distribution with so many degrees of freedom has less of than the normal one.
fn demanded(alpha: f64, units: Option<f64>) -> f64 {
    let enough = -alpha.ln();
    units.map_or(enough, |units| 0.5 * units * (2.0 * enough / units).exp_m1())
}

/// The other way round: the probability of so much evidence.
fn probability(against: f64, units: Option<f64>) -> f64 {
    let against = against.max(0.0);
    let worth = units.map_or(against, |units| 0.5 * units * (2.0 * against / units).ln_1p());
    (-worth).exp()
}
