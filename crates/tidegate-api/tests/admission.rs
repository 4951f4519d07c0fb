//! Who is let in: every route, whole and streamed, with every way of not being allowed to use it. A route that is added
//! to the table fails these tests until it is added here.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use http::Method;
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};
use tidegate_api::routes::{self, ROUTES, Target};
use tidegate_gateway::Operation;
use tidegate_policy::{Limits, Permissions};
use tidegate_sim::{RunningSim, SimOptions, Simulator};
use tidegate_store::{KeySecret, NewKey};
use tidegate_testkit::{Client, Received, TestGateway};
use tidegate_wire::Dialect;

const MODEL: &str = "openai/gpt-4o-mini";

/// One way to use a route.
struct Use {
    name: String,
    method: Method,
    path: String,
    body: Option<Value>,
    dialect: Dialect,
    kind: Kind,
}

/// What using a route means for limits and budgets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A call that costs money.
    Spends,
    /// A call that costs nothing, but is one.
    Free,
    /// No call: it needs a key, and counts against nothing.
    Lists,
    /// No call either: it speaks of one.
    Says,
    /// For everybody.
    Open,
}

impl Use {
    /// The status for somebody who is let in.
    fn let_in(&self) -> u16 {
        // It speaks of a call that nobody made.
        if self.kind == Kind::Says { 404 } else { 200 }
    }
}

fn uses() -> Vec<Use> {
    ROUTES.iter().flat_map(uses_of).collect()
}

fn uses_of(route: &routes::Route) -> Vec<Use> {
    let one = |path: String, body: Option<Value>, dialect, kind, how: &str| Use {
        name: format!("{:?} {} {how}", route.method, route.path),
        method: if route.method == routes::Method::Get { Method::GET } else { Method::POST },
        path,
        body,
        dialect,
        kind,
    };
    let path = route.path.replace("{*model}", MODEL);
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let contents = json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}], "generationConfig": {"maxOutputTokens": 20}});
    match route.target {
        Target::Inference(dialect, Operation::Chat) => [false, true]
            .map(|stream| {
                let body = json!({"model": MODEL, "max_tokens": 20, "messages": messages, "stream": stream});
                one(
                    path.clone(),
                    Some(body),
                    dialect,
                    Kind::Spends,
                    if stream { "streamed" } else { "whole" },
                )
            })
            .into(),
        Target::Inference(dialect, Operation::CountTokens) => {
            vec![one(path, Some(json!({"model": MODEL, "messages": messages})), dialect, Kind::Free, "")]
        }
        Target::GeminiMethod => [
            ("generateContent", Kind::Spends),
            ("streamGenerateContent?alt=sse", Kind::Spends),
            ("streamGenerateContent", Kind::Spends),
            ("countTokens", Kind::Free),
        ]
        .map(|(method, kind)| {
            one(format!("{path}:{method}"), Some(contents.clone()), Dialect::Gemini, kind, method)
        })
        .into(),
        Target::ListModels | Target::OneModel => {
            let dialect = if path.starts_with("/v1beta") { Dialect::Gemini } else { Dialect::OpenAiChat };
            vec![one(path, None, dialect, Kind::Lists, "")]
        }
        Target::Feedback => {
            let body = json!({"request_id": "01a204d4-0c17-70ed-87d5-c4613859f63c", "score": 1});
            vec![one(path, Some(body), Dialect::OpenAiChat, Kind::Says, "")]
        }
        Target::Live | Target::Ready | Target::Metrics | Target::OpenApi => {
            vec![one(path, None, Dialect::OpenAiChat, Kind::Open, "")]
        }
    }
}

async fn send(gateway: &TestGateway, key: Option<&str>, used: &Use) -> Received {
    let mut client = Client::new(gateway.address());
    if let Some(key) = key {
        client = match used.dialect {
            Dialect::OpenAiChat => client.with_header("authorization", &format!("Bearer {key}")),
            Dialect::AnthropicMessages => client.with_header("x-api-key", key),
            Dialect::Gemini => client.with_header("x-goog-api-key", key),
        };
    }
    let body = used.body.as_ref().map(ToString::to_string).unwrap_or_default();
    client.call(used.method.clone(), &used.path, body.into()).await
}

/// The error's word in the caller's dialect.
fn word(used: &Use, received: &Received) -> String {
    let body = received.json();
    match used.dialect {
        Dialect::OpenAiChat => body["error"]["code"].as_str(),
        Dialect::AnthropicMessages => body["error"]["type"].as_str(),
        Dialect::Gemini => body["error"]["status"].as_str(),
    }
    .unwrap_or_else(|| panic!("{}: no error of its dialect: {body}", used.name))
    .to_owned()
}

fn check(used: &Use, received: &Received, status: u16, words: [&str; 3]) {
    assert_eq!(received.status.as_u16(), status, "{}: {}", used.name, received.text());
    let expected = match used.dialect {
        Dialect::OpenAiChat => words[0],
        Dialect::AnthropicMessages => words[1],
        Dialect::Gemini => words[2],
    };
    assert_eq!(word(used, received), expected, "{}", used.name);
    assert!(!received.header("x-request-id").is_empty(), "{}", used.name);
}

async fn start() -> (RunningSim, TestGateway) {
    start_with("").await
}

async fn start_with(server: &str) -> (RunningSim, TestGateway) {
    let simulator = Simulator::start(SimOptions::default()).await.unwrap();
    let yaml = format!(
        "{server}providers:\n  openai:\n    base_url: {}\n    api_key: sk-secret\n",
        simulator.base_url(Dialect::OpenAiChat)
    );
    let gateway = TestGateway::start(&yaml).await;
    (simulator, gateway)
}

fn limits(text: &str) -> NewKey {
    NewKey {
        name: "limited".into(),
        limits: serde_json::from_str::<Limits>(text).unwrap(),
        ..NewKey::default()
    }
}

fn permissions(value: &Value) -> NewKey {
    let permissions: Permissions = serde_json::from_value(value.clone()).unwrap();
    NewKey { name: "restricted".into(), permissions, ..NewKey::default() }
}

#[tokio::test]
async fn without_any_key_made_everybody_may_call() {
    let (_simulator, gateway) = start().await;
    for used in uses() {
        for key in [None, Some("anything")] {
            let received = send(&gateway, key, &used).await;
            assert_eq!(received.status.as_u16(), used.let_in(), "{}: {}", used.name, received.text());
        }
    }
}

#[tokio::test]
async fn every_route_wants_a_key_that_is_valid() {
    let (_simulator, gateway) = start().await;
    let good = gateway.key(NewKey { name: "good".into(), ..NewKey::default() }).await;
    let soon = Timestamp::now() + 2.seconds();
    let expired = gateway.key(NewKey { expires_at: Some(soon), ..NewKey::default() }).await;
    tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
    let disabled = gateway.disabled_key().await;
    let unknown = KeySecret::generate().unwrap();
    let cases = [
        (None, "missing_api_key"),
        (Some("sk-of-some-provider"), "invalid_api_key"),
        (Some(unknown.expose()), "invalid_api_key"),
        (Some(expired.expose()), "expired_api_key"),
        (Some(disabled.expose()), "disabled_api_key"),
    ];
    for used in uses() {
        let received = send(&gateway, Some(good.expose()), &used).await;
        assert_eq!(received.status.as_u16(), used.let_in(), "{}: {}", used.name, received.text());
        for (key, code) in cases {
            let received = send(&gateway, key, &used).await;
            if used.kind == Kind::Open {
                assert_eq!(received.status.as_u16(), 200, "{}", used.name);
            } else {
                check(&used, &received, 401, [code, "authentication_error", "UNAUTHENTICATED"]);
            }
        }
    }
    let calls = gateway.calls().await;
    let admitted = uses().iter().filter(|used| matches!(used.kind, Kind::Spends | Kind::Free)).count();
    assert_eq!(calls.len(), admitted, "those who were turned away left no entry");
    assert!(calls.iter().all(|call| call.key_id.is_some() && call.organization_id.is_some()));
}

#[tokio::test]
async fn a_key_that_was_made_elsewhere_works_at_its_first_call_among_strangers_too() {
    let (_simulator, gateway) = start_with("server: { auth: open }\n").await;
    let strangers: Vec<_> = (0..20)
        .map(|_| {
            let client = Client::new(gateway.address());
            tokio::spawn(async move {
                for _ in 0..20 {
                    let made_up = KeySecret::generate().unwrap();
                    let client = client.clone().with_header("x-api-key", made_up.expose());
                    assert_eq!(
                        client.get("/v1/models").await.status,
                        200,
                        "as nobody, since everybody may call"
                    );
                }
            })
        })
        .collect();
    for number in 0..20 {
        // In the store alone, as another replica or the command line makes it.
        let access = gateway.store().access();
        let only_chat = permissions(&json!({"endpoints": ["chat"]}));
        let new = NewKey { name: format!("key {number}"), ..only_chat };
        let (_, key) = access.create_key(new, &tidegate_store::Actor::system()).await.unwrap();
        let client = Client::new(gateway.address()).with_header("x-api-key", key.expose());
        assert_eq!(client.get("/v1/models").await.status, 403, "it is known, and may not do this");
    }
    for stranger in strangers {
        stranger.await.unwrap();
    }
}

#[tokio::test]
async fn every_route_asks_for_permission() {
    let (_simulator, gateway) = start().await;
    let elsewhere = gateway.key(permissions(&json!({"addresses": ["10.0.0.0/8"]}))).await;
    let lists = gateway.key(permissions(&json!({"endpoints": ["models"]}))).await;
    let calls = gateway.key(permissions(&json!({"endpoints": ["chat", "count_tokens"]}))).await;
    let other_model = gateway.key(permissions(&json!({"models": ["anthropic/*"]}))).await;
    let other_provider = gateway.key(permissions(&json!({"providers": ["anthropic"]}))).await;
    let this_model =
        gateway.key(permissions(&json!({"models": ["openai/gpt-4o*"], "providers": ["openai"]}))).await;
    for used in uses().iter().filter(|used| used.kind != Kind::Open) {
        let other_endpoint = if used.kind == Kind::Lists { &calls } else { &lists };
        for (key, code) in [(&elsewhere, "address_not_allowed"), (other_endpoint, "endpoint_not_allowed")] {
            let received = send(&gateway, Some(key.expose()), used).await;
            check(used, &received, 403, [code, "permission_error", "PERMISSION_DENIED"]);
        }
        let received = send(&gateway, Some(this_model.expose()), used).await;
        assert_eq!(received.status.as_u16(), used.let_in(), "{}: {}", used.name, received.text());
        for key in [&other_model, &other_provider] {
            let received = send(&gateway, Some(key.expose()), used).await;
            match used.kind {
                Kind::Lists if used.path.ends_with("models") => {
                    assert!(!received.text().contains("gpt-4o"), "{}", received.text());
                }
                Kind::Lists | Kind::Says => assert_eq!(received.status.as_u16(), 404, "{}", used.name),
                _ => check(
                    used,
                    &received,
                    403,
                    ["model_not_allowed", "permission_error", "PERMISSION_DENIED"],
                ),
            }
        }
    }
}

#[tokio::test]
async fn what_a_proxy_says_and_nobody_can_read_is_not_the_proxys_own_address() {
    let (_simulator, gateway) = start_with("server: { trusted_proxies: [127.0.0.0/8] }\n").await;
    let inside = gateway.key(permissions(&json!({"addresses": ["127.0.0.0/8", "10.0.0.0/8"]}))).await;
    let anywhere = gateway.key(NewKey::default()).await;
    for (forwarded, status) in [
        ("10.1.2.3", 200),
        ("10.1.2.3:4567", 200),
        ("9.9.9.9, 10.1.2.3:80, 127.0.0.1:5", 200),
        ("9.9.9.9", 403),
        ("9.9.9.9:1234", 403),
        ("10.1.2.3, 9.9.9.9:1234", 403),
        ("[2001:db8::1]:443, 127.0.0.1", 403),
        ("unknown", 403),
        ("10.1.2.3, unknown", 403),
        ("unknown, 127.0.0.1", 403),
    ] {
        let client = Client::new(gateway.address()).with_header("x-forwarded-for", forwarded);
        for (key, status) in [(&inside, status), (&anywhere, 200)] {
            let client = client.clone().with_header("authorization", &format!("Bearer {}", key.expose()));
            let received = client.get("/v1/models").await;
            assert_eq!(received.status, status, "{forwarded}: {}", received.text());
        }
    }
}

#[tokio::test]
async fn every_call_is_held_against_limits() {
    let (_simulator, gateway) = start().await;
    for used in uses().iter().filter(|used| used.kind != Kind::Open) {
        let key = gateway.key(limits(r#"{"requests": [{"max": 1, "per": "hour"}]}"#)).await;
        let first = send(&gateway, Some(key.expose()), used).await;
        assert_eq!(first.status.as_u16(), used.let_in(), "{}: {}", used.name, first.text());
        let second = send(&gateway, Some(key.expose()), used).await;
        if matches!(used.kind, Kind::Lists | Kind::Says) {
            assert_eq!(second.status.as_u16(), used.let_in(), "{}", used.name);
            continue;
        }
        assert_eq!(first.header("x-ratelimit-limit-requests"), "1", "{}", used.name);
        assert_eq!(first.header("x-ratelimit-remaining-requests"), "0", "{}", used.name);
        check(used, &second, 429, ["rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED"]);
        let wait: u64 = second.header("retry-after").parse().unwrap();
        assert!((3_400..=3_700).contains(&wait), "{}: {wait}", used.name);
        assert!(second.text().contains("limited"), "it says whose limit it is: {}", second.text());
        assert!(second.text().contains("1 requests per hour"), "it says which: {}", second.text());
    }
}

#[tokio::test]
async fn every_call_that_costs_is_held_against_budgets() {
    let (_simulator, gateway) = start().await;
    for used in uses().iter().filter(|used| used.kind != Kind::Open) {
        let key = gateway.key(limits(r#"{"budgets": [{"usd": "0.000001", "per": "month"}]}"#)).await;
        let received = send(&gateway, Some(key.expose()), used).await;
        if used.kind != Kind::Spends {
            assert_eq!(received.status.as_u16(), used.let_in(), "{}: {}", used.name, received.text());
            continue;
        }
        check(used, &received, 402, ["budget_exceeded", "billing_error", "RESOURCE_EXHAUSTED"]);
        assert_eq!(received.header("x-tidegate-budget-limit"), "0.000001", "{}", used.name);
        assert!(
            received.text().contains("limited") && received.text().contains("per month"),
            "{}",
            received.text()
        );
    }
    assert_eq!(gateway.calls().await.iter().filter(|call| call.operation.as_str() == "chat").count(), 0);
}

#[tokio::test]
async fn every_call_needs_a_place_and_nothing_else_does() {
    let (_simulator, gateway) = start_with("server: { max_calls: 1, queue: { length: 0 } }\n").await;
    let client = Client::new(gateway.address());
    let holding = json!({"model": "openai/silent", "messages": [{"role": "user", "content": "Hi"}]});
    let holding = tokio::spawn(async move { client.post("/v1/chat/completions", &holding).await });
    while gateway.gateway().status().places.taken == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    for used in uses() {
        let received = send(&gateway, None, &used).await;
        match used.kind {
            Kind::Spends | Kind::Free => {
                check(&used, &received, 503, ["overloaded", "overloaded_error", "UNAVAILABLE"]);
                assert!(received.header("retry-after").parse::<u64>().unwrap() >= 1, "{}", used.name);
            }
            Kind::Open if used.path == "/health/ready" => assert_eq!(received.status.as_u16(), 503),
            Kind::Lists | Kind::Says | Kind::Open => {
                assert_eq!(received.status.as_u16(), used.let_in(), "{}", used.name);
            }
        }
    }
    holding.abort();
    assert_eq!(gateway.calls_when(1).await.len(), 1, "those who were turned away left no entry");
}
