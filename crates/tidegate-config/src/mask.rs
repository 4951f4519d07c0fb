//! Hides what may be a secret in the text that diagnostics quote. Called by `load`; keeps every byte in its place.

use std::ops::Range;

use crate::yaml::{Entry, Node, Shape, Tree};

/// Sections without secrets. Everything else is hidden, misspelt sections included.
const OPEN_SECTIONS: [&str; 13] = [
    "server",
    "data",
    "ledger",
    "auth",
    "models",
    "auto",
    "experiments",
    "timeout",
    "retry",
    "fallback_on",
    "stream",
    "strict",
    "prices",
];
/// Settings of `shared` that are no secrets.
const OPEN_SHARED_KEYS: [&str; 2] = ["unreachable", "prefix"];
/// Settings of a provider that are no secrets.
const OPEN_PROVIDER_KEYS: [&str; 5] = ["kind", "base_url", "discount", "timeout", "health_check"];
/// A word of this length that mixes letters and digits is taken for a key where the tree does not tell.
const SUSPICIOUS_LENGTH: usize = 20;

/// The text with its secrets replaced by stars, as far as the tree tells what they are. References (`${…}`) stay.
pub(crate) fn mask_tree(text: &str, tree: &Tree) -> String {
    let mut places = tree.discarded.clone();
    for section in tree.root.entries() {
        match section.key.as_str() {
            "providers" => {
                for provider in section.value.entries() {
                    if matches!(provider.value.shape, Shape::Mapping(_)) {
                        let entries = provider.value.entries().iter();
                        entries
                            .filter(|entry| is_hidden(entry))
                            .for_each(|entry| scalars(&entry.value, &mut places));
                    } else {
                        scalars(&provider.value, &mut places);
                    }
                }
                if section.value.entries().is_empty() {
                    scalars(&section.value, &mut places);
                }
            }
            "shared" if matches!(section.value.shape, Shape::Mapping(_)) => {
                let entries = section.value.entries().iter();
                entries
                    .filter(|entry| !OPEN_SHARED_KEYS.contains(&entry.key.as_str()))
                    .for_each(|entry| scalars(&entry.value, &mut places));
            }
            open if OPEN_SECTIONS.contains(&open) => {}
            _ => scalars(&section.value, &mut places),
        }
    }
    if tree.root.entries().is_empty() {
        scalars(&tree.root, &mut places);
    }
    mask_places(text, places)
}

/// Whether a provider's setting may be a secret: all but the known ones, and an address that holds a password or a key.
fn is_hidden(entry: &Entry) -> bool {
    let in_address = matches!(&entry.value.shape, Shape::Scalar(text) if text.contains(['@', '?']));
    in_address || !OPEN_PROVIDER_KEYS.contains(&entry.key.as_str())
}

/// The text with everything hidden that looks like a key: for a file that is not YAML, where nothing else is known.
pub(crate) fn mask_words(text: &str) -> String {
    let mut places = Vec::new();
    let mut start = 0;
    for (index, letter) in text.char_indices().chain([(text.len(), ' ')]) {
        if letter.is_alphanumeric() || letter == '-' || letter == '_' {
            continue;
        }
        let word = text.get(start..index).unwrap_or_default();
        let mixed =
            word.chars().any(char::is_alphabetic) && word.chars().any(|letter| letter.is_ascii_digit());
        if word.starts_with("sk-") || (word.len() >= SUSPICIOUS_LENGTH && mixed) {
            places.push(start..index);
        }
        start = index + letter.len_utf8();
    }
    mask_places(text, places)
}

fn scalars(node: &Node, places: &mut Vec<Range<usize>>) {
    match &node.shape {
        Shape::Null => {}
        Shape::Scalar(_) => places.push(node.place.clone()),
        Shape::Sequence(items) => items.iter().for_each(|item| scalars(item, places)),
        Shape::Mapping(entries) => entries.iter().for_each(|entry| scalars(&entry.value, places)),
    }
}

fn mask_places(text: &str, places: Vec<Range<usize>>) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for place in places {
        let is_reference = text.get(place.clone()).is_some_and(|value| value.contains("${"));
        let Some(value) = bytes.get_mut(place).filter(|_| !is_reference) else { continue };
        value.iter_mut().filter(|byte| !byte.is_ascii_whitespace()).for_each(|byte| *byte = b'*');
    }
    // Places begin and end between letters, so what is left is text; were it not, showing nothing is the safe way out.
    String::from_utf8(bytes).unwrap_or_default()
}
