//! How far a journal is in the database. Written by the [writer](super::writer) together with the entries before it.

/// A place in a journal: everything before it is in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JournalPosition {
    /// Which journal: each process has its own.
    pub journal: String,
    /// The number of the segment.
    pub segment: u64,
    /// Bytes from the segment's beginning.
    pub offset: u64,
}
