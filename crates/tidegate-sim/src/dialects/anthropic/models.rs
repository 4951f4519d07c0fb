//! `/v1/models`, asked with `anthropic-version`.

use serde_json::{Value, json};

pub(crate) fn list(names: &[&str]) -> Value {
    json!({
        "data": names.iter().map(|name| one(name)).collect::<Vec<_>>(),
        "has_more": false, "first_id": names.first(), "last_id": names.last(),
    })
}

pub(crate) fn one(name: &str) -> Value {
    json!({"type": "model", "id": name, "display_name": name, "created_at": "2025-10-09T00:00:00Z"})
}
