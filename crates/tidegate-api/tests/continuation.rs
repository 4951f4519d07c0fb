//! Who goes on with a broken stream, how it is asked, and when nobody can: against providers that follow a script.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_store::{NewKey, Outcome};
use tidegate_testkit::{
    Client, Received, ScriptedProvider, Step, TestGateway, event_stream, json_answer, open_stream,
};

/// One event of OpenAI's.
fn chunk(delta: &Value, finish: Option<&str>) -> String {
    let chunk = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
    format!("data: {chunk}\n\n")
}

fn say(text: &str) -> String {
    chunk(&json!({"content": text}), None)
}

/// A whole stream of OpenAI's that says these pieces.
fn openai(pieces: &[&str]) -> Vec<Step> {
    let mut events = vec![chunk(&json!({"role": "assistant", "content": ""}), None)];
    events.extend(pieces.iter().map(|piece| say(piece)));
    events.push(chunk(&json!({}), Some("stop")));
    let usage = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}});
    events.push(format!("data: {usage}\n\n"));
    events.push("data: [DONE]\n\n".to_owned());
    event_stream(&events.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The same, closed after the pieces.
fn openai_cut(pieces: &[&str]) -> Vec<Step> {
    openai_open(pieces, Step::Close)
}

fn openai_open(pieces: &[&str], then: Step) -> Vec<Step> {
    let mut events = vec![chunk(&json!({"role": "assistant", "content": ""}), None)];
    events.extend(pieces.iter().map(|piece| say(piece)));
    let mut steps = open_stream(&events.iter().map(String::as_str).collect::<Vec<_>>());
    steps.push(then);
    steps
}

fn anthropic_event(value: &Value) -> String {
    format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap())
}

/// A whole stream of Anthropic's that says these pieces.
fn anthropic(pieces: &[&str]) -> Vec<Step> {
    let mut events = vec![
        anthropic_event(&json!({"type": "message_start", "message": {"id": "msg_2", "type": "message",
            "role": "assistant", "model": "claude", "content": [], "stop_reason": null, "stop_sequence": null,
            "usage": {"input_tokens": 100, "output_tokens": 1}}})),
        anthropic_event(&json!({"type": "content_block_start", "index": 0,
            "content_block": {"type": "text", "text": ""}})),
    ];
    events.extend(pieces.iter().map(|piece| {
        anthropic_event(&json!({"type": "content_block_delta", "index": 0,
            "delta": {"type": "text_delta", "text": piece}}))
    }));
    events.push(anthropic_event(&json!({"type": "content_block_stop", "index": 0})));
    events.push(anthropic_event(&json!({"type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": {"output_tokens": 50}})));
    events.push(anthropic_event(&json!({"type": "message_stop"})));
    event_stream(&events.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Providers of these kinds, asked in order for the model `m`.
async fn gateway(more: &str, providers: &[(&str, &str, &ScriptedProvider)]) -> (TestGateway, Client) {
    let mut yaml = format!(
        "timeout: {{ connect: 5s, first_token: 5s, idle: 500ms, total: 30s }}\nretry: {{ attempts: 1, backoff: 1ms..2ms }}\n{more}providers:\n"
    );
    let mut targets = Vec::new();
    for (number, (kind, model, provider)) in providers.iter().enumerate() {
        let path = if *kind == "anthropic" || *kind == "gemini" { "" } else { "/v1" };
        let url = provider.url();
        writeln!(yaml, "  p{number}: {{ kind: {kind}, base_url: \"{url}{path}\", api_key: k }}").unwrap();
        targets.push(format!("p{number}/{model}"));
    }
    writeln!(yaml, "models:\n  m: {{ targets: [{}] }}", targets.join(", ")).unwrap();
    let gateway = TestGateway::start(&yaml).await;
    let client = Client::new(gateway.address());
    (gateway, client)
}

fn question(more: &Value) -> Value {
    let mut body = json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": "Hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn ask(client: &Client, more: &Value) -> Received {
    client.post("/v1/chat/completions", &question(more)).await
}

fn text(received: &Received) -> String {
    let events = received.events();
    let values = events.iter().filter_map(|event| serde_json::from_str::<Value>(event).ok());
    values.filter_map(|value| value["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect()
}

fn error(received: &Received) -> String {
    let events = received.events();
    let last: Value = serde_json::from_str(events.last().expect("events")).unwrap_or_default();
    last["error"]["message"].as_str().unwrap_or_default().to_owned()
}

const TOLD: [&str; 3] = ["The tide ", "rises at ", "seven "];
const WHOLE: &str = "The tide rises at seven and falls at one.";

#[tokio::test]
async fn a_target_that_takes_the_beginning_of_an_answer_is_given_it_and_goes_on() {
    let first = ScriptedProvider::start([openai_cut(&TOLD)]).await;
    // The space at the end was not given to it: that would be refused.
    let second = ScriptedProvider::start([anthropic(&[" and ", "falls at one."])]).await;
    let targets = [("openai", "gpt-4o-mini", &first), ("anthropic", "claude-haiku-4-5", &second)];
    let (gateway, client) = gateway("", &targets).await;
    let received = ask(&client, &json!({"max_tokens": 100, "stream_options": {"include_usage": true}})).await;
    assert_eq!(text(&received), WHOLE, "{}", received.text());
    assert!(received.text().ends_with("data: [DONE]\n\n"), "{}", received.text());
    let asked = second.arrived().remove(0).json();
    let messages = asked["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 2, "{asked}");
    assert_eq!(messages[1]["role"], "assistant");
    assert!(messages[1].to_string().contains("The tide rises at seven\""), "{asked}");
    assert_eq!(asked["max_tokens"], 97, "what was said counts");
    // One answer: its id, one role, one usage that is the sum.
    assert_eq!(received.text().matches("\"role\"").count(), 1, "{}", received.text());
    assert!(!received.text().contains("msg_2"), "{}", received.text());
    let events = received.events();
    let usage: Vec<Value> = events
        .iter()
        .filter_map(|event| serde_json::from_str::<Value>(event).ok())
        .filter(|event| event["usage"].is_object())
        .collect();
    assert_eq!(usage.len(), 1, "{}", received.text());
    let call = gateway.calls_when(1).await.remove(0);
    assert_eq!(call.outcome, Outcome::Answered);
    assert_eq!(usage[0]["usage"]["completion_tokens"], 53);
    assert_eq!(call.usage.output, 53);
    assert_eq!(usage[0]["usage"]["prompt_tokens"], call.usage.input);
    assert!(call.usage.input > 100, "both have read the question");
    let attempts: Vec<_> =
        call.attempts.iter().map(|it| (it.target.as_str(), it.failure.as_deref())).collect();
    assert_eq!(attempts, [("p0/gpt-4o-mini", Some("truncated")), ("p1/claude-haiku-4-5", None)]);
    // 100 and 50 tokens of Haiku at $1 and $5, and what the first has said at its own price.
    let cost = call.cost_nanodollars.unwrap();
    assert!(cost > 350_000 && cost < 360_000, "{cost}");
}

#[tokio::test]
async fn a_target_that_refuses_the_beginning_of_an_answer_is_asked_anew_and_what_was_told_is_passed_over() {
    for (kind, model) in
        [("anthropic", "claude-opus-4-6"), ("anthropic", "claude-unheard-of"), ("openai", "gpt-4o")]
    {
        let first = ScriptedProvider::start([openai_cut(&TOLD)]).await;
        let pieces = ["The ", "tide rises", " at seven and", " falls at one."];
        let answer = if kind == "openai" { openai(&pieces) } else { anthropic(&pieces) };
        let second = ScriptedProvider::start([answer]).await;
        let (gateway, client) =
            gateway("", &[("openai", "gpt-4o-mini", &first), (kind, model, &second)]).await;
        let received = ask(&client, &json!({})).await;
        assert_eq!(text(&received), WHOLE, "{model}: {}", received.text());
        let asked = second.arrived().remove(0).json();
        assert_eq!(asked["messages"].as_array().unwrap().len(), 1, "{asked}");
        assert!(!asked.to_string().contains("tide"), "{asked}");
        assert_eq!(gateway.calls_when(1).await[0].outcome, Outcome::Answered);
    }
}

/// Anthropic's words to a conversation that ends with the assistant's turn, from models on that take none.
/// <https://github.com/smallmain/vscode-unify-chat-provider/issues/249>
fn no_prefill() -> Vec<Step> {
    let message = "This model does not support assistant message prefill. The conversation must end with a user message.";
    json_answer(
        400,
        &[],
        &json!({"type": "error", "error": {"type": "invalid_request_error", "message": message}}),
    )
}

#[tokio::test]
async fn a_target_that_turns_out_to_refuse_the_beginning_is_asked_anew_at_once_and_given_none_again() {
    let first = ScriptedProvider::start([openai_cut(&TOLD)]).await;
    let anew = anthropic(&["The tide rises", " at seven and", " falls at one."]);
    let second = ScriptedProvider::start([no_prefill(), anew]).await;
    let targets = [("openai", "gpt-4o-mini", &first), ("anthropic", "claude-haiku-4-5", &second)];
    let (gateway, client) = gateway("", &targets).await;
    for _ in 0..2 {
        let received = ask(&client, &json!({})).await;
        assert_eq!(text(&received), WHOLE, "{}", received.text());
        assert!(received.text().ends_with("data: [DONE]\n\n"), "{}", received.text());
    }
    let turns: Vec<usize> =
        second.arrived().iter().map(|asked| asked.json()["messages"].as_array().unwrap().len()).collect();
    assert_eq!(turns, [2, 1, 1], "the second call knows that it takes none");
    let calls = gateway.calls_when(2).await;
    let mut failures: Vec<Vec<_>> =
        calls.iter().map(|call| call.attempts.iter().map(|it| it.failure.as_deref()).collect()).collect();
    failures.sort();
    assert_eq!(failures, [vec![Some("truncated"), None], vec![Some("truncated"), Some("bad_request"), None]]);
}

#[tokio::test]
async fn a_target_that_will_not_have_the_request_at_all_leaves_the_recovery_to_the_next() {
    let first = ScriptedProvider::start([openai_cut(&TOLD)]).await;
    let refusal =
        json!({"type": "error", "error": {"type": "invalid_request_error", "message": "tools: too many"}});
    let second = ScriptedProvider::start([json_answer(400, &[], &refusal)]).await;
    let third = ScriptedProvider::start([anthropic(&[" and ", "falls at one."])]).await;
    let targets = [
        ("openai", "gpt-4o-mini", &first),
        ("anthropic", "claude-haiku-4-5", &second),
        ("anthropic", "claude-haiku-4-5", &third),
    ];
    let (_gateway, client) = gateway("", &targets).await;
    for number in 1..=2 {
        let received = ask(&client, &json!({})).await;
        assert_eq!(text(&received), WHOLE, "{}", received.text());
        // Once with the beginning and once without, each time: that was not what it minded.
        assert_eq!(second.arrived().len(), 2 * number);
        assert_eq!(third.arrived().len(), number);
    }
}

#[tokio::test]
async fn a_beginning_that_is_said_again_is_recognised() {
    for (kind, model, marks_prefix) in
        [("mistral", "mistral-large-latest", true), ("anthropic", "claude-haiku-4-5", false)]
    {
        let first = ScriptedProvider::start([openai_cut(&TOLD)]).await;
        let pieces = ["The tide", " rises at seven and falls", " at one."];
        let answer = if kind == "mistral" { openai(&pieces) } else { anthropic(&pieces) };
        let second = ScriptedProvider::start([answer]).await;
        let (_gateway, client) =
            gateway("", &[("openai", "gpt-4o-mini", &first), (kind, model, &second)]).await;
        let received = ask(&client, &json!({})).await;
        assert_eq!(text(&received), WHOLE, "{model}: {}", received.text());
        let asked = second.arrived().remove(0).json();
        assert_eq!(asked["messages"][1]["role"], "assistant", "{asked}");
        assert_eq!(asked["messages"][1]["prefix"] == true, marks_prefix, "{asked}");
    }
}

#[tokio::test]
async fn an_answer_that_departs_ends_with_an_error_that_says_so() {
    let first = ScriptedProvider::start([openai_cut(&TOLD)]).await;
    let second = ScriptedProvider::start([openai(&["The tide ", "falls at one."])]).await;
    let third = ScriptedProvider::start([openai(&["never asked"])]).await;
    let targets =
        [("openai", "gpt-4o-mini", &first), ("openai", "gpt-4o", &second), ("openai", "gpt-4.1", &third)];
    let (gateway, client) = gateway("", &targets).await;
    let received = ask(&client, &json!({})).await;
    assert_eq!(text(&received), TOLD.concat(), "nothing of the other answer is shown");
    assert!(error(&received).contains("p0/gpt-4o-mini broke its answer off"), "{}", received.text());
    assert!(error(&received).contains("p1/gpt-4o was asked to go on"), "{}", received.text());
    assert!(!received.text().contains("[DONE]"), "{}", received.text());
    assert!(third.arrived().is_empty());
    let call = gateway.calls_when(1).await.remove(0);
    assert_eq!((call.outcome, call.failure.as_deref()), (Outcome::Failed, Some("truncated")));
    assert_eq!(call.attempts.len(), 2);
    assert!(call.usage.output >= 4, "both are billed: {:?}", call.usage);
}

#[tokio::test]
async fn failures_of_those_that_go_on_move_on_to_the_next_and_a_continuation_that_breaks_goes_on_too() {
    let first = ScriptedProvider::start([openai_cut(&["The tide "])]).await;
    let limited =
        json!({"error": {"message": "slow down", "type": "rate_limit_error", "code": "rate_limit_exceeded"}});
    let second = ScriptedProvider::start([json_answer(429, &[("retry-after", "60")], &limited)]).await;
    let refused =
        json!({"error": {"message": "bad key", "type": "invalid_request_error", "code": "invalid_api_key"}});
    let third = ScriptedProvider::start([json_answer(401, &[], &refused)]).await;
    let fourth = ScriptedProvider::start([openai_open(&["The tide rises ", "at "], Step::Hang)]).await;
    let fifth =
        ScriptedProvider::start([openai(&["The", " tide rises at seven", " and falls at one."])]).await;
    let targets = [
        ("openai", "gpt-4o-mini", &first),
        ("openai", "gpt-4o", &second),
        ("openai", "gpt-4.1", &third),
        ("openai", "gpt-4.1-mini", &fourth),
        ("openai", "gpt-4.1-nano", &fifth),
    ];
    let (gateway, client) = gateway("", &targets).await;
    let received = ask(&client, &json!({})).await;
    assert_eq!(text(&received), WHOLE, "{}", received.text());
    assert!(fourth.hung_up(1).await, "the silent one is left");
    let call = gateway.calls_when(1).await.remove(0);
    assert_eq!(call.outcome, Outcome::Answered);
    let failures: Vec<_> = call.attempts.iter().map(|attempt| attempt.failure.as_deref()).collect();
    assert_eq!(
        failures,
        [Some("truncated"), Some("rate_limited"), Some("credentials"), Some("stalled"), None]
    );
    assert_eq!(call.upstream_model.as_deref(), Some("gpt-4.1-nano"));
}

#[tokio::test]
async fn where_everybody_else_fails_the_caller_is_told_who_broke_it_off_and_who_could_not_go_on() {
    let first = ScriptedProvider::start([openai_cut(&TOLD)]).await;
    let failing = json!({"error": {"message": "the second is down", "type": "server_error"}});
    let second = ScriptedProvider::start([json_answer(500, &[], &failing)]).await;
    let (gateway, client) =
        gateway("", &[("openai", "gpt-4o-mini", &first), ("openai", "gpt-4o", &second)]).await;
    let received = ask(&client, &json!({})).await;
    assert_eq!(text(&received), TOLD.concat());
    let message = error(&received);
    assert!(message.contains("p0/gpt-4o-mini broke its answer off"), "{message}");
    assert!(message.contains("the second is down"), "{message}");
    let call = gateway.calls_when(1).await.remove(0);
    assert_eq!((call.outcome, call.failure.as_deref()), (Outcome::Failed, Some("truncated")));
    assert!(call.usage.output >= 3 && call.cost_nanodollars.is_some(), "{call:?}");
}

#[tokio::test]
async fn answers_that_only_their_own_model_can_give_end_in_an_error_and_nobody_is_asked() {
    for more in [
        json!({"n": 2}),
        json!({"logprobs": true}),
        json!({"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}),
    ] {
        let first = ScriptedProvider::start([openai_cut(&TOLD)]).await;
        let second = ScriptedProvider::start([openai(&[WHOLE])]).await;
        let (gateway, client) =
            gateway("", &[("openai", "gpt-4o-mini", &first), ("openai", "gpt-4o", &second)]).await;
        let received = ask(&client, &more).await;
        // A call may have needs that leave one target only; then it is an ordinary broken stream.
        if received.status != 200 {
            continue;
        }
        assert!(error(&received).contains("broke its answer off"), "{more}: {}", received.text());
        assert!(!received.text().contains("[DONE]"), "{}", received.text());
        assert!(second.arrived().is_empty(), "{more}");
        assert_eq!(gateway.calls_when(1).await[0].outcome, Outcome::Failed);
    }
}

#[tokio::test]
async fn where_the_configuration_says_error_nobody_is_asked() {
    let first = ScriptedProvider::start([openai_cut(&TOLD)]).await;
    let second = ScriptedProvider::start([openai(&[WHOLE])]).await;
    let targets = [("openai", "gpt-4o-mini", &first), ("openai", "gpt-4o", &second)];
    let (_gateway, client) = gateway("stream: { recovery: error }\n", &targets).await;
    let received = ask(&client, &json!({})).await;
    assert_eq!(text(&received), TOLD.concat());
    assert!(error(&received).contains("broke its answer off"), "{}", received.text());
    assert!(second.arrived().is_empty());
}

#[tokio::test]
async fn structured_output_is_matched_and_never_asked_to_be_continued() {
    let first = ScriptedProvider::start([openai_cut(&["{\"city\": ", "\"Kö"])]).await;
    let second = ScriptedProvider::start([anthropic(&["{\"city\":\"Köln\",", "\"days\":3}"])]).await;
    let (_gateway, client) =
        gateway("", &[("openai", "gpt-4o-mini", &first), ("anthropic", "claude-haiku-4-5", &second)]).await;
    let schema = json!({"type": "object", "additionalProperties": false, "required": ["city", "days"],
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}});
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "w", "strict": true, "schema": schema}});
    let received = ask(&client, &json!({"response_format": format})).await;
    let value: Value = serde_json::from_str(&text(&received)).expect("one JSON text");
    assert_eq!(value, json!({"city": "Köln", "days": 3}));
    let asked = second.arrived().remove(0).json();
    assert_eq!(asked["messages"].as_array().unwrap().len(), 1, "{asked}");
}

#[tokio::test]
async fn a_caller_who_hangs_up_while_somebody_is_sought_cancels_whoever_is_asked() {
    let first = ScriptedProvider::start([openai_cut(&TOLD)]).await;
    let second = ScriptedProvider::start([vec![Step::Hang]]).await;
    let (gateway, client) =
        gateway("", &[("openai", "gpt-4o-mini", &first), ("openai", "gpt-4o", &second)]).await;
    let body = question(&json!({})).to_string();
    let response = client.send(http::Method::POST, "/v1/chat/completions", body.into()).await;
    for _ in 0..100 {
        if !second.arrived().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(response);
    assert!(second.hung_up(1).await, "the second provider's connection is closed");
    let call = gateway.calls_when(1).await.remove(0);
    assert_eq!(call.outcome, Outcome::Cancelled);
    assert!(call.usage.output >= 3, "what the first has said is billed: {:?}", call.usage);
    let failures: Vec<_> = call.attempts.iter().map(|attempt| attempt.failure.as_deref()).collect();
    assert_eq!(failures, [Some("truncated"), Some("cancelled")]);
}

#[tokio::test]
async fn the_deadline_of_the_call_bounds_continuations_as_well() {
    let first = ScriptedProvider::start([openai_cut(&TOLD)]).await;
    let second = ScriptedProvider::start([vec![Step::Hang]]).await;
    let (gateway, client) =
        gateway("", &[("openai", "gpt-4o-mini", &first), ("openai", "gpt-4o", &second)]).await;
    let client = client.with_header("x-tidegate-timeout", "700ms");
    let received = ask(&client, &json!({})).await;
    assert!(received.took < Duration::from_secs(20), "{:?}", received.took);
    assert!(error(&received).contains("broke its answer off"), "{}", received.text());
    assert_eq!(gateway.calls_when(1).await[0].outcome, Outcome::Failed);
}

#[tokio::test]
async fn a_silent_stream_that_had_said_everything_is_complete() {
    let mut events = vec![chunk(&json!({"role": "assistant", "content": ""}), None)];
    events.extend([say(WHOLE), chunk(&json!({}), Some("stop"))]);
    let mut steps = open_stream(&events.iter().map(String::as_str).collect::<Vec<_>>());
    steps.push(Step::Hang);
    let first = ScriptedProvider::start([steps]).await;
    let second = ScriptedProvider::start([openai(&["never asked"])]).await;
    let (gateway, client) =
        gateway("", &[("openai", "gpt-4o-mini", &first), ("openai", "gpt-4o", &second)]).await;
    let received = ask(&client, &json!({})).await;
    assert_eq!(text(&received), WHOLE);
    assert!(received.text().ends_with("data: [DONE]\n\n"), "{}", received.text());
    assert!(second.arrived().is_empty());
    assert_eq!(gateway.calls_when(1).await[0].outcome, Outcome::Answered);
}

#[tokio::test]
async fn a_stream_goes_on_only_where_a_hard_budget_has_room_for_another_answer() {
    // The question and 100 tokens cost at most some 80 millionths of a dollar.
    for (usd, goes_on) in [("0.0001", false), ("0.001", true)] {
        let first = ScriptedProvider::start([openai_cut(&TOLD)]).await;
        let second = ScriptedProvider::start([openai(&[WHOLE])]).await;
        let targets = [("openai", "gpt-4o-mini", &first), ("openai", "gpt-4o-mini-2024-07-18", &second)];
        let (gateway, client) = gateway("", &targets).await;
        let limits = json!({"budgets": [{"usd": usd, "per": "month"}]});
        let key = gateway
            .key(NewKey { limits: serde_json::from_value(limits).unwrap(), ..NewKey::default() })
            .await;
        let client = client.with_header("authorization", &format!("Bearer {}", key.expose()));
        let received = ask(&client, &json!({"max_tokens": 100})).await;
        assert_eq!(received.status, 200, "{}", received.text());
        if goes_on {
            assert_eq!(text(&received), WHOLE, "{}", received.text());
        } else {
            assert_eq!(text(&received), TOLD.concat());
            assert!(error(&received).contains("a budget has no room"), "{}", received.text());
            assert!(second.arrived().is_empty());
        }
    }
}

#[tokio::test]
async fn a_caller_whose_stream_is_a_json_array_sees_one_array() {
    let frame = |text: &str, finish: Option<&str>| {
        let mut candidate = json!({"content": {"role": "model", "parts": [{"text": text}]}, "index": 0});
        if let Some(finish) = finish {
            candidate["finishReason"] = finish.into();
        }
        let frame = json!({"candidates": [candidate], "modelVersion": "gemini-2.5-flash", "responseId": "r",
            "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 3, "totalTokenCount": 13}});
        format!("data: {frame}\n\n")
    };
    let mut steps = open_stream(&[&frame("The tide ", None), &frame("rises at seven ", None)]);
    steps.push(Step::Close);
    let first = ScriptedProvider::start([steps]).await;
    let second = ScriptedProvider::start([event_stream(&[
        &frame(" and ", None),
        &frame("falls at one.", Some("STOP")),
    ])])
    .await;
    let targets = [("gemini", "gemini-3.8-flash", &first), ("gemini", "gemini-2.5-flash", &second)];
    let (_gateway, client) = gateway("", &targets).await;
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]});
    let received = client.post("/v1beta/models/m:streamGenerateContent", &body).await;
    let elements = received.json();
    let elements = elements.as_array().expect("one array");
    let texts = elements.iter().filter_map(|it| it["candidates"][0]["content"]["parts"][0]["text"].as_str());
    assert_eq!(texts.collect::<String>(), WHOLE, "{}", received.text());
    assert_eq!(elements.last().unwrap()["candidates"][0]["finishReason"], "STOP");
    let asked = second.arrived().remove(0).json();
    assert_eq!(asked["contents"][1]["role"], "model", "{asked}");
    assert_eq!(asked["contents"][1]["parts"][0]["text"], "The tide rises at seven");
}

#[tokio::test]
async fn half_a_call_is_never_given_to_be_continued_and_said_anew_it_is_completed() {
    let tools =
        json!([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]);
    let call = |arguments: &str| {
        chunk(&json!({"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]}), None)
    };
    let begin = chunk(
        &json!({"tool_calls": [{"index": 0, "id": "call_first", "type": "function",
            "function": {"name": "weather", "arguments": ""}}]}),
        None,
    );
    let mut steps = open_stream(&[&begin, &call("{\"city\": \"Kö"), &call("ln\", ")]);
    steps.push(Step::Close);
    let first = ScriptedProvider::start([steps]).await;
    let events = [
        json!({"type": "message_start", "message": {"id": "msg_2", "type": "message", "role": "assistant",
            "model": "claude", "content": [], "stop_reason": null, "stop_sequence": null,
            "usage": {"input_tokens": 100, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use",
            "id": "toolu_second", "name": "weather", "input": {}}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta",
            "partial_json": "{\"city\":\"Köln\",\"da"}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta",
            "partial_json": "ys\":3}"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null},
            "usage": {"output_tokens": 20}}),
        json!({"type": "message_stop"}),
    ];
    let events: Vec<String> = events.iter().map(anthropic_event).collect();
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let second = ScriptedProvider::start([event_stream(&events)]).await;
    let targets = [("openai", "gpt-4o-mini", &first), ("anthropic", "claude-haiku-4-5", &second)];
    let (_gateway, client) = gateway("", &targets).await;
    let received = ask(&client, &json!({"tools": tools})).await;
    let mut arguments = String::new();
    let mut finish = None;
    for event in received.events().iter().filter_map(|event| serde_json::from_str::<Value>(event).ok()) {
        let choice = &event["choices"][0];
        arguments.push_str(choice["delta"]["tool_calls"][0]["function"]["arguments"].as_str().unwrap_or(""));
        finish = choice["finish_reason"].as_str().map(str::to_owned).or(finish);
    }
    let value: Value = serde_json::from_str(&arguments).expect("whole arguments");
    assert_eq!(value, json!({"city": "Köln", "days": 3}));
    assert_eq!(finish.as_deref(), Some("tool_calls"));
    assert!(received.text().contains("call_first") && !received.text().contains("toolu_second"));
    assert_eq!(second.arrived().remove(0).json()["messages"].as_array().unwrap().len(), 1);
}
