//! What Tidegate is told: `tidegate.yaml`, flags and the environment, read once and resolved into one [`Settings`].
//!
//! Called by the binary (`serve`, `check`, `schema`) and on a reload; everything else only reads [`Settings`].
//! It opens no socket and knows no database: what can be checked without them is checked here, all mistakes at once.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail loudly")
)]

mod diagnostic;
mod env;
mod known;
mod load;
mod secret;
mod settings;

pub use diagnostic::{ConfigErrors, Mistake};
pub use env::Environment;
pub use load::{DEFAULT_FILE, Sources, load};
pub use secret::Secret;
pub use settings::{
    Auth, Backoff, FallbackOn, Key, KeySource, Model, Origin, Policy, PriceOverride, Provider, Recovery,
    Retry, Server, Settings, Strategy, Target, Timeouts,
};
