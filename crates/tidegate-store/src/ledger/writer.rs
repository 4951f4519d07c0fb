//! Keeps the ledger off the request path. The gateway's `admit` reserves a [`Seat`], its `settle` records the entry in
//! it: that puts the entry into the [journal](super::journal), and one task writes what is in the journal into the
//! database, in batches.
//!
//! A seat is room in the journal, taken before the call does anything that costs money. So recording can neither wait nor
//! fail, and when the journal is full or takes no more, new calls are refused instead of going unrecorded. A database that
//! is away is nothing to a call, until the journal is full.

use std::{
    fmt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::{Instant, timeout_at},
};

use super::{
    LedgerEntry,
    journal::{self, Journal, JournalFiles, Place, Record},
    task::WriterTask,
};
use crate::{LedgerProgress, database::Database, error::StoreError};

/// Calls in flight, and entries that wait in memory because the disk takes none.
const DEFAULT_CAPACITY: usize = 32_768;
/// A usual entry takes some 250 bytes, so this bridges days without a database at ten calls a second, an hour at a thousand.
const DEFAULT_JOURNAL_BYTES: u64 = 1 << 30;
/// Room in the journal that a call in flight holds. Most entries are smaller; the few that are larger may take the journal
/// somewhat beyond its limit.
const BYTES_PER_SEAT: u64 = 1 << 10;
/// How long the first entry waits for others before the database is asked. Nothing depends on it but how soon reports
/// show a call: a crash loses nothing. Larger batches cost less CPU: with `examples/ledger_cost.rs`, journal, sums and SQLite
/// together take 6 µs an entry at 20,000 calls a second, where batches are full, and 21 µs at 1,000 a second.
const DEFAULT_BATCH_WINDOW: Duration = Duration::from_millis(200);
/// Flushes that wait at the same time; further ones wait for a place.
const MAX_WAITING_FLUSHES: usize = 16;
/// How long [`LedgerWriter::close`] waits, beyond its deadline, for a statement that is running.
const CLOSE_GRACE: Duration = Duration::from_secs(3);

/// How the ledger's writer behaves.
#[derive(Debug, Clone, Copy)]
pub struct LedgerOptions {
    /// Calls in flight, and entries that are not yet in the journal, together; one more is refused.
    pub capacity: usize,
    /// How long the first entry of a batch waits for others.
    pub batch_window: Duration,
    /// What the journal may take on the disk; when it is full, calls are refused.
    pub journal_bytes: u64,
}

impl Default for LedgerOptions {
    fn default() -> Self {
        Self {
            capacity: DEFAULT_CAPACITY,
            batch_window: DEFAULT_BATCH_WINDOW,
            journal_bytes: DEFAULT_JOURNAL_BYTES,
        }
    }
}

/// Takes the entries. Cheap to clone; ends when it is [closed](Self::close).
#[derive(Debug, Clone)]
pub struct LedgerWriter {
    /// `None` where no ledger is kept.
    handle: Option<Arc<Handle>>,
}

#[derive(Debug)]
struct Handle {
    journal_id: String,
    shared: Arc<Shared>,
    flushes: mpsc::Sender<oneshot::Sender<()>>,
    closing: watch::Sender<Option<Instant>>,
    ended: watch::Receiver<Option<CloseReport>>,
}

/// A place in the ledger for one call. Dropped without an entry, it frees the place.
#[must_use = "a seat that is dropped records nothing"]
pub struct Seat {
    shared: Option<Arc<Shared>>,
}

/// Why there is no seat. The call must be refused: nobody could bill it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSeat {
    /// The journal is full because the database has not taken entries for long, the disk takes no more, or far too many
    /// calls are in flight.
    #[error(
        "the ledger takes no more calls; see that the database answers and the data directory's disk has room"
    )]
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LedgerStatus {
    /// Entries recorded since the start.
    pub recorded: u64,
    /// Entries written into the database since the start, with those that an earlier process had left in the journal.
    pub written: u64,
    /// Entries recorded by this process and not yet written.
    pub pending: u64,
    /// Batches that failed and were, or will be, tried again.
    pub failed_batches: u64,
    /// Whether the last batch failed, so that entries wait in the journal, or the journal takes none.
    pub failing: bool,
    /// Seats that can still be had.
    pub free_seats: usize,
    /// What the journal takes on the disk.
    pub journal_bytes: u64,
}

/// How closing went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CloseReport {
    /// Entries written since the start.
    pub written: u64,
    /// Entries that wait in the journal because the database did not take them in time. Nothing is lost by that: the next
    /// start on this data directory writes them.
    pub waiting: u64,
    /// Entries that not even the journal could take; they are lost with the process.
    pub unwritten: u64,
    /// Calls that still held a seat at the deadline; their entries are lost too.
    pub open_seats: usize,
}

impl CloseReport {
    /// Whether every call is in the ledger or in its journal.
    pub fn is_complete(&self) -> bool {
        self.unwritten == 0 && self.open_seats == 0
    }
}

/// What handles, seats and the task share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) journal: Journal,
    capacity: usize,
    journal_bytes: u64,
    /// Seats that are taken.
    taken: AtomicUsize,
    pub(super) is_closed: AtomicBool,
    /// Whether the task sleeps and wants to be woken by the next entry.
    pub(super) is_idle: AtomicBool,
    pub(super) wake: Notify,
    /// Entries of an earlier process among the written ones.
    pub(super) recovered: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) failed_batches: AtomicU64,
    /// Failures since the last batch that went through.
    pub(super) failures_in_a_row: AtomicU64,
}

impl LedgerWriter {
    /// Takes the journal in this directory into use, and begins to write what an earlier process has left there.
    pub(crate) async fn start(
        directory: &Path,
        database: Database,
        options: LedgerOptions,
    ) -> Result<Self, StoreError> {
        let files = JournalFiles::open(directory)?;
        let journal_id = files.id().to_owned();
        let durable = database.journal_position(&journal_id).await?;
        let place =
            durable.as_ref().map(|position| Place { segment: position.segment, offset: position.offset });
        let (journal, unwritten) = Journal::begin(files, place, options.journal_bytes)?;
        let shared = Arc::new(Shared {
            journal,
            capacity: options.capacity.max(1),
            journal_bytes: options.journal_bytes,
            taken: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
            is_idle: AtomicBool::new(false),
            wake: Notify::new(),
            recovered: AtomicU64::new(0),
            written: AtomicU64::new(0),
            failed_batches: AtomicU64::new(0),
            failures_in_a_row: AtomicU64::new(0),
        });
        let (flushes, flushes_receiver) = mpsc::channel(MAX_WAITING_FLUSHES);
        let (closing, closing_receiver) = watch::channel(None);
        let (ended_sender, ended) = watch::channel(None);
        let task = WriterTask::new(
            Arc::clone(&shared),
            flushes_receiver,
            closing_receiver,
            database,
            options.batch_window,
            unwritten,
            durable,
        );
        tokio::spawn(async move {
            let report = task.run().await;
            ended_sender.send_replace(Some(report));
        });
        Ok(Self { handle: Some(Arc::new(Handle { journal_id, shared, flushes, closing, ended })) })
    }

    /// A ledger that keeps nothing: there is always a seat, and what is recorded in it goes nowhere.
    pub fn disabled() -> Self {
        Self { handle: None }
    }

    /// What the journal is known by. The same after every start on this data directory, and no other process has it.
    pub fn journal_id(&self) -> Option<&str> {
        self.handle.as_ref().map(|handle| handle.journal_id.as_str())
    }

    /// Takes a place for one call. To be called when the call is admitted.
    pub fn reserve(&self) -> Result<Seat, NoSeat> {
        let Some(handle) = &self.handle else { return Ok(Seat { shared: None }) };
        let shared = &handle.shared;
        if shared.is_closed.load(Ordering::Acquire) {
            return Err(NoSeat::Closed);
        }
        let most = shared.most_seats();
        let taken = shared
            .taken
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |taken| (taken < most).then_some(taken + 1));
        match taken {
            Ok(_) => Ok(Seat { shared: Some(Arc::clone(shared)) }),
            Err(_) => Err(NoSeat::Full),
        }
    }

    /// Waits until everything recorded before is in the database, for as long as that takes.
    pub async fn flush(&self) -> Result<(), LedgerClosed> {
        let Some(handle) = &self.handle else { return Ok(()) };
        let (done, wait) = oneshot::channel();
        handle.flushes.send(done).await.map_err(|mpsc::error::SendError(_)| LedgerClosed)?;
        wait.await.map_err(|oneshot::error::RecvError { .. }| LedgerClosed)
    }

    /// Refuses new seats, waits for those that are taken and for the database until `deadline` has passed, and says what
    /// is not in the database. What is in the journal by then is written by the next start.
    pub async fn close(&self, deadline: Duration) -> CloseReport {
        let Some(handle) = &self.handle else { return CloseReport::default() };
        let deadline = Instant::now() + deadline;
        handle.shared.is_closed.store(true, Ordering::SeqCst);
        handle.closing.send_if_modified(|closing| {
            let is_first = closing.is_none();
            closing.get_or_insert(deadline);
            is_first
        });
        let mut ended = handle.ended.clone();
        let reported = timeout_at(deadline + CLOSE_GRACE, ended.wait_for(Option::is_some))
            .await
            .ok()
            .and_then(Result::ok);
        let report = reported.and_then(|report| *report).unwrap_or_else(|| handle.shared.report_unfinished());
        if !report.is_complete() {
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
        match &self.handle {
            Some(handle) => handle.shared.status(),
            None => LedgerStatus { free_seats: DEFAULT_CAPACITY, ..LedgerStatus::default() },
        }
    }
}

impl LedgerProgress for LedgerWriter {
    fn recorded(&self) -> u64 {
        self.handle.as_ref().map_or(0, |handle| handle.shared.journal.recorded())
    }

    fn written(&self) -> u64 {
        let Some(handle) = &self.handle else { return 0 };
        // In this order: read the other way round, an entry of an earlier process could count as one of this.
        let written = handle.shared.written.load(Ordering::Acquire);
        written.saturating_sub(handle.shared.recovered.load(Ordering::Acquire))
    }
}

impl Seat {
    /// Puts the entry into the journal: when this returns, no crash of the process loses it. Neither waits nor fails.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "an entry is given away: nothing else is to be done with it"
    )]
    pub fn record(mut self, entry: LedgerEntry) {
        let Some(shared) = self.shared.take() else { return };
        let Some(frame) = shared.encoded(&entry, journal::encode) else { return };
        match shared.journal.append(frame) {
            // Also for those that had to wait before; one that waits now keeps its seat.
            Some(safe) => shared.free(safe),
            None => shared.lost(&entry),
        }
        shared.wake_writer();
    }

    /// Puts the entry down to be written with those of other calls that end in the same moment. It is in the journal when
    /// what this gives is dropped, and no later. `None` if no ledger is kept.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "an entry is given away: nothing else is to be done with it"
    )]
    pub fn record_gathered(mut self, entry: LedgerEntry) -> Option<Gathered> {
        let shared = self.shared.take()?;
        let record = shared.encoded(&entry, Record::of)?;
        let Some(number) = shared.journal.gather(&record) else {
            shared.lost(&entry);
            return None;
        };
        Some(Gathered { shared, number })
    }
}

/// An entry that waits for others to be written with; it is written at the latest when this is dropped.
#[must_use = "the entry is safe when this is dropped: before the answer's end goes out"]
#[derive(Debug)]
pub struct Gathered {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Gathered {
    fn drop(&mut self) {
        let shared = &self.shared;
        shared.free(shared.journal.commit(self.number));
        shared.wake_writer();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.free(1);
        }
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Seat").finish_non_exhaustive()
    }
}

impl Shared {
    /// How many seats may be taken at this moment.
    fn most_seats(&self) -> usize {
        if self.journal.is_failing() {
            return 0;
        }
        let room = self.journal_bytes.saturating_sub(self.journal.bytes()) / BYTES_PER_SEAT;
        usize::try_from(room).unwrap_or(usize::MAX).min(self.capacity)
    }

    /// Encodes an entry; one that cannot be is lost, with its seat.
    fn encoded<T>(&self, entry: &LedgerEntry, encode: impl FnOnce(&LedgerEntry) -> Option<T>) -> Option<T> {
        let encoded = encode(entry);
        if encoded.is_none() {
            tracing::error!(call = %entry.id, "an entry of the ledger could not be encoded and is lost");
            self.free(1);
        }
        encoded
    }

    fn lost(&self, entry: &LedgerEntry) {
        tracing::error!(call = %entry.id, "a call ended after the ledger was closed; its entry is lost");
        self.free(1);
    }

    fn wake_writer(&self) {
        // Looked at first: to write it for every entry would move its cache line from core to core.
        if self.is_idle.load(Ordering::Acquire) && self.is_idle.swap(false, Ordering::AcqRel) {
            self.wake.notify_one();
        }
    }

    /// Frees seats.
    pub(super) fn free(&self, seats: usize) {
        if seats == 0 {
            return;
        }
        self.taken.fetch_sub(seats, Ordering::AcqRel);
        if self.is_closed.load(Ordering::Acquire) {
            // The task waits for the last one.
            self.wake.notify_one();
        }
    }

    /// Seats that are taken.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }

    fn status(&self) -> LedgerStatus {
        // `written` first: read the other way round, it could be ahead.
        let written = self.written.load(Ordering::Acquire);
        let recovered = self.recovered.load(Ordering::Acquire);
        let recorded = self.journal.recorded();
        LedgerStatus {
            recorded,
            written,
            pending: (recorded + recovered).saturating_sub(written),
            failed_batches: self.failed_batches.load(Ordering::Relaxed),
            failing: self.failures_in_a_row.load(Ordering::Relaxed) > 0 || self.journal.is_failing(),
            free_seats: self.most_seats().saturating_sub(self.taken()),
            journal_bytes: self.journal.bytes(),
        }
    }

    /// What can be said while the task still hangs in a statement. The journal stays as it is.
    fn report_unfinished(&self) -> CloseReport {
        let status = self.status();
        let unwritten = self.journal.waiting();
        let lost = u64::try_from(unwritten).unwrap_or(u64::MAX);
        CloseReport {
            written: status.written,
            waiting: status.pending.saturating_sub(lost),
            unwritten: lost,
            open_seats: self.taken().saturating_sub(unwritten),
        }
    }
}
