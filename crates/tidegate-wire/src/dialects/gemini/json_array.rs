//! The form that streams have for callers who ask without `alt=sse`: one JSON array whose elements arrive one by one.
//! Called by `encode.rs`, and by the gateway where a provider's frames pass through to such a caller.

use super::encode::{Encoder, Framing};
use crate::{ReplyOptions, StreamEncoder};

/// Sets the elements of a growing JSON array apart.
#[derive(Debug, Default)]
pub struct JsonArray {
    has_elements: bool,
}

impl JsonArray {
    /// An array without elements.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends an element, given as JSON: the data of a provider's frame, or an error as
    /// [`crate::Codec::render_error`] writes it.
    pub fn push(&mut self, json: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(if self.has_elements { b",\r\n" } else { b"[" });
        out.extend_from_slice(json);
        self.has_elements = true;
    }

    /// Closes the array. A stream that broke is never closed, so that no caller takes it for complete; after an error
    /// element it is.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.has_elements { b"]" } else { b"[]" });
    }
}

/// Writes a stream for a caller who asked without `alt=sse`.
pub fn json_array_encoder(options: ReplyOptions) -> Box<dyn StreamEncoder> {
    Box::new(Encoder::new(options, Framing::Array(JsonArray::new())))
}
