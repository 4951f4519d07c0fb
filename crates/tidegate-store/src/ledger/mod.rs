//! The ledger: the durable list of calls. One entry a call, exactly once.

mod entry;
mod journal;
mod position;
mod reports;
mod tags;
mod task;
mod text;
mod writer;

pub use entry::{Attempt, CacheState, CallId, LedgerEntry, Outcome};
pub(crate) use position::JournalPosition;
pub use reports::{CallsQuery, GroupBy, UsageFilter, UsageOrder, UsageQuery, UsageRow};
pub use tags::{TagError, Tags};
pub use text::Text;
pub use writer::{CloseReport, LedgerClosed, LedgerOptions, LedgerStatus, LedgerWriter, NoSeat, Seat};
