//! The shapes of Gemini's wire, for reading and for writing. Every reader and writer of this folder uses them.
//!
//! Google's server takes field names in camelCase and in snake_case, and a single object where a list is expected; so do
//! these types. They write camelCase and lists. Fields that are not named here stay in `rest` maps.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

type Text<'a> = Cow<'a, str>;

/// The body of `generateContent` and `streamGenerateContent`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request<'a> {
    #[serde(default, deserialize_with = "some_of_one_or_many")]
    pub(super) contents: Option<Vec<Content<'a>>>,
    #[serde(
        default,
        alias = "system_instruction",
        deserialize_with = "text_or_content",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) system_instruction: Option<Content<'a>>,
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub(super) tools: Vec<Map<String, Value>>,
    #[serde(default, alias = "tool_config", skip_serializing_if = "Option::is_none")]
    pub(super) tool_config: Option<Map<String, Value>>,
    #[serde(default, alias = "generation_config", skip_serializing_if = "Option::is_none")]
    pub(super) generation_config: Option<GenerationConfig>,
    #[serde(default, alias = "service_tier", skip_serializing_if = "Option::is_none")]
    pub(super) service_tier: Option<String>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// One turn, or the system instruction, or what a candidate says.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Content<'a> {
    #[serde(default, deserialize_with = "one_or_many")]
    pub(super) parts: Vec<Part<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<Text<'a>>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// One piece of a turn. At most one of the data fields is set; a part with none of them is of a kind that only Gemini
/// knows and lies in `rest`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) thought: Option<bool>,
    #[serde(default, alias = "inline_data", skip_serializing_if = "Option::is_none")]
    pub(super) inline_data: Option<Blob<'a>>,
    #[serde(default, alias = "file_data", skip_serializing_if = "Option::is_none")]
    pub(super) file_data: Option<FileData<'a>>,
    #[serde(default, alias = "function_call", skip_serializing_if = "Option::is_none")]
    pub(super) function_call: Option<FunctionCall<'a>>,
    #[serde(default, alias = "function_response", skip_serializing_if = "Option::is_none")]
    pub(super) function_response: Option<FunctionResponse<'a>>,
    #[serde(default, alias = "thought_signature", skip_serializing_if = "Option::is_none")]
    pub(super) thought_signature: Option<Text<'a>>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// Bytes inline, in base64.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Blob<'a> {
    #[serde(default, alias = "mime_type", skip_serializing_if = "Option::is_none")]
    pub(super) mime_type: Option<Text<'a>>,
    #[serde(default)]
    pub(super) data: Option<Text<'a>>,
    #[serde(default, alias = "display_name", skip_serializing_if = "Option::is_none")]
    pub(super) display_name: Option<Text<'a>>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// Bytes somewhere else.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FileData<'a> {
    #[serde(default, alias = "mime_type", skip_serializing_if = "Option::is_none")]
    pub(super) mime_type: Option<Text<'a>>,
    #[serde(default, alias = "file_uri")]
    pub(super) file_uri: Option<Text<'a>>,
    #[serde(default, alias = "display_name", skip_serializing_if = "Option::is_none")]
    pub(super) display_name: Option<Text<'a>>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// The model calls a function. `args` keeps its JSON text, so that numbers and the order of keys survive.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FunctionCall<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) args: Option<Cow<'a, RawValue>>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// What a function answered.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FunctionResponse<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) response: Option<Cow<'a, RawValue>>,
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub(super) parts: Vec<Part<'a>>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// How to generate.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GenerationConfig {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) temperature: Option<Number>,
    #[serde(default, alias = "top_p", skip_serializing_if = "Option::is_none")]
    pub(super) top_p: Option<Number>,
    #[serde(default, alias = "top_k", skip_serializing_if = "Option::is_none")]
    pub(super) top_k: Option<Number>,
    #[serde(
        default,
        alias = "candidate_count",
        deserialize_with = "whole_number",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) candidate_count: Option<i64>,
    #[serde(
        default,
        alias = "max_output_tokens",
        deserialize_with = "whole_number",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) max_output_tokens: Option<i64>,
    #[serde(
        default,
        alias = "stop_sequences",
        deserialize_with = "one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub(super) stop_sequences: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) seed: Option<Number>,
    #[serde(default, alias = "presence_penalty", skip_serializing_if = "Option::is_none")]
    pub(super) presence_penalty: Option<Number>,
    #[serde(default, alias = "frequency_penalty", skip_serializing_if = "Option::is_none")]
    pub(super) frequency_penalty: Option<Number>,
    #[serde(default, alias = "response_mime_type", skip_serializing_if = "Option::is_none")]
    pub(super) response_mime_type: Option<String>,
    #[serde(default, alias = "response_schema", skip_serializing_if = "Option::is_none")]
    pub(super) response_schema: Option<Value>,
    #[serde(
        default,
        alias = "response_json_schema",
        alias = "_responseJsonSchema",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) response_json_schema: Option<Value>,
    #[serde(default, alias = "response_logprobs", skip_serializing_if = "Option::is_none")]
    pub(super) response_logprobs: Option<bool>,
    #[serde(default, deserialize_with = "whole_number", skip_serializing_if = "Option::is_none")]
    pub(super) logprobs: Option<i64>,
    #[serde(
        default,
        alias = "response_modalities",
        deserialize_with = "one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub(super) response_modalities: Vec<String>,
    #[serde(default, alias = "thinking_config", skip_serializing_if = "Option::is_none")]
    pub(super) thinking_config: Option<ThinkingConfig>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// How to think.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ThinkingConfig {
    #[serde(
        default,
        alias = "thinking_budget",
        deserialize_with = "whole_number",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) thinking_budget: Option<i64>,
    #[serde(default, alias = "thinking_level", skip_serializing_if = "Option::is_none")]
    pub(super) thinking_level: Option<String>,
    #[serde(default, alias = "include_thoughts", skip_serializing_if = "Option::is_none")]
    pub(super) include_thoughts: Option<bool>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// An answer, whole; in a stream each frame is one.
#[expect(clippy::struct_field_names, reason = "the names are those of the wire")]
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Response<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Value>,
    #[serde(default, deserialize_with = "some_of_one_or_many", skip_serializing_if = "Option::is_none")]
    pub(super) candidates: Option<Vec<Candidate<'a>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) prompt_feedback: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) usage_metadata: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) model_version: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) create_time: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) response_id: Option<Text<'a>>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// One of the alternative answers, or a piece of it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<Content<'a>>,
    #[serde(default, deserialize_with = "finish_word", skip_serializing_if = "Option::is_none")]
    pub(super) finish_reason: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) logprobs_result: Option<LogprobsResult>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// Log probabilities of the tokens of one frame or answer.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogprobsResult {
    #[serde(default, deserialize_with = "one_or_many")]
    pub(super) chosen_candidates: Vec<LogprobsCandidate>,
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub(super) top_candidates: Vec<TopCandidates>,
}

/// The alternatives at one token.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct TopCandidates {
    #[serde(default, deserialize_with = "one_or_many")]
    pub(super) candidates: Vec<LogprobsCandidate>,
}

/// One token with its log probability.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogprobsCandidate {
    #[serde(default)]
    pub(super) token: Option<String>,
    #[serde(default)]
    pub(super) log_probability: Option<f64>,
}

/// Takes a field out of a map under its camelCase or its snake_case name.
pub(super) fn take(map: &mut Map<String, Value>, camel: &str) -> Option<Value> {
    let value = map.shift_remove(camel).or_else(|| map.shift_remove(&snake_case(camel)));
    value.filter(|value| !value.is_null())
}

/// The other spelling of a field's name.
fn snake_case(camel: &str) -> String {
    let mut snake = String::with_capacity(camel.len() + 4);
    for character in camel.chars() {
        if character.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

fn one_or_many<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    some_of_one_or_many(deserializer).map(Option::unwrap_or_default)
}

fn some_of_one_or_many<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    deserializer.deserialize_any(OneOrMany(PhantomData))
}

struct OneOrMany<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMany<T> {
    type Value = Option<Vec<T>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        T::deserialize(serde::de::value::StrDeserializer::new(text)).map(|one| Some(vec![one]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(sequence)).map(Some)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|one| Some(vec![one]))
    }
}

fn text_or_content<'de, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Content<'a>>, D::Error> {
    deserializer.deserialize_any(TextOrContent(PhantomData))
}

struct TextOrContent<'a>(PhantomData<&'a ()>);

impl<'de, 'a> Visitor<'de> for TextOrContent<'a> {
    type Value = Option<Content<'a>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a content with parts, or a text")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        let part = Part { text: Some(Cow::Owned(text.to_owned())), ..Part::default() };
        Ok(Some(Content { parts: vec![part], ..Content::default() }))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Content::deserialize(MapAccessDeserializer::new(map)).map(Some)
    }
}

/// Google writes enumerations as words, or as numbers where the client asks for it. Only the first few numbers mean the
/// same in the Developer API and in Vertex; the others stay numbers, which the reader takes for an unknown reason.
fn finish_word<'de, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Text<'a>>, D::Error> {
    Ok(match Option::<Value>::deserialize(deserializer)? {
        Some(Value::String(word)) => Some(Cow::Owned(word)),
        Some(Value::Number(number)) => Some(match number.as_u64() {
            Some(1) => Cow::Borrowed("STOP"),
            Some(2) => Cow::Borrowed("MAX_TOKENS"),
            Some(3) => Cow::Borrowed("SAFETY"),
            Some(4) => Cow::Borrowed("RECITATION"),
            Some(5) => Cow::Borrowed("OTHER"),
            _ => Cow::Owned(number.to_string()),
        }),
        _ => None,
    })
}

/// Google's JSON writes 64-bit integers as strings and takes both, and whole floats as well.
fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let value = Option::<Value>::deserialize(deserializer)?;
    value.map_or(Ok(None), |value| {
        to_whole_number(&value).map(Some).ok_or_else(|| {
            serde::de::Error::custom(format_args!("invalid value {value}, expected an integer"))
        })
    })
}

/// A whole number in any of the spellings that Google takes.
pub(super) fn to_whole_number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            let float = number.as_f64().filter(|float| float.fract() == 0.0)?;
            format!("{float:.0}").parse().ok()
        }),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}
