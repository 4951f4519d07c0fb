//! Gemini generateContent and streamGenerateContent, of the Developer API and of Vertex.
//!
//! | file | what |
//! |---|---|
//! | `types.rs` | the shapes on the wire |
//! | `parse.rs`, `schema.rs` | requests → conversations |
//! | `render.rs`, `turns.rs`, `thinking.rs` | conversations → requests |
//! | `parts.rs`, `media.rs`, `results.rs` | one part, both ways |
//! | `reply.rs`, `finish.rs`, `usage.rs`, `citations.rs`, `time.rs` | whole answers, both ways |
//! | `decode.rs`, `partial_args.rs`, `encode.rs`, `json_array.rs` | streams |
//! | `error.rs` | errors, both ways |
//! | `count_tokens.rs` | `countTokens`, both ways |

mod citations;
mod count_tokens;
mod decode;
mod encode;
mod error;
mod finish;
mod json_array;
mod media;
mod parse;
mod partial_args;
mod parts;
mod render;
mod reply;
mod results;
mod schema;
mod thinking;
mod time;
mod turns;
mod types;
mod usage;

use bytes::Bytes;

pub use self::count_tokens::{
    parse_count_reply, parse_count_request, render_count_reply, render_count_request,
};
pub use self::json_array::{JsonArray, json_array_encoder};
use super::{
    Codec, Dialect, PathFacts, RenderedRequest, ReplyError, ReplyOptions, RequestError, RequestOptions,
    StreamDecoder, StreamEncoder,
};
use crate::conversation::Conversation;
use crate::failure::{CallerError, ProviderError};
use crate::json::Document;
use crate::reply::Reply;
use crate::tap::Tapped;

const HERE: Dialect = Dialect::Gemini;

/// The dialect.
#[derive(Debug)]
pub(super) struct Gemini;

impl Codec for Gemini {
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
        Box::new(decode::Reader::default())
    }

    fn encoder(&self, options: ReplyOptions) -> Box<dyn StreamEncoder> {
        Box::new(encode::Encoder::new(options, encode::Framing::Events))
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

/// Google calls `standard` what is `default` elsewhere.
fn tier_from_wire(tier: &str) -> String {
    match tier.to_ascii_lowercase().as_str() {
        "standard" => "default".to_owned(),
        "unspecified" => "auto".to_owned(),
        other => other.to_owned(),
    }
}

fn tier_to_wire(tier: &str) -> &str {
    if tier == "default" { "standard" } else { tier }
}
