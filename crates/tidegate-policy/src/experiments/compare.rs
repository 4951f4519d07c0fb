//! Two arms held against each other: which is better, by how much, and how sure that is.
//!
//! With several arms and metrics, each comparison gets its part of the probability of error (Bonferroni), so that the
//! chance that any of them ever cries wolf stays below `alpha`.

use serde::{Deserialize, Serialize};

use super::evidence::{Difference, Evidence, Interval};
use super::metric::{Direction, Metric, Scale};
use super::numbers::real;
use super::sums::ArmSums;

/// What may be said of an arm against the control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing yet.
    Undecided,
    /// Better.
    Better,
    /// Worse.
    Worse,
    /// Different, in a metric where neither way is better.
    Different,
}

/// An arm against the control, in one metric.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// In what.
    pub metric: Metric,
    /// How `difference` is to be read.
    pub scale: Scale,
    /// What may be said.
    pub verdict: Verdict,
    /// The arm less the control: in points, or as a ratio less one.
    pub difference: Interval,
    /// The probability of seeing as much at any time without a difference, at most.
    pub p_value: f64,
}

/// Where the mean of an arm lies, at all times together, with probability `1 - alpha`. Of long-tailed metrics it is the
/// geometric mean: the value of a typical call.
pub fn interval(arm: &ArmSums, metric: Metric, alpha: f64) -> Interval {
    Evidence::of(metric, arm.of(metric)).interval(alpha).map(|mean| metric.typical(mean))
}

/// What may be said of an arm: the verdict of [`compare`] without its figures, which is cheap enough for every call.
pub fn verdict(control: &ArmSums, arm: &ArmSums, metric: Metric, alpha: f64) -> Verdict {
    judge(&difference(control, arm, metric), metric, alpha)
}

/// Compares an arm with the control.
pub fn compare(control: &ArmSums, arm: &ArmSums, metric: Metric, alpha: f64) -> Comparison {
    compare_one_of(control, arm, metric, alpha, 1)
}

/// Compares each arm with the control in each metric: for each arm, its comparisons in the order of `metrics`. The
/// probability that any verdict is ever wrong is `alpha` at most.
pub fn compare_all(
    control: &ArmSums,
    arms: &[&ArmSums],
    metrics: &[Metric],
    alpha: f64,
) -> Vec<Vec<Comparison>> {
    let comparisons = (arms.len() * metrics.len()).max(1) as u64;
    let of_arm = |arm: &&ArmSums| {
        metrics.iter().map(|metric| compare_one_of(control, arm, *metric, alpha, comparisons)).collect()
    };
    arms.iter().map(of_arm).collect()
}

fn compare_one_of(
    control: &ArmSums,
    arm: &ArmSums,
    metric: Metric,
    alpha: f64,
    comparisons: u64,
) -> Comparison {
    let comparisons = real(comparisons);
    let alpha = alpha / comparisons;
    let difference = difference(control, arm, metric);
    Comparison {
        metric,
        scale: metric.scale(),
        verdict: judge(&difference, metric, alpha),
        difference: difference.interval(alpha).map(|value| metric.told(value)),
        p_value: (comparisons * difference.p_value(0.0)).min(1.0),
    }
}

fn difference(control: &ArmSums, arm: &ArmSums, metric: Metric) -> Difference {
    Difference::new(&Evidence::of(metric, control.of(metric)), &Evidence::of(metric, arm.of(metric)))
}

fn judge(difference: &Difference, metric: Metric, alpha: f64) -> Verdict {
    let is_higher = difference.estimate().is_some_and(|estimate| estimate > 0.0);
    match (difference.is_refuted(0.0, alpha), metric.direction(), is_higher) {
        (false, ..) => Verdict::Undecided,
        (true, Direction::Neither, _) => Verdict::Different,
        (true, Direction::Higher, true) | (true, Direction::Lower, false) => Verdict::Better,
        (true, Direction::Higher, false) | (true, Direction::Lower, true) => Verdict::Worse,
    }
}
