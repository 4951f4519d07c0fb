//! How often the statistics of experiments are wrong, and how soon they are right, by simulation: thousands of
//! experiments, each looked at after every single call. The rates stand in `docs/experiments-statistics.md`, which
//! `UPDATE_STATISTICS=1` writes anew.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod adaptive;
mod guards;
mod report;
mod sums;
mod traffic;
mod verdicts;
