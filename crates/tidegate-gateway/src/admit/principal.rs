//! Who is calling: a key or the bearer of a token, with team and organisation, or nobody in particular where no keys are
//! needed.

use std::net::IpAddr;
use std::sync::Arc;

use tidegate_policy::Permissions;
use tidegate_store::Actor;

use crate::directory::{ActiveKey, ActiveOrganization, ActiveTeam};

/// Who is calling, for the length of one call.
#[derive(Debug, Clone)]
pub struct Principal {
    who: Who,
    address: Option<IpAddr>,
}

#[derive(Debug, Clone)]
enum Who {
    Anybody,
    Key(Arc<ActiveKey>),
    Bearer(Arc<Bearer>),
}

/// The bearer of a token.
#[derive(Debug)]
pub(super) struct Bearer {
    /// Its name for the audit log.
    pub(super) subject: String,
    /// The end user that the token names.
    pub(super) user: Option<String>,
    /// What the token allows.
    pub(super) permissions: Option<Permissions>,
    pub(super) team: Option<Arc<ActiveTeam>>,
    pub(super) organization: Arc<ActiveOrganization>,
}

impl Principal {
    /// Somebody where no key is needed.
    pub fn anonymous(address: Option<IpAddr>) -> Self {
        Self { who: Who::Anybody, address }
    }

    pub(super) fn of_key(key: Arc<ActiveKey>, address: Option<IpAddr>) -> Self {
        Self { who: Who::Key(key), address }
    }

    pub(super) fn of_bearer(bearer: Bearer, address: Option<IpAddr>) -> Self {
        Self { who: Who::Bearer(Arc::new(bearer)), address }
    }

    /// Its key.
    pub fn key(&self) -> Option<&Arc<ActiveKey>> {
        match &self.who {
            Who::Key(key) => Some(key),
            Who::Anybody | Who::Bearer(_) => None,
        }
    }

    /// Its team.
    pub fn team(&self) -> Option<&Arc<ActiveTeam>> {
        match &self.who {
            Who::Anybody => None,
            Who::Key(key) => key.team.as_ref(),
            Who::Bearer(bearer) => bearer.team.as_ref(),
        }
    }

    /// Its organisation.
    pub fn organization(&self) -> Option<&Arc<ActiveOrganization>> {
        match &self.who {
            Who::Anybody => None,
            Who::Key(key) => Some(&key.organization),
            Who::Bearer(bearer) => Some(&bearer.organization),
        }
    }

    /// The end user, where the token names it. It counts before what the request says, which anybody can write.
    pub fn end_user(&self) -> Option<&str> {
        match &self.who {
            Who::Bearer(bearer) => bearer.user.as_deref(),
            Who::Anybody | Who::Key(_) => None,
        }
    }

    /// Where the call comes from.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Its name in the audit log.
    pub fn actor(&self) -> Actor {
        let name = match &self.who {
            Who::Anybody => Arc::from("anybody"),
            Who::Key(key) => Arc::clone(key.id.shared()),
            Who::Bearer(bearer) => format!("jwt:{}", bearer.subject).into(),
        };
        Actor { name, address: self.address }
    }

    /// What is added to costs, in millionths.
    pub fn margin_millionths(&self) -> i32 {
        self.team().map_or(0, |team| team.state.load().margin_millionths)
    }

    /// Asks the permissions of every level that has any, and stops at the first that says no. The second argument is
    /// whose they are, at the beginning of a sentence.
    pub fn check<E>(&self, mut ask: impl FnMut(&Permissions, &str) -> Result<(), E>) -> Result<(), E> {
        match &self.who {
            Who::Anybody => return Ok(()),
            Who::Key(key) => {
                if let Some(permissions) = &key.permissions {
                    ask(permissions, "This key")?;
                }
            }
            Who::Bearer(bearer) => {
                if let Some(permissions) = &bearer.permissions {
                    ask(permissions, "This token")?;
                }
            }
        }
        if let Some(state) = self.team().and_then(|team| team.state.prohibition())
            && let Some(permissions) = &state.permissions
        {
            ask(permissions, "The team of this caller")?;
        }
        if let Some(state) = self.organization().and_then(|organization| organization.state.prohibition())
            && let Some(permissions) = &state.permissions
        {
            ask(permissions, "The organisation of this caller")?;
        }
        Ok(())
    }
}
