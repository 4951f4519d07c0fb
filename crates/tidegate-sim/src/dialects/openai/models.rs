//! `/v1/models`.

use serde_json::{Value, json};

pub(crate) fn list(names: &[&str]) -> Value {
    json!({"object": "list", "data": names.iter().map(|name| one(name)).collect::<Vec<_>>()})
}

pub(crate) fn one(name: &str) -> Value {
    json!({"id": name, "object": "model", "created": super::reply::CREATED, "owned_by": "sim"})
}
