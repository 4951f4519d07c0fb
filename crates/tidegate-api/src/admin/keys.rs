//! `/admin/v1/keys`. A member sees and makes callers' keys of its own team; keys with a role are the owners' business.

use tidegate_gateway::GatewayError;
use tidegate_policy::{Area, Role};
use tidegate_store::{KeyId, KeyRecord, KeySecret, KeyUpdate, KeysQuery, NewKey, RoleFilter};

use super::context::{Context, Reply};
use super::refusal::{forbidden, invalid, not_found, of_access, of_store};
use super::requests::{CreateKey, RotateKey, UpdateKey};
use super::views::{KeyView, KeyWithSecret, List};

pub(super) async fn list(context: Context) -> Result<Reply, GatewayError> {
    let query = &context.query;
    let mut keys = KeysQuery {
        organization_id: query.get("organization_id").map(Into::into),
        team_id: query.get("team_id").map(Into::into),
        role: query.get("role").map(role).transpose()?.unwrap_or_default(),
        disabled: query.parsed("disabled")?,
        name: query.get("name").map(str::to_owned),
        after: query.after("key_")?.map(Into::into),
        limit: query.limit()?,
    };
    if let Some(own) = context.caller.confined_to() {
        if keys.team_id.as_ref().is_some_and(|team| team != own) {
            return Err(forbidden("A member sees the keys of its own team only. Leave `team_id` out."));
        }
        keys.team_id = Some(own.clone());
        keys.role = RoleFilter::Callers;
    }
    let page = context.access().keys(&keys).await.map_err(|error| of_store(&error))?;
    Reply::json(&List::of(page, KeyView::from))
}

fn role(word: &str) -> Result<RoleFilter, GatewayError> {
    match word {
        "none" => Ok(RoleFilter::Callers),
        "any" => Ok(RoleFilter::Administrators),
        _ => Role::from_word(word)
            .map(RoleFilter::Only)
            .ok_or_else(|| invalid("role", "it takes none, any, owner, admin, auditor or member")),
    }
}

pub(super) async fn create(context: Context) -> Result<Reply, GatewayError> {
    let mut new: NewKey = context.body::<CreateKey>()?.into();
    let caller = &context.caller;
    if new.role.is_some() {
        caller.may(Area::Administrators, true)?;
    }
    if let Some(own) = caller.confined_to() {
        if new.team_id.as_ref().is_some_and(|team| team != own) {
            return Err(forbidden("A member makes keys in its own team only. Leave `team_id` out."));
        }
        new.team_id = Some(own.clone());
    }
    context.check_providers(&new.permissions, &[])?;
    new.permissions = caller.give(new.permissions)?;
    new.expires_at = caller.give_until(new.expires_at)?;
    let made = context.access().create_key(new, context.actor()).await.map_err(of_access)?;
    Reply::created(&with_secret(made))
}

pub(super) async fn get(context: Context) -> Result<Reply, GatewayError> {
    let key = find(&context, false).await?;
    Reply::json(&KeyView::from(key))
}

pub(super) async fn update(context: Context) -> Result<Reply, GatewayError> {
    let mut update: KeyUpdate = context.body::<UpdateKey>()?.into();
    let key = find_to_take(&context).await?;
    let own = context.caller.confined_to();
    if own.is_some() && update.team_id.as_ref().is_some_and(|team| team.as_ref() != own) {
        return Err(forbidden("A member cannot move a key out of its team."));
    }
    if let Some(permissions) = &update.permissions {
        context.check_providers(permissions, &key.permissions.providers)?;
    }
    update.permissions = update.permissions.map(|it| context.caller.give(it)).transpose()?;
    update.expires_at = update.expires_at.map(|end| context.caller.give_until(end)).transpose()?;
    let done = context.access().update_key(&key.id, update, context.actor()).await;
    Reply::json(&KeyView::from(done.map_err(of_access)?))
}

pub(super) async fn rotate(context: Context) -> Result<Reply, GatewayError> {
    let grace = context.body::<RotateKey>()?.grace()?;
    let key = find_to_take(&context).await?;
    let done = context.access().rotate_key(&key.id, grace, context.actor()).await.map_err(of_access)?;
    Reply::json(&with_secret(done))
}

pub(super) async fn disable(context: Context) -> Result<Reply, GatewayError> {
    let key = find(&context, true).await?;
    let done = context.access().disable_key(&key.id, context.actor()).await;
    Reply::json(&KeyView::from(done.map_err(of_access)?))
}

pub(super) async fn enable(context: Context) -> Result<Reply, GatewayError> {
    let key = find_to_take(&context).await?;
    let done = context.access().enable_key(&key.id, context.actor()).await;
    Reply::json(&KeyView::from(done.map_err(of_access)?))
}

/// The key that the path names, if the caller may have its secret or let it do more.
async fn find_to_take(context: &Context) -> Result<KeyRecord, GatewayError> {
    let key = find(context, true).await?;
    context.caller.may_take(&key)?;
    Ok(key)
}

/// The key that the path names, if the caller may see it, or disable it. To a member, other teams' keys do not exist.
pub(super) async fn find(context: &Context, writes: bool) -> Result<KeyRecord, GatewayError> {
    let id = context.parameters.get("id");
    let missing = || not_found("key", id);
    let found = context.access().key(&KeyId::from(id)).await.map_err(|error| of_store(&error))?;
    let key = found.ok_or_else(missing)?;
    if let Some(own) = context.caller.confined_to()
        && (key.team_id.as_ref() != Some(own) || key.role.is_some())
    {
        return Err(missing());
    }
    if key.role.is_some() {
        context.caller.may(Area::Administrators, writes)?;
    }
    Ok(key)
}

fn with_secret((key, secret): (KeyRecord, KeySecret)) -> KeyWithSecret {
    KeyWithSecret { key: key.into(), secret: secret.expose().to_owned() }
}
