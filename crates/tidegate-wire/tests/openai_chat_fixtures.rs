//! Written examples of the Chat Completions wire, each with what is read from it beside it. A new case is a new file in
//! `fixtures/openai_chat`; a new wording of an error is a line in its `errors.json`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tidegate_wire::carry::{Signature, is_carrying};
use tidegate_wire::conversation::{Content, Part};
use tidegate_wire::event::{Assembler, Event, events_of};
use tidegate_wire::framing::SseDecoder;
use tidegate_wire::reply::{Choice, Finish, FinishReason, Reply};
use tidegate_wire::{
    CacheMarkers, CallerError, Codec, Dialect, ErrorClass, FailureKind, ReasoningBack, ReplyError,
    ReplyOptions, RequestOptions, TargetTraits,
};

fn codec() -> &'static dyn Codec {
    Dialect::OpenAiChat.codec()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/openai_chat")
}

fn fixtures(beginning: &str) -> Vec<(String, Vec<u8>)> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with(beginning) && path.extension().is_some_and(|extension| extension != "snap")
    });
    paths.sort();
    assert!(!paths.is_empty());
    let read =
        |path: &PathBuf| (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap());
    paths.iter().map(read).collect()
}

fn check(name: &str, value: &impl std::fmt::Debug) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder());
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_debug_snapshot!(name, value));
}

/// A target that takes everything that this wire has a form for.
fn lenient() -> TargetTraits {
    TargetTraits {
        top_k: true,
        cache_markers: CacheMarkers::CacheControl,
        google_signatures: true,
        reasoning_back: ReasoningBack::ReasoningDetails,
        reasoning_object: true,
        ..TargetTraits::default()
    }
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

fn assemble(events: Vec<Event>) -> Reply {
    let mut assembler = Assembler::new(Dialect::OpenAiChat);
    for event in events {
        assembler.push(event);
    }
    assembler.into_reply()
}

fn encode(events: &[Event], options: ReplyOptions) -> String {
    let mut encoder = codec().encoder(options);
    let mut out = Vec::new();
    for event in events {
        encoder.encode(event, &mut out);
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn requests_are_read_as_written_down_and_come_back_the_same() {
    for (name, body) in fixtures("request-") {
        let conversation =
            codec().parse_request(&body, None).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        check(&name, &conversation);
        let traits = lenient();
        let options =
            RequestOptions { model: &conversation.model, stream: conversation.stream, traits: &traits };
        let rendered = codec().render_request(&conversation, &options);
        assert!(rendered.losses.is_empty(), "{name}: {:?}", rendered.losses);
        let again = codec().parse_request(&rendered.body, None).unwrap();
        if name != "request-from-strangers" {
            assert_eq!(again, conversation, "{name}");
        }
        // Once put in order, nothing changes any more.
        let rendered_again = codec().render_request(&again, &options);
        assert_eq!(codec().parse_request(&rendered_again.body, None).unwrap(), again, "{name}");
    }
}

#[test]
fn replies_are_read_as_written_down_and_come_back_the_same() {
    for (name, body) in fixtures("reply-") {
        let reply = codec().parse_reply(&body).unwrap_or_else(|error| panic!("{name}: {error}"));
        check(&name, &reply);
        let options =
            ReplyOptions { legacy_functions: name.contains("old-function"), ..ReplyOptions::default() };
        let rendered = codec().render_reply(&reply, &options);
        let again = codec().parse_reply(&rendered).unwrap();
        if name != "reply-of-a-server-with-its-own-ways" {
            assert_eq!(again, reply, "{name}");
        }
    }
}

#[test]
fn streams_are_read_as_written_down() {
    for (name, stream) in fixtures("stream-") {
        let (events, is_complete) = decode(&stream).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(is_complete, "{name}");
        assert_eq!(events.last(), Some(&Event::End), "{name}");
        let reply = assemble(events.clone());
        check(&name, &reply);
        let options = ReplyOptions { include_usage: true, ..ReplyOptions::default() };
        let written = encode(&events, options);
        assert!(written.ends_with("data: [DONE]\n\n"), "{name}");
        let again = assemble(decode(written.as_bytes()).unwrap().0);
        for (again, choice) in again.choices.iter().zip(&reply.choices) {
            assert_eq!(again.parts, choice.parts, "{name}");
        }
    }
}

#[test]
fn errors_are_recognised_in_every_providers_own_words() {
    let table: Vec<Value> = serde_json::from_slice(&fs::read(folder().join("errors.json")).unwrap()).unwrap();
    for case in &table {
        let status = u16::try_from(case["status"].as_u64().unwrap()).unwrap();
        let body = case["body"].as_str().map_or_else(|| case["body"].to_string(), str::to_owned);
        let who = format!("{} {}", case["who"], case["body"]);
        // A status of 200 stands for an error in band: where a whole answer should be, and within a stream.
        let error = if status == 200 {
            let ReplyError::Provider(streamed) = in_stream(&format!("data: {body}")) else { panic!("{who}") };
            let Err(ReplyError::Provider(whole)) = codec().parse_reply(body.as_bytes()) else {
                panic!("{who}")
            };
            assert_eq!(streamed, whole, "{who}");
            whole
        } else {
            let error = codec().parse_error(status, body.as_bytes());
            assert_eq!(error.status, status, "{who}");
            error
        };
        assert_eq!(error.kind.as_str(), case["kind"], "{who}");
        assert!(!error.message.is_empty(), "{who}");
        if let Some(message) = case["message"].as_str() {
            assert_eq!(error.message, message, "{who}");
        }
        if let Some(code) = case["code"].as_str() {
            assert_eq!(error.code.as_deref(), Some(code), "{who}");
        }
        let expected = case["retry_after_ms"].as_u64().map(Duration::from_millis);
        assert_eq!(error.retry_after, expected, "{who}");
    }
}

fn in_stream(frame: &str) -> ReplyError {
    let start = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n";
    decode(format!("{start}{frame}\n\n").as_bytes()).unwrap_err()
}

#[test]
fn an_error_inside_a_stream_is_the_providers() {
    let cases = [
        (
            "data: {\"error\":{\"message\":\"boom\",\"type\":\"server_error\"}}",
            500,
            FailureKind::ProviderError,
        ),
        (
            "event: error\ndata: {\"error\":{\"message\":\"boom\",\"status_code\":400}}",
            400,
            FailureKind::BadRequest,
        ),
        ("data: {\"error\":\"boom\"}", 500, FailureKind::ProviderError),
        ("event: error\ndata: boom", 500, FailureKind::ProviderError),
        (
            "data: {\"id\":\"c\",\"choices\":[],\"error\":{\"code\":502,\"message\":\"boom\"}}",
            502,
            FailureKind::ProviderError,
        ),
        (
            "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"error\",\"error\":{\"code\":429,\"message\":\"boom\"}}]}",
            429,
            FailureKind::RateLimited,
        ),
        ("data: {\"error\":{\"message\":\"boom: the model is overloaded\"}}", 503, FailureKind::Overloaded),
        ("data: {\"detail\":\"boom\"}", 500, FailureKind::ProviderError),
    ];
    for (frame, status, kind) in cases {
        let ReplyError::Provider(error) = in_stream(frame) else { panic!("{frame}") };
        assert!(error.message.starts_with("boom"), "{frame}: {}", error.message);
        assert_eq!((error.status, error.kind), (status, kind), "{frame}");
    }
    let starved =
        in_stream("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"insufficient_system_resource\"}]}");
    assert!(matches!(starved, ReplyError::Provider(error) if error.kind == FailureKind::Overloaded));
}

#[test]
fn what_is_no_chunk_is_malformed() {
    for frame in ["data: <html>", "data: {\"choices\":", "data: 7", "data: {\"choices\":[7]}"] {
        assert!(matches!(in_stream(frame), ReplyError::Malformed { .. }), "{frame}");
    }
    assert!(matches!(decode(b"data: [DONE]\n\n").unwrap_err(), ReplyError::Malformed { .. }));
}

#[test]
fn a_stream_is_complete_without_its_last_word_but_not_without_a_reason_for_its_end() {
    let cut = |text: &str, at: &str| text[..text.find(at).unwrap()].to_owned();
    let (_, stream) = fixtures("stream-parallel-calls").remove(0);
    let text = String::from_utf8(stream).unwrap();
    let (events, is_complete) = decode(cut(&text, "data: [DONE]").as_bytes()).unwrap();
    assert!(is_complete);
    assert_eq!(events, decode(text.as_bytes()).unwrap().0);
    let before_finish = text.rfind("data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1786479603,\"model\":\"gpt-5.6\",\"choices\":[{\"index\":0,\"delta\":{},");
    let (events, is_complete) = decode(&text.as_bytes()[..before_finish.unwrap()]).unwrap();
    assert!(!is_complete);
    assert!(!events.contains(&Event::End));
}

#[test]
fn mistakes_in_requests_name_their_place() {
    let cases = [
        (r#"{"messages":[]}"#, Some("model")),
        (r#"{"model":"m"}"#, Some("messages")),
        (r#"{"model":"m","messages":{}}"#, Some("messages")),
        (r#"{"model":"m","messages":[{"content":"x"}]}"#, Some("messages[0].role")),
        (r#"{"model":"m","messages":[{"role":"wizard"}]}"#, Some("messages[0].role")),
        (r#"{"model":"m","messages":[{"role":"user","content":7}]}"#, Some("messages[0].content")),
        (
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#,
            Some("messages[0].content[0].image_url"),
        ),
        (r#"{"model":"m","messages":[{"role":"tool","content":"x"}]}"#, Some("messages[0].tool_call_id")),
        (r#"{"model":"m","messages":[],"temperature":"hot"}"#, Some("temperature")),
        (r#"{"model":"m","messages":[],"tools":[{"type":"function"}]}"#, Some("tools[0].function")),
        ("[]", None),
        ("{\"model\":\"\u{0}", None),
    ];
    for (body, place) in cases {
        let error = codec().parse_request(body.as_bytes(), None).unwrap_err();
        assert_eq!(error.param.as_deref(), place, "{body}: {}", error.message);
    }
}

/// An answer as Anthropic's dialect gives it: signed thinking, text, a call, more thinking, another call.
fn foreign_reply() -> Reply {
    let signed = |text: &str, signature: &str| Part {
        signature: Some(Signature::new(Dialect::AnthropicMessages, signature)),
        ..Part::new(Content::Reasoning { text: text.to_owned() })
    };
    let call = |id: &str| {
        Part::new(Content::ToolCall(tidegate_wire::conversation::ToolCall {
            id: id.to_owned(),
            name: "f".to_owned(),
            arguments: "{}".to_owned(),
            free_text: false,
        }))
    };
    let redacted = Part {
        signature: Some(Signature::new(Dialect::AnthropicMessages, "hidden")),
        ..Part::new(Content::RedactedReasoning)
    };
    let parts = vec![
        signed("Let me think.", "sig-1"),
        redacted,
        Part::text("I will call."),
        call("toolu_1"),
        signed("And again.", "sig-2"),
        call("toolu_2"),
    ];
    let finish = Some(Finish::new(FinishReason::ToolCalls));
    Reply {
        id: "msg_1".to_owned(),
        model: "claude".to_owned(),
        choices: vec![Choice { parts, finish, ..Choice::default() }],
        ..Reply::new(Dialect::AnthropicMessages)
    }
}

/// The next request of a client that echoes only what it knows of: ids, names, arguments, and perhaps more.
fn echo(message: &Value, with_reasoning: bool) -> Vec<Part> {
    let mut message = message.clone();
    if !with_reasoning {
        let fields = message.as_object_mut().unwrap();
        fields.retain(|name, _| matches!(name.as_str(), "role" | "content" | "tool_calls"));
    }
    let results = ["toolu_1", "toolu_2"].iter().zip(message["tool_calls"].as_array().unwrap());
    let results: Vec<Value> = results
        .map(|(own, call)| {
            let id = call["id"].as_str().unwrap();
            assert!(id.starts_with(own));
            serde_json::json!({ "role": "tool", "tool_call_id": id, "content": "done" })
        })
        .collect();
    let mut messages = vec![serde_json::json!({ "role": "user", "content": "Go." }), message];
    messages.extend(results);
    let body = serde_json::json!({ "model": "m", "messages": messages }).to_string();
    assert!(is_carrying(body.as_bytes()));
    let conversation = codec().parse_request(body.as_bytes(), None).unwrap();
    let answered: Vec<_> = conversation.turns[2]
        .parts
        .iter()
        .map(|part| match &part.content {
            Content::ToolResult(result) => result.call_id.as_str(),
            _ => panic!("expected a result"),
        })
        .collect();
    assert_eq!(answered, ["toolu_1", "toolu_2"]);
    conversation.turns[1].parts.clone()
}

#[test]
fn signed_reasoning_survives_clients_that_echo_everything_or_only_ids() {
    let reply = foreign_reply();
    let rendered = codec().render_reply(&reply, &ReplyOptions::default());
    let message: Value = serde_json::from_slice::<Value>(&rendered).unwrap()["choices"][0]["message"].clone();
    assert_eq!(message["reasoning_content"], "Let me think.And again.");
    assert_eq!(echo(&message, true), reply.choices[0].parts);
    assert_eq!(echo(&message, false), reply.choices[0].parts);
    // Streamed, the same.
    let written = encode(&events_of(&reply), ReplyOptions::default());
    let mut streamed =
        serde_json::json!({ "role": "assistant", "content": "I will call.", "tool_calls": [] });
    for line in
        written.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|line| *line != "[DONE]")
    {
        let chunk: Value = serde_json::from_str(line).unwrap();
        if let Some(call) = chunk["choices"][0]["delta"]["tool_calls"].get(0)
            && call.get("id").is_some()
        {
            let mut call = call.clone();
            call["function"]["arguments"] = "{}".into();
            streamed["tool_calls"].as_array_mut().unwrap().push(call);
        }
    }
    assert_eq!(echo(&streamed, false), reply.choices[0].parts);
}

#[test]
fn geminis_signatures_stand_where_googles_clients_look_for_them() {
    let mut reply = foreign_reply();
    reply.choices[0].parts = vec![Part {
        signature: Some(Signature::new(Dialect::Gemini, "R2Vt")),
        ..reply.choices[0].parts[3].clone()
    }];
    let rendered: Value =
        serde_json::from_slice(&codec().render_reply(&reply, &ReplyOptions::default())).unwrap();
    let call = &rendered["choices"][0]["message"]["tool_calls"][0];
    assert_eq!(call["extra_content"]["google"]["thought_signature"], "R2Vt");
    assert!(is_carrying(call["id"].as_str().unwrap().as_bytes()));
}

#[test]
fn callers_of_old_functions_are_answered_in_their_own_form() {
    let options = ReplyOptions { legacy_functions: true, ..ReplyOptions::default() };
    let mut reply = foreign_reply();
    reply.choices[0].parts.truncate(4);
    let rendered: Value = serde_json::from_slice(&codec().render_reply(&reply, &options)).unwrap();
    let choice = &rendered["choices"][0];
    assert_eq!(choice["message"]["function_call"]["name"], "f");
    assert!(choice["message"].get("tool_calls").is_none());
    assert_eq!(choice["finish_reason"], "function_call");
    let written = encode(&events_of(&reply), options);
    assert!(written.contains(r#""function_call":{"name":"f","arguments":""}"#), "{written}");
    assert!(written.contains(r#""finish_reason":"function_call""#), "{written}");
}

#[test]
fn errors_are_written_as_the_sdks_raise_them() {
    let error = CallerError {
        status: 429,
        class: ErrorClass::RateLimit,
        message: "slow\ndown".to_owned(),
        code: None,
        param: None,
        request_id: None,
    };
    let body = codec().render_error(&error);
    let expected = r#"{"error":{"message":"slow\ndown","type":"rate_limit_error","param":null,"code":"rate_limit_exceeded"}}"#;
    assert_eq!(body, expected);
    assert_eq!(codec().render_error_event(&error), format!("data: {expected}\n\n"));
}

#[test]
fn usage_is_written_last_and_only_for_those_who_asked() {
    let reply = foreign_reply();
    let without = encode(&events_of(&reply), ReplyOptions::default());
    assert!(!without.contains("usage"), "{without}");
    let options = ReplyOptions { include_usage: true, ..ReplyOptions::default() };
    let with = encode(&events_of(&reply), options);
    let chunks: Vec<&str> = with.split("\n\n").filter(|chunk| !chunk.is_empty()).collect();
    let [.., usage, done] = chunks.as_slice() else { panic!("{with}") };
    assert_eq!(*done, "data: [DONE]");
    assert!(usage.contains(r#""choices":[],"usage":{"prompt_tokens":0"#), "{usage}");
}
