//! A provider tells with every answer what is left of its limits: whoever is about to run dry is spared before it answers
//! 429, and comes back when its limit is whole again.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_store::{Actor, NewKey};
use tidegate_testkit::{Client, Received, ScriptedProvider, Step, TestGateway, json_answer};

fn openai() -> Value {
    json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}})
}

fn anthropic() -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
        "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 3, "output_tokens": 1}})
}

/// An answer that says how many of a hundred requests are left, and when there are a hundred again.
fn left_at_openai(remaining: u32, reset: &str) -> Vec<Step> {
    let remaining = remaining.to_string();
    let headers = [
        ("x-ratelimit-limit-requests", "100"),
        ("x-ratelimit-remaining-requests", &*remaining),
        ("x-ratelimit-reset-requests", reset),
    ];
    json_answer(200, &headers, &openai())
}

fn left_at_anthropic(remaining: u32, reset: Duration) -> Vec<Step> {
    let remaining = remaining.to_string();
    let reset = (Timestamp::now() + reset).to_string();
    let headers = [
        ("anthropic-ratelimit-input-tokens-limit", "100000"),
        ("anthropic-ratelimit-input-tokens-remaining", &*remaining),
        ("anthropic-ratelimit-input-tokens-reset", &*reset),
    ];
    json_answer(200, &headers, &anthropic())
}

async fn ask(gateway: &TestGateway, model: &str) -> Received {
    let question = json!({"model": model, "messages": [{"role": "user", "content": "Hi"}]});
    let received = Client::new(gateway.address()).post("/v1/chat/completions", &question).await;
    assert_eq!(received.status, 200, "{}", received.text());
    received
}

async fn with_two_keys(provider: &ScriptedProvider) -> TestGateway {
    TestGateway::start(&format!(
        "providers: {{ openai: {{ base_url: \"{}/v1\", keys: [first-of-two-keys, second-of-two-keys] }} }}\n",
        provider.url()
    ))
    .await
}

fn keys_used(provider: &ScriptedProvider) -> Vec<String> {
    provider.arrived().iter().map(|arrived| arrived.header("authorization").to_owned()).collect()
}

#[tokio::test]
async fn a_key_that_is_about_to_run_dry_is_spared_until_its_limit_is_whole_again() {
    for (reset, is_back) in [("6h0m0s", false), ("400ms", true)] {
        let provider = ScriptedProvider::start([left_at_openai(0, reset), left_at_openai(99, "1s")]).await;
        let gateway = with_two_keys(&provider).await;
        ask(&gateway, "openai/m").await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        for _ in 0..30 {
            ask(&gateway, "openai/m").await;
        }
        let used = keys_used(&provider);
        assert_eq!(used[1..].contains(&used[0]), is_back, "whole again after {reset}: {used:?}");
    }
}

#[tokio::test]
async fn a_target_that_is_about_to_run_dry_stands_behind_the_others_even_in_a_fixed_order() {
    let reset = Duration::from_secs(3_600);
    let first =
        ScriptedProvider::start([left_at_anthropic(500, reset), left_at_anthropic(99_000, reset)]).await;
    let second = ScriptedProvider::start([json_answer(200, &[], &anthropic())]).await;
    let gateway = TestGateway::start(&format!(
        "providers:\n  one: {{ kind: anthropic, base_url: \"{}\", api_key: k }}\n\
         \x20 two: {{ kind: anthropic, base_url: \"{}\", api_key: k }}\n\
         models: {{ fast: {{ targets: [one/m, two/m] }} }}\n",
        first.url(),
        second.url()
    ))
    .await;
    assert_eq!(ask(&gateway, "fast").await.header("x-tidegate-target"), "one/m");
    for _ in 0..5 {
        assert_eq!(ask(&gateway, "fast").await.header("x-tidegate-target"), "two/m");
    }

    // Operators see it.
    let (_, secret) = gateway
        .store()
        .access()
        .create_key(
            NewKey { name: "root".into(), role: Some(tidegate_policy::Role::Owner), ..NewKey::default() },
            &Actor::system(),
        )
        .await
        .unwrap();
    let client =
        Client::new(gateway.address()).with_header("authorization", &format!("Bearer {}", secret.expose()));
    let targets = client.get("/admin/v1/targets").await.json();
    let headroom = |target: &str| {
        let all = targets["data"].as_array().unwrap();
        all.iter().find(|it| it["target"] == target).unwrap()["keys"][0]["headroom"].clone()
    };
    assert!(headroom("one/m").as_f64().is_some_and(|headroom| headroom < 0.99), "{targets}");
    assert_eq!(headroom("two/m"), Value::Null);
}

#[tokio::test]
async fn headers_that_make_no_sense_change_nothing() {
    let odd = [("x-ratelimit-remaining-requests", "none"), ("x-ratelimit-limit-requests", "-1")];
    let provider = ScriptedProvider::start([json_answer(200, &odd, &openai())]).await;
    let gateway = with_two_keys(&provider).await;
    for _ in 0..30 {
        ask(&gateway, "openai/m").await;
    }
    let mut used = keys_used(&provider);
    used.sort_unstable();
    used.dedup();
    assert_eq!(used.len(), 2, "both keys are used");
}
