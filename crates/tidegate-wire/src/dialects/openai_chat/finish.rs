//! Why an answer ended, both ways. Called by `reply` and the streams.

use crate::failure::{FailureKind, ProviderError};
use crate::reply::{Finish, FinishReason};

/// The meaning of a provider's word. OpenAI has five; the others are compatible servers'.
pub(super) fn parse_finish(word: &str, has_calls: bool) -> Finish {
    let reason = match word {
        // Some servers say "stop" though they wait for tools; so does OpenAI where the caller named the tool.
        "stop" | "eos" | "end_turn" | "stop_sequence" | "completed" | "" if has_calls => {
            FinishReason::ToolCalls
        }
        "stop" | "eos" | "end_turn" | "stop_sequence" | "completed" | "" => FinishReason::Stop,
        "length" | "max_tokens" | "model_length" | "max_output_tokens" => FinishReason::Length,
        "tool_calls" | "function_call" | "tool_use" => FinishReason::ToolCalls,
        "content_filter" | "sensitive" | "safety" => FinishReason::ContentFilter,
        "model_context_window_exceeded" => FinishReason::ContextWindow,
        "refusal" => FinishReason::Refusal,
        _ => FinishReason::Other,
    };
    let native = (!word.is_empty()).then(|| word.to_owned());
    Finish { reason, native, stop_sequence: None }
}

/// Some servers report a failure by the word for the finish.
pub(super) fn failure_of(word: &str) -> Option<ProviderError> {
    let (kind, status) = match word {
        "insufficient_system_resource" => (FailureKind::Overloaded, 503),
        "error" | "network_error" => (FailureKind::ProviderError, 502),
        _ => return None,
    };
    Some(ProviderError {
        kind,
        status,
        message: format!("the provider ended the answer with the finish reason {word:?}"),
        error_type: None,
        code: Some(word.to_owned()),
        param: None,
        retry_after: None,
    })
}

/// The word that OpenAI's SDKs know.
pub(super) fn finish_word(reason: FinishReason, legacy_functions: bool) -> &'static str {
    match reason {
        FinishReason::Length | FinishReason::ContextWindow => "length",
        FinishReason::ToolCalls if legacy_functions => "function_call",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter | FinishReason::Refusal => "content_filter",
        FinishReason::Stop
        | FinishReason::StopSequence
        | FinishReason::Pause
        | FinishReason::MalformedCall
        | FinishReason::Other => "stop",
    }
}
