//! What has changed since a reader looked last. The gateway asks every moment and takes the new state of what is named.

use std::str::FromStr as _;

use super::{KeyId, OrganizationId, Scope, TeamId};
use crate::credentials::CredentialId;

/// What has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// These, the oldest first; nothing, where the list is empty.
    These {
        /// What they are, each named once.
        changed: Vec<Changed>,
        /// Up to which change this goes: ask from here the next time.
        latest: u64,
    },
    /// More than is kept, or the store is another one than before: load everything anew.
    Everything,
}

/// One thing that was made, changed or removed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Changed {
    /// An organisation.
    Organization(OrganizationId),
    /// A team.
    Team(TeamId),
    /// A key.
    Key(KeyId),
    /// The limits of an end user or a tag.
    Subject(Scope),
    /// A provider's credential.
    Credential(CredentialId),
}

impl Changed {
    /// The words for the table.
    pub(crate) fn to_words(&self) -> (&'static str, String) {
        match self {
            Self::Organization(id) => ("organization", id.to_string()),
            Self::Team(id) => ("team", id.to_string()),
            Self::Key(id) => ("key", id.to_string()),
            Self::Subject(scope) => ("subject", scope.to_string()),
            Self::Credential(id) => ("credential", id.to_string()),
        }
    }

    /// From the words of the table; `None` for what a newer version wrote.
    pub(crate) fn from_words(kind: &str, id: &str) -> Option<Self> {
        Some(match kind {
            "organization" => Self::Organization(id.into()),
            "team" => Self::Team(id.into()),
            "key" => Self::Key(id.into()),
            "subject" => Self::Subject(Scope::from_str(id).ok()?),
            "credential" => Self::Credential(id.into()),
            _ => return None,
        })
    }

    /// What the audit log calls it.
    pub(crate) fn object(&self) -> String {
        let (kind, id) = self.to_words();
        if kind == "subject" { id } else { format!("{kind}:{id}") }
    }
}
