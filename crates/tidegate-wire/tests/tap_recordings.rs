//! The tap reads ordinary whole answers without parsing them: what it sees must be what parsing finds, in every recorded
//! answer, and in every answer that is an error or no answer at all.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test may fail loudly")]

use std::path::Path;

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_wire::tap::{Tapped, tap_reply};
use tidegate_wire::{Dialect, ReplyError};

/// The long way.
fn parsed(dialect: Dialect, body: &Bytes) -> Result<Tapped, ReplyError> {
    let reply = dialect.codec().parse_reply(body)?;
    let finish = reply.choices.first().and_then(|choice| choice.finish.as_ref());
    Ok(Tapped { usage: reply.usage, tier: reply.served_tier(), finish: finish.map(|finish| finish.reason) })
}

#[test]
fn the_tap_sees_in_every_recorded_answer_what_parsing_finds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recordings");
    if !folder.is_dir() {
        eprintln!("SKIPPED: there are no recordings at {}", folder.display());
        return;
    }
    let mut compared = 0;
    for provider in std::fs::read_dir(folder).unwrap() {
        let provider = provider.unwrap().path();
        for (file, dialect) in [
            ("chat_completions.jsonl", Dialect::OpenAiChat),
            ("messages.jsonl", Dialect::AnthropicMessages),
            ("generateContent.jsonl", Dialect::Gemini),
        ] {
            let Ok(recorded) = std::fs::read_to_string(provider.join(file)) else { continue };
            for line in recorded.lines() {
                let exchange: Value = serde_json::from_str(line).unwrap();
                let Some(answer) = exchange["response"].get("json") else { continue };
                let body = Bytes::from(answer.to_string());
                assert_eq!(tap_reply(dialect, &body), parsed(dialect, &body), "{}", exchange["source"]);
                compared += 1;
            }
        }
    }
    assert!(compared > 300, "only {compared} recorded answers were found");
}

#[test]
fn what_is_no_ordinary_answer_is_told_as_parsing_tells_it() {
    let choice =
        json!({"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"});
    let with = |field: &str, value: Value| {
        let mut choice = choice.clone();
        choice[field] = value;
        json!({"id": "a", "choices": [choice]})
    };
    let cases = [
        (Dialect::OpenAiChat, json!({"choices": [choice], "error": {"message": "overloaded"}})),
        (Dialect::OpenAiChat, with("error", json!({"message": "cut", "code": 502}))),
        (Dialect::OpenAiChat, with("finish_reason", json!("insufficient_system_resource"))),
        (Dialect::OpenAiChat, with("finish_reason", Value::Null)),
        (Dialect::OpenAiChat, with("message", json!("x"))),
        (Dialect::OpenAiChat, json!({"choices": "none"})),
        (Dialect::OpenAiChat, json!({"detail": "no such model"})),
        (
            Dialect::AnthropicMessages,
            json!({"type": "error", "error": {"type": "overloaded_error", "message": "x"}}),
        ),
        (Dialect::AnthropicMessages, json!({"type": "message", "content": [{"text": "no type"}]})),
        (Dialect::AnthropicMessages, json!({"type": "message", "content": "x"})),
        (Dialect::AnthropicMessages, json!({"id": "a"})),
        (Dialect::Gemini, json!({"error": {"code": 503, "message": "x", "status": "UNAVAILABLE"}})),
        (Dialect::Gemini, json!({"promptFeedback": {"blockReason": "SAFETY"}})),
        (Dialect::Gemini, json!({"candidates": []})),
        (Dialect::Gemini, json!({"candidates": [{"content": {"parts": ["x"]}, "finishReason": "STOP"}]})),
    ];
    for (dialect, body) in cases {
        let body = Bytes::from(body.to_string());
        assert_eq!(tap_reply(dialect, &body), parsed(dialect, &body), "{dialect}: {body:?}");
    }
    for dialect in Dialect::ALL {
        for body in [
            &b"{\"choices\": [{\"message\": {\"content\": \"x\"}, \"finish_reason\": \"stop\"}"[..],
            b"<html>",
            b"",
        ] {
            let body = Bytes::from_static(body);
            assert!(matches!(tap_reply(dialect, &body), Err(ReplyError::Malformed { .. })), "{body:?}");
        }
    }
}
