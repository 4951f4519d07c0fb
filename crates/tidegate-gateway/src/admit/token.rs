//! Whom a token stands for: its claims, with the team and the organisation they name.

use std::net::IpAddr;

use tidegate_policy::{ModelPattern, Permissions};
use tidegate_store::OrganizationId;

use super::principal::{Bearer, Principal};
use super::refusal::{RefusalReason, refuse, refuse_permission, refuse_token};
use crate::error::GatewayError;
use crate::gateway::Gateway;
use crate::jwt::JwtVerifier;

/// Permission to call these models. An empty list of a key's permissions allows everything, that of a token nothing: a
/// pattern that no model's name fits.
fn only(models: &[String]) -> Permissions {
    let none = [String::new()];
    let models = if models.is_empty() { &none[..] } else { models };
    Permissions { models: models.iter().cloned().map(ModelPattern).collect(), ..Permissions::default() }
}

/// The bearer of a token that can be believed.
pub(super) async fn principal_of(
    gateway: &Gateway,
    jwt: &JwtVerifier,
    token: &str,
    address: Option<IpAddr>,
) -> Result<Principal, GatewayError> {
    let claims = jwt.verify(token).await.map_err(|refused| refuse_token(gateway, &refused))?;
    let directory = gateway.directory();
    let organization = match &claims.organization {
        None => directory.organization(&OrganizationId::default_organization()),
        Some(name) => directory.organization_named(name),
    };
    let bearer = |team, organization| Bearer {
        subject: claims.subject.clone(),
        user: claims.user.clone(),
        permissions: claims.models.as_deref().map(only),
        team,
        organization,
    };
    let Some(organization) = organization else {
        let message =
            "The organisation that is configured for this token's issuer does not exist here.".to_owned();
        let nobody = Principal::anonymous(address);
        return Err(refuse_permission(gateway, &nobody, RefusalReason::WrongToken, &claims.subject, message));
    };
    let team = match &claims.team {
        None => None,
        Some(name) => {
            let Some(team) = directory.team_or_hear_of(&organization.id, name).await else {
                // Whoever names a team that is not there must not be freed of every team's limits by it.
                let message = format!("The team `{name}` that this token names does not exist here.");
                let somebody = Principal::of_bearer(bearer(None, organization), address);
                return Err(refuse_permission(gateway, &somebody, RefusalReason::WrongToken, name, message));
            };
            Some(team)
        }
    };
    let is_disabled = organization.state.load().is_disabled
        || team.as_ref().is_some_and(|team| team.state.load().is_disabled);
    if is_disabled {
        return Err(refuse(gateway, RefusalReason::DisabledKey));
    }
    Ok(Principal::of_bearer(bearer(team, organization), address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_of_a_token_allows_no_model() {
        let (none, one) = (only(&[]), only(&["fast".to_owned()]));
        assert!(!none.allows_model("fast") && !none.allows_model("openai/gpt-5") && !none.is_empty());
        assert!(one.allows_model("fast") && !one.allows_model("slow"));
    }
}
