//! The writer's task: reads the journal from where the database is, and writes batches into the database until it has
//! caught up; then sleeps until an entry comes.
//!
//! Between batches and while it sleeps it has [sums folded](super::fold).
//!
//! It holds no more than one batch. What could not be written is read again, and after a failure the database is asked how
//! far it is: a transaction whose end nobody heard may have been committed.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until, timeout, timeout_at},
};

use super::{
    CallId, JournalPosition, LedgerEntry,
    fold::Folder,
    journal::{JournalReader, Place, Reading},
    writer::{CloseReport, Shared},
};
use crate::{database::Database, error::StoreError, queries};

/// The most entries in one transaction. Sums of many keys lie in many pages of the database, and each transaction writes
/// those that it touched: larger ones write fewer. The memory is held for the moment of writing, some 500 bytes an entry.
const MAX_BATCH: usize = 8_192;
/// The first wait after a failed batch; it doubles up to the longest.
const FIRST_RETRY_WAIT: Duration = Duration::from_millis(100);
/// The longest wait before the database is tried again.
const LONGEST_RETRY_WAIT: Duration = Duration::from_secs(2);
/// How often a journal that takes no records is tried again where nothing else does.
const APPEND_RETRY: Duration = Duration::from_millis(200);
/// A batch takes milliseconds. A database that is silent for so long may never answer on this connection.
const BATCH_PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct WriterTask {
    shared: Arc<Shared>,
    flushes: mpsc::Receiver<oneshot::Sender<()>>,
    closing: watch::Receiver<Option<Instant>>,
    database: Database,
    window: Duration,
    reader: JournalReader,
    /// By which the database knows this journal.
    journal_id: String,
    folder: Folder,
    /// Everything before it is in the database.
    place: Place,
    /// What the database says about that; it knows nothing of the gaps between segments.
    durable: Option<JournalPosition>,
    /// Where this process began; what lies before was left by an earlier one.
    began: Place,
    /// A batch of which nobody knows whether it was written.
    unclear: Option<Unclear>,
    /// Empty but for the moment of writing.
    batch: Vec<LedgerEntry>,
}

#[derive(Debug)]
struct Unclear {
    position: JournalPosition,
    place: Place,
    /// Its first and its last call.
    calls: Option<(CallId, CallId)>,
    entries: usize,
    is_recovered: bool,
}

/// Why a batch was not written.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("the database does not take the ledger's entries")]
    Database(#[from] StoreError),
    #[error("the database has not answered for {BATCH_PATIENCE:?}")]
    Silent,
    #[error("the journal cannot be read")]
    Journal(#[from] std::io::Error),
}

/// Why the task goes to work.
enum Wake {
    /// An entry came, or the disk may take some again.
    Entry,
    Flush(oneshot::Sender<()>),
    /// Sums may be worth folding.
    Fold,
    /// With a deadline; without one where all handles are gone.
    Close(Option<Instant>),
}

impl WriterTask {
    pub(super) fn new(
        shared: Arc<Shared>,
        flushes: mpsc::Receiver<oneshot::Sender<()>>,
        closing: watch::Receiver<Option<Instant>>,
        database: Database,
        window: Duration,
        place: Place,
        durable: Option<JournalPosition>,
    ) -> Self {
        Self {
            began: shared.journal.end_place(),
            journal_id: shared.journal.files().id().to_owned(),
            shared,
            flushes,
            closing,
            folder: Folder::new(database.clone()),
            database,
            window,
            reader: JournalReader::default(),
            place,
            durable,
            unclear: None,
            batch: Vec::new(),
        }
    }

    pub(super) async fn run(mut self) -> CloseReport {
        let deadline = loop {
            let wake = match self.wait().await {
                Wake::Entry => {
                    let until = Instant::now() + self.window;
                    self.gather(until).await
                }
                wake => wake,
            };
            let flushed = match wake {
                Wake::Entry => None,
                Wake::Fold => {
                    self.folder.step().await;
                    continue;
                }
                Wake::Flush(done) => Some(done),
                Wake::Close(deadline) => break deadline,
            };
            let is_done = self.catch_up(flushed.is_some()).await;
            if let Some(done) = flushed
                && is_done
                && done.send(()).is_err()
            {
                tracing::debug!("nobody waited for the end of a flush");
            }
            if let Some(deadline) = *self.closing.borrow() {
                break Some(deadline);
            }
        };
        self.finish(deadline).await
    }

    /// Sleeps until there is something to do.
    async fn wait(&mut self) -> Wake {
        // In this order: whoever adds an entry after the second line sees the first.
        self.shared.is_idle.store(true, Ordering::SeqCst);
        if self.place < self.shared.journal.end_place() {
            self.shared.is_idle.store(false, Ordering::SeqCst);
            return Wake::Entry;
        }
        let Self { flushes, closing, shared, folder, .. } = self;
        tokio::select! {
            biased;
            deadline = close_requested(closing) => Wake::Close(deadline),
            Some(done) = flushes.recv() => Wake::Flush(done),
            () = shared.wake.notified() => Wake::Entry,
            () = append_retry(shared) => Wake::Entry,
            () = folder.due() => Wake::Fold,
        }
    }

    /// Lets a batch gather. Entries that come meanwhile wake nobody.
    async fn gather(&mut self, until: Instant) -> Wake {
        let Self { flushes, closing, .. } = self;
        tokio::select! {
            deadline = close_requested(closing) => Wake::Close(deadline),
            Some(done) = flushes.recv() => Wake::Flush(done),
            () = sleep_until(until) => Wake::Entry,
        }
    }

    /// Writes everything that is in the journal now, however long the database is away; with `all` also what waits for a
    /// place in the journal. False if the process ends before.
    async fn catch_up(&mut self, all: bool) -> bool {
        loop {
            self.retry_appends();
            let end = self.shared.journal.end_place();
            let mut wait = FIRST_RETRY_WAIT;
            while self.place < end {
                let Err(error) = self.write_next(end).await else {
                    wait = FIRST_RETRY_WAIT;
                    self.folder.wrote();
                    self.folder.step().await;
                    continue;
                };
                self.failed(&error);
                if !self.sleep(wait).await {
                    return false;
                }
                wait = (wait * 2).min(LONGEST_RETRY_WAIT);
                self.retry_appends();
            }
            if !all || self.shared.journal.waiting() == 0 && self.place >= self.shared.journal.end_place() {
                return true;
            }
            if self.shared.journal.waiting() > 0 && !self.sleep(APPEND_RETRY).await {
                return false;
            }
        }
    }

    /// Waits before the next try. False if the process ends before that.
    async fn sleep(&mut self, wait: Duration) -> bool {
        let next = Instant::now() + wait;
        let deadline = *self.closing.borrow_and_update();
        match deadline {
            Some(deadline) if next >= deadline => return false,
            Some(_) => sleep_until(next).await,
            None => {
                // A request to close is no reason to wait less, only to look at its deadline.
                tokio::select! {
                    () = sleep_until(next) => {}
                    // Without handles nobody waits any more: what is in the journal is written by the next start.
                    deadline = close_requested(&mut self.closing) => return deadline.is_some(),
                }
            }
        }
        true
    }

    /// Waits for the seats that are still taken and writes what comes from them.
    async fn finish(mut self, deadline: Option<Instant>) -> CloseReport {
        let shared = Arc::clone(&self.shared);
        shared.is_closed.store(true, Ordering::SeqCst);
        // Without handles nobody can give a deadline any more: a database that is away is then not waited for.
        let mut is_tried = self.catch_up_once(deadline).await;
        loop {
            let waiting = shared.journal.waiting();
            if shared.taken() <= waiting {
                break;
            }
            let woken = shared.wake.notified();
            if let Some(deadline) = deadline {
                if timeout_at(deadline, woken).await.is_err() {
                    break;
                }
            } else {
                woken.await;
            }
            if is_tried {
                is_tried = self.catch_up_once(deadline).await;
            }
        }
        if is_tried {
            // What was recorded at the last moment.
            self.catch_up_once(deadline).await;
        }
        let open_seats = shared.taken().saturating_sub(shared.journal.waiting());
        let unwritten = u64::try_from(shared.journal.close()).unwrap_or(u64::MAX);
        let end = shared.journal.end_place();
        let waiting = self.reader.count(shared.journal.files(), self.place, end).unwrap_or_else(|error| {
            tracing::error!(%error, "the journal cannot be read");
            0
        });
        shared.journal.files().give_up();
        CloseReport { written: shared.written.load(Ordering::Acquire), waiting, unwritten, open_seats }
    }

    /// As [`Self::catch_up`], or only one try where there is no deadline.
    async fn catch_up_once(&mut self, deadline: Option<Instant>) -> bool {
        if deadline.is_some() {
            return self.catch_up(true).await;
        }
        self.retry_appends();
        let end = self.shared.journal.end_place();
        while self.place < end {
            if let Err(error) = self.write_next(end).await {
                self.failed(&error);
                return false;
            }
        }
        true
    }

    fn retry_appends(&self) {
        self.shared.free(self.shared.journal.commit_all());
        self.shared.free(self.shared.journal.retry());
    }

    /// Reads one batch and writes it.
    async fn write_next(&mut self, end: Place) -> Result<(), WriteError> {
        if self.unclear.is_some() {
            self.clear_up().await?;
            return Ok(());
        }
        let from = self.place;
        self.batch.clear();
        let files = self.shared.journal.files();
        let reading = self.reader.read(files, from, end, MAX_BATCH, &mut self.batch)?;
        if self.batch.is_empty() {
            self.place = reading.to;
        } else if !self.write_batch(&reading).await? {
            return Ok(());
        }
        if reading.damaged_bytes > 0 || reading.unreadable > 0 {
            tracing::error!(
                segment = from.segment,
                bytes = reading.damaged_bytes,
                records = reading.unreadable,
                "a part of the journal is damaged and was skipped; the calls recorded there are lost"
            );
        }
        if self.place.segment > from.segment
            && let Err(error) = self.shared.journal.remove_before(self.place.segment)
        {
            tracing::warn!(%error, "segments of the journal that are written could not be deleted");
        }
        Ok(())
    }

    /// Writes the batch that was read. False if it has to be asked first how far the database is.
    async fn write_batch(&mut self, reading: &Reading) -> Result<bool, WriteError> {
        let position = JournalPosition {
            journal: self.journal_id.clone(),
            segment: reading.records_end.segment,
            offset: reading.records_end.offset,
        };
        let write = self.database.write_batch(&self.batch, self.durable.as_ref(), &position);
        let written = match timeout(BATCH_PATIENCE, write).await {
            Ok(written) => written.map_err(WriteError::from),
            Err(_elapsed) => Err(WriteError::Silent),
        };
        let unclear = Unclear {
            position,
            place: reading.to,
            calls: self.batch.first().zip(self.batch.last()).map(|(first, last)| (first.id, last.id)),
            entries: self.batch.len(),
            is_recovered: self.place < self.began,
        };
        // Not kept for the next try: it is read again.
        self.batch.clear();
        if matches!(written, Ok(true)) {
            self.succeeded(&unclear);
        } else {
            self.unclear = Some(unclear);
        }
        written
    }

    /// Asks the database how far it is.
    async fn clear_up(&mut self) -> Result<(), WriteError> {
        let Some(unclear) = self.unclear.take() else { return Ok(()) };
        let result = match timeout(BATCH_PATIENCE, self.clear_up_batch(&unclear)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(WriteError::Silent),
        };
        if result.is_err() {
            self.unclear = Some(unclear);
        }
        result
    }

    async fn clear_up_batch(&mut self, unclear: &Unclear) -> Result<(), WriteError> {
        let found = self.database.journal_position(&self.journal_id).await?;
        if found == self.durable {
            // Nothing was written.
            return Ok(());
        }
        // The position alone does not tell: another process with this id writes to the same places.
        let Some((first, last)) = unclear.calls else { return Ok(()) };
        if found.as_ref() == Some(&unclear.position) && self.has(last).await? {
            self.succeeded(unclear);
            return Ok(());
        }
        if self.has(first).await? {
            // An earlier try was committed after all, with fewer entries. Those are left out when the batch is written again.
            self.durable = found;
            return Ok(());
        }
        // Never forward: to write an entry again does nothing, to skip it would lose it.
        let back = found.as_ref().map(|found| Place { segment: found.segment, offset: found.offset });
        let journal_id = self.shared.journal.files().renew_id()?;
        tracing::error!(
            journal = %self.journal_id,
            new_journal = %journal_id,
            ?found,
            expected = ?self.durable,
            "somebody else writes into the database under this journal's id: the data directory is a copy of another's, or \
             the database was put back to an earlier state. The journal goes on under an id of its own and no call is lost. \
             If it is a copy, restart this replica: limits know it by the old id until then"
        );
        self.place = back.map_or(self.place, |back| self.place.min(back));
        self.journal_id = journal_id;
        self.durable = None;
        Ok(())
    }

    async fn has(&self, call: CallId) -> Result<bool, WriteError> {
        Ok(queries::calls::find(&self.database, call).await?.is_some())
    }

    fn succeeded(&mut self, batch: &Unclear) {
        self.place = batch.place;
        self.durable = Some(batch.position.clone());
        let written = u64::try_from(batch.entries).unwrap_or(u64::MAX);
        if batch.is_recovered {
            self.shared.recovered.fetch_add(written, Ordering::AcqRel);
        }
        self.shared.written.fetch_add(written, Ordering::AcqRel);
        let failures = self.shared.failures_in_a_row.swap(0, Ordering::Relaxed);
        if failures > 0 {
            tracing::info!(failures, "the ledger is written again, nothing was lost");
        }
    }

    fn failed(&self, error: &WriteError) {
        self.shared.failed_batches.fetch_add(1, Ordering::Relaxed);
        let failures = self.shared.failures_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        // At the first failure and then at every power of two: loud enough, and not a line every two seconds for a night.
        if failures.is_power_of_two() {
            let reason = std::error::Error::source(error).map(ToString::to_string);
            tracing::warn!(
                %error,
                reason,
                failures,
                journal_bytes = self.shared.journal.bytes(),
                "the ledger cannot be written; entries wait in the journal, and new calls are refused when it is full"
            );
        }
    }
}

/// Resolves when a journal that takes no records should be tried again.
async fn append_retry(shared: &Shared) {
    if shared.journal.is_failing() {
        tokio::time::sleep(APPEND_RETRY).await;
    } else {
        std::future::pending::<()>().await;
    }
}

/// Resolves once closing was asked for, or nobody is left who could.
async fn close_requested(closing: &mut watch::Receiver<Option<Instant>>) -> Option<Instant> {
    closing.wait_for(Option::is_some).await.map_or(None, |deadline| *deadline)
}
