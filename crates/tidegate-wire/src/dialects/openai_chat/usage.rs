//! Token counts, both ways. Called by `reply` and the streams.
//!
//! OpenAI's totals include their parts, as the canonical ones do. Compatible servers put the same figures in other
//! places; what nobody here counts (costs, durations) is left for the answer's `rest`.

use serde_json::{Map, Value, json};

use crate::Usage;
use crate::conversation::Rest;

const INPUT_DETAILS: &str = "prompt_tokens_details";
const OUTPUT_DETAILS: &str = "completion_tokens_details";

/// Fields that are read into [`Usage`] and written from it.
const READ: &[&str] = &["prompt_tokens", "completion_tokens", "total_tokens"];
const READ_IN_DETAILS: &[&str] =
    &["cached_tokens", "audio_tokens", "cache_write_tokens", "reasoning_tokens", "web_search_requests"];

/// Reads a usage object. `None` where it is none or says nothing.
pub(super) fn parse_usage(value: &Value) -> Option<Usage> {
    let fields = value.as_object()?;
    let count = |path: &[&str]| {
        let found = path.iter().try_fold(value, |value, name| value.get(name))?;
        found.as_u64().or_else(|| found.as_f64().and_then(whole))
    };
    let first =
        |paths: &[&[&str]]| paths.iter().find_map(|path| count(path).filter(|count| *count > 0)).unwrap_or(0);
    let reasoning = first(&[&[OUTPUT_DETAILS, "reasoning_tokens"], &["reasoning_tokens"]]);
    let input = first(&[&["prompt_tokens"], &["input_tokens"]]);
    let mut output = first(&[&["completion_tokens"], &["output_tokens"]]);
    // xAI leaves reasoning out of the output; its total tells.
    let total = first(&[&["total_tokens"]]);
    if reasoning > 0 && total == input.saturating_add(output).saturating_add(reasoning) {
        output = output.saturating_add(reasoning);
    }
    let cache_read = first(&[
        &[INPUT_DETAILS, "cached_tokens"],
        &["prompt_cache_hit_tokens"],
        &["cached_tokens"],
        &["num_cached_tokens"],
        &["cache_read_input_tokens"],
    ]);
    let written = first(&[
        &[INPUT_DETAILS, "cache_write_tokens"],
        &[INPUT_DETAILS, "cache_creation_tokens"],
        &["cache_creation_input_tokens"],
    ]);
    // OpenRouter sometimes counts the same tokens as read and as written; read ones were not written again.
    let not_read = input.checked_sub(cache_read).unwrap_or(written);
    let usage = Usage {
        input,
        cache_read,
        cache_write_5m: written.min(not_read),
        cache_write_1h: 0,
        input_audio: first(&[&[INPUT_DETAILS, "audio_tokens"]]),
        output,
        reasoning,
        output_audio: first(&[&[OUTPUT_DETAILS, "audio_tokens"]]),
        web_searches: first(&[
            &["server_tool_use_details", "web_search_requests"],
            &["server_tool_use", "web_search_requests"],
            &["num_search_queries"],
        ]),
    };
    (!fields.is_empty()).then_some(usage)
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
