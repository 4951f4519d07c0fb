//! What recorded JSON says, read plainly with `serde_json` and nothing of the crate under test: the independent judge.
//!
//! A request is a list of [`Item`]s (what is said, shown, called and answered, in order, whatever the messages it is
//! split into) and its settings as a JSON tree. An answer is the items of each choice, with its finish and the counts.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};
use tidegate_wire::Dialect;

use crate::{naive_anthropic, naive_gemini, naive_openai, naive_openai_stream};

/// One thing said, shown, called or answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    pub(crate) role: Role,
    pub(crate) kind: Kind,
    /// What it is: the text, the call's id, name and arguments, the medium's bytes.
    pub(crate) what: String,
    /// Everything else that its wire says of it, by field.
    pub(crate) marks: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    System,
    User,
    Assistant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Text,
    Reasoning,
    /// Reasoning that is only there encrypted.
    Redacted,
    Refusal,
    Call,
    Result,
    Media,
    /// A block that no other dialect knows; `what` begins with its type.
    Native,
    /// Fields of a message as a whole.
    Message,
}

impl Item {
    pub(crate) fn new(role: Role, kind: Kind, what: impl Into<String>) -> Self {
        Self { role, kind, what: what.into(), marks: BTreeMap::new() }
    }

    /// With all fields that are not named in `known` as marks.
    pub(crate) fn with_rest(mut self, fields: &Map<String, Value>, known: &[&str]) -> Self {
        for (name, value) in fields {
            if !known.contains(&name.as_str()) && !is_nothing(value) {
                self.marks.insert(name.clone(), text_of(value));
            }
        }
        self
    }

    pub(crate) fn mark(&mut self, name: &str, value: &Value) {
        if !is_nothing(value) {
            self.marks.insert(name.to_owned(), text_of(value));
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Text => "text",
            Self::Reasoning => "reasoning",
            Self::Redacted => "redacted reasoning",
            Self::Refusal => "refusal",
            Self::Call => "tool call",
            Self::Result => "tool result",
            Self::Media => "medium",
            Self::Native => "block",
            Self::Message => "message",
        })
    }
}

/// A request, read plainly.
pub(crate) struct Request {
    pub(crate) items: Vec<Item>,
    /// Everything else, spelled in one way.
    pub(crate) settings: Value,
    /// The tools' keys within the settings, in the order in which losses number them.
    pub(crate) tools: Vec<String>,
}

/// An answer, read plainly.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Reply {
    pub(crate) choices: Vec<Choice>,
    pub(crate) usage: Counts,
    /// Fields of the answer as a whole that are neither of the above.
    pub(crate) rest: BTreeMap<String, String>,
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Choice {
    pub(crate) items: Vec<Item>,
    /// The provider's own word.
    pub(crate) finish: String,
    /// Tokens with log probabilities.
    pub(crate) logprobs: Vec<(String, String)>,
    pub(crate) rest: BTreeMap<String, String>,
}

/// Token counts, totals including everything.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) cached: u64,
    pub(crate) written: u64,
    pub(crate) reasoning: u64,
    pub(crate) audio_in: u64,
    pub(crate) audio_out: u64,
}

pub(crate) fn request(dialect: Dialect, body: &Value) -> Request {
    match dialect {
        Dialect::OpenAiChat => naive_openai::request(body),
        Dialect::AnthropicMessages => naive_anthropic::request(body),
        Dialect::Gemini => naive_gemini::request(body),
    }
}

/// Reads a whole answer.
pub(crate) fn reply(dialect: Dialect, body: &Value) -> Reply {
    match dialect {
        Dialect::OpenAiChat => naive_openai::reply(body),
        Dialect::AnthropicMessages => naive_anthropic::reply(body),
        Dialect::Gemini => naive_gemini::reply(body),
    }
}

/// Reads a stream: its frames are put together to the whole answer that says the same.
pub(crate) fn stream(dialect: Dialect, bytes: &[u8]) -> Reply {
    let frames: Vec<Value> = std::str::from_utf8(bytes)
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .map(str::trim)
        .filter(|data| !data.is_empty() && *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}")))
        .collect();
    match dialect {
        Dialect::OpenAiChat => naive_openai::reply(&naive_openai_stream::put_together(&frames)),
        Dialect::AnthropicMessages => naive_anthropic::reply(&naive_anthropic::put_together(&frames)),
        Dialect::Gemini => naive_gemini::reply(&naive_gemini::put_together(&frames)),
    }
}

/// A field that says nothing.
pub(crate) fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// A text as it is, anything else as JSON in one spelling.
pub(crate) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => canonical(other).to_string(),
    }
}

/// JSON in one spelling: keys sorted, numbers as floats where they are no integers.
pub(crate) fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut sorted: Map<String, Value> =
                fields.iter().map(|(name, value)| (name.clone(), canonical(value))).collect();
            sorted.sort_keys();
            Value::Object(sorted)
        }
        Value::Array(items) => items.iter().map(canonical).collect(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => {
                serde_json::from_str(&format!("{float:.0}")).unwrap()
            }
            _ => value.clone(),
        },
        other => other.clone(),
    }
}

/// Text that is a JSON object in one spelling, any other as it is.
pub(crate) fn plain_or_canonical(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(value @ Value::Object(_)) => canonical(&value).to_string(),
        _ => text.to_owned(),
    }
}

/// Everything that was said of an object beside the named fields, as text.
pub(crate) fn rest_of(value: &Value, known: &[&str]) -> BTreeMap<String, String> {
    let fields = value.as_object().into_iter().flatten();
    fields
        .filter(|(name, value)| !known.contains(&name.as_str()) && !is_nothing(value))
        .map(|(name, value)| (name.clone(), text_of(value)))
        .collect()
}

/// Texts and reasoning that follow one another are one, since streams and dialects cut them where they like; empty ones
/// are none. Marks are put together.
pub(crate) fn join_texts(items: Vec<Item>) -> Vec<Item> {
    let mut joined: Vec<Item> = Vec::new();
    for item in items {
        let is_text = matches!(item.kind, Kind::Text | Kind::Reasoning);
        if item.kind == Kind::Text && item.what.is_empty() && item.marks.is_empty() {
            continue;
        }
        match joined.last_mut() {
            Some(last)
                if is_text
                    && last.role == item.role
                    && last.kind == item.kind
                    && (item.kind == Kind::Text || !last.marks.contains_key("signature")) =>
            {
                last.what += &item.what;
                for (name, value) in item.marks {
                    let known = last.marks.entry(name).or_default();
                    if !known.is_empty() && *known != value {
                        known.push_str(" + ");
                    }
                    if *known != value {
                        known.push_str(&value);
                    }
                }
            }
            _ => joined.push(item),
        }
    }
    joined
}

/// What every dialect has words for, put together: for comparing two of them.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Core {
    pub(crate) system: String,
    pub(crate) user: String,
    pub(crate) assistant: String,
    pub(crate) reasoning: String,
    /// Name and arguments.
    pub(crate) calls: Vec<(String, String)>,
    pub(crate) results: Vec<String>,
    pub(crate) media: usize,
}

pub(crate) fn core(items: &[Item]) -> Core {
    let mut core = Core::default();
    for item in items {
        match (item.kind, item.role) {
            (Kind::Text | Kind::Refusal, Role::System) => core.system += &item.what,
            (Kind::Text | Kind::Refusal, Role::User) => core.user += &item.what,
            (Kind::Text | Kind::Refusal, Role::Assistant) => core.assistant += &item.what,
            (Kind::Reasoning, _) => core.reasoning += &item.what,
            (Kind::Call, _) => {
                let mut pieces = item.what.splitn(3, '\n').skip(1).map(str::to_owned);
                let name = pieces.next().unwrap();
                core.calls.push((name, plain_or_canonical(&pieces.next().unwrap())));
            }
            (Kind::Result, _) => core.results.push(item.what.split_once('\n').unwrap().1.to_owned()),
            (Kind::Media, _) => core.media += 1,
            (Kind::Redacted | Kind::Native | Kind::Message, _) => {}
        }
    }
    core
}

/// A call as [`Item::what`]. No arguments are an empty object.
pub(crate) fn call(id: &Value, name: &Value, arguments: &str) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let arguments = if arguments.is_empty() { "{}" } else { arguments };
    format!("{}\n{}\n{arguments}", text(id), text(name))
}

/// What a tool answered: its words as one item, and what else it gave as items that follow.
pub(crate) fn result(id: &str, content: Vec<Item>, finish: &dyn Fn(Item) -> Item) -> Vec<Item> {
    let (texts, others): (Vec<_>, Vec<_>) = content.into_iter().partition(|item| item.kind == Kind::Text);
    let words: String = texts.iter().map(|item| item.what.as_str()).collect();
    let what = format!("{id}\n{}", plain_or_canonical(&words));
    let mut item = finish(Item::new(Role::User, Kind::Result, what));
    for (name, value) in texts.into_iter().flat_map(|item| item.marks) {
        item.marks.insert(format!("content.{name}"), value);
    }
    std::iter::once(item).chain(others).collect()
}

/// Base64 in the standard alphabet, padded: Google takes and writes both.
pub(crate) fn standard_base64(data: &str) -> String {
    let mut data = data.replace('-', "+").replace('_', "/");
    while !data.len().is_multiple_of(4) {
        data.push('=');
    }
    data
}
