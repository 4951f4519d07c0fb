//! A splice of any object makes the change that an edit of its tree would, and leaves the other members' bytes alone.
//!
//! The first two bytes of the input choose the change, the rest is the body.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use tidegate_wire::json::{Document, JsonText};
use tidegate_wire::splice::Splice;

fuzz_target!(|input: &[u8]| {
    let Some(([change, place], body)) = input.split_first_chunk::<2>() else { return };
    let Ok(document) = Document::parse(Bytes::copy_from_slice(body)) else { return };
    // Mostly names that are there, sometimes one that is not.
    let names: Vec<String> = document.members().map(|(key, _)| key.name().into_owned()).collect();
    let name = names.get(usize::from(*place) % (names.len() + 1)).map_or("absent", String::as_str);
    let inner_names: Vec<String> = document
        .get(name)
        .map(|value| value.members().map(|(key, _)| key.name().into_owned()).collect())
        .unwrap_or_default();
    let inner =
        inner_names.get(usize::from(*change) / 4 % (inner_names.len() + 1)).map_or("absent", String::as_str);

    let splice = Splice::new(&document);
    let spliced = match change % 4 {
        0 => splice.set(name, JsonText::boolean(true)),
        1 => splice.remove(name),
        2 => splice.set_nested(name, inner, JsonText::string("new")),
        _ => splice.remove_nested(name, inner),
    }
    .finish();
    assert_eq!(spliced.len(), spliced.segments().iter().map(Bytes::len).sum::<usize>());
    let result = Document::parse(spliced.into_bytes()).expect("the result is an object");

    let others = |document: &Document| -> Vec<Vec<u8>> {
        let others = document.members().filter(|(key, _)| !key.is(name));
        others.map(|(_, value)| value.text().to_vec()).collect()
    };
    assert_eq!(others(&document), others(&result));

    if let Ok(mut tree) = serde_json::from_slice::<Value>(body) {
        edit(&mut tree, change % 4, name, inner);
        assert_eq!(
            serde_json::from_slice::<Value>(result.body()).expect("the tree could be built before"),
            tree
        );
    }
});

fn edit(tree: &mut Value, change: u8, name: &str, inner: &str) {
    let members = tree.as_object_mut().expect("the document is an object");
    match change {
        0 => drop(members.insert(name.to_owned(), json!(true))),
        1 => drop(members.shift_remove(name)),
        2 => {
            let outer = members.entry(name).or_insert_with(|| json!({}));
            if !outer.is_object() {
                *outer = json!({});
            }
            outer[inner] = json!("new");
        }
        _ => {
            if let Some(outer) = members.get_mut(name).and_then(Value::as_object_mut) {
                outer.shift_remove(inner);
            }
        }
    }
}
