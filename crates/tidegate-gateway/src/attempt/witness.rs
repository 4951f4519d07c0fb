//! What an attempt has used by now. An attempt is a future and may be dropped at any moment, by a caller who hangs up or by
//! another target that was faster; so it is told while it is made, and read by the settlement or by `hedge`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tidegate_wire::Usage;

use crate::bill::Consumed;

/// What one attempt has used.
#[derive(Debug)]
pub(crate) struct Witness {
    input_tokens: u64,
    is_sent: AtomicBool,
    used: Mutex<Option<Consumed>>,
}

impl Witness {
    /// Of an attempt that has likely so many tokens of input.
    pub(super) fn new(input_tokens: u64) -> Self {
        Self { input_tokens, is_sent: AtomicBool::new(false), used: Mutex::new(None) }
    }

    /// Set when the whole request is with the provider.
    pub(super) fn sent(&self) -> &AtomicBool {
        &self.is_sent
    }

    /// What the beginning of its stream lets one know.
    pub(super) fn saw(&self, used: Consumed) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Some(used);
    }

    /// What its stream said that it has used.
    pub(super) fn told(&self) -> Option<Consumed> {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it has used as far as one can tell, and at least its input once that had been sent. `None`: nothing.
    pub(crate) fn used(&self) -> Option<Consumed> {
        let read_at_least = || Consumed::from(Usage { input: self.input_tokens, ..Usage::default() });
        self.told().or_else(|| self.is_sent.load(Ordering::Relaxed).then(read_at_least))
    }
}
