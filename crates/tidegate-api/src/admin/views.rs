//! What `/admin/v1` answers with. Never a secret, but for a new key's own, once.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use tidegate_policy::{Limits, Permissions, Role};
use tidegate_store::{
    AuditLine, Credential, KeyRecord, Organization, Scope, SubjectLimits, Team, Verification,
};

/// Some of a list.
#[derive(Debug, Serialize, JsonSchema)]
pub struct List<T> {
    /// The items.
    pub data: Vec<T>,
    /// Pass it as `after` to get the next page; null at the end.
    pub next: Option<String>,
}

/// An organisation.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Organization")]
pub struct OrganizationView {
    id: String,
    name: String,
    /// What limits all its keys together.
    limits: Limits,
    /// What limits each of its end users that has no limits of its own.
    end_user_limits: Limits,
    /// What its keys may do at most.
    permissions: Permissions,
    /// Whether its keys are refused.
    disabled: bool,
    #[schemars(with = "String", extend("format" = "date-time"))]
    created_at: Timestamp,
}

/// A team.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Team")]
pub struct TeamView {
    id: String,
    organization_id: String,
    name: String,
    /// What limits all its keys together.
    limits: Limits,
    /// What its keys may do at most.
    permissions: Permissions,
    /// Added to the cost of its calls where they are charged, in per cent. Negative for a discount.
    margin_percent: f64,
    /// Whether its keys are refused.
    disabled: bool,
    #[schemars(with = "String", extend("format" = "date-time"))]
    created_at: Timestamp,
}

/// Whether a key works.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum KeyState {
    /// It works.
    Active,
    /// It was disabled.
    Disabled,
    /// Its time has ended.
    Expired,
}

/// A key, without its secret.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Key")]
pub struct KeyView {
    id: String,
    organization_id: String,
    team_id: Option<String>,
    name: String,
    /// The secret's first and last characters.
    hint: String,
    /// An administrator's role; null for a key that calls models.
    role: Option<Role>,
    state: KeyState,
    /// What limits it.
    limits: Limits,
    /// What it may do.
    permissions: Permissions,
    /// Tags that all its calls carry.
    tags: BTreeMap<String, String>,
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    expires_at: Option<Timestamp>,
    /// Until when the secret before the last rotation works.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    previous_secret_until: Option<Timestamp>,
    #[schemars(with = "String", extend("format" = "date-time"))]
    created_at: Timestamp,
}

/// A key that was just made or rotated, with its secret.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KeyWithSecret {
    /// The key.
    #[serde(flatten)]
    pub key: KeyView,
    /// The secret. It is shown here and never again.
    pub secret: String,
}

/// The limits of an end user or a tag.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "SubjectLimits")]
pub struct SubjectView {
    /// `user:<organization's id>/<name>` or `tag:<name>=<value>`.
    scope: String,
    /// The organisation, of an end user.
    #[serde(skip_serializing_if = "Option::is_none")]
    organization_id: Option<String>,
    /// The end user's or the tag's name.
    name: String,
    /// The tag's value.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    limits: Limits,
    /// Whether its calls are refused.
    disabled: bool,
}

/// A line of the audit log.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AuditLine")]
pub struct AuditLineView {
    sequence: u64,
    #[schemars(with = "String", extend("format" = "date-time"))]
    at: Timestamp,
    /// Who: a key's id, `cli:<user>`, `system` or `anonymous`.
    actor: String,
    /// From which address.
    address: Option<String>,
    /// What: `key.create`, `permission.refused`, …
    action: String,
    /// To what: `key:key_…`.
    object: String,
    /// How it was before.
    #[schemars(with = "Option<serde_json::Value>")]
    before: Option<Box<RawValue>>,
    /// How it was after; of a refusal, why and how often.
    #[schemars(with = "Option<serde_json::Value>")]
    after: Option<Box<RawValue>>,
    /// The SHA-256 of this line and the hash of the line before, in hexadecimal.
    hash: String,
}

/// What going through the audit log found.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AuditVerification")]
pub struct VerificationView {
    /// Whether everything is as it was written.
    pub whole: bool,
    /// How many lines were read.
    pub lines: u64,
    /// Up to which line the master key's seal vouches for the log.
    pub sealed_through: Option<u64>,
    /// What is wrong.
    pub findings: Vec<String>,
    /// How many findings there are besides.
    pub more: u64,
}

/// A provider's credential, without its secret.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Credential")]
pub(super) struct CredentialView {
    id: String,
    provider: String,
    label: String,
    /// The secret's last characters.
    hint: String,
    /// The fingerprint of the master key that it is encrypted with.
    master_key: String,
    #[schemars(with = "String", extend("format" = "date-time"))]
    created_at: Timestamp,
    #[schemars(with = "String", extend("format" = "date-time"))]
    rotated_at: Timestamp,
}

impl<T> List<T> {
    pub(super) fn of<R, C: ToString>(page: tidegate_store::Page<R, C>, view: impl Fn(R) -> T) -> Self {
        Self {
            data: page.items.into_iter().map(view).collect(),
            next: page.next.map(|cursor| cursor.to_string()),
        }
    }
}

impl From<Organization> for OrganizationView {
    fn from(it: Organization) -> Self {
        Self {
            id: it.id.to_string(),
            name: it.name,
            limits: it.limits,
            end_user_limits: it.end_user_limits,
            permissions: it.permissions,
            disabled: it.disabled,
            created_at: it.created_at,
        }
    }
}

impl From<Team> for TeamView {
    fn from(it: Team) -> Self {
        Self {
            id: it.id.to_string(),
            organization_id: it.organization_id.to_string(),
            name: it.name,
            limits: it.limits,
            permissions: it.permissions,
            margin_percent: f64::from(it.margin_millionths) / 10_000.0,
            disabled: it.disabled,
            created_at: it.created_at,
        }
    }
}

impl From<KeyRecord> for KeyView {
    fn from(it: KeyRecord) -> Self {
        let state = match it.expires_at {
            _ if it.disabled => KeyState::Disabled,
            Some(expiry) if expiry <= Timestamp::now() => KeyState::Expired,
            _ => KeyState::Active,
        };
        Self {
            id: it.id.to_string(),
            organization_id: it.organization_id.to_string(),
            team_id: it.team_id.as_ref().map(ToString::to_string),
            name: it.name,
            hint: it.hint,
            role: it.role,
            state,
            limits: it.limits,
            permissions: it.permissions,
            tags: it.tags.into_iter().collect(),
            expires_at: it.expires_at,
            previous_secret_until: it.previous.map(|(_, until)| until),
            created_at: it.created_at,
        }
    }
}

impl From<SubjectLimits> for SubjectView {
    fn from(it: SubjectLimits) -> Self {
        let scope = it.scope.to_string();
        let (organization_id, name, value) = match &it.scope {
            Scope::EndUser(user) => (Some(user.organization_id.to_string()), user.name.to_string(), None),
            Scope::Tag(name, value) => (None, name.to_string(), Some(value.to_string())),
            Scope::Organization(_) | Scope::Team(_) | Scope::Key(_) | Scope::Experiment(_) => {
                (None, scope.clone(), None)
            }
        };
        Self { scope, organization_id, name, value, limits: it.limits, disabled: it.disabled }
    }
}

impl From<AuditLine> for AuditLineView {
    fn from(it: AuditLine) -> Self {
        // What somebody has made of it that is no JSON is shown as text.
        let state = |text: String| {
            let raw = RawValue::from_string(text.clone()).or_else(|_| serde_json::value::to_raw_value(&text));
            raw.ok()
        };
        Self {
            sequence: it.sequence,
            at: it.at,
            actor: it.actor,
            address: it.address,
            action: it.action,
            object: it.object,
            before: it.before.and_then(state),
            after: it.after.and_then(state),
            hash: it.hash.iter().flat_map(|byte| [byte >> 4, byte & 0xf]).filter_map(hexadecimal).collect(),
        }
    }
}

fn hexadecimal(digit: u8) -> Option<char> {
    char::from_digit(u32::from(digit), 16)
}

impl From<Verification> for VerificationView {
    fn from(it: Verification) -> Self {
        Self {
            whole: it.is_whole(),
            lines: it.lines,
            sealed_through: it.sealed_through,
            findings: it.findings.iter().map(ToString::to_string).collect(),
            more: it.more,
        }
    }
}

impl From<Credential> for CredentialView {
    fn from(it: Credential) -> Self {
        Self {
            id: it.id.to_string(),
            provider: it.provider,
            label: it.label,
            hint: it.hint,
            master_key: it.master_key,
            created_at: it.created_at,
            rotated_at: it.rotated_at,
        }
    }
}
