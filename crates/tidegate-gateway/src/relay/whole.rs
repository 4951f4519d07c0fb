//! A whole answer: as it came where target and caller speak the same dialect, else translated.

use bytes::Bytes;
use tidegate_wire::json::Kind;
use tidegate_wire::reply::{FinishReason, Reply};
use tidegate_wire::tap::{Tapped, tap_reply};
use tidegate_wire::{Dialect, ReplyError, ReplyOptions};

use super::stream::{BYTES_PER_TOKEN, likely_input};
use crate::accept::{Call, Operation};
use crate::attempt::Translation;
use crate::bill::Consumed;
use crate::plan::Planned;

/// A whole answer in the caller's dialect, and what was seen in it.
#[derive(Debug)]
pub(crate) struct WholeAnswer {
    pub(crate) body: Bytes,
    pub(crate) consumed: Consumed,
    pub(crate) finish: Option<&'static str>,
    /// The answer in the canonical model, where it had to be parsed anyway.
    pub(crate) reply: Option<Box<Reply>>,
}

impl WholeAnswer {
    /// Reads what a target answered with status 200.
    pub(crate) fn read(
        translation: &Translation<'_>,
        planned: &Planned,
        body: Bytes,
    ) -> Result<Self, ReplyError> {
        let call = translation.call;
        let dialect = planned.dialect();
        if call.operation == Operation::CountTokens {
            return Self::of_provider_count(call, dialect, &body);
        }
        if call.stream || dialect != call.dialect {
            let reply = dialect.codec().parse_reply(&body)?;
            let rendered = call.dialect.codec().render_reply(&reply, &reply_options(call));
            let finish = reply.choices.first().and_then(|choice| choice.finish.as_ref());
            return Ok(Self {
                body: rendered,
                consumed: Consumed { usage: reply.usage, tier: reply.served_tier() },
                finish: finish.map(|finish| finish.reason.as_str()),
                reply: Some(Box::new(reply)),
            });
        }
        let Tapped { usage, tier, finish } = tap_reply(dialect, &body)?;
        let finish = finish.map(FinishReason::as_str);
        Ok(Self { body, consumed: Consumed { usage, tier }, finish, reply: None })
    }

    /// Puts estimates in the place of tokens that the provider does not tell: nothing is free because nobody counted. Whether
    /// there are any.
    pub(crate) fn estimate_usage(&mut self, call: &Call, planned: &Planned) -> bool {
        let usage = &mut self.consumed.usage;
        if call.operation != Operation::Chat || (usage.input > 0 && usage.output > 0) {
            return false;
        }
        let before = *usage;
        if usage.input == 0 {
            usage.input = likely_input(call, planned);
        }
        if usage.output == 0 {
            let text_bytes = match &self.reply {
                Some(reply) => reply.text_bytes(),
                None => {
                    planned.dialect().codec().parse_reply(&self.body).map_or(0, |reply| reply.text_bytes())
                }
            };
            usage.output = u64::try_from(text_bytes).unwrap_or(u64::MAX).div_ceil(BYTES_PER_TOKEN);
        }
        *usage != before
    }

    /// Whether the content was refused and nothing was said.
    pub(crate) fn is_bare_refusal(&self, dialect: Dialect) -> bool {
        let is_refusal = [FinishReason::ContentFilter, FinishReason::Refusal];
        if !is_refusal.iter().any(|reason| self.finish == Some(reason.as_str())) {
            return false;
        }
        match &self.reply {
            Some(reply) => reply.is_bare_refusal(),
            // It went through as it came: only now there is a reason to take it apart.
            None => dialect.codec().parse_reply(&self.body).is_ok_and(|reply| reply.is_bare_refusal()),
        }
    }
}

/// What renderers need to know of the caller's request.
pub(crate) fn reply_options(call: &Call) -> ReplyOptions {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    ReplyOptions {
        now: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
        fallback_id: call.id.to_string(),
        include_usage: call.include_usage,
        legacy_functions: uses_legacy_functions(call),
    }
}

/// OpenAI's callers who still send `functions` look for the answer's call in `function_call`.
fn uses_legacy_functions(call: &Call) -> bool {
    let has = |name| call.document.get(name).is_some_and(|value| value.kind() == Kind::Array);
    call.dialect == Dialect::OpenAiChat && has("functions") && !has("tools")
}
