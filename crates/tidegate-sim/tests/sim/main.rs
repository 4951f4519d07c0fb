//! The simulator over real sockets.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

mod answers;
mod failures;
mod refusals;
mod support;
