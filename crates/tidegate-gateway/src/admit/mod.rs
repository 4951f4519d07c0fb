//! Station 2: who asks, and may they?
//!
//! [`authenticate`] answers before the body is read, so that strangers cannot make Tidegate hold their bodies; [`permit`]
//! when it is known what is asked. Whether there is room on limits and budgets is the matter of [`crate::hold`], once
//! it is known where the call could go and what that would cost.

mod features;
mod media;
mod presented;
mod principal;
mod refusal;
mod settings;
#[cfg(test)]
mod tests;
mod token;

use std::net::IpAddr;

use jiff::Timestamp;
use tidegate_config::Auth;
use tidegate_policy::Permissions;
use tidegate_store::{EndUser, KeyHash, KeyId, Scope};
use tidegate_wire::ErrorClass;

use features::all_features_of;
pub(crate) use features::{Uses, refers, uses_of};
pub use presented::{Presented, presented};
pub use principal::Principal;
pub use refusal::RefusalReason;
pub(crate) use refusal::{Hindrance, refuse_permission};
pub(crate) use settings::own_tools;

use crate::accept::Call;
use crate::directory::{ActiveKey, CurrentState, Directory};
use crate::error::GatewayError;
use crate::gateway::Gateway;
use crate::jwt::JwtVerifier;
use refusal::{refuse, refused};

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
    // What is not even formed like a key asks nobody.
    let hash = presented.and_then(|presented| KeyHash::of_secret(presented.expose()));
    let key = match hash {
        Some(hash) => directory.find_or_hear_of(&hash).await.map(|key| (hash, key)),
        None => None,
    };
    let needs_key = match settings.server.auth {
        Auth::Open => false,
        Auth::Keys => true,
        Auth::KeysOnceOneExists => directory.has_caller_keys() || !settings.jwt.is_empty(),
    };
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
    let has_grace = || {
        let previous = key.previous.as_deref();
        previous.is_some_and(|(previous, until)| *previous == hash && *until > Timestamp::now())
    };
    if key.hash != hash && !has_grace() {
        return Err(refuse(gateway, RefusalReason::RotatedKey));
    }
    if let Some(reason) = standing_of(&key) {
        return Err(refuse(gateway, reason));
    }
    check_route(gateway, Principal::of_key(key, address), endpoint)
}

/// Why a key does not work for calls, if so.
fn standing_of(key: &ActiveKey) -> Option<RefusalReason> {
    if key.expires_at.is_some_and(|expires_at| expires_at <= Timestamp::now()) {
        return Some(RefusalReason::ExpiredKey);
    }
    let is_disabled = |state: &CurrentState| state.prohibition().is_some_and(|state| state.is_disabled);
    let is_disabled = key.is_disabled
        || key.team.as_ref().is_some_and(|team| is_disabled(&team.state))
        || is_disabled(&key.organization.state);
    if is_disabled {
        return Some(RefusalReason::DisabledKey);
    }
    key.role.is_some().then_some(RefusalReason::AdministratorsKey)
}

/// What the route alone and the address tell.
fn check_route(
    gateway: &Gateway,
    principal: Principal,
    endpoint: Endpoint,
) -> Result<Principal, GatewayError> {
    match address_hindrance(&principal).or_else(|| endpoint_hindrance(&principal, endpoint)) {
        None => Ok(principal),
        Some(Hindrance { reason, message }) => {
            Err(refuse_permission(gateway, &principal, reason, endpoint, message))
        }
    }
}

fn address_hindrance(principal: &Principal) -> Option<Hindrance> {
    let address = principal.address();
    let asked = principal.check(|permissions, whose| {
        if permissions.allows_caller_at(address) {
            return Ok(());
        }
        let from = address.map_or_else(|| "an unknown address".to_owned(), |address| address.to_string());
        let message = format!("{whose} does not allow calls from {from}.");
        Err(Hindrance { reason: RefusalReason::Address, message })
    });
    asked.err()
}

fn endpoint_hindrance(principal: &Principal, endpoint: Endpoint) -> Option<Hindrance> {
    let asked = principal.check(|permissions, whose| {
        if !permissions.allows_endpoint(endpoint) {
            let message = format!("{whose} does not allow `{endpoint}`.");
            return Err(Hindrance { reason: RefusalReason::Endpoint, message });
        }
        Ok(())
    });
    asked.err()
}

/// Whether the principal may make this call, wherever it goes. Which targets it may go to is for `plan` to ask.
pub(crate) fn permit(gateway: &Gateway, call: &Call) -> Result<(), GatewayError> {
    match hindrance(gateway.directory(), call) {
        None => Ok(()),
        Some(Hindrance { reason, message }) => {
            Err(refuse_permission(gateway, &call.principal, reason, &call.model, message))
        }
    }
}

/// Why the principal may not make this call, if so.
pub(crate) fn hindrance(directory: &Directory, call: &Call) -> Option<Hindrance> {
    let principal = &call.principal;
    let mut features = None;
    let asked = principal.check(|permissions, whose| {
        if permissions.denied_features.is_empty() {
            return Ok(());
        }
        let features = *features.get_or_insert_with(|| all_features_of(call));
        match permissions.denied_feature(features) {
            None => Ok(()),
            Some(feature) => Err(Hindrance {
                reason: RefusalReason::Feature,
                message: format!("{whose} does not allow `{}` in a request.", feature.as_str()),
            }),
        }
    });
    if let Err(denied) = asked {
        return Some(denied);
    }
    let is_disabled = |scope: &Scope| directory.subject(scope).is_some_and(|it| it.is_disabled);
    if let (Some(user), Some(organization)) = (&call.end_user, principal.organization()) {
        let user = EndUser { organization_id: organization.id.clone(), name: user.as_str().into() };
        if is_disabled(&Scope::EndUser(user)) {
            let message = "This end user may not make calls.".to_owned();
            return Some(Hindrance { reason: RefusalReason::EndUser, message });
        }
    }
    if directory.has_tag_limits() {
        for (name, value) in call.wishes.tags.iter() {
            if is_disabled(&Scope::tag(name, value)) {
                let message = format!("Calls with the tag {name}={value} are not allowed.");
                return Some(Hindrance { reason: RefusalReason::Tag, message });
            }
        }
    }
    None
}

/// Why none of the targets is open to the principal.
pub(crate) fn refuse_model(gateway: &Gateway, call: &Call) -> GatewayError {
    let Hindrance { reason, message } = model_hindrance(call);
    refuse_permission(gateway, &call.principal, reason, &call.model, message)
}

/// The same in the words of the level that says no.
pub(crate) fn model_hindrance(call: &Call) -> Hindrance {
    let said = call.principal.check(|permissions, whose| {
        if permissions.models.is_empty() && permissions.providers.is_empty() {
            return Ok(());
        }
        Err(format!("{whose} does not allow the model `{}`.", call.model))
    });
    let message = said.err().unwrap_or_else(|| format!("The model `{}` is not allowed.", call.model));
    Hindrance { reason: RefusalReason::Model, message }
}

/// The principal of a key's id, as if it were calling: for explanations. Nothing is counted or written down.
pub fn principal_of(gateway: &Gateway, id: &KeyId, endpoint: Endpoint) -> Result<Principal, GatewayError> {
    let Some(key) = gateway.directory().key(id) else {
        let message = format!("There is no key `{id}`.");
        return Err(GatewayError {
            status: 404,
            class: ErrorClass::NotFound,
            ..GatewayError::bad_request(message)
        });
    };
    if let Some(reason) = standing_of(&key) {
        return Err(refused(reason));
    }
    let principal = Principal::of_key(key, None);
    match endpoint_hindrance(&principal, endpoint) {
        None => Ok(principal),
        Some(hindrance) => Err(hindrance.to_error()),
    }
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
