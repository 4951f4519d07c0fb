//! What a request asks for outside of its conversation, as a key is held to it: by the names of its members, at the top
//! and in the objects that settings stand in. Called by `features`.
//!
//! Servers have many names for the same thing (`guided_json`, `structured_outputs`, `grammar`; `enable_thinking`,
//! `reasoning`, `effort`), and new ones come every month. So it goes by the words that they are made of: a key that must
//! not use a feature is refused one name too many rather than one too few. What a target must be able to do is not
//! concluded from here.

use tidegate_policy::{Feature, Features};
use tidegate_wire::json::{Document, Key, Kind, Value};

use super::media::{media_of, plain};

/// `extra_body.google.thinking_config` is as deep as known ones go, with one more.
const MAX_DEPTH: usize = 5;

/// The conversation, which `media` looks through.
pub(super) const CONVERSATION: [&str; 6] =
    ["messages", "contents", "system", "systeminstruction", "prompt", "prediction"];

/// Whose names sound like a feature that they do not switch on, or that hold the caller's own words.
const NEUTRAL: [&str; 22] = [
    "model",
    "models",
    "provider",
    "metadata",
    "labels",
    "user",
    "logitbias",
    "stop",
    "stopsequences",
    "toolchoice",
    "toolconfig",
    "functioncall",
    "paralleltoolcalls",
    "safetysettings",
    "contextmanagement",
    "cachecontrol",
    "streamoptions",
    "audiotimestamp",
    "mediaresolution",
    "promptcachekey",
    "safetyidentifier",
    "servicetier",
];

/// Members that nearly all requests have, which say nothing of tools that a provider uses by itself; all calls are asked.
const USUAL: [&str; 14] = [
    "model",
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "stream",
    "stream_options",
    "tools",
    "functions",
    "system",
    "contents",
    "stop",
    "user",
];

/// What an object that switches something off may say besides.
const DISPLAY: [&str; 4] = ["exclude", "includethoughts", "summary", "display"];

/// What of a tool is the caller's own words.
const OF_A_TOOL: [&str; 9] = [
    "name",
    "description",
    "function",
    "functions",
    "functiondeclarations",
    "inputschema",
    "parameters",
    "custom",
    "cachecontrol",
];

/// What is asked for.
pub(super) fn asked_for(document: &Document) -> Features {
    let members = document.members().map(|(key, value)| of_member(&key.name(), value));
    members.fold(Features::default(), Features::union)
}

fn of_member(name: &str, value: Value<'_>) -> Features {
    let mut found = Features::default();
    let name = plain(name);
    if !CONVERSATION.contains(&&*name) {
        look_at(&name, value, &mut found, MAX_DEPTH);
    }
    found
}

/// The settings that have the provider use tools by itself, by whatever name: searches, plugins, containers. Not the tools that
/// are listed as such.
pub(crate) fn own_tools(document: &Document) -> impl Iterator<Item = (Key<'_>, Value<'_>)> {
    let is_usual = |key: &Key<'_>| USUAL.iter().any(|name| key.is(name));
    document.members().filter(move |(key, value)| {
        !is_usual(key) && of_member(&key.name(), *value).contains(Feature::Tools) && !says_off(*value)
    })
}

fn look_at(name: &str, value: Value<'_>, found: &mut Features, depth: usize) {
    let Some(depth) = depth.checked_sub(1) else { return };
    if NEUTRAL.contains(&name) || is_off(value) {
        return;
    }
    if name.contains("modalit") {
        modalities(value, found);
        return;
    }
    let named = features_of(name);
    if named.contains(Feature::Tools) {
        value.elements().for_each(|tool| look_at_tool(tool, found));
    }
    if !named.is_empty() {
        let switches: Features = [Feature::Reasoning, Feature::StructuredOutput].into_iter().collect();
        if !(named.is_within(switches) && says_off(value)) {
            *found = found.union(named);
        }
        return;
    }
    let inside = |object: Value<'_>, found: &mut Features| {
        for (key, value) in object.members() {
            look_at(&plain(&key.name()), value, found, depth);
        }
    };
    inside(value, found);
    value.elements().for_each(|element| inside(element, found));
}

/// The features that a name speaks of.
fn features_of(name: &str) -> Features {
    let says = |words: &[&str]| words.iter().any(|word| name.contains(word));
    let mut features = media_of(name);
    if says(&["think", "reason", "effort", "thought"]) {
        features.insert(Feature::Reasoning);
    }
    let structured = ["schema", "guided", "structur", "grammar", "regex", "ebnf", "json", "mimetype"];
    if says(&structured) || (name.ends_with("format") && features.is_empty()) {
        features.insert(Feature::StructuredOutput);
    }
    let tools = [
        "tool",
        "function",
        "mcp",
        "plugin",
        "search",
        "connector",
        "container",
        "retriev",
        "datasource",
        "codeexec",
    ];
    if says(&tools) {
        features.insert(Feature::Tools);
    }
    // Content that the provider keeps and nobody here sees: anything can be in it, tools too.
    if says(&["cachedcontent", "previousresponse"]) {
        let all = [Feature::Tools, Feature::Images, Feature::Audio, Feature::Documents];
        features = features.union(all.into_iter().collect());
    }
    features
}

/// What an answer may consist of, besides text.
fn modalities(value: Value<'_>, found: &mut Features) {
    let mut one = |value: Value<'_>| {
        let said = value.as_string().map(|text| plain(&text)).unwrap_or_default();
        let media = media_of(&said);
        *found = found.union(media);
        if media.is_empty() && said != "text" {
            found.insert(Feature::Images);
            found.insert(Feature::Audio);
        }
    };
    if value.kind() == Kind::Array { value.elements().for_each(one) } else { one(value) }
}

/// Tools that the provider runs: some draw, some read documents.
fn look_at_tool(tool: Value<'_>, found: &mut Features) {
    for (key, value) in tool.members() {
        let name = plain(&key.name());
        if name == "type" {
            let said = value.as_string().map(|text| plain(&text)).unwrap_or_default();
            *found = found.union(media_of(&said));
        } else if !OF_A_TOOL.contains(&&*name) && !is_off(value) {
            *found = found.union(media_of(&name));
        }
    }
}

/// Whether a value says that nothing is wanted.
fn is_off(value: Value<'_>) -> bool {
    match value.kind() {
        Kind::Null => true,
        Kind::Boolean => value.as_bool() == Some(false),
        Kind::Number => value.as_f64() == Some(0.0),
        Kind::String => {
            let said = value.as_string().unwrap_or_default();
            ["", "none", "off", "disabled", "text", "text/plain"]
                .iter()
                .any(|off| said.eq_ignore_ascii_case(off))
        }
        Kind::Array => value.elements().next().is_none(),
        Kind::Object => false,
    }
}

/// Whether an object switches off what it is about, and says nothing else: `{"type": "disabled"}`.
fn says_off(value: Value<'_>) -> bool {
    let mut members = value.members().filter(|(key, _)| !DISPLAY.contains(&&*plain(&key.name()))).peekable();
    members.peek().is_some() && members.all(|(_, value)| is_off(value))
}
