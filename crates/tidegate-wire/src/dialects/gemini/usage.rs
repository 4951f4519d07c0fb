//! `usageMetadata`, both ways. Called by `decode.rs`, `reply.rs` and `encode.rs`.
//!
//! Gemini counts thoughts beside the candidates' tokens and what server-side tools fed back beside the prompt's; here
//! both belong to the totals. What our totals cannot tell apart stays in the answer's rest, for the way back.

use serde_json::{Map, Value, json};

use super::HERE;
use super::types::to_whole_number;
use crate::conversation::Rest;
use crate::{ServedTier, Usage};

/// Counts that are computed from [`Usage`] on the way back; all others are kept.
const COMPUTED: [&str; 5] = [
    "promptTokenCount",
    "cachedContentTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "totalTokenCount",
];
/// Kept as the answer's service tier instead.
pub(super) const SERVICE_TIER: &str = "serviceTier";

/// Reads the counts. `None` where the metadata holds none, as in the first frames of a stream.
pub(super) fn read(metadata: &Map<String, Value>) -> Option<Usage> {
    let counted =
        COMPUTED.iter().chain(&["toolUsePromptTokenCount"]).any(|name| metadata.contains_key(*name));
    if !counted {
        return None;
    }
    let count = |name: &str| metadata.get(name).map_or(0, to_count);
    let audio = |name: &str| metadata.get(name).map_or(0, audio_of);
    let thoughts = count("thoughtsTokenCount");
    Some(Usage {
        input: count("promptTokenCount").saturating_add(count("toolUsePromptTokenCount")),
        cache_read: count("cachedContentTokenCount"),
        input_audio: audio("promptTokensDetails").saturating_add(audio("toolUsePromptTokensDetails")),
        output: count("candidatesTokenCount").saturating_add(thoughts),
        reasoning: thoughts,
        output_audio: audio("candidatesTokensDetails"),
        ..Usage::default()
    })
}

/// The tier that served the answer. Vertex has another word for it.
pub(super) fn served_tier(metadata: &Map<String, Value>) -> Option<ServedTier> {
    ServedTier::of_answer(HERE, metadata.get(SERVICE_TIER).and_then(Value::as_str), Some(metadata))
}

/// What [`read`] cannot tell apart, for the answer's rest. Details that say no more than [`write`] would are left out.
pub(super) fn left_over(metadata: Map<String, Value>) -> Map<String, Value> {
    let computed = read(&metadata)
        .and_then(|usage| {
            let tool_use = metadata.get("toolUsePromptTokenCount").cloned();
            let tool_use =
                tool_use.map(|count| Rest::from_iter([("toolUsePromptTokenCount".to_owned(), count)]));
            write(&usage, None, tool_use.as_ref())
        })
        .unwrap_or_default();
    let is_left_over = |name: &str, value: &Value| {
        let is_computed =
            COMPUTED.contains(&name) || (name.ends_with("Details") && computed.get(name) == Some(value));
        !value.is_null() && name != SERVICE_TIER && !is_computed
    };
    metadata.into_iter().filter(|(name, value)| is_left_over(name, value)).collect()
}

/// Writes the counts, with what was left over at reading; `None` where there is nothing to say.
pub(super) fn write(usage: &Usage, service_tier: Option<&str>, left_over: Option<&Rest>) -> Option<Value> {
    if usage.is_empty() && service_tier.is_none() && left_over.is_none_or(Map::is_empty) {
        return None;
    }
    let tool_use = left_over.and_then(|rest| rest.get("toolUsePromptTokenCount")).map_or(0, to_count);
    let prompt = usage.input.saturating_sub(tool_use);
    let candidates = usage.output.saturating_sub(usage.reasoning);
    let mut metadata = Map::new();
    let mut put = |name: &str, count: u64| metadata.insert(name.to_owned(), count.into());
    put("promptTokenCount", prompt);
    put("candidatesTokenCount", candidates);
    put("totalTokenCount", usage.total());
    if usage.cache_read > 0 {
        put("cachedContentTokenCount", usage.cache_read);
    }
    if usage.reasoning > 0 {
        put("thoughtsTokenCount", usage.reasoning);
    }
    if usage.input_audio > 0 {
        metadata.insert("promptTokensDetails".to_owned(), details(prompt, usage.input_audio));
    }
    if usage.output_audio > 0 {
        metadata.insert("candidatesTokensDetails".to_owned(), details(candidates, usage.output_audio));
    }
    if let Some(tier) = service_tier {
        metadata.insert(SERVICE_TIER.to_owned(), tier.into());
    }
    if let Some(rest) = left_over {
        metadata.extend(rest.clone());
    }
    Some(Value::Object(metadata))
}

fn details(all: u64, audio: u64) -> Value {
    let mut details = Vec::new();
    let text = all.saturating_sub(audio);
    if text > 0 {
        details.push(json!({"modality": "TEXT", "tokenCount": text}));
    }
    details.push(json!({"modality": "AUDIO", "tokenCount": audio}));
    Value::Array(details)
}

fn audio_of(details: &Value) -> u64 {
    let Value::Array(details) = details else { return 0 };
    details
        .iter()
        .filter(|detail| detail.get("modality").is_some_and(is_audio))
        .filter_map(|detail| detail.get("tokenCount"))
        .fold(0, |sum, count| sum.saturating_add(to_count(count)))
}

/// By its word, or by its number where the client asks for numbers.
fn is_audio(modality: &Value) -> bool {
    modality.as_str() == Some("AUDIO") || modality.as_u64() == Some(4)
}

fn to_count(value: &Value) -> u64 {
    value
        .as_u64()
        .or_else(|| to_whole_number(value).and_then(|count| u64::try_from(count).ok()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_back_as_they_were() {
        let metadata = json!({
            "promptTokenCount": 15, "candidatesTokenCount": 29, "totalTokenCount": 1556, "cachedContentTokenCount": 4,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}, {"modality": "AUDIO", "tokenCount": 10}],
            "toolUsePromptTokenCount": 770, "thoughtsTokenCount": 742,
            "toolUsePromptTokensDetails": [{"modality": "TEXT", "tokenCount": 770}],
            "trafficType": "ON_DEMAND"
        });
        let Value::Object(map) = metadata.clone() else { panic!("no object") };
        let usage = read(&map).unwrap();
        assert_eq!(
            usage,
            Usage {
                input: 785,
                cache_read: 4,
                input_audio: 10,
                output: 771,
                reasoning: 742,
                ..Usage::default()
            }
        );
        assert_eq!(write(&usage, None, Some(&left_over(map))), Some(metadata));
    }

    #[test]
    fn metadata_without_counts_are_no_usage() {
        let Value::Object(map) = json!({"trafficType": "ON_DEMAND"}) else { panic!("no object") };
        assert_eq!(read(&map), None);
    }
}
