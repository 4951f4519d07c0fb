//! Whether a second target may be asked because the first is late, and after which time.

use std::time::Duration;

use super::figures::{Answering, Measured};

/// However quick a target is, asking a second one sooner than this would mostly pay twice for noise.
const SHORTEST_DELAY: Duration = Duration::from_millis(50);

/// Hedges that may come in a row after a quiet time: a slow target makes many calls late at the same moment.
const MOST_SAVED: f64 = 10.0;

/// With nothing saved a hedge waits for so many times the 95th percentile more.
const LONGEST_STRETCH: f64 = 2.0;

/// A first token of a target that nobody knows is late after this time. Longer than nearly all take that do not think first,
/// and the share bounds what it costs where they do.
const PRESUMED_FIRST_TOKEN: Duration = Duration::from_secs(10);

/// The same of a whole answer: some thousands of tokens.
const PRESUMED_WHOLE: Duration = Duration::from_secs(60);

/// A target that is as warm as the one that is late may be asked beside it, though both are new. Those of a plan are made
/// one after the other, which takes less than this.
const AS_WARM: f64 = 0.05;

/// At most this share of calls is hedged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hedging {
    /// `0.0..=1.0`.
    pub share: f64,
}

impl Hedging {
    /// Whether one more hedge may begin, when so many calls have begun and so many of them have been hedged. The first
    /// hedge needs a whole call's worth: with 5 %, twenty calls.
    pub fn may_hedge(self, calls: u64, hedges: u64) -> bool {
        number(hedges) + 1.0 <= number(calls) * self.share
    }

    /// After which time without a first token, or without the whole answer, the second target is asked: as configured, else
    /// when such an answer is late as measured, else after a time that is presumed. A target that falls silent before
    /// anything is known about it is what a hedge is for.
    pub fn delay(configured: Option<Duration>, late: Option<Duration>, answering: Answering) -> Duration {
        let presumed = match answering {
            Answering::Streamed => PRESUMED_FIRST_TOKEN,
            Answering::Whole => PRESUMED_WHOLE,
        };
        configured.or(late).unwrap_or(presumed).max(SHORTEST_DELAY)
    }

    /// Whether a target may be asked as the second, beside this one: one that is doing well, not one that is late itself or
    /// about to run dry; nor one that is new or has just recovered, unless the other is as well.
    pub fn may_ask(measured: &Measured, beside: &Measured, headroom: f64) -> bool {
        let is_warm = measured.warmth >= 0.5 || measured.warmth + AS_WARM >= beside.warmth;
        measured.failure_rate < 0.5 && is_warm && headroom >= 0.2
    }
}

/// The share kept over time: every call saves a part of a hedge, a hedge spends a whole one, and no more than a few are
/// saved up. Unlike a count since the start it cannot spend a day's savings in one bad minute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HedgeBudget {
    saved: f64,
}

impl HedgeBudget {
    /// With nothing saved.
    pub const fn new() -> Self {
        Self { saved: 0.0 }
    }

    /// A call has begun that might be hedged.
    pub fn call(&mut self, hedging: Hedging) {
        self.saved = (self.saved + hedging.share).min(MOST_SAVED);
    }

    /// After which time the second target is asked: as [`Hedging::delay`] says, but up to three times the 95th percentile
    /// when little is saved. One call in twenty is later than that percentile on the best of days, so at the earliest
    /// moment a share of 5 % would all go to calls that are about to be answered, and nothing would be left for a bad one.
    pub fn delay(
        &self,
        configured: Option<Duration>,
        late: Option<Duration>,
        answering: Answering,
    ) -> Duration {
        let stretch = 1.0 + LONGEST_STRETCH * (1.0 - (self.saved / MOST_SAVED).clamp(0.0, 1.0));
        Hedging::delay(configured, late.map(|late| late.mul_f64(stretch)), answering)
    }

    /// Takes one hedge, if one is there.
    pub fn take(&mut self) -> bool {
        let is_there = self.saved >= 1.0;
        if is_there {
            self.saved -= 1.0;
        }
        is_there
    }
}

impl Default for HedgeBudget {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts of calls stay far below 2^32 within a configuration's life; beyond it the share is merely kept more strictly.
fn number(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_never_exceeded_by_either_count() {
        for share in [0.0, 0.01, 0.05, 0.5, 1.0] {
            let hedging = Hedging { share };
            let mut budget = HedgeBudget::new();
            let (mut hedges, mut taken) = (0u32, 0u32);
            for calls in 1..=1000u32 {
                hedges += u32::from(hedging.may_hedge(calls.into(), hedges.into()));
                budget.call(hedging);
                taken += u32::from(budget.take());
                assert!(f64::from(hedges) <= f64::from(calls) * share);
                assert!(f64::from(taken) <= f64::from(calls) * share + 1e-6);
            }
            let expected = 1000.0 * share;
            assert!(f64::from(hedges) >= expected - 1.0, "{share}: {hedges}");
            assert!(f64::from(taken) >= expected - 1.0, "{share}: {taken}");
        }
    }

    #[test]
    fn a_quiet_day_is_not_spent_in_one_bad_minute() {
        let mut budget = HedgeBudget::new();
        for _ in 0..100_000 {
            budget.call(Hedging { share: 0.05 });
        }
        let in_a_row = (0..1000).filter(|_| budget.take()).count();
        assert_eq!(in_a_row, 10);
    }

    #[test]
    fn what_is_nearly_spent_is_kept_for_the_calls_that_are_latest() {
        let second = Duration::from_secs(1);
        let mut budget = HedgeBudget::new();
        let late =
            |budget: &HedgeBudget, configured| budget.delay(configured, Some(second), Answering::Streamed);
        assert_eq!(late(&budget, None), second * 3);
        for _ in 0..1000 {
            budget.call(Hedging { share: 0.05 });
        }
        assert_eq!(late(&budget, None), second);
        let configured = Duration::from_millis(800);
        assert_eq!(late(&budget, Some(configured)), configured);
    }

    #[test]
    fn late_is_what_is_configured_else_measured_else_presumed_and_never_at_once() {
        let (short, long) = (Duration::from_millis(3), Duration::from_secs(2));
        for (answering, presumed) in
            [(Answering::Streamed, PRESUMED_FIRST_TOKEN), (Answering::Whole, PRESUMED_WHOLE)]
        {
            assert_eq!(Hedging::delay(None, None, answering), presumed);
            assert_eq!(Hedging::delay(None, Some(short), answering), SHORTEST_DELAY);
            assert_eq!(Hedging::delay(Some(long), Some(short), answering), long);
        }
    }

    #[test]
    fn a_target_that_has_just_recovered_is_spared_and_those_that_are_all_new_are_not() {
        let warm = |warmth| Measured { warmth, ..Measured::UNKNOWN };
        for (second, first, expected) in
            [(1.0, 1.0, true), (0.3, 1.0, false), (0.3, 0.3, true), (0.6, 1.0, true)]
        {
            assert_eq!(
                Hedging::may_ask(&warm(second), &warm(first), 1.0),
                expected,
                "{second} beside {first}"
            );
        }
        assert!(!Hedging::may_ask(&warm(1.0), &warm(1.0), 0.1), "it is about to run dry");
    }
}
