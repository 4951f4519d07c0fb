//! However a stream is cut into reads, the events are the same and no byte is lost.
//!
//! The first four bytes of the input choose the cuts, the rest is the stream.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidegate_wire::framing::{FramingError, SseDecoder, SseEvent};

/// Small, so that the limit is reached as well.
const LIMIT: usize = 256;

fuzz_target!(|input: &[u8]| {
    let Some((seed, stream)) = input.split_first_chunk::<4>() else { return };
    let whole = decode([stream].into_iter());
    let cut = decode(cuts(u32::from_le_bytes(*seed), stream));
    assert_eq!(whole, cut);
    let raw: Vec<u8> = whole.iter().flatten().flat_map(|event| event.raw.to_vec()).collect();
    let has_failed = whole.last().is_some_and(Result::is_err);
    assert!(if has_failed { stream.starts_with(&raw) } else { stream == raw });
});

fn decode<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<Result<SseEvent, FramingError>> {
    let mut decoder = SseDecoder::with_limit(LIMIT);
    let mut results = Vec::new();
    for chunk in chunks {
        decoder.push(Bytes::copy_from_slice(chunk));
        results.extend(std::iter::from_fn(|| decoder.next_event()));
    }
    results.extend(std::iter::from_fn(|| decoder.finish()));
    results
}

fn cuts(mut seed: u32, stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = stream;
    std::iter::from_fn(move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = (seed >> 16) as usize % 24;
        let (chunk, after) = rest.split_at(length.min(rest.len()));
        let is_over = rest.is_empty();
        rest = after;
        (!is_over).then_some(chunk)
    })
}
