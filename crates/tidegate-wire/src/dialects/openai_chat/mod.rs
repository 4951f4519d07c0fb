//! OpenAI Chat Completions, and everything compatible with it.
//!
//! Requests: `parse` → `messages` → `parts`/`assistant` read them, `render` → `turns` → `parts`/`assistant` write them.
//! Answers: `reply` whole, `decode` and `encode` as streams. `reasoning`, `media`, `usage` and `finish` hold what requests, answers
//! and streams share; `error` reads and writes errors, `wording` knows how each provider words them.

mod assistant;
mod decode;
mod decode_parts;
mod encode;
mod error;
mod finish;
mod media;
mod messages;
mod parse;
mod parts;
mod reasoning;
mod render;
mod reply;
mod stream;
mod turns;
mod types;
mod usage;
mod wording;

use bytes::Bytes;

use super::{
    Codec, Dialect, PathFacts, RenderedRequest, ReplyError, ReplyOptions, RequestError, RequestOptions,
    StreamDecoder, StreamEncoder,
};
use crate::conversation::Conversation;
use crate::failure::{CallerError, ProviderError};
use crate::json::Document;
use crate::reply::Reply;
use crate::tap::Tapped;

const HERE: Dialect = Dialect::OpenAiChat;

/// The dialect.
#[derive(Debug)]
pub(super) struct OpenAiChat;

impl Codec for OpenAiChat {
    fn parse_request(
        &self,
        body: &[u8],
        in_path: Option<PathFacts<'_>>,
    ) -> Result<Conversation, RequestError> {
        parse::parse_request(body, in_path)
    }

    fn render_request(&self, conversation: &Conversation, options: &RequestOptions<'_>) -> RenderedRequest {
        render::render_request(conversation, options)
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

/// Serialising plain structs into memory cannot fail; if it did, an empty body says so louder than a panic.
fn to_bytes(value: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}
