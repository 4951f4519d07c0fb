//! The distribution of a target's times to first token, in a few hundred bytes, forgetting what is old.

use std::time::Duration;

use super::decay::seconds;
use crate::Moment;

/// Each bucket ends at so many times the end of the one before: a quantile is right to a tenth or so.
const GROWTH: f64 = 1.2;

/// Where the first bucket ends, in seconds.
const FIRST_END: f64 = 0.005;

/// 5 ms times 1.2^63 is eight minutes: longer than anybody waits for a first token.
const BUCKETS: usize = 64;

/// All counts are halved after this time, as long as enough is left, …
const HALVED_EVERY: Duration = Duration::from_secs(30);

/// … and after so many samples, so that a busy target's change is seen within as many calls.
const HALVED_AT: f32 = 512.0;

/// With fewer samples a 95th percentile would be the largest of a handful.
const LEAST_FOR_P95: f32 = 20.0;

/// A median is something after fewer.
const LEAST_FOR_LATE: f32 = 5.0;

/// What takes longer than so many times the median is not usual, even if it is one call in twenty for a while.
const MOST_USUAL: f64 = 4.0;

/// A histogram with logarithmic buckets.
#[derive(Debug, Clone)]
pub(super) struct Sketch {
    counts: [f32; BUCKETS],
    total: f32,
    halved_at: Moment,
    median: Option<f64>,
    p95: Option<Duration>,
    late_after: Option<Duration>,
}

impl Sketch {
    pub(super) fn new() -> Self {
        Self {
            counts: [0.0; BUCKETS],
            total: 0.0,
            halved_at: Moment::ZERO,
            median: None,
            p95: None,
            late_after: None,
        }
    }

    pub(super) fn note(&mut self, sample: f64, now: Moment) {
        self.forget(now);
        if let Some(count) = self.counts.get_mut(bucket_of(sample)) {
            *count += 1.0;
            self.total += 1.0;
        }
        // Read far more often than written, ten times a call: so the work is done here.
        self.median = self.quantile(0.5);
        self.p95 = if self.total < LEAST_FOR_P95 { None } else { self.quantile(0.95).map(seconds) };
        let most_usual = self.median.map(|median| seconds(MOST_USUAL * median));
        self.late_after = match self.p95 {
            None if self.total < LEAST_FOR_LATE => None,
            p95 => most_usual.map(|most| p95.map_or(most, |p95| p95.min(most))),
        };
    }

    /// Half of all samples are at most this many seconds.
    pub(super) fn median(&self) -> Option<f64> {
        self.median
    }

    /// 95 of 100 samples are at most this; `None` with too few to tell.
    pub(super) fn p95(&self) -> Option<Duration> {
        self.p95
    }

    /// The 95th percentile, as far as it is near enough to the median to be usual.
    pub(super) fn late_after(&self) -> Option<Duration> {
        self.late_after
    }

    fn forget(&mut self, now: Moment) {
        let elapsed = now.saturating_sub(self.halved_at);
        if elapsed < HALVED_EVERY && self.total < HALVED_AT {
            return;
        }
        self.halved_at = now;
        // A target that is seldom asked is known by what there is, however old.
        if self.total < 2.0 * LEAST_FOR_P95 {
            return;
        }
        self.total = 0.0;
        for count in &mut self.counts {
            *count /= 2.0;
            self.total += *count;
        }
    }

    fn quantile(&self, share: f32) -> Option<f64> {
        if self.total <= 0.0 {
            return None;
        }
        let wanted = self.total * share;
        let (mut below, mut start, mut end) = (0.0, 0.0, FIRST_END);
        for &count in &self.counts {
            if count > 0.0 && below + count >= wanted {
                let within = f64::from(((wanted - below) / count).clamp(0.0, 1.0));
                return Some(start + (end - start) * within);
            }
            below += count;
            start = end;
            end *= GROWTH;
        }
        Some(start)
    }
}

fn bucket_of(sample: f64) -> usize {
    let mut end = FIRST_END;
    for bucket in 0..BUCKETS {
        if sample <= end {
            return bucket;
        }
        end *= GROWTH;
    }
    BUCKETS - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_a_tenth() {
        let mut sketch = Sketch::new();
        for step in 1..=400 {
            sketch.note(f64::from(step) / 100.0, Moment::ZERO);
        }
        let p95 = sketch.p95().unwrap().as_secs_f64();
        assert!((3.4..4.2).contains(&p95), "{p95}");
        let median = sketch.median().unwrap();
        assert!((1.8..2.2).contains(&median), "{median}");
    }

    #[test]
    fn a_handful_of_samples_has_no_p95() {
        let mut sketch = Sketch::new();
        for _ in 0..19 {
            sketch.note(0.3, Moment::ZERO);
        }
        assert_eq!(sketch.p95(), None);
        sketch.note(0.3, Moment::ZERO);
        assert!(sketch.p95().is_some());
    }

    #[test]
    fn a_slow_minute_is_no_reason_for_patience_and_a_quiet_hour_none_to_forget() {
        let mut sketch = Sketch::new();
        for step in 0..100 {
            sketch.note(if step % 10 == 0 { 20.0 } else { 0.5 }, Moment::ZERO);
        }
        assert!(sketch.p95().unwrap() > Duration::from_secs(15));
        assert!(sketch.late_after().unwrap() < Duration::from_millis(2_300));
        for hour in 1..10 {
            sketch.note(0.5, Moment::from_secs(hour * 3600));
        }
        assert!(sketch.p95().is_some());
    }

    #[test]
    fn a_change_for_the_better_is_seen_within_minutes_and_within_a_thousand_calls() {
        for pace in [Duration::from_secs(1), Duration::ZERO] {
            let mut sketch = Sketch::new();
            let mut now = Moment::ZERO;
            for _ in 0..1000 {
                sketch.note(9.0, now);
                now += pace;
            }
            for _ in 0..3000 {
                sketch.note(0.2, now);
                now += pace;
            }
            assert!(sketch.p95().unwrap() < Duration::from_millis(300), "{pace:?}");
        }
    }

    #[test]
    fn times_beyond_all_buckets_are_kept_in_the_last() {
        let mut sketch = Sketch::new();
        for sample in [f64::INFINITY, 1e9, -1.0, f64::NAN] {
            sketch.note(sample, Moment::ZERO);
        }
        assert!(sketch.median().is_some_and(f64::is_finite));
    }
}
