//! The end of the journal, where entries come in: written at once by whichever thread settles a call, or gathered for a
//! moment, so that calls that end together are one write. A write costs more than all else that an entry costs here, and
//! two threads that write in the same moment wait for each other.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Write as _},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{JournalFiles, Place, Record, gathering::Gathering};
use crate::error::StoreError;

/// Segments are no larger: small enough that a written one is soon deleted, large enough that beginning one is rare.
const MAX_SEGMENT_BYTES: u64 = 8 << 20;
/// A journal has room for so many segments at least: the one that is being filled cannot be deleted.
const SEGMENTS_IN_LIMIT: u64 = 8;

/// The journal as those see it who add to it. It is one file handle and a number: nothing here waits for a reader.
#[derive(Debug)]
pub(in crate::ledger) struct Journal {
    files: JournalFiles,
    segment_bytes: u64,
    end: Mutex<End>,
    /// All segments together.
    bytes: AtomicU64,
    /// Whether the last append failed.
    is_failing: AtomicBool,
}

#[derive(Debug)]
struct End {
    place: Place,
    /// The newest segment; `None` until the first record comes.
    file: Option<File>,
    /// Frames that could not be appended, and how many records are in each: there are never more than seats.
    waiting: VecDeque<(Vec<u8>, usize)>,
    /// Records that will be written by the first of those who gathered them, never more than seats.
    gathered: Gathering,
    /// How many records came since the start.
    recorded: u64,
    /// How many records were gathered since the start, and how many of them were written or wait.
    gathered_count: u64,
    written_count: u64,
    is_closed: bool,
}

impl End {
    fn at(place: Place) -> Self {
        Self {
            place,
            file: None,
            waiting: VecDeque::new(),
            gathered: Gathering::default(),
            recorded: 0,
            gathered_count: 0,
            written_count: 0,
            is_closed: false,
        }
    }
}

impl Journal {
    /// Takes the journal into use: cuts what a crash has left of a record at its end, and will go on in a new segment.
    /// Gives the place from which on nothing is in the database yet.
    pub(in crate::ledger) fn begin(
        files: JournalFiles,
        written: Option<Place>,
        limit_bytes: u64,
    ) -> Result<(Self, Place), StoreError> {
        let failed = |source| StoreError::Journal { directory: files.directory().to_owned(), source };
        let mut segments = files.segments().map_err(failed)?;
        if let Some((&newest, &bytes)) = segments.last_key_value() {
            let end = super::read::end_of_records(&files, newest, bytes).map_err(failed)?;
            if end < bytes {
                tracing::warn!(
                    segment = newest,
                    bytes = bytes - end,
                    "the journal's end held no whole record; it is cut"
                );
                files.cut(newest, end).map_err(failed)?;
            }
            if end == 0 {
                files.remove(newest).map_err(failed)?;
                segments.remove(&newest);
            } else {
                segments.insert(newest, end);
            }
        }
        let newest = segments.last_key_value().map_or(0, |(&newest, _)| newest);
        // Also beyond what the database knows: after a loss of power the database may have more than the journal.
        let next = newest.max(written.map_or(0, |written| written.segment)) + 1;
        let begin = Place { segment: next, offset: 0 };
        let oldest = segments.first_key_value().map(|(&oldest, _)| Place { segment: oldest, offset: 0 });
        let unwritten = match (written, oldest) {
            (_, None) => begin,
            (None, Some(oldest)) => oldest,
            (Some(written), _) if written.segment > newest => begin,
            (Some(written), Some(oldest)) => {
                if oldest.segment > written.segment.saturating_add(1) {
                    tracing::error!(
                        written = written.segment,
                        oldest = oldest.segment,
                        "the database is older than the journal: the entries between the two are not there"
                    );
                }
                written.max(oldest)
            }
        };
        let segment_bytes = (limit_bytes / SEGMENTS_IN_LIMIT).min(MAX_SEGMENT_BYTES);
        let journal = Self {
            segment_bytes,
            bytes: AtomicU64::new(segments.values().sum()),
            is_failing: AtomicBool::new(false),
            end: Mutex::new(End::at(begin)),
            files,
        };
        Ok((journal, unwritten))
    }

    /// Adds a record; gives how many are safe now that were not before: none if it could not be written, more than one
    /// if others had been waiting. `None` if the journal is closed, so that the record is lost.
    pub(in crate::ledger) fn append(&self, frame: Vec<u8>) -> Option<usize> {
        let mut end = self.end();
        if end.is_closed {
            return None;
        }
        end.recorded += 1;
        if end.waiting.is_empty() {
            return Some(match self.write(&mut end, &frame) {
                Ok(()) => 1,
                Err(error) => {
                    self.failed(&error);
                    end.waiting.push_back((frame, 1));
                    0
                }
            });
        }
        end.waiting.push_back((frame, 1));
        Some(self.write_waiting(&mut end))
    }

    /// Adds a record that is safe only after [`commit`](Self::commit) of the number that this gives. `None` if the journal
    /// is closed, so that the record is lost.
    pub(in crate::ledger) fn gather(&self, record: &Record) -> Option<u64> {
        let mut end = self.end();
        if end.is_closed {
            return None;
        }
        end.recorded += 1;
        end.gathered.add(record);
        end.gathered_count += 1;
        Some(end.gathered_count)
    }

    /// Sees that the gathered records up to this number are written, and all that were gathered after them as well; gives
    /// how many records are safe now that were not before.
    pub(in crate::ledger) fn commit(&self, number: u64) -> usize {
        let mut end = self.end();
        if end.written_count >= number { 0 } else { self.write_gathered(&mut end) }
    }

    /// The same of all that are gathered by now.
    pub(in crate::ledger) fn commit_all(&self) -> usize {
        self.write_gathered(&mut self.end())
    }

    fn write_gathered(&self, end: &mut End) -> usize {
        if end.gathered.is_empty() {
            return 0;
        }
        let (frames, ends) = end.gathered.take();
        end.written_count = end.gathered_count;
        let written = if end.waiting.is_empty() { Some(self.write(end, &frames)) } else { None };
        let safe = if matches!(written, Some(Ok(()))) {
            ends.iter().map(|(_, records)| records).sum()
        } else {
            if let Some(Err(error)) = written {
                self.failed(&error);
            }
            let mut begin = 0;
            for &(until, records) in &ends {
                end.waiting.extend(frames.get(begin..until).map(|frame| (frame.to_vec(), records)));
                begin = until;
            }
            self.write_waiting(end)
        };
        end.gathered.reuse(frames, ends);
        safe
    }

    /// Tries again what could not be appended; gives how many records are safe now.
    pub(in crate::ledger) fn retry(&self) -> usize {
        if !self.is_failing() {
            return 0;
        }
        let mut end = self.end();
        if end.is_closed { 0 } else { self.write_waiting(&mut end) }
    }

    /// Where the next record will come to lie: everything before it can be read.
    pub(in crate::ledger) fn end_place(&self) -> Place {
        self.end().place
    }

    /// How many records came since the start, counted before they can be read.
    pub(in crate::ledger) fn recorded(&self) -> u64 {
        self.end().recorded
    }

    /// How many records wait for a place on the disk.
    pub(in crate::ledger) fn waiting(&self) -> usize {
        if self.is_failing() { records_in(&self.end().waiting) } else { 0 }
    }

    /// Whether records cannot be appended at the moment.
    pub(in crate::ledger) fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Acquire)
    }

    /// What the journal takes on the disk.
    pub(in crate::ledger) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(in crate::ledger) fn files(&self) -> &JournalFiles {
        &self.files
    }

    /// Deletes the segments before this one, which are in the database. Those that remain for now are tried again next
    /// time.
    pub(in crate::ledger) fn remove_before(&self, segment: u64) -> io::Result<()> {
        for (number, bytes) in self.files.segments()?.range(..segment) {
            self.files.remove(*number)?;
            let less = |all: u64| Some(all.saturating_sub(*bytes));
            let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
        Ok(())
    }

    /// Takes no more records; gives how many were waiting and are lost.
    pub(in crate::ledger) fn close(&self) -> usize {
        let mut end = self.end();
        self.write_gathered(&mut end);
        end.is_closed = true;
        end.file = None;
        records_in(&std::mem::take(&mut end.waiting))
    }

    /// What the lock protects is right at every moment, so a thread that panicked while it held it changes nothing.
    fn end(&self) -> MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_waiting(&self, end: &mut End) -> usize {
        let mut done = 0;
        while let Some((frame, records)) = end.waiting.pop_front() {
            if let Err(error) = self.write(end, &frame) {
                self.failed(&error);
                end.waiting.push_front((frame, records));
                return done;
            }
            done += records;
        }
        if self.is_failing.swap(false, Ordering::AcqRel) {
            tracing::info!(records = done, "the journal takes records again, nothing was lost");
        }
        done
    }

    /// One write. What is written in part is taken back.
    fn write(&self, end: &mut End, frame: &[u8]) -> io::Result<()> {
        let length = u64::try_from(frame.len()).unwrap_or(u64::MAX);
        let is_full = end.place.offset > 0 && end.place.offset.saturating_add(length) > self.segment_bytes;
        if is_full || end.file.is_none() {
            let segment = if end.place.offset > 0 { end.place.segment + 1 } else { end.place.segment };
            end.file = Some(self.files.create(segment)?);
            end.place = Place { segment, offset: 0 };
        }
        let Some(file) = &mut end.file else { return Ok(()) };
        let written = loop {
            match file.write(frame) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(bytes) if bytes < frame.len() => break Err(io::ErrorKind::StorageFull.into()),
                other => break other,
            }
        };
        if let Err(error) = written {
            if file.set_len(end.place.offset).is_err() {
                // What it left there is skipped by the reader; the next try begins a new segment.
                end.file = None;
                end.place = Place { segment: end.place.segment + 1, offset: 0 };
            }
            return Err(error);
        }
        end.place.offset += length;
        self.bytes.fetch_add(length, Ordering::Relaxed);
        Ok(())
    }

    fn failed(&self, error: &io::Error) {
        if !self.is_failing.swap(true, Ordering::AcqRel) {
            tracing::error!(
                %error,
                journal = %self.files.directory().display(),
                "the journal takes no more records; they wait in memory, and new calls are refused until it does"
            );
        }
    }
}

fn records_in(waiting: &VecDeque<(Vec<u8>, usize)>) -> usize {
    waiting.iter().map(|(_, records)| records).sum()
}
