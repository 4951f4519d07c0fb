//! Bytes → frames, incrementally. One file a framing; the relay and every dialect's stream decoder call them.

mod sse;
#[cfg(test)]
mod sse_tests;

pub use sse::{MAX_EVENT_BYTES, SseDecoder, SseEvent, encode_event, encode_json_event, encode_json_text};

/// Why a stream could not be cut into frames. The stream is unusable from here on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// One event grew past the limit before its closing blank line came.
    #[error(
        "a stream event is larger than {limit} bytes; \
         the provider sends no event boundaries or an oversized attachment, ask it for a smaller one"
    )]
    EventTooLarge {
        /// The limit that was passed, in bytes.
        limit: usize,
    },
}
