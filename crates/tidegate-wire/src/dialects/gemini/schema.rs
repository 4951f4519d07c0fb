//! Gemini's `Schema` (a subset of OpenAPI 3.0 with upper-case types) into standard JSON Schema. Called by `parse.rs`.
//!
//! The way back is not needed: what is rendered goes into `parametersJsonSchema` and `responseJsonSchema`, which take
//! JSON Schema as it is.

use serde_json::{Map, Value, json};

use super::types::{take, to_whole_number};

/// Fields that hold integers, which Google also takes as strings.
const COUNTS: [&str; 6] =
    ["minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"];

/// Converts a schema with everything in it. Fields that both languages know under one name stay as they are, unknown
/// ones too. Recursion ends because the JSON reader bounds how deep a value can be.
pub(super) fn to_json_schema(schema: Value) -> Value {
    let Value::Object(mut schema) = schema else { return schema };
    let mut out = Map::new();
    if let Some(kind) = take(&mut schema, "type") {
        match kind.as_str() {
            Some("TYPE_UNSPECIFIED") => {}
            Some(word) => drop(out.insert("type".to_owned(), word.to_ascii_lowercase().into())),
            None => drop(out.insert("type".to_owned(), kind)),
        }
    }
    let is_nullable = take(&mut schema, "nullable") == Some(Value::Bool(true));
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = take(&mut schema, name) {
            out.insert(name.to_owned(), to_json_schema(inner));
        }
    }
    for name in ["anyOf", "oneOf", "allOf", "prefixItems"] {
        if let Some(Value::Array(inner)) = take(&mut schema, name) {
            out.insert(name.to_owned(), inner.into_iter().map(to_json_schema).collect());
        }
    }
    for name in ["properties", "$defs", "defs"] {
        if let Some(Value::Object(inner)) = take(&mut schema, name) {
            let inner: Map<_, _> =
                inner.into_iter().map(|(key, value)| (key, to_json_schema(value))).collect();
            out.insert(if name == "defs" { "$defs" } else { name }.to_owned(), Value::Object(inner));
        }
    }
    for name in COUNTS {
        if let Some(count) = take(&mut schema, name) {
            out.insert(name.to_owned(), to_whole_number(&count).map_or(count, Value::from));
        }
    }
    if let Some(example) = take(&mut schema, "example") {
        out.insert("examples".to_owned(), json!([example]));
    }
    if let Some(format) = take(&mut schema, "format").filter(|format| format != "enum") {
        out.insert("format".to_owned(), format);
    }
    if let Some(order) = take(&mut schema, "propertyOrdering") {
        out.insert("propertyOrdering".to_owned(), order);
    }
    out.extend(schema.into_iter().filter(|(_, value)| !value.is_null()));
    if is_nullable {
        allow_null(&mut out);
    }
    Value::Object(out)
}

fn allow_null(schema: &mut Map<String, Value>) {
    if let Some(kind) = schema.get_mut("type").filter(|kind| kind.is_string() && *kind != "null") {
        *kind = json!([kind.take(), "null"]);
    } else if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.push(json!({"type": "null"}));
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.push(Value::Null);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openapi_words_become_json_schema_words_at_every_depth() {
        let schema = json!({
            "type": "OBJECT",
            "properties": {
                "name": {"type": "STRING", "nullable": true, "max_length": "40"},
                "type": {"type": "STRING", "format": "enum", "enum": ["A", "B"]},
                "list": {"type": "ARRAY", "items": {"any_of": [{"type": "NUMBER"}, {"type": "INTEGER"}]}, "minItems": 1}
            },
            "required": ["name"],
            "property_ordering": ["name", "type"]
        });
        assert_eq!(
            to_json_schema(schema),
            json!({
                "type": "object",
                "properties": {
                    "name": {"type": ["string", "null"], "maxLength": 40},
                    "type": {"type": "string", "enum": ["A", "B"]},
                    "list": {
                        "type": "array",
                        "items": {"anyOf": [{"type": "number"}, {"type": "integer"}]},
                        "minItems": 1
                    }
                },
                "required": ["name"],
                "propertyOrdering": ["name", "type"]
            })
        );
    }
}
