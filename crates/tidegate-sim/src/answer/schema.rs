//! JSON that fits a schema, drawn from a seed: the arguments of tool calls and structured answers.

use serde_json::{Map, Number, Value, json};

use super::words;
use crate::digest::{Draws, characters};

/// Schemas may refer to themselves; deeper than this only what is required is filled, twice as deep nothing.
const DEEP: usize = 8;
/// A schema that refers to itself many times over would be filled for ever.
const MOST_VALUES: usize = 5_000;

/// A value that fits. `hint` is a word of the request that free text fields take, so that `get_weather` is called for
/// the city that was asked about.
pub(crate) fn value_for(schema: &Value, seed: u64, hint: Option<&str>) -> Value {
    let mut writer = Writer { root: schema, draws: Draws::new(seed), hint, room: MOST_VALUES };
    writer.value(schema, 0)
}

struct Writer<'request> {
    root: &'request Value,
    draws: Draws,
    hint: Option<&'request str>,
    /// How many values may still be made.
    room: usize,
}

impl Writer<'_> {
    fn value(&mut self, schema: &Value, depth: usize) -> Value {
        if depth > DEEP * 2 || self.room == 0 {
            return Value::Null;
        }
        self.room -= 1;
        if let Some(resolved) = self.resolve(schema) {
            return self.value(&resolved, depth + 1);
        }
        if let Some(fixed) = schema.get("const") {
            return fixed.clone();
        }
        if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
            return self.draws.pick(choices).cloned().unwrap_or(Value::Null);
        }
        for word in ["anyOf", "oneOf", "any_of"] {
            if let Some(first) =
                schema.get(word).and_then(Value::as_array).and_then(|choices| choices.first())
            {
                return self.value(first, depth + 1);
            }
        }
        if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
            let values: Vec<Value> = parts.iter().map(|part| self.value(part, depth + 1)).collect();
            return values.into_iter().reduce(merge).unwrap_or(Value::Null);
        }
        match type_of(schema).as_str() {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, depth),
            "integer" => json!(self.number(schema)),
            "number" => Number::from_f64(Self::number_in(schema)).map_or(Value::Null, Value::Number),
            "boolean" => Value::Bool(self.draws.below(2) == 1),
            "null" => Value::Null,
            _ => Value::String(self.text(schema)),
        }
    }

    fn resolve(&self, schema: &Value) -> Option<Value> {
        let reference = schema.get("$ref").or_else(|| schema.get("ref"))?.as_str()?;
        let pointer = reference.strip_prefix('#')?;
        self.root.pointer(pointer).cloned()
    }

    fn object(&mut self, schema: &Value, depth: usize) -> Value {
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let mut fields = Map::new();
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return Value::Object(fields);
        };
        for (name, property) in properties {
            if depth < DEEP || required.contains(&name.as_str()) {
                fields.insert(name.clone(), self.value(property, depth + 1));
            }
        }
        Value::Object(fields)
    }

    fn array(&mut self, schema: &Value, depth: usize) -> Value {
        const MOST_ITEMS: u64 = 64;
        let least = schema.get("minItems").or_else(|| schema.get("min_items")).and_then(count).unwrap_or(0);
        let most = schema.get("maxItems").or_else(|| schema.get("max_items")).and_then(count).unwrap_or(2);
        let length = least.max(if depth < DEEP { most.min(2) } else { 0 }).min(MOST_ITEMS);
        let item = schema.get("items").cloned().unwrap_or_else(|| json!({"type": "string"}));
        (0..length).map(|_| self.value(&item, depth + 1)).collect()
    }

    fn number(&mut self, schema: &Value) -> i64 {
        let bound = |name: &str, exclusive: &str, step: i64| {
            let open = schema.get(exclusive).and_then(Value::as_i64).map(|bound| bound.saturating_add(step));
            open.or_else(|| schema.get(name).and_then(Value::as_i64))
        };
        let least = bound("minimum", "exclusiveMinimum", 1);
        let most = bound("maximum", "exclusiveMaximum", -1);
        let (least, most) = match (least, most) {
            (Some(least), Some(most)) => (least, most.max(least)),
            (Some(least), None) => (least, least.saturating_add(99)),
            (None, Some(most)) => (most.saturating_sub(99), most),
            (None, None) => (1, 100),
        };
        let room = usize::try_from(most.saturating_sub(least)).unwrap_or(99).saturating_add(1);
        let drawn = least.saturating_add(i64::try_from(self.draws.below(room)).unwrap_or(0));
        match schema.get("multipleOf").and_then(Value::as_i64) {
            Some(step) if step > 1 => {
                let down = drawn - drawn.rem_euclid(step);
                if down < least { down.saturating_add(step) } else { down }
            }
            _ => drawn,
        }
    }

    fn number_in(schema: &Value) -> f64 {
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        let least = bound("minimum").or_else(|| bound("exclusiveMinimum"));
        let most = bound("maximum").or_else(|| bound("exclusiveMaximum"));
        let (least, most) = match (least, most) {
            (Some(least), Some(most)) => (least, most),
            (Some(least), None) => (least, least + 100.0),
            (None, Some(most)) => (most - 100.0, most),
            (None, None) => (0.0, 100.0),
        };
        // In the middle, so that open and closed bounds are both kept.
        f64::midpoint(least, most)
    }

    fn text(&mut self, schema: &Value) -> String {
        let seed = self.draws.next();
        if let Some(format) = schema.get("format").and_then(Value::as_str) {
            match format {
                "date-time" => return "2025-06-01T12:00:00Z".to_owned(),
                "date" => return "2025-06-01".to_owned(),
                "time" => return "12:00:00Z".to_owned(),
                "duration" => return "PT1H".to_owned(),
                "email" => return "keeper@example.com".to_owned(),
                "uri" | "url" => return "https://example.com/tide".to_owned(),
                "hostname" => return "example.com".to_owned(),
                "ipv4" => return "192.0.2.1".to_owned(),
                "ipv6" => return "2001:db8::1".to_owned(),
                "uuid" => return "00000000-0000-4000-8000-000000000001".to_owned(),
                _ => {}
            }
        }
        let least = schema.get("minLength").or_else(|| schema.get("min_length")).and_then(count).unwrap_or(0);
        let most =
            schema.get("maxLength").or_else(|| schema.get("max_length")).and_then(count).unwrap_or(u64::MAX);
        let mut text = self.hint.map_or_else(|| words::sentence(seed, 2).concat(), str::to_owned);
        let length = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
        if length < least {
            let missing = usize::try_from((least - length).min(10_000)).unwrap_or(0);
            text.push_str(&characters(seed, missing));
        }
        text.chars().take(usize::try_from(most).unwrap_or(usize::MAX)).collect()
    }
}

fn type_of(schema: &Value) -> String {
    let named = match schema.get("type") {
        Some(Value::String(name)) => Some(name.as_str()),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        _ => None,
    };
    match named {
        // Gemini writes types in capitals.
        Some(name) => name.to_ascii_lowercase(),
        None if schema.get("properties").is_some() => "object".to_owned(),
        None if schema.get("items").is_some() => "array".to_owned(),
        None => "string".to_owned(),
    }
}

/// Google's JSON writes 64-bit numbers as strings.
fn count(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn merge(left: Value, right: Value) -> Value {
    match (left, right) {
        (Value::Object(mut left), Value::Object(right)) => {
            left.extend(right);
            Value::Object(left)
        }
        (left, _) => left,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_types_and_keep_the_bounds() {
        let schema = json!({
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"type": "string", "enum": ["c", "f"]},
                "days": {"type": "integer", "minimum": 3, "maximum": 5},
                "ratio": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                "tags": {"type": "array", "items": {"type": "string", "minLength": 20}, "minItems": 3},
                "when": {"type": ["string", "null"], "format": "date"},
                "nested": {"$ref": "#/$defs/point"},
                "step": {"type": "integer", "multipleOf": 5, "minimum": 7, "maximum": 20}
            },
            "$defs": {"point": {"type": "OBJECT", "properties": {"x": {"type": "INTEGER"}}}}
        });
        for seed in 0..200 {
            let value = value_for(&schema, seed, Some("Paris"));
            assert_eq!(value["city"], "Paris");
            assert!(["c", "f"].contains(&value["unit"].as_str().unwrap()));
            assert!((3..=5).contains(&value["days"].as_i64().unwrap()));
            assert!(value["ratio"].as_f64().is_some_and(|ratio| ratio > 0.0 && ratio <= 1.0));
            assert_eq!(value["tags"].as_array().unwrap().len(), 3);
            assert!(value["tags"][0].as_str().unwrap().len() >= 20);
            assert_eq!(value["when"], "2025-06-01");
            assert!(value["nested"]["x"].is_i64());
            let step = value["step"].as_i64().unwrap();
            assert!(step % 5 == 0 && (7..=20).contains(&step), "{step}");
        }
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object",
            "properties": {"next": {"$ref": "#/$defs/node"}}, "required": ["next"]}}});
        assert!(value_for(&schema, 1, None).is_object());
        assert!(value_for(&json!({"$ref": "#"}), 1, None).is_null());
    }
}
