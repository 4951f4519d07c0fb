//! What is to be changed, or asked for: each field that is left out stays as it is. Filled in by the admin API and the
//! command line.

use std::time::Duration;

use jiff::Timestamp;
use tidegate_policy::{Limits, Permissions, Role};

use super::{KeyId, OrganizationId, TeamId};

/// What is said of an organisation when it is made.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NewOrganization {
    /// Its name, unique.
    pub name: String,
    /// What limits all its keys together.
    pub limits: Limits,
    /// What limits each of its end users that has no limits of its own.
    pub end_user_limits: Limits,
    /// What its keys may do at most.
    pub permissions: Permissions,
}

/// Changes to an organisation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OrganizationUpdate {
    /// Its name.
    pub name: Option<String>,
    /// What limits all its keys together.
    pub limits: Option<Limits>,
    /// What limits each of its end users that has no limits of its own.
    pub end_user_limits: Option<Limits>,
    /// What its keys may do at most.
    pub permissions: Option<Permissions>,
    /// Whether its keys are refused.
    pub disabled: Option<bool>,
}

/// What is said of a team when it is made.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NewTeam {
    /// Its name, unique within the organisation.
    pub name: String,
    /// The organisation; the default one, when left out.
    pub organization_id: Option<OrganizationId>,
    /// What limits all its keys together.
    pub limits: Limits,
    /// What its keys may do at most.
    pub permissions: Permissions,
    /// Added to the cost of its calls where they are charged, in millionths.
    pub margin_millionths: i32,
}

/// Changes to a team.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TeamUpdate {
    /// Its name.
    pub name: Option<String>,
    /// What limits all its keys together.
    pub limits: Option<Limits>,
    /// What its keys may do at most.
    pub permissions: Option<Permissions>,
    /// Added to the cost of its calls where they are charged, in millionths.
    pub margin_millionths: Option<i32>,
    /// Whether its keys are refused.
    pub disabled: Option<bool>,
}

/// Changes to a key. Its role stays what it was made with: another role is another key.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct KeyUpdate {
    /// What it is for.
    pub name: Option<String>,
    /// The team; `Some(None)` takes it out of its team. The organisation stays.
    pub team_id: Option<Option<TeamId>>,
    /// What limits it.
    pub limits: Option<Limits>,
    /// What it may do.
    pub permissions: Option<Permissions>,
    /// Tags that all its calls carry.
    pub tags: Option<Vec<(String, String)>>,
    /// From when on it is refused; `Some(None)`: never.
    pub expires_at: Option<Option<Timestamp>>,
}

/// How long the secret before a rotation still works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace(pub Duration);

impl Default for Grace {
    /// A day: long enough to roll a secret out, short enough that nobody forgets the old one is alive.
    fn default() -> Self {
        Self(Duration::from_secs(24 * 3_600))
    }
}

/// Which keys are listed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct KeysQuery {
    /// Only those of this organisation.
    pub organization_id: Option<OrganizationId>,
    /// Only those of this team.
    pub team_id: Option<TeamId>,
    /// Only callers' keys, or only those with this role.
    pub role: RoleFilter,
    /// Only those that are disabled, or only those that are not.
    pub disabled: Option<bool>,
    /// Only those with this in their name, in any case.
    pub name: Option<String>,
    /// Only those after this one: the last of the page before.
    pub after: Option<KeyId>,
    /// At most so many; 0 stands for the usual number.
    pub limit: u32,
}

/// Which roles are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RoleFilter {
    /// All keys.
    #[default]
    Any,
    /// Keys that call models.
    Callers,
    /// Keys with any role.
    Administrators,
    /// Keys with this role.
    Only(Role),
}

/// Some of a list, and where to go on.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T, C> {
    /// The items.
    pub items: Vec<T>,
    /// The cursor of the next page; none at the end.
    pub next: Option<C>,
}

impl<T, C> Page<T, C> {
    /// A page of what was asked for with one more than fits.
    pub(crate) fn of(mut items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> C) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| has_more).map(cursor);
        Self { items, next }
    }
}
