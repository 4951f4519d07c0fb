//! Whom a limit or a sum of spending is about, and how that is written: in the ledger's roll-ups, in the limiter's
//! counters, in messages.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::records::{EndUser, KeyId, OrganizationId, TeamId};

/// One level that limits apply to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// `org:<id>`
    Organization(OrganizationId),
    /// `team:<id>`
    Team(TeamId),
    /// `key:<id>`
    Key(KeyId),
    /// `user:<organisation's id>/<end user>`
    EndUser(EndUser),
    /// `tag:<name>=<value>`
    Tag(Arc<str>, Arc<str>),
    /// `experiment:<name>`: the shadows of an experiment, which belong to no caller.
    Experiment(Arc<str>),
}

/// A text that is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a scope; write org:ID, team:ID, key:ID, user:ORGANISATION/NAME or tag:NAME=VALUE")]
pub struct ScopeError(String);

impl Scope {
    /// A tag's scope.
    pub fn tag(name: &str, value: &str) -> Self {
        Self::Tag(name.into(), value.into())
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Organization(id) => write!(formatter, "org:{id}"),
            Self::Team(id) => write!(formatter, "team:{id}"),
            Self::Key(id) => write!(formatter, "key:{id}"),
            Self::EndUser(user) => write!(formatter, "user:{}/{}", user.organization_id, user.name),
            Self::Tag(name, value) => write!(formatter, "tag:{name}={value}"),
            Self::Experiment(name) => write!(formatter, "experiment:{name}"),
        }
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let wrong = || ScopeError(text.chars().take(200).collect());
        let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
        if rest.is_empty() {
            return Err(wrong());
        }
        Ok(match kind {
            "org" => Self::Organization(rest.into()),
            "team" => Self::Team(rest.into()),
            "key" => Self::Key(rest.into()),
            "user" => {
                let (organization, name) = rest.split_once('/').ok_or_else(wrong)?;
                Self::EndUser(EndUser { organization_id: organization.into(), name: name.into() })
            }
            "tag" => {
                let (name, value) = rest.split_once('=').ok_or_else(wrong)?;
                Self::tag(name, value)
            }
            "experiment" => Self::Experiment(rest.into()),
            _ => return Err(wrong()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for text in [
            "org:org_default",
            "team:team_1",
            "key:key_1",
            "user:org_default/a/b=c:d",
            "tag:app=a=b",
            "experiment:next",
        ] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), text);
        }
        for wrong in ["", "org:", "key", "user:no-organisation", "tag:name", "planet:earth"] {
            assert!(wrong.parse::<Scope>().is_err(), "{wrong}");
        }
    }
}
