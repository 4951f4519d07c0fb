//! The roles of administrators: who may see and change what under `/admin/v1`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a key may do under `/admin/v1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Owner,
    /// Everything but other administrators and the providers' credentials.
    Admin,
    /// Sees everything, changes nothing.
    Auditor,
    /// Sees and makes keys of its own team, and sees what that team used.
    Member,
}

/// A part of the administration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Area {
    /// Keys of callers.
    Keys,
    /// Organisations, teams, and the limits of end users and tags.
    Teams,
    /// Keys with a role.
    Administrators,
    /// The providers' credentials.
    Credentials,
    /// The ledger and its reports.
    Usage,
    /// What is tried out, and what it shows.
    Experiments,
    /// The audit log.
    Audit,
    /// How targets are doing, and which of them a call would go to.
    Routing,
}

impl Role {
    /// All of them, the most powerful first.
    pub const ALL: [Self; 4] = [Self::Owner, Self::Admin, Self::Auditor, Self::Member];

    /// The word for the store and for messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Auditor => "auditor",
            Self::Member => "member",
        }
    }

    /// The role of this name.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }

    /// Whether it may see this part. A member sees only what belongs to its own team.
    pub fn may_read(self, area: Area) -> bool {
        match self {
            Self::Owner | Self::Admin | Self::Auditor => true,
            Self::Member => matches!(area, Area::Keys | Area::Usage),
        }
    }

    /// Whether it may change this part. A member changes only what belongs to its own team.
    pub fn may_write(self, area: Area) -> bool {
        match self {
            Self::Owner => true,
            Self::Admin => !matches!(area, Area::Administrators | Area::Credentials),
            Self::Auditor => false,
            Self::Member => area == Area::Keys,
        }
    }
}
