//! Arguments that Vertex streams piece by piece (`streamFunctionCallArguments`): each piece is a value with the JSON path
//! where it belongs. Called by `decode.rs`.

use serde_json::{Map, Number, Value};

use super::types::take;

/// The deepest path followed and the longest list filled. A piece beyond is left out, so that a few bytes on the wire
/// cannot ask for a great deal of memory.
const MAX_DEPTH: usize = 100;
const MAX_ITEMS: usize = 100_000;

/// A call whose arguments are still coming.
#[derive(Debug)]
pub(super) struct PartialCall {
    /// The part that began with it.
    pub(super) part: u32,
    arguments: Value,
}

impl PartialCall {
    /// A call whose arguments begin with these.
    pub(super) fn new(part: u32, arguments: &str) -> Self {
        let arguments = serde_json::from_str(arguments).unwrap_or_else(|_| Value::Object(Map::new()));
        Self { part, arguments }
    }

    /// Takes the pieces of one frame in, and says whether more are to come.
    pub(super) fn extend(&mut self, mut call: Map<String, Value>) -> bool {
        if let Some(Value::Array(pieces)) = take(&mut call, "partialArgs") {
            for piece in pieces {
                if let Value::Object(piece) = piece {
                    self.put(piece);
                }
            }
        }
        take(&mut call, "willContinue") == Some(Value::Bool(true))
    }

    /// The arguments put together, as JSON text.
    pub(super) fn into_arguments(self) -> String {
        self.arguments.to_string()
    }

    fn put(&mut self, mut piece: Map<String, Value>) {
        let Some(Value::String(path)) = take(&mut piece, "jsonPath") else { return };
        let value =
            ["stringValue", "numberValue", "boolValue"].iter().find_map(|kind| take(&mut piece, kind));
        let place = steps_of(&path).and_then(|steps| find(&mut self.arguments, &steps));
        let Some(place) = place else { return };
        match (place, value) {
            (Value::String(text), Some(Value::String(more))) => text.push_str(&more),
            (place, value) => *place = value.map_or(Value::Null, whole),
        }
    }
}

/// Numbers come as doubles; whole ones are written as such.
fn whole(value: Value) -> Value {
    let whole = value.as_f64().filter(|float| value.is_f64() && float.fract() == 0.0 && float.abs() < 9e15);
    match whole.and_then(|float| format!("{float:.0}").parse::<i64>().ok()) {
        Some(whole) => Value::Number(Number::from(whole)),
        None => value,
    }
}

/// One step of a path.
#[derive(Debug, PartialEq)]
enum Step {
    Name(String),
    Item(usize),
}

/// Reads `$.a.b[0]['c']`. `None` for anything else.
fn steps_of(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if steps.len() == MAX_DEPTH {
            return None;
        }
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            steps.push(Step::Name(after[..end].to_owned()));
            rest = &after[end..];
        } else {
            let after = rest.strip_prefix('[')?;
            let quote = after.chars().next().filter(|first| matches!(first, '\'' | '"'));
            if let Some(quote) = quote {
                let (name, behind) = after[1..].split_once(&[quote, ']'].iter().collect::<String>())?;
                steps.push(Step::Name(name.to_owned()));
                rest = behind;
            } else {
                let (number, behind) = after.split_once(']')?;
                steps.push(Step::Item(number.parse().ok().filter(|item| *item < MAX_ITEMS)?));
                rest = behind;
            }
        }
    }
    Some(steps)
}

/// The value at a path, made where it is missing.
fn find<'a>(mut value: &'a mut Value, steps: &[Step]) -> Option<&'a mut Value> {
    for step in steps {
        value = match step {
            Step::Name(name) => {
                if value.is_null() {
                    *value = Value::Object(Map::new());
                }
                value.as_object_mut()?.entry(name.as_str()).or_insert(Value::Null)
            }
            Step::Item(item) => {
                if value.is_null() {
                    *value = Value::Array(Vec::new());
                }
                let items = value.as_array_mut()?;
                // Lists come in order: a gap of more than the next item is no list.
                if *item == items.len() {
                    items.push(Value::Null);
                }
                items.get_mut(*item)?
            }
        };
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pieces_find_their_places() {
        let mut call = PartialCall::new(0, "{}");
        for (piece, expected) in [
            (json!({"jsonPath": "$.a[0].b", "stringValue": "x", "willContinue": true}), true),
            (json!({"jsonPath": "$.a[0].b", "stringValue": "y"}), true),
            (json!({"jsonPath": "$.a[1]", "numberValue": 0.5}), true),
            (json!({"jsonPath": "$.a[9]", "numberValue": 0.5}), true),
            (json!({"jsonPath": "$['c.d']", "boolValue": true}), true),
            (json!({"jsonPath": "$.n", "nullValue": "NULL_VALUE"}), true),
            (json!({"jsonPath": "$.w", "numberValue": 3.0}), true),
            (json!({"jsonPath": "nonsense", "boolValue": true}), false),
        ] {
            let Value::Object(frame) = json!({"partialArgs": [piece], "willContinue": expected}) else {
                panic!("no object")
            };
            assert_eq!(call.extend(frame), expected);
        }
        let read: Value = serde_json::from_str(&call.into_arguments()).unwrap();
        assert_eq!(read, json!({"a": [{"b": "xy"}, 0.5], "c.d": true, "n": null, "w": 3}));
    }
}
