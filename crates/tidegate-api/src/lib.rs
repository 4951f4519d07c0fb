//! Everything a caller can reach: the inference routes, health, metrics. The only crate with a web framework.
//!
//! [`routes::ROUTES`] is the table of all of them; [`App::router`] makes the framework's router out of it, once a worker.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail loudly")
)]

pub mod admin;
mod app;
mod body;
mod caller;
mod error;
mod feedback;
mod health;
mod inference;
mod metrics;
mod models;
mod place;
mod request_to_explain;
pub mod routes;
pub mod serve;

pub use app::App;
pub use metrics::Metrics;
pub use request_to_explain::{Asked, RequestToExplain};
