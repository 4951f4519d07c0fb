//! Gemini's stream for callers that did not ask for `alt=sse`: one JSON array, an element per event.

use bytes::{BufMut as _, Bytes, BytesMut};
use tidegate_wire::framing::SseDecoder;

/// Turns frames into the elements of an array.
#[derive(Debug, Default)]
pub(super) struct ArrayFramer {
    has_begun: bool,
}

impl ArrayFramer {
    /// The elements that these whole frames are.
    pub(super) fn convert(&mut self, frames: &Bytes) -> Bytes {
        let mut decoder = SseDecoder::new();
        decoder.push(frames.clone());
        let mut out = BytesMut::new();
        while let Some(Ok(frame)) = decoder.next_event() {
            if frame.has_data {
                out.put_slice(if self.has_begun { b",\r\n" } else { b"[" });
                out.put_slice(&frame.data);
                self.has_begun = true;
            }
        }
        out.freeze()
    }

    /// The end of the array.
    pub(super) fn finish(&mut self) -> Option<Bytes> {
        Some(Bytes::from_static(if self.has_begun { b"]" } else { b"[]" }))
    }
}
