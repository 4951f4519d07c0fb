//! The weighted mix of price, latency, throughput and reliability behind the strategy `score`.

use super::keys::{load, time_to_first_token};
use super::rank::Choice;

/// How much each quality counts. Only their ratio to the largest matters; all 0 is as if all were 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mix {
    /// Cheap.
    pub price: f64,
    /// Quick to begin.
    pub latency: f64,
    /// Quick to go on.
    pub throughput: f64,
    /// Without failures.
    pub reliability: f64,
}

impl Default for Mix {
    fn default() -> Self {
        Self { price: 1.0, latency: 1.0, throughput: 1.0, reliability: 1.0 }
    }
}

/// Failures are counted on top of this rate: below it nobody could tell two targets apart, and 0 has no ratio.
const FAILURES_OF_ANYBODY: f64 = 0.02;

/// How sharply a mix prefers the better: a target twice as bad gets an eighth of the calls.
const SHARPNESS: i32 = 3;

/// What the qualities of a target are compared with: the best of all. Ratios make qualities of different units comparable:
/// twice the price weighs as much as twice the time. What is unknown is presumed to be as good as the best, so that it is
/// tried; an unknown price is presumed to be the highest.
#[derive(Debug)]
pub(super) struct Scale {
    mix: Mix,
    quickest: f64,
    cheapest: f64,
    dearest: f64,
    fastest: f64,
}

impl Scale {
    pub(super) fn new(mix: Mix, choices: &[Choice], quickest: f64) -> Self {
        Self {
            mix: mix.normalised(),
            quickest,
            cheapest: least(choices.iter().filter_map(price)),
            dearest: choices.iter().filter_map(price).fold(1.0, f64::max),
            fastest: least(choices.iter().filter_map(seconds_per_token)),
        }
    }

    /// How many times worse a target is than one that were the best in everything, made sharper.
    pub(super) fn penalty(&self, choice: &Choice) -> f64 {
        let latency = time_to_first_token(choice).unwrap_or(self.quickest) / self.quickest * load(choice);
        let price = price(choice).unwrap_or(self.dearest) / self.cheapest;
        let throughput = seconds_per_token(choice).unwrap_or(self.fastest) / self.fastest;
        let reliability = (choice.measured.failure_rate + FAILURES_OF_ANYBODY) / FAILURES_OF_ANYBODY;
        let penalty = power(price, self.mix.price)
            * power(latency, self.mix.latency)
            * power(throughput, self.mix.throughput)
            * power(reliability, self.mix.reliability);
        penalty.powi(SHARPNESS)
    }
}

/// Most weights are 0 or 1, and a power is dear.
fn power(ratio: f64, weight: f64) -> f64 {
    if weight <= 0.0 {
        1.0
    } else if weight >= 1.0 {
        ratio
    } else {
        ratio.powf(weight)
    }
}

impl Mix {
    fn normalised(self) -> Self {
        let sane = |weight: f64| if weight.is_finite() { weight.max(0.0) } else { 0.0 };
        let all = [self.price, self.latency, self.throughput, self.reliability].map(sane);
        let largest = all.into_iter().fold(0.0, f64::max);
        if largest <= 0.0 {
            return Self::default();
        }
        let [price, latency, throughput, reliability] = all.map(|weight| weight / largest);
        Self { price, latency, throughput, reliability }
    }
}

fn least(values: impl Iterator<Item = f64>) -> f64 {
    let least = values.fold(f64::INFINITY, f64::min);
    if least.is_finite() { least } else { 1.0 }
}

/// A free target is as one that costs a nano-dollar: cheaper than all others, and still a number that has a ratio.
fn price(choice: &Choice) -> Option<f64> {
    let half = |bits: u64| f64::from(u32::try_from(bits & 0xffff_ffff).unwrap_or(u32::MAX));
    choice.price.map(|price| (half(price >> 32) * 4_294_967_296.0 + half(price)).max(1.0))
}

fn seconds_per_token(choice: &Choice) -> Option<f64> {
    choice.measured.tokens_per_second.filter(|rate| *rate > 0.0).map(f64::recip)
}
