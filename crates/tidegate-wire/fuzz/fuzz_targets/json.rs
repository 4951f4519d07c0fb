//! The scanner accepts what serde_json accepts, and reads the same values out of it.
//!
//! The differences that are meant: serde_json does not limit the depth of what it skips, checks UTF-8 only in strings
//! that it reads, and refuses half surrogate pairs and huge numbers only when it builds a tree.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use tidegate_wire::json::{Document, Kind, Problem, Value, validate};

fuzz_target!(|text: &[u8]| {
    let accepts = str::from_utf8(text).is_ok() && serde_json::from_slice::<IgnoredAny>(text).is_ok();
    let kind = match validate(text) {
        Ok(kind) => kind,
        Err(error) => {
            assert!(error.offset <= text.len());
            assert!(!accepts || matches!(error.problem, Problem::TooDeep { .. }), "{error}");
            return;
        }
    };
    assert!(accepts);
    let value = Value::parse(text).expect("what was accepted is a value");
    assert_eq!(value.kind(), kind);
    if let Ok(tree) = serde_json::from_slice::<serde_json::Value>(text) {
        check_same(value, &tree);
    }
    match Document::parse(Bytes::copy_from_slice(text)) {
        Ok(document) => {
            assert_eq!(kind, Kind::Object);
            let members: Vec<_> = document.members().map(|(_, value)| value).collect();
            assert_eq!(members, value.members().map(|(_, value)| value).collect::<Vec<_>>());
        }
        Err(error) => {
            assert!(kind != Kind::Object || matches!(error.problem, Problem::TooManyMembers { .. }))
        }
    }
});

fn check_same(value: Value<'_>, tree: &serde_json::Value) {
    match tree {
        serde_json::Value::Null => assert!(value.is_null()),
        serde_json::Value::Bool(expected) => assert_eq!(value.as_bool(), Some(*expected)),
        serde_json::Value::String(expected) => {
            assert_eq!(value.as_string().as_deref(), Some(expected.as_str()))
        }
        serde_json::Value::Number(expected) => {
            // `-0` is a whole number here and a double in serde_json.
            if expected.is_i64() || expected.is_u64() {
                assert_eq!((value.as_i64(), value.as_u64()), (expected.as_i64(), expected.as_u64()));
            } else {
                assert!(value.as_f64().is_some());
            }
        }
        serde_json::Value::Array(expected) => {
            let elements: Vec<_> = value.elements().collect();
            assert_eq!(elements.len(), expected.len());
            elements.into_iter().zip(expected).for_each(|(element, expected)| check_same(element, expected));
        }
        serde_json::Value::Object(expected) => {
            assert!(value.members().all(|(key, _)| expected.contains_key(&*key.name())));
            for (name, expected) in expected {
                check_same(value.get(name).expect("a member of the tree is one of the text"), expected);
            }
        }
    }
}
