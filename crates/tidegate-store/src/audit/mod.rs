//! The audit log: who did what, from where, how it was before and after, in lines chained by their hashes.
//!
//! Lines are only added: triggers forbid anything else, each line holds the hash of the line before, and a head row holds
//! the number and the hash of the last. So [`verify`](crate::Access::verify_audit) finds a line that was altered, and lines
//! that were removed, also at the end. Who can rewrite the database as a whole can compute all hashes anew and leave a
//! log that is whole and wrong; against that the head is sealed with the master key where one is configured, which the
//! database does not hold. Even then lines written since the last seal could be taken away by somebody who also puts an
//! older head with its seal back: what must withstand that is to be copied elsewhere as it is written.

mod line;
mod operations;
mod verify;
mod writer;

pub use line::AuditLine;
pub(crate) use line::BEGINNING;
pub use operations::AuditQuery;
pub(crate) use operations::{AuditHead, Event, append};
pub use verify::{Finding, Verification};
pub use writer::{AuditWriter, RefusedAct};
