//! Where calls wait for their shadows: bounded by number and by bytes, and never a reason to wait.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tidegate_policy::experiments::Seen;
use tidegate_store::CallId;
use tokio::sync::mpsc;

use super::counts::ShadowFate;
use crate::accept::Call;
use crate::experiments::Shadow;

/// Calls that wait at most. At the usual speed of models a few seconds' worth; beyond that the newest are dropped.
const MAX_WAITING: usize = 512;
/// Their requests and answers together, in bytes.
const MAX_BYTES: usize = 64 << 20;

/// A call that was served and waits for its shadow.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) shadow: Arc<Shadow>,
    /// The call as it came, the caller left out.
    pub(crate) call: Call,
    /// Its id in the ledger.
    pub(crate) of: CallId,
    /// What was seen of it.
    pub(crate) control: Seen,
    /// What its caller was answered, where it was.
    pub(crate) answer: Option<Bytes>,
    /// Its part of the bytes that wait, given back when it is dropped.
    room: Option<Room>,
}

impl Waiting {
    pub(crate) fn new(
        shadow: Arc<Shadow>,
        call: Call,
        of: CallId,
        control: Seen,
        answer: Option<Bytes>,
    ) -> Self {
        Self { shadow, call, of, control, answer, room: None }
    }

    fn bytes(&self) -> usize {
        self.call.body().len() + self.answer.as_ref().map_or(0, Bytes::len)
    }
}

#[derive(Debug)]
struct Room {
    waiting: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The queue.
#[derive(Debug)]
pub(crate) struct ShadowQueue {
    sender: mpsc::Sender<Waiting>,
    bytes: Arc<AtomicUsize>,
    /// Until somebody takes it to work on.
    receiver: Mutex<Option<mpsc::Receiver<Waiting>>>,
}

impl Default for ShadowQueue {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        Self { sender, bytes: Arc::default(), receiver: Mutex::new(Some(receiver)) }
    }
}

impl ShadowQueue {
    /// Hands over a call, or drops it and counts that. Whoever takes calls out looks now and then, and is not woken.
    pub(crate) fn hand_over(&self, mut waiting: Waiting) {
        let bytes = waiting.bytes();
        let shadow = Arc::clone(&waiting.shadow);
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        waiting.room = Some(Room { waiting: Arc::clone(&self.bytes), bytes });
        if before.saturating_add(bytes) > MAX_BYTES || self.sender.try_send(waiting).is_err() {
            shadow.counts.count(ShadowFate::QueueFull);
        }
    }

    /// Whether nothing more would be taken now.
    pub(crate) fn is_full(&self) -> bool {
        self.sender.capacity() == 0 || self.bytes.load(Ordering::Relaxed) >= MAX_BYTES
    }

    /// The other end, once.
    pub(super) fn take(&self) -> Option<mpsc::Receiver<Waiting>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
