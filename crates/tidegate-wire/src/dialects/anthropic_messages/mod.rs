//! Being written.

use bytes::Bytes;

use super::*;
use crate::failure::FailureKind;

/// The dialect.
#[derive(Debug)]
pub struct AnthropicMessages;

impl Codec for AnthropicMessages {
    fn parse_request(&self, _: &[u8], _: Option<PathFacts<'_>>) -> Result<Conversation, RequestError> {
        Err(RequestError { message: "being written".into(), param: None })
    }
    fn render_request(&self, _: &Conversation, _: &RequestOptions<'_>) -> RenderedRequest {
        RenderedRequest { body: Bytes::new(), losses: Losses::new() }
    }
    fn parse_reply(&self, _: &[u8]) -> Result<Reply, ReplyError> {
        Ok(Reply::new(Dialect::AnthropicMessages))
    }
    fn render_reply(&self, _: &Reply, _: &ReplyOptions) -> Bytes {
        Bytes::new()
    }
    fn decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(Nothing)
    }
    fn encoder(&self, _: ReplyOptions) -> Box<dyn StreamEncoder> {
        Box::new(Nothing)
    }
    fn parse_error(&self, status: u16, _: &[u8]) -> ProviderError {
        ProviderError {
            kind: FailureKind::ProviderError,
            status,
            message: String::new(),
            error_type: None,
            code: None,
            param: None,
            retry_after: None,
        }
    }
    fn render_error(&self, _: &CallerError) -> Bytes {
        Bytes::new()
    }
    fn render_error_event(&self, _: &CallerError) -> Bytes {
        Bytes::new()
    }
}

struct Nothing;

impl StreamDecoder for Nothing {
    fn decode(&mut self, _: &SseEvent, _: &mut Vec<Event>) -> Result<(), ReplyError> {
        Ok(())
    }
    fn finish(&mut self, _: &mut Vec<Event>) -> bool {
        true
    }
}

impl StreamEncoder for Nothing {
    fn encode(&mut self, _: &Event, _: &mut Vec<u8>) {}
}
