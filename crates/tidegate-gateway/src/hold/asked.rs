//! What a request asks for that its cost depends on: how long an answer, how many, how much reasoning, which searches.
//! Providers read what they are sent in their own ways; whatever could mean more is taken to mean more.

use tidegate_wire::Dialect;
use tidegate_wire::conversation::ReasoningRequest;
use tidegate_wire::json::{Kind, Value};

use crate::accept::Call;
use crate::admit::own_tools;

/// As many answers as any provider gives to one request: OpenAI's limit. What cannot be read as a number counts so.
const MOST_CHOICES: u64 = 128;

/// What the request says about the answer: tokens at most, and how many answers.
pub(crate) fn asked_output(call: &Call) -> (Option<u64>, u64) {
    match call.dialect {
        Dialect::OpenAiChat => {
            // Each server heeds the one that it knows, and only the first two are known to all.
            let limit = most_tokens(top_level(call, &["max_completion_tokens", "max_tokens"]));
            let others = || top_level(call, &["max_new_tokens", "max_output_tokens", "num_predict"]);
            let limit = limit.and_then(|limit| match others().next() {
                None => Some(limit),
                Some(_) => most_tokens(others()).map(|other| other.max(limit)),
            });
            // `best_of` answers are made, and paid for, where one is given.
            (limit, most_choices(top_level(call, &["n", "best_of"])))
        }
        Dialect::AnthropicMessages => (most_tokens(top_level(call, &["max_tokens"])), 1),
        Dialect::Gemini => {
            let configs = || top_level(call, &["generationConfig", "generation_config"]);
            let inner = |names: [&'static str; 2]| {
                configs()
                    .flat_map(Value::members)
                    .filter(move |(key, _)| names.iter().any(|name| key.is(name)))
                    .map(|(_, value)| value)
            };
            (
                most_tokens(inner(["maxOutputTokens", "max_output_tokens"])),
                most_choices(inner(["candidateCount", "candidate_count"])),
            )
        }
    }
}

/// Output tokens at most beside the answer's own: what was predicted and turns out otherwise is paid for like output, and no
/// token is shorter than a byte.
pub(super) fn predicted(call: &Call) -> u64 {
    if call.dialect != Dialect::OpenAiChat {
        return 0;
    }
    let bytes = top_level(call, &["prediction"]).map(|value| value.text().len()).sum::<usize>();
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// All members of these names: of two with the same name some parsers take the first.
fn top_level<'a>(call: &'a Call, names: &'static [&'static str]) -> impl Iterator<Item = Value<'a>> {
    let may_have_any = names.iter().any(|name| call.document.may_have(name));
    let members = may_have_any.then(|| call.document.members()).into_iter().flatten();
    members.filter(|(key, _)| names.iter().any(|name| key.is(name))).map(|(_, value)| value)
}

/// The highest limit. `None`, if one of them is none: to some servers zero or less means as many as the model likes.
fn most_tokens<'a>(values: impl Iterator<Item = Value<'a>>) -> Option<u64> {
    let mut values = values.filter(|value| !value.is_null()).peekable();
    values.peek()?;
    values
        .map(|value| read_number(value).filter(|tokens| *tokens > 0))
        .try_fold(0, |most, tokens| Some(tokens?.max(most)))
}

fn most_choices<'a>(values: impl Iterator<Item = Value<'a>>) -> u64 {
    let values = values.filter(|value| !value.is_null());
    values.map(|value| read_number(value).unwrap_or(MOST_CHOICES)).fold(1, u64::max)
}

/// A whole number, also as `8.0` or, as protobuf's JSON allows, `"8"`.
fn read_number(value: Value<'_>) -> Option<u64> {
    let text = match value.kind() {
        Kind::String => value.as_string()?,
        _ => std::str::from_utf8(value.text()).ok()?.into(),
    };
    let text = text.trim();
    let whole = text.split_once('.').map_or(text, |(whole, fraction)| {
        if fraction.bytes().all(|digit| digit == b'0') { whole } else { text }
    });
    whole.parse().ok()
}

/// The context window that a request asks for beyond the model's own: `anthropic-beta: context-1m-…`, of a million tokens
/// (platform.claude.com/docs/en/build-with-claude/context-windows).
pub(super) fn asked_window(call: &Call) -> Option<u64> {
    let betas =
        call.dialect_headers.get_all("anthropic-beta").into_iter().filter_map(|value| value.to_str().ok());
    let sizes = betas.flat_map(|names| names.split(',')).filter_map(|name| {
        let size = name.trim().strip_prefix("context-")?;
        let (millions, _) = size.split_once('m')?;
        millions.parse::<u64>().ok()
    });
    sizes.max().map(|millions| millions.saturating_mul(1_000_000))
}

/// The reasoning that a request asks for, in the words of another dialect than Anthropic's: there, its tokens come on top of the
/// answer's when they do not fit.
pub(super) fn asked_reasoning(call: &Call) -> Option<ReasoningRequest> {
    let is_asked = match call.dialect {
        Dialect::OpenAiChat => {
            top_level(call, &["reasoning_effort", "reasoning", "thinking"]).next().is_some()
        }
        Dialect::Gemini => top_level(call, &["generationConfig", "generation_config"])
            .flat_map(Value::members)
            .any(|(key, _)| key.is("thinkingConfig") || key.is("thinking_config")),
        Dialect::AnthropicMessages => false,
    };
    if !is_asked {
        return None;
    }
    call.dialect.codec().parse_request(call.body(), call.path_facts()).ok()?.reasoning
}

/// Whether the provider is asked to fetch or run things by itself, of which the results are input, too.
pub(super) fn searches_by_itself(call: &Call) -> bool {
    if own_tools(&call.document).next().is_some() {
        return true;
    }
    let Some(tools) = call.document.get("tools") else { return false };
    tools.elements().any(|tool| match call.dialect {
        Dialect::OpenAiChat | Dialect::AnthropicMessages => tool
            .get("type")
            .and_then(Value::as_string)
            .is_some_and(|kind| !matches!(&*kind, "function" | "custom")),
        Dialect::Gemini => {
            tool.members().any(|(key, _)| !key.is("functionDeclarations") && !key.is("function_declarations"))
        }
    })
}

fn says_search(text: &[u8]) -> bool {
    memchr::memmem::find(text, b"search").is_some()
}

/// Whether it is asked to search the web, which is paid for by the search.
pub(super) fn is_asked_to_search(call: &Call) -> bool {
    if own_tools(&call.document)
        .any(|(key, value)| says_search(key.name().as_bytes()) || says_search(value.text()))
    {
        return true;
    }
    let Some(tools) = call.document.get("tools") else { return false };
    tools.elements().any(|tool| match call.dialect {
        Dialect::OpenAiChat | Dialect::AnthropicMessages => {
            tool.get("type").and_then(Value::as_string).is_some_and(|kind| kind.contains("web_search"))
        }
        Dialect::Gemini => tool.members().any(|(key, _)| {
            [
                "googleSearch",
                "google_search",
                "googleSearchRetrieval",
                "google_search_retrieval",
                "enterpriseWebSearch",
                "googleMaps",
            ]
            .iter()
            .any(|name| key.is(name))
        }),
    })
}
