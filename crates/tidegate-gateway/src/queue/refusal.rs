//! What those are told who get no place.

use std::time::Duration;

use tidegate_policy::Priority;
use tidegate_wire::ErrorClass;

use crate::error::{GatewayError, Source};

/// The shortest time to come back after: before it, nothing much has changed.
const SOONEST: Duration = Duration::from_secs(1);

/// The longest. SDKs hold on to their caller meanwhile.
const LATEST: Duration = Duration::from_secs(30);

/// Why a call gets no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoPlace {
    /// As many wait as may.
    Full,
    /// It waited, and had to go for another.
    Displaced,
    /// It waited as long as calls may.
    TooLong,
}

impl NoPlace {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Full, Self::Displaced, Self::TooLong];

    /// The word for the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Displaced => "displaced",
            Self::TooLong => "too_long",
        }
    }

    /// The error for the caller. `patience` is how long calls may wait.
    pub(crate) fn to_error(self, priority: Priority, patience: Duration, most: usize) -> GatewayError {
        let why = match self {
            Self::Full => "and as many wait as may",
            Self::Displaced => "and this one had to make room in the queue for another",
            Self::TooLong => "and no place became free for this one in time",
        };
        let message = format!(
            "Tidegate is working on as many calls as it may ({most}), {why}. Try again later; whoever runs it can raise \
             `server.max_calls` or add a replica."
        );
        GatewayError {
            class: ErrorClass::Overloaded,
            source: Source::Gateway,
            code: Some("overloaded".into()),
            ..GatewayError::unavailable(message, come_back_after(priority, patience))
        }
    }
}

/// Between one and two times what calls wait here, so that those who were turned away together do not come back
/// together; later for those who have time.
fn come_back_after(priority: Priority, patience: Duration) -> Duration {
    let patience = match priority {
        Priority::Interactive => patience,
        Priority::Batch => patience.saturating_mul(2),
    };
    let patience = patience.clamp(SOONEST, LATEST / 2);
    patience + patience.mul_f64(fastrand::f64())
}
