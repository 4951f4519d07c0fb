//! Token counts, both ways. Called by `reply` and the streams.
//!
//! OpenAI's totals include their parts, as the canonical ones do. Compatible servers put the same figures in other
//! places; what nobody here counts (costs, durations) is left for the answer's `rest`.

use serde_json::{Map, Value, json};

use crate::Usage;
use crate::conversation::Rest;
use crate::json::{self, Kind};

const INPUT_DETAILS: &str = "prompt_tokens_details";
const OUTPUT_DETAILS: &str = "completion_tokens_details";

/// Fields that are read into [`Usage`] and written from it.
const READ: &[&str] = &["prompt_tokens", "completion_tokens", "total_tokens"];
const READ_IN_DETAILS: &[&str] =
    &["cached_tokens", "audio_tokens", "cache_write_tokens", "reasoning_tokens", "web_search_requests"];

/// A JSON value, read into memory or as it stands in its text.
pub(super) trait Readable: Copy {
    /// The members; `None` where it is no object.
    fn fields(self) -> Option<impl Iterator<Item = (impl AsRef<str>, Self)>>;
    /// A count of tokens.
    fn count(self) -> Option<u64>;
}

impl Readable for &Value {
    fn fields(self) -> Option<impl Iterator<Item = (impl AsRef<str>, Self)>> {
        self.as_object().map(|fields| fields.iter())
    }

    fn count(self) -> Option<u64> {
        self.as_u64().or_else(|| self.as_f64().and_then(whole))
    }
}

impl Readable for json::Value<'_> {
    fn fields(self) -> Option<impl Iterator<Item = (impl AsRef<str>, Self)>> {
        (self.kind() == Kind::Object).then(|| self.members().map(|(key, value)| (key.name(), value)))
    }

    fn count(self) -> Option<u64> {
        self.as_u64().or_else(|| self.as_f64().and_then(whole))
    }
}

/// Counts by their names; 0 where there is none.
#[derive(Default)]
struct Counts {
    prompt: u64,
    input: u64,
    completion: u64,
    output: u64,
    total: u64,
    reasoning: u64,
    prompt_cache_hit: u64,
    cached: u64,
    num_cached: u64,
    cache_read_input: u64,
    cache_creation_input: u64,
    search_queries: u64,
    of_input: Details,
    of_output: Details,
    of_tools: Details,
    of_tools_otherwise: Details,
}

#[derive(Default)]
struct Details {
    cached: u64,
    cache_write: u64,
    cache_creation: u64,
    audio: u64,
    reasoning: u64,
    web_searches: u64,
}

impl Counts {
    fn of<V: Readable>(fields: impl Iterator<Item = (impl AsRef<str>, V)>) -> Self {
        let mut counts = Self::default();
        for (name, value) in fields {
            let count = match name.as_ref() {
                "prompt_tokens" => &mut counts.prompt,
                "input_tokens" => &mut counts.input,
                "completion_tokens" => &mut counts.completion,
                "output_tokens" => &mut counts.output,
                "total_tokens" => &mut counts.total,
                "reasoning_tokens" => &mut counts.reasoning,
                "prompt_cache_hit_tokens" => &mut counts.prompt_cache_hit,
                "cached_tokens" => &mut counts.cached,
                "num_cached_tokens" => &mut counts.num_cached,
                "cache_read_input_tokens" => &mut counts.cache_read_input,
                "cache_creation_input_tokens" => &mut counts.cache_creation_input,
                "num_search_queries" => &mut counts.search_queries,
                name => {
                    let details = match name {
                        INPUT_DETAILS => &mut counts.of_input,
                        OUTPUT_DETAILS => &mut counts.of_output,
                        "server_tool_use_details" => &mut counts.of_tools,
                        "server_tool_use" => &mut counts.of_tools_otherwise,
                        _ => continue,
                    };
                    *details = value.fields().map(Details::of).unwrap_or_default();
                    continue;
                }
            };
            *count = value.count().unwrap_or(0);
        }
        counts
    }
}

impl Details {
    fn of<V: Readable>(fields: impl Iterator<Item = (impl AsRef<str>, V)>) -> Self {
        let mut details = Self::default();
        for (name, value) in fields {
            let count = match name.as_ref() {
                "cached_tokens" => &mut details.cached,
                "cache_write_tokens" => &mut details.cache_write,
                "cache_creation_tokens" => &mut details.cache_creation,
                "audio_tokens" => &mut details.audio,
                "reasoning_tokens" => &mut details.reasoning,
                "web_search_requests" => &mut details.web_searches,
                _ => continue,
            };
            *count = value.count().unwrap_or(0);
        }
        details
    }
}

/// Reads a usage object. `None` where it is none or says nothing.
pub(super) fn parse_usage<V: Readable>(value: V) -> Option<Usage> {
    let mut fields = value.fields()?.peekable();
    fields.peek()?;
    let counts = Counts::of(fields);
    // The first that says something.
    let first = |counts: &[u64]| counts.iter().copied().find(|count| *count > 0).unwrap_or(0);
    let reasoning = first(&[counts.of_output.reasoning, counts.reasoning]);
    let input = first(&[counts.prompt, counts.input]);
    let mut output = first(&[counts.completion, counts.output]);
    // xAI leaves reasoning out of the output; its total tells.
    if reasoning > 0 && counts.total == input.saturating_add(output).saturating_add(reasoning) {
        output = output.saturating_add(reasoning);
    }
    let cache_read = first(&[
        counts.of_input.cached,
        counts.prompt_cache_hit,
        counts.cached,
        counts.num_cached,
        counts.cache_read_input,
    ]);
    let written =
        first(&[counts.of_input.cache_write, counts.of_input.cache_creation, counts.cache_creation_input]);
    // OpenRouter sometimes counts the same tokens as read and as written; read ones were not written again.
    let not_read = input.checked_sub(cache_read).unwrap_or(written);
    let searches =
        [counts.of_tools.web_searches, counts.of_tools_otherwise.web_searches, counts.search_queries];
    Some(Usage {
        input,
        cache_read,
        cache_write_5m: written.min(not_read),
        cache_write_1h: 0,
        input_audio: counts.of_input.audio,
        output,
        reasoning,
        output_audio: counts.of_output.audio,
        web_searches: first(&searches),
    })
}

/// Some servers write counts as floating point numbers.
fn whole(number: f64) -> Option<u64> {
    // Larger counts than this are no counts of tokens.
    const LARGEST: f64 = 9_007_199_254_740_992.0;
    let is_count = number.is_finite() && (0.0..=LARGEST).contains(&number);
    is_count.then(|| format!("{number:.0}").parse().ok()).flatten()
}

/// What [`parse_usage`] does not read: costs, durations, predictions.
pub(super) fn leftovers(value: Value) -> Option<Value> {
    let Value::Object(fields) = value else { return None };
    let mut rest = without(fields, READ);
    for name in [INPUT_DETAILS, OUTPUT_DETAILS, "server_tool_use_details"] {
        let details = rest.shift_remove(name);
        if let Some(Value::Object(details)) = details {
            let details = without(details, READ_IN_DETAILS);
            if !details.is_empty() {
                rest.insert(name.to_owned(), Value::Object(details));
            }
        }
    }
    (!rest.is_empty()).then_some(Value::Object(rest))
}

fn without(fields: Map<String, Value>, names: &[&str]) -> Map<String, Value> {
    fields.into_iter().filter(|(name, value)| !names.contains(&name.as_str()) && !value.is_null()).collect()
}

/// Writes a usage object, with what an answer of this dialect had beside the counts.
pub(super) fn render_usage(usage: &Usage, leftovers: Option<&Value>) -> Value {
    let mut input_details = json!({ "cached_tokens": usage.cache_read, "audio_tokens": usage.input_audio });
    let written = usage.cache_write_5m.saturating_add(usage.cache_write_1h);
    if written > 0 {
        input_details["cache_write_tokens"] = written.into();
    }
    let mut rendered = json!({
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total(),
        INPUT_DETAILS: input_details,
        OUTPUT_DETAILS: { "reasoning_tokens": usage.reasoning, "audio_tokens": usage.output_audio },
    });
    if usage.web_searches > 0 {
        rendered["server_tool_use_details"] = json!({ "web_search_requests": usage.web_searches });
    }
    if let (Some(fields), Some(Value::Object(leftovers))) = (rendered.as_object_mut(), leftovers) {
        add_missing(fields, leftovers);
    }
    rendered
}

/// What stands there already counts; objects are filled up. Two levels are all that this wire has.
fn add_missing(fields: &mut Rest, more: &Rest) {
    for (name, value) in more {
        match (fields.get_mut(name), value) {
            (None, _) => {
                fields.insert(name.clone(), value.clone());
            }
            (Some(Value::Object(fields)), Value::Object(more)) => {
                for (name, value) in more {
                    fields.entry(name.clone()).or_insert_with(|| value.clone());
                }
            }
            (Some(_), _) => {}
        }
    }
}
