//! Whatever comes as a request, an answer, an error or a stream of Chat Completions: nothing panics, and what could be
//! read can be written and read again.
//!
//! The input is taken whole as each kind of body, and line by line as a stream.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidegate_wire::event::Assembler;
use tidegate_wire::framing::SseDecoder;
use tidegate_wire::{CacheMarkers, Dialect, ReasoningBack, ReplyOptions, RequestOptions, TargetTraits};

fuzz_target!(|input: &[u8]| {
    let codec = Dialect::OpenAiChat.codec();
    let plain = TargetTraits::default();
    let rich = TargetTraits {
        cache_markers: CacheMarkers::CacheControl,
        google_signatures: true,
        reasoning_back: ReasoningBack::ReasoningDetails,
        reasoning_object: true,
        ..TargetTraits::default()
    };
    if let Ok(mut conversation) = codec.parse_request(input, None) {
        for (origin, traits) in Dialect::ALL.into_iter().flat_map(|origin| [(origin, &plain), (origin, &rich)]) {
            conversation.origin = origin;
            let options = RequestOptions { model: "model", stream: conversation.stream, traits };
            let rendered = codec.render_request(&conversation, &options);
            codec.parse_request(&rendered.body, None).expect("what was written can be read");
        }
    }
    if let Ok(reply) = codec.parse_reply(input) {
        let rendered = codec.render_reply(&reply, &ReplyOptions::default());
        codec.parse_reply(&rendered).expect("what was written can be read");
    }
    codec.parse_error(400, input);

    let mut frames = SseDecoder::new();
    let mut decoder = codec.decoder();
    let mut encoder = codec.encoder(ReplyOptions::default());
    let mut assembler = Assembler::new(Dialect::OpenAiChat);
    let (mut events, mut told) = (Vec::new(), Vec::new());
    for line in input.split(|byte| *byte == b'\n') {
        frames.push(Bytes::from([b"data: ".as_slice(), line, b"\n\n"].concat()));
        while let Some(Ok(frame)) = frames.next_event() {
            let _ = decoder.decode(&frame, &mut events);
        }
    }
    decoder.finish(&mut events);
    for event in events {
        encoder.encode(&event, &mut told);
        assembler.push(event);
    }
    assembler.into_reply();
});
