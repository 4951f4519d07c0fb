//! Who asks something of `/admin/v1`: a key with a role, looked up in the store itself, so that a key that was disabled
//! is refused at once and one that was just made works at once.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use tidegate_gateway::GatewayError;
use tidegate_policy::{Area, Permissions, Role};
use tidegate_store::{Access, Actor, KeyHash, KeyRecord, Standing, StoreError, TeamId};

use super::refusal;

/// Somebody with a role.
#[derive(Debug, Clone)]
pub(crate) struct Administrator {
    pub(crate) actor: Actor,
    pub(crate) role: Role,
    pub(crate) key: KeyRecord,
}

/// Finds out who asks. The actor is known also where it is refused: for the audit log.
pub(crate) async fn authenticate(
    access: &Access,
    headers: &HeaderMap,
    address: Option<IpAddr>,
) -> Result<Administrator, (Actor, GatewayError)> {
    let stranger = |message: &str| (Actor::anonymous(address), refusal::unauthenticated(message));
    let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(shown) = shown.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim) else {
        return Err(stranger(
            "No key was sent. Send an administrator's key as `Authorization: Bearer tg-…`; `tidegate keys create \
             --role owner` makes one.",
        ));
    };
    // What is not even formed like a key costs no look into the store.
    let unknown = || stranger("This key is not known here. `tidegate keys create --role owner` makes one.");
    let hash = KeyHash::of_secret(shown).ok_or_else(unknown)?;
    let found = access.key_by_hash(&hash).await;
    let key =
        found.map_err(|error| (Actor::anonymous(address), refusal::of_store(&error)))?.ok_or_else(unknown)?;
    let actor = Actor::key(&key.id, address);
    match check(access, &key, &hash, address).await {
        Ok(role) => Ok(Administrator { actor, role, key }),
        Err(error) => Err((actor, error)),
    }
}

async fn check(
    access: &Access,
    key: &KeyRecord,
    hash: &KeyHash,
    address: Option<IpAddr>,
) -> Result<Role, GatewayError> {
    match key.standing(hash, Timestamp::now()) {
        Standing::Valid => {}
        Standing::Disabled => return Err(refusal::unauthenticated("This key is disabled.")),
        Standing::Expired => return Err(refusal::unauthenticated("This key has expired.")),
        Standing::Rotated | Standing::OtherSecret => {
            return Err(refusal::unauthenticated("This key was replaced by a new one. Ask for the new one."));
        }
    }
    // An owner can always set right what was disabled: else an admin could shut the owners out, and nobody could stop the calls
    // of the only organisation.
    let is_stopped_with_it = key.role != Some(Role::Owner);
    if is_stopped_with_it
        && is_level_disabled(access, key).await.map_err(|error| refusal::of_store(&error))?
    {
        return Err(refusal::unauthenticated("The organization or the team of this key is disabled."));
    }
    if !key.permissions.allows_caller_at(address) {
        return Err(refusal::forbidden("This key may not be used from this address."));
    }
    key.role.ok_or_else(|| {
        refusal::forbidden(
            "This is a key for calls, without a role. Administration takes one with a role: `tidegate keys create \
             --role admin` makes it.",
        )
    })
}

async fn is_level_disabled(access: &Access, key: &KeyRecord) -> Result<bool, StoreError> {
    let organization = access.organization(&key.organization_id).await?;
    let team = match &key.team_id {
        Some(team) => access.team(team).await?,
        None => None,
    };
    Ok(organization.is_none_or(|it| it.disabled) || team.is_some_and(|it| it.disabled))
}

impl Administrator {
    /// Whether it may see or change a part.
    pub(crate) fn may(&self, area: Area, writes: bool) -> Result<(), GatewayError> {
        let allowed = if writes { self.role.may_write(area) } else { self.role.may_read(area) };
        if allowed { Ok(()) } else { Err(refusal::role(self.role, area, writes)) }
    }

    /// The team that a member is confined to.
    pub(crate) fn confined_to(&self) -> Option<&TeamId> {
        // A member always has a team: the store makes none without.
        if self.role == Role::Member { self.key.team_id.as_ref() } else { None }
    }

    /// Permissions that it may give: a member no more than its own, and what it leaves open is what it has itself.
    pub(crate) fn give(&self, permissions: Permissions) -> Result<Permissions, GatewayError> {
        if self.role != Role::Member {
            return Ok(permissions);
        }
        permissions.narrowed_to(&self.key.permissions).map_err(|field| {
            refusal::forbidden(format!(
                "A member's keys may have no more than the member's own permissions, and `permissions.{field}` goes \
                 beyond them."
            ))
        })
    }

    /// Until when a key may work that it makes or changes: a member's no longer than the member itself, and where it says
    /// nothing, as long.
    pub(crate) fn give_until(&self, end: Option<Timestamp>) -> Result<Option<Timestamp>, GatewayError> {
        match (self.key.expires_at, end) {
            (Some(own), None) if self.role == Role::Member => Ok(Some(own)),
            (Some(own), Some(end)) if self.role == Role::Member && end > own => {
                Err(refusal::forbidden(format!(
                    "A member's keys end no later than the member's own, {own}; `expires_at` goes beyond it."
                )))
            }
            _ => Ok(end),
        }
    }

    /// Whether it may have the secret of a key, let it work again or change it. A member only where the key may do no more
    /// than the member itself: who has a key's secret can do all that the key may.
    pub(crate) fn may_take(&self, key: &KeyRecord) -> Result<(), GatewayError> {
        if self.role != Role::Member {
            return Ok(());
        }
        let is_within = |field: &'static str, is_within: bool| if is_within { Ok(()) } else { Err(field) };
        let narrowed = key.permissions.clone().narrowed_to(&self.key.permissions);
        let held =
            narrowed.and_then(|narrowed| is_within("permissions", narrowed == key.permissions)).and_then(
                |()| is_within("expires_at", self.give_until(key.expires_at).ok() == Some(key.expires_at)),
            );
        held.map_err(|field| {
            refusal::forbidden(format!(
                "This key may do more than you (`{field}`), so a member can see and disable it and no more. Ask an \
                 administrator, or make a key of your own."
            ))
        })
    }
}
