//! Gemini's dialect, fixture by fixture: what is read from `fixtures/gemini`, and what is written from that, stands in
//! the snapshots beside it. A new case is a new file.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_wire::conversation::{
    Content, Conversation, Effort, Part, ReasoningRequest, Role, ToolCall, Turn,
};
use tidegate_wire::event::{Event, PartDelta, PartStart};
use tidegate_wire::framing::SseDecoder;
use tidegate_wire::reply::{Choice, Finish, FinishReason, Reply};
use tidegate_wire::{
    CallerError, Codec, Dialect, ErrorClass, Losses, PathFacts, ReplyError, ReplyOptions, RequestOptions,
    TargetTraits, ThinkingStyle, gemini,
};

fn codec() -> &'static dyn Codec {
    Dialect::Gemini.codec()
}

/// Calls `check` with every fixture of a kind, its snapshots going beside it.
fn each(kind: &str, check: impl Fn(&str, &[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/gemini").join(kind);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.is_file());
    files.sort();
    assert!(!files.is_empty());
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder.join("snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| {
        for file in files {
            check(file.file_stem().unwrap().to_str().unwrap(), &fs::read(&file).unwrap());
        }
    });
}

fn pretty(json: &[u8]) -> String {
    serde_json::to_string_pretty(&serde_json::from_slice::<Value>(json).unwrap()).unwrap()
}

fn losses(losses: &Losses) -> String {
    losses.fields().collect::<Vec<_>>().join("\n")
}

#[test]
fn requests_are_read_and_come_back() {
    each("requests", |name, body| {
        let facts = PathFacts { model: "gemini-x", stream: true };
        let conversation = codec().parse_request(body, Some(facts)).unwrap();
        let options = RequestOptions { model: "gemini-x", stream: true, traits: &TargetTraits::default() };
        let rendered = codec().render_request(&conversation, &options);
        assert!(rendered.losses.is_empty(), "{:?}", rendered.losses);
        assert_eq!(codec().parse_request(&rendered.body, Some(facts)).unwrap(), conversation);
        // Numbers beyond what a JSON reader keeps stay in the text.
        assert!(String::from_utf8_lossy(&rendered.body).contains("123456789012345678901234567890"));
        insta::assert_snapshot!(format!("{name}.read"), format!("{conversation:#?}"));
        insta::assert_snapshot!(format!("{name}.written"), pretty(&rendered.body));
    });
}

#[test]
fn requests_of_anthropics_callers_are_written_for_each_generation_of_models() {
    each("from_anthropic", |name, body| {
        let conversation = Dialect::AnthropicMessages.codec().parse_request(body, None).unwrap();
        for (model, thinking) in [
            ("gemini-3-pro", ThinkingStyle::Level),
            ("gemini-2.5-flash", ThinkingStyle::Budget),
            ("gemini-2.0-flash", ThinkingStyle::None),
        ] {
            let traits = TargetTraits { thinking, ..TargetTraits::default() };
            let rendered = codec()
                .render_request(&conversation, &RequestOptions { model, stream: true, traits: &traits });
            let text = format!("{}\n\nlost:\n{}", pretty(&rendered.body), losses(&rendered.losses));
            insta::assert_snapshot!(format!("{name}.{model}"), text);
        }
    });
}

#[test]
fn answers_are_read_and_come_back() {
    each("replies", |name, body| {
        let reply = codec().parse_reply(body).unwrap();
        let rendered = codec().render_reply(&reply, &ReplyOptions::default());
        assert_eq!(codec().parse_reply(&rendered).unwrap(), reply);
        insta::assert_snapshot!(format!("{name}.read"), format!("{reply:#?}"));
        insta::assert_snapshot!(format!("{name}.written"), pretty(&rendered));
    });
}

#[test]
fn streams_are_read_and_written_again() {
    each("streams", |name, bytes| {
        let mut frames = SseDecoder::new();
        frames.push(Bytes::copy_from_slice(bytes));
        let mut decoder = codec().decoder();
        let mut events = Vec::new();
        let mut lines = Vec::new();
        while let Some(frame) = frames.next_event() {
            if let Err(error) = decoder.decode(&frame.unwrap(), &mut events) {
                lines.push(format!("{error:#?}"));
            }
        }
        let is_complete = decoder.finish(&mut events);
        let mut encoder = codec().encoder(ReplyOptions::default());
        let mut written = Vec::new();
        for event in &events {
            lines.push(format!("{event:?}"));
            encoder.encode(event, &mut written);
        }
        let written = String::from_utf8(written).unwrap();
        lines.push(format!("complete: {is_complete}\n\nwritten:\n{written}"));
        let text = lines.join("\n");
        insta::assert_snapshot!(name, text);
    });
}

#[test]
fn errors_are_known_for_what_they_are() {
    each("errors", |_, cases| {
        for case in serde_json::from_slice::<Vec<Value>>(cases).unwrap() {
            let status = u16::try_from(case[1].as_u64().unwrap()).unwrap();
            let body = if case[2].is_null() { String::new() } else { case[2].to_string() };
            let error = codec().parse_error(status, body.as_bytes());
            assert_eq!(error.kind.as_str(), case[0].as_str().unwrap(), "{case}");
            assert!(!error.message.is_empty());
            if body.contains("34.4s") {
                assert_eq!(error.retry_after, Some(Duration::from_millis(34_400)));
            }
            if body.contains("contents[0].parts") {
                assert_eq!(error.param.as_deref(), Some("contents[0].parts"));
            }
        }
    });
}

#[test]
fn an_error_for_a_caller_is_what_the_sdks_raise() {
    let error = CallerError {
        status: 429,
        class: ErrorClass::RateLimit,
        message: "too fast".into(),
        code: Some("rate_limited".into()),
        param: None,
        request_id: Some("req".into()),
    };
    let body: Value = serde_json::from_slice(&codec().render_error(&error)).unwrap();
    assert_eq!(body["error"]["code"], 429);
    assert_eq!(body["error"]["status"], "RESOURCE_EXHAUSTED");
    // Python looks for the very beginning of the frame's object.
    assert!(codec().render_error_event(&error).starts_with(br#"data: {"error":{"code":429,"#));
}

fn asking(reasoning: ReasoningRequest) -> Conversation {
    let mut conversation = Conversation::new(Dialect::OpenAiChat, "m");
    conversation.turns.push(Turn::new(Role::User, vec![Part::text("hi")]));
    conversation.reasoning = Some(reasoning);
    conversation
}

#[test]
fn effort_and_budget_become_what_the_model_takes() {
    let effort = |effort| ReasoningRequest { effort: Some(effort), ..ReasoningRequest::default() };
    let budget = |budget| ReasoningRequest { budget_tokens: Some(budget), ..ReasoningRequest::default() };
    let off = ReasoningRequest { enabled: Some(false), ..ReasoningRequest::default() };
    let on = ReasoningRequest { enabled: Some(true), ..ReasoningRequest::default() };
    let (level, tokens, none) = (ThinkingStyle::Level, ThinkingStyle::Budget, ThinkingStyle::None);
    for (request, style, model, expected, is_lost) in [
        (effort(Effort::Medium), level, "gemini-3-flash", json!({"thinkingLevel": "MEDIUM"}), false),
        (effort(Effort::Minimal), level, "gemini-3-flash", json!({"thinkingLevel": "MINIMAL"}), false),
        (effort(Effort::Minimal), level, "gemini-3-pro", json!({"thinkingLevel": "LOW"}), false),
        (effort(Effort::Max), level, "gemini-3-pro", json!({"thinkingLevel": "HIGH"}), true),
        (off.clone(), level, "gemini-3-pro", json!({"thinkingLevel": "LOW"}), true),
        (budget(1_024), level, "gemini-3-flash", json!({"thinkingLevel": "MINIMAL"}), false),
        (on.clone(), level, "gemini-3-pro", Value::Null, false),
        (effort(Effort::Low), tokens, "gemini-2.5-flash", json!({"thinkingBudget": 2_048}), false),
        (effort(Effort::Max), tokens, "gemini-2.5-flash", json!({"thinkingBudget": 24_576}), false),
        (effort(Effort::Max), tokens, "gemini-2.5-pro", json!({"thinkingBudget": 32_768}), false),
        (off.clone(), tokens, "gemini-2.5-flash", json!({"thinkingBudget": 0}), false),
        (off.clone(), tokens, "gemini-2.5-pro", json!({"thinkingBudget": 128}), true),
        (on, tokens, "gemini-2.5-pro", json!({"thinkingBudget": -1}), false),
        (off, none, "gemini-2.0-flash", Value::Null, false),
        (effort(Effort::High), none, "gemini-2.0-flash", Value::Null, true),
    ] {
        let traits = TargetTraits { thinking: style, ..TargetTraits::default() };
        let options = RequestOptions { model, stream: false, traits: &traits };
        let rendered = codec().render_request(&asking(request.clone()), &options);
        let mut body: Value = serde_json::from_slice(&rendered.body).unwrap();
        let config = &mut body["generationConfig"]["thinkingConfig"];
        let shows_thoughts = config.as_object_mut().and_then(|config| config.remove("includeThoughts"));
        let is_off = request.enabled == Some(false) || style == ThinkingStyle::None;
        // Callers of OpenAI's dialect have no field to ask for the text; they get it with the reasoning.
        assert_eq!(shows_thoughts, (!is_off).then_some(Value::Bool(true)), "{request:?} {model}");
        let config =
            if config.as_object().is_some_and(serde_json::Map::is_empty) { &Value::Null } else { &*config };
        assert_eq!(*config, expected, "{request:?} {model}");
        assert_eq!(!rendered.losses.is_empty(), is_lost, "{request:?} {model}");
    }
}

#[test]
fn a_call_with_broken_arguments_is_reported_as_google_reports_its_own() {
    let call = |arguments: &str| {
        Part::new(Content::ToolCall(ToolCall {
            id: "c".into(),
            name: "f".into(),
            arguments: arguments.into(),
            free_text: false,
        }))
    };
    let mut reply = Reply::new(Dialect::OpenAiChat);
    reply.choices.push(Choice {
        parts: vec![Part::text("see"), call("{\"a\": 1"), call("{\"a\": 1}")],
        finish: Some(Finish::new(FinishReason::ToolCalls)),
        ..Choice::default()
    });
    let body: Value =
        serde_json::from_slice(&codec().render_reply(&reply, &ReplyOptions::default())).unwrap();
    let candidate = &body["candidates"][0];
    assert_eq!(candidate["finishReason"], "MALFORMED_FUNCTION_CALL");
    assert_eq!(candidate["finishMessage"], "Malformed function call: f({\"a\": 1)");
    assert_eq!(candidate["content"]["parts"].as_array().unwrap().len(), 2);
}

#[test]
fn calls_go_out_whole_and_in_their_order_however_their_arguments_are_mixed() {
    let start = |part, id: &str| Event::PartStart {
        choice: 0,
        part,
        start: PartStart::ToolCall { id: id.into(), name: id.into(), free_text: false, signature: None },
    };
    let more =
        |part, text: &str| Event::PartDelta { choice: 0, part, delta: PartDelta::Arguments(text.into()) };
    let end = |part| Event::PartEnd { choice: 0, part };
    let mut out = Vec::new();
    let mut encoder = gemini::json_array_encoder(ReplyOptions::default());
    for event in [
        Event::Start { id: "r".into(), model: "m".into(), created: None },
        start(0, "a"),
        start(1, "b"),
        more(1, "{\"x\":"),
        more(0, "{}"),
        more(1, "2}"),
        end(1),
        end(0),
        Event::Finish {
            choice: 0,
            finish: Finish::new(FinishReason::ToolCalls),
            rest: tidegate_wire::conversation::Rest::default(),
        },
        Event::End,
    ] {
        encoder.encode(&event, &mut out);
    }
    let frames: Vec<Value> = serde_json::from_slice(&out).unwrap();
    let part = |frame: usize| &frames[frame]["candidates"][0]["content"]["parts"][0];
    assert_eq!(part(0)["functionCall"], json!({"id": "a", "name": "a", "args": {}}));
    assert_eq!(part(1)["functionCall"], json!({"id": "b", "name": "b", "args": {"x": 2}}));
    assert_eq!(frames[2]["candidates"][0]["finishReason"], "STOP");
    assert_eq!(frames.len(), 3);
}

#[test]
fn what_is_no_request_is_refused_with_the_field_at_fault() {
    let facts = Some(PathFacts { model: "gemini-x", stream: false });
    for (body, param) in [
        ("{}", Some("contents")),
        (r#"{"contents": null}"#, Some("contents")),
        (r#"{"contents": [{"role": "system", "parts": []}]}"#, Some("contents[0].role")),
        (
            r#"{"contents": [], "generationConfig": {"maxOutputTokens": -1}}"#,
            Some("generationConfig.maxOutputTokens"),
        ),
        ("[]", None),
        ("", None),
        (r#"{"contents": 5}"#, None),
    ] {
        let error = codec().parse_request(body.as_bytes(), facts).unwrap_err();
        assert_eq!(error.param.as_deref(), param, "{body}: {error}");
    }
    assert_eq!(
        codec().parse_request(b"{\"contents\":[]}", None).unwrap_err().param.as_deref(),
        Some("model")
    );
}

#[test]
fn an_answer_that_says_nothing_is_no_empty_success() {
    for body in
        ["{}", r#"{"candidates": []}"#, r#"{"candidates": [{"index": 0, "content": {"role": "model"}}]}"#]
    {
        assert!(matches!(codec().parse_reply(body.as_bytes()), Err(ReplyError::Malformed { .. })), "{body}");
    }
}
