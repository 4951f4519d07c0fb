//! The time by which the limiter in memory counts.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tidegate_policy::Stamp;

/// The monotonic clock begins at two days, so that calls of the day before the start have their moment too.
const BEFORE_START: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// A monotonic clock for windows and a calendar that does not go back for budgets.
#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    /// The latest second that the wall clock has shown. When somebody sets it back, budgets stay in their period.
    latest: AtomicI64,
    #[cfg(test)]
    manual: std::sync::Mutex<Option<(Duration, i64)>>,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            latest: AtomicI64::new(i64::MIN),
            #[cfg(test)]
            manual: std::sync::Mutex::default(),
        }
    }

    pub(super) fn now(&self) -> Stamp {
        let (elapsed, wall) = self.read();
        // Written once a second, so that the threads do not wrest the cache line from each other.
        let latest = match self.latest.load(Ordering::Relaxed) {
            latest if latest >= wall => latest,
            _ => self.latest.fetch_max(wall, Ordering::Relaxed).max(wall),
        };
        Stamp::new(BEFORE_START + elapsed, latest)
    }

    #[cfg(not(test))]
    fn read(&self) -> (Duration, i64) {
        (self.started.elapsed(), Timestamp::now().as_second())
    }

    #[cfg(test)]
    fn read(&self) -> (Duration, i64) {
        let manual = *self.manual.lock().unwrap();
        manual.unwrap_or_else(|| (self.started.elapsed(), Timestamp::now().as_second()))
    }

    /// Stops the clock at this time since the start and this second since 1970.
    #[cfg(test)]
    pub(super) fn set(&self, elapsed: Duration, unix_seconds: i64) {
        let before = self.manual.lock().unwrap().replace((elapsed, unix_seconds));
        if before.is_none() {
            self.latest.store(unix_seconds, Ordering::Relaxed);
        }
    }
}
