//! Fits a JSON Schema that was written for another provider to what Anthropic's structured output takes: every object
//! closed, and no keyword that it does not know. What such a keyword says moves into the description, where the model
//! reads it. Called by `render`.

use serde_json::{Map, Value};

/// The deepest nesting that is fitted; below it the schema stays as it is. serde_json reads no deeper.
const MAX_DEPTH: usize = 128;

/// Keywords that are understood, and stay.
const KNOWN: &[&str] = &[
    "type",
    "enum",
    "const",
    "anyOf",
    "allOf",
    "properties",
    "additionalProperties",
    "required",
    "items",
    "description",
    "title",
    "default",
    "$ref",
    "$defs",
    "definitions",
];

/// String formats that are understood.
const FORMATS: &[&str] =
    &["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

pub(super) fn fit_schema(schema: &Value) -> Value {
    fit(schema, MAX_DEPTH)
}

/// Whether an object takes keys that are not named, of which [`fit_schema`] has to deprive it.
pub(super) fn has_open_objects(schema: &Value) -> bool {
    is_open(schema, MAX_DEPTH)
}

fn is_open(schema: &Value, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    match schema {
        Value::Object(fields) => {
            let open = fields.get("additionalProperties");
            open.is_some_and(|open| open.is_object() || *open == Value::Bool(true))
                || fields.values().any(|value| is_open(value, depth))
        }
        Value::Array(items) => items.iter().any(|value| is_open(value, depth)),
        _ => false,
    }
}

fn fit(schema: &Value, depth: usize) -> Value {
    let (Some(fields), Some(depth)) = (schema.as_object(), depth.checked_sub(1)) else {
        return schema.clone();
    };
    let mut fitted = Map::new();
    let mut told = Vec::new();
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("properties" | "$defs" | "definitions", Value::Object(inner)) => {
                let inner = inner.iter().map(|(name, schema)| (name.clone(), fit(schema, depth)));
                fitted.insert(name.clone(), Value::Object(inner.collect()));
            }
            ("anyOf" | "allOf", Value::Array(inner)) => {
                fitted.insert(name.clone(), inner.iter().map(|schema| fit(schema, depth)).collect());
            }
            ("oneOf", Value::Array(inner)) => {
                fitted.insert("anyOf".to_owned(), inner.iter().map(|schema| fit(schema, depth)).collect());
            }
            ("items", _) => {
                fitted.insert(name.clone(), fit(value, depth));
            }
            // Set below for every object.
            ("additionalProperties" | "$schema", _) => {}
            ("format", Value::String(format)) if FORMATS.contains(&format.as_str()) => {
                fitted.insert(name.clone(), value.clone());
            }
            ("minItems", Value::Number(count)) if count.as_u64().is_some_and(|count| count <= 1) => {
                fitted.insert(name.clone(), value.clone());
            }
            (known, _) if KNOWN.contains(&known) => {
                fitted.insert(name.clone(), value.clone());
            }
            _ => told.push(format!("{name}: {value}")),
        }
    }
    if is_object(fields) {
        fitted.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    if !told.is_empty() {
        let told = told.join(", ");
        let description = match fitted.get("description").and_then(Value::as_str) {
            Some(description) => format!("{description} ({told})"),
            None => told,
        };
        fitted.insert("description".to_owned(), description.into());
    }
    Value::Object(fitted)
}

fn is_object(fields: &Map<String, Value>) -> bool {
    match fields.get("type") {
        Some(Value::String(kind)) => kind == "object",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "object"),
        _ => fields.contains_key("properties"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_closed_and_unknown_keywords_are_told_in_words() {
        let schema = serde_json::json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "age": {"type": "integer", "minimum": 0, "description": "In years"},
                "when": {"type": "string", "format": "date"},
                "code": {"type": "string", "pattern": "^a+$"},
                "either": {"oneOf": [{"type": "null"}, {"type": "object", "properties": {}}]},
                "minimum": {"type": "array", "items": {"type": "string"}, "minItems": 2}
            },
            "required": ["age"]
        });
        assert_eq!(
            fit_schema(&schema),
            serde_json::json!({
                "type": "object",
                "properties": {
                    "age": {"type": "integer", "description": "In years (minimum: 0)"},
                    "when": {"type": "string", "format": "date"},
                    "code": {"type": "string", "description": "pattern: \"^a+$\""},
                    "either": {"anyOf": [
                        {"type": "null"},
                        {"type": "object", "properties": {}, "additionalProperties": false}
                    ]},
                    "minimum": {"type": "array", "items": {"type": "string"}, "description": "minItems: 2"}
                },
                "required": ["age"],
                "additionalProperties": false
            })
        );
    }
}
