//! Making, changing, rotating and disabling keys.

use jiff::SignedDuration;
use tidegate_policy::Role;

use super::owners;
use crate::access::changes::Changed;
use crate::access::session::{Writing, milliseconds};
use crate::access::{
    Access, AccessError, Actor, Grace, KeyId, KeyRecord, KeySecret, KeyUpdate, NewKey, OrganizationId,
    TeamId, describe, validate,
};
use crate::queries;

/// The name of the owner that is made for a new store.
const FIRST_OWNER: &str = "first owner";

impl Access {
    /// Makes a key. Its secret is given out here and never again.
    pub async fn create_key(
        &self,
        new: NewKey,
        actor: &Actor,
    ) -> Result<(KeyRecord, KeySecret), AccessError> {
        self.write(actor, async |writing| create(writing, new).await).await
    }

    /// Changes a key.
    pub async fn update_key(
        &self,
        id: &KeyId,
        update: KeyUpdate,
        actor: &Actor,
    ) -> Result<KeyRecord, AccessError> {
        self.write(actor, async |writing| {
            let before = find(writing, id).await?;
            let mut after = before.clone();
            if let Some(name) = update.name {
                after.name = validate::name("name", &name)?;
            }
            if let Some(team) = update.team_id {
                if let Some(team) = &team {
                    let organization = owner(writing, None, Some(team)).await?;
                    if organization != after.organization_id {
                        let message =
                            format!("the team {team} belongs to another organization; make a new key there");
                        return Err(AccessError::invalid("team_id", message));
                    }
                }
                after.team_id = team;
            }
            if let Some(expires_at) = update.expires_at {
                let expires_at = expires_at.map(milliseconds);
                validate::expiry(expires_at, writing.now())?;
                after.expires_at = expires_at;
            }
            after.limits = update.limits.unwrap_or(after.limits);
            after.permissions = update.permissions.unwrap_or(after.permissions);
            after.tags = update.tags.unwrap_or(after.tags);
            if after != before {
                put(writing, Some(&before), &after, "key.update").await?;
            }
            Ok(after)
        })
        .await
    }

    /// Gives a key a new secret, which is given out here and never again. The old one works for as long as the grace says.
    pub async fn rotate_key(
        &self,
        id: &KeyId,
        grace: Grace,
        actor: &Actor,
    ) -> Result<(KeyRecord, KeySecret), AccessError> {
        validate::grace(grace.0)?;
        let secret = KeySecret::generate()?;
        let record = self
            .write(actor, async |writing| {
                let before = find(writing, id).await?;
                let mut after = before.clone();
                let now = writing.now();
                after.hash = secret.hash();
                after.hint = secret.hint();
                // Of two rotations in a row, the secret before both is gone: only one has grace.
                after.previous = SignedDuration::try_from(grace.0)
                    .ok()
                    .filter(SignedDuration::is_positive)
                    .and_then(|grace| now.checked_add(grace).ok())
                    .map(|until| (before.hash, milliseconds(until)));
                put(writing, Some(&before), &after, "key.rotate").await?;
                Ok(after)
            })
            .await?;
        Ok((record, secret))
    }

    /// Refuses a key from now on.
    pub async fn disable_key(&self, id: &KeyId, actor: &Actor) -> Result<KeyRecord, AccessError> {
        self.switch(id, true, "key.disable", actor).await
    }

    /// Takes a disabled key again.
    pub async fn enable_key(&self, id: &KeyId, actor: &Actor) -> Result<KeyRecord, AccessError> {
        self.switch(id, false, "key.enable", actor).await
    }

    async fn switch(
        &self,
        id: &KeyId,
        disabled: bool,
        action: &'static str,
        actor: &Actor,
    ) -> Result<KeyRecord, AccessError> {
        self.write(actor, async |writing| {
            let before = find(writing, id).await?;
            let after = KeyRecord { disabled, ..before.clone() };
            if after != before {
                put(writing, Some(&before), &after, action).await?;
            }
            Ok(after)
        })
        .await
    }

    /// Makes the first owner, where the store has never had one. Its secret is given out here and never again. Whether
    /// callers have keys does not matter: theirs may have been made from the command line before the first start.
    pub async fn bootstrap(&self) -> Result<Option<(KeyRecord, KeySecret)>, AccessError> {
        if queries::keys::is_any_owner(&self.database).await? {
            return Ok(None);
        }
        self.write(&Actor::system(), async |writing| {
            // Another process may have been first.
            if queries::keys::is_any_owner(&mut writing.transaction).await? {
                return Ok(None);
            }
            let new = NewKey { name: FIRST_OWNER.to_owned(), role: Some(Role::Owner), ..NewKey::default() };
            create(writing, new).await.map(Some)
        })
        .await
    }
}

async fn create(writing: &mut Writing<'_>, new: NewKey) -> Result<(KeyRecord, KeySecret), AccessError> {
    let secret = KeySecret::generate()?;
    let expires_at = new.expires_at.map(milliseconds);
    validate::expiry(expires_at, writing.now())?;
    let organization_id = owner(writing, new.organization_id, new.team_id.as_ref()).await?;
    let record = KeyRecord {
        id: KeyId::new(),
        organization_id,
        team_id: new.team_id,
        name: validate::name("name", &new.name)?,
        hint: secret.hint(),
        hash: secret.hash(),
        previous: None,
        role: new.role,
        limits: new.limits,
        permissions: new.permissions,
        tags: new.tags,
        disabled: false,
        expires_at,
        created_at: writing.now(),
    };
    put(writing, None, &record, "key.create").await?;
    Ok((record, secret))
}

async fn put(
    writing: &mut Writing<'_>,
    before: Option<&KeyRecord>,
    after: &KeyRecord,
    action: &'static str,
) -> Result<(), AccessError> {
    validate::limits("limits", &after.limits)?;
    validate::permissions(before.map(|it| &it.permissions), &after.permissions)?;
    validate::tags(&after.tags)?;
    if after.role == Some(Role::Member) && after.team_id.is_none() {
        return Err(AccessError::invalid("team_id", "a member belongs to a team; name it"));
    }
    queries::keys::put(&mut writing.transaction, after).await?;
    if let Some(before) = before {
        owners::remain(writing, before, after).await?;
    }
    let before = before.map(describe::key);
    let changed = Changed::Key(after.id.clone());
    Ok(writing.record(&changed, action, before, Some(describe::key(after))).await?)
}

async fn find(writing: &mut Writing<'_>, id: &KeyId) -> Result<KeyRecord, AccessError> {
    let found = queries::keys::find(&mut writing.transaction, id).await?;
    found.ok_or_else(|| AccessError::not_found("key", id.as_str()))
}

/// The organisation of a key that is asked for in this one and this team.
pub(super) async fn owner(
    writing: &mut Writing<'_>,
    organization: Option<OrganizationId>,
    team: Option<&TeamId>,
) -> Result<OrganizationId, AccessError> {
    let Some(team) = team else {
        let organization = organization.unwrap_or_else(OrganizationId::default_organization);
        let exists = queries::organizations::find(&mut writing.transaction, &organization).await?.is_some();
        return exists.then(|| organization.clone()).ok_or_else(|| {
            AccessError::invalid("organization_id", format!("there is no organization {organization}"))
        });
    };
    let found = queries::teams::find(&mut writing.transaction, team).await?;
    let found = found.ok_or_else(|| AccessError::invalid("team_id", format!("there is no team {team}")))?;
    if organization.is_some_and(|asked| asked != found.organization_id) {
        let message = format!("the team {team} belongs to the organization {}", found.organization_id);
        return Err(AccessError::invalid("organization_id", message));
    }
    Ok(found.organization_id)
}
