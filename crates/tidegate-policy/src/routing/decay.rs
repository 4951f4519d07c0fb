//! Averages that forget as time goes by.

use std::time::Duration;

use crate::Moment;

/// A peak is forgotten in this time and as long again as it was: a slow moment is avoided for about as long as such moments
/// last, and the longer the more it would cost to be wrong.
const PEAK_MEMORY: Duration = Duration::from_secs(10);

/// How much of what was known `elapsed` ago still counts, when a share of 1/e is left after `memory`.
pub(super) fn left_after(elapsed: Duration, memory: Duration) -> f64 {
    (-elapsed.as_secs_f64() / memory.as_secs_f64()).exp()
}

/// A number of seconds as a duration; what cannot be one is none.
pub(super) fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or(Duration::ZERO)
}

/// A peak-sensitive average: a higher sample counts at once and in full, lower ones only as the peak is forgotten.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peak {
    value: f64,
    noted_at: Moment,
}

impl Peak {
    pub(super) fn new(sample: f64, now: Moment) -> Self {
        Self { value: sample, noted_at: now }
    }

    /// Its value by now. Without new samples it comes down to `usual`, never below: a target that nobody asks becomes
    /// what it usually is, and not, as with averages that decay to nothing, better than all others.
    pub(super) fn at(&self, now: Moment, usual: f64) -> f64 {
        if self.value <= usual {
            return self.value;
        }
        usual + (self.value - usual) * self.left(now)
    }

    pub(super) fn note(&mut self, sample: f64, now: Moment, usual: f64) {
        let present = self.at(now, usual);
        self.value = if sample >= present { sample } else { sample + (present - sample) * self.left(now) };
        self.noted_at = now;
    }

    fn left(&self, now: Moment) -> f64 {
        let memory = PEAK_MEMORY.as_secs_f64() + self.value;
        (-now.saturating_sub(self.noted_at).as_secs_f64() / memory).exp()
    }

    pub(super) fn noted_at(&self) -> Moment {
        self.noted_at
    }
}

/// The ratio of two sums that both forget at the same pace: failures to calls, tokens to seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ratio {
    above: f64,
    below: f64,
    noted_at: Moment,
}

impl Ratio {
    pub(super) fn note(&mut self, above: f64, below: f64, now: Moment, memory: Duration) {
        let left = left_after(now.saturating_sub(self.noted_at), memory);
        self.above = self.above * left + above;
        self.below = self.below * left + below;
        self.noted_at = now;
    }

    /// The ratio, as if `presumed` more had been seen below: it draws a ratio of few and old samples towards nothing.
    pub(super) fn at(&self, now: Moment, memory: Duration, presumed: f64) -> f64 {
        if self.above <= 0.0 {
            return 0.0;
        }
        let left = left_after(now.saturating_sub(self.noted_at), memory);
        self.above * left / (self.below * left + presumed)
    }

    /// The ratio of what was seen, however old.
    pub(super) fn value(&self) -> Option<f64> {
        (self.below > 0.0).then(|| self.above / self.below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Moment {
        Moment::from_secs(seconds)
    }

    #[test]
    fn a_peak_rises_at_once_and_comes_down_to_what_is_usual() {
        let mut peak = Peak::new(0.5, at(0));
        peak.note(8.0, at(1), 0.5);
        assert!((peak.at(at(1), 0.5) - 8.0).abs() < 1e-9);
        let after_eighteen = peak.at(at(19), 0.5);
        assert!((3.0..3.5).contains(&after_eighteen), "{after_eighteen}");
        let later = peak.at(at(300), 0.5);
        assert!((0.5..0.51).contains(&later), "{later}");
    }

    #[test]
    fn one_good_sample_after_a_long_silence_is_believed_even_below_what_was_usual() {
        let mut peak = Peak::new(20.0, at(0));
        peak.note(0.4, at(180), 20.0);
        let present = peak.at(at(180), 20.0);
        assert!(present < 0.5, "{present}");
        assert!(peak.at(at(600), 20.0) < 0.5, "it does not rise by itself");
    }

    #[test]
    fn a_ratio_forgets() {
        let mut ratio = Ratio::default();
        for step in 0..10 {
            ratio.note(1.0, 1.0, at(step), MEMORY);
        }
        assert!(ratio.at(at(10), MEMORY, 1.0) > 0.8);
        assert!(ratio.at(at(60), MEMORY, 1.0) < 0.1);
        assert_eq!(ratio.value(), Some(1.0));
    }
}
