//! What a request makes use of, read from its body as it came. Asked only where some level denies a feature, or some target
//! lacks one.

use tidegate_policy::{Feature, Features};
use tidegate_wire::Dialect;
use tidegate_wire::json::{Document, Kind, Value};

use crate::accept::Call;

/// Content inside tool results inside turns; deeper nesting is no conversation.
const MAX_DEPTH: usize = 6;

/// What a call makes use of.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Uses {
    pub(crate) features: Features,
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
    let (conversation, has_tools, is_structured, is_reasoning) = match call.dialect {
        Dialect::OpenAiChat => (
            "messages",
            has("tools") || has("functions") || has("web_search_options"),
            document
                .get_nested("response_format", "type")
                .and_then(Value::as_string)
                .is_some_and(|kind| kind != "text"),
            says("reasoning_effort", "none") || has("reasoning") || has("thinking"),
        ),
        Dialect::AnthropicMessages => (
            "messages",
            has("tools") || has("mcp_servers"),
            has("output_format") || has_nested("output_config", "format"),
            document
                .get_nested("thinking", "type")
                .and_then(Value::as_string)
                .is_some_and(|kind| kind != "disabled"),
        ),
        Dialect::Gemini => (
            "contents",
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
    for name in [conversation, "system", "systemInstruction", "system_instruction"] {
        if let Some(value) = document.get(name) {
            add_media(value, &mut uses, MAX_DEPTH);
        }
    }
    uses
}

/// Looks for media in turns, their content and the content of tool results, in the words of all dialects: a word of
/// another dialect would not be understood by the target, but must not slip through either.
fn add_media(value: Value<'_>, uses: &mut Uses, depth: usize) {
    let Some(depth) = depth.checked_sub(1) else { return };
    match value.kind() {
        Kind::Array => value.elements().for_each(|element| add_media(element, uses, depth)),
        Kind::Object => {
            match value.get("type").and_then(Value::as_string).as_deref() {
                Some("image_url" | "image" | "input_image") => uses.add(Feature::Images, value),
                Some("input_audio" | "audio") => uses.add(Feature::Audio, value),
                Some("file" | "document" | "input_file") => uses.add(Feature::Documents, value),
                _ => {}
            }
            for name in ["inlineData", "fileData", "inline_data", "file_data"] {
                let Some(data) = value.get(name) else { continue };
                let kind = data.get("mimeType").or_else(|| data.get("mime_type")).and_then(Value::as_string);
                let feature = match kind.as_deref().unwrap_or_default() {
                    kind if kind.starts_with("image/") => Feature::Images,
                    kind if kind.starts_with("audio/") => Feature::Audio,
                    _ => Feature::Documents,
                };
                uses.add(feature, data);
            }
            for name in ["content", "parts", "functionResponse"] {
                if let Some(inner) = value.get(name) {
                    add_media(inner, uses, depth);
                }
            }
        }
        _ => {}
    }
}

impl Uses {
    fn add(&mut self, feature: Feature, value: Value<'_>) {
        self.features.insert(feature);
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
