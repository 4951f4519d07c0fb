//! What `/admin/v1` takes. Unknown fields are refused: a limit that was mistyped must not be silently none.

use std::time::Duration;

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use tidegate_policy::{Limits, Permissions, Role};
use tidegate_store::{Grace, KeyUpdate, NewKey, NewOrganization, NewTeam, OrganizationUpdate, TeamUpdate};

use super::refusal;
use tidegate_gateway::GatewayError;

/// A new organisation.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CreateOrganization {
    /// Its name, unique.
    #[schemars(required)]
    name: String,
    /// What limits all its keys together.
    limits: Limits,
    /// What limits each of its end users that has no limits of its own.
    end_user_limits: Limits,
    /// What its keys may do at most.
    permissions: Permissions,
}

/// Changes to an organisation. What is left out stays.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct UpdateOrganization {
    name: Option<String>,
    limits: Option<Limits>,
    end_user_limits: Option<Limits>,
    permissions: Option<Permissions>,
    /// Whether its keys are refused.
    disabled: Option<bool>,
}

/// A new team.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CreateTeam {
    /// Its name, unique within the organisation.
    #[schemars(required)]
    name: String,
    /// The organisation; the default one, when left out.
    organization_id: Option<String>,
    /// What limits all its keys together.
    limits: Limits,
    /// What its keys may do at most.
    permissions: Permissions,
    /// Added to the cost of its calls where they are charged, in per cent. Negative for a discount.
    margin_percent: Percent,
}

/// Changes to a team. What is left out stays.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct UpdateTeam {
    name: Option<String>,
    limits: Option<Limits>,
    permissions: Option<Permissions>,
    /// Added to the cost of its calls where they are charged, in per cent.
    margin_percent: Option<Percent>,
    /// Whether its keys are refused.
    disabled: Option<bool>,
}

/// A new key.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CreateKey {
    /// What it is for.
    #[schemars(required)]
    name: String,
    /// The organisation; the team's, or the default one, when left out.
    organization_id: Option<String>,
    /// The team.
    team_id: Option<String>,
    /// An administrator's role. Such a key works under `/admin/v1` and nowhere else.
    role: Option<Role>,
    /// What limits it.
    limits: Limits,
    /// What it may do.
    permissions: Permissions,
    /// Tags that all its calls carry.
    tags: BTreeMap<String, String>,
    /// From when on it is refused.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    expires_at: Option<Timestamp>,
}

/// Changes to a key. What is left out stays. The role cannot be changed: make another key.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::option_option, reason = "left out, null and a value are three things")]
pub(super) struct UpdateKey {
    name: Option<String>,
    /// Another team of the same organisation; null takes it out of its team.
    #[serde(deserialize_with = "also_null")]
    #[schemars(with = "Option<String>")]
    team_id: Option<Option<String>>,
    limits: Option<Limits>,
    permissions: Option<Permissions>,
    tags: Option<BTreeMap<String, String>>,
    /// From when on it is refused; null: never.
    #[serde(deserialize_with = "also_null")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    expires_at: Option<Option<Timestamp>>,
}

/// How a key is rotated.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RotateKey {
    /// How long the old secret still works: `24h`, `30d`, `0s`; 90 days at most. A day, when left out.
    grace: Option<String>,
}

/// Limits of an end user or a tag.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SetLimits {
    pub(super) limits: Limits,
    /// Whether its calls are refused.
    pub(super) disabled: bool,
}

/// A provider's credential.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CreateCredential {
    /// The configured provider that it is for.
    #[schemars(required)]
    pub(super) provider: String,
    /// What it is called, unique for its provider; `main`, when left out.
    pub(super) label: Option<String>,
    /// The provider's key.
    #[schemars(required)]
    pub(super) secret: String,
}

/// A provider's new secret.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RotateCredential {
    /// The provider's key.
    #[schemars(required)]
    pub(super) secret: String,
}

/// A field that is there is `Some`, also where it is null.
#[expect(clippy::option_option, reason = "left out, null and a value are three things")]
fn also_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

/// Per cent, as a number or, as all amounts can be, as text.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
enum Percent {
    /// `12.5`.
    Number(f64),
    /// `"12.5"`.
    Text(String),
}

impl Default for Percent {
    fn default() -> Self {
        Self::Number(0.0)
    }
}

/// Per cent in millionths.
fn margin(percent: Percent) -> Result<i32, GatewayError> {
    let wrong =
        || refusal::invalid("margin_percent", "it takes -100 to 5000, with at most four decimal places");
    let percent = match percent {
        Percent::Number(number) => number,
        Percent::Text(text) => text.trim().parse().map_err(|_error| wrong())?,
    };
    let millionths = (percent * 10_000.0).round();
    if !(-1_000_000.0..=50_000_000.0).contains(&millionths) {
        return Err(wrong());
    }
    // Through its text, as there is no conversion that could not lose something.
    format!("{millionths:.0}").parse().map_err(|_error| wrong())
}

impl From<CreateOrganization> for NewOrganization {
    fn from(it: CreateOrganization) -> Self {
        Self {
            name: it.name,
            limits: it.limits,
            end_user_limits: it.end_user_limits,
            permissions: it.permissions,
        }
    }
}

impl From<UpdateOrganization> for OrganizationUpdate {
    fn from(it: UpdateOrganization) -> Self {
        Self {
            name: it.name,
            limits: it.limits,
            end_user_limits: it.end_user_limits,
            permissions: it.permissions,
            disabled: it.disabled,
        }
    }
}

impl TryFrom<CreateTeam> for NewTeam {
    type Error = GatewayError;

    fn try_from(it: CreateTeam) -> Result<Self, GatewayError> {
        Ok(Self {
            name: it.name,
            organization_id: it.organization_id.as_deref().map(Into::into),
            limits: it.limits,
            permissions: it.permissions,
            margin_millionths: margin(it.margin_percent)?,
        })
    }
}

impl TryFrom<UpdateTeam> for TeamUpdate {
    type Error = GatewayError;

    fn try_from(it: UpdateTeam) -> Result<Self, GatewayError> {
        Ok(Self {
            name: it.name,
            limits: it.limits,
            permissions: it.permissions,
            margin_millionths: it.margin_percent.map(margin).transpose()?,
            disabled: it.disabled,
        })
    }
}

impl From<CreateKey> for NewKey {
    fn from(it: CreateKey) -> Self {
        Self {
            name: it.name,
            organization_id: it.organization_id.as_deref().map(Into::into),
            team_id: it.team_id.as_deref().map(Into::into),
            role: it.role,
            limits: it.limits,
            permissions: it.permissions,
            tags: it.tags.into_iter().collect(),
            expires_at: it.expires_at,
        }
    }
}

impl From<UpdateKey> for KeyUpdate {
    fn from(it: UpdateKey) -> Self {
        Self {
            name: it.name,
            team_id: it.team_id.map(|team| team.as_deref().map(Into::into)),
            limits: it.limits,
            permissions: it.permissions,
            tags: it.tags.map(|tags| tags.into_iter().collect()),
            expires_at: it.expires_at,
        }
    }
}

/// No grace: the old secret has leaked. Elsewhere a duration of nothing is a mistake.
const IMMEDIATELY: [&str; 3] = ["0", "0s", "0ms"];

impl RotateKey {
    pub(super) fn grace(&self) -> Result<Grace, GatewayError> {
        let Some(text) = &self.grace else { return Ok(Grace::default()) };
        if IMMEDIATELY.contains(&text.trim()) {
            return Ok(Grace(Duration::ZERO));
        }
        let grace = tidegate_config::parse_long_duration(text.trim());
        grace.map(Grace).map_err(|error| refusal::invalid("grace", &error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaked_secret_can_be_replaced_without_grace() {
        let grace = |text: &str| serde_json::from_str::<RotateKey>(text).unwrap().grace();
        assert_eq!(grace(r#"{"grace":"0s"}"#).unwrap(), Grace(Duration::ZERO));
        assert_eq!(grace(r#"{"grace":"90s"}"#).unwrap(), Grace(Duration::from_secs(90)));
        assert_eq!(grace(r#"{"grace":"90d"}"#).unwrap(), Grace(Duration::from_secs(90 * 24 * 3_600)));
        assert_eq!(grace("{}").unwrap(), Grace::default());
        assert!(grace(r#"{"grace":"soon"}"#).is_err());
    }

    #[test]
    fn what_is_left_out_stays_and_null_takes_away() {
        let update = |text: &str| KeyUpdate::from(serde_json::from_str::<UpdateKey>(text).unwrap());
        assert_eq!(update("{}"), KeyUpdate::default());
        assert_eq!(update(r#"{"team_id":null}"#).team_id, Some(None));
        assert_eq!(update(r#"{"team_id":"team_1"}"#).team_id, Some(Some("team_1".into())));
        assert_eq!(update(r#"{"expires_at":null}"#).expires_at, Some(None));
    }

    #[test]
    fn margins_are_exact() {
        for (percent, millionths) in [
            (20.0, Some(200_000)),
            (0.0001, Some(1)),
            (-15.3, Some(-153_000)),
            (6000.0, None),
            (f64::NAN, None),
        ] {
            assert_eq!(margin(Percent::Number(percent)).ok(), millionths, "{percent}");
        }
    }
}
