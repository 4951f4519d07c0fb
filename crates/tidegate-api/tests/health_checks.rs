//! Active health checks: a provider of which no call tells is asked for its models, whoever is out comes back sooner for it,
//! and a check that fails does no harm.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_testkit::{Client, Received, ScriptedProvider, TestGateway, json_answer};

fn answer() -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
        "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 10, "output_tokens": 2}})
}

fn error(kind: &str) -> Value {
    json!({"type": "error", "error": {"type": kind, "message": "no"}})
}

async fn start(provider: &ScriptedProvider) -> TestGateway {
    TestGateway::start(&format!(
        "providers:\n  anthropic: {{ base_url: \"{}\", api_key: sk-secret-0123456789, health_check: {{ every: 1s }} }}\n",
        provider.url()
    ))
    .await
}

async fn ask(gateway: &TestGateway) -> Received {
    let question =
        json!({"model": "anthropic/m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]});
    Client::new(gateway.address()).post("/v1/messages", &question).await
}

/// Waits for so many checks.
async fn checks(provider: &ScriptedProvider, count: usize) {
    for _ in 0..400 {
        let arrived = provider.arrived();
        let checks = arrived.iter().filter(|arrived| arrived.line == "GET /v1/models");
        if checks.count() >= count {
            // Its answer is taken in.
            tokio::time::sleep(Duration::from_millis(200)).await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(count, 0, "no check was made");
}

#[tokio::test]
async fn a_key_that_was_refused_comes_back_with_the_first_check_that_succeeds() {
    let script = [
        json_answer(401, &[], &error("authentication_error")),
        json_answer(200, &[], &json!({"data": [{"id": "m"}]})),
        json_answer(200, &[], &answer()),
    ];
    let provider = ScriptedProvider::start(script).await;
    let gateway = start(&provider).await;
    assert_eq!(ask(&gateway).await.status, 502);
    checks(&provider, 1).await;
    let check = provider.arrived().into_iter().find(|arrived| arrived.line.starts_with("GET")).unwrap();
    assert_eq!(check.header("x-api-key"), "sk-secret-0123456789");
    assert!(!check.header("anthropic-version").is_empty());
    assert_eq!(ask(&gateway).await.status, 200);
}

#[tokio::test]
async fn a_check_that_fails_closes_no_target_to_calls() {
    let script = [json_answer(200, &[], &answer()), json_answer(500, &[], &error("api_error"))];
    let provider = ScriptedProvider::start(script).await;
    let gateway = start(&provider).await;
    assert_eq!(ask(&gateway).await.status, 200);
    checks(&provider, 6).await;
    let targets = Client::new(gateway.address()).get("/metrics").await.text();
    assert!(!targets.contains("sk-secret"), "{targets}");
    let reports = gateway.gateway().targets();
    let report = reports.iter().find(|report| report.target == "anthropic/m").unwrap();
    assert_eq!(report.state.as_str(), "closed");
    let check = report.health_check.as_ref().unwrap();
    assert!(!check.ok && check.problem.as_deref().unwrap().contains("500"), "{check:?}");
    let before = provider.arrived().iter().filter(|arrived| arrived.line.starts_with("POST")).count();
    ask(&gateway).await;
    let after = provider.arrived().iter().filter(|arrived| arrived.line.starts_with("POST")).count();
    assert!(after > before, "it is asked all the same");
}

#[tokio::test]
async fn a_provider_of_which_calls_tell_is_not_checked() {
    let provider = ScriptedProvider::start([json_answer(200, &[], &answer())]).await;
    let gateway = start(&provider).await;
    for _ in 0..60 {
        assert_eq!(ask(&gateway).await.status, 200);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(provider.arrived().iter().all(|arrived| arrived.line.starts_with("POST")));
}
