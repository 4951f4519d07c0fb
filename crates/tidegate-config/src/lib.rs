//! What Tidegate is told: `tidegate.yaml`, flags and the environment, read once and resolved into one [`Settings`].
//!
//! Called by the binary (`serve`, `check`, `schema`) and on a reload; everything else only reads [`Settings`].
//! It opens no socket and knows no database: what can be checked without them is checked here, all mistakes at once.
//!
//! The way of a file: `load` reads it, `yaml` makes a tree in which every value knows its place, `interpolate` fills in
//! `${…}`, `read` turns the tree into the types of `file`, and `resolve` turns those into [`Settings`].
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail loudly")
)]

mod condition;
mod describe;
mod diagnostic;
mod env;
mod file;
mod interpolate;
mod known;
mod load;
mod mask;
mod read;
mod resolve;
mod secret;
mod settings;
mod suggest;
mod units;
mod yaml;

pub use condition::{Condition, ConditionError, Fact, Facts, Variable};
pub use describe::describe;
pub use diagnostic::{ConfigErrors, Mistake};
pub use env::{Environment, MasterKeyFileError};
pub use file::schema;
pub use load::{DEFAULT_FILE, MAX_FILE_BYTES, Sources, load};
pub use secret::Secret;
pub use settings::{
    AUTO, Arm, ArmsDesign, Auth, Auto, Backoff, Bandit, Bodies, BudgetPeriod, CanaryDesign, Design, Discount,
    Experiment, FallbackOn, Guard, HealthCheck, Hedge, JwtAlgorithm, JwtClaimNames, JwtIssuer, KeepBodies,
    Key, KeySource, Ledger, Metric, Mix, Model, Origin, Policy, PriceOverride, Provider, Queue, Recovery,
    Redaction, Retention, Retry, Server, Settings, ShadowBudget, ShadowDesign, Share, Shared, Store,
    Strategy, Target, Thresholds, Timeouts, Unit, Unreachable,
};
pub use suggest::closest;
pub use units::{DurationError, parse_duration, parse_long_duration};
