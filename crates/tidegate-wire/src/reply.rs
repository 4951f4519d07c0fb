//! The canonical answer, whole. Parsed from what a target said, rendered in the caller's dialect.

use crate::Dialect;
use crate::conversation::{Content, Part, Rest};
use crate::{ServedTier, Usage};

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The dialect this was parsed from: `rest` maps and `Native` values are in its terms.
    pub origin: Dialect,
    /// The provider's id for the answer; renderers make the caller's form of id out of it where one is required.
    pub id: String,
    /// The model as the provider names it.
    pub model: String,
    /// Seconds since 1970, where the wire says when.
    pub created: Option<i64>,
    /// The alternative answers; nearly always one.
    pub choices: Vec<Choice>,
    /// Tokens used.
    pub usage: Usage,
    /// The tier that served it.
    pub service_tier: Option<String>,
    /// All other fields of the answer.
    pub rest: Rest,
}

impl Reply {
    /// An empty answer, for parsers to fill in.
    pub fn new(origin: Dialect) -> Self {
        Self {
            origin,
            id: String::new(),
            model: String::new(),
            created: None,
            choices: Vec::new(),
            usage: Usage::default(),
            service_tier: None,
            rest: Rest::new(),
        }
    }

    /// Whether the content was refused before anything was said: what the model merely thought is no part of an answer.
    pub fn is_bare_refusal(&self) -> bool {
        let is_refused = |choice: &Choice| {
            choice.finish.as_ref().is_some_and(|finish| finish.reason.is_refusal())
                && choice.parts.iter().all(|part| match &part.content {
                    Content::Text { text, .. } => text.is_empty(),
                    Content::Reasoning { .. } | Content::RedactedReasoning => true,
                    _ => false,
                })
        };
        !self.choices.is_empty() && self.choices.iter().all(is_refused)
    }

    /// Bytes of text in it, calls and reasoning included: what its tokens can be guessed by.
    pub fn text_bytes(&self) -> usize {
        let of_part = |part: &Part| match &part.content {
            Content::Text { text, .. } | Content::Reasoning { text } | Content::Refusal(text) => text.len(),
            Content::ToolCall(call) => call.name.len() + call.arguments.len(),
            _ => 0,
        };
        self.choices.iter().flat_map(|choice| &choice.parts).map(of_part).sum()
    }

    /// The tier that served it, where the provider says so: what the answer is billed by.
    pub fn served_tier(&self) -> Option<ServedTier> {
        let beside = if self.origin == Dialect::Gemini { "usageMetadata" } else { "usage" };
        let usage = self.rest.get(beside).and_then(serde_json::Value::as_object);
        ServedTier::of_answer(self.origin, self.service_tier.as_deref(), usage)
    }
}

/// One of the alternative answers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Choice {
    /// Its number.
    pub index: u32,
    /// What it consists of, in order.
    pub parts: Vec<Part>,
    /// Why it ended. `None` only where the provider does not say.
    pub finish: Option<Finish>,
    /// Log probabilities of the tokens, where asked for.
    pub logprobs: Vec<TokenLogprob>,
    /// All other fields of the choice or candidate.
    pub rest: Rest,
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finish {
    /// The reason, in one meaning for all dialects.
    pub reason: FinishReason,
    /// The provider's own word for it, given back when the same dialect is rendered.
    pub native: Option<String>,
    /// The stop sequence that was met, where the wire says which.
    pub stop_sequence: Option<String>,
}

impl Finish {
    /// A finish that has only a reason.
    pub fn new(reason: FinishReason) -> Self {
        Self { reason, native: None, stop_sequence: None }
    }
}

/// Why an answer ended, in one meaning for all dialects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model was done.
    Stop,
    /// A stop sequence was met (only Anthropic tells this apart from `Stop`).
    StopSequence,
    /// The token limit was reached.
    Length,
    /// It waits for tools.
    ToolCalls,
    /// The provider's filter stopped it (safety, recitation, blocklist …).
    ContentFilter,
    /// The model declined (Anthropic's `refusal`).
    Refusal,
    /// A long server-side turn paused and is to be continued (Anthropic's `pause_turn`).
    Pause,
    /// The context window was full (Anthropic's `model_context_window_exceeded`).
    ContextWindow,
    /// The model wrote a call that makes no sense (Gemini's `MALFORMED_FUNCTION_CALL` and kin).
    MalformedCall,
    /// Anything else; the provider's word is in [`Finish::native`].
    Other,
}

impl FinishReason {
    /// Whether the content is the reason: the provider's filter, or the model itself, will not have it.
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::ContentFilter | Self::Refusal)
    }

    /// The word for the ledger and the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::StopSequence => "stop_sequence",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::Refusal => "refusal",
            Self::Pause => "pause",
            Self::ContextWindow => "context_window",
            Self::MalformedCall => "malformed_call",
            Self::Other => "other",
        }
    }
}

/// One token's log probability.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    /// The token's text.
    pub token: String,
    /// Its log probability.
    pub logprob: f64,
    /// Its bytes, where the wire has them.
    pub bytes: Option<Vec<u8>>,
    /// The alternatives, likeliest first (their `top` is empty).
    pub top: Vec<TokenLogprob>,
}
