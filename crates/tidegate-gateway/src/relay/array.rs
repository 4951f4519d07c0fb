//! Gemini's stream for callers that did not ask for `alt=sse`: the frames of the usual stream become the elements of one
//! JSON array.

use bytes::Bytes;
use tidegate_wire::framing::SseDecoder;
use tidegate_wire::gemini::JsonArray;

/// Turns frames into the elements of an array.
#[derive(Debug, Default)]
pub(super) struct ArrayFramer(JsonArray);

impl ArrayFramer {
    /// The elements that these whole frames are.
    pub(super) fn convert(&mut self, frames: &Bytes) -> Bytes {
        let mut decoder = SseDecoder::new();
        decoder.push(frames.clone());
        let mut out = Vec::with_capacity(frames.len());
        while let Some(Ok(frame)) = decoder.next_event() {
            if frame.has_data {
                self.0.push(&frame.data, &mut out);
            }
        }
        out.into()
    }

    /// The end of the array.
    pub(super) fn finish(&mut self) -> Bytes {
        let mut out = Vec::new();
        self.0.finish(&mut out);
        out.into()
    }
}
