//! Reads the journal back, from the page cache as a rule: batches for the database.

use std::{fs::File, io};

use super::{JournalFiles, Place, frame, record, texts::KnownTexts};
use crate::ledger::LedgerEntry;

/// What is read at once: a batch of usual records, or some of the largest.
const READ_BYTES: usize = 4 * frame::MAX_FRAME_BYTES;

/// A reader with its buffer and the segment that it has open.
#[derive(Debug, Default)]
pub(in crate::ledger) struct JournalReader {
    open: Option<(u64, File)>,
    buffer: Vec<u8>,
    texts: KnownTexts,
}

/// What one reading has brought.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::ledger) struct Reading {
    /// Up to where it went: what lies before has been read.
    pub(in crate::ledger) to: Place,
    /// Bytes that were no record.
    pub(in crate::ledger) damaged_bytes: u64,
    /// Records of which this program can make nothing.
    pub(in crate::ledger) unreadable: u64,
    /// Where the last of the records ended; where it began, if there was none.
    pub(in crate::ledger) records_end: Place,
}

impl Reading {
    fn empty(from: Place, to: Place) -> Self {
        Self { to, damaged_bytes: 0, unreadable: 0, records_end: from }
    }
}

impl JournalReader {
    /// Reads entries that lie between the two places, up to the frame with which there are `most`. Where there is more to
    /// read, the reading goes forward.
    pub(in crate::ledger) fn read(
        &mut self,
        files: &JournalFiles,
        from: Place,
        end: Place,
        most: usize,
        entries: &mut Vec<LedgerEntry>,
    ) -> io::Result<Reading> {
        let mut unreadable = 0;
        let mut texts = std::mem::take(&mut self.texts);
        let reading = self.walk(files, from, end, most, |frame| {
            record::decode_frame(&frame, &mut texts, entries).unwrap_or_else(|| {
                unreadable += 1;
                1
            })
        });
        self.texts = texts;
        let reading = reading?;
        Ok(Reading { unreadable, ..reading })
    }

    /// How many records lie between the two places.
    pub(in crate::ledger) fn count(
        &mut self,
        files: &JournalFiles,
        mut from: Place,
        end: Place,
    ) -> io::Result<u64> {
        let mut count = 0;
        while from < end {
            let walked = self.walk(files, from, end, usize::MAX, |frame| {
                count += record::count(&frame);
                1
            });
            from = walked?.to;
        }
        Ok(count)
    }

    /// Takes the frames of one buffer, until `take` has counted up to `most`.
    fn walk(
        &mut self,
        files: &JournalFiles,
        from: Place,
        end: Place,
        most: usize,
        mut take: impl FnMut(frame::Frame<'_>) -> usize,
    ) -> io::Result<Reading> {
        let limit = match self.limit(files, from, end) {
            Ok(limit) => limit,
            Err(error) if error.kind() == io::ErrorKind::NotFound && from.segment < end.segment => {
                tracing::error!(
                    segment = from.segment,
                    "a segment of the journal has gone, with the entries in it"
                );
                return Ok(Reading::empty(from, next_segment(files, from, end)?));
            }
            Err(error) => return Err(error),
        };
        let bytes = self.fill(from.offset, limit)?;
        let reaches_limit = from.offset + to_u64(bytes.len()) >= limit;
        let mut at = 0;
        let mut damaged = 0;
        let mut taken = 0;
        let mut records_end = from;
        while taken < most && at < bytes.len() {
            let rest = bytes.get(at..).unwrap_or_default();
            if let Some(frame) = frame::first(rest) {
                at += frame.bytes;
                records_end.offset = from.offset + to_u64(at);
                taken += take(frame);
                continue;
            }
            let may_be_cut = !reaches_limit && rest.len() < frame::MAX_FRAME_BYTES;
            if may_be_cut {
                break;
            }
            let skipped = match frame::find(rest) {
                Some(next) => next,
                None if reaches_limit => rest.len(),
                // A frame may begin near the end of what is in the buffer.
                None => rest.len() - (frame::MAX_FRAME_BYTES - 1),
            };
            damaged += skipped;
            at += skipped;
        }
        let mut to = Place { segment: from.segment, offset: from.offset + to_u64(at) };
        if to.offset >= limit && to.segment < end.segment {
            to = next_segment(files, to, end)?;
        }
        Ok(Reading { to, damaged_bytes: to_u64(damaged), unreadable: 0, records_end })
    }

    /// Up to where there is something in the segment.
    fn limit(&mut self, files: &JournalFiles, from: Place, end: Place) -> io::Result<u64> {
        let file = match self.open.take() {
            Some((segment, file)) if segment == from.segment => file,
            _ => files.read(from.segment)?,
        };
        let limit = if from.segment == end.segment { end.offset } else { file.metadata()?.len() };
        self.open = Some((from.segment, file));
        Ok(limit)
    }

    /// The bytes from this offset on, as many as the buffer takes.
    fn fill(&mut self, offset: u64, limit: u64) -> io::Result<&[u8]> {
        let wanted = usize::try_from(limit.saturating_sub(offset)).unwrap_or(usize::MAX).min(READ_BYTES);
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        let Some((_, file)) = &self.open else { return Ok(&[]) };
        let buffer = self.buffer.get_mut(..wanted).unwrap_or_default();
        read_at(file, buffer, offset)?;
        Ok(buffer)
    }
}

/// Up to where a segment that was not closed in order holds records: behind it lies what a crash has left of the last one.
/// Damage with good records behind it is left for the reader to skip.
pub(super) fn end_of_records(files: &JournalFiles, segment: u64, bytes: u64) -> io::Result<u64> {
    let mut reader = JournalReader::default();
    let end = Place { segment, offset: bytes };
    let mut place = Place { segment, offset: 0 };
    let mut good = 0;
    while place < end {
        let mut records = 0_u64;
        let reading = reader.walk(files, place, end, usize::MAX, |_| {
            records += 1;
            1
        })?;
        if records > 0 {
            good = reading.records_end.offset;
        }
        if reading.to == place {
            break;
        }
        place = reading.to;
    }
    Ok(good)
}

/// The beginning of the next segment that is there.
fn next_segment(files: &JournalFiles, from: Place, end: Place) -> io::Result<Place> {
    let next = files.segments()?.range(from.segment + 1..).next().map(|(&segment, _)| segment);
    Ok(Place { segment: next.unwrap_or(end.segment).min(end.segment), offset: 0 })
}

fn to_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(not(unix))]
fn read_at(mut file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    use std::io::{Read as _, Seek as _};
    file.seek(io::SeekFrom::Start(offset))?;
    file.read_exact(buffer)
}
