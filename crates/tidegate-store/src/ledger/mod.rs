//! The ledger: the durable list of calls. One entry a call, exactly once.

mod bodies;
mod entry;
mod exposure;
mod fold;
mod journal;
mod position;
mod reports;
mod retention;
mod tags;
mod task;
mod text;
mod writer;

pub use bodies::{CallBodies, KeptText};
pub(crate) use entry::MAX_TEXT_BYTES;
pub use entry::{Attempt, AttemptUsage, CacheState, CallId, LedgerEntry, Outcome};
pub use exposure::{Exposure, Pair, SHADOW};
pub(crate) use position::JournalPosition;
pub use reports::{CallsQuery, GroupBy, UsageFilter, UsageOrder, UsageQuery, UsageRow, UsageTotal};
pub use retention::{Deleted, RetentionOptions};
pub(crate) use retention::{keep_house, once as delete_old};
pub use tags::{TagError, Tags};
pub use text::Text;
pub use writer::{
    CloseReport, Gathered, LedgerClosed, LedgerOptions, LedgerStatus, LedgerWriter, NoSeat, Seat,
};
