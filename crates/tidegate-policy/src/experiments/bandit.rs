//! The bandit: traffic moves towards the arm that is probably better, within bounds.
//!
//! Thompson sampling, with its draws taken at once: how often is an arm the best if each arm's mean is drawn from what is
//! known of it? That share, but never less than the least, becomes its weight. The draws come from a seed, so replicas
//! with the same sums come to the same weights.

use serde::{Deserialize, Serialize};

use super::metric::{Direction, Metric};
use super::numbers::{mix, real, unit_interval};
use super::sums::ArmSums;

/// Draws for each decision: enough to know a share within two points.
const DRAWS: u32 = 2000;

/// Values an arm needs before traffic moves: below that a few lucky calls would decide.
const LEAST_VALUES: u64 = 30;

/// How a bandit shifts traffic.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BanditSettings {
    /// What is to become better.
    pub metric: Metric,
    /// The least share of each arm, so that all can still be judged.
    pub least: f64,
    /// How many points of all traffic a single decision may move, so that few sessions change their arm.
    pub most_moved: f64,
}

impl Default for BanditSettings {
    fn default() -> Self {
        Self { metric: Metric::Feedback, least: 0.05, most_moved: 0.1 }
    }
}

/// The next weights of the arms, which sum up to 1. `current` are the weights now; the same sums and seed give the same
/// weights.
pub fn bandit_weights(arms: &[&ArmSums], current: &[f64], settings: &BanditSettings, seed: u64) -> Vec<f64> {
    let current = shares(current, arms.len());
    let metric = settings.metric;
    if arms.len() < 2 || arms.iter().any(|arm| arm.of(metric).count() < LEAST_VALUES) {
        return current;
    }
    let beliefs: Vec<(f64, f64)> = arms.iter().map(|arm| belief(arm, metric)).collect();
    let mut wins = vec![0_u32; arms.len()];
    let mut state = seed;
    for _ in 0..DRAWS {
        let mut best: Option<(usize, f64)> = None;
        for (index, (mean, deviation)) in beliefs.iter().enumerate() {
            let drawn = mean + deviation * normal(&mut state);
            if best.is_none_or(|(_, highest)| drawn > highest) {
                best = Some((index, drawn));
            }
        }
        if let Some(won) = best.and_then(|(index, _)| wins.get_mut(index)) {
            *won += 1;
        }
    }
    let wanted: Vec<f64> = wins.iter().map(|won| f64::from(*won) / f64::from(DRAWS)).collect();
    step(&current, &with_least(&wanted, settings.least), settings.most_moved)
}

/// The mean of an arm, the higher the better, and how far it may be off.
fn belief(arm: &ArmSums, metric: Metric) -> (f64, f64) {
    let sums = arm.of(metric);
    let count = real(sums.count()) / sums.effect();
    // One imagined value at each end keeps an arm without a single failure from being certain.
    let (mean, variance) = match metric {
        Metric::Errors | Metric::Feedback => {
            let mean = (sums.compared_mean() * count + 0.5) / (count + 1.0);
            (mean, (sums.compared_variance() * count + 0.25) / (count + 1.0))
        }
        _ => (sums.compared_mean(), sums.compared_variance()),
    };
    let sign = if metric.direction() == Direction::Higher { 1.0 } else { -1.0 };
    (sign * mean, (variance / count).sqrt())
}

fn shares(weights: &[f64], arms: usize) -> Vec<f64> {
    let total: f64 = weights.iter().filter(|weight| weight.is_finite() && **weight > 0.0).sum();
    let equal = 1.0 / real(arms.max(1) as u64);
    (0..arms)
        .map(|index| match weights.get(index) {
            Some(weight) if total > 0.0 => {
                if weight.is_finite() {
                    weight.max(0.0) / total
                } else {
                    0.0
                }
            }
            _ => equal,
        })
        .collect()
}

/// Raises shares to the least and takes that from those above it, in proportion.
fn with_least(wanted: &[f64], least: f64) -> Vec<f64> {
    let count = real(wanted.len() as u64);
    let least = least.clamp(0.0, 1.0 / count);
    wanted.iter().map(|share| least + share * (1.0 - count * least)).collect()
}

/// From one set of shares towards another, by at most so many points in all.
fn step(from: &[f64], to: &[f64], most: f64) -> Vec<f64> {
    let moved: f64 = from.iter().zip(to).map(|(from, to)| (to - from).max(0.0)).sum();
    let part = if moved > most && moved > 0.0 { most / moved } else { 1.0 };
    from.iter().zip(to).map(|(from, to)| from + (to - from) * part).collect()
}

/// A draw from the standard normal distribution (Box and Muller).
fn normal(state: &mut u64) -> f64 {
    let radius = (-2.0 * uniform(state).ln()).sqrt();
    radius * (2.0 * std::f64::consts::PI * uniform(state)).cos()
}

fn uniform(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    unit_interval(mix(*state))
}
