//! Who is asked, over real sockets: by the conditions of the configuration, by the caller's wishes, by how hard a call looks.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use serde_json::{Value, json};
use tidegate_policy::Permissions;
use tidegate_store::NewKey;
use tidegate_testkit::{Client, Received, ScriptedProvider, TestGateway, json_answer};

fn openai_answer(said: &str) -> Value {
    json!({"id": "c1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}})
}

fn anthropic_answer() -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5",
        "content": [{"type": "text", "text": "claude"}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 5, "output_tokens": 2}})
}

/// Three providers that answer, and one that is never there.
struct Row {
    openai: ScriptedProvider,
    anthropic: ScriptedProvider,
    openrouter: ScriptedProvider,
    gateway: TestGateway,
}

impl Row {
    async fn start(more: &str) -> Self {
        let openai = ScriptedProvider::start([json_answer(200, &[], &openai_answer("gpt"))]).await;
        let anthropic = ScriptedProvider::start([json_answer(200, &[], &anthropic_answer())]).await;
        let openrouter = ScriptedProvider::start([json_answer(200, &[], &openai_answer("router"))]).await;
        let refusing = ScriptedProvider::start([json_answer(
            401,
            &[],
            &json!({"error": {"message": "no", "type": "authentication_error"}}),
        )])
        .await;
        let yaml = format!(
            "providers:
  openai: {{ api_key: sk-a, base_url: '{}/v1' }}
  anthropic: {{ api_key: sk-b, base_url: '{}' }}
  openrouter: {{ api_key: sk-c, base_url: '{}/v1' }}
  out: {{ kind: openai, api_key: sk-d, base_url: '{}/v1' }}
{more}",
            openai.url(),
            anthropic.url(),
            openrouter.url(),
            refusing.url()
        );
        let gateway = TestGateway::start(&yaml).await;
        Self { openai, anthropic, openrouter, gateway }
    }

    fn client(&self) -> Client {
        Client::new(self.gateway.address())
    }

    async fn chat(&self, change: Value) -> Received {
        self.client().post("/v1/chat/completions", &chat(&change)).await
    }

    /// Who answered, or what the caller was told.
    async fn target(&self, change: Value) -> String {
        let received = self.chat(change).await;
        match received.status.as_u16() {
            200 => received.header("x-tidegate-target").to_owned(),
            status => format!("{status} {}", received.json()["error"]["message"]),
        }
    }
}

fn chat(change: &Value) -> Value {
    let mut body = json!({"model": "fast", "messages": [{"role": "user", "content": "Hi"}]});
    for (name, value) in change.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

const FAST: &str = "models:
  fast:
    targets: [openai/gpt-5-mini, anthropic/claude-haiku-4-5, openrouter/vendor/model]
prices:
  openrouter/vendor/model: { input: 0.01, output: 0.02 }
";

#[tokio::test]
async fn conditions_choose_among_targets_and_a_broken_one_does_not_hold() {
    let row = Row::start(
        "models:
  tiered:
    targets:
      - { model: openai/gpt-5, when: \"call.headers['x-tier'] == 'gold' && target.provider == 'openai'\" }
      - { model: anthropic/claude-haiku-4-5, when: 'call.tools > 0 || call.has_images' }
      - { model: openai/gpt-5-nano, when: 'int(call.headers[\"x-level\"]) > 3' }
      - openai/gpt-5-mini
  short:
    when: call.input_tokens < 1000 && budget.used < 0.9 && now.hour >= 0
    targets: [openai/gpt-5-nano]
    fallback: [long]
  long: { targets: [openai/gpt-5] }
  closed: { when: call.user == 'nobody', targets: [openai/gpt-5] }
",
    )
    .await;
    let tool = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]);
    let long = json!([{"role": "user", "content": "word ".repeat(2_000)}]);
    for (change, target) in [
        (json!({"model": "tiered"}), "openai/gpt-5-mini"),
        (json!({"model": "tiered", "tools": tool}), "anthropic/claude-haiku-4-5"),
        (json!({"model": "tiered", "messages": image}), "anthropic/claude-haiku-4-5"),
        (json!({"model": "short"}), "openai/gpt-5-nano"),
        (json!({"model": "short", "messages": long}), "openai/gpt-5"),
        (json!({"model": "closed", "user": "nobody"}), "openai/gpt-5"),
    ] {
        assert_eq!(row.target(change.clone()).await, target, "{change}");
    }
    for (name, value, target) in [
        ("x-tier", "gold", "openai/gpt-5"),
        ("X-Tier", "silver", "openai/gpt-5-mini"),
        ("x-level", "9", "openai/gpt-5-nano"),
    ] {
        let client = row.client().with_header(name, value);
        let received = client.post("/v1/chat/completions", &chat(&json!({"model": "tiered"}))).await;
        assert_eq!(received.header("x-tidegate-target"), target, "{name}: {value}");
    }
    let refused = row.chat(json!({"model": "closed"})).await;
    let message = refused.json()["error"]["message"].to_string();
    assert_eq!(refused.status, 400, "{message}");
    assert!(message.contains("openai/gpt-5 is not meant for calls like this one"), "{message}");
    assert!(!message.contains("nobody"), "{message}");
    let metrics = row.client().get("/metrics").await.text();
    assert!(metrics.contains("tidegate_condition_failures_total{model=\"tiered\"}"), "{metrics}");
}

#[tokio::test]
async fn a_condition_sees_how_far_the_callers_budget_is_used() {
    let row = Row::start(
        "models:
  careful:
    when: budget.used < 0.5
    targets: [openai/dear]
    fallback: [openai/cheap]
prices:
  openai/dear: { input: 100000, output: 0 }
  openai/cheap: { input: 0, output: 0 }
",
    )
    .await;
    let limits = json!({"budgets": [{"usd": "1", "per": "day", "kind": "soft"}]});
    let new = NewKey { limits: serde_json::from_value(limits).unwrap(), ..NewKey::default() };
    let key = row.gateway.key(new).await;
    let client = row.client().with_header("authorization", &format!("Bearer {}", key.expose()));
    let body = chat(&json!({"model": "careful"}));
    // Five tokens of input cost half a dollar.
    for target in ["openai/dear", "openai/cheap", "openai/cheap"] {
        let received = client.post("/v1/chat/completions", &body).await;
        assert_eq!(received.header("x-tidegate-target"), target, "{}", received.text());
    }
    let free = row.gateway.key(NewKey::default()).await;
    let client = row.client().with_header("authorization", &format!("Bearer {}", free.expose()));
    let received = client.post("/v1/chat/completions", &body).await;
    assert_eq!(received.header("x-tidegate-target"), "openai/dear");
}

#[tokio::test]
async fn further_models_are_asked_when_the_first_one_cannot() {
    let row = Row::start(FAST).await;
    let body = json!({"model": "out/gpt-5", "models": ["out/gpt-4", "openai/gpt-5"], "x": [1.50]});
    assert_eq!(row.target(body).await, "openai/gpt-5");
    let sent = row.openai.arrived()[0].json();
    assert_eq!((&sent["models"], &sent["model"], &sent["x"]), (&Value::Null, &json!("gpt-5"), &json!([1.5])));
    // Who names several need not name one besides.
    let several = json!({"model": null, "models": ["openai/gpt-5-mini", "fast"]});
    assert_eq!(row.target(several).await, "openai/gpt-5-mini");
    for (name, target) in
        [("gpt-5-nano", "openai/gpt-5-nano"), ("claude-haiku-4-5", "anthropic/claude-haiku-4-5")]
    {
        let mut body = chat(&json!({"models": [name]}));
        body.as_object_mut().unwrap().remove("model");
        let received = row.client().post("/v1/chat/completions", &body).await;
        assert_eq!(received.header("x-tidegate-target"), target, "{}", received.text());
    }
    assert_eq!(row.openai.arrived().last().unwrap().json()["model"], "gpt-5-nano");
    let unknown = json!({"model": "openai/gpt-5", "models": ["nobody-knows"]});
    assert!(row.target(unknown).await.starts_with("404"));
    // In other dialects the same is said by header.
    let client = row.client().with_header("x-tidegate-models", "openai/gpt-5-nano, fast");
    let body =
        json!({"model": "out/gpt-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]});
    let received = client.post("/v1/messages", &body).await;
    assert_eq!(received.header("x-tidegate-target"), "openai/gpt-5-nano", "{}", received.text());
}

#[tokio::test]
async fn providers_are_ordered_chosen_and_left_out_by_the_names_openrouters_users_know() {
    let row = Row::start(FAST).await;
    for (provider, target) in [
        (json!({}), "openai/gpt-5-mini"),
        (json!({"order": ["Anthropic"]}), "anthropic/claude-haiku-4-5"),
        (json!({"order": ["nobody", "Anthropic", "OpenAI"]}), "anthropic/claude-haiku-4-5"),
        (json!({"only": ["anthropic"]}), "anthropic/claude-haiku-4-5"),
        (json!({"ignore": ["OpenAI", "openrouter"]}), "anthropic/claude-haiku-4-5"),
        (json!({"sort": "price"}), "openrouter/vendor/model"),
        (json!({"sort": {"by": "price", "partition": "model"}}), "openrouter/vendor/model"),
        (json!({"max_price": {"prompt": "0.02", "completion": 1}}), "openrouter/vendor/model"),
        (json!({"only": ["deepinfra/turbo"]}), "openrouter/vendor/model"),
        (json!({"order": ["openrouter"], "allow_fallbacks": false}), "openrouter/vendor/model"),
    ] {
        assert_eq!(row.target(json!({"provider": provider})).await, target, "{provider}");
    }
    assert_eq!(row.target(json!({"model": "fast:floor"})).await, "openrouter/vendor/model");
    assert_eq!(row.target(json!({"model": "openai/gpt-5:nitro"})).await, "openai/gpt-5");
    let across = json!({"model": "openai/gpt-5", "models": ["openai/gpt-5-nano"],
        "provider": {"sort": {"by": "price", "partition": "none"}}});
    assert_eq!(row.target(across).await, "openai/gpt-5-nano");
    let nobody = row.chat(json!({"provider": {"only": ["out"]}})).await;
    let message = nobody.json()["error"]["message"].to_string();
    assert_eq!(nobody.status, 400, "{message}");
    assert!(message.contains("openai/gpt-5-mini is not among `provider.only`"), "{message}");
    // Without fallbacks, the one that fails is the only one.
    let alone = json!({"model": "out/gpt-5", "provider": {"allow_fallbacks": false}});
    assert!(row.target(alone).await.starts_with("502"));
}

#[tokio::test]
async fn wishes_reach_only_a_provider_that_knows_them_and_nothing_is_dropped_unseen() {
    let row = Row::start(FAST).await;
    let wishes = json!({"only": ["deepinfra"], "zdr": true});
    let received = row.chat(json!({"provider": wishes})).await;
    assert_eq!(received.header("x-tidegate-dropped"), "");
    assert_eq!(row.openrouter.arrived()[0].json()["provider"], wishes);
    // Models that nobody knows here may be known behind it; those that are known are asked here.
    for (models, kept) in [(json!(["vendor/x"]), true), (json!(["vendor/x", "openai/gpt-5"]), false)] {
        let body =
            json!({"model": "openrouter/vendor/model", "models": models, "provider": {"sort": "price"}});
        assert_eq!(row.target(body).await, "openrouter/vendor/model");
        let sent = row.openrouter.arrived().last().unwrap().json();
        assert_eq!(sent["models"] == models, kept, "{sent}");
        assert_eq!(sent["provider"], json!({"sort": "price"}));
    }
    // Meant for providers of this gateway: heeded here, and taken out, also for one that would know them.
    row.chat(json!({"provider": {"order": ["openrouter"]}, "models": ["fast"]})).await;
    let sent = row.openrouter.arrived().last().unwrap().json();
    assert_eq!((&sent["provider"], &sent["models"]), (&Value::Null, &Value::Null));
    for (wishes, dropped) in [
        (json!({"sort": "price", "data_collection": "allow"}), ""),
        (json!({"data_collection": "deny", "zdr": true}), "provider.data_collection, provider.zdr"),
    ] {
        for model in ["openai/gpt-5", "anthropic/claude-haiku-4-5"] {
            let received = row.chat(json!({"model": model, "models": [model], "provider": wishes})).await;
            assert_eq!(received.status, 200, "{model}: {}", received.text());
            assert_eq!(received.header("x-tidegate-dropped"), dropped, "{model} {wishes}");
        }
    }
    for arrived in row.openai.arrived().iter().chain(&row.anthropic.arrived()) {
        let sent = arrived.json();
        assert!(sent["provider"].is_null() && sent["models"].is_null(), "{sent}");
    }
    // Whoever cannot express all of the request is not asked.
    let strict = json!({"logit_bias": {"50256": -100}, "provider": {"order": ["anthropic"], "require_parameters": true}});
    assert_eq!(row.target(strict).await, "openai/gpt-5-mini");
}

#[tokio::test]
async fn wishes_of_the_wrong_shape_are_refused_in_the_callers_dialect() {
    let row = Row::start(FAST).await;
    let refused = row.chat(json!({"provider": {"sort": "cheapest"}})).await;
    let error = &refused.json()["error"];
    assert_eq!((refused.status.as_u16(), &error["param"]), (400, &json!("provider.sort")));
    assert!(error["message"].as_str().unwrap().contains("`price`, `throughput` or `latency`"), "{error}");
    let client = row.client().with_header("x-tidegate-provider", r#"{"only": "anthropic"}"#);
    let body = json!({"model": "fast", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]});
    let refused = client.post("/v1/messages", &body).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["error"]["type"]),
        (400, &json!("invalid_request_error"))
    );
    assert!(row.openai.arrived().is_empty() && row.anthropic.arrived().is_empty());
}

#[tokio::test]
async fn nothing_that_a_caller_wishes_widens_what_its_key_allows() {
    let row = Row::start(FAST).await;
    let permissions: Permissions =
        serde_json::from_value(json!({"models": ["fast"], "providers": ["openai", "out"]})).unwrap();
    let key = row.gateway.key(NewKey { permissions, ..NewKey::default() }).await;
    let client = row.client().with_header("authorization", &format!("Bearer {}", key.expose()));
    for (change, expected) in [
        (json!({}), Ok("openai/gpt-5-mini")),
        (json!({"model": "fast:floor"}), Ok("openai/gpt-5-mini")),
        (json!({"provider": {"order": ["anthropic", "openrouter"]}}), Ok("openai/gpt-5-mini")),
        (json!({"model": "openai/gpt-5", "models": ["fast"]}), Ok("openai/gpt-5-mini")),
        (json!({"model": "openai/gpt-5"}), Err(403)),
        (json!({"models": ["openai/gpt-5"], "provider": {"ignore": ["openai"]}}), Err(400)),
        (json!({"model": "openai/gpt-5", "models": ["anthropic/claude-haiku-4-5"]}), Err(403)),
    ] {
        let received = client.post("/v1/chat/completions", &chat(&change)).await;
        match expected {
            Ok(target) => {
                assert_eq!(received.header("x-tidegate-target"), target, "{change}: {}", received.text());
            }
            Err(status) => assert_eq!(received.status.as_u16(), status, "{change}: {}", received.text()),
        }
    }
    assert!(row.anthropic.arrived().is_empty() && row.openrouter.arrived().is_empty());
}

#[tokio::test]
async fn auto_sends_easy_calls_to_the_small_model_and_hard_ones_to_the_large_one() {
    let auto = "auto: { small: fast, medium: openai/gpt-5-mini, large: best }
models:
  fast: { targets: [openai/gpt-5-nano] }
  best: { targets: [anthropic/claude-opus-4-5, openai/gpt-5] }
";
    let row = Row::start(auto).await;
    let hard = "Prove that the algorithm terminates, analyse its complexity and derive a lower bound, step by step. \
                Compare it with two others and justify which one you would implement.";
    for (prompt, target, size) in [
        ("Hi!", "openai/gpt-5-nano", "small; difficulty=0."),
        (
            "Explain how a binary search works and give a short example in Python.",
            "openai/gpt-5-mini",
            "medium; difficulty=0.",
        ),
        (hard, "anthropic/claude-opus-4-5", "large; difficulty=0."),
    ] {
        let received =
            row.chat(json!({"model": "auto", "messages": [{"role": "user", "content": prompt}]})).await;
        assert_eq!(received.header("x-tidegate-target"), target, "{prompt}: {}", received.text());
        let route = received.header("x-tidegate-route");
        assert!(route.starts_with(size), "{prompt}: {route}");
    }
    assert_eq!(row.chat(json!({"model": "fast"})).await.header("x-tidegate-route"), "");
    // As a further model, and with wishes, it is a name like any other.
    let further = json!({"model": "out/gpt-5", "models": ["auto"]});
    assert_eq!(row.target(further).await, "openai/gpt-5-nano");
    let messages = json!([{"role": "user", "content": hard}]);
    let steered = json!({"model": "auto", "messages": messages, "provider": {"ignore": ["anthropic"]}});
    assert_eq!(row.target(steered).await, "openai/gpt-5");
    let listed = row.client().get("/v1/models").await.json();
    assert_eq!(listed["data"][0]["id"], "auto");
    // Experiments of the model that is chosen take part.
    let experiment = "experiments: { greeting: { model: fast, by: call, arms: { control: , other: { target: openai/gpt-5 } } } }";
    let tried = Row::start(&format!("{auto}{experiment}\n")).await;
    let received = tried.chat(json!({"model": "auto"})).await;
    assert!(received.header("x-tidegate-experiment").starts_with("greeting="), "{}", received.text());
    // A key that allows the models allows what is chosen among them.
    let permissions: Permissions = serde_json::from_value(json!({"models": ["fast"]})).unwrap();
    let key = row.gateway.key(NewKey { permissions, ..NewKey::default() }).await;
    let client = row.client().with_header("authorization", &format!("Bearer {}", key.expose()));
    let easy = client.post("/v1/chat/completions", &chat(&json!({"model": "auto"}))).await;
    assert_eq!(easy.header("x-tidegate-target"), "openai/gpt-5-nano", "{}", easy.text());
    let hard = chat(&json!({"model": "auto", "messages": messages}));
    assert_eq!(client.post("/v1/chat/completions", &hard).await.status, 403);
}
