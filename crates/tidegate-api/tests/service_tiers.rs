//! What a call costs is decided by the tier of service that the answer names: whole and streamed, as it comes and
//! translated. And a hard budget holds against the dearest tier that a request lets the provider choose.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use serde_json::{Value, json};
use tidegate_store::{LedgerEntry, NewKey};
use tidegate_testkit::{
    Client, Received, ScriptedProvider, Step, TestGateway, event_stream, json_answer, open_stream,
};

/// GPT-4o mini: $0.15 and $0.60 a million as usual, $0.25 and $1 first; $0.075 and $0.125 for cached input.
const MODEL: &str = "openai/gpt-4o-mini";

fn usage() -> Value {
    json!({"prompt_tokens": 10_000, "completion_tokens": 1_000, "total_tokens": 11_000,
        "prompt_tokens_details": {"cached_tokens": 4_000}})
}

fn whole(tier: &str) -> Vec<Step> {
    whole_with(tier, &usage())
}

fn whole_with(tier: &str, usage: &Value) -> Vec<Step> {
    let message = json!({"role": "assistant", "content": "Hi"});
    let answer = json!({
        "id": "a", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini", "service_tier": tier,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage
    });
    json_answer(200, &[], &answer)
}

fn chunks(tier: &str) -> Vec<String> {
    let chunk = |choices: Value, usage: Value| {
        let chunk = json!({
            "id": "a", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini",
            "service_tier": tier, "choices": choices, "usage": usage
        });
        format!("data: {chunk}\n\n")
    };
    let choice = |delta: Value, finish: Value| json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
    vec![
        chunk(choice(json!({"role": "assistant", "content": ""}), Value::Null), Value::Null),
        chunk(choice(json!({"content": "Hi"}), Value::Null), Value::Null),
        chunk(choice(json!({"content": "!"}), Value::Null), Value::Null),
        chunk(choice(json!({}), json!("stop")), Value::Null),
        chunk(json!([]), usage()),
        "data: [DONE]\n\n".to_owned(),
    ]
}

fn streamed(tier: &str) -> Vec<Step> {
    event_stream(&chunks(tier).iter().map(String::as_str).collect::<Vec<_>>())
}

async fn gateway_before(provider: &ScriptedProvider) -> TestGateway {
    let yaml = format!("providers:\n  openai:\n    base_url: {}/v1\n    api_key: sk-1\n", provider.url());
    TestGateway::start(&yaml).await
}

async fn ask(client: &Client, translated: bool, stream: bool) -> Received {
    let path = if translated { "/v1/messages" } else { "/v1/chat/completions" };
    let messages = json!([{"role": "user", "content": "Hi"}]);
    client
        .post(path, &json!({"model": MODEL, "max_tokens": 1000, "stream": stream, "messages": messages}))
        .await
}

fn prices(entry: &LedgerEntry) -> Value {
    serde_json::from_str(entry.prices.as_ref().unwrap()).unwrap()
}

#[tokio::test]
async fn the_tier_that_the_answer_names_decides_what_it_costs() {
    // 6,000 × $0.15 + 4,000 × $0.075 + 1,000 × $0.60 a million, and with $0.25, $0.125, $1
    const USUAL: u64 = 1_800_000;
    const FIRST: u64 = 3_000_000;
    for (tier, cost, kept, is_estimated) in [
        ("default", USUAL, None, false),
        ("priority", FIRST, Some("priority"), false),
        // What it is called since July 2026.
        ("fast", FIRST, Some("priority"), false),
        // The catalog has no flex prices for this model, and what scale costs is in a contract.
        ("flex", USUAL, Some("flex"), true),
        ("scale", USUAL, Some("scale"), true),
        ("platinum", USUAL, Some("other"), true),
    ] {
        let answers = [whole(tier), streamed(tier), whole(tier), streamed(tier)];
        let provider = ScriptedProvider::start(answers).await;
        let gateway = gateway_before(&provider).await;
        let client = Client::new(gateway.address());
        for (translated, stream) in [(false, false), (false, true), (true, false), (true, true)] {
            let received = ask(&client, translated, stream).await;
            assert_eq!(received.status, 200, "{}", received.text());
            if !stream {
                let dollars = if cost == USUAL { "0.0018" } else { "0.003" };
                assert_eq!(received.header("x-tidegate-cost"), dollars, "{tier}");
            }
        }
        let calls = gateway.calls_when(4).await;
        assert_eq!(calls.len(), 4);
        for call in calls {
            let which = format!("{tier}, {} {}", call.dialect, call.streamed);
            assert_eq!(call.cost_nanodollars, Some(cost), "{which}");
            assert_eq!(call.service_tier.as_deref(), kept, "{which}");
            assert_eq!(call.is_estimated, is_estimated, "{which}");
            let (column, input) =
                if cost == FIRST { (json!("priority"), 250_000_000) } else { (Value::Null, 150_000_000) };
            let prices = prices(&call);
            assert_eq!(
                (prices.get("tier").unwrap_or(&Value::Null), &prices["input"]),
                (&column, &json!(input))
            );
        }
    }
}

#[tokio::test]
async fn a_stream_that_breaks_before_usage_came_is_priced_by_the_tier_that_it_had_named() {
    let mut steps = open_stream(&chunks("priority").iter().take(3).map(String::as_str).collect::<Vec<_>>());
    steps.push(Step::Close);
    let provider = ScriptedProvider::start([steps]).await;
    let gateway = gateway_before(&provider).await;
    ask(&Client::new(gateway.address()), false, true).await;
    let calls = gateway.calls_when(1).await;
    assert_eq!(calls[0].service_tier.as_deref(), Some("priority"));
    let usage = calls[0].usage;
    assert_eq!(calls[0].cost_nanodollars, Some(usage.input * 250 + usage.output * 1_000));
    assert!(calls[0].is_estimated && usage.output > 0);
}

#[tokio::test]
async fn a_hard_budget_has_room_for_the_dearest_tier_that_a_request_lets_the_provider_choose() {
    let little = json!({"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11});
    let provider = ScriptedProvider::start([whole_with("default", &little)]).await;
    let gateway = gateway_before(&provider).await;
    // The answer takes 1,000 tokens at most: $0.0006 as usual, $0.001 first. The question takes next to nothing.
    let limits = serde_json::from_value(json!({"budgets": [{"usd": "0.0009", "per": "day"}]})).unwrap();
    let key = gateway.key(NewKey { limits, ..NewKey::default() }).await;
    let client =
        Client::new(gateway.address()).with_header("authorization", &format!("Bearer {}", key.expose()));
    let body = |tier: Value| {
        let messages = json!([{"role": "user", "content": "Hi"}]);
        json!({"model": MODEL, "max_tokens": 1000, "messages": messages, "service_tier": tier})
    };
    for tier in ["priority", "auto", "fast", "turbo"] {
        let received = client.post("/v1/chat/completions", &body(json!(tier))).await;
        assert_eq!(received.status, 402, "{tier}: {}", received.text());
    }
    assert!(provider.arrived().is_empty(), "nobody was asked");
    for tier in [json!("default"), json!("flex"), Value::Null] {
        let received = client.post("/v1/chat/completions", &body(tier.clone())).await;
        assert_eq!(received.status, 200, "{tier}: {}", received.text());
    }
}

#[tokio::test]
async fn a_provider_that_serves_first_without_being_asked_to_is_reckoned_with_from_then_on() {
    let provider = ScriptedProvider::start([whole("priority")]).await;
    let gateway = gateway_before(&provider).await;
    let limits = serde_json::from_value(json!({"budgets": [{"usd": "0.0039", "per": "day"}]})).unwrap();
    let key = gateway.key(NewKey { limits, ..NewKey::default() }).await;
    let client =
        Client::new(gateway.address()).with_header("authorization", &format!("Bearer {}", key.expose()));
    // It costs $0.003, so $0.0009 are left: enough for an answer served as usual, and not for one served first.
    assert_eq!(ask(&client, false, false).await.status, 200);
    let received = ask(&client, false, false).await;
    assert_eq!(received.status, 402, "{}", received.text());
}
