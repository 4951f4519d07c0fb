//! A recorded exchange in its own dialect: not a byte changes, and the light tap sees what the full decoder sees.

use bytes::Bytes;
use tidegate_wire::event::{Assembler, Event};
use tidegate_wire::framing::{SseDecoder, SseEvent};
use tidegate_wire::json::{Document, JsonText};
use tidegate_wire::splice::Splice;
use tidegate_wire::tap::{StreamTap, is_token, tap_reply};
use tidegate_wire::{Dialect, FailureKind, ReplyError};

use crate::corpus::{Answer, Exchange};
use crate::naive;

pub(crate) fn check(exchange: &Exchange) {
    if let Some(request) = &exchange.request {
        check_splice(exchange, &request.to_string().into(), request["model"].as_str());
        let pretty = serde_json::to_string_pretty(request).unwrap();
        check_splice(exchange, &pretty.into(), request["model"].as_str());
    }
    match &exchange.answer {
        Answer::Whole(json) => {
            let tapped = tap_reply(exchange.dialect, &json.to_string().into()).unwrap();
            let naive = naive::reply(exchange.dialect, json);
            assert_eq!(tapped.usage.input, naive.usage.input, "{}", exchange.name);
            assert_eq!(tapped.usage.output, naive.usage.output, "{}", exchange.name);
            assert!(tapped.finish.is_some() || naive.choices.is_empty(), "{}", exchange.name);
        }
        Answer::Stream(bytes) => check_stream(exchange, bytes),
        Answer::Refused(status, json) => {
            let error = exchange.dialect.codec().parse_error(*status, json.to_string().as_bytes());
            let theirs = json["error"]["message"].as_str().unwrap();
            assert_eq!(error.message, theirs, "{}", exchange.name);
            assert_ne!(error.kind, FailureKind::Malformed, "{}", exchange.name);
        }
        Answer::None => {}
    }
}

/// With the same model the body is the same; with another, only the model's name differs.
fn check_splice(exchange: &Exchange, body: &Bytes, model: Option<&str>) {
    let document = Document::parse(body.clone()).unwrap();
    let Some(model) = model else {
        // Gemini's stands in the path.
        assert_eq!(exchange.dialect, Dialect::Gemini, "{}", exchange.name);
        assert_eq!(&Splice::new(&document).finish().into_bytes(), body, "{}", exchange.name);
        return;
    };
    let set = |name| Splice::new(&document).set("model", JsonText::string(name)).finish().into_bytes();
    assert_eq!(&set(model), body, "{}", exchange.name);
    let other = set("another-model");
    let back = Document::parse(other).unwrap();
    let back = Splice::new(&back).set("model", JsonText::string(model)).finish().into_bytes();
    assert_eq!(&back, body, "{}", exchange.name);
}

/// What the full decoder makes of a stream.
struct Decoded {
    events: Vec<Event>,
    /// For each frame with data, whether the model said something in it.
    tokens: Vec<bool>,
    is_complete: bool,
}

fn frames_of(bytes: &[u8], cut: usize) -> Vec<SseEvent> {
    let mut decoder = SseDecoder::new();
    let mut frames = Vec::new();
    for piece in bytes.chunks(cut) {
        decoder.push(Bytes::copy_from_slice(piece));
        while let Some(frame) = decoder.next_event() {
            frames.push(frame.unwrap());
        }
    }
    while let Some(frame) = decoder.finish() {
        frames.push(frame.unwrap());
    }
    frames
}

fn decode(dialect: Dialect, frames: &[SseEvent]) -> Result<Decoded, ReplyError> {
    let mut decoder = dialect.codec().decoder();
    let mut decoded = Decoded { events: Vec::new(), tokens: Vec::new(), is_complete: false };
    for frame in frames {
        let from = decoded.events.len();
        decoder.decode(frame, &mut decoded.events)?;
        decoded.tokens.push(decoded.events[from..].iter().any(is_token));
    }
    decoded.is_complete = decoder.finish(&mut decoded.events);
    Ok(decoded)
}

fn check_stream(exchange: &Exchange, bytes: &[u8]) {
    let name = &exchange.name;
    let whole = frames_of(bytes, bytes.len());
    for cut in [1, 7, 1_000] {
        assert_eq!(frames_of(bytes, cut), whole, "{name}");
    }
    let raw: Vec<u8> = whole.iter().flat_map(|frame| frame.raw.to_vec()).collect();
    assert_eq!(raw, bytes, "{name}: the frames hold every byte");
    let mut tap = StreamTap::new(exchange.dialect);
    let decoded = match decode(exchange.dialect, &whole) {
        Ok(decoded) => decoded,
        Err(error) => {
            // The provider broke off with an error, or the recording is broken on purpose.
            let is_expected = match &error {
                ReplyError::Provider(_) => bytes.windows(8).any(|window| window == b"\"error\":"),
                ReplyError::Malformed { .. } => name.contains("spliced-message-start"),
            };
            assert!(is_expected, "{name}: {error}");
            let tapped = whole.iter().find_map(|frame| tap.frame(frame).err());
            assert_eq!(tapped, Some(error), "{name}");
            return;
        }
    };
    let mut tokens = Vec::new();
    for frame in &whole {
        tokens.push(tap.frame(frame).unwrap().is_token);
    }
    let is_complete = tap.finish();
    assert!(decoded.is_complete && is_complete, "{name}");
    let first = |tokens: &[bool]| tokens.iter().position(|is_token| *is_token);
    assert_eq!(first(&tokens), first(&decoded.tokens), "{name}: the first token");
    let mut assembler = Assembler::new(exchange.dialect);
    for event in decoded.events {
        assembler.push(event);
    }
    let reply = assembler.into_reply();
    assert_eq!(tap.tapped().usage, reply.usage, "{name}");
    let finish = reply.choices.first().and_then(|choice| choice.finish.as_ref());
    assert_eq!(tap.tapped().finish, finish.map(|finish| finish.reason), "{name}");
    let naive = naive::stream(exchange.dialect, bytes);
    assert_eq!((reply.usage.input, reply.usage.output), (naive.usage.input, naive.usage.output), "{name}");
    assert_eq!(tap.has_usage(), naive.usage != naive::Counts::default(), "{name}");
}
