//! `/admin/v1`: organisations, teams, keys, limits, usage, the audit log and the providers' credentials, for keys with a
//! role.
//!
//! `routes` is the table of everything there is. The router, the OpenAPI document and the tests are made from it.

mod audit;
mod caller;
mod calls;
mod context;
mod credentials;
mod experiments;
mod explain;
mod handle;
mod keys;
mod limits;
mod limits_usage;
mod openapi;
mod organizations;
mod refusal;
mod requests;
pub mod routes;
mod targets;
mod teams;
mod usage;
mod views;

pub use context::Administration;
pub(crate) use handle::{AT_ONCE, document, handle};
pub use limits_usage::LimitsUsageView;
pub use openapi::openapi;
pub use requests::CreateKey;
pub use views::{
    AuditLineView, KeyView, KeyWithSecret, List, OrganizationView, SubjectView, TeamView, VerificationView,
};
