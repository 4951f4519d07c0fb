//! What a request makes use of, read from its body as it came. Asked only where some level denies a feature, or some target
//! lacks one.

use tidegate_policy::{Feature, Features};
use tidegate_wire::Dialect;
use tidegate_wire::json::{Document, Kind, Value};

use super::media::{add_media, plain};
use super::settings::{CONVERSATION, asked_for};
use crate::accept::Call;

/// What a call makes use of.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Uses {
    /// What a target has to be able to do.
    pub(crate) features: Features,
    /// What it may make use of besides: by other names that some servers know, in what only the provider sees, in the answer.
    /// A key is held to it, and no target left out for it.
    pub(super) beyond: Features,
    /// Whether there is something of which the body does not tell the size: documents, and what stands behind an address.
    pub(super) refers: bool,
    /// Images, sounds and documents in the conversation.
    pub(crate) media: u64,
    /// The bytes of the body that these take.
    pub(crate) media_bytes: u64,
}

/// What a call makes use of.
pub(crate) fn uses_of(call: &Call) -> Uses {
    let mut uses = Uses::default();
    if call.stream {
        uses.features.insert(Feature::Streaming);
    }
    let document = &call.document;
    let has = |name: &str| document.get(name).is_some_and(is_something);
    let says = |name: &str, usual: &str| document.get(name).is_some_and(|value| differs(value, usual));
    let has_nested = |outer: &str, inner: &str| document.get_nested(outer, inner).is_some_and(is_something);
    let (has_tools, is_structured, is_reasoning) = match call.dialect {
        Dialect::OpenAiChat => (
            has("tools") || has("functions") || has("web_search_options"),
            document
                .get_nested("response_format", "type")
                .and_then(Value::as_string)
                .is_some_and(|kind| kind != "text"),
            says("reasoning_effort", "none") || has("reasoning") || has("thinking"),
        ),
        Dialect::AnthropicMessages => (
            has("tools") || has("mcp_servers"),
            has("output_format") || has_nested("output_config", "format"),
            document
                .get_nested("thinking", "type")
                .and_then(Value::as_string)
                .is_some_and(|kind| kind != "disabled"),
        ),
        Dialect::Gemini => (
            has("tools"),
            any_of_google(document, &["responseSchema", "response_schema"], is_something)
                || any_of_google(document, &["responseJsonSchema", "response_json_schema"], is_something)
                || any_of_google(document, &["responseMimeType", "response_mime_type"], |value| {
                    differs(value, "text/plain")
                }),
            any_of_google(document, &["thinkingConfig", "thinking_config"], |value| {
                let budget = value.get("thinkingBudget").or_else(|| value.get("thinking_budget"));
                is_something(value) && budget.and_then(Value::as_u64) != Some(0)
            }),
        ),
    };
    for (feature, is_used) in [
        (Feature::Tools, has_tools),
        (Feature::StructuredOutput, is_structured),
        (Feature::Reasoning, is_reasoning),
    ] {
        if is_used {
            uses.features.insert(feature);
        }
    }
    for (key, value) in document.members() {
        if CONVERSATION.contains(&&*plain(&key.name())) {
            add_media(value, &mut uses);
        }
    }
    uses
}

/// Whether a call refers to something of which the body does not tell the size, in its conversation or beside it.
pub(crate) fn refers(call: &Call) -> bool {
    uses_of(call).refers || asked_for(&call.document).contains(Feature::Documents)
}

/// Everything that a call makes use of, as a key is held to it.
pub(crate) fn all_features_of(call: &Call) -> Features {
    let uses = uses_of(call);
    let mut all = uses.beyond.union(asked_for(&call.document));
    for feature in [Feature::Images, Feature::Audio, Feature::Documents, Feature::Streaming] {
        if uses.features.contains(feature) {
            all.insert(feature);
        }
    }
    all
}

impl Uses {
    /// One more image, sound or document.
    pub(super) fn count(&mut self, value: Value<'_>) {
        self.media += 1;
        self.media_bytes += u64::try_from(value.text().len()).unwrap_or(u64::MAX);
    }
}

/// Google takes the names of fields in both spellings, inside and outside.
fn any_of_google(document: &Document, names: &[&str], is_used: impl Fn(Value<'_>) -> bool) -> bool {
    ["generationConfig", "generation_config"]
        .iter()
        .any(|outer| names.iter().any(|name| document.get_nested(outer, name).is_some_and(&is_used)))
}

/// Whether something else is said than what holds when nothing is said.
fn differs(value: Value<'_>, usual: &str) -> bool {
    is_something(value) && value.as_string().as_deref() != Some(usual)
}

fn is_something(value: Value<'_>) -> bool {
    match value.kind() {
        Kind::Null => false,
        Kind::Array => value.elements().next().is_some(),
        _ => true,
    }
}
