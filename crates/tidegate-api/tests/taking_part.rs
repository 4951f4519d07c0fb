//! Who takes part in an experiment, over real sockets: a call that some arm could not answer is in none, goes its ordinary way, and
//! is counted with the reason.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tidegate_catalog::NanoDollars;
use tidegate_gateway::experiments::{ExperimentReport, report_experiment};
use tidegate_policy::{Budget, BudgetKind, BudgetPeriod, Limits, Permissions, Role};
use tidegate_store::{KeySecret, NewKey};
use tidegate_testkit::{Client, Received, ScriptedProvider, Step, TestGateway, json_answer};

fn openai() -> Vec<Step> {
    let body = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "High."}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    });
    json_answer(200, &[], &body)
}

fn anthropic() -> Vec<Step> {
    let body = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "stop_sequence": null, "content": [{"type": "text", "text": "High."}],
        "usage": {"input_tokens": 10, "output_tokens": 5},
    });
    json_answer(200, &[], &body)
}

/// A model that can do much, with a candidate that can do less and costs ten times as much, and one of another dialect.
struct Trial {
    one: ScriptedProvider,
    other: ScriptedProvider,
    third: ScriptedProvider,
    gateway: TestGateway,
}

impl Trial {
    async fn start() -> Self {
        let one = ScriptedProvider::start([openai()]).await;
        let other = ScriptedProvider::start([openai()]).await;
        let third = ScriptedProvider::start([anthropic()]).await;
        let yaml = format!(
            "providers:\n  one: {{ kind: openai, base_url: '{}/v1', api_key: sk-1234567890 }}\n  \
             other: {{ kind: openai, base_url: '{}/v1', api_key: sk-0987654321 }}\n  \
             third: {{ kind: anthropic, base_url: '{}', api_key: sk-1357924680 }}\n\
             prices: {{ one/*: {{ input: 1, output: 2 }}, other/*: {{ input: 10, output: 20 }}, third/*: {{ input: 1, output: 2 }} }}\n\
             models:\n  fast: {{ targets: [one/gpt-5-mini], retry: {{ attempts: 1 }} }}\n  \
             smart: {{ targets: [one/gpt-5], retry: {{ attempts: 1 }} }}\n\
             auto: {{ small: fast, large: smart }}\n\
             experiments:\n  greeting: {{ model: fast, by: call, guard: false, arms: {{ control: {{}}, new: {{ target: other/gpt-3.5-turbo }} }} }}\n  \
             dialects: {{ model: smart, by: call, arms: {{ control: {{}}, claude: {{ target: third/claude-haiku-4-5 }} }} }}\n",
            one.url(),
            other.url(),
            third.url(),
        );
        let gateway = TestGateway::start(&yaml).await;
        Self { one, other, third, gateway }
    }

    fn client(&self) -> Client {
        Client::new(self.gateway.address())
    }

    async fn of_key(&self, new: NewKey) -> Client {
        bearer(self.client(), &self.gateway.key(new).await)
    }

    async fn report(&self, name: &str) -> ExperimentReport {
        self.gateway.gateway().flush_ledger().await;
        let settings = self.gateway.gateway().settings();
        report_experiment(&settings, &self.gateway.store().access(), name).await.unwrap().unwrap()
    }
}

fn bearer(client: Client, secret: &KeySecret) -> Client {
    client.with_header("authorization", &format!("Bearer {}", secret.expose()))
}

fn question(more: &Value) -> Value {
    let mut question = json!({"model": "fast", "max_completion_tokens": 1_000,
        "messages": [{"role": "user", "content": "How high is the tide?"}]});
    question.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    question
}

async fn ask(client: &Client, question: &Value) -> Received {
    client.post("/v1/chat/completions", question).await
}

/// That twenty such calls are answered by the model's own target and are in no arm.
async fn takes_no_part(trial: &Trial, what: &str, client: &Client, question: &Value, target: &str) {
    let before = (trial.other.arrived().len(), trial.third.arrived().len());
    for _ in 0..20 {
        let received = ask(client, question).await;
        assert_eq!(received.status, 200, "{what}: {}", received.text());
        assert_eq!(received.header("x-tidegate-experiment"), "", "{what}");
        assert_eq!(received.header("x-tidegate-target"), target, "{what}");
    }
    assert_eq!((trial.other.arrived().len(), trial.third.arrived().len()), before, "{what}");
}

/// The arms that forty such calls are in.
async fn arms(what: &str, client: &Client, question: &Value) -> BTreeSet<String> {
    let mut arms = BTreeSet::new();
    for _ in 0..40 {
        let received = ask(client, question).await;
        assert_eq!(received.status, 200, "{what}: {}", received.text());
        arms.insert(received.header("x-tidegate-experiment").to_owned());
    }
    arms
}

fn both(experiment: &str, other: &str) -> BTreeSet<String> {
    BTreeSet::from([format!("{experiment}=control"), format!("{experiment}={other}")])
}

fn reasons(report: &ExperimentReport) -> BTreeMap<&str, u64> {
    report.left_out.iter().map(|(reason, calls)| (reason.as_str(), *calls)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_one_arm_could_not_answer_goes_its_ordinary_way_and_is_counted() {
    let trial = Trial::start().await;
    let client = trial.client();
    let image = json!([{"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]);
    let schema =
        json!({"type": "json_schema", "json_schema": {"name": "tide", "schema": {"type": "object"}}});
    for (what, more) in [
        ("images", json!({"messages": [{"role": "user", "content": image}]})),
        ("a schema", json!({"response_format": schema})),
        ("a long conversation", json!({"messages": [{"role": "user", "content": "tide ".repeat(20_000)}]})),
    ] {
        takes_no_part(&trial, what, &client, &question(&more), "one/gpt-5-mini").await;
    }
    assert_eq!(arms("a plain call", &client, &question(&json!({}))).await, both("greeting", "new"));
    let tool = json!({"type": "function", "function": {"name": "tide", "parameters": {"type": "object"}}});
    let with_tools = question(&json!({"tools": [tool]}));
    assert_eq!(arms("both call tools", &client, &with_tools).await, both("greeting", "new"));

    let report = trial.report("greeting").await;
    assert_eq!(reasons(&report), BTreeMap::from([("requirement", 60)]));
    assert_eq!(report.arms.iter().map(|arm| arm.calls).sum::<u64>(), 80);
    let calls = trial.gateway.calls().await;
    let left_out = calls.iter().filter_map(|call| call.exposure.as_ref()?.left_out.as_deref());
    assert_eq!(left_out.collect::<BTreeSet<_>>(), BTreeSet::from(["requirement"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_wishes_that_decide_about_the_target_keep_a_call_out() {
    let trial = Trial::start().await;
    let client = trial.client();
    for (what, provider) in [
        ("a price that all meet", json!({"max_price": {"prompt": 10, "completion": 20}})),
        ("no fallbacks, of which there are none", json!({"allow_fallbacks": false})),
        ("somebody who is in no arm", json!({"ignore": ["third"]})),
        ("all arms", json!({"only": ["one", "other"]})),
        ("what everybody gets", json!({"data_collection": "allow"})),
        ("what all can express", json!({"require_parameters": true})),
    ] {
        let question = question(&json!({"provider": provider}));
        assert_eq!(arms(what, &client, &question).await, both("greeting", "new"), "{what}");
    }
    let naming_itself = question(&json!({"models": ["fast"]}));
    assert_eq!(arms("the model itself", &client, &naming_itself).await, both("greeting", "new"));
    for (what, more) in [
        ("a price that one does not meet", json!({"provider": {"max_price": {"prompt": 5}}})),
        ("an order", json!({"provider": {"order": ["one"]}})),
        ("some only", json!({"provider": {"only": ["one"]}})),
        ("somebody not", json!({"provider": {"ignore": ["other"]}})),
        ("a sort", json!({"provider": {"sort": "price"}})),
        ("further models", json!({"models": ["smart"]})),
        ("a suffix", json!({"model": "fast:floor"})),
        ("what only others understand", json!({"provider": {"data_collection": "deny"}})),
    ] {
        takes_no_part(&trial, what, &client, &question(&more), "one/gpt-5-mini").await;
    }
    assert_eq!(reasons(&trial.report("greeting").await), BTreeMap::from([("steering", 160)]));

    // Calls for `auto` take part in the experiment of the model that is chosen.
    assert_eq!(arms("auto", &client, &question(&json!({"model": "auto"}))).await, both("greeting", "new"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_key_may_not_use_or_pay_for_keeps_its_calls_out_whatever_their_arm() {
    let trial = Trial::start().await;
    let plain = question(&json!({}));
    let permissions = |value: Value| -> Permissions { serde_json::from_value(value).unwrap() };
    let narrow = NewKey { permissions: permissions(json!({"providers": ["one"]})), ..NewKey::default() };
    takes_no_part(&trial, "a permission", &trial.of_key(narrow).await, &plain, "one/gpt-5-mini").await;
    // There a thousand tokens cost two cents, here a fifth of one.
    let thrifty = NewKey { permissions: permissions(json!({"max_usd_per_call": 0.01})), ..NewKey::default() };
    takes_no_part(&trial, "a price", &trial.of_key(thrifty).await, &plain, "one/gpt-5-mini").await;
    let budget = |nano_dollars| Limits {
        budgets: vec![Budget {
            usd: NanoDollars(nano_dollars),
            per: BudgetPeriod::Lifetime,
            kind: BudgetKind::Hard,
        }],
        ..Limits::default()
    };
    let poor = NewKey { limits: budget(10_000_000), ..NewKey::default() };
    takes_no_part(&trial, "a budget", &trial.of_key(poor).await, &plain, "one/gpt-5-mini").await;
    let rich = trial.of_key(NewKey { limits: budget(1_000_000_000), ..NewKey::default() }).await;
    assert_eq!(arms("enough money", &rich, &plain).await, both("greeting", "new"));
    let expected = BTreeMap::from([("budget", 20), ("permission", 20), ("price", 20)]);
    assert_eq!(reasons(&trial.report("greeting").await), expected);

    // Where not even the ordinary way has room, the call is refused and nothing is counted.
    let broke = trial.of_key(NewKey { limits: budget(1_000), ..NewKey::default() }).await;
    let refused = ask(&broke, &plain).await;
    assert_eq!((refused.status.as_u16(), refused.header("x-tidegate-experiment")), (402, ""));
    assert_eq!(reasons(&trial.report("greeting").await), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strict_call_takes_part_where_every_arm_can_express_it_and_the_explanation_says_so() {
    let trial = Trial::start().await;
    let strict = trial.client().with_header("x-tidegate-strict", "true");
    let smart = |more: &Value| {
        let mut question = question(more);
        question["model"] = json!("smart");
        question
    };
    let inexpressible = smart(&json!({"logit_bias": {"42": 1}}));
    takes_no_part(&trial, "strict", &strict, &inexpressible, "one/gpt-5").await;
    assert_eq!(arms("expressible", &strict, &smart(&json!({}))).await, both("dialects", "claude"));
    assert_eq!(arms("not strict", &trial.client(), &inexpressible).await, both("dialects", "claude"));
    assert_eq!(reasons(&trial.report("dialects").await), BTreeMap::from([("strict", 20)]));
    assert!(!trial.one.arrived().is_empty());

    let admin = NewKey { role: Some(Role::Admin), ..NewKey::default() };
    let admin = trial.of_key(admin).await;
    let explain = async |body: &Value| {
        let request = json!({"path": "/v1/chat/completions", "body": body});
        let received = admin.post("/admin/v1/explain", &request).await;
        assert_eq!(received.status, 200, "{}", received.text());
        received.json()
    };
    let plain = explain(&question(&json!({}))).await;
    assert!(plain["experiment"].as_str().unwrap().starts_with("greeting="), "{plain}");
    assert_eq!(plain["left_out_of_experiment"], Value::Null);
    let auto = explain(&question(&json!({"model": "auto"}))).await;
    assert!(auto["experiment"].as_str().unwrap().starts_with("greeting="), "{auto}");
    let long =
        explain(&question(&json!({"messages": [{"role": "user", "content": "tide ".repeat(20_000)}]}))).await;
    let why = long["left_out_of_experiment"].as_str().unwrap();
    assert!(why.starts_with("greeting: other/gpt-3.5-turbo ") && long["experiment"].is_null(), "{long}");
}
