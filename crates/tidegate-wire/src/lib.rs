//! What the bytes mean: dialects, streams and the conversation model between them.
//!
//! Pure: bytes and values in, bytes and values out. No runtime, no sockets, no clock, no logging.

mod usage;

pub use usage::Usage;
