//! Who there is: organisations, teams, keys, the limits of end users and tags. Written by the admin API and the command
//! line, read by the gateway.

mod changes;
mod describe;
mod error;
mod handle;
mod operations;
mod records;
mod scope;
mod secret;
mod session;
mod updates;
mod validate;

pub use changes::{Changed, Changes};
pub(crate) use describe::{as_json, tags_as_json};
pub use error::AccessError;
pub use handle::{Access, Loaded};
pub use records::{
    Actor, CredentialId, EndUser, KeyId, KeyRecord, NewKey, Organization, OrganizationId, Standing,
    SubjectLimits, Team, TeamId,
};
pub use scope::{Scope, ScopeError};
pub use secret::{KeyHash, KeySecret, NoRandomness};
pub use updates::{
    Grace, KeyUpdate, KeysQuery, NewOrganization, NewTeam, OrganizationUpdate, Page, RoleFilter, TeamUpdate,
};
pub(crate) use validate::name as checked_name;
