//! Evidence of two arms whose values lie between 0 and 1, against a pair of means.
//!
//! Wagers on each arm alone, multiplied, would pay twice for not knowing the control's mean. So most of the stake goes to
//! wagers on both at once, which win when one arm is higher *and* the other lower than supposed: then it hardly matters
//! which means are supposed. How much of a wager each arm gets should depend on how many calls each has; a few ratios
//! cover all. A part of the stake stays with each arm alone, so that with many calls any difference is found.

use std::cell::OnceCell;
use std::sync::LazyLock;

use super::share::{Share, price};

/// How far the odds of failure are supposed to be apart, as logarithms: from a tenth more to eleven times as many.
const APART: [f64; 5] = [0.1, 0.25, 0.6, 1.2, 2.4];

/// The part of that distance that the arm has; the control has the rest, the other way.
const PARTS: [f64; 5] = [0.99, 0.9, 0.5, 0.1, 0.01];

/// The steeper slope of the empirical Bernstein wagers on both.
const SLOPES: [f64; 5] = [0.03, 0.1, 0.25, 0.5, 0.9];

const WAGERS: usize = 2 * APART.len() * PARTS.len();

#[derive(Debug, Clone, Copy)]
struct Tilt {
    control: f64,
    arm: f64,
    /// `exp(control) - 1`.
    control_odds: f64,
    arm_odds: f64,
}

static TILTS: LazyLock<[Tilt; WAGERS]> = LazyLock::new(|| {
    std::array::from_fn(|index| {
        let sign = if index % 2 == 0 { 1.0 } else { -1.0 };
        let apart = APART[(index / 2) % APART.len()];
        let part = PARTS[index / 2 / APART.len()];
        let (arm, control) = (sign * apart * part, -sign * apart * (1.0 - part));
        Tilt { control, arm, control_odds: control.exp_m1(), arm_odds: arm.exp_m1() }
    })
});

#[derive(Debug, Clone, Copy)]
struct Slope {
    control: f64,
    arm: f64,
    control_price: f64,
    arm_price: f64,
}

static BERNSTEIN: LazyLock<[Slope; WAGERS]> = LazyLock::new(|| {
    std::array::from_fn(|index| {
        let sign = if index % 2 == 0 { 1.0 } else { -1.0 };
        let steepest = SLOPES[(index / 2) % SLOPES.len()];
        let part = PARTS[index / 2 / SLOPES.len()];
        let of_arm = steepest * (part / (1.0 - part)).min(1.0);
        let of_control = steepest * ((1.0 - part) / part).min(1.0);
        Slope {
            control: -sign * of_control,
            arm: sign * of_arm,
            control_price: price(of_control),
            arm_price: price(of_arm),
        }
    })
});

/// Two arms.
#[derive(Debug)]
pub(in crate::experiments) struct Pair {
    control: Share,
    arm: Share,
    /// The likelihood of each arm alone, mixed: costly, and needed only where a first look does not settle it.
    mixed: OnceCell<f64>,
}

impl Pair {
    pub(super) fn new(control: &Share, arm: &Share) -> Self {
        Self { control: *control, arm: *arm, mixed: OnceCell::new() }
    }

    /// The difference as seen.
    pub(super) fn difference(&self) -> f64 {
        self.arm.mean() - self.control.mean()
    }

    /// The means of the control with which this difference is possible: the least, a likely one, the largest. `None`
    /// where it is impossible.
    pub(super) fn means(&self, difference: f64) -> Option<(f64, f64, f64)> {
        let (low, high) = ((-difference).max(0.0), (1.0 - difference).min(1.0));
        if low > high {
            return None;
        }
        let (control, arm) = (self.control.count(), self.arm.count());
        let likely = (self.control.hits + self.arm.hits - arm * difference) / (control + arm);
        // Strictly inside, where all likelihoods are finite.
        let margin = 1e-3 * (high - low) / (control + arm);
        Some((low, likely.clamp(low + margin, high - margin), high))
    }

    pub(super) fn is_share_of_ones_and_zeros(&self) -> bool {
        self.control.surprise.is_none()
    }

    /// The most that any wager made of likelihoods can say against there being no difference.
    pub(super) fn most_against_none(&self) -> f64 {
        let pooled = (self.control.hits + self.arm.hits) / (self.control.count() + self.arm.count());
        self.control.likelihood(self.control.mean()) + self.arm.likelihood(self.arm.mean())
            - self.control.likelihood(pooled)
            - self.arm.likelihood(pooled)
    }

    /// The logarithm of the wager against this mean of the control and the arm's that lies `difference` above it, and its
    /// slope along the means. Convex.
    pub(super) fn against(&self, mean: f64, difference: f64) -> (f64, f64) {
        let (control, arm) = (&self.control, &self.arm);
        let arm_mean = (mean + difference).clamp(0.0, 1.0);
        let (control_count, arm_count) = (control.count(), arm.count());
        let mut mixture = Mixture::default();

        let mixed = *self.mixed.get_or_init(|| control.mixed() + arm.mixed());
        let alone = mixed - control.likelihood(mean) - arm.likelihood(arm_mean);
        let alone_slope = over(control.misses, 1.0 - mean) - over(control.hits, mean)
            + over(arm.misses, 1.0 - arm_mean)
            - over(arm.hits, arm_mean);
        let is_shared = control.surprise.is_some();
        let part: f64 = if is_shared { 0.25 } else { 0.5 };
        mixture.add(alone + part.ln(), alone_slope);

        let weight = (part / 50.0).ln();
        for tilt in TILTS.iter() {
            let control_norm = 1.0 + mean * tilt.control_odds;
            let arm_norm = 1.0 + arm_mean * tilt.arm_odds;
            mixture.add(
                tilt.control * control.hits + tilt.arm * arm.hits
                    - control_count * control_norm.ln()
                    - arm_count * arm_norm.ln()
                    + weight,
                -control_count * tilt.control_odds / control_norm - arm_count * tilt.arm_odds / arm_norm,
            );
        }

        if let (Some(control_surprise), Some(arm_surprise)) = (control.surprise, arm.surprise) {
            let weight = (0.5_f64 / 50.0).ln();
            let control_sum = control.hits - mean * control_count;
            let arm_sum = arm.hits - arm_mean * arm_count;
            for slope in BERNSTEIN.iter() {
                mixture.add(
                    slope.control * control_sum + slope.arm * arm_sum
                        - slope.control_price * control_surprise
                        - slope.arm_price * arm_surprise
                        + weight,
                    -slope.control * control_count - slope.arm * arm_count,
                );
            }
        }
        mixture.logarithm()
    }
}

/// `factor / value`, with nothing of anything being nothing.
fn over(factor: f64, value: f64) -> f64 {
    if factor <= 0.0 { 0.0 } else { factor / value }
}

/// A sum of exponentials and its slope, kept relative to its largest part so far.
#[derive(Debug)]
struct Mixture {
    largest: f64,
    sum: f64,
    slopes: f64,
}

impl Default for Mixture {
    fn default() -> Self {
        Self { largest: f64::NEG_INFINITY, sum: 0.0, slopes: 0.0 }
    }
}

impl Mixture {
    fn add(&mut self, logarithm: f64, slope: f64) {
        if logarithm <= self.largest {
            let part = (logarithm - self.largest).exp();
            self.sum += part;
            self.slopes += part * slope;
        } else {
            let shrunk = (self.largest - logarithm).exp();
            self.sum = self.sum * shrunk + 1.0;
            self.slopes = self.slopes * shrunk + slope;
            self.largest = logarithm;
        }
    }

    fn logarithm(&self) -> (f64, f64) {
        (self.largest + self.sum.ln(), self.slopes / self.sum)
    }
}
