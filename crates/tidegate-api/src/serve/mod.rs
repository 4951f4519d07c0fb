//! The server: from a listening socket to requests. The binary's `serve` command calls [`serve`].
//!
//! One thread per core, each with a runtime of its own, and a connection stays on the thread that got it, with its
//! upstream connections: nothing of a call is shared between cores, and no call wakes another thread. The accepting
//! task hands each connection to the worker with the fewest.
//!
//! - `accept`: takes connections and spreads them; stops on shutdown
//! - `worker`: a thread, its runtime and its connections; drains them
//! - `connection`: HTTP/1.1 or HTTP/2 on one connection
//! - `stall`: breaks connections whose callers take nothing any more
//! - `linger`: reads on a caller who got its answer while it was still sending
//! - `phase`: tells calls in flight that the time for draining is over
//! - `options`: the limits, each with its reason

mod accept;
mod connection;
mod error;
mod linger;
mod options;
mod phase;
mod stall;
mod worker;

pub use accept::serve;
pub use error::ServeError;
pub use linger::RequestBody;
pub use options::{ServeOptions, raise_open_file_limit};
pub(crate) use phase::{CutOff, Ending};
pub use worker::WorkerId;

#[cfg(test)]
mod tests;
