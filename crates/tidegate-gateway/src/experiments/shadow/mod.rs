//! Shadows: a share of a model's calls is also sent to a candidate, body and all, after the caller was served.
//!
//! ```text
//! settle ──sample──▶ bounded queue ──▶ run (this runtime: budget, seat) ──▶ thread of low priority (send, compare)
//!                                          ▲                                        │
//!                                          └────────── entry, for the ledger ◀──────┘
//! ```
//!
//! A caller's way ends with one `try_send` that wakes nobody. What does not fit is dropped and counted. The thread that does
//! the work takes none of the locks that callers take, as it may be kept from running for long while it holds one: seats,
//! budgets and the journal are the business of [`run`].

mod counts;
mod likeness;
mod queue;
mod run;
mod sample;
mod send;

pub use counts::{ShadowCounts, ShadowFate};
pub(crate) use queue::ShadowQueue;
pub(crate) use run::run;
pub(crate) use sample::Sample;
