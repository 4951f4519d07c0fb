//! Requests of other dialects, fitted to what Anthropic's API insists on.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use proptest::prelude::*;
use serde_json::{Number, Value, json};
use tidegate_wire::carry::Signature;
use tidegate_wire::conversation::{
    CacheMarker, Citation, Content, Conversation, Effort, FunctionTool, Media, MediaKind, MediaSource,
    Native, OutputFormat, Part, ReasoningRequest, Rest, Role, Tool, ToolCall, ToolChoice, ToolResult, Turn,
};
use tidegate_wire::{Dialect, RequestOptions, TargetTraits, ThinkingStyle};

fn conversation(turns: Vec<Turn>) -> Conversation {
    Conversation { turns, ..Conversation::new(Dialect::OpenAiChat, "asked") }
}

fn said(role: Role, text: &str) -> Turn {
    Turn::new(role, vec![Part::text(text)])
}

fn call(id: &str, arguments: &str) -> Part {
    Part::new(Content::ToolCall(ToolCall {
        id: id.into(),
        name: "look".into(),
        arguments: arguments.into(),
        free_text: false,
    }))
}

fn result(id: &str, text: &str) -> Part {
    let parts = if text.is_empty() { vec![] } else { vec![Part::text(text)] };
    Part::new(Content::ToolResult(ToolResult { call_id: id.into(), name: None, parts, is_error: false }))
}

fn thought(origin: Dialect) -> Part {
    Part {
        signature: Some(Signature::new(origin, "sig")),
        ..Part::new(Content::Reasoning { text: "Hm.".into() })
    }
}

fn tool() -> Tool {
    Tool::Function(FunctionTool {
        name: "look".into(),
        description: None,
        parameters: None,
        strict: None,
        cache: None,
        rest: Rest::new(),
    })
}

fn render(conversation: &Conversation, traits: &TargetTraits) -> (Value, Vec<String>) {
    let options = RequestOptions { model: "target", stream: false, traits };
    let rendered = Dialect::AnthropicMessages.codec().render_request(conversation, &options);
    (serde_json::from_slice(&rendered.body).unwrap(), rendered.losses.fields().map(str::to_owned).collect())
}

fn render_simply(conversation: &Conversation) -> (Value, Vec<String>) {
    render(conversation, &TargetTraits::default())
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

#[test]
fn system_turns_are_gathered_in_their_order_and_one_speaker_has_one_message() {
    let (body, losses) = render_simply(&conversation(vec![
        said(Role::System, "First."),
        said(Role::Developer, "Second."),
        said(Role::User, "A"),
        said(Role::User, "  "),
        said(Role::User, "B"),
        said(Role::System, "Third."),
        said(Role::Assistant, "C"),
        said(Role::User, "D"),
    ]));
    assert_eq!(body["system"], json!([text("First."), text("Second."), text("Third.")]));
    assert_eq!(
        body["messages"],
        json!([
            {"role": "user", "content": [text("A"), text("B")]},
            {"role": "assistant", "content": [text("C")]},
            {"role": "user", "content": [text("D")]},
        ])
    );
    assert_eq!(body["max_tokens"], 4096);
    assert_eq!(losses, ["messages[5].role"]);
}

#[test]
fn every_call_is_answered_once_and_first() {
    let mut asked = conversation(vec![
        said(Role::User, "Look"),
        Turn::new(Role::Assistant, vec![call("a:1", "{\"n\":1e400}"), call("b", "{broken"), call("c", "")]),
        Turn::new(
            Role::User,
            vec![Part::text("Well?"), result("b", "B"), result("a:1", "A"), result("b", "again")],
        ),
        Turn::new(Role::User, vec![result("stray", "S")]),
    ]);
    asked.tools = vec![tool()];
    let options = RequestOptions { model: "target", stream: false, traits: &TargetTraits::default() };
    let rendered = Dialect::AnthropicMessages.codec().render_request(&asked, &options);
    let body = String::from_utf8(rendered.body.to_vec()).unwrap();
    assert!(body.contains(r#""input":{"n":1e400}"#), "arguments stay as they were written: {body}");
    let body: Value = serde_json::from_str(&body.replace("1e400", "1")).unwrap();
    assert_eq!(
        body["messages"][1]["content"],
        json!([
            {"type": "tool_use", "id": "a_1", "name": "look", "input": {"n": 1}},
            {"type": "tool_use", "id": "b", "name": "look", "input": {"INVALID_JSON": "{broken"}},
            {"type": "tool_use", "id": "c", "name": "look", "input": {}},
        ])
    );
    let answers = body["messages"][2]["content"].as_array().unwrap();
    let ids: Vec<_> = answers.iter().filter_map(|block| block["tool_use_id"].as_str()).collect();
    assert_eq!(ids, ["b", "a_1", "c"]);
    assert_eq!(answers[2]["is_error"], true);
    assert!(answers[3..].iter().all(|block| block["type"] == "text"));
    for words in ["Well?", "again", "S"] {
        assert!(answers[3..].contains(&text(words)), "{words}");
    }
    assert_eq!(body["messages"].as_array().unwrap().len(), 3);
}

#[test]
fn calls_without_any_answer_get_one_before_the_conversation_goes_on() {
    let mut asked = conversation(vec![
        said(Role::User, "Look"),
        Turn::new(Role::Assistant, vec![call("a", "{}")]),
        said(Role::User, "Never mind"),
    ]);
    let (body, _) = render_simply(&asked);
    assert_eq!(body["messages"][2]["content"][0]["tool_use_id"], "a");
    assert_eq!(body["messages"][2]["content"][1], text("Never mind"));
    // The request offers no tools any more: they are named, and not to be called.
    assert_eq!(body["tools"], json!([{"name": "look", "input_schema": {"type": "object"}}]));
    assert_eq!(body["tool_choice"], json!({"type": "none"}));
    asked.tools = vec![tool()];
    let (body, _) = render_simply(&asked);
    assert_eq!(body.get("tool_choice"), None);
}

/// Reasoning wanted, as the cases below want it.
fn thinking(turns: Vec<Turn>) -> Conversation {
    Conversation {
        reasoning: Some(ReasoningRequest { effort: Some(Effort::Medium), ..ReasoningRequest::default() }),
        tools: vec![tool()],
        ..conversation(turns)
    }
}

fn tool_loop(first: Vec<Part>) -> Vec<Turn> {
    vec![
        said(Role::User, "Look"),
        Turn::new(Role::Assistant, [first, vec![call("a", "{}")]].concat()),
        Turn::new(Role::User, vec![result("a", "A")]),
        Turn::new(Role::Assistant, vec![call("b", "{}")]),
        Turn::new(Role::User, vec![result("b", "B")]),
    ]
}

#[test]
fn thinking_gives_way_where_the_api_would_refuse_it() {
    let own = || vec![thought(Dialect::AnthropicMessages)];
    let foreign = || vec![thought(Dialect::Gemini)];
    let finished =
        |first| [tool_loop(first), vec![said(Role::Assistant, "Done"), said(Role::User, "Go on")]].concat();
    let budget = TargetTraits::default();
    let level = TargetTraits { thinking: ThinkingStyle::Level, ..TargetTraits::default() };
    let none = TargetTraits { thinking: ThinkingStyle::None, ..TargetTraits::default() };
    let on = json!({"type": "enabled", "budget_tokens": 8192});
    let adaptive = json!({"type": "adaptive"});
    let forced = |turns| Conversation { tool_choice: Some(ToolChoice::Required), ..thinking(turns) };
    let plain = || vec![said(Role::User, "Hi")];
    let cases = [
        ("a first question", thinking(plain()), &budget, on.clone(), false),
        ("a model that does not think", thinking(plain()), &none, Value::Null, true),
        ("a loop begun with own thinking", thinking(tool_loop(own())), &budget, on.clone(), false),
        ("a loop begun elsewhere", thinking(tool_loop(foreign())), &budget, Value::Null, true),
        ("a loop whose thinking is gone", thinking(tool_loop(vec![])), &budget, Value::Null, true),
        ("a loop that is over", thinking(finished(vec![])), &budget, on, false),
        ("a forced call", forced(plain()), &budget, Value::Null, true),
        (
            "adaptive: a loop whose thinking is gone",
            thinking(tool_loop(vec![])),
            &level,
            adaptive.clone(),
            false,
        ),
        ("adaptive: a forced call", forced(plain()), &level, adaptive, false),
        (
            "an answer to be continued",
            thinking(vec![said(Role::User, "Hi"), said(Role::Assistant, "Well ")]),
            &budget,
            Value::Null,
            true,
        ),
    ];
    for (name, asked, traits, expected, is_lost) in cases {
        let (body, losses) = render(&asked, traits);
        assert_eq!(body["thinking"], expected, "{name}");
        assert_eq!(losses.contains(&"reasoning_effort".to_owned()), is_lost, "{name}: {losses:?}");
        if expected["budget_tokens"].is_u64() {
            assert!(body["max_tokens"].as_u64() > expected["budget_tokens"].as_u64(), "{name}");
        }
    }
}

#[test]
fn thinking_of_others_is_left_out_and_reported() {
    let (body, losses) = render_simply(&conversation(vec![
        said(Role::User, "Hi"),
        Turn::new(
            Role::Assistant,
            vec![thought(Dialect::Gemini), thought(Dialect::AnthropicMessages), Part::text("Yes")],
        ),
        said(Role::User, "Go on"),
    ]));
    let own = json!({"type": "thinking", "thinking": "Hm.", "signature": "sig"});
    assert_eq!(body["messages"][1]["content"], json!([own, text("Yes")]));
    assert_eq!(losses, ["messages[1].content[0]"]);
}

#[test]
fn budgets_and_limits_fit_together() {
    let wanted =
        |budget_tokens, effort| ReasoningRequest { budget_tokens, effort, ..ReasoningRequest::default() };
    // Budget, effort, the caller's limit, the model's limit; the budget and the limit written.
    let cases = [
        (Some(2_000), None, Some(1_000), None, 2_000, 3_000),
        (Some(100), None, Some(5_000), None, 1_024, 5_000),
        (Some(50_000), None, None, Some(32_000), 31_999, 32_000),
        (None, Some(Effort::High), Some(4_000), None, 2_000, 4_000),
        (None, Some(Effort::High), Some(500), None, 1_024, 1_524),
        (None, Some(Effort::Low), None, Some(64_000), 2_048, 64_000),
        (None, Some(Effort::Max), Some(100_000), Some(64_000), 32_000, 64_000),
    ];
    for (budget, effort, asked_for, limit, expected_budget, expected_limit) in cases {
        let asked = Conversation {
            reasoning: Some(wanted(budget, effort)),
            max_output_tokens: asked_for,
            ..conversation(vec![said(Role::User, "Hi")])
        };
        let traits = TargetTraits { max_output_tokens: limit, ..TargetTraits::default() };
        let (body, _) = render(&asked, &traits);
        let found = (body["thinking"]["budget_tokens"].as_u64(), body["max_tokens"].as_u64());
        assert_eq!(
            found,
            (Some(expected_budget), Some(expected_limit)),
            "{budget:?} {effort:?} {asked_for:?} {limit:?}"
        );
    }
}

#[test]
fn sampling_that_cannot_be_expressed_is_left_out_and_reported() {
    let number = |value: f64| Number::from_f64(value);
    let mut asked = conversation(vec![said(Role::User, "Hi")]);
    asked.sampling.temperature = number(1.7);
    asked.sampling.top_p = number(0.5);
    asked.sampling.seed = Some(7.into());
    asked.sampling.frequency_penalty = number(0.0);
    asked.stop = vec!["\n".into(), "END".into()];
    asked.choices = Some(2);
    asked.output = OutputFormat::Json;
    asked.service_tier = Some("flex".into());
    asked.rest.insert("store".into(), true.into());
    let (body, losses) = render_simply(&asked);
    assert_eq!(body["temperature"], 1);
    assert_eq!(body.get("top_p"), None);
    assert_eq!(body["stop_sequences"], json!(["END"]));
    assert_eq!(
        losses,
        ["temperature", "top_p", "response_format", "stop", "service_tier", "seed", "n", "store"]
    );

    // Thinking excludes a temperature other than 1.
    asked.reasoning = Some(ReasoningRequest { budget_tokens: Some(2_000), ..ReasoningRequest::default() });
    asked.sampling.temperature = number(0.3);
    let (body, losses) = render_simply(&asked);
    assert_eq!(body.get("temperature"), None);
    assert!(losses.contains(&"temperature".to_owned()));
}

#[test]
fn media_are_written_where_the_api_takes_them() {
    let media = |kind, media_type: &str, source| {
        Part::new(Content::Media(Media {
            kind,
            media_type: (!media_type.is_empty()).then(|| media_type.to_owned()),
            source,
            name: None,
            detail: None,
            transcript: None,
        }))
    };
    let base64 = |data: &str| MediaSource::Base64(data.into());
    let url = |url: &str| MediaSource::Url(url.into());
    let cases = [
        (
            media(MediaKind::Image, "image/png", base64("AA")),
            json!({"type": "base64", "media_type": "image/png", "data": "AA"}),
        ),
        (
            media(MediaKind::Image, "image/jpg", base64("AA")),
            json!({"type": "base64", "media_type": "image/jpeg", "data": "AA"}),
        ),
        (media(MediaKind::Image, "image/tiff", base64("AA")), Value::Null),
        (
            media(MediaKind::Image, "", url("https://a/b.png")),
            json!({"type": "url", "url": "https://a/b.png"}),
        ),
        (media(MediaKind::Image, "", url("gs://a/b.png")), Value::Null),
        (media(MediaKind::Image, "", MediaSource::FileId("file-1".into())), Value::Null),
        (
            media(MediaKind::Document, "application/pdf", base64("AA")),
            json!({"type": "base64", "media_type": "application/pdf", "data": "AA"}),
        ),
        (
            media(MediaKind::Document, "text/csv", base64("YSxi")),
            json!({"type": "text", "media_type": "text/plain", "data": "a,b"}),
        ),
        (media(MediaKind::Audio, "audio/wav", base64("AA")), Value::Null),
    ];
    for (part, expected) in cases {
        let shown = format!("{part:?}");
        let turn = Turn::new(Role::User, vec![Part::text("See"), part]);
        let (body, losses) = render_simply(&conversation(vec![turn]));
        assert_eq!(body["messages"][0]["content"][1]["source"], expected, "{shown}");
        assert_eq!(losses.contains(&"messages[0].content[1]".to_owned()), expected.is_null(), "{shown}");
    }
}

#[test]
fn a_model_that_cannot_continue_an_answer_is_asked_to_go_on() {
    let asked = conversation(vec![said(Role::User, "Hi"), said(Role::Assistant, "Well ")]);
    let (body, losses) = render_simply(&asked);
    assert_eq!(body["messages"][1]["content"], json!([text("Well")]));
    assert!(losses.is_empty());
    let (body, losses) = render(&asked, &TargetTraits { prefill: false, ..TargetTraits::default() });
    assert_eq!(body["messages"][2]["role"], "user");
    assert_eq!(losses, ["messages[1]"]);
}

#[test]
fn instructions_alone_become_the_users_words() {
    let (body, losses) = render_simply(&conversation(vec![said(Role::System, "Say hi")]));
    assert_eq!(body["messages"], json!([{"role": "user", "content": [text("Say hi")]}]));
    assert_eq!(body.get("system"), None);
    assert_eq!(losses, ["messages[0].role"]);
}

const HERE: Dialect = Dialect::AnthropicMessages;

fn words() -> impl Strategy<Value = String> {
    "[a-zA-Zäß\"\\\\\n ]{0,12}[a-z]"
}

fn id() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9_-]{1,9}"
}

fn cache() -> impl Strategy<Value = Option<CacheMarker>> {
    prop::option::of(prop::sample::select(vec![CacheMarker::Short, CacheMarker::Hour]))
}

fn rest() -> impl Strategy<Value = Rest> {
    prop::collection::vec((words().prop_map(|name| format!("x_{name}")), words()), 0..2)
        .prop_map(|entries| entries.into_iter().map(|(name, value)| (name, json!({ "a": value }))).collect())
}

fn text_part() -> impl Strategy<Value = Part> {
    let citation = words().prop_map(|cited| Citation {
        cited_text: Some(cited.clone()),
        native: Some(Native { dialect: HERE, value: json!({"type": "char_location", "cited_text": cited}) }),
        ..Citation::default()
    });
    (words(), prop::collection::vec(citation, 0..2), cache(), rest()).prop_map(
        |(text, citations, cache, rest)| Part { cache, rest, ..Part::new(Content::Text { text, citations }) },
    )
}

fn media_part() -> impl Strategy<Value = Part> {
    let kind = prop::sample::select(vec![MediaKind::Image, MediaKind::Document]);
    let source = prop_oneof![
        words().prop_map(MediaSource::Base64),
        words().prop_map(MediaSource::Url),
        words().prop_map(MediaSource::FileId),
    ];
    (kind, source, prop::option::of(words()), cache(), rest()).prop_map(
        |(kind, source, name, cache, rest)| {
            let media_type = matches!(source, MediaSource::Base64(_)).then(|| "image/png".to_owned());
            let name = name.filter(|_| kind == MediaKind::Document);
            let media = Media { kind, media_type, source, name, detail: None, transcript: None };
            Part { cache, rest, ..Part::new(Content::Media(media)) }
        },
    )
}

fn user_part() -> impl Strategy<Value = Part> {
    let inner = prop::collection::vec(prop_oneof![text_part(), media_part()], 0..2);
    let result =
        (id(), inner, any::<bool>(), cache(), rest()).prop_map(|(call_id, parts, is_error, cache, rest)| {
            // An error always has words.
            let is_error = is_error && !parts.is_empty();
            let result = ToolResult { call_id: format!("no-{call_id}"), name: None, parts, is_error };
            Part { cache, rest, ..Part::new(Content::ToolResult(result)) }
        });
    prop_oneof![text_part(), media_part(), result]
}

fn assistant_part() -> impl Strategy<Value = Part> {
    prop_oneof![
        text_part(),
        (words(), words()).prop_map(|(text, data)| Part {
            signature: Some(Signature::new(HERE, data)),
            ..Part::new(Content::Reasoning { text })
        }),
        words().prop_map(|data| Part {
            signature: Some(Signature::new(HERE, data)),
            ..Part::new(Content::RedactedReasoning)
        }),
        (id(), words(), words(), cache(), rest()).prop_map(|(id, name, value, cache, rest)| {
            let arguments = json!({ "value": value }).to_string();
            Part {
                cache,
                rest,
                ..Part::new(Content::ToolCall(ToolCall { id, name, arguments, free_text: false }))
            }
        }),
        words().prop_map(|value| {
            let value = json!({"type": "server_tool_use", "input": {"q": value}});
            Part::new(Content::Native(Native { dialect: HERE, value }))
        }),
    ]
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = |role| move |(parts, rest)| Turn { rest, ..Turn::new(role, parts) };
    let user = (prop::collection::vec(user_part(), 1..3), rest()).prop_map(turn(Role::User));
    let assistant = (prop::collection::vec(assistant_part(), 1..4), rest()).prop_map(turn(Role::Assistant));
    let system = (prop::collection::vec(text_part(), 1..3), rest()).prop_map(turn(Role::System));
    let instructions = prop::collection::vec(text_part(), 0..3);
    (instructions, prop::collection::vec(prop_oneof![user, assistant, system], 0..5)).prop_map(
        |(instructions, mut turns)| {
            // A system message cannot be the first.
            while turns.first().is_some_and(|turn| turn.role == Role::System) {
                turns.remove(0);
            }
            if !instructions.is_empty() {
                turns.insert(0, Turn::new(Role::System, instructions));
            }
            turns
        },
    )
}

prop_compose! {
    fn own_conversation()(
        turns in turns(), model in "[a-z]{1,8}", stream in any::<bool>(), limit in 1_u64..9_999,
        user in prop::option::of(words()), stop in prop::collection::vec(words(), 0..2), cache in cache(),
        tool_names in prop::collection::vec(words(), 1..3), strict in prop::option::of(any::<bool>()),
        choice in prop::option::of(prop::sample::select(vec![
            ToolChoice::Auto, ToolChoice::Required, ToolChoice::Function("look".to_owned()),
        ])),
        parallel in prop::option::of(any::<bool>()), tool_rest in rest(), rest in rest(),
        temperature in prop::option::of(0_u8..=1),
    ) -> Conversation {
        let tools = tool_names.into_iter().map(|name| Tool::Function(FunctionTool {
            name,
            description: None,
            parameters: Some(json!({"type": "object"})),
            strict,
            cache,
            rest: tool_rest.clone(),
        }));
        let mut conversation = Conversation {
            stream, include_usage: true, turns, user, stop, cache, rest,
            tools: tools.collect(),
            parallel_tool_calls: parallel.filter(|_| choice.is_some()),
            tool_choice: choice,
            max_output_tokens: Some(limit),
            ..Conversation::new(HERE, model)
        };
        conversation.sampling.temperature = temperature.map(Number::from);
        conversation
    }
}

proptest! {
    #[test]
    fn a_conversation_of_its_own_dialect_comes_back_the_same(asked in own_conversation()) {
        let codec = HERE.codec();
        let traits = TargetTraits::default();
        let options = RequestOptions { model: &asked.model, stream: asked.stream, traits: &traits };
        let rendered = codec.render_request(&asked, &options);
        prop_assert!(rendered.losses.is_empty(), "{:?}", rendered.losses);
        prop_assert_eq!(codec.parse_request(&rendered.body, None).unwrap(), asked);
    }
}
