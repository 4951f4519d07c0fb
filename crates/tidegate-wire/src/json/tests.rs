//! The scanner agrees with serde_json about what is JSON, says where errors are, and reads values without a tree.

use bytes::Bytes;
use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::{Document, Kind, MAX_DEPTH, MAX_MEMBERS, Problem, Value, validate};

#[test]
fn errors_say_where_and_what() {
    let cases: &[(&str, &str)] = &[
        ("", "line 1, column 1 (byte 0): expected a JSON object, but the text ends here"),
        ("[1]", "line 1, column 1 (byte 0): expected a JSON object, found '['"),
        ("{\n  \"a\": tru\n}", "line 2, column 8 (byte 9): expected `true`, found 't'"),
        ("{\"é\": 'x'}", "line 1, column 7 (byte 7): expected a value, found '\\''"),
        ("{\"a\": 1,}", "line 1, column 9 (byte 8): expected a member name in double quotes, found '}'"),
        ("{\"a\": [1,]}", "line 1, column 10 (byte 9): expected a value, found ']'"),
        ("{\"a\": [1 2]}", "line 1, column 10 (byte 9): expected `,` or `]`, found '2'"),
        ("{\"a\" 1}", "line 1, column 6 (byte 5): expected `:` after the member name, found '1'"),
        ("{\"a\": 1", "line 1, column 8 (byte 7): expected `,` or `}`, but the text ends here"),
        ("{\"a\": 01}", "line 1, column 8 (byte 7): expected `,` or `}`, found '1'"),
        ("{\"a\": 1.}", "line 1, column 9 (byte 8): expected a digit, found '}'"),
        ("{\"a\": -}", "line 1, column 8 (byte 7): expected a digit, found '}'"),
        ("{} {}", "line 1, column 4 (byte 3): expected the end of the text, found '{'"),
        ("{\"a", "line 1, column 4 (byte 3): expected a closing double quote, but the text ends here"),
        (
            "{\"\\x\": 1}",
            "line 1, column 4 (byte 3): expected one of `\"\\/bfnrtu` after the backslash, found 'x'",
        ),
        (
            "{\"\\u00g0\": 1}",
            "line 1, column 7 (byte 6): expected four hexadecimal digits after `\\u`, found 'g'",
        ),
        (
            "{\"a\": \"\t\"}",
            "line 1, column 8 (byte 7): expected an escape, as control characters may not stand in a string, found '\\t'",
        ),
    ];
    for (text, expected) in cases {
        let error = Document::parse(Bytes::from_static(text.as_bytes())).unwrap_err();
        assert_eq!(&error.to_string(), expected, "{text:?}");
    }
}

#[test]
fn broken_utf8_is_refused_with_its_place() {
    let error = Document::parse(Bytes::from_static(b"{\"a\":\n \"\xFF\"}")).unwrap_err();
    assert_eq!((error.offset, error.line, error.column, error.problem), (8, 2, 3, Problem::NotUtf8));
}

#[test]
fn depth_and_number_of_members_are_limited() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(validate(nested(MAX_DEPTH).as_bytes()), Ok(Kind::Array));
    let error = validate(nested(MAX_DEPTH + 1).as_bytes()).unwrap_err();
    assert_eq!((error.problem, error.offset), (Problem::TooDeep { limit: MAX_DEPTH }, MAX_DEPTH));
    assert!(validate("[{\"a\":".repeat(5_000_000).as_bytes()).is_err());

    let wide = |count: usize| Bytes::from(format!("{{{}}}", vec!["\"\":1"; count].join(",")));
    assert_eq!(Document::parse(wide(MAX_MEMBERS)).unwrap().member_spans().len(), MAX_MEMBERS);
    let error = Document::parse(wide(MAX_MEMBERS + 1)).unwrap_err();
    assert_eq!(error.problem, Problem::TooManyMembers { limit: MAX_MEMBERS });
}

#[test]
fn values_are_read_from_their_places() {
    let document = Document::parse(Bytes::from_static(
        br#" { "model" : "gpt\u002d5", "stream":true, "n": -2, "big": 18446744073709551615, "huge": 1e999,
               "stream_options": {"a": [], "include_usage": false}, "mes\u0073ages": [1, "\ud83d\ude00 \\n\n", {}, null] } "#,
    ))
    .unwrap();
    assert_eq!(document.get("model").unwrap().as_string().unwrap(), "gpt-5");
    assert_eq!(document.get("stream").unwrap().as_bool(), Some(true));
    assert_eq!(document.get("n").unwrap().as_i64(), Some(-2));
    assert_eq!(document.get("n").unwrap().as_u64(), None);
    assert_eq!(document.get("big").unwrap().as_u64(), Some(u64::MAX));
    assert_eq!(document.get("huge").unwrap().as_f64(), None);
    assert_eq!(document.get_nested("stream_options", "include_usage").unwrap().as_bool(), Some(false));
    assert_eq!(document.get("absent"), None);
    let messages: Vec<_> = document.get("messages").unwrap().elements().collect();
    assert_eq!(messages.len(), 4);
    assert_eq!(messages[1].as_string().unwrap(), "😀 \\n\n");
    assert_eq!(messages[2].text(), b"{}");
    assert!(messages[3].is_null());
    assert_eq!(messages[0].members().count() + messages[0].elements().count(), 0);
}

#[test]
fn of_duplicate_keys_the_last_counts_and_all_are_reported() {
    let document = Document::parse(Bytes::from_static(br#"{"a":1,"b":2,"\u0061":3}"#)).unwrap();
    assert_eq!(document.get("a").unwrap().as_u64(), Some(3));
    let duplicates: Vec<_> = document.duplicate_keys().map(|key| key.name().into_owned()).collect();
    assert_eq!(duplicates, ["a"]);
}

#[test]
fn a_name_is_compared_by_its_meaning_not_by_its_spelling() {
    let document = Document::parse(Bytes::from_static(br#"{"a\\b":1,"a\\\\b":2,"\u0063":3}"#)).unwrap();
    let cases = [("a\\b", Some(1)), ("a\\\\b", Some(2)), ("c", Some(3)), ("\\u0063", None), ("a", None)];
    for (name, expected) in cases {
        assert_eq!(document.get(name).and_then(Value::as_u64), expected, "{name}");
    }
}

#[test]
fn every_control_character_is_refused_wherever_it_stands_in_a_string() {
    // Long enough for all the ways in which a string is searched: by word, by block, by byte.
    for length in [0, 7, 8, 40, 100, 200] {
        for at in 0..=length {
            for byte in 0..=0x20 {
                let text =
                    format!("\"{}{}{}\"", "é".repeat(at / 2), char::from(byte), "x".repeat(length - at));
                assert_eq!(validate(text.as_bytes()).is_ok(), byte == 0x20, "{text:?}");
            }
        }
    }
}

#[test]
fn half_a_surrogate_pair_becomes_the_replacement_character() {
    let cases = [
        (r#""\ud83d""#, "\u{fffd}"),
        (r#""\ud83dx\ude00""#, "\u{fffd}x\u{fffd}"),
        (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
    ];
    for (text, expected) in cases {
        assert_eq!(Value::parse(text.as_bytes()).unwrap().as_string().unwrap(), expected);
    }
}

/// Texts that are nearly JSON: pieces of it in any order.
fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    let pieces: [&[u8]; 30] = [
        b"{", b"}", b"[", b"]", b",", b":", b"\"a\"", b"\"", b"\\", b"\\u00e9", b"\\ud800", b"\\n", b"0", b"-", b"12",
        b".5", b"e+7", b"E", b"true", b"false", b"null", b" ", b"\n", b"\t", b"\x01", b"x", b"\xC3\xA9", b"\xFF",
        b"long enough to leave the words and reach the blocks of sixty-four bytes, twice over if it is repeated",
        b"{\"a\":[1,{\"b\":\"c\"}]}",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..12).prop_map(|pieces| pieces.concat())
}

pub(crate) fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        // Exact in few digits: serde_json rounds the last digit of others differently in different places.
        any::<i32>().prop_map(|number| (f64::from(number) / 8.0).into()),
        "\\PC{0,100}".prop_map(Into::into),
        "[\"\\\\\n\t\u{1}a😀]{0,20}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            prop::collection::vec(("[a-c\"\\\\é]{0,3}", inner), 0..5)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_json_is_what_serde_json_says(text in nearly_json()) {
        let reference = str::from_utf8(&text).is_ok() && serde_json::from_slice::<IgnoredAny>(&text).is_ok();
        prop_assert_eq!(validate(&text).is_ok(), reference, "{:?}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn one_changed_byte_is_judged_as_serde_json_does(
        value in json_value(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut text = serde_json::to_vec_pretty(&value).unwrap();
        let at = at.index(text.len());
        text[at] = byte;
        let reference = str::from_utf8(&text).is_ok() && serde_json::from_slice::<IgnoredAny>(&text).is_ok();
        prop_assert_eq!(validate(&text).is_ok(), reference, "{:?}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn every_value_is_read_as_serde_json_reads_it(value in json_value(), is_pretty in any::<bool>()) {
        let text = if is_pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        prop_assert_eq!(read(Value::parse(&text).unwrap()), value);
    }
}

/// A tree built through the view alone.
fn read(value: Value<'_>) -> serde_json::Value {
    match value.kind() {
        Kind::Null => serde_json::Value::Null,
        Kind::Boolean => value.as_bool().unwrap().into(),
        Kind::Number => value.as_i64().map_or_else(|| value.as_f64().unwrap().into(), Into::into),
        Kind::String => value.as_string().unwrap().into(),
        Kind::Array => value.elements().map(read).collect(),
        Kind::Object => value.members().map(|(key, value)| (key.name().into_owned(), read(value))).collect(),
    }
}
