//! A provider simulator over real HTTP: three dialects, whole and streamed, and every failure on request.
//!
//! It is an independent witness of what a gateway sends: it reads and writes the dialects with its own plain code and
//! never through `tidegate-wire`'s codecs, where a mistake would cancel itself out. It is strict: what the real provider
//! would refuse, it refuses, in that provider's words. `tidegate demo` and `tidegate sim` run it, and the tests do.
//!
//! The model's name says how to behave: `GET /sim/scenarios` and [`scenarios`] list all names.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail loudly")
)]

mod answer;
mod asked;
mod body;
mod call;
mod connection;
mod dialects;
mod digest;
mod options;
mod routes;
mod scenario;
mod served;
mod simulator;

pub use digest::checksum;
pub use options::{OptionsError, SimOptions};
pub use scenario::{ScenarioFacts, scenarios};
pub use served::{Outcome, Served, Totals, TotalsOf};
pub use simulator::{RunningSim, SimError, Simulator};
pub use tidegate_wire::Dialect;
