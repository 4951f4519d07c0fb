//! What an explanation says about the room for a request: what is left of every limit and budget, which of them would refuse it, and
//! that the real call is told the same. Looking takes nothing.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use serde_json::{Value, json};
use tidegate_catalog::NanoDollars;
use tidegate_policy::{Budget, BudgetKind, BudgetPeriod, Limits, RateLimit, RatePeriod, Role};
use tidegate_store::NewKey;
use tidegate_testkit::{Client, ScriptedProvider, TestGateway, json_answer};

fn answer() -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "High."}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    })
}

struct Asked {
    gateway: TestGateway,
    provider: ScriptedProvider,
    admin: Client,
}

impl Asked {
    async fn start() -> Self {
        let provider = ScriptedProvider::start([json_answer(200, &[], &answer())]).await;
        let yaml = format!(
            "providers: {{ one: {{ kind: openai-compatible, base_url: '{}/v1', api_key: sk-1234567890 }} }}\n\
             prices: {{ one/*: {{ input: 0, output: 1000 }} }}\nmodels: {{ fast: {{ targets: [one/m] }} }}\n",
            provider.url()
        );
        let gateway = TestGateway::start(&yaml).await;
        let admin = gateway.key(NewKey { role: Some(Role::Admin), ..NewKey::default() }).await;
        let admin = Client::new(gateway.address())
            .with_header("authorization", &format!("Bearer {}", admin.expose()));
        Self { gateway, provider, admin }
    }

    /// A key of this name with these limits: who calls with it, and its id.
    async fn key(&self, name: &str, limits: Limits) -> (Client, String) {
        let new = NewKey { name: name.to_owned(), limits, ..NewKey::default() };
        let (id, secret) = self.gateway.key_with_id(new).await;
        let client = Client::new(self.gateway.address());
        (client.with_header("authorization", &format!("Bearer {}", secret.expose())), id.as_str().to_owned())
    }

    async fn explain(&self, key: &str) -> Value {
        let request = json!({"path": "/v1/chat/completions", "key_id": key, "body": question()});
        let received = self.admin.post("/admin/v1/explain", &request).await;
        assert_eq!(received.status, 200, "{}", received.text());
        received.json()
    }
}

/// Costs a cent at most, since the input is free.
fn question() -> Value {
    json!({"model": "fast", "max_tokens": 10, "messages": [{"role": "user", "content": "How high is the tide?"}]})
}

fn cents(count: i64, kind: BudgetKind) -> Budget {
    Budget { usd: NanoDollars(count * 10_000_000), per: BudgetPeriod::Lifetime, kind }
}

fn limit<'a>(explained: &'a Value, of: &str) -> &'a Value {
    let limits = explained["room"]["limits"].as_array().unwrap();
    limits.iter().find(|limit| limit["of"] == of).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_explanation_says_what_is_left_and_takes_nothing() {
    let asked = Asked::start().await;
    let limits = Limits {
        budgets: vec![cents(5, BudgetKind::Hard), cents(1, BudgetKind::Soft)],
        requests: vec![RateLimit { max: 3, per: RatePeriod::Day }],
        tokens: vec![RateLimit { max: 1_000, per: RatePeriod::Day }],
        in_flight: Some(2),
    };
    let (client, id) = asked.key("shop", limits).await;
    for _ in 0..5 {
        let explained = asked.explain(&id).await;
        let room = &explained["room"];
        assert_eq!((&room["has_room"], &room["refused_by"]), (&json!(true), &Value::Null), "{explained}");
        assert_eq!(room["cost_usd"], "0.01");
        assert_eq!(explained["refusal"], Value::Null);
        assert_eq!(limit(&explained, "requests")["left"], "3");
        assert_eq!(limit(&explained, "requests")["level"], "key `shop`");
        assert_eq!(limit(&explained, "budget")["left"], "0.05");
        assert_eq!(limit(&explained, "calls in flight")["left"], "2");
    }
    assert_eq!(client.post("/v1/chat/completions", &question()).await.status, 200);
    asked.gateway.gateway().flush_ledger().await;
    let explained = asked.explain(&id).await;
    assert_eq!(limit(&explained, "requests")["left"], "2");
    assert_eq!(limit(&explained, "budget")["left"], "0.045", "five tokens of ten were used: {explained}");
    assert_eq!(limit(&explained, "tokens")["left"], "985");
    assert_eq!(limit(&explained, "soft budget")["has_room"], true);
    assert_eq!(asked.provider.arrived().len(), 1);
    // Nobody in particular has no limits.
    let request = json!({"path": "/v1/chat/completions", "body": question()});
    assert_eq!(asked.admin.post("/admin/v1/explain", &request).await.json()["refusal"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_level_that_would_refuse_is_named_and_the_call_is_told_the_same() {
    let asked = Asked::start().await;
    let budget = Limits { budgets: vec![cents(1, BudgetKind::Hard)], ..Limits::default() };
    let requests = Limits { requests: vec![RateLimit { max: 1, per: RatePeriod::Day }], ..Limits::default() };
    let tokens = Limits { tokens: vec![RateLimit { max: 20, per: RatePeriod::Day }], ..Limits::default() };
    for (name, limits, of, status) in [
        ("broke", budget, "budget", 402),
        ("busy", requests, "requests", 429),
        ("wordy", tokens, "tokens", 429),
    ] {
        let (client, id) = asked.key(name, limits).await;
        assert_eq!(client.post("/v1/chat/completions", &question()).await.status, 200, "{name}");
        let explained = asked.explain(&id).await;
        let room = &explained["room"];
        assert_eq!(
            (&room["has_room"], &room["refused_by"]),
            (&json!(false), &json!(format!("key `{name}`"))),
            "{explained}"
        );
        assert_eq!(limit(&explained, of)["has_room"], false, "{explained}");
        assert_eq!(explained["refusal"]["status"], status);
        assert_eq!(explained["order"][0]["target"], "one/m", "where it would go is said all the same");
        let refused = client.post("/v1/chat/completions", &question()).await;
        assert_eq!(refused.status, status);
        let told = refused.json()["error"].clone();
        assert_eq!(told["code"], explained["refusal"]["code"]);
        if status == 402 {
            assert_eq!(told["message"], explained["refusal"]["message"]);
        }
    }
}
