//! The weighted mix of price, latency, throughput and reliability behind the strategy `score`.

use smallvec::SmallVec;

use super::rank::{Choice, INLINE, load, time_to_first_token};

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

/// How much worse each candidate is than the best of them in each quality, as the logarithm of a ratio, weighted and summed:
/// 0.0 is the best in everything. Ratios make qualities of different units comparable: twice the price weighs as much as
/// twice the time. What is unknown is presumed to be as good as the best, so that it is tried; an unknown price is presumed
/// to be the highest.
pub(super) fn penalties(mix: Mix, choices: &[Choice]) -> SmallVec<[f64; INLINE]> {
    let mix = mix.normalised();
    let quickest = least(choices.iter().filter_map(time_to_first_token));
    let cheapest = least(choices.iter().filter_map(price));
    let dearest = choices.iter().filter_map(price).fold(0.0, f64::max);
    let fastest = least(choices.iter().filter_map(seconds_per_token));
    let safest = least(choices.iter().map(failures));
    choices
        .iter()
        .map(|choice| {
            let latency = time_to_first_token(choice).unwrap_or(quickest) / quickest * load(choice);
            let price = price(choice).unwrap_or(dearest) / cheapest;
            let throughput = seconds_per_token(choice).unwrap_or(fastest) / fastest;
            let reliability = failures(choice) / safest;
            term(mix.price, price)
                + term(mix.latency, latency)
                + term(mix.throughput, throughput)
                + term(mix.reliability, reliability)
        })
        .collect()
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

/// A weight of 0 must not even see the logarithm: it may be infinite.
fn term(weight: f64, ratio: f64) -> f64 {
    if weight <= 0.0 || !ratio.is_finite() { 0.0 } else { weight * ratio.max(f64::MIN_POSITIVE).ln() }
}

fn least(values: impl Iterator<Item = f64>) -> f64 {
    let least = values.fold(f64::INFINITY, f64::min);
    if least.is_finite() { least } else { 1.0 }
}

fn failures(choice: &Choice) -> f64 {
    choice.measured.failure_rate + FAILURES_OF_ANYBODY
}

/// A free target is as one that costs a nano-dollar: cheaper than all others, and still a number that has a ratio.
fn price(choice: &Choice) -> Option<f64> {
    choice.price.map(|price| f64::from(u32::try_from(price / 1_000).unwrap_or(u32::MAX)).max(1.0))
}

fn seconds_per_token(choice: &Choice) -> Option<f64> {
    choice.measured.tokens_per_second.filter(|rate| *rate > 0.0).map(f64::recip)
}
