//! `POST /v1/messages/count_tokens`: the request is a message's without `max_tokens`, the answer is one number. The
//! gateway calls these: for a caller of this dialect whose target speaks another one (which has to be asked, or the
//! tokens estimated), and for a target of this dialect.

use bytes::Bytes;
use serde::Serialize;

use super::super::fields::{Fields, Path};
use super::parse::Purpose;
use super::reply::malformed;
use crate::conversation::Conversation;
use crate::{RenderedRequest, ReplyError, RequestError, RequestOptions};

/// Reads a request to count tokens.
pub fn parse_count_request(body: &[u8]) -> Result<Conversation, RequestError> {
    super::parse::parse_request(body, Purpose::CountTokens)
}

/// Writes a request to count tokens: what makes up the prompt, without what only steers the answer.
pub fn render_count_request(conversation: &Conversation, options: &RequestOptions<'_>) -> RenderedRequest {
    super::render::render_request(conversation, options, Purpose::CountTokens)
}

/// Reads the answer: how many tokens the prompt has.
pub fn parse_count_reply(body: &[u8]) -> Result<u64, ReplyError> {
    let mut fields = Fields::of_body(body).map_err(malformed)?;
    let path = Path::ROOT;
    let count = fields.take_as("input_tokens", &path, "a whole number").map_err(malformed)?;
    count.ok_or_else(|| malformed(path.field("input_tokens").mistake("this field is required")))
}

/// Writes the answer.
pub fn render_count_reply(input_tokens: u64) -> Bytes {
    #[derive(Serialize)]
    struct Count {
        input_tokens: u64,
    }
    super::to_bytes(&Count { input_tokens })
}
