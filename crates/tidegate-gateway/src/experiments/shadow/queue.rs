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
/// What is kept together for streams that are under way, in bytes: thousands may be open at once.
const MAX_GATHERED: usize = 64 << 20;

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

/// A part of bytes that are limited together, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Room {
    together: Arc<AtomicUsize>,
    bytes: usize,
}

impl Room {
    /// Takes so many bytes more. False where that is too much together; what was taken before stays.
    pub(super) fn grow(&mut self, more: usize) -> bool {
        self.take(more, MAX_GATHERED)
    }

    fn take(&mut self, more: usize, most: usize) -> bool {
        if self.together.fetch_add(more, Ordering::Relaxed).saturating_add(more) > most {
            self.together.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        self.bytes += more;
        true
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.together.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The queue.
#[derive(Debug)]
pub(crate) struct ShadowQueue {
    sender: mpsc::Sender<Waiting>,
    bytes: Arc<AtomicUsize>,
    /// What is kept for streams that are under way.
    gathered: Arc<AtomicUsize>,
    /// Until somebody takes it to work on.
    receiver: Mutex<Option<mpsc::Receiver<Waiting>>>,
}

impl Default for ShadowQueue {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        let receiver = Mutex::new(Some(receiver));
        Self { sender, bytes: Arc::default(), gathered: Arc::default(), receiver }
    }
}

impl ShadowQueue {
    /// Hands over a call, or drops it and counts that. Whoever takes calls out looks now and then, and is not woken.
    pub(crate) fn hand_over(&self, mut waiting: Waiting) {
        let bytes = waiting.bytes();
        let shadow = Arc::clone(&waiting.shadow);
        let mut room = Room { together: Arc::clone(&self.bytes), bytes: 0 };
        let has_room = room.take(bytes, MAX_BYTES);
        waiting.room = Some(room);
        if !has_room || self.sender.try_send(waiting).is_err() {
            shadow.counts.count(ShadowFate::QueueFull);
        }
    }

    /// Room for what is kept of a stream while it is under way, to begin with so many bytes. `None` where there is none.
    pub(super) fn gather(&self, bytes: usize) -> Option<Room> {
        let mut room = Room { together: Arc::clone(&self.gathered), bytes: 0 };
        room.grow(bytes).then_some(room)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_streams_is_limited_over_all_of_them_and_given_back() {
        let queue = ShadowQueue::default();
        let mut one = queue.gather(MAX_GATHERED / 2).unwrap();
        let other = queue.gather(MAX_GATHERED / 4).unwrap();
        assert!(one.grow(MAX_GATHERED / 4), "exactly as much as there is");
        assert!(!one.grow(1) && queue.gather(1).is_none());
        drop(other);
        assert!(one.grow(MAX_GATHERED / 4) && !one.grow(1));
        drop(one);
        assert!(queue.gather(MAX_GATHERED).is_some());
    }
}
