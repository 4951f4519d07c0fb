//! The dialects: one folder each, with the same file names in all of them, and one line each in [`Dialect::codec`].

pub(crate) mod anthropic_messages;
mod fields;
pub(crate) mod gemini;
mod openai_chat;

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::conversation::{Conversation, ReasoningRequest};
use crate::event::Event;
use crate::failure::{CallerError, ProviderError};
use crate::framing::SseEvent;
use crate::json::Document;
use crate::loss::Losses;
use crate::reply::Reply;
use crate::tap::Tapped;
use crate::target::TargetTraits;
use crate::tier::ServedTier;

/// A provider family's wire format for conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Dialect {
    /// OpenAI Chat Completions, and everything compatible with it.
    #[serde(rename = "openai-chat")]
    OpenAiChat,
    /// Anthropic Messages.
    #[serde(rename = "anthropic-messages")]
    AnthropicMessages,
    /// Gemini generateContent and streamGenerateContent.
    #[serde(rename = "gemini")]
    Gemini,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::OpenAiChat, Self::AnthropicMessages, Self::Gemini];

    /// The word for configuration, ledger and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAiChat => "openai-chat",
            Self::AnthropicMessages => "anthropic-messages",
            Self::Gemini => "gemini",
        }
    }

    /// The dialect that is called so.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.as_str() == word)
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A request that is not the dialect it came in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RequestError {
    /// What is wrong and what was expected, for the caller.
    pub message: String,
    /// The field that is at fault, as a path (`messages[0].content`), where one is.
    pub param: Option<String>,
}

impl RequestError {
    /// A mistake at a field.
    pub fn at(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { message: message.into(), param: Some(param.into()) }
    }
}

/// An answer or stream event that is not what the dialect promises.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ReplyError {
    /// Not the dialect: the failure kind `malformed`.
    #[error("the provider's answer is not valid {dialect}: {detail}")]
    Malformed {
        /// Which dialect was expected.
        dialect: Dialect,
        /// What is wrong, without the content itself.
        detail: String,
    },
    /// The provider reports an error in band.
    #[error("the provider reported an error: {}", .0.message)]
    Provider(ProviderError),
}

/// What a renderer of requests needs to know of the target.
#[derive(Debug, Clone, Copy)]
pub struct RequestOptions<'a> {
    /// The model's name at the target.
    pub model: &'a str,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// What the target takes and refuses.
    pub traits: &'a TargetTraits,
}

/// What a renderer of answers needs to know of the caller's request.
#[derive(Debug, Clone, Default)]
pub struct ReplyOptions {
    /// Seconds since 1970, for answers whose wire does not say when (OpenAI's `created` is required). The crate has no
    /// clock of its own.
    pub now: i64,
    /// An id for answers that came without one.
    pub fallback_id: String,
    /// Whether a streaming caller wants usage (only OpenAI lets the caller choose).
    pub include_usage: bool,
    /// Whether the caller used OpenAI's old `functions` and expects a `function_call` in the answer.
    pub legacy_functions: bool,
}

/// A request in a target's dialect.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderedRequest {
    /// The body.
    pub body: Bytes,
    /// What could not be expressed.
    pub losses: Losses,
}

/// One dialect: both directions, whole and streamed.
///
/// *Parse* and *decode* read what came over the wire, *render* and *encode* write it. Nothing here panics, whatever the
/// input.
pub trait Codec: fmt::Debug + Sync {
    /// Reads a request body. `model` and `stream` are given where the dialect has them in the path (Gemini) and override
    /// what the body says; the others read them from the body and fail when the model is missing.
    fn parse_request(
        &self,
        body: &[u8],
        in_path: Option<PathFacts<'_>>,
    ) -> Result<Conversation, RequestError>;

    /// Writes a request for a target of this dialect.
    fn render_request(&self, conversation: &Conversation, options: &RequestOptions<'_>) -> RenderedRequest;

    /// How many tokens of output a rendered request allows that asks for so many and for this reasoning: where reasoning does
    /// not fit into that, it may come on top.
    fn most_output(&self, asked: u64, _reasoning: &ReasoningRequest, _traits: &TargetTraits) -> u64 {
        asked
    }

    /// Reads a whole answer (status 200).
    fn parse_reply(&self, body: &[u8]) -> Result<Reply, ReplyError>;

    /// Reads no more of a whole answer than its usage and why it ended. `None` where it is not certainly an ordinary
    /// answer: whether it is a strange one or an error, only [`parse_reply`](Self::parse_reply) can tell.
    fn glance_at_reply(&self, answer: &Document) -> Option<Tapped>;

    /// Writes a whole answer for a caller of this dialect.
    fn render_reply(&self, reply: &Reply, options: &ReplyOptions) -> Bytes;

    /// Reads a provider's stream, frame by frame.
    fn decoder(&self) -> Box<dyn StreamDecoder>;

    /// Writes a stream for a caller of this dialect.
    fn encoder(&self, options: ReplyOptions) -> Box<dyn StreamEncoder>;

    /// Reads a provider's error answer (status other than 200), in this dialect's wording or none.
    fn parse_error(&self, status: u16, body: &[u8]) -> ProviderError;

    /// Writes an error for a caller of this dialect.
    fn render_error(&self, error: &CallerError) -> Bytes;

    /// Writes an error as the event that this dialect's SDKs raise from inside a stream, as a whole frame.
    fn render_error_event(&self, error: &CallerError) -> Bytes;
}

/// What a dialect has in the path instead of the body.
#[derive(Debug, Clone, Copy)]
pub struct PathFacts<'a> {
    /// The model.
    pub model: &'a str,
    /// Whether a stream is wanted.
    pub stream: bool,
}

/// Reads one provider stream.
pub trait StreamDecoder: Send {
    /// Takes one frame in and pushes the events it means.
    fn decode(&mut self, frame: &SseEvent, events: &mut Vec<Event>) -> Result<(), ReplyError>;

    /// Says that the stream has ended, and pushes what is still to say (`End` when everything essential was said, though
    /// the last frame is missing). Returns whether the answer is complete; `false` is the failure kind `truncated`.
    fn finish(&mut self, events: &mut Vec<Event>) -> bool;

    /// The tier that serves the answer, as far as the provider has said by now. What was said in [`Event::Rest`] at the
    /// end is known here from its first frame on.
    fn served_tier(&self) -> Option<ServedTier>;
}

/// Writes one caller's stream.
pub trait StreamEncoder: Send {
    /// Appends the frames that say this event; perhaps none yet. [`Event::End`] appends the dialect's terminal frames.
    fn encode(&mut self, event: &Event, out: &mut Vec<u8>);

    /// Goes on with a stream that somebody else wrote and whose events were encoded here to no one: the number of the
    /// next block on that wire, and of the one that is open. Only for wires that number their blocks.
    fn go_on_at(&mut self, _next_block: u32, _open_block: Option<u32>) {}
}

impl Dialect {
    /// The dialect's reader and writer.
    pub fn codec(self) -> &'static dyn Codec {
        match self {
            Self::OpenAiChat => &openai_chat::OpenAiChat,
            Self::AnthropicMessages => &anthropic_messages::AnthropicMessages,
            Self::Gemini => &gemini::Gemini,
        }
    }
}
