//! The records of organisations, teams and keys, as they are kept.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tidegate_policy::{Limits, Permissions, Role};
use uuid::Uuid;

use super::secret::KeyHash;

/// Makes an id type: a prefix and 32 hex digits of a UUID version 7, kept and shown as text.
macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)+) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
            #[serde(transparent)]
            pub struct $name(Arc<str>);

            impl $name {
                /// A new one.
                pub fn new() -> Self {
                    Self(format!("{}_{}", $prefix, Uuid::now_v7().simple()).into())
                }

                /// As text.
                pub fn as_str(&self) -> &str {
                    &self.0
                }

                /// As shared text.
                pub fn shared(&self) -> &Arc<str> {
                    &self.0
                }
            }

            impl Default for $name {
                fn default() -> Self {
                    Self::new()
                }
            }

            impl From<&str> for $name {
                fn from(text: &str) -> Self {
                    Self(text.into())
                }
            }

            impl fmt::Display for $name {
                fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                    formatter.write_str(&self.0)
                }
            }
        )+
    };
}

ids! {
    /// What an organisation is known by: `org_…`.
    OrganizationId = "org";
    /// What a team is known by: `team_…`.
    TeamId = "team";
    /// What a key is known by: `key_…`. Not a secret.
    KeyId = "key";
    /// What a provider's credential is known by: `cred_…`.
    CredentialId = "cred";
}

impl OrganizationId {
    /// The organisation that every store has from the start.
    pub fn default_organization() -> Self {
        Self::from("org_default")
    }
}

/// The top level: who pays.
#[derive(Debug, Clone, PartialEq)]
pub struct Organization {
    /// Its id.
    pub id: OrganizationId,
    /// Its name, unique.
    pub name: String,
    /// What limits all its keys together.
    pub limits: Limits,
    /// What limits each of its end users, where the end user has no limits of its own.
    pub end_user_limits: Limits,
    /// What its keys may do at most.
    pub permissions: Permissions,
    /// Whether its keys are refused.
    pub disabled: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Keys that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct Team {
    /// Its id.
    pub id: TeamId,
    /// The organisation it belongs to.
    pub organization_id: OrganizationId,
    /// Its name, unique within the organisation.
    pub name: String,
    /// What limits all its keys together.
    pub limits: Limits,
    /// What its keys may do at most.
    pub permissions: Permissions,
    /// Added to the cost of its calls where they are charged, in millionths: 200 000 is 20 %. May be negative, a discount.
    pub margin_millionths: i32,
    /// Whether its keys are refused.
    pub disabled: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyRecord {
    /// Its id.
    pub id: KeyId,
    /// The organisation it belongs to.
    pub organization_id: OrganizationId,
    /// The team it belongs to, if any.
    pub team_id: Option<TeamId>,
    /// What it is for, in words; not unique.
    pub name: String,
    /// Enough of the secret to recognise it: its first and last characters.
    pub hint: String,
    /// The hash of its secret.
    pub hash: KeyHash,
    /// The secret before the last rotation, which still works until this moment.
    pub previous: Option<(KeyHash, Timestamp)>,
    /// An administrator's role. With one the key works under `/admin/v1` and nowhere else.
    pub role: Option<Role>,
    /// What limits it.
    pub limits: Limits,
    /// What it may do.
    pub permissions: Permissions,
    /// Tags that all its calls carry.
    pub tags: Vec<(String, String)>,
    /// Whether it is refused.
    pub disabled: bool,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Whether a key may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Valid,
    /// It was disabled.
    Disabled,
    /// Its time has ended.
    Expired,
    /// Its secret was replaced, and the time of grace has ended.
    Rotated,
    /// The secret is not its own.
    OtherSecret,
}

impl KeyRecord {
    /// Whether the key may be used at this moment by who shows this secret. The team and the organisation of a caller or a
    /// member can be disabled besides.
    pub fn standing(&self, shown: &KeyHash, now: Timestamp) -> Standing {
        match &self.previous {
            Some((previous, until)) if previous == shown && *until <= now => return Standing::Rotated,
            Some((previous, _)) if previous == shown => {}
            _ if *shown == self.hash => {}
            _ => return Standing::OtherSecret,
        }
        if self.disabled {
            Standing::Disabled
        } else if self.expires_at.is_some_and(|expiry| expiry <= now) {
            Standing::Expired
        } else {
            Standing::Valid
        }
    }
}

/// What is said of a key when it is made.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NewKey {
    /// What it is for.
    pub name: String,
    /// The organisation; the default one, when left out.
    pub organization_id: Option<OrganizationId>,
    /// The team. Its organisation is the key's.
    pub team_id: Option<TeamId>,
    /// An administrator's role.
    pub role: Option<Role>,
    /// What limits it.
    pub limits: Limits,
    /// What it may do.
    pub permissions: Permissions,
    /// Tags that all its calls carry.
    pub tags: Vec<(String, String)>,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
}

/// An end user as the caller names it, within the caller's organisation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EndUser {
    /// The organisation whose caller named it.
    pub organization_id: OrganizationId,
    /// Its name there.
    pub name: Arc<str>,
}

/// The limits of an end user or of a tag: what has limits without being an entity of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct SubjectLimits {
    /// Whose.
    pub scope: super::Scope,
    /// What limits it.
    pub limits: Limits,
    /// Whether its calls are refused.
    pub disabled: bool,
}

/// Who does something to the store, for the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Actor {
    /// The id of a key, or `cli:<user>`, or `system`.
    pub name: Arc<str>,
    /// From which address, where it came over the network.
    pub address: Option<IpAddr>,
}

impl Actor {
    /// Tidegate itself: what it does at the first start.
    pub fn system() -> Self {
        Self { name: "system".into(), address: None }
    }

    /// Somebody who did not say who it is, or whose key does not exist.
    pub fn anonymous(address: Option<IpAddr>) -> Self {
        Self { name: "anonymous".into(), address }
    }

    /// A key that came over the network.
    pub fn key(id: &KeyId, address: Option<IpAddr>) -> Self {
        Self { name: Arc::clone(id.shared()), address }
    }

    /// Whether it came over the network with its key. The address may be unknown, where a proxy says none that can be read.
    pub(crate) fn is_remote(&self) -> bool {
        self.name.starts_with("key_")
    }

    /// A user of the machine at the command line.
    pub fn command_line(user: &str) -> Self {
        Self { name: format!("cli:{user}").into(), address: None }
    }
}
