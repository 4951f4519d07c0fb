//! The way of a request through Tidegate, one module a station, in this order:
//!
//! | station | question it answers |
//! |---|---|
//! | [`accept`]  | what was asked, in which dialect, for which model? |
//! | [`admit`]   | who asks, and may they? |
//! | [`plan`]    | which targets, in which order, under which deadlines? |
//! | `hold`      | is there room on every limit and budget? |
//! | [`attempt`] | try one target: translate, send, classify |
//! | [`relay`]   | bring the answer back in the caller's dialect |
//! | [`settle`]  | what did it cost, and who must know? |
//!
//! [`walk`] is the one function that walks them. No SQL, no web framework: requests come from `tidegate-api` as values,
//! answers go back as values and bodies.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail loudly")
)]

pub mod accept;
pub mod admit;
pub mod attempt;
mod bill;
mod clock;
pub mod directory;
mod error;
pub mod experiments;
mod gateway;
mod health;
mod health_check;
mod health_share;
mod hold;
pub mod jwt;
pub mod keep;
pub mod plan;
mod provider;
mod provider_limits;
pub mod queue;
pub mod relay;
pub mod report;
mod series;
pub mod settle;
mod snapshot;
pub mod upstream;
mod way;

pub use accept::{Arrival, Operation};
pub use admit::{Presented, Principal, authenticate, presented};
pub use directory::{Directory, Follower};
pub use error::{GatewayError, Source};
pub use gateway::{Gateway, GatewayOptions, Status, StoredCredential};
pub use health_check::check_providers;
pub use health_share::share_health;
pub use plan::ListedModel;
pub use provider::ProviderError;
pub use relay::AnswerBody;
pub use way::{Answer, Refusal, walk};
