//! The provider's own limits: how much of them is left for us, by what it said last and what was asked since.
//!
//! `attempt` reads the numbers from the headers of each answer; `plan` avoids a key that is about to run dry.

use std::time::Duration;

use crate::Moment;

/// With less than this share of the provider's limit left, a target or key is used less and less, …
pub(crate) const TIGHT_HEADROOM: f64 = 0.2;

/// … and with less than this only when nobody else is there: calls that are under way may already use it up.
pub(crate) const DRY_HEADROOM: f64 = 0.02;

/// One limit of a provider: requests or tokens in a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allowance {
    limit: f64,
    remaining: f64,
    seen_at: Moment,
    full_at: Moment,
}

impl Allowance {
    /// As the provider just said: so much of the limit is left, and after `reset` it is whole again. `None` where the
    /// limit makes no sense.
    pub fn new(now: Moment, limit: u64, remaining: u64, reset: Duration) -> Option<Self> {
        (limit > 0).then(|| Self {
            limit: number(limit),
            remaining: number(remaining.min(limit)),
            seen_at: now,
            full_at: now.saturating_add(reset),
        })
    }

    /// We asked for so much since.
    pub fn take(&mut self, amount: u64) {
        self.remaining -= number(amount);
    }

    /// How much is left by now. Providers fill up evenly, or all at once at the end of the window; presumed is the even
    /// way, which is between doing nothing and doing it all.
    pub fn left(&self, now: Moment) -> f64 {
        if now >= self.full_at {
            return self.limit;
        }
        let window = self.full_at.saturating_sub(self.seen_at).as_secs_f64();
        let passed = now.saturating_sub(self.seen_at).as_secs_f64();
        let filled = (self.limit - self.remaining) * passed / window.max(f64::MIN_POSITIVE);
        (self.remaining + filled).clamp(0.0, self.limit)
    }

    /// The share that would be left after a call that needs so much: `0.0..=1.0`, 0 where it does not fit.
    pub fn headroom(&self, now: Moment, needed: u64) -> f64 {
        ((self.left(now) - number(needed)) / self.limit).max(0.0)
    }
}

/// All limits of one key at a provider.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProviderLimits {
    /// Requests in a window.
    pub requests: Option<Allowance>,
    /// Tokens, input and output together, in a window.
    pub tokens: Option<Allowance>,
    /// Input tokens in a window, where they are counted apart.
    pub input_tokens: Option<Allowance>,
    /// Output tokens in a window, where they are counted apart.
    pub output_tokens: Option<Allowance>,
}

impl ProviderLimits {
    /// A call goes out with so many tokens of input.
    pub fn take(&mut self, input_tokens: u64) {
        for (allowance, amount) in [
            (&mut self.requests, 1),
            (&mut self.tokens, input_tokens),
            (&mut self.input_tokens, input_tokens),
        ] {
            if let Some(allowance) = allowance {
                allowance.take(amount);
            }
        }
    }

    /// The share of the tightest limit that such a call would leave: 1.0 where nothing is known.
    pub fn headroom(&self, now: Moment, input_tokens: u64) -> f64 {
        let needs = [
            (&self.requests, 1),
            (&self.tokens, input_tokens),
            (&self.input_tokens, input_tokens),
            (&self.output_tokens, 1),
        ];
        let known = needs.into_iter().filter_map(|(allowance, needed)| Some((allowance.as_ref()?, needed)));
        known.map(|(allowance, needed)| allowance.headroom(now, needed)).fold(1.0, f64::min)
    }
}

/// Limits are below 2^32 in practice; beyond it nobody runs dry.
fn number(amount: u64) -> f64 {
    f64::from(u32::try_from(amount).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_secs(seconds)
    }

    fn minute(limit: u64, remaining: u64) -> Option<Allowance> {
        Allowance::new(at(0), limit, remaining, Duration::from_secs(60))
    }

    fn close(left: f64, right: f64) {
        assert!((left - right).abs() < 1e-6, "{left} is not {right}");
    }

    #[test]
    fn what_was_asked_since_counts_and_time_fills_up() {
        let mut requests = minute(100, 10).unwrap();
        close(requests.headroom(at(0), 1), 0.09);
        for _ in 0..9 {
            requests.take(1);
        }
        close(requests.headroom(at(0), 1), 0.0);
        close(requests.headroom(at(0), 2), 0.0);
        close(requests.left(at(30)), 50.5);
        close(requests.left(at(60)), 100.0);
    }

    #[test]
    fn the_tightest_limit_decides_and_nothing_known_is_no_limit() {
        close(ProviderLimits::default().headroom(at(0), 1_000_000), 1.0);
        let limits = ProviderLimits {
            requests: minute(1000, 900),
            tokens: minute(10_000, 3_000),
            ..ProviderLimits::default()
        };
        close(limits.headroom(at(0), 1_000), 0.2);
        close(limits.headroom(at(0), 5_000), 0.0);
    }

    #[test]
    fn a_limit_of_nothing_and_numbers_out_of_range_harm_nobody() {
        assert_eq!(Allowance::new(at(0), 0, 0, Duration::ZERO), None);
        let odd = Allowance::new(at(0), 5, u64::MAX, Duration::MAX).unwrap();
        close(odd.headroom(at(1), 0), 1.0);
        close(Allowance::new(at(0), 5, 5, Duration::ZERO).unwrap().headroom(at(0), u64::MAX), 0.0);
    }
}
