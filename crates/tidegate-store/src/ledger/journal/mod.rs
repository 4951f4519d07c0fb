//! The journal: where an entry is safe from the moment in which its call ends, whatever becomes of this process or of the
//! database. Filled by [`Seat::record`](super::Seat::record), emptied by the ledger's [writer](super::writer).
//!
//! A directory of segments, `<number>.log`, each a row of [frames](frame): a call's [record](record), or a [group](group) of
//! calls, behind its length and checksum. Records are only ever added at the end of the newest segment, with one write each and without waiting for
//! the disk: what was written survives the process, though perhaps not a loss of power. The database knows up to which
//! place it has the entries, so nothing is written twice, and segments before that place are deleted.
//!
//! Measured under full load, release build, where some six calls are one write: encoding and writing 0.8 µs of CPU a call, on
//! the request's thread; reading and decoding 0.4 µs, on the writer's.
//!
//! - [`files`]: the directory, its lock, its id, the segments in it.
//! - [`append`]: the end, where entries come in; [`gathering`]: those that wait there to be one write.
//! - [`read`]: the rest, from which batches are made.

mod append;
mod files;
mod frame;
mod gathering;
mod group;
mod read;
mod record;
#[cfg(test)]
mod tests;
mod texts;

pub(super) use append::Journal;
pub(super) use files::JournalFiles;
pub(super) use read::{JournalReader, Reading};
pub(super) use record::encode;

use crate::ledger::LedgerEntry;

/// A call that is to be gathered with others.
#[derive(Debug)]
pub(super) enum Record {
    /// In a frame of its own.
    Alone(Vec<u8>),
    /// In one frame with those that were answered alike.
    Alike(group::Alike),
}

impl Record {
    /// `None` if it could not be encoded, which its limits exclude.
    pub(super) fn of(entry: &LedgerEntry) -> Option<Self> {
        group::Alike::of(entry).map(Self::Alike).or_else(|| encode(entry).map(Self::Alone))
    }
}

/// A place in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The number of the segment.
    pub(super) segment: u64,
    /// The byte in it.
    pub(super) offset: u64,
}
