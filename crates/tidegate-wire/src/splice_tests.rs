//! A splice makes the same change that an edit of the parsed tree would, and touches no byte besides.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;

use crate::json::{Document, JsonText, tests::json_value};
use crate::splice::{SHARED_SEGMENT_MIN_BYTES, Splice};

#[test]
fn only_what_must_change_changes() {
    type Edit = for<'a> fn(Splice<'a>) -> Splice<'a>;
    let set: Edit = |splice| splice.set("model", JsonText::string("b"));
    let remove: Edit = |splice| splice.remove("model");
    let usage: Edit = |splice| splice.set_nested("stream_options", "include_usage", JsonText::boolean(true));
    let no_usage: Edit = |splice| splice.remove_nested("stream_options", "include_usage");
    let cases: &[(&str, Edit, &str)] = &[
        (
            " {\n \"n\" : 1.0e0 ,\"model\":\t\"a\" , \"x\":[ ]}\n",
            set,
            " {\n \"n\" : 1.0e0 ,\"model\":\t\"b\" , \"x\":[ ]}\n",
        ),
        (r#"{"model":"a","m\u006fdel":"c"}"#, set, r#"{"model":"b","m\u006fdel":"b"}"#),
        (r#"{"n":1 }"#, set, r#"{"n":1,"model":"b" }"#),
        ("{ }", set, r#"{"model":"b" }"#),
        (r#"{"model":"b"}"#, set, r#"{"model":"b"}"#),
        (r#"{ "model":"a", "n":1 }"#, remove, r#"{ "n":1 }"#),
        (r#"{ "n":1, "model":"a" }"#, remove, r#"{ "n":1 }"#),
        (r#"{"l":0, "model":"a", "n":1,"model":2,  "o":3}"#, remove, r#"{"l":0, "n":1,  "o":3}"#),
        (r#"{ "model":"a" }"#, remove, "{  }"),
        (r#"{"n":1}"#, remove, r#"{"n":1}"#),
        (r#"{"n":1}"#, usage, r#"{"n":1,"stream_options":{"include_usage":true}}"#),
        (r#"{"stream_options":null}"#, usage, r#"{"stream_options":{"include_usage":true}}"#),
        (
            r#"{"stream_options": { "x":0 } }"#,
            usage,
            r#"{"stream_options": { "x":0,"include_usage":true } }"#,
        ),
        (
            r#"{"stream_options":{"include_usage": false,"x":0},"n":1}"#,
            usage,
            r#"{"stream_options":{"include_usage": true,"x":0},"n":1}"#,
        ),
        (r#"{"n":1}"#, no_usage, r#"{"n":1}"#),
        (r#"{"stream_options":null}"#, no_usage, r#"{"stream_options":null}"#),
        (r#"{"stream_options":{"include_usage":true}}"#, no_usage, r#"{"stream_options":{}}"#),
    ];
    for (body, edit, expected) in cases {
        let document = Document::parse(Bytes::from_static(body.as_bytes())).unwrap();
        let spliced = edit(Splice::new(&document)).finish();
        assert_eq!(spliced.len(), expected.len());
        assert_eq!(spliced.into_bytes(), expected, "{body}");
    }
}

#[test]
fn several_changes_are_made_in_one_go_and_the_last_to_a_member_counts() {
    let document = Document::parse(Bytes::from_static(br#"{"model":"a","x":1}"#)).unwrap();
    let spliced = Splice::new(&document)
        .set("stream_options", JsonText::boolean(false))
        .set_nested("stream_options", "include_usage", JsonText::boolean(true))
        .set("model", JsonText::string("first"))
        .set("model", JsonText::string("line\nend"))
        .remove("x")
        .finish();
    assert_eq!(spliced.into_bytes(), r#"{"model":"line\nend","stream_options":{"include_usage":true}}"#);
}

#[test]
fn a_long_body_is_shared_and_a_short_one_is_one_segment() {
    let body =
        Bytes::from(format!(r#"{{"model":"a","content":"{}"}}"#, "x".repeat(SHARED_SEGMENT_MIN_BYTES)));
    let document = Document::parse(body.clone()).unwrap();
    let spliced = Splice::new(&document).set("model", JsonText::string("b")).finish();
    assert_eq!(spliced.segments().len(), 2);
    let content_offset = body.len() - spliced.segments()[1].len();
    assert_eq!(spliced.segments()[1].as_ptr(), body[content_offset..].as_ptr());

    let unchanged = Splice::new(&document).set("model", JsonText::string("a")).remove("absent").finish();
    assert_eq!(unchanged.into_bytes().as_ptr(), body.as_ptr());

    let short = Document::parse(Bytes::from_static(br#"{"model":"a","n":1}"#)).unwrap();
    let spliced = Splice::new(&short).set("model", JsonText::string("b")).finish();
    assert_eq!(spliced.segments().len(), 1);
}

/// An object over few names, so that changes often hit, and the text that it was written as.
fn body() -> impl Strategy<Value = (Vec<(String, serde_json::Value)>, String)> {
    let whitespace = prop::collection::vec(prop::sample::select(vec!["", " ", "\n\t"]), 24);
    let inner = prop::collection::vec(("[a-c]", json_value()), 0..4)
        .prop_map(|members| serde_json::Value::Object(members.into_iter().collect()));
    let member = ("[a-d]", prop_oneof![json_value(), inner]);
    (prop::collection::vec(member, 0..6), whitespace, any::<bool>()).prop_map(
        |(members, whitespace, is_pretty)| {
            let mut spaces = whitespace.into_iter().cycle();
            let mut space = || spaces.next().unwrap();
            let mut parts = vec![space().to_owned(), "{".to_owned()];
            for (index, (name, value)) in members.iter().enumerate() {
                let value = if is_pretty {
                    serde_json::to_string_pretty(value)
                } else {
                    serde_json::to_string(value)
                };
                let comma = if index == 0 { "" } else { "," };
                parts.push(format!(
                    "{comma}{}\"{name}\"{}:{}{}{}",
                    space(),
                    space(),
                    space(),
                    value.unwrap(),
                    space()
                ));
            }
            parts.push(format!("{}}}{}", space(), space()));
            let text = parts.concat();
            (members, text)
        },
    )
}

#[derive(Debug, Clone)]
enum Change {
    Set(String, serde_json::Value),
    Remove(String),
    SetNested(String, String, serde_json::Value),
    RemoveNested(String, String),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        ("[a-e]", json_value()).prop_map(|(name, value)| Change::Set(name, value)),
        "[a-e]".prop_map(Change::Remove),
        ("[a-e]", "[a-d]", json_value())
            .prop_map(|(outer, inner, value)| Change::SetNested(outer, inner, value)),
        ("[a-e]", "[a-d]").prop_map(|(outer, inner)| Change::RemoveNested(outer, inner)),
    ]
}

fn splice<'a>(splice: Splice<'a>, change: &'a Change) -> Splice<'a> {
    match change {
        Change::Set(name, value) => splice.set(name, JsonText::of(value).unwrap()),
        Change::Remove(name) => splice.remove(name),
        Change::SetNested(outer, inner, value) => {
            splice.set_nested(outer, inner, JsonText::of(value).unwrap())
        }
        Change::RemoveNested(outer, inner) => splice.remove_nested(outer, inner),
    }
}

fn edit(tree: &mut serde_json::Value, change: &Change) {
    let members = tree.as_object_mut().unwrap();
    match change {
        Change::Set(name, value) => drop(members.insert(name.clone(), value.clone())),
        Change::Remove(name) => drop(members.shift_remove(name)),
        Change::SetNested(outer, inner, value) => {
            let outer = members.entry(outer).or_insert_with(|| json!({}));
            if !outer.is_object() {
                *outer = json!({});
            }
            outer.as_object_mut().unwrap().insert(inner.clone(), value.clone());
        }
        Change::RemoveNested(outer, inner) => {
            if let Some(outer) = members.get_mut(outer).and_then(serde_json::Value::as_object_mut) {
                outer.shift_remove(inner);
            }
        }
    }
}

fn target(change: &Change) -> &str {
    match change {
        Change::Set(name, _)
        | Change::Remove(name)
        | Change::SetNested(name, ..)
        | Change::RemoveNested(name, _) => name,
    }
}

proptest! {
    #[test]
    fn a_splice_is_the_edit_of_the_tree(
        (members, text) in body(), changes in prop::collection::vec(change(), 0..4),
    ) {
        // Several changes to one member are another test's: there the last counts, in a tree they add up.
        let mut distinct: Vec<&Change> = Vec::new();
        for change in &changes {
            if !distinct.iter().any(|other| target(other) == target(change)) {
                distinct.push(change);
            }
        }
        let document = Document::parse(Bytes::from(text.clone())).unwrap();
        let spliced = distinct.iter().fold(Splice::new(&document), |all, change| splice(all, change)).finish();
        let segments = spliced.segments().concat();
        let bytes = spliced.into_bytes();
        prop_assert_eq!(&segments[..], &bytes[..]);

        let mut expected: serde_json::Value = serde_json::from_str(&text).unwrap();
        for change in &distinct {
            edit(&mut expected, change);
        }
        let result: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        prop_assert_eq!(&result, &expected, "{} became {}", text, String::from_utf8_lossy(&bytes));

        let is_touched = |name: &str| distinct.iter().any(|change| target(change) == name);
        let untouched = |document: &Document| -> Vec<(Vec<u8>, Vec<u8>)> {
            let members = document.members().filter(|(key, _)| !is_touched(&key.name()));
            members.map(|(key, value)| (key.name().into_owned().into_bytes(), value.text().to_vec())).collect()
        };
        prop_assert_eq!(untouched(&Document::parse(bytes.clone()).unwrap()), untouched(&document));
        if !members.iter().any(|(name, _)| is_touched(name)) {
            // Nothing but additions at the end: all before the closing brace is as it was.
            let kept = text.trim_end().trim_end_matches('}').trim_end();
            prop_assert!(bytes.starts_with(kept.as_bytes()));
        }
    }
}
