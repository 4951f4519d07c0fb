//! The dialects as this simulator reads and writes them, one folder each with the same rooms: `request` reads and
//! refuses, `reply` writes a whole answer, `stream` its events, `error` the provider's own errors.

pub(crate) mod anthropic;
mod fields;
pub(crate) mod gemini;
pub(crate) mod openai;

use bytes::Bytes;
use serde_json::Value;
use tidegate_wire::Dialect;

use crate::answer::{Answer, Step};
use crate::asked::Asked;
use crate::scenario::{Behaviour, Failure};

/// An answer that is an error.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Value,
}

/// What the path and the headers add to the body.
#[derive(Debug, Clone)]
pub(crate) struct Way<'call> {
    /// Gemini's model; the others name it in the body.
    pub(crate) model: &'call str,
    /// Gemini's `streamGenerateContent`.
    pub(crate) stream: bool,
    pub(crate) strict_roles: bool,
    /// `count_tokens`: nothing is generated, so what only that needs may be missing.
    pub(crate) count_only: bool,
}

/// Everything that writing an answer needs.
#[derive(Debug)]
pub(crate) struct Rendering {
    pub(crate) dialect: Dialect,
    pub(crate) asked: Asked,
    pub(crate) behaviour: Behaviour,
    pub(crate) answer: Answer,
    /// Ids are drawn from it.
    pub(crate) seed: u64,
    /// Gemini without `alt=sse` streams one JSON array.
    pub(crate) sse: bool,
}

pub(crate) fn read(dialect: Dialect, body: &Value, way: &Way<'_>) -> Result<Asked, Refused> {
    match dialect {
        Dialect::OpenAiChat => openai::request::read(body),
        Dialect::AnthropicMessages => anthropic::request::read(body, way),
        Dialect::Gemini => gemini::request::read(body, way),
    }
}

/// The provider's words for a failure. `counted`: the request's tokens.
pub(crate) fn failure(dialect: Dialect, failure: Failure, model: &str, counted: u64) -> Refused {
    match dialect {
        Dialect::OpenAiChat => openai::error::failure(failure, model, counted),
        Dialect::AnthropicMessages => anthropic::error::failure(failure, model, counted),
        Dialect::Gemini => gemini::error::failure(failure, model, counted),
    }
}

/// The provider's words for a body that is too large or not JSON, and for a path that it does not have.
pub(crate) fn not_json(dialect: Dialect) -> Refused {
    match dialect {
        Dialect::OpenAiChat => openai::error::invalid(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP \
             library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)",
            None,
            None,
        ),
        Dialect::AnthropicMessages => anthropic::error::invalid("The request body is not valid JSON"),
        Dialect::Gemini => gemini::error::invalid("Invalid JSON payload received. Unexpected token."),
    }
}

impl Rendering {
    pub(crate) fn whole(&self) -> Value {
        match self.dialect {
            Dialect::OpenAiChat => openai::reply::whole(self),
            Dialect::AnthropicMessages => anthropic::reply::whole(self),
            Dialect::Gemini => gemini::reply::whole(self),
        }
    }

    /// The bytes of a step; empty where the dialect says nothing there. `written`: the answer's tokens up to and with this step.
    pub(crate) fn events(&self, step: Step, written: u64) -> Bytes {
        match self.dialect {
            Dialect::OpenAiChat => openai::stream::events(self, step),
            Dialect::AnthropicMessages => anthropic::stream::events(self, step),
            Dialect::Gemini => gemini::stream::events(self, step, written),
        }
        .into()
    }

    /// An error inside a stream, as bytes.
    pub(crate) fn error_event(&self, refused: &Refused, first: bool) -> Bytes {
        match self.dialect {
            Dialect::AnthropicMessages => event(Some("error"), &refused.body).into(),
            Dialect::Gemini if !self.sse => {
                let lead = if first { "[" } else { ",\r\n" };
                format!("{lead}{}\n]", refused.body).into()
            }
            _ => event(None, &refused.body).into(),
        }
    }
}

/// One server-sent event.
pub(crate) fn event(name: Option<&str>, data: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    tidegate_wire::framing::encode_event(&mut out, name, data.to_string().as_bytes());
    out
}
