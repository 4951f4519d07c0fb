//! Everything a caller can reach: routes, errors, metrics.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail loudly")
)]

pub mod serve;
