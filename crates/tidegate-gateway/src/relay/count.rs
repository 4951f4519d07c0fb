//! Counted tokens: the answer of `count_tokens` in the caller's dialect, whether the provider counted or Tidegate did.

use bytes::Bytes;
use tidegate_wire::{Dialect, ReplyError, anthropic, gemini};

use super::whole::WholeAnswer;
use crate::accept::Call;
use crate::bill::Consumed;

impl WholeAnswer {
    /// What a provider answered to a question for a count.
    pub(super) fn of_provider_count(call: &Call, dialect: Dialect, body: &Bytes) -> Result<Self, ReplyError> {
        let tokens = match dialect {
            Dialect::AnthropicMessages => anthropic::parse_count_reply(body)?,
            Dialect::Gemini => gemini::parse_count_reply(body)?,
            Dialect::OpenAiChat => {
                let detail = "this dialect has no counts".to_owned();
                return Err(ReplyError::Malformed { dialect, detail });
            }
        };
        if dialect == call.dialect {
            return Ok(Self::free(body.clone()));
        }
        Ok(Self::of_count(call, tokens))
    }

    /// So many tokens, in the caller's dialect.
    pub(crate) fn of_count(call: &Call, tokens: u64) -> Self {
        Self::free(match call.dialect {
            Dialect::Gemini => gemini::render_count_reply(tokens),
            Dialect::AnthropicMessages | Dialect::OpenAiChat => anthropic::render_count_reply(tokens),
        })
    }

    /// Counting costs nothing at any provider.
    fn free(body: Bytes) -> Self {
        Self { body, consumed: Consumed::default(), finish: None, reply: None }
    }
}
