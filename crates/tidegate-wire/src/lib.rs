//! What the bytes mean: dialects, streams and the conversation model between them.
//!
//! Pure: bytes and values in, bytes and values out. No runtime, no sockets, no clock, no logging.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail loudly")
)]

pub mod carry;
pub mod continuation;
pub mod conversation;
mod dialects;
pub mod event;
mod failure;
pub mod framing;
pub mod json;
mod loss;
mod own_words;
pub mod reply;
pub mod splice;
#[cfg(test)]
mod splice_tests;
pub mod tap;
mod target;
mod tier;
mod usage;

pub use dialects::{
    Codec, Dialect, PathFacts, RenderedRequest, ReplyError, ReplyOptions, RequestError, RequestOptions,
    StreamDecoder, StreamEncoder,
};
pub use failure::{CallerError, ErrorClass, FailureKind, ProviderError, wait_of_seconds};
pub use loss::{Field, Losses};
pub use target::{CacheMarkers, Continuation, ReasoningBack, TargetTraits, ThinkingStyle};
pub use tier::ServedTier;
pub use usage::Usage;

/// What Gemini's dialect has beyond [`Codec`]: `countTokens`, and streams as JSON arrays for callers without `alt=sse`.
pub mod gemini {
    pub use crate::dialects::gemini::{
        JsonArray, json_array_encoder, parse_count_reply, parse_count_request, render_count_reply,
        render_count_request,
    };
}

/// What Anthropic's dialect has beyond [`Codec`]: `count_tokens`, and conversations that the provider keeps.
pub mod anthropic {
    pub use crate::dialects::anthropic_messages::{
        THREAD_UNSUPPORTED, is_threaded, parse_count_reply, parse_count_request, render_count_reply,
        render_count_request,
    };
}
