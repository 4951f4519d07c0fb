//! A whole gateway on port 0, over real sockets, for integration tests: real store, real API, real workers.
//!
//! A dev-dependency only. Tests write a configuration as a user would, call the gateway as a user would, and look into
//! its ledger. [`servers`] are the real PostgreSQL and Redis.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test may fail loudly, and this crate serves only tests"
)]

#[cfg(feature = "gateway")]
mod client;
#[cfg(feature = "gateway")]
mod gateway;
#[cfg(feature = "gateway")]
mod provider;
pub mod servers;

#[cfg(feature = "gateway")]
pub use client::{Client, Received};
#[cfg(feature = "gateway")]
pub use gateway::TestGateway;
#[cfg(feature = "gateway")]
pub use provider::{Arrived, ScriptedProvider, Step, event_stream, json_answer, open_stream};
