//! What the bytes mean: dialects, streams and the conversation model between them.
//!
//! Pure: bytes and values in, bytes and values out. No runtime, no sockets, no clock, no logging.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail loudly")
)]

pub mod framing;

mod usage;

pub use usage::Usage;
