//! Whatever comes over Gemini's wire, no reader panics, and what a reader took is written without a panic too.
//!
//! The first byte chooses the reader, the rest is what it reads.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidegate_wire::event::Event;
use tidegate_wire::framing::SseDecoder;
use tidegate_wire::{Dialect, PathFacts, ReplyOptions, RequestOptions, TargetTraits, gemini};

fuzz_target!(|input: &[u8]| {
    let Some((choice, data)) = input.split_first() else { return };
    let codec = Dialect::Gemini.codec();
    match choice % 4 {
        0 => {
            let facts = Some(PathFacts { model: "m", stream: true });
            let Ok(conversation) = codec.parse_request(data, facts) else { return };
            let options = RequestOptions { model: "m", stream: true, traits: &TargetTraits::default() };
            let rendered = codec.render_request(&conversation, &options);
            assert!(rendered.losses.is_empty());
            codec.parse_request(&rendered.body, facts).expect("what was written is readable");
        }
        1 => {
            let Ok(reply) = codec.parse_reply(data) else { return };
            let rendered = codec.render_reply(&reply, &ReplyOptions::default());
            codec.parse_reply(&rendered).expect("what was written is readable");
        }
        2 => stream(data),
        _ => {
            let _ = codec.parse_error(u16::from(*choice), data);
            let _ = gemini::parse_count_reply(data);
            let _ = gemini::parse_count_request(data, "m");
        }
    }
});

fn stream(data: &[u8]) {
    let codec = Dialect::Gemini.codec();
    let mut frames = SseDecoder::new();
    let mut decoder = codec.decoder();
    let mut events: Vec<Event> = Vec::new();
    frames.push(Bytes::copy_from_slice(data));
    while let Some(Ok(frame)) = frames.next_event() {
        if decoder.decode(&frame, &mut events).is_err() {
            break;
        }
    }
    decoder.finish(&mut events);
    let mut encoder = codec.encoder(ReplyOptions::default());
    let mut out = Vec::new();
    for event in &events {
        encoder.encode(event, &mut out);
    }
}
