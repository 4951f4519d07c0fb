//! The limiter over Redis or Valkey, for several replicas that count together.
//!
//! A call's worker writes its question down as JSON and hands it to the [`courier`], the one task that speaks with Redis. The
//! courier sends what has gathered as one command, and one script (`limiter.lua`) answers all of it. Settling queues up
//! and goes ahead of the next questions. While Redis is away, [`outage`] answers instead, or nobody. When it comes back, or has
//! lost what it knew, the courier brings along what calls hold ([`joining`]) before it asks for room again.

mod answer;
mod client;
mod connection;
mod courier;
mod dispatch;
mod held;
mod joining;
mod link;
mod on_time;
mod options;
mod outage;
mod question;
#[cfg(test)]
mod script_tests;
mod tls;
mod unwritten;

pub(super) use client::{Shared, SharedHold};
pub(crate) use connection::Connection;
pub use options::{SharedError, SharedOptions, Unreachable};
pub(super) use outage::OutageHold;
