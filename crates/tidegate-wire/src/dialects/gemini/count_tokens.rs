//! `countTokens`: requests and answers, both ways. Called by the gateway to ask a Gemini target how long a conversation
//! is that came in another dialect (Anthropic's `count_tokens`), and the reverse.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::reply::to_json;
use super::types::{Request, to_whole_number};
use super::{HERE, error, parse, render};
use crate::conversation::Conversation;
use crate::{Losses, PathFacts, RenderedRequest, ReplyError, RequestError, RequestOptions};

/// The body: either a whole request under its own name, or its fields outright.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    #[serde(default, alias = "generate_content_request")]
    generate_content_request: Option<Request<'static>>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Serialize)]
struct NamedRequest<'a> {
    model: String,
    #[serde(flatten)]
    request: Request<'a>,
}

/// Reads the body of a `countTokens` request; the model stands in the path.
pub fn parse_count_request(body: &[u8], model: &str) -> Result<Conversation, RequestError> {
    let wrong = |error: serde_json::Error| RequestError {
        message: format!("the body is not a valid countTokens request: {error}"),
        param: None,
    };
    let in_path = Some(PathFacts { model, stream: false });
    let whole: Body = serde_json::from_slice(body).map_err(wrong)?;
    match whole.generate_content_request {
        Some(request) => parse::from_wire(request, in_path),
        // Read again from the text, so that arguments keep theirs.
        None if !whole.rest.is_empty() => parse::parse_request(body, in_path),
        None => {
            Err(RequestError::at("contents", "contents is missing: a list of at least one turn is expected"))
        }
    }
}

/// Writes a `countTokens` request. It holds the whole request, because instructions and tools count too.
pub fn render_count_request(conversation: &Conversation, options: &RequestOptions<'_>) -> RenderedRequest {
    let mut losses = Losses::new();
    let request = render::to_wire(conversation, options, &mut losses);
    let model = format!("models/{}", options.model.strip_prefix("models/").unwrap_or(options.model));
    let body = json_of(&NamedRequest { model, request });
    RenderedRequest { body, losses }
}

fn json_of(request: &NamedRequest<'_>) -> Bytes {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Wrapped<'a> {
        generate_content_request: &'a NamedRequest<'a>,
    }
    to_json(&Wrapped { generate_content_request: request })
}

/// Reads the answer: how many tokens there are.
pub fn parse_count_reply(body: &[u8]) -> Result<u64, ReplyError> {
    let malformed = |detail: String| ReplyError::Malformed { dialect: HERE, detail };
    let answer: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|error| malformed(format!("no JSON object at column {}", error.column())))?;
    if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
        return Err(ReplyError::Provider(error::in_band(error)));
    }
    let total = answer.get("totalTokens").and_then(to_whole_number);
    total
        .and_then(|total| u64::try_from(total).ok())
        .ok_or_else(|| malformed("totalTokens is missing".to_owned()))
}

/// Writes the answer.
pub fn render_count_reply(total: u64) -> Bytes {
    Bytes::from(json!({"totalTokens": total}).to_string())
}
