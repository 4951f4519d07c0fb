//! Station 2: who asks, and may they?
//!
//! [`authenticate`] answers before the body is read, so that strangers cannot make Tidegate hold their bodies; [`permit`]
//! when it is known what is asked. Whether there is room on limits and budgets is the matter of [`crate::hold`], once
//! it is known where the call could go and what that would cost.

mod features;
mod presented;
mod principal;
mod refusal;
mod token;

use std::net::IpAddr;

use jiff::Timestamp;
use tidegate_config::Auth;
use tidegate_policy::Permissions;
use tidegate_store::{EndUser, KeyHash, Scope};

pub(crate) use features::{Uses, uses_of};
pub use presented::{Presented, presented};
pub use principal::Principal;
pub use refusal::RefusalReason;
pub(crate) use refusal::refuse_permission;

use crate::accept::Call;
use crate::error::GatewayError;
use crate::gateway::Gateway;
use crate::jwt::JwtVerifier;
use refusal::refuse;

/// What is asked for, as far as the route alone says.
pub type Endpoint = &'static str;

/// Who asks, and whether they may ask this at all.
pub async fn authenticate(
    gateway: &Gateway,
    presented: Option<&Presented>,
    address: Option<IpAddr>,
    endpoint: Endpoint,
) -> Result<Principal, GatewayError> {
    let settings = gateway.settings();
    let directory = gateway.directory();
    let needs_key = match settings.server.auth {
        Auth::Open => false,
        Auth::Keys => true,
        Auth::KeysOnceOneExists => directory.has_caller_keys() || !settings.jwt.is_empty(),
    };
    let key = presented
        .and_then(|presented| KeyHash::of_secret(presented.expose()))
        .and_then(|hash| directory.find(&hash).map(|key| (hash, key)));
    let Some((hash, key)) = key else {
        if let Some(token) = presented.filter(|shown| JwtVerifier::looks_like_token(shown.expose()))
            && let jwt = gateway.jwt()
            && jwt.has_issuers()
        {
            let principal = token::principal_of(gateway, &jwt, token.expose(), address).await?;
            return check_route(gateway, principal, endpoint);
        }
        if !needs_key {
            return Ok(Principal::anonymous(address));
        }
        return Err(match presented {
            None => refuse(gateway, RefusalReason::NoKey),
            Some(_) => refuse(gateway, RefusalReason::WrongKey),
        });
    };
    let now = Timestamp::now();
    if key.hash != hash && key.previous.is_none_or(|(previous, until)| previous != hash || until <= now) {
        return Err(refuse(gateway, RefusalReason::RotatedKey));
    }
    if key.expires_at.is_some_and(|expires_at| expires_at <= now) {
        return Err(refuse(gateway, RefusalReason::ExpiredKey));
    }
    let is_disabled = key.is_disabled
        || key.team.as_ref().is_some_and(|team| team.state.load().is_disabled)
        || key.organization.state.load().is_disabled;
    if is_disabled {
        return Err(refuse(gateway, RefusalReason::DisabledKey));
    }
    if key.role.is_some() {
        return Err(refuse(gateway, RefusalReason::AdministratorsKey));
    }
    check_route(gateway, Principal::of_key(key, address), endpoint)
}

/// What the route alone and the address tell.
fn check_route(
    gateway: &Gateway,
    principal: Principal,
    endpoint: Endpoint,
) -> Result<Principal, GatewayError> {
    let address = principal.address();
    principal.check(|permissions, whose| {
        if address.is_some_and(|address| !permissions.allows_address(address)) {
            let from = address.map(|address| address.to_string()).unwrap_or_default();
            let message = format!("{whose} does not allow calls from {from}.");
            return Err(refuse_permission(gateway, &principal, RefusalReason::Address, endpoint, message));
        }
        if !permissions.allows_endpoint(endpoint) {
            let message = format!("{whose} does not allow `{endpoint}`.");
            return Err(refuse_permission(gateway, &principal, RefusalReason::Endpoint, endpoint, message));
        }
        Ok(())
    })?;
    Ok(principal)
}

/// Whether the principal may make this call, wherever it goes. Which targets it may go to is for `plan` to ask.
pub(crate) fn permit(gateway: &Gateway, call: &Call) -> Result<(), GatewayError> {
    let principal = &call.principal;
    let mut features = None;
    principal.check(|permissions, whose| {
        if permissions.denied_features.is_empty() {
            return Ok(());
        }
        let features = *features.get_or_insert_with(|| uses_of(call).features);
        match permissions.denied_feature(features) {
            None => Ok(()),
            Some(feature) => {
                let message = format!("{whose} does not allow `{}` in a request.", feature.as_str());
                Err(refuse_permission(gateway, principal, RefusalReason::Feature, &call.model, message))
            }
        }
    })?;
    let is_disabled = |scope: &Scope| gateway.directory().subject(scope).is_some_and(|it| it.is_disabled);
    if let (Some(user), Some(organization)) = (&call.end_user, principal.organization()) {
        let user = EndUser { organization_id: organization.id.clone(), name: user.as_str().into() };
        if is_disabled(&Scope::EndUser(user)) {
            let message = "This end user may not make calls.".to_owned();
            return Err(refuse_permission(gateway, principal, RefusalReason::EndUser, &call.model, message));
        }
    }
    if gateway.directory().has_tag_limits() {
        for (name, value) in call.wishes.tags.iter() {
            if is_disabled(&Scope::tag(name, value)) {
                let message = format!("Calls with the tag {name}={value} are not allowed.");
                return Err(refuse_permission(gateway, principal, RefusalReason::Tag, &call.model, message));
            }
        }
    }
    Ok(())
}

/// Why none of the targets is open to the principal, in the words of the level that says no.
pub(crate) fn refuse_model(gateway: &Gateway, call: &Call) -> GatewayError {
    let principal = &call.principal;
    let said = principal.check(|permissions, whose| {
        if permissions.models.is_empty() && permissions.providers.is_empty() {
            return Ok(());
        }
        Err(format!("{whose} does not allow the model `{}`.", call.model))
    });
    let message = said.err().unwrap_or_else(|| format!("The model `{}` is not allowed.", call.model));
    refuse_permission(gateway, principal, RefusalReason::Model, &call.model, message)
}

/// Whether calls of the principal that name this model may go to this target.
pub(crate) fn allows_target(principal: &Principal, model: &str, provider: &str, label: &str) -> bool {
    let model = model.strip_prefix("models/").unwrap_or(model);
    let allows = |permissions: &Permissions| {
        permissions.allows_provider(provider)
            && (permissions.allows_model(model) || permissions.allows_model(label))
    };
    principal.check(|permissions, _| if allows(permissions) { Ok(()) } else { Err(()) }).is_ok()
}
