//! `/v1beta/models`.

use serde_json::{Value, json};

pub(crate) fn list(names: &[&str]) -> Value {
    json!({"models": names.iter().map(|name| one(name)).collect::<Vec<_>>()})
}

pub(crate) fn one(name: &str) -> Value {
    json!({
        "name": format!("models/{name}"), "version": "1", "displayName": name, "description": "A simulated model.",
        "inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    })
}
