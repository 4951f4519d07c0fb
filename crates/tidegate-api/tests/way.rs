//! The way of a request over real sockets, against a provider that does exactly what the test says.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_store::Outcome;
use tidegate_testkit::{Client, ScriptedProvider, Step, TestGateway, event_stream, json_answer, open_stream};

const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-haiku-4-5\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":7,\"output_tokens\":1}}}\n\n";
const BLOCK: &str = "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";
const HELLO: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\n";
const WORLD: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" world\"}}\n\n";
const BLOCK_END: &str = "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n";
const DELTA: &str = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":3}}\n\n";
const STOP: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
const EVENTS: [&str; 7] = [START, BLOCK, HELLO, WORLD, BLOCK_END, DELTA, STOP];

fn answer() -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5",
        "content": [{"type": "text", "text": "Hello world"}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 1000, "output_tokens": 200, "cache_read_input_tokens": 0}, "unknown_field": [1.50]})
}

fn question(stream: bool) -> Value {
    json!({"model": "claude-haiku-4-5", "max_tokens": 100, "stream": stream,
        "messages": [{"role": "user", "content": "Hi"}]})
}

async fn gateway(provider: &ScriptedProvider) -> (TestGateway, Client) {
    gateway_with(provider, "first_token: 2s, idle: 500ms, total: 10s").await
}

async fn gateway_with(provider: &ScriptedProvider, timeouts: &str) -> (TestGateway, Client) {
    let yaml = format!(
        "providers:\n  anthropic:\n    base_url: {}\n    api_key: sk-secret\n    timeout: {{ {timeouts} }}\n",
        provider.url()
    );
    let gateway = TestGateway::start(&yaml).await;
    let client = Client::new(gateway.address())
        .with_header("anthropic-beta", "some-beta-2026")
        .with_header("x-api-key", "mine");
    (gateway, client)
}

#[tokio::test]
async fn the_same_dialect_passes_through_byte_for_byte() {
    let provider = ScriptedProvider::start([json_answer(200, &[], &answer())]).await;
    let (gateway, client) = gateway(&provider).await;
    let received = client.post("/v1/messages", &question(false)).await;
    assert_eq!(received.status, 200, "{}", received.text());
    assert_eq!(received.text(), answer().to_string());
    assert_eq!(received.header("x-tidegate-target"), "anthropic/claude-haiku-4-5");
    assert_eq!(received.header("x-tidegate-attempts"), "1");
    // 1,000 input tokens at $1 and 200 output tokens at $5 a million.
    assert_eq!(received.header("x-tidegate-cost"), "0.002");
    let arrived = provider.arrived();
    assert_eq!(arrived.len(), 1);
    assert_eq!(arrived[0].line, "POST /v1/messages");
    assert_eq!(arrived[0].body, question(false).to_string().into_bytes());
    assert_eq!(arrived[0].header("x-api-key"), "sk-secret");
    assert_eq!(arrived[0].header("anthropic-beta"), "some-beta-2026");
    assert_eq!(arrived[0].header("anthropic-version"), "2023-06-01");
    let calls = gateway.calls().await;
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].outcome, Outcome::Answered);
    assert_eq!((calls[0].usage.input, calls[0].usage.output), (1000, 200));
    assert_eq!(calls[0].cost_nanodollars, Some(2_000_000));
    assert_eq!(calls[0].id.to_string(), received.header("x-request-id"));
    assert_eq!(calls[0].finish_reason.as_deref(), Some("stop"));
}

#[tokio::test]
async fn a_model_asked_for_with_its_provider_is_renamed_and_nothing_else_changes() {
    let provider = ScriptedProvider::start([json_answer(200, &[], &answer())]).await;
    let (_gateway, client) = gateway(&provider).await;
    let body = r#"{ "model" : "anthropic/claude-haiku-4-5", "max_tokens": 1e2, "x": [1.0, 2],"messages":[{"role":"user","content":"Hi"}] }"#;
    let received = client.call(http::Method::POST, "/v1/messages", body.into()).await;
    assert_eq!(received.status, 200, "{}", received.text());
    let sent = String::from_utf8(provider.arrived()[0].body.clone()).unwrap();
    assert_eq!(sent, body.replace("anthropic/claude-haiku-4-5", "claude-haiku-4-5"));
}

#[tokio::test]
async fn a_stream_passes_through_byte_for_byte() {
    let provider = ScriptedProvider::start([event_stream(&EVENTS)]).await;
    let (gateway, client) = gateway(&provider).await;
    let received = client.post("/v1/messages", &question(true)).await;
    assert_eq!(received.status, 200);
    assert!(received.is_complete);
    assert_eq!(received.text(), EVENTS.concat());
    let calls = gateway.calls_when(1).await;
    assert_eq!(calls[0].outcome, Outcome::Answered);
    assert_eq!((calls[0].usage.input, calls[0].usage.output), (7, 3));
    assert!(calls[0].time_to_first_token_us.is_some());
}

#[tokio::test]
async fn a_stream_cut_at_any_event_ends_in_an_error_event_or_is_complete() {
    for cut in 0..EVENTS.len() {
        let mut steps = open_stream(&EVENTS[..cut]);
        steps.push(Step::Close);
        let provider = ScriptedProvider::start([steps]).await;
        let (gateway, client) = gateway(&provider).await;
        let received = client.post("/v1/messages", &question(true)).await;
        let text = received.text();
        let attempts = provider.arrived().len();
        if cut <= 2 {
            // Nothing that the model said had come: the attempt is made once more, and then the caller is told.
            assert_eq!((received.status.as_u16(), attempts), (502, 2), "cut after {cut}: {text}");
            assert_eq!(received.json()["error"]["type"], "api_error");
        } else {
            assert_eq!((received.status.as_u16(), attempts), (200, 1), "cut after {cut}: {text}");
            assert!(text.starts_with(&EVENTS[..cut].concat()), "cut after {cut}: {text}");
            let is_complete = cut >= 6;
            assert_eq!(text.ends_with(STOP), is_complete, "cut after {cut}: {text}");
            assert_eq!(text.contains("event: error"), !is_complete, "cut after {cut}: {text}");
        }
        let calls = gateway.calls_when(1).await;
        assert_eq!(calls.len(), 1);
        let expected = if cut >= 6 { Outcome::Answered } else { Outcome::Failed };
        assert_eq!(calls[0].outcome, expected, "cut after {cut}");
        if expected == Outcome::Failed {
            assert_eq!(calls[0].failure.as_deref(), Some("truncated"), "cut after {cut}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_falls_silent_ends_in_an_error_event() {
    let mut steps = open_stream(&EVENTS[..4]);
    steps.push(Step::Hang);
    let provider = ScriptedProvider::start([steps]).await;
    let (gateway, client) = gateway(&provider).await;
    let received = client.post("/v1/messages", &question(true)).await;
    assert!(received.text().contains("event: error"), "{}", received.text());
    assert!(received.text().contains("fell silent"), "{}", received.text());
    assert!(provider.hung_up(1).await, "the provider's connection is closed");
    let calls = gateway.calls_when(1).await;
    assert_eq!(calls[0].failure.as_deref(), Some("stalled"));
    assert_eq!(calls[0].usage.output, 2, "what was said is billed");
}

#[tokio::test]
async fn garbage_inside_a_stream_is_not_forwarded() {
    let events = [START, BLOCK, HELLO, "event: content_block_delta\ndata: {\"type\":oops\n\n", WORLD, STOP];
    let provider = ScriptedProvider::start([event_stream(&events)]).await;
    let (gateway, client) = gateway(&provider).await;
    let received = client.post("/v1/messages", &question(true)).await;
    let text = received.text();
    assert!(text.starts_with(&[START, BLOCK, HELLO].concat()), "{text}");
    assert!(!text.contains("oops") && !text.contains("world") && text.contains("event: error"), "{text}");
    assert_eq!(gateway.calls_when(1).await[0].failure.as_deref(), Some("malformed"));
}

#[tokio::test]
async fn a_caller_who_hangs_up_cancels_the_provider_at_once() {
    let mut steps = open_stream(&EVENTS[..4]);
    steps.push(Step::Hang);
    let provider = ScriptedProvider::start([steps]).await;
    let (gateway, client) = gateway_with(&provider, "idle: 60s").await;
    client.post_and_hang_up("/v1/messages", &question(true), 1).await;
    assert!(provider.hung_up(1).await, "the provider's connection is closed");
    let calls = gateway.calls_when(1).await;
    assert_eq!(calls[0].outcome, Outcome::Cancelled);
    assert_eq!(calls[0].usage.input, 7);
    assert_eq!(calls[0].usage.output, 2, "what was said is billed");
}

#[tokio::test]
async fn a_caller_who_hangs_up_before_the_answer_cancels_the_provider_too() {
    let provider = ScriptedProvider::start([vec![Step::Hang]]).await;
    let (gateway, client) = gateway_with(&provider, "first_token: 60s").await;
    let body = question(false).to_string();
    let sending = client.send(http::Method::POST, "/v1/messages", body.into());
    assert!(tokio::time::timeout(Duration::from_millis(300), sending).await.is_err());
    assert!(provider.hung_up(1).await, "the provider's connection is closed");
    assert_eq!(gateway.calls_when(1).await[0].outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn a_provider_that_never_answers_is_given_up_at_the_deadline_and_not_asked_again() {
    for stream in [false, true] {
        let provider = ScriptedProvider::start([vec![Step::Hang]]).await;
        let (gateway, client) = gateway_with(&provider, "first_token: 300ms").await;
        let received = client.post("/v1/messages", &question(stream)).await;
        assert_eq!(received.status, 504, "{}", received.text());
        assert_eq!(provider.arrived().len(), 1);
        assert_eq!(gateway.calls().await[0].failure.as_deref(), Some("timeout"));
    }
}

#[tokio::test]
async fn the_callers_own_deadline_bounds_all_attempts_together() {
    let provider = ScriptedProvider::start([vec![Step::Hang]]).await;
    let (_gateway, client) = gateway_with(&provider, "first_token: 60s").await;
    let client = client.with_header("x-tidegate-timeout", "300ms");
    let received = client.post("/v1/messages", &question(true)).await;
    assert_eq!(received.status, 504);
    assert!(received.took < Duration::from_secs(20), "{:?}", received.took);
}

#[tokio::test]
async fn a_stream_whose_lines_end_by_carriage_return_alone_is_whole_though_it_is_closed_right_behind_its_last_event()
 {
    let piece = |text: &str, rest: &str| {
        format!(
            "data: {{\"candidates\":[{{\"index\":0,\"content\":{{\"role\":\"model\",\"parts\":[{{\"text\":\"{text}\"}}]}}{rest}}}],\
             \"modelVersion\":\"m\"}}"
        )
    };
    let last = piece(" world", ",\"finishReason\":\"STOP\"");
    for (first_end, last_end) in [("\r\r", "\r\r"), ("\n\n", "\n\r"), ("\r\n\r\n", "\r\n\r")] {
        let events = [piece("Hello", "") + first_end, last.clone() + last_end];
        let provider = ScriptedProvider::start([event_stream(&events.each_ref().map(String::as_str))]).await;
        let yaml =
            format!("providers: {{ g: {{ kind: gemini, base_url: \"{}\", api_key: k }} }}\n", provider.url());
        let gateway = TestGateway::start(&yaml).await;
        let client = Client::new(gateway.address());
        let question =
            json!({"model": "g/m", "stream": true, "messages": [{"role": "user", "content": "Hi"}]});
        let text = client.post("/v1/chat/completions", &question).await.text();
        assert!(text.contains("Hello") && text.contains(" world"), "{last_end:?}: {text}");
        assert!(text.contains("[DONE]") && !text.contains("error"), "{last_end:?}: {text}");
        assert_eq!(gateway.calls_when(1).await[0].outcome, Outcome::Answered, "{last_end:?}");
    }
}
