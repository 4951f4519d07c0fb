//! Administration on both databases.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

mod audit;
mod credentials;
mod operations;
mod place;
