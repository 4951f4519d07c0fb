//! How long to wait before asking the same target again.

use std::time::Duration;

/// Exponential backoff with full jitter: a random time between nothing and the bound, which doubles with every try. Full
/// jitter spreads callers that failed together over the whole time instead of letting them come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The bound after the first failure.
    pub shortest: Duration,
    /// The bound that is never exceeded.
    pub longest: Duration,
}

impl Backoff {
    /// The wait after `failures` failures (1 or more); `random` is in `0.0..1.0`.
    pub fn wait(&self, failures: u32, random: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        let bound = self.shortest.saturating_mul(1 << doublings).min(self.longest);
        bound.mul_f64(random.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_and_stops_at_the_longest() {
        let backoff = Backoff { shortest: Duration::from_millis(200), longest: Duration::from_secs(5) };
        let bounds: Vec<u128> = (1..=7).map(|failures| backoff.wait(failures, 1.0).as_millis()).collect();
        assert_eq!(bounds, [200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(backoff.wait(u32::MAX, 1.0), Duration::from_secs(5));
        assert_eq!(backoff.wait(3, 0.0), Duration::ZERO);
    }
}
