//! Who there is: organisations, teams, keys, the limits of end users and tags. Written by the admin API and the command
//! line, read by the gateway.

mod records;
mod scope;
mod secret;

pub use records::{
    Actor, EndUser, KeyId, KeyRecord, NewKey, Organization, OrganizationId, SubjectLimits, Team, TeamId,
};
pub use scope::{Scope, ScopeError};
pub use secret::{KeyHash, KeySecret};
