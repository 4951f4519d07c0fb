//! How much two answers have in common: cheap and the same every time. No model judges, no network is asked.
//!
//! Similarity is the cosine of the counts of character trigrams (three letters in a row, lower case, white space as one
//! blank), over the text with the tool calls behind it. It sees whether two answers say the same in about the same words; it
//! does not see whether they mean the same in other words, nor how good either is.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::Value;
use tidegate_policy::experiments::Likeness;
use tidegate_wire::conversation::{Content, ToolCall};
use tidegate_wire::reply::Reply;

use crate::accept::Call;
use crate::keep::reply_of_stream;

/// Of longer texts the beginning is compared.
const MAX_TEXT: usize = 64 << 10;

/// Compares two answers to this call; `None` where one of them cannot be read.
pub(super) fn likeness(call: &Call, control: &Bytes, shadow: &Bytes) -> Option<Likeness> {
    Some(compare(&Said::of(&reply(call, control)?), &Said::of(&reply(call, shadow)?)))
}

fn reply(call: &Call, body: &Bytes) -> Option<Reply> {
    if call.stream {
        return Some(reply_of_stream(call.dialect, body));
    }
    call.dialect.codec().parse_reply(body).ok()
}

/// What an answer says.
#[derive(Debug, Default)]
struct Said {
    text: String,
    calls: Vec<(String, Arguments)>,
}

/// The arguments of a tool call: compared as values, in which the order of members and blanks do not matter.
#[derive(Debug, PartialEq)]
enum Arguments {
    Json(Value),
    Text(String),
}

impl Said {
    fn of(reply: &Reply) -> Self {
        let mut said = Self::default();
        let Some(choice) = reply.choices.first() else { return said };
        for part in &choice.parts {
            match &part.content {
                Content::Text { text, .. } | Content::Refusal(text) => said.text.push_str(text),
                Content::ToolCall(ToolCall { name, arguments, .. }) => {
                    let arguments = match serde_json::from_str(arguments) {
                        Ok(value) => Arguments::Json(value),
                        Err(_error) => Arguments::Text(arguments.clone()),
                    };
                    said.calls.push((name.clone(), arguments));
                }
                _ => {}
            }
        }
        said
    }

    /// Objects and arrays alone: a number or a word by itself is no JSON that somebody asked for.
    fn is_json(&self) -> bool {
        matches!(serde_json::from_str(self.text.trim()), Ok(Value::Object(_) | Value::Array(_)))
    }

    /// The text with the tool calls behind it.
    fn whole(&self) -> String {
        let mut whole = self.text.clone();
        for (name, arguments) in &self.calls {
            let arguments = match arguments {
                Arguments::Json(value) => value.to_string(),
                Arguments::Text(text) => text.clone(),
            };
            whole.push_str(&format!(" {name}({arguments})"));
        }
        whole
    }
}

fn compare(control: &Said, shadow: &Said) -> Likeness {
    let characters = |said: &Said| u64::try_from(said.text.chars().count()).unwrap_or(u64::MAX);
    let calls_tools = !control.calls.is_empty() || !shadow.calls.is_empty();
    Likeness {
        similarity: similarity(&control.whole(), &shadow.whole()),
        control_characters: characters(control),
        shadow_characters: characters(shadow),
        tool_names: calls_tools.then(|| same(control, shadow, |one, other| one.0 == other.0)),
        tool_arguments: calls_tools.then(|| same(control, shadow, |one, other| one == other)),
        json: control.is_json().then(|| shadow.is_json()),
    }
}

/// Whether both call the same tools, in whatever order.
fn same(
    control: &Said,
    shadow: &Said,
    is_same: impl Fn(&(String, Arguments), &(String, Arguments)) -> bool,
) -> bool {
    let mut left: Vec<&(String, Arguments)> = shadow.calls.iter().collect();
    let all_found = control.calls.iter().all(|call| {
        let found = left.iter().position(|other| is_same(call, other));
        found.map(|place| left.swap_remove(place)).is_some()
    });
    all_found && left.is_empty()
}

fn similarity(one: &str, other: &str) -> f64 {
    let (one, other) = (trigrams(one), trigrams(other));
    if one.is_empty() && other.is_empty() {
        return 1.0;
    }
    let product: f64 =
        one.iter().map(|(trigram, count)| count * other.get(trigram).copied().unwrap_or(0.0)).sum();
    let length =
        |counts: &HashMap<[char; 3], f64>| counts.values().map(|count| count * count).sum::<f64>().sqrt();
    let lengths = length(&one) * length(&other);
    if lengths > 0.0 { (product / lengths).clamp(0.0, 1.0) } else { 0.0 }
}

/// How often each occurs. A blank stands before and behind, so that the shortest text has some.
fn trigrams(text: &str) -> HashMap<[char; 3], f64> {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = text.get(..end).unwrap_or_default();
    let mut counts = HashMap::new();
    let words =
        text.split_whitespace().flat_map(|word| word.chars().flat_map(char::to_lowercase).chain([' ']));
    let mut last = [' ', ' '];
    for letter in words {
        let [first, second] = last;
        *counts.entry([first, second, letter]).or_insert(0.0) += 1.0;
        last = [second, letter];
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str, calls: &[(&str, &str)]) -> Said {
        let arguments = |text: &str| {
            serde_json::from_str(text).map_or_else(|_error| Arguments::Text(text.to_owned()), Arguments::Json)
        };
        let calls = calls.iter().map(|(name, text)| ((*name).to_owned(), arguments(text)));
        Said { text: text.to_owned(), calls: calls.collect() }
    }

    #[test]
    fn the_more_two_texts_share_the_more_they_are_alike() {
        let text = "The tide comes in twice a day, and twice a day it goes out.";
        let alike = |other: &str| similarity(text, other);
        assert!((alike("the  TIDE comes in twice a day,\nand twice a day it goes out.") - 1.0).abs() < 1e-9);
        let near = alike("The tide comes in two times a day, and two times it goes out.");
        let far = alike("Quarks are bound by gluons.");
        assert!(near > 0.6 && near < 1.0 && far < 0.3 && near > far, "{near} {far}");
        assert!(alike("").abs() < 1e-9 && (similarity("", "") - 1.0).abs() < 1e-9);
        assert!((similarity("ja", "ja") - 1.0).abs() < 1e-9, "short answers too");
    }

    #[test]
    fn tool_calls_are_the_same_in_any_order_and_notation() {
        let one = said("", &[("look", r#"{"a": 1, "b": [2]}"#), ("say", "not json")]);
        for (other, names, arguments) in [
            (said("", &[("say", "not json"), ("look", r#"{"b":[2],"a":1}"#)]), true, true),
            (said("", &[("look", r#"{"a":2}"#), ("say", "not json")]), true, false),
            (said("", &[("look", r#"{"a": 1, "b": [2]}"#)]), false, false),
            (said("none", &[]), false, false),
        ] {
            let likeness = compare(&one, &other);
            assert_eq!((likeness.tool_names, likeness.tool_arguments), (Some(names), Some(arguments)));
        }
        assert_eq!(compare(&said("a", &[]), &said("b", &[])).tool_names, None);
    }

    #[test]
    fn json_is_asked_for_where_the_caller_got_some() {
        let json = |control: &str, shadow: &str| compare(&said(control, &[]), &said(shadow, &[])).json;
        assert_eq!(json(r#"{"a":1}"#, " [2] "), Some(true));
        assert_eq!(json(r#"{"a":1}"#, r#"Sure! {"a":1}"#), Some(false));
        assert_eq!(json("42", "{}"), None);
    }
}
