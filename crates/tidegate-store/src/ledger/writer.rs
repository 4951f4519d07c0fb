//! Writes the ledger off the request path. The gateway's `admit` reserves a [`Seat`], its `settle` records the entry in
//! it; one task writes what was recorded, in batches.
//!
//! A seat is a place in a bounded queue, taken before the call does anything that costs money. So recording can neither
//! wait nor fail, and when the database does not take entries for so long that the queue is full, new calls are refused
//! instead of going unrecorded.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until, timeout_at},
};

use super::LedgerEntry;
use crate::{database::Database, error::StoreError};

/// Calls in flight and entries that wait, together. At about 1 KiB an entry a full queue takes 32 MiB; at a thousand calls
/// a second it bridges half a minute without a database.
const DEFAULT_CAPACITY: usize = 32_768;
/// How long the first entry waits for others: as much as a crash can lose. Measured with `examples/ledger_cost.rs`, an
/// entry costs 5 to 6 µs of CPU, all in, at 20,000 calls a second, where batches are full; at 1,000 a second it is 19 µs
/// (2 % of a core), and 10 µs with a window of 200 ms.
const DEFAULT_BATCH_WINDOW: Duration = Duration::from_millis(50);
/// The most entries in one transaction: larger ones save nothing more and hold memory.
const MAX_BATCH: usize = 512;
/// The first wait after a failed batch; it doubles up to the longest.
const FIRST_RETRY_WAIT: Duration = Duration::from_millis(100);
/// Longer waits would only fill the queue.
const LONGEST_RETRY_WAIT: Duration = Duration::from_secs(2);
/// Flushes that wait at the same time; further ones wait for a place.
const MAX_WAITING_FLUSHES: usize = 16;
/// How long [`LedgerWriter::close`] waits, beyond its deadline, for a statement that is running.
const CLOSE_GRACE: Duration = Duration::from_secs(3);

/// How the ledger's writer behaves.
#[derive(Debug, Clone, Copy)]
pub struct LedgerOptions {
    /// Calls in flight and entries that wait, together; one more is refused.
    pub capacity: usize,
    /// How long the first entry of a batch waits for others.
    pub batch_window: Duration,
}

impl Default for LedgerOptions {
    fn default() -> Self {
        Self { capacity: DEFAULT_CAPACITY, batch_window: DEFAULT_BATCH_WINDOW }
    }
}

/// Takes the entries. Cheap to clone; ends when it is [closed](Self::close).
#[derive(Debug, Clone)]
pub struct LedgerWriter {
    entries: mpsc::Sender<LedgerEntry>,
    flushes: mpsc::Sender<oneshot::Sender<()>>,
    closing: Arc<watch::Sender<Option<Instant>>>,
    ended: watch::Receiver<bool>,
    counters: Arc<Counters>,
}

/// A place in the ledger for one call. Dropped without an entry, it frees the place.
#[must_use = "a seat that is dropped records nothing"]
pub struct Seat {
    place: mpsc::OwnedPermit<LedgerEntry>,
    counters: Arc<Counters>,
}

/// Why there is no seat. The call must be refused: nobody could bill it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSeat {
    /// The database has not taken entries for a while, or far too many calls are in flight.
    #[error("the ledger's queue is full; see that the database's disk has room and answers, then try again")]
    Full,
    /// The process is shutting down.
    #[error("the ledger is closed, the process is shutting down")]
    Closed,
}

/// The writer has ended, so nothing can be flushed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ledger is closed")]
pub struct LedgerClosed;

/// Figures about the writer, for metrics and for `/health/ready`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerStatus {
    /// Entries recorded since the start.
    pub recorded: u64,
    /// Entries durably written since the start.
    pub written: u64,
    /// Entries recorded and not yet written.
    pub pending: u64,
    /// Batches that failed and were, or will be, tried again.
    pub failed_batches: u64,
    /// Whether the last batch failed, so that entries are waiting for the database.
    pub failing: bool,
    /// Seats that can still be had.
    pub free_seats: usize,
}

/// How closing went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseReport {
    /// Entries written since the start.
    pub written: u64,
    /// Entries that could not be written; they are lost with the process.
    pub unwritten: u64,
    /// Calls that still held a seat at the deadline; their entries are lost too.
    pub open_seats: usize,
}

impl CloseReport {
    /// Whether every call is in the ledger.
    pub fn is_complete(&self) -> bool {
        self.unwritten == 0 && self.open_seats == 0
    }
}

#[derive(Debug, Default)]
struct Counters {
    recorded: AtomicU64,
    written: AtomicU64,
    failed_batches: AtomicU64,
    /// Failures since the last batch that went through.
    failures_in_a_row: AtomicU64,
}

impl LedgerWriter {
    pub(crate) fn start(database: Database, options: LedgerOptions) -> Self {
        let (entries, entries_receiver) = mpsc::channel(options.capacity.max(1));
        let (flushes, flushes_receiver) = mpsc::channel(MAX_WAITING_FLUSHES);
        let (closing, closing_receiver) = watch::channel(None);
        let (ended_sender, ended) = watch::channel(false);
        let counters = Arc::new(Counters::default());
        let task = WriterTask {
            entries: entries_receiver,
            flushes: flushes_receiver,
            closing: closing_receiver,
            counters: Arc::clone(&counters),
            database,
            window: options.batch_window,
            batch: Vec::new(),
        };
        tokio::spawn(async move {
            task.run().await;
            ended_sender.send_replace(true);
        });
        Self { entries, flushes, closing: Arc::new(closing), ended, counters }
    }

    /// Takes a place for one call. To be called when the call is admitted.
    pub fn reserve(&self) -> Result<Seat, NoSeat> {
        match self.entries.clone().try_reserve_owned() {
            Ok(place) => Ok(Seat { place, counters: Arc::clone(&self.counters) }),
            Err(mpsc::error::TrySendError::Full(_)) => Err(NoSeat::Full),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(NoSeat::Closed),
        }
    }

    /// Waits until everything recorded before is durable, for as long as the database takes.
    pub async fn flush(&self) -> Result<(), LedgerClosed> {
        let (done, wait) = oneshot::channel();
        self.flushes.send(done).await.map_err(|mpsc::error::SendError(_)| LedgerClosed)?;
        wait.await.map_err(|oneshot::error::RecvError { .. }| LedgerClosed)
    }

    /// Refuses new seats, waits for those that are taken and for the database until `deadline` has passed, and says what
    /// could not be written.
    pub async fn close(&self, deadline: Duration) -> CloseReport {
        let deadline = Instant::now() + deadline;
        self.closing.send_replace(Some(deadline));
        let mut ended = self.ended.clone();
        let waited = timeout_at(deadline + CLOSE_GRACE, ended.wait_for(|ended| *ended)).await;
        let status = self.status();
        let taken = self.entries.max_capacity().saturating_sub(status.free_seats);
        let report = CloseReport {
            written: status.written,
            unwritten: status.pending,
            // A task that still runs has left its entries in the queue, where they take seats too.
            open_seats: if waited.is_ok() {
                taken
            } else {
                taken.saturating_sub(entries_count(status.pending))
            },
        };
        if waited.is_err() || !report.is_complete() {
            tracing::error!(
                unwritten = report.unwritten,
                open_seats = report.open_seats,
                "the ledger could not be completed before the process ends"
            );
        }
        report
    }

    /// How it goes.
    pub fn status(&self) -> LedgerStatus {
        let counters = &self.counters;
        // `written` first: read the other way round, it could be ahead.
        let written = counters.written.load(Ordering::Acquire);
        let recorded = counters.recorded.load(Ordering::Acquire);
        LedgerStatus {
            recorded,
            written,
            pending: recorded.saturating_sub(written),
            failed_batches: counters.failed_batches.load(Ordering::Relaxed),
            failing: counters.failures_in_a_row.load(Ordering::Relaxed) > 0,
            free_seats: self.entries.capacity(),
        }
    }
}

impl Seat {
    /// Hands the entry over to be written. Neither waits nor fails; the place is free again once the entry is taken into a
    /// batch.
    pub fn record(self, entry: LedgerEntry) {
        // Counted before it is sent, so that it is never written before it is counted.
        self.counters.recorded.fetch_add(1, Ordering::AcqRel);
        self.place.send(entry);
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Seat").finish_non_exhaustive()
    }
}

struct WriterTask {
    entries: mpsc::Receiver<LedgerEntry>,
    flushes: mpsc::Receiver<oneshot::Sender<()>>,
    closing: watch::Receiver<Option<Instant>>,
    counters: Arc<Counters>,
    database: Database,
    window: Duration,
    /// Taken from the queue and not yet written. Never more than [`MAX_BATCH`].
    batch: Vec<LedgerEntry>,
}

/// Why the task goes to work.
enum Wake {
    /// An entry came; it stands in the batch.
    Entry,
    Flush(oneshot::Sender<()>),
    Close(Instant),
}

impl WriterTask {
    async fn run(mut self) {
        let deadline = loop {
            match self.wait().await {
                Wake::Entry => {
                    let until = Instant::now() + self.window;
                    match self.gather(until).await {
                        None => self.drain().await,
                        Some(Wake::Flush(done)) => self.drain_and_confirm(done).await,
                        Some(Wake::Close(deadline)) => break deadline,
                        Some(Wake::Entry) => {}
                    }
                }
                Wake::Flush(done) => self.drain_and_confirm(done).await,
                Wake::Close(deadline) => break deadline,
            }
            if let Some(deadline) = *self.closing.borrow() {
                break deadline;
            }
        };
        self.finish(deadline).await;
    }

    /// Sleeps until there is something to do.
    async fn wait(&mut self) -> Wake {
        let Self { entries, flushes, closing, batch, .. } = self;
        tokio::select! {
            deadline = close_requested(closing) => Wake::Close(deadline),
            Some(done) = flushes.recv() => Wake::Flush(done),
            entry = entries.recv() => match entry {
                Some(entry) => {
                    batch.push(entry);
                    Wake::Entry
                }
                // Every handle and every seat is gone, so nothing can come any more.
                None => Wake::Close(Instant::now() + LONGEST_RETRY_WAIT),
            },
        }
    }

    /// Lets a batch gather. The queue is not looked at meanwhile, so entries that come wake nobody.
    async fn gather(&mut self, until: Instant) -> Option<Wake> {
        let Self { flushes, closing, .. } = self;
        tokio::select! {
            () = sleep_until(until) => None,
            deadline = close_requested(closing) => Some(Wake::Close(deadline)),
            Some(done) = flushes.recv() => Some(Wake::Flush(done)),
        }
    }

    /// Writes everything that is in the queue now.
    async fn drain(&mut self) {
        loop {
            while self.batch.len() < MAX_BATCH {
                match self.entries.try_recv() {
                    Ok(entry) => self.batch.push(entry),
                    Err(_) => break,
                }
            }
            let full = self.batch.len() == MAX_BATCH;
            if !self.write_batch().await || !full {
                return;
            }
        }
    }

    async fn drain_and_confirm(&mut self, done: oneshot::Sender<()>) {
        self.drain().await;
        // After a close in the middle of it the batch may be unwritten; then the dropped sender says so.
        if self.batch.is_empty() && done.send(()).is_err() {
            tracing::debug!("nobody waited for the end of a flush");
        }
    }

    /// Waits for the seats that are still taken and writes what comes from them.
    async fn finish(&mut self, deadline: Instant) {
        self.entries.close();
        loop {
            self.drain().await;
            if !self.batch.is_empty() {
                break;
            }
            match timeout_at(deadline, self.entries.recv()).await {
                Ok(Some(entry)) => self.batch.push(entry),
                Ok(None) | Err(_) => break,
            }
        }
        // One that was recorded at the last moment.
        self.drain().await;
    }

    /// Writes the batch, again and again until the database takes it. False if the process ends before.
    async fn write_batch(&mut self) -> bool {
        let mut wait = FIRST_RETRY_WAIT;
        while !self.batch.is_empty() {
            let Err(error) = self.try_batch().await else {
                self.succeeded();
                return true;
            };
            self.failed(&error);
            let next = Instant::now() + wait;
            wait = (wait * 2).min(LONGEST_RETRY_WAIT);
            let deadline = *self.closing.borrow_and_update();
            match deadline {
                Some(deadline) if next >= deadline => return false,
                Some(_) => sleep_until(next).await,
                None => {
                    // A request to close is no reason to wait less, only to look at its deadline.
                    tokio::select! {
                        () = sleep_until(next) => {}
                        _ = close_requested(&mut self.closing) => {}
                    }
                }
            }
        }
        true
    }

    async fn try_batch(&mut self) -> Result<(), StoreError> {
        self.database.write_batch(&self.batch, None).await
    }

    fn succeeded(&mut self) {
        let written = u64::try_from(self.batch.len()).unwrap_or(u64::MAX);
        self.batch.clear();
        self.counters.written.fetch_add(written, Ordering::AcqRel);
        let failures = self.counters.failures_in_a_row.swap(0, Ordering::Relaxed);
        if failures > 0 {
            tracing::info!(failures, "the ledger is written again, nothing was lost");
        }
    }

    fn failed(&self, error: &StoreError) {
        self.counters.failed_batches.fetch_add(1, Ordering::Relaxed);
        let failures = self.counters.failures_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        // At the first failure and then at every power of two: loud enough, and not a line every two seconds for a night.
        if failures.is_power_of_two() {
            tracing::warn!(
                %error,
                failures,
                waiting = self.batch.len() + self.entries.len(),
                "the ledger cannot be written; entries wait in memory, and new calls are refused when there is no room left"
            );
        }
    }
}

fn entries_count(pending: u64) -> usize {
    usize::try_from(pending).unwrap_or(usize::MAX)
}

/// Resolves once closing was asked for.
async fn close_requested(closing: &mut watch::Receiver<Option<Instant>>) -> Instant {
    match closing.wait_for(Option::is_some).await.map(|deadline| *deadline) {
        Ok(Some(deadline)) => deadline,
        // All handles are gone without a close: the queue's end will tell.
        Ok(None) | Err(_) => std::future::pending().await,
    }
}
