//! The records as JSON, for the audit log's `before` and `after`. Never a secret, nor a hash of one.

use serde::Serialize;
use serde_json::{Value, json};

use super::{KeyRecord, Organization, SubjectLimits, Team};

pub(crate) fn organization(it: &Organization) -> Value {
    json!({
        "id": it.id, "name": it.name, "limits": it.limits, "end_user_limits": it.end_user_limits,
        "permissions": it.permissions, "disabled": it.disabled,
    })
}

pub(crate) fn team(it: &Team) -> Value {
    json!({
        "id": it.id, "organization_id": it.organization_id, "name": it.name, "limits": it.limits,
        "permissions": it.permissions, "margin_millionths": it.margin_millionths, "disabled": it.disabled,
    })
}

pub(crate) fn key(it: &KeyRecord) -> Value {
    json!({
        "id": it.id, "organization_id": it.organization_id, "team_id": it.team_id, "name": it.name,
        "hint": it.hint, "previous_until": it.previous.map(|(_, until)| until), "role": it.role,
        "limits": it.limits, "permissions": it.permissions, "tags": tags(&it.tags), "disabled": it.disabled,
        "expires_at": it.expires_at,
    })
}

pub(crate) fn subject(it: &SubjectLimits) -> Value {
    json!({"scope": it.scope.to_string(), "limits": it.limits, "disabled": it.disabled})
}

/// What is kept as JSON text. Only values that have just been read from JSON, or could be, come here.
pub(crate) fn as_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_impossible| "{}".to_owned())
}

/// Tags as they are kept.
pub(crate) fn tags_as_json(list: &[(String, String)]) -> String {
    tags(list).to_string()
}

/// Tags as a JSON object.
fn tags(tags: &[(String, String)]) -> Value {
    tags.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect()
}
