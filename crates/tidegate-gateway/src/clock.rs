//! Monotonic time as the pure crates want it: a duration since the gateway started.

use std::time::Instant;

use tidegate_policy::Moment;

/// Tells the time since it was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now() }
    }

    pub(crate) fn now(self) -> Moment {
        self.origin.elapsed()
    }

    pub(crate) fn moment(self, instant: Instant) -> Moment {
        instant.saturating_duration_since(self.origin)
    }
}
