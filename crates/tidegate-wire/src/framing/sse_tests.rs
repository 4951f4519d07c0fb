//! What the event-stream decoder promises: the format's rules, every byte kept, and no difference however it is cut.

use bytes::Bytes;
use proptest::prelude::*;

use super::{FramingError, SseDecoder, SseEvent, encode_event, encode_json_event, encode_json_text};

fn decode(chunks: &[&[u8]]) -> Vec<SseEvent> {
    let mut decoder = SseDecoder::new();
    let mut events = Vec::new();
    for chunk in chunks {
        decoder.push(Bytes::copy_from_slice(chunk));
        while let Some(event) = decoder.next_event() {
            events.push(event.unwrap());
        }
    }
    while let Some(event) = decoder.finish() {
        events.push(event.unwrap());
    }
    events
}

/// Each event as `name|data`, with `~` for one that is not complete and `-` for one without data.
fn summary(stream: &str) -> Vec<String> {
    decode(&[stream.as_bytes()])
        .iter()
        .map(|event| {
            let cut = if event.is_complete { "" } else { "~" };
            let data = if event.has_data { str::from_utf8(&event.data).unwrap() } else { "-" };
            format!("{cut}{}|{data}", event.name())
        })
        .collect()
}

#[test]
fn the_format_is_read_as_the_standard_says() {
    let cases: &[(&str, &[&str])] = &[
        ("data: a\n\ndata: b\n\n", &["message|a", "message|b"]),
        ("event: x\ndata: a\n\n", &["x|a"]),
        ("event: x\r\ndata: a\r\n\r\ndata: b\r\n\r\n", &["x|a", "message|b"]),
        ("data: a\r\rdata: b\r\rdata: c", &["message|a", "message|b", "~message|c"]),
        ("data: a\r\r", &["message|a"]),
        ("data: a\rdata: b\r\n\r\ndata: c\r\r", &["message|a\nb", "message|c"]),
        ("data: a\ndata: b\ndata:\n\n", &["message|a\nb\n"]),
        ("data:a\n\ndata:  b\n\n", &["message|a", "message| b"]),
        ("data\n\ndata:\n\n", &["message|", "message|"]),
        (": keep-alive\n\ndata: a\n\n", &["message|-", "message|a"]),
        (":\ndata: a\n: in the middle\ndata: b\n\n", &["message|a\nb"]),
        ("\n\n\ndata: a\n\n\n", &["message|a", "~message|-"]),
        ("\u{feff}data: a\n\n\u{feff}data: b\n\n", &["message|a", "message|-"]),
        ("event: x\nevent:\ndata: a\n\n", &["message|a"]),
        ("unknown: 1\ndata: a\nalone\n\n", &["message|a"]),
        ("data: [DONE]", &["~message|[DONE]"]),
        ("data: [DONE]\n", &["~message|[DONE]"]),
        ("data: [DONE]\r", &["~message|[DONE]"]),
        ("data: {\"half", &["~message|{\"half"]),
        ("", &[]),
        ("\u{feff}", &["~message|-"]),
    ];
    for (stream, expected) in cases {
        assert_eq!(&summary(stream), expected, "{stream:?}");
    }
}

#[test]
fn id_and_retry_are_reported_when_they_are_well_formed() {
    let events = decode(&[b"id: 7\nretry: 1500\nretry: soon\nid: a\0b\ndata: x\n\n"]);
    assert_eq!(events[0].id.as_deref(), Some(&b"7"[..]));
    assert_eq!(events[0].retry_ms, Some(1500));
}

#[test]
fn an_event_that_lies_within_a_chunk_is_a_slice_of_it() {
    let chunk = Bytes::from_static(b"event: x\ndata: a\n\n");
    let mut decoder = SseDecoder::new();
    decoder.push(chunk.clone());
    let event = decoder.next_event().unwrap().unwrap();
    assert_eq!(event.raw.as_ptr(), chunk.as_ptr());
    assert_eq!(event.data.as_ptr(), chunk[15..].as_ptr());
}

#[test]
fn an_incomplete_event_is_held_back_and_the_complete_ones_are_not() {
    let mut decoder = SseDecoder::new();
    decoder.push(Bytes::from_static(b"data: a\n\ndata: b\n"));
    assert_eq!(decoder.next_event().unwrap().unwrap().raw, "data: a\n\n");
    assert!(decoder.next_event().is_none());
    assert_eq!(decoder.pending(), b"data: b\n");
    decoder.push(Bytes::from_static(b"\n"));
    assert_eq!(decoder.next_event().unwrap().unwrap().raw, "data: b\n\n");
}

#[test]
fn an_event_whose_lines_end_by_carriage_return_alone_does_not_wait_for_the_next() {
    let mut decoder = SseDecoder::new();
    for event in ["data: a\r\r", "event: x\rdata: b\r\r", "data: c\r\r"] {
        decoder.push(Bytes::from_static(event.as_bytes()));
        assert_eq!(decoder.next_event().unwrap().unwrap().raw, event);
    }
    assert!(decoder.finish().is_none());
}

#[test]
fn an_event_larger_than_the_limit_is_an_error_and_ends_the_stream() {
    for chunks in [&["data: 123456\n\n"][..], &["data: 1", "2345678"]] {
        let mut decoder = SseDecoder::with_limit(13);
        let mut results = Vec::new();
        for chunk in chunks {
            decoder.push(Bytes::from_static(chunk.as_bytes()));
            results.extend(decoder.next_event());
        }
        decoder.push(Bytes::from_static(b"data: a\n\n"));
        results.extend(decoder.next_event());
        results.extend(decoder.finish());
        assert_eq!(results, [Err(FramingError::EventTooLarge { limit: 13 })], "{chunks:?}");
    }
    let mut decoder = SseDecoder::with_limit(14);
    decoder.push(Bytes::from_static(b"data: 123456\n\n"));
    assert!(decoder.next_event().unwrap().is_ok());
}

/// Streams dense in everything that matters to the format.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let pieces: [&[u8]; 15] = [
        b"data: ",
        b"data: ",
        b"\n",
        b"\n",
        b"\n",
        b"\r\n",
        b"\r",
        b"{}",
        b"\xEF\xBB\xBF",
        b"event: delta",
        b": comment",
        b"id: 1",
        b"data",
        b":",
        b"\0\xFF",
    ];
    let piece = prop::sample::select(pieces.to_vec());
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Bytes as the standard's own algorithm reads them: dispatched events only, whole stream at once.
fn reference(stream: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let stream = stream.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(stream);
    let mut lines = vec![Vec::new()];
    let mut bytes = stream.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' => {
                bytes.next_if_eq(&b'\n');
                lines.push(Vec::new());
            }
            b'\n' => lines.push(Vec::new()),
            _ => lines.last_mut().unwrap().push(byte),
        }
    }
    lines.pop();
    let (mut events, mut data, mut event) = (Vec::new(), Vec::new(), Vec::new());
    for line in lines {
        if line.is_empty() {
            if data.pop().is_some() {
                events.push((std::mem::take(&mut event), std::mem::take(&mut data)));
            }
            data.clear();
            event.clear();
            continue;
        }
        let mut halves = line.splitn(2, |byte| *byte == b':');
        let field = halves.next().unwrap_or_default();
        let value = halves.next().unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                data.extend_from_slice(value);
                data.push(b'\n');
            }
            b"event" => event = value.to_vec(),
            _ => {}
        }
    }
    events
}

proptest! {
    #[test]
    fn however_a_stream_is_cut_the_events_are_the_same(
        stream in stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
        let whole = decode(&[&stream]);
        prop_assert_eq!(&decode(&chunks), &whole);
        let single_bytes: Vec<&[u8]> = stream.chunks(1).collect();
        prop_assert_eq!(&decode(&single_bytes), &whole);
        let raw: Vec<u8> = whole.iter().flat_map(|event| event.raw.to_vec()).collect();
        prop_assert_eq!(raw, stream);
    }

    #[test]
    fn complete_events_are_those_that_the_standard_dispatches(stream in stream()) {
        let seen: Vec<_> = decode(&[&stream])
            .into_iter()
            .filter(|event| event.has_data && event.is_complete)
            .map(|event| (event.event.unwrap_or_default().to_vec(), event.data.to_vec()))
            .collect();
        prop_assert_eq!(seen, reference(&stream));
    }

    #[test]
    fn what_was_encoded_is_decoded_again(data in "[a-z\\n ]{0,40}", name in prop::option::of("[a-z_.]{1,20}")) {
        let mut encoded = Vec::new();
        encode_event(&mut encoded, name.as_deref(), data.as_bytes());
        let events = decode(&[&encoded]);
        prop_assert_eq!(events.len(), 1);
        prop_assert_eq!(events[0].name(), name.as_deref().unwrap_or("message"));
        prop_assert_eq!(&events[0].data[..], data.as_bytes());
    }
}

#[test]
fn json_stays_on_one_line_however_a_model_wrote_its_arguments() {
    let written = "{\n  \"a\": \"x\\n\",\r\n\n  \"b\": 1\r}";
    let raw = serde_json::from_str::<&serde_json::value::RawValue>(written).unwrap();
    let mut out = Vec::new();
    encode_json_event(&mut out, None, &raw).unwrap();
    encode_json_text(&mut out, Some("x"), written.as_bytes());
    let line = "{   \"a\": \"x\\n\",     \"b\": 1 }";
    assert_eq!(str::from_utf8(&out).unwrap(), format!("data: {line}\n\nevent: x\ndata: {line}\n\n"));
}
