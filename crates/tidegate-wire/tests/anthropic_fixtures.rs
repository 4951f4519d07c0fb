//! Written examples of Anthropic's wire, each with what is read from it beside it. A new case is a new file in
//! `fixtures/anthropic_messages`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tidegate_wire::event::{Assembler, Event};
use tidegate_wire::framing::SseDecoder;
use tidegate_wire::{Codec, Dialect, ReplyError, ReplyOptions, RequestOptions, TargetTraits};

fn codec() -> &'static dyn Codec {
    Dialect::AnthropicMessages.codec()
}

fn fixtures(beginning: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/anthropic_messages");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with(beginning) && path.extension().is_some_and(|extension| extension != "snap")
    });
    paths.sort();
    assert!(!paths.is_empty());
    paths
        .iter()
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap()))
        .collect()
}

fn check(name: &str, value: &impl std::fmt::Debug) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../fixtures/anthropic_messages");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_debug_snapshot!(name, value));
}

fn decode(stream: &[u8]) -> Result<(Vec<Event>, bool), ReplyError> {
    let mut frames = SseDecoder::new();
    let mut decoder = codec().decoder();
    let mut events = Vec::new();
    frames.push(Bytes::copy_from_slice(stream));
    while let Some(frame) = frames.next_event() {
        decoder.decode(&frame.unwrap(), &mut events)?;
    }
    let is_complete = decoder.finish(&mut events);
    Ok((events, is_complete))
}

#[test]
fn requests_are_read_as_written_down_and_come_back_the_same() {
    for (name, body) in fixtures("request-") {
        let conversation =
            codec().parse_request(&body, None).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        check(&name, &conversation);
        let traits = TargetTraits::default();
        let options = RequestOptions { model: &conversation.model, stream: true, traits: &traits };
        let rendered = codec().render_request(&conversation, &options);
        let mut again = codec().parse_request(&rendered.body, None).unwrap();
        // The example ends with an answer to be continued, which cannot be thought about.
        assert_eq!(rendered.losses.fields().collect::<Vec<_>>(), ["thinking"], "{name}");
        again.reasoning.clone_from(&conversation.reasoning);
        assert_eq!(again, conversation, "{name}");
    }
}

#[test]
fn replies_are_read_as_written_down_and_come_back_the_same() {
    for (name, body) in fixtures("reply-") {
        let reply = codec().parse_reply(&body).unwrap_or_else(|error| panic!("{name}: {error}"));
        check(&name, &reply);
        let rendered = codec().render_reply(&reply, &ReplyOptions::default());
        assert_eq!(codec().parse_reply(&rendered).unwrap(), reply, "{name}");
    }
}

#[test]
fn streams_are_read_as_written_down() {
    for (name, stream) in fixtures("stream-") {
        let (events, is_complete) = decode(&stream).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(is_complete, "{name}");
        let mut assembler = Assembler::new(Dialect::AnthropicMessages);
        for event in events {
            assembler.push(event);
        }
        check(&name, &assembler.into_reply());
    }
}

#[test]
fn a_stream_is_complete_without_its_last_word_but_not_without_a_reason_for_its_end() {
    let (_, stream) = fixtures("stream-every-block").remove(0);
    let text = String::from_utf8(stream).unwrap();
    let without_stop = &text[..text.find("event: message_stop").unwrap()];
    let (events, is_complete) = decode(without_stop.as_bytes()).unwrap();
    assert!(is_complete);
    assert_eq!(events.last(), Some(&Event::End));
    assert_eq!(events, decode(text.as_bytes()).unwrap().0);

    let without_reason = &text[..text.find("event: message_delta").unwrap()];
    let (events, is_complete) = decode(without_reason.as_bytes()).unwrap();
    assert!(!is_complete);
    assert!(!events.contains(&Event::End));
}

#[test]
fn an_error_inside_a_stream_is_the_providers() {
    let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"m\"}}\n\n";
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let Err(ReplyError::Provider(error)) = decode(format!("{start}{error}").as_bytes()) else {
        panic!("expected the provider's error")
    };
    assert_eq!((error.status, error.kind), (529, tidegate_wire::FailureKind::Overloaded));
    assert_eq!(error.message, "Overloaded");
}

#[test]
fn what_is_not_the_dialect_is_malformed() {
    for frames in [
        "data: not json\n\n",
        "data: {\"no\":\"type\"}\n\n",
        "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
        "data: {\"type\":\"message_start\"}\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}\n\n",
    ] {
        assert!(matches!(decode(frames.as_bytes()), Err(ReplyError::Malformed { .. })), "{frames}");
    }
    for body in [
        "",
        "[]",
        "{}",
        "{\"content\":5}",
        "{\"type\":\"message\",\"content\":[{\"type\":\"text\",\"text\":5}]}",
    ] {
        assert!(matches!(codec().parse_reply(body.as_bytes()), Err(ReplyError::Malformed { .. })), "{body}");
    }
}

#[test]
fn mistakes_in_requests_name_the_field() {
    for (body, param) in [
        ("{}", Some("model")),
        ("[]", None),
        (r#"{"model":"m"}"#, Some("max_tokens")),
        (r#"{"model":"m","max_tokens":1}"#, Some("messages")),
        (r#"{"model":"m","max_tokens":-1,"messages":[]}"#, Some("max_tokens")),
        (r#"{"model":"m","max_tokens":1,"messages":[{"role":"robot"}]}"#, Some("messages[0].role")),
        (
            r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":[{}]}]}"#,
            Some("messages[0].content[0].type"),
        ),
        (
            r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":[{"type":"image"}]}]}"#,
            Some("messages[0].content[0].source"),
        ),
        (r#"{"model":"m","max_tokens":1,"messages":[],"tool_choice":"auto"}"#, Some("tool_choice")),
    ] {
        let error = codec().parse_request(body.as_bytes(), None).unwrap_err();
        assert_eq!(error.param.as_deref(), param, "{body}: {error}");
    }
}
