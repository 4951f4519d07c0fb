//! Why a candidate ended: Google's words, both ways. Called by `decode.rs`, `reply.rs` and `encode.rs`.

use crate::reply::{Finish, FinishReason};

/// Reads `finishReason`. Gemini says `STOP` when it waits for functions.
pub(super) fn read(word: &str, has_calls: bool) -> Finish {
    let reason = match word {
        "STOP" if has_calls => FinishReason::ToolCalls,
        "STOP" => FinishReason::Stop,
        "MAX_TOKENS" => FinishReason::Length,
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "ESCALATION"
        | "MODEL_ARMOR"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => FinishReason::ContentFilter,
        "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" | "MALFORMED_RESPONSE" => {
            FinishReason::MalformedCall
        }
        "CONTINUATION" => FinishReason::Pause,
        // Among them OTHER, NO_IMAGE, IMAGE_OTHER, TOO_MANY_TOOL_CALLS, MISSING_THOUGHT_SIGNATURE and what comes to be.
        _ => FinishReason::Other,
    };
    Finish { reason, native: Some(word.to_owned()), stop_sequence: None }
}

/// Writes `finishReason`. The provider's own word is taken where it is one of Google's: those are written in capitals,
/// unlike those of the other dialects, and a stream does not say where it came from.
pub(super) fn write(finish: &Finish) -> &str {
    let is_own =
        |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    if let Some(native) = finish.native.as_deref().filter(is_own) {
        return native;
    }
    match finish.reason {
        FinishReason::Stop | FinishReason::StopSequence | FinishReason::ToolCalls => "STOP",
        FinishReason::Length | FinishReason::ContextWindow => "MAX_TOKENS",
        FinishReason::ContentFilter | FinishReason::Refusal => "SAFETY",
        FinishReason::MalformedCall => MALFORMED_CALL,
        FinishReason::Pause | FinishReason::Other => "OTHER",
    }
}

/// What a candidate ends with whose call cannot be written: its arguments are no JSON object.
pub(super) const MALFORMED_CALL: &str = "MALFORMED_FUNCTION_CALL";
