//! Streams for callers who speak Anthropic Messages: the order that its SDKs rely on, whatever the target's was.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_wire::carry::Signature;
use tidegate_wire::conversation::{Citation, Content, Native, Part, ToolCall};
use tidegate_wire::event::{Assembler, Event, PartDelta, PartStart, events_of};
use tidegate_wire::framing::SseDecoder;
use tidegate_wire::reply::{Choice, Finish, FinishReason, Reply};
use tidegate_wire::{CallerError, Dialect, ErrorClass, FailureKind, ReplyOptions, Usage};

const HERE: Dialect = Dialect::AnthropicMessages;

fn encode(events: &[Event]) -> Vec<u8> {
    let mut encoder = HERE.codec().encoder(ReplyOptions::default());
    let mut out = Vec::new();
    for event in events {
        encoder.encode(event, &mut out);
    }
    out
}

fn frames(stream: &[u8]) -> Vec<Value> {
    let mut decoder = SseDecoder::new();
    decoder.push(Bytes::copy_from_slice(stream));
    std::iter::from_fn(|| decoder.next_event())
        .map(|frame| {
            let frame = frame.unwrap();
            let data: Value = serde_json::from_slice(&frame.data).unwrap();
            assert_eq!(data["type"], frame.name());
            data
        })
        .collect()
}

fn assemble(stream: &[u8]) -> Reply {
    let mut frames = SseDecoder::new();
    let mut decoder = HERE.codec().decoder();
    let mut events = Vec::new();
    frames.push(Bytes::copy_from_slice(stream));
    while let Some(frame) = frames.next_event() {
        decoder.decode(&frame.unwrap(), &mut events).unwrap();
    }
    assert!(decoder.finish(&mut events));
    let mut assembler = Assembler::new(HERE);
    for event in events {
        assembler.push(event);
    }
    assembler.into_reply()
}

fn start() -> Event {
    Event::Start { id: "chatcmpl-1".into(), model: "m".into(), created: None }
}

fn call_start(part: u32) -> Event {
    let start = PartStart::ToolCall {
        id: format!("call_{part}"),
        name: "look".into(),
        free_text: false,
        signature: None,
    };
    Event::PartStart { choice: 0, part, start }
}

fn arguments(part: u32, text: &str) -> Event {
    Event::PartDelta { choice: 0, part, delta: PartDelta::Arguments(text.into()) }
}

#[test]
fn interleaved_calls_come_one_after_the_other() {
    let stream = encode(&[
        start(),
        call_start(0),
        call_start(1),
        arguments(1, "{\"b\":"),
        arguments(0, "{\"a\":"),
        arguments(1, "2}"),
        Event::PartEnd { choice: 0, part: 1 },
        arguments(0, "1}"),
        Event::PartEnd { choice: 0, part: 0 },
        Event::Finish {
            choice: 0,
            finish: Finish::new(FinishReason::ToolCalls),
            rest: serde_json::Map::new(),
        },
        Event::Usage(Usage { input: 30, cache_read: 10, output: 5, reasoning: 2, ..Usage::default() }),
        Event::End,
    ]);
    let frames = frames(&stream);
    let kinds: Vec<_> = frames.iter().map(|frame| frame["type"].as_str().unwrap()).collect();
    let block = |deltas| {
        [vec!["content_block_start"], vec!["content_block_delta"; deltas], vec!["content_block_stop"]]
            .concat()
    };
    assert_eq!(
        kinds,
        [vec!["message_start"], block(2), block(2), vec!["message_delta", "message_stop"]].concat()
    );
    let indexes: Vec<_> = frames.iter().filter_map(|frame| frame["index"].as_u64()).collect();
    assert_eq!(indexes, [0, 0, 0, 0, 1, 1, 1, 1]);
    assert_eq!(frames[0]["message"]["id"], "msg_chatcmpl-1");
    let end = &frames[frames.len() - 2];
    assert_eq!(end["delta"], json!({"stop_reason": "tool_use", "stop_sequence": null}));
    assert_eq!(end["usage"]["input_tokens"], 20);
    assert_eq!(end["usage"]["cache_read_input_tokens"], 10);
    assert_eq!(end["usage"]["output_tokens"], 5);
    assert_eq!(end["usage"]["output_tokens_details"]["thinking_tokens"], 2);
    let reply = assemble(&stream);
    let calls: Vec<_> = reply.choices[0]
        .parts
        .iter()
        .map(|part| match &part.content {
            Content::ToolCall(call) => (call.id.as_str(), call.arguments.as_str()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(calls, [("call_0", "{\"a\":1}"), ("call_1", "{\"b\":2}")]);
}

#[test]
fn reasoning_of_others_has_a_signature_that_says_so_and_comes_back_as_theirs() {
    let text = |part, text: &str| Event::PartDelta { choice: 0, part, delta: PartDelta::Text(text.into()) };
    let begin = |part, start| Event::PartStart { choice: 0, part, start };
    let end = |part| Event::PartEnd { choice: 0, part };
    let signature = Signature::new(Dialect::Gemini, "c2ln");
    let signed_call = PartStart::ToolCall {
        id: "g".into(),
        name: "look".into(),
        free_text: false,
        signature: Some(signature.clone()),
    };
    let stream = encode(&[
        start(),
        begin(0, PartStart::Reasoning),
        text(0, "Hm"),
        end(0),
        begin(1, PartStart::Reasoning),
        text(1, "Ah"),
        Event::PartDelta { choice: 0, part: 1, delta: PartDelta::Signature(signature.clone()) },
        end(1),
        begin(2, PartStart::Text),
        end(2),
        begin(3, signed_call),
        end(3),
        Event::End,
    ]);
    for frame in frames(&stream).iter().filter(|frame| frame["delta"]["type"] == "signature_delta") {
        assert!(tidegate_wire::carry::is_carrying(frame["delta"]["signature"].as_str().unwrap().as_bytes()));
    }
    let reply = assemble(&stream);
    let parts = &reply.choices[0].parts;
    assert_eq!(parts.len(), 3, "a text without words is no block: {parts:?}");
    assert_eq!(parts[0].signature, None);
    assert_eq!(parts[1].signature, Some(signature.clone()));
    assert_eq!(parts[2].signature, Some(signature));
    assert_eq!(reply.choices[0].finish.as_ref().unwrap().reason, FinishReason::ToolCalls);
}

#[test]
fn too_much_that_waits_ends_in_an_error_and_not_as_if_it_were_complete() {
    let mut events = vec![start(), call_start(0), call_start(1)];
    events.extend(std::iter::repeat_n(arguments(1, &"x".repeat(1 << 20)), 9));
    events.push(Event::End);
    let frames = frames(&encode(&events));
    assert_eq!(frames.last().unwrap()["type"], "error");
    assert!(frames.iter().all(|frame| frame["type"] != "message_stop"));
}

#[test]
fn errors_are_told_by_their_class_and_read_by_their_words() {
    let codec = HERE.codec();
    let error = |class| CallerError {
        status: 400,
        class,
        message: "No.".into(),
        code: Some("some_code".into()),
        param: Some("messages".into()),
        request_id: Some("req_1".into()),
    };
    let body: Value =
        serde_json::from_slice(&codec.render_error(&error(ErrorClass::InvalidRequest))).unwrap();
    assert_eq!(
        body,
        json!({
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "messages: No.", "details": {"error_code": "some_code"}},
            "request_id": "req_1"
        })
    );
    let event = codec.render_error_event(&error(ErrorClass::Overloaded));
    assert_eq!(frames(&event)[0]["error"]["type"], "overloaded_error");

    let cases = [
        (400, "invalid_request_error", "messages: Field required", FailureKind::BadRequest),
        (
            400,
            "invalid_request_error",
            "prompt is too long: 211180 tokens > 200000 maximum",
            FailureKind::ContextLength,
        ),
        (
            400,
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000",
            FailureKind::ContextLength,
        ),
        (
            400,
            "invalid_request_error",
            "Your credit balance is too low to access the Anthropic API.",
            FailureKind::OutOfQuota,
        ),
        (
            400,
            "invalid_request_error",
            "You have reached your specified API usage limits.",
            FailureKind::OutOfQuota,
        ),
        (
            400,
            "invalid_request_error",
            "Output blocked by content filtering policy",
            FailureKind::ContentPolicy,
        ),
        (401, "authentication_error", "invalid x-api-key", FailureKind::Credentials),
        (402, "billing_error", "Pay", FailureKind::OutOfQuota),
        (403, "permission_error", "No", FailureKind::Credentials),
        (404, "not_found_error", "model: claude-x", FailureKind::NoSuchModel),
        (404, "not_found_error", "File not found: file_1", FailureKind::BadRequest),
        (404, "not_found_error", "File not found: file_model", FailureKind::BadRequest),
        (400, "invalid_request_error", "This organization has been disabled.", FailureKind::Credentials),
        (
            400,
            "invalid_request_error",
            "your credit balance is too low: Extra inputs are not permitted",
            FailureKind::BadRequest,
        ),
        (
            400,
            "invalid_request_error",
            "messages.0.role: 'x' your credit balance is too low 'y' is not a role",
            FailureKind::BadRequest,
        ),
        (
            400,
            "invalid_request_error",
            "tool_choice: 'prompt is too long: usage policy' is not one of ['auto']",
            FailureKind::BadRequest,
        ),
        (413, "request_too_large", "Request exceeds the maximum size", FailureKind::BadRequest),
        (429, "rate_limit_error", "This request would exceed your rate limit", FailureKind::RateLimited),
        (500, "api_error", "Internal server error", FailureKind::ProviderError),
        // https://github.com/anthropics/claude-code/issues/8132
        (500, "api_error", "Overloaded", FailureKind::Overloaded),
        (504, "timeout_error", "Timed out", FailureKind::ProviderError),
        (529, "overloaded_error", "Overloaded", FailureKind::Overloaded),
    ];
    for (status, kind, message, expected) in cases {
        let body = json!({"type": "error", "error": {"type": kind, "message": message}});
        let read = codec.parse_error(status, body.to_string().as_bytes());
        assert_eq!((read.kind, read.status, read.message.as_str()), (expected, status, message));
        assert_eq!(read.error_type.as_deref(), Some(kind));
    }
    for (status, body, expected) in [
        (503, "", FailureKind::Overloaded),
        (502, "<html>Bad gateway</html>", FailureKind::ProviderError),
        (403, r#"{"message":"denied"}"#, FailureKind::Credentials),
        (404, "not here", FailureKind::NoSuchModel),
        // Bedrock, which speaks this wire with errors of its own form:
        // https://github.com/dyad-sh/dyad/issues/1950
        (
            400,
            r#"{"message":"The model returned the following errors: Input is too long for requested model."}"#,
            FailureKind::ContextLength,
        ),
        // https://github.com/iOfficeAI/AionCore/pull/377
        (400, r#"{"message":"The provided model identifier is invalid."}"#, FailureKind::NoSuchModel),
        // https://github.com/anthropics/claude-code/issues/110
        (
            400,
            r#"{"message":"Invocation of model ID anthropic.claude-3-7-sonnet-20250219-v1:0 with on-demand throughput isn’t supported. Retry your request with the ID or ARN of an inference profile that contains this model."}"#,
            FailureKind::NoSuchModel,
        ),
        // https://github.com/anthropics/claude-code/issues/4505
        (
            403,
            r#"{"message":"The security token included in the request is invalid."}"#,
            FailureKind::Credentials,
        ),
        // https://github.com/charmbracelet/crush/issues/946
        (
            400,
            r#"{"message":"The maximum tokens you requested exceeds the model limit of 32768"}"#,
            FailureKind::BadRequest,
        ),
    ] {
        let read = codec.parse_error(status, body.as_bytes());
        assert_eq!(read.kind, expected, "{body}");
        assert!(!read.message.is_empty());
    }
}

fn words() -> impl Strategy<Value = String> {
    "[a-zA-Zäß\"\\\\\n ]{0,12}[a-z]"
}

fn part() -> impl Strategy<Value = Part> {
    let signature = || words().prop_map(|data| Signature::new(HERE, data));
    let citation = words().prop_map(|cited| Citation {
        cited_text: Some(cited.clone()),
        native: Some(Native { dialect: HERE, value: json!({"type": "char_location", "cited_text": cited}) }),
        ..Citation::default()
    });
    prop_oneof![
        (words(), prop::collection::vec(citation, 0..3))
            .prop_map(|(text, citations)| Part::new(Content::Text { text, citations })),
        (words(), prop::option::of(signature()))
            .prop_map(|(text, signature)| Part { signature, ..Part::new(Content::Reasoning { text }) }),
        signature().prop_map(|data| Part { signature: Some(data), ..Part::new(Content::RedactedReasoning) }),
        ("[a-zA-Z0-9_-]{1,9}", words(), words()).prop_map(|(id, name, value)| {
            let arguments = json!({ "value": value }).to_string();
            Part::new(Content::ToolCall(ToolCall { id, name, arguments, free_text: false }))
        }),
        words().prop_map(|id| {
            let value = json!({"type": "server_tool_use", "id": id, "name": "web_search", "input": {"q": 1}});
            Part::new(Content::Native(Native { dialect: HERE, value }))
        }),
    ]
}

prop_compose! {
    fn usage()(
        uncached in 0_u64..9_999, cache_read in 0_u64..9_999, cache_write_5m in 0_u64..9_999,
        cache_write_1h in 0_u64..9_999, output in 0_u64..9_999, reasoning in 0_u64..9_999,
        web_searches in 0_u64..3
    ) -> Usage {
        let input = uncached + cache_read + cache_write_5m + cache_write_1h;
        Usage { input, cache_read, cache_write_5m, cache_write_1h, output, reasoning, web_searches, ..Usage::default() }
    }
}

prop_compose! {
    fn reply()(
        parts in prop::collection::vec(part(), 0..6), usage in usage(), id in "msg_[a-z]{1,4}", model in words(),
        stop in prop::sample::select(vec![
            (FinishReason::StopSequence, "stop_sequence"), (FinishReason::Length, "max_tokens"),
            (FinishReason::ToolCalls, "tool_use"), (FinishReason::Refusal, "refusal"), (FinishReason::Pause, "pause_turn"),
            (FinishReason::ContextWindow, "model_context_window_exceeded"), (FinishReason::Other, "compaction"),
        ]),
        stop_sequence in prop::option::of(words()),
        tier in prop::option::of(prop::sample::select(vec!["default", "priority", "batch"])),
    ) -> Reply {
        let (reason, word) = stop;
        let finish = Some(Finish { reason, native: Some(word.to_owned()), stop_sequence });
        Reply {
            id, model, usage,
            choices: vec![Choice { parts, finish, ..Choice::default() }],
            service_tier: tier.map(str::to_owned),
            ..Reply::new(HERE)
        }
    }
}

proptest! {
    #[test]
    fn a_reply_survives_whole_and_streamed_alike(reply in reply()) {
        let codec = HERE.codec();
        let whole = codec.parse_reply(&codec.render_reply(&reply, &ReplyOptions::default())).unwrap();
        prop_assert_eq!(&whole, &reply);
        let streamed = assemble(&encode(&events_of(&reply)));
        prop_assert_eq!(streamed, reply);
    }

    #[test]
    fn nothing_that_a_provider_sends_makes_a_reader_panic(
        kind in prop::sample::select(vec!["message_start", "content_block_start", "content_block_delta", "message_delta", "x"]),
        body in "[\\[\\]{}:,\"a-z0-9 ]{0,40}",
    ) {
        let codec = HERE.codec();
        let mut decoder = codec.decoder();
        let mut frames = SseDecoder::new();
        frames.push(Bytes::from(format!("data: {{\"type\":\"{kind}\",{body}}}\n\ndata: {body}\n\n")));
        let mut events = Vec::new();
        while let Some(Ok(frame)) = frames.next_event() {
            let _ = decoder.decode(&frame, &mut events);
        }
        decoder.finish(&mut events);
        let _ = codec.parse_request(body.as_bytes(), None);
        let _ = codec.parse_reply(body.as_bytes());
        codec.parse_error(400, body.as_bytes());
    }
}
