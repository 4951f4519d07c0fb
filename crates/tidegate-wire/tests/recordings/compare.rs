//! What of a list of items, or of a tree of settings, is missing or different after the way there and back.

use serde_json::Value;

use crate::naive::{self, Item, Kind, join_texts};
use crate::report::Loss;

/// The longest detail shown of a loss.
const MAX_DETAIL: usize = 40;

/// What of `before` is not in `after`. Also tells what is new in `after`, which must never happen.
pub(crate) fn items(before: &[Item], after: &[Item]) -> Vec<Loss> {
    let mut losses = Vec::new();
    // A block that is lost lets the texts around it grow together.
    let is_text = |item: &Item| item.kind == Kind::Text;
    let mut used = vec![false; after.len()];
    let mut kept = Vec::new();
    for item in before {
        if is_text(item) || claim(item, after, &mut used).is_some() {
            kept.push(item.clone());
        } else {
            losses.push(Loss { thing: thing_of(item), detail: detail_of(item) });
        }
    }
    let kept = join_texts(kept);
    let mut used = vec![false; after.len()];
    let mut last = 0;
    for item in &kept {
        let Some(place) = claim(item, after, &mut used) else {
            let found = after.iter().position(|other| is_text(item) && other.what.contains(&item.what));
            let thing = match found {
                Some(place) if after[place].role == item.role => {
                    used[place] = true;
                    "text: joined with another".to_owned()
                }
                Some(place) => {
                    used[place] = true;
                    format!("text: told as {:?}", after[place].role).to_lowercase()
                }
                None => thing_of(item),
            };
            losses.push(Loss { thing, detail: detail_of(item) });
            continue;
        };
        for (name, value) in &item.marks {
            let found = after[place].marks.get(name);
            if found != Some(value) {
                let detail = match found {
                    Some(found) => format!("{} became {}", short(value), short(found)),
                    None => short(value),
                };
                losses.push(Loss { thing: format!("{}.{name}", item.kind), detail });
            }
        }
        if place < last && item.kind != Kind::Message {
            losses.push(Loss { thing: format!("{}: order", item.kind), detail: detail_of(item) });
        }
        last = last.max(place);
    }
    for (item, _) in after.iter().zip(&used).filter(|(_, used)| !**used) {
        losses.push(Loss { thing: format!("made up: {}", thing_of(item)), detail: detail_of(item) });
    }
    losses
}

fn claim(item: &Item, after: &[Item], used: &mut [bool]) -> Option<usize> {
    let is_same = |other: &Item| {
        other.role == item.role && other.kind == item.kind && says_the_same(&item.what, &other.what)
    };
    let place = (0..after.len()).find(|place| !used[*place] && is_same(&after[*place]))?;
    used[place] = true;
    Some(place)
}

/// Whether they are equal; a call or result that had no id may have got one.
fn says_the_same(before: &str, after: &str) -> bool {
    before == after
        || (before.starts_with('\n')
            && after.split_once('\n').is_some_and(|(_, after)| after == &before[1..]))
}

fn thing_of(item: &Item) -> String {
    match item.kind {
        Kind::Native => format!("block {}", item.what.split(' ').next().unwrap()),
        Kind::Message => {
            let names: Vec<&str> = item.marks.keys().map(String::as_str).collect();
            format!("message.{}", names.join("+"))
        }
        Kind::Media => medium_of(item).to_owned(),
        kind => kind.to_string(),
    }
}

/// What sort of medium it is, as far as it decides who takes it.
fn medium_of(item: &Item) -> &'static str {
    let types =
        item.marks.iter().filter(|(name, _)| name.ends_with("imeType")).map(|(_, value)| value.as_str());
    let is_of = |kind: &str| types.clone().any(|found| found.starts_with(kind));
    let what = item.what.as_str();
    let uploaded = ["gs://", "file-", "https://generativelanguage.googleapis.com/"];
    if uploaded.iter().any(|start| what.starts_with(start)) || what.contains("\"type\":\"file\"") {
        "medium uploaded to its provider"
    } else if what.starts_with('{') && what.contains("\"type\":\"text\"") {
        "document of plain text"
    } else if is_of("audio/") || what.starts_with("mp3,") || what.starts_with("wav,") {
        "sound"
    } else if is_of("video/") || what.contains("youtube.com/") || what.contains(".webm") {
        "video"
    } else {
        "image or document"
    }
}

fn detail_of(item: &Item) -> String {
    match item.kind {
        Kind::Native => String::new(),
        Kind::Message => short(&item.marks.values().cloned().collect::<Vec<_>>().join(" ")),
        _ => short(&item.what),
    }
}

/// What losses of media and of words are called.
const MEDIA: [&str; 5] = ["medium", "document", "sound", "video", "image"];
const WORDS: [&str; 4] = ["text", "refusal", "document", "sound"];

/// What the other dialect's reader is told otherwise, read on its own wire. What `losses` explain already is not told
/// again.
pub(crate) fn told(before: &[Item], there: &[Item], losses: &[Loss]) -> Vec<Loss> {
    let (said, told) = (naive::core(before), naive::core(there));
    let is_explained = |starts: &[&str]| {
        losses.iter().any(|loss| {
            let thing = loss.thing.trim_start_matches("made up: ");
            starts.iter().any(|start| thing.starts_with(start) && !thing.contains('.'))
        })
    };
    let mut found = Vec::new();
    let mut differ = |thing: &str, said: String, told: String, explained: bool| {
        if said != told && !explained {
            let detail = format!("{} is told as {}", short(&said), short(&told));
            found.push(Loss { thing: format!("told {thing}"), detail });
        }
    };
    differ("system", said.system, told.system, is_explained(&WORDS));
    differ("user", said.user, told.user, is_explained(&WORDS));
    differ("assistant", said.assistant, told.assistant, is_explained(&WORDS));
    differ("reasoning", said.reasoning, told.reasoning, is_explained(&["reasoning"]));
    differ("calls", format!("{:?}", said.calls), format!("{:?}", told.calls), is_explained(&["tool call"]));
    differ(
        "results",
        format!("{:?}", said.results),
        format!("{:?}", told.results),
        is_explained(&["tool result"]),
    );
    differ("media", said.media.to_string(), told.media.to_string(), is_explained(&MEDIA));
    found
}

/// What differs between two trees, by path.
pub(crate) fn trees(path: &str, before: &Value, after: &Value, losses: &mut Vec<Loss>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let inner = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            for (name, value) in before {
                trees(&inner(name), value, after.get(name).unwrap_or(&Value::Null), losses);
            }
            for (name, value) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
                losses.push(Loss {
                    thing: format!("made up: {}", inner(name)),
                    detail: short(&value.to_string()),
                });
            }
        }
        (before, after) if before == after => {}
        (before, Value::Null) => {
            losses.push(Loss { thing: path.to_owned(), detail: short(&before.to_string()) });
        }
        (before, after) => {
            let detail = format!("{} became {}", short(&before.to_string()), short(&after.to_string()));
            losses.push(Loss { thing: path.to_owned(), detail });
        }
    }
}

pub(crate) fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= MAX_DETAIL {
        return line;
    }
    line.chars().take(MAX_DETAIL).chain("…".chars()).collect()
}
