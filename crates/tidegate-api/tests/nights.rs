//! What wakes an operator at night: one caller's deadline or hanging up that spoils a target for all, keys in error
//! messages, figures that are wrong because a stream broke, memory lost at a reload.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_store::Outcome;
use tidegate_testkit::{Client, ScriptedProvider, Step, TestGateway, json_answer, open_stream};

const KEY: &str = "sk-secret-0123456789";

fn answer() -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5",
        "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 10, "output_tokens": 2}})
}

fn question(model: &str) -> Value {
    json!({"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]})
}

/// Two providers of the same kind behind the model `fast`, asked in order.
fn two_providers(first: &ScriptedProvider, second: &ScriptedProvider) -> String {
    format!(
        "providers:\n\
         \x20 anthropic: {{ base_url: \"{}\", api_key: {KEY} }}\n\
         \x20 second: {{ kind: anthropic, base_url: \"{}\", api_key: {KEY} }}\n\
         models:\n\
         \x20 fast:\n\
         \x20   targets: [anthropic/claude-haiku-4-5, second/claude-haiku-4-5]\n\
         \x20   retry: {{ attempts: 2, backoff: 1ms..2ms }}\n",
        first.url(),
        second.url()
    )
}

fn one_provider(name: &str, provider: &ScriptedProvider) -> String {
    let path = if name == "openai" { "/v1" } else { "" };
    format!("providers:\n  {name}: {{ base_url: \"{}{path}\", api_key: {KEY} }}\n", provider.url())
}

#[tokio::test]
async fn a_callers_short_deadline_does_not_close_a_target_to_others() {
    let mut script = vec![vec![Step::Hang]; 8];
    script.push(json_answer(200, &[], &answer()));
    let first = ScriptedProvider::start(script).await;
    let second = ScriptedProvider::start([json_answer(200, &[], &answer())]).await;
    let gateway = TestGateway::start(&two_providers(&first, &second)).await;
    let client = Client::new(gateway.address());
    let hurried = client.clone().with_header("x-tidegate-timeout", "30ms");
    while first.arrived().len() < 8 {
        assert_eq!(hurried.post("/v1/messages", &question("fast")).await.status, 504);
    }
    let received = client.post("/v1/messages", &question("fast")).await;
    assert_eq!(received.header("x-tidegate-target"), "anthropic/claude-haiku-4-5", "{}", received.text());
}

#[tokio::test]
async fn a_reload_does_not_send_calls_back_to_a_target_that_is_down() {
    let first = ScriptedProvider::start([json_answer(500, &[], &json!({}))]).await;
    let second = ScriptedProvider::start([json_answer(200, &[], &answer())]).await;
    let yaml = two_providers(&first, &second);
    let gateway = TestGateway::start(&yaml).await;
    let client = Client::new(gateway.address());
    for _ in 0..3 {
        client.post("/v1/messages", &question("fast")).await;
    }
    let before = first.arrived().len();
    gateway.reload(&yaml);
    let received = client.post("/v1/messages", &question("fast")).await;
    assert_eq!(received.header("x-tidegate-target"), "second/claude-haiku-4-5");
    assert_eq!(first.arrived().len(), before, "the breaker is still open");
}

#[tokio::test]
async fn a_provider_that_quotes_the_key_does_not_tell_it_to_the_caller() {
    let error = json!({"type": "error", "error": {"type": "authentication_error",
        "message": format!("invalid x-api-key: {KEY}")}});
    let event = format!("event: error\ndata: {error}\n\n");
    let scripts = [json_answer(401, &[], &error), tidegate_testkit::event_stream(&[&event])];
    for (script, stream) in scripts.into_iter().zip([false, true]) {
        let provider = ScriptedProvider::start([script]).await;
        let gateway = TestGateway::start(&one_provider("anthropic", &provider)).await;
        let mut body = question("claude-haiku-4-5");
        body["stream"] = stream.into();
        let received = Client::new(gateway.address()).post("/v1/messages", &body).await;
        assert_eq!(received.status, 502, "{}", received.text());
        assert!(received.text().contains("invalid x-api-key: ***"), "{}", received.text());
        assert!(!received.text().contains(KEY), "{}", received.text());
    }
}

#[tokio::test]
async fn every_beta_that_a_caller_asks_for_on_a_line_of_its_own_reaches_the_provider() {
    let provider = ScriptedProvider::start([json_answer(200, &[], &answer())]).await;
    let gateway = TestGateway::start(&one_provider("anthropic", &provider)).await;
    let client = Client::new(gateway.address())
        .with_header("anthropic-beta", "one")
        .with_header("anthropic-beta", "two")
        .with_header("anthropic-version", "2024-01-01");
    client.post("/v1/messages", &question("claude-haiku-4-5")).await;
    let arrived = provider.arrived().remove(0);
    let sent = |name: &str| -> Vec<String> {
        arrived.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
    };
    assert_eq!(sent("anthropic-beta"), ["one", "two"]);
    assert_eq!(sent("anthropic-version"), ["2024-01-01"]);
}

fn gemini_event(text: &str, tokens: u64) -> String {
    let frame = json!({"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}],
        "usageMetadata": {"promptTokenCount": 11, "candidatesTokenCount": tokens, "totalTokenCount": 11 + tokens},
        "modelVersion": "gemini-2.5-flash", "responseId": "r"});
    format!("data: {frame}\n\n")
}

#[tokio::test]
async fn what_gemini_said_of_usage_is_billed_when_its_stream_is_left_or_breaks() {
    let events = [gemini_event("Hello", 20), gemini_event(" wide", 40), gemini_event(" world", 60)];
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    for ending in [Step::Hang, Step::Send(b"broken\r\n".to_vec())] {
        let mut steps = open_stream(&events);
        let is_left = matches!(ending, Step::Hang);
        steps.push(ending);
        let provider = ScriptedProvider::start([steps]).await;
        let gateway = TestGateway::start(&one_provider("gemini", &provider)).await;
        let client = Client::new(gateway.address());
        let path = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
        let body = json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]});
        if is_left {
            let mut response = client.send(http::Method::POST, path, body.to_string().into()).await;
            let mut seen = String::new();
            while !seen.contains("world") {
                let frame = http_body_util::BodyExt::frame(response.body_mut()).await.unwrap().unwrap();
                seen.push_str(&String::from_utf8_lossy(frame.data_ref().unwrap()));
            }
        } else {
            client.post(path, &body).await;
        }
        let calls = gateway.calls_when(1).await;
        assert_eq!(calls[0].outcome, if is_left { Outcome::Cancelled } else { Outcome::Failed });
        assert_eq!((calls[0].usage.input, calls[0].usage.output), (11, 60));
    }
}

#[tokio::test]
async fn a_large_request_whose_stream_breaks_is_not_billed_beyond_the_models_window() {
    let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini",
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hello"}, "finish_reason": null}]});
    let mut steps = open_stream(&[&format!("data: {chunk}\n\n")]);
    steps.push(Step::Close);
    let provider = ScriptedProvider::start([steps]).await;
    let gateway = TestGateway::start(&one_provider("openai", &provider)).await;
    let image = format!("data:image/png;base64,{}", "A".repeat(1_000_000));
    let body = json!({"model": "gpt-4o-mini", "stream": true, "messages": [{"role": "user", "content":
        [{"type": "image_url", "image_url": {"url": image}}]}]});
    Client::new(gateway.address()).post("/v1/chat/completions", &body).await;
    let calls = gateway.calls_when(1).await;
    assert_eq!(calls[0].outcome, Outcome::Failed);
    assert_eq!(calls[0].usage.input, 128_000);
}

#[tokio::test]
async fn an_attempt_in_which_the_caller_hangs_up_is_listed_too() {
    let provider = ScriptedProvider::start([vec![Step::Hang]]).await;
    let gateway = TestGateway::start(&one_provider("anthropic", &provider)).await;
    let client = Client::new(gateway.address());
    let body = question("claude-haiku-4-5").to_string();
    let sending = client.send(http::Method::POST, "/v1/messages", body.into());
    assert!(tokio::time::timeout(Duration::from_millis(300), sending).await.is_err());
    let calls = gateway.calls_when(1).await;
    assert_eq!(calls[0].attempts.len(), 1);
    assert_eq!(calls[0].attempts[0].failure.as_deref(), Some("cancelled"));
}

#[tokio::test]
async fn waiting_for_a_rate_limit_is_no_overhead_of_tidegates() {
    let limited = json!({"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}});
    let script = [json_answer(429, &[("retry-after", "5")], &limited), json_answer(200, &[], &answer())];
    let provider = ScriptedProvider::start(script).await;
    let gateway = TestGateway::start(&one_provider("anthropic", &provider)).await;
    let client = Client::new(gateway.address());
    let received = client.post("/v1/messages", &question("claude-haiku-4-5")).await;
    assert_eq!((received.status.as_u16(), received.header("x-tidegate-attempts")), (200, "2"));
    let metrics = client.get("/metrics").await.text();
    let overhead =
        metrics.lines().find_map(|line| line.strip_prefix("tidegate_overhead_seconds_sum ")).unwrap();
    // The sum is that of all tests in this process, some of which send large requests.
    assert!(overhead.parse::<f64>().unwrap() < 4.5, "{overhead}");
}

#[tokio::test]
async fn a_million_blanks_can_be_counted() {
    let provider = ScriptedProvider::start([vec![Step::Close]]).await;
    let gateway = TestGateway::start(&one_provider("openai", &provider)).await;
    let mut body = question("openai/gpt-4o-mini");
    body["messages"][0]["content"] = " ".repeat(1_500_000).into();
    let received = Client::new(gateway.address()).post("/v1/messages/count_tokens", &body).await;
    assert_eq!(received.status, 200, "{}", received.text());
    assert!(received.json()["input_tokens"].as_u64().unwrap() > 10_000);
}

#[tokio::test]
async fn a_model_in_the_path_that_is_no_text_gets_an_error_in_geminis_form() {
    let provider = ScriptedProvider::start([vec![Step::Close]]).await;
    let gateway = TestGateway::start(&one_provider("gemini", &provider)).await;
    let body = json!({"contents": []});
    let received = Client::new(gateway.address()).post("/v1beta/models/%ff:generateContent", &body).await;
    assert_eq!(received.status, 400);
    assert_eq!(received.json()["error"]["status"], "INVALID_ARGUMENT");
}
