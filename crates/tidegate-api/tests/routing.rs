//! Whom a call goes to, over real sockets: every strategy prefers whom it should, nobody is asked who lacks what a call
//! needs, and the explanation says beforehand what then happens.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tidegate_policy::Role;
use tidegate_store::NewKey;
use tidegate_testkit::{Client, Received, ScriptedProvider, Step, TestGateway, json_answer, open_stream};

const SPEECH: &str = r#"data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"tide"}}]}"#;
const END: &str = r#"data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":40,"total_tokens":50}}"#;

/// A stream that begins after a while and takes a while for its forty tokens.
fn stream(before: Duration, within: Duration) -> Vec<Step> {
    let mut steps = open_stream(&[]);
    let event = |text: &str| Step::Send(format!("{:x}\r\n{text}\n\n\r\n", text.len() + 2).into_bytes());
    steps.extend([Step::Wait(before), event(SPEECH), Step::Wait(within), event(END), event("data: [DONE]")]);
    steps.push(Step::Send(b"0\r\n\r\n".to_vec()));
    steps
}

fn answer() -> Vec<Step> {
    let body = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "tide"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}});
    json_answer(200, &[], &body)
}

/// The same after a while that a busy machine does not multiply: a target that seems many times slower than others loses
/// its sessions.
fn unhurried_answer() -> Vec<Step> {
    let mut steps = answer();
    steps.insert(0, Step::Wait(Duration::from_millis(40)));
    steps
}

/// A gateway in front of providers `a`, `b`, …, each of which gives one answer for ever, with a model `m` of all of them.
struct Routed {
    gateway: TestGateway,
    client: Client,
    providers: Vec<ScriptedProvider>,
}

impl Routed {
    async fn start(model: &str, more: &str, answers: Vec<Vec<Step>>) -> Self {
        let mut providers = Vec::new();
        let mut yaml = String::from("retry: { attempts: 1 }\nproviders:\n");
        let mut targets = Vec::new();
        for (name, answer) in ["a", "b", "c", "d"].iter().zip(answers) {
            let provider = ScriptedProvider::start([answer]).await;
            yaml.push_str(&format!(
                "  {name}: {{ kind: openai-compatible, base_url: \"{}/v1\" }}\n",
                provider.url()
            ));
            targets.push(format!("{name}/x"));
            providers.push(provider);
        }
        yaml.push_str(&format!("models:\n  m: {{ {model}, targets: [{}] }}\n{more}", targets.join(", ")));
        let gateway = TestGateway::start(&yaml).await;
        let client = Client::new(gateway.address());
        Self { gateway, client, providers }
    }

    async fn call(&self, stream: bool) -> String {
        let body = json!({"model": "m", "stream": stream, "messages": [{"role": "user", "content": "Hi"}]});
        target_of(&self.client.post("/v1/chat/completions", &body).await)
    }

    /// Who answered how many of so many calls, one after the other.
    async fn calls(&self, count: usize, stream: bool) -> BTreeMap<String, usize> {
        let mut answered = BTreeMap::new();
        for _ in 0..count {
            *answered.entry(self.call(stream).await).or_default() += 1;
        }
        answered
    }

    /// Calls until every target has answered: whoever is not known is tried by chance.
    async fn until_all_are_known(&self) {
        let mut answered = BTreeSet::new();
        for _ in 0..100 {
            answered.insert(self.call(true).await);
            if answered.len() == self.providers.len() {
                return;
            }
        }
        assert_eq!(answered.len(), self.providers.len(), "{answered:?}");
    }

    async fn admin(&self) -> Client {
        admin(&self.gateway).await
    }
}

async fn admin(gateway: &TestGateway) -> Client {
    let key = gateway.key(NewKey { role: Some(Role::Auditor), ..NewKey::default() }).await;
    Client::new(gateway.address()).with_header("authorization", &format!("Bearer {}", key.expose()))
}

fn target_of(received: &Received) -> String {
    assert_eq!(received.status, 200, "{}", received.text());
    assert!(received.is_complete);
    received.header("x-tidegate-target").to_owned()
}

fn targets(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|it| it["target"].as_str().unwrap()).collect()
}

const AT_ONCE: Duration = Duration::ZERO;
const LATE: Duration = Duration::from_millis(400);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latency_finds_the_target_that_begins_sooner_and_stays_there() {
    let routed =
        Routed::start("strategy: latency", "", vec![stream(LATE, AT_ONCE), stream(AT_ONCE, AT_ONCE)]).await;
    routed.until_all_are_known().await;
    let answered = routed.calls(12, true).await;
    assert!(answered.get("b/x").is_some_and(|&count| count >= 11), "{answered:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throughput_finds_the_target_that_speaks_faster() {
    let routed =
        Routed::start("strategy: throughput", "", vec![stream(AT_ONCE, LATE), stream(AT_ONCE, AT_ONCE)])
            .await;
    routed.until_all_are_known().await;
    let answered = routed.calls(12, true).await;
    assert!(answered.get("b/x").is_some_and(|&count| count >= 11), "{answered:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cost_and_a_mix_of_nothing_but_price_go_to_the_cheapest() {
    let prices = "prices: { a/x: { input: 10, output: 50 }, b/x: { input: 0.1, output: 0.5 } }\n";
    for strategy in
        ["strategy: cost", "strategy: score, score: { price: 1, latency: 0, throughput: 0, reliability: 0 }"]
    {
        // Nobody knows what the third one costs.
        let routed = Routed::start(strategy, prices, vec![answer(), answer(), answer()]).await;
        let answered = routed.calls(12, false).await;
        assert!(answered.get("b/x").is_some_and(|&count| count >= 11), "{strategy}: {answered:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn least_busy_passes_by_a_target_that_still_answers_somebody() {
    let mut endless = open_stream(&[]);
    endless.push(Step::Send(format!("{:x}\r\n{SPEECH}\n\n\r\n", SPEECH.len() + 2).into_bytes()));
    endless.push(Step::Hang);
    let routed = Routed::start("strategy: least-busy", "", vec![endless.clone(), endless]).await;
    let body = json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": "Hi"}]});
    let mut open = Vec::new();
    let mut asked: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..12 {
        let held = routed.client.send(Method::POST, "/v1/chat/completions", body.to_string().into()).await;
        let target = held.headers()["x-tidegate-target"].to_str().unwrap().to_owned();
        *asked.entry(target).or_default() += 1;
        open.push(held);
    }
    // Chance plays a part, and evens itself out: six and six, give or take.
    assert!(asked.len() == 2 && asked.values().all(|&count| count >= 3), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sticky_keeps_a_session_and_a_growing_conversation_at_one_target() {
    let routed = Routed::start("strategy: sticky", "", vec![unhurried_answer(); 3]).await;
    let mut of_sessions = BTreeSet::new();
    for session in 0..12 {
        let client = routed.client.clone().with_header("x-tidegate-session", &format!("session-{session}"));
        let mut of_one = BTreeSet::new();
        for turn in 0..3 {
            let body =
                json!({"model": "m", "messages": [{"role": "user", "content": format!("Turn {turn}")}]});
            of_one.insert(target_of(&client.post("/v1/chat/completions", &body).await));
        }
        assert_eq!(of_one.len(), 1, "session {session}: {of_one:?}");
        of_sessions.extend(of_one);
    }
    assert!(of_sessions.len() > 1, "sessions are spread");
    let mut of_beginnings = BTreeSet::new();
    for subject in 0..12 {
        let mut messages = vec![
            json!({"role": "system", "content": "You know the tides."}),
            json!({"role": "user", "content": format!("Of coast {subject}?")}),
        ];
        let mut of_one = BTreeSet::new();
        for turn in 0..3 {
            let body = json!({"model": "m", "messages": messages});
            of_one.insert(target_of(&routed.client.post("/v1/chat/completions", &body).await));
            messages.push(json!({"role": "assistant", "content": "High."}));
            messages.push(json!({"role": "user", "content": format!("And {turn}?")}));
        }
        assert_eq!(of_one.len(), 1, "conversation {subject}: {of_one:?}");
        of_beginnings.extend(of_one);
    }
    assert!(of_beginnings.len() > 1, "conversations are spread");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_and_states_are_shown_with_the_reason() {
    let routed = Routed::start(
        "strategy: order",
        "",
        vec![json_answer(503, &[], &json!({"error": {"message": "busy"}})), stream(AT_ONCE, AT_ONCE)],
    )
    .await;
    let answered = routed.calls(8, true).await;
    assert_eq!(answered, BTreeMap::from([("b/x".to_owned(), 8)]));
    let admin = routed.admin().await;
    let listed = admin.get("/admin/v1/targets").await.json();
    let [down, up] = listed["data"].as_array().unwrap().as_slice() else { unreachable!("{listed}") };
    assert_eq!((&down["target"], &down["state"]), (&json!("a/x"), &json!("open")), "{listed}");
    assert_eq!(
        (&down["because"], &down["last_failure"]["kind"]),
        (&json!("overloaded"), &json!("overloaded"))
    );
    assert!(down["until"].is_string() && down["error_rate"].as_f64() > Some(0.5), "{down}");
    assert_eq!((&up["state"], &up["calls"], &up["in_flight"]), (&json!("closed"), &json!(8), &json!(0)));
    assert_eq!(up["models"], json!(["m"]));
    assert!(up["time_to_first_token_ms"].as_f64() > Some(0.0) && up["error_rate"] == 0.0, "{up}");
    let metrics = admin.get("/metrics").await.text();
    for line in [
        "tidegate_target_up{provider=\"a\",model=\"x\"} 0",
        "tidegate_target_up{provider=\"b\",model=\"x\"} 1",
        "tidegate_target_calls_in_flight{provider=\"b\",model=\"x\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
    let question = json!({"body": {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}});
    let explained = admin.post("/admin/v1/explain", &question).await.json();
    assert_eq!(targets(&explained["order"]), ["b/x", "a/x"], "{explained}");
    assert!(
        explained["order"][1]["because"].to_string().contains("breaker is open (overloaded)"),
        "{explained}"
    );
    assert_eq!(routed.providers[0].arrived().len(), 5, "and nobody was asked for it");
}

/// A gateway in front of what it takes for OpenAI, with models that are known to lack things.
async fn capable() -> (TestGateway, ScriptedProvider) {
    let provider = ScriptedProvider::start([answer()]).await;
    let yaml = format!(
        "providers: {{ openai: {{ api_key: x, base_url: \"{url}/v1\" }}, else: {{ kind: openai-compatible, base_url: \"{url}/v1\" }} }}\n\
         models:\n  both: {{ targets: [openai/gpt-3.5-turbo, openai/gpt-4o] }}\n  \
         blind: {{ targets: [openai/gpt-3.5-turbo, openai/gpt-4] }}\n  \
         unknown: {{ targets: [openai/gpt-3.5-turbo, else/anything] }}\n  \
         falling: {{ targets: [openai/gpt-3.5-turbo], fallback: [openai/gpt-4o] }}\n",
        url = provider.url()
    );
    (TestGateway::start(&yaml).await, provider)
}

fn with_image(model: &str) -> Value {
    json!({"model": model, "max_tokens": 20, "messages": [{"role": "user", "content": [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]}]})
}

fn long(model: &str, bytes: usize) -> Value {
    json!({"model": model, "max_tokens": 20, "messages": [{"role": "user", "content": "tide ".repeat(bytes / 5)}]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_lacks_what_a_call_needs_is_not_asked() {
    let (gateway, provider) = capable().await;
    let client = Client::new(gateway.address());
    let plain = json!({"model": "both", "messages": [{"role": "user", "content": "Hi"}]});
    let schema = json!({"model": "both", "messages": [{"role": "user", "content": "Hi"}], "response_format":
        {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}});
    for (what, body, expected) in [
        ("nothing special", &plain, "openai/gpt-3.5-turbo"),
        ("an image", &with_image("both"), "openai/gpt-4o"),
        ("a schema", &schema, "openai/gpt-4o"),
        ("an input that does not fit", &long("both", 100_000), "openai/gpt-4o"),
        ("an input that fits", &long("both", 20_000), "openai/gpt-3.5-turbo"),
        ("an image, and a model that nobody knows", &with_image("unknown"), "else/anything"),
        ("an image, and a fallback that sees", &with_image("falling"), "openai/gpt-4o"),
        // It says so itself, if it is so: the caller has chosen it.
        ("an image for a target by name", &with_image("openai/gpt-3.5-turbo"), "openai/gpt-3.5-turbo"),
        // Likely too long is not certainly too long.
        ("an input that perhaps fits nowhere", &long("blind", 80_000), "openai/gpt-3.5-turbo"),
    ] {
        let received = client.post("/v1/chat/completions", body).await;
        assert_eq!(target_of(&received), expected, "{what}");
    }
    let asked = provider.arrived().len();
    let refused = client.post("/v1/chat/completions", &with_image("blind")).await;
    let error = &refused.json()["error"];
    assert_eq!((refused.status.as_u16(), &error["code"]), (400, &json!("no_capable_target")), "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("openai/gpt-3.5-turbo sees no images; openai/gpt-4 sees no images"),
        "{message}"
    );
    let refused = client.post("/v1/messages", &long("blind", 300_000)).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["type"]),
        (400, &json!("error")),
        "{}",
        refused.text()
    );
    assert!(refused.text().contains("takes 16385 tokens, and this input has"), "{}", refused.text());
    assert_eq!(provider.arrived().len(), asked, "nobody was asked");
    let calls = gateway.calls().await;
    let outcomes = calls.iter().filter(|call| call.status == Some(400)).count();
    assert_eq!(outcomes, 2, "both are in the ledger");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_explanation_says_what_then_happens_and_why_the_others_are_not_asked() {
    let (gateway, provider) = capable().await;
    let admin = admin(&gateway).await;
    let only: tidegate_policy::Permissions = serde_json::from_value(json!({"providers": ["else"]})).unwrap();
    let narrow = NewKey { permissions: only, ..NewKey::default() };
    let (id, secret) = gateway.key_with_id(narrow).await;
    let (wide_id, wide) = gateway.key_with_id(NewKey::default()).await;
    let budget: tidegate_policy::Limits =
        serde_json::from_value(json!({"budgets": [{"usd": 5, "per": "day"}]})).unwrap();
    let (poor_id, poor) = gateway.key_with_id(NewKey { limits: budget, ..NewKey::default() }).await;
    for (key, secret, body, order, passed_over, refusal) in [
        (
            &wide_id,
            &wide,
            with_image("both"),
            vec!["openai/gpt-4o"],
            vec![("openai/gpt-3.5-turbo", "requirement")],
            None,
        ),
        (
            &wide_id,
            &wide,
            with_image("blind"),
            vec![],
            vec![("openai/gpt-3.5-turbo", "requirement"), ("openai/gpt-4", "requirement")],
            Some(400),
        ),
        (
            &id,
            &secret,
            long("unknown", 200),
            vec!["else/anything"],
            vec![("openai/gpt-3.5-turbo", "permission")],
            None,
        ),
        (
            &id,
            &secret,
            long("both", 200),
            vec![],
            vec![("openai/gpt-3.5-turbo", "permission"), ("openai/gpt-4o", "permission")],
            Some(403),
        ),
        (
            &poor_id,
            &poor,
            long("unknown", 200),
            vec!["openai/gpt-3.5-turbo"],
            vec![("else/anything", "price")],
            None,
        ),
        (&wide_id, &wide, long("nobody", 200), vec![], vec![], Some(404)),
    ] {
        let question = json!({"key_id": key.to_string(), "body": body});
        let explained = admin.post("/admin/v1/explain", &question).await;
        assert_eq!(explained.status, 200, "{}", explained.text());
        let explained = explained.json();
        assert_eq!(targets(&explained["order"]), order, "{explained}");
        let passed = explained["passed_over"].as_array().unwrap();
        let passed: Vec<_> = passed
            .iter()
            .map(|it| (it["target"].as_str().unwrap(), it["reason"].as_str().unwrap()))
            .collect();
        assert_eq!(passed, passed_over, "{explained}");
        assert_eq!(explained["refusal"]["status"].as_u64(), refusal, "{explained}");
        let client = Client::new(gateway.address())
            .with_header("authorization", &format!("Bearer {}", secret.expose()));
        let received = client.post("/v1/chat/completions", &body).await;
        match refusal {
            None => assert_eq!(target_of(&received), order[0]),
            Some(status) => {
                assert_eq!(u64::from(received.status.as_u16()), status, "{}", received.text());
                assert_eq!(received.json()["error"]["message"], explained["refusal"]["message"]);
            }
        }
    }
    assert_eq!(provider.arrived().len(), 3, "explaining asks nobody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_all_dialects_are_explained_and_wrong_ones_refused() {
    let (gateway, _provider) = capable().await;
    let admin = admin(&gateway).await;
    let contents = json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]});
    let messages = json!({"model": "both", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]});
    for (path, body, dialect) in [
        ("/v1/messages", &messages, "anthropic-messages"),
        ("/v1/messages/count_tokens", &messages, "anthropic-messages"),
        ("/v1beta/models/both:streamGenerateContent?alt=sse", &contents, "gemini"),
        ("/v1/chat/completions", &messages, "openai-chat"),
    ] {
        let explained = admin.post("/admin/v1/explain", &json!({"path": path, "body": body})).await.json();
        assert_eq!(explained["dialect"], dialect, "{explained}");
        assert_eq!(targets(&explained["order"]), ["openai/gpt-3.5-turbo", "openai/gpt-4o"], "{explained}");
        assert_eq!(explained["order"][0]["passes_through"], dialect == "openai-chat", "{explained}");
    }
    for (question, status) in [
        (json!({"path": "/v1/models", "body": {}}), 400),
        (json!({"body": {"model": "both"}}), 400),
        (json!({"body": []}), 400),
        (json!({}), 400),
        (json!({"key_id": "key_nobody", "body": messages}), 404),
        (json!({"headers": {"bad header": "x"}, "body": messages}), 400),
    ] {
        let received = admin.post("/admin/v1/explain", &question).await;
        assert_eq!(received.status, status, "{question}: {}", received.text());
    }
}
