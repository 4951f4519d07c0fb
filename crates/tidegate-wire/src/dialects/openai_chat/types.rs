//! What is written to the wire: requests to targets, whole answers to callers. `render`, `turns` and `reply` fill these structs;
//! what is read is taken apart field by field instead (see [`super::super::fields`]), and stream chunks have types of
//! their own in [`super::stream`].

use std::borrow::Cow;
use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::{Number, Value};

use crate::conversation::{CacheMarker, Rest};

#[derive(Debug, Serialize)]
pub(super) struct Request<'a> {
    pub(super) model: &'a str,
    pub(super) messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) functions: Vec<Function<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function_call: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub(super) stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) temperature: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) top_p: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) top_k: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) frequency_penalty: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) presence_penalty: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seed: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) n: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) top_logprobs: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_format: Option<ResponseFormat<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub(super) modalities: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning_effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) verbosity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service_tier: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_control: Option<CacheControl>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stream_options: Option<Value>,
    #[serde(flatten)]
    pub(super) rest: Without<'a>,
}

/// A message of a request or of an answer.
#[derive(Debug, Default, Serialize)]
pub(super) struct Message<'a> {
    pub(super) role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_call_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<MessageContent<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refusal: Option<Nullable<Cow<'a, str>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning_content: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) reasoning_details: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tool_calls: Vec<Call<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function_call: Option<CalledFunction<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) annotations: Vec<Cow<'a, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) audio: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) images: Vec<ContentPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) extra_content: Option<Value>,
    /// The answer goes on with this message (Mistral).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) prefix: bool,
    #[serde(flatten)]
    pub(super) rest: Without<'a>,
}

/// A field that is written even when it has no value.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Nullable<T> {
    Value(T),
    Null,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum MessageContent<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<ContentPart<'a>>),
    Null,
}

/// A part of a message's content: one of the optional fields is there, as `kind` says.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum ContentPart<'a> {
    Known(Box<KnownPart<'a>>),
    Native(&'a Value),
}

#[derive(Debug, Default, Serialize)]
pub(super) struct KnownPart<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) image_url: Option<MediaUrl<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) video_url: Option<MediaUrl<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) audio_url: Option<MediaUrl<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) document_url: Option<UrlText<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) document_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input_audio: Option<InputAudio<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<File<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) thinking: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_control: Option<CacheControl>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prompt_cache_breakpoint: Option<Breakpoint>,
    #[serde(flatten)]
    pub(super) rest: Without<'a>,
}

impl<'a> KnownPart<'a> {
    /// Whether it says nothing but its text.
    pub(super) fn is_plain_text(&self) -> bool {
        self.kind == "text"
            && self.cache_control.is_none()
            && self.prompt_cache_breakpoint.is_none()
            && self.rest.is_empty()
    }

    pub(super) fn take_plain_text(&mut self) -> Option<Cow<'a, str>> {
        if self.is_plain_text() { self.text.take() } else { None }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct MediaUrl<'a> {
    pub(super) url: UrlText<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<&'a str>,
}

/// A URL, or base64 data dressed as one without copying it first.
#[derive(Debug, Clone, Copy)]
pub(super) enum UrlText<'a> {
    Plain(&'a str),
    Data { media_type: &'a str, base64: &'a str },
}

impl fmt::Display for UrlText<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(url) => formatter.write_str(url),
            Self::Data { media_type, base64 } => write!(formatter, "data:{media_type};base64,{base64}"),
        }
    }
}

impl Serialize for UrlText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain(url) => serializer.serialize_str(url),
            Self::Data { .. } => serializer.collect_str(self),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct InputAudio<'a> {
    pub(super) data: &'a str,
    pub(super) format: &'a str,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct File<'a> {
    #[serde(rename = "file_id", skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<&'a str>,
    #[serde(rename = "file_data", skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<UrlText<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) filename: Option<&'a str>,
}

#[derive(Debug, Serialize)]
pub(super) struct Call<'a> {
    pub(super) id: Cow<'a, str>,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function: Option<CalledFunction<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) custom: Option<CalledCustom<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) extra_content: Option<Value>,
    #[serde(flatten)]
    pub(super) rest: Without<'a>,
}

#[derive(Debug, Serialize)]
pub(super) struct CalledFunction<'a> {
    pub(super) name: &'a str,
    pub(super) arguments: &'a str,
    #[serde(flatten)]
    pub(super) rest: Option<&'a Rest>,
}

#[derive(Debug, Serialize)]
pub(super) struct CalledCustom<'a> {
    pub(super) name: &'a str,
    pub(super) input: &'a str,
    #[serde(flatten)]
    pub(super) rest: Option<&'a Rest>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Tool<'a> {
    Function {
        #[serde(rename = "type")]
        kind: &'static str,
        function: Function<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
        #[serde(flatten)]
        rest: Without<'a>,
    },
    Native(&'a Value),
}

#[derive(Debug, Serialize)]
pub(super) struct Function<'a> {
    pub(super) name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parameters: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) strict: Option<bool>,
    #[serde(flatten)]
    pub(super) rest: Option<&'a Rest>,
}

#[derive(Debug, Serialize)]
pub(super) struct ResponseFormat<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) json_schema: Option<JsonSchema<'a>>,
}

#[derive(Debug, Serialize)]
pub(super) struct JsonSchema<'a> {
    pub(super) name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<&'a str>,
    pub(super) schema: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) strict: Option<bool>,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct CacheControl {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'static str>,
}

impl From<CacheMarker> for CacheControl {
    fn from(marker: CacheMarker) -> Self {
        let ttl = match marker {
            CacheMarker::Short => None,
            CacheMarker::Hour => Some("1h"),
        };
        Self { kind: "ephemeral", ttl }
    }
}

/// OpenAI's own marker. Its longer time is twelve hours; an hour's worth is closer to that than to the thirty minutes
/// of the shorter one only in intent, which is what counts.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Breakpoint {
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'static str>,
}

impl From<CacheMarker> for Breakpoint {
    fn from(marker: CacheMarker) -> Self {
        let ttl = match marker {
            CacheMarker::Short => None,
            CacheMarker::Hour => Some("12h"),
        };
        Self { mode: "explicit", ttl }
    }
}

/// A `rest` without the names that are written elsewhere.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Without<'a> {
    pub(super) rest: Option<&'a Rest>,
    pub(super) names: &'static [&'static str],
}

impl<'a> Without<'a> {
    /// All of it, where the conversation is this dialect's own.
    pub(super) fn nothing(rest: &'a Rest, is_own: bool) -> Self {
        Self { rest: Some(rest).filter(|_| is_own), names: &[] }
    }
}

impl Without<'_> {
    fn is_empty(&self) -> bool {
        self.rest.is_none_or(|rest| rest.keys().all(|name| self.names.contains(&name.as_str())))
    }
}

impl Serialize for Without<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entries = self.rest.into_iter().flatten();
        serializer.collect_map(entries.filter(|(name, _)| !self.names.contains(&name.as_str())))
    }
}
