//! Anthropic Messages: requests, answers, streams and errors, and the counting of tokens.
//!
//! - [`parse`], [`blocks`]: requests in; [`render`] with [`turns`], [`thinking`], [`schema`]: requests out
//! - [`reply`], [`usage`]: whole answers, both ways
//! - [`decode`], [`encode`]: streams, in and out
//! - [`error`]: errors, both ways
//! - [`types`]: the shapes that are written
//! - [`thread`]: conversations that the provider keeps
//! - [`count_tokens`]: `/v1/messages/count_tokens`, both ways, offered as `tidegate_wire::anthropic`

mod blocks;
mod count_tokens;
mod decode;
mod encode;
mod error;
mod parse;
mod render;
mod reply;
mod schema;
mod thinking;
mod thread;
mod turns;
mod types;
mod usage;

pub use count_tokens::{parse_count_reply, parse_count_request, render_count_reply, render_count_request};
pub use thread::{THREAD_UNSUPPORTED, is_threaded};

use bytes::Bytes;
use serde::Serialize;

use super::{
    CallerError, Codec, Conversation, PathFacts, ProviderError, RenderedRequest, Reply, ReplyError,
    ReplyOptions, RequestError, RequestOptions, StreamDecoder, StreamEncoder,
};
use crate::conversation::ReasoningRequest;
use crate::json::Document;
use crate::tap::Tapped;
use crate::target::TargetTraits;

/// The dialect.
#[derive(Debug)]
pub(super) struct AnthropicMessages;

impl Codec for AnthropicMessages {
    fn parse_request(&self, body: &[u8], _: Option<PathFacts<'_>>) -> Result<Conversation, RequestError> {
        parse::parse_request(body, parse::Purpose::Message)
    }

    fn render_request(&self, conversation: &Conversation, options: &RequestOptions<'_>) -> RenderedRequest {
        render::render_request(conversation, options, parse::Purpose::Message)
    }

    fn most_output(&self, asked: u64, reasoning: &ReasoningRequest, traits: &TargetTraits) -> u64 {
        thinking::most_tokens(asked, reasoning, traits)
    }

    fn parse_reply(&self, body: &[u8]) -> Result<Reply, ReplyError> {
        reply::parse_reply(body)
    }

    fn glance_at_reply(&self, answer: &Document) -> Option<Tapped> {
        reply::glance(answer)
    }

    fn render_reply(&self, reply: &Reply, options: &ReplyOptions) -> Bytes {
        reply::render_reply(reply, options)
    }

    fn decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(decode::Decoder::default())
    }

    fn encoder(&self, options: ReplyOptions) -> Box<dyn StreamEncoder> {
        Box::new(encode::Encoder::new(options))
    }

    fn parse_error(&self, status: u16, body: &[u8]) -> ProviderError {
        error::parse_error(status, body)
    }

    fn render_error(&self, error: &CallerError) -> Bytes {
        error::render_error(error)
    }

    fn render_error_event(&self, error: &CallerError) -> Bytes {
        error::render_error_event(error)
    }
}

/// Writes one of this folder's own shapes. They have text keys and finite numbers, and so cannot fail to be JSON.
fn to_bytes(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}
