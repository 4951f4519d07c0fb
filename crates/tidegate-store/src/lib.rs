//! What lasts. The only crate with SQL: other crates hand over values and ask questions, and never see a query.
//!
//! - [`Store`] opens the data directory, brings its schema up to date and answers reports.
//! - [`Access`] is all administration: who may call, what limits them, the audit log, the providers' credentials.
//! - [`Limiter`] holds calls against limits and budgets.
//! - [`LedgerWriter`] takes one [`LedgerEntry`] a call, off the request path, and never loses one while the process lives.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail loudly")
)]

mod access;
mod audit;
mod credentials;
mod database;
mod error;
mod experiments;
mod health_board;
mod ledger;
mod limits;
mod queries;
mod store;

pub use access::{
    Access, AccessError, Actor, Changed, Changes, EndUser, Grace, KeyHash, KeyId, KeyRecord, KeySecret,
    KeyUpdate, KeysQuery, Loaded, NewKey, NewOrganization, NewTeam, NoRandomness, Organization,
    OrganizationId, OrganizationUpdate, Page, RoleFilter, Scope, ScopeError, Standing, SubjectLimits, Team,
    TeamId, TeamUpdate,
};
pub use audit::{AuditLine, AuditQuery, AuditWriter, Finding, RefusedAct, Verification};
pub use credentials::{
    Credential, CredentialError, CredentialId, CredentialSecret, MasterKey, NotAMasterKey,
};
pub use database::{DatabaseUrl, DatabaseUrlError};
pub use error::StoreError;
pub use experiments::{CONTROL_ARM, Decision, Example, Feedback, RunSums, StoredState};
pub use health_board::{HealthBoard, HealthBoardAway};
pub use ledger::{
    Attempt, AttemptUsage, CacheState, CallBodies, CallId, CallsQuery, CloseReport, Deleted, Exposure,
    Gathered, GroupBy, KeptText, LedgerClosed, LedgerEntry, LedgerOptions, LedgerStatus, LedgerWriter,
    NoSeat, Outcome, Pair, RetentionOptions, SHADOW, Seat, TagError, Tags, Text, UsageFilter, UsageOrder,
    UsageQuery, UsageRow, UsageTotal,
};
pub use limits::{
    Crossed, Hold, LedgerProgress, Level, LevelUsage, Limiter, LocalOptions, Refused, SharedError,
    SharedOptions, SpendingFuture, SpendingSource, Unreachable,
};
pub use store::{Store, StoreOptions};
