//! Limits and budgets at work: room for a call is reserved on every level before it, and settled to the real figures
//! after it. The gateway's `admit` reserves, its `settle` settles.
//!
//! - [`Limiter`] is what others see; [`Hold`] is the room that one call has.
//! - `local` keeps the counters in memory, for a gateway of one replica.
//! - `shared` keeps them in Redis or Valkey, for several that count together.

mod answers;
mod clock;
mod counter_map;
mod hold;
mod limiter;
mod local;
mod shared;
mod spending;
#[cfg(test)]
mod tests;

pub use answers::{Crossed, LevelUsage, Refused};
pub use hold::Hold;
pub use limiter::{Level, Limiter};
pub use local::LocalOptions;
pub(crate) use shared::Connection;
pub use shared::{SharedError, SharedOptions, Unreachable};
pub use spending::{LedgerProgress, SpendingFuture, SpendingSource};
