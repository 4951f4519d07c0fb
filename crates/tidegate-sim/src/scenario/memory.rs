//! What names with a history (`fail-2`, `flap-60s`, `rate-limited-once-2s`) remember between calls.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::behaviour::{History, seconds};

/// So many names are remembered. Beyond that every new name is treated as if this were its first call.
const MOST_NAMES: usize = 100_000;

/// Calls by full model name, suffix included, so that tests do not disturb each other.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    names: Mutex<HashMap<String, Seen>>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    first: Instant,
    calls: u64,
}

impl Memory {
    /// Notes a call, and says whether it is to fail, and for how long still where that is known.
    pub(crate) fn is_to_fail(&self, model: &str, history: History, now: Instant) -> Option<u64> {
        let seen = self.note(model, now);
        let since = now.saturating_duration_since(seen.first);
        match history {
            History::First(count) => (seen.calls <= count).then_some(0),
            History::Until(count) => {
                let end = seconds(count);
                // Rounded up: who comes back at the time that was named must find the door open.
                (since < end)
                    .then(|| (end.saturating_sub(since)).as_millis().div_ceil(1000))
                    .map(|left| u64::try_from(left).unwrap_or(u64::MAX))
            }
            History::Flap(count) => {
                let period = seconds(count.max(1)).as_millis();
                ((since.as_millis() / period) % 2 == 1).then_some(0)
            }
        }
    }

    pub(crate) fn reset(&self) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn note(&self, model: &str, now: Instant) -> Seen {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = names.get_mut(model) {
            seen.calls += 1;
            return *seen;
        }
        let seen = Seen { first: now, calls: 1 };
        if names.len() < MOST_NAMES {
            names.insert(model.to_owned(), seen);
        }
        seen
    }
}
