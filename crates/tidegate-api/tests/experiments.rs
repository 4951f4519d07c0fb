//! Experiments over real sockets: callers stay in their arm, an arm that fails is stopped, a canary goes forward and back, and
//! shadows see everything and are seen by nobody.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_gateway::experiments::{ExperimentReport, ShadowFate, report_experiment};
use tidegate_store::{Actor, AuditQuery, LedgerEntry, NewKey, NewTeam, SHADOW};

use tidegate_testkit::{Client, Received, ScriptedProvider, Step, TestGateway, event_stream, json_answer};

/// An answer in OpenAI's dialect.
fn openai(text: &str) -> Vec<Step> {
    let body = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    });
    json_answer(200, &[], &body)
}

/// An answer in Anthropic's dialect.
fn anthropic(text: &str) -> Vec<Step> {
    let body = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "stop_sequence": null, "content": [{"type": "text", "text": text}],
        "usage": {"input_tokens": 10, "output_tokens": 5},
    });
    json_answer(200, &[], &body)
}

fn broken() -> Vec<Step> {
    json_answer(
        400,
        &[],
        &json!({"error": {"message": "no such parameter", "type": "invalid_request_error"}}),
    )
}

/// Two providers, a model `fast` at the first, and experiments.
fn yaml(one: &ScriptedProvider, other: &ScriptedProvider, other_kind: &str, experiments: &str) -> String {
    let path = if other_kind == "anthropic" { "" } else { "/v1" };
    format!(
        "providers:\n  one: {{ kind: openai-compatible, base_url: '{}/v1', api_key: sk-1234567890 }}\n  \
         other: {{ kind: {other_kind}, base_url: '{}{path}', api_key: sk-0987654321 }}\n\
         prices: {{ one/*: {{ input: 1, output: 2 }}, other/*: {{ input: 1, output: 2 }} }}\n\
         models: {{ fast: {{ targets: [one/m], retry: {{ attempts: 1, backoff: 1ms..2ms }} }} }}\n\
         experiments:\n{experiments}",
        one.url(),
        other.url(),
    )
}

fn question() -> Value {
    json!({"model": "fast", "max_tokens": 20, "messages": [{"role": "user", "content": "How high is the tide?"}]})
}

async fn ask(client: &Client) -> Received {
    client.post("/v1/chat/completions", &question()).await
}

fn session(gateway: &TestGateway, name: &str) -> Client {
    Client::new(gateway.address()).with_header("x-tidegate-session", name)
}

async fn report(gateway: &TestGateway, name: &str) -> ExperimentReport {
    gateway.gateway().flush_ledger().await;
    let settings = gateway.gateway().settings();
    report_experiment(&settings, &gateway.store().access(), name).await.unwrap().unwrap()
}

/// Looks again until it is so, for some seconds.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..400 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(is_so().await, "{what}");
}

async fn actions(gateway: &TestGateway) -> Vec<String> {
    let query = AuditQuery { limit: 100, ..AuditQuery::default() };
    let lines = gateway.store().access().audit(&query).await.unwrap().items;
    lines
        .into_iter()
        .rev()
        .filter(|line| line.object.starts_with("experiment:"))
        .map(|line| line.action)
        .collect()
}

async fn shadows(gateway: &TestGateway) -> Vec<LedgerEntry> {
    gateway.calls().await.into_iter().filter(|call| &*call.operation == SHADOW).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_stays_in_its_arm_and_the_ledger_tells_which() {
    let (one, other) =
        (ScriptedProvider::start([openai("one")]).await, ScriptedProvider::start([openai("other")]).await);
    let experiment = "  greeting: { model: fast, arms: { control: { weight: 1 }, new: { target: other/n, weight: 1 } } }\n";
    let gateway = TestGateway::start(&yaml(&one, &other, "openai-compatible", experiment)).await;
    let mut arms = BTreeMap::<String, BTreeSet<String>>::new();
    for number in 0..40 {
        let client = session(&gateway, &format!("conversation-{number}"));
        let answers = [ask(&client).await, ask(&client).await];
        let header = answers[0].header("x-tidegate-experiment").to_owned();
        assert_eq!(answers[1].header("x-tidegate-experiment"), header, "it stays where it is");
        let target = answers[0].header("x-tidegate-target").to_owned();
        assert_eq!(answers[1].header("x-tidegate-target"), target);
        arms.entry(header).or_default().insert(target);
    }
    let expected = [("greeting=control", "one/m"), ("greeting=new", "other/n")];
    let expected = expected.map(|(arm, target)| (arm.to_owned(), BTreeSet::from([target.to_owned()])));
    assert_eq!(arms, BTreeMap::from(expected));
    let shown = report(&gateway, "greeting").await;
    assert_eq!(shown.arms.iter().map(|arm| arm.calls).sum::<u64>(), 80);
    assert!(shown.arms.iter().all(|arm| arm.calls >= 20), "about half and half: {shown:?}");
    let calls = gateway.calls().await;
    assert!(calls.iter().all(|call| call.exposure.as_ref().is_some_and(|it| it.unit.is_some())));
    // Calls of other models are none of it.
    let received = Client::new(gateway.address())
        .post(
            "/v1/chat/completions",
            &json!({"model": "one/m", "messages": [{"role": "user", "content": "Hi"}]}),
        )
        .await;
    assert_eq!((received.status.as_u16(), received.header("x-tidegate-experiment")), (200, ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_use_an_arm_takes_no_part_and_another_definition_begins_anew() {
    let (one, other) =
        (ScriptedProvider::start([openai("one")]).await, ScriptedProvider::start([openai("other")]).await);
    let experiment = |target: &str| {
        format!(
            "  greeting: {{ model: fast, by: call, arms: {{ control: {{}}, new: {{ target: other/{target} }} }} }}\n"
        )
    };
    let gateway = TestGateway::start(&yaml(&one, &other, "openai-compatible", &experiment("n"))).await;
    let narrow: tidegate_policy::Permissions = serde_json::from_value(json!({"providers": ["one"]})).unwrap();
    let narrow = gateway.key(NewKey { permissions: narrow, ..NewKey::default() }).await;
    let wide = gateway.key(NewKey::default()).await;
    let client = |key: &tidegate_store::KeySecret| {
        Client::new(gateway.address()).with_header("authorization", &format!("Bearer {}", key.expose()))
    };
    for _ in 0..10 {
        let received = ask(&client(&narrow)).await;
        assert_eq!((received.status.as_u16(), received.header("x-tidegate-experiment")), (200, ""));
        assert!(ask(&client(&wide)).await.header("x-tidegate-experiment").starts_with("greeting="));
    }
    let before = report(&gateway, "greeting").await;
    assert_eq!(before.arms.iter().map(|arm| arm.calls).sum::<u64>(), 10);
    gateway.reload(&yaml(&one, &other, "openai-compatible", &experiment("another")));
    let after = report(&gateway, "greeting").await;
    assert_eq!(after.arms.iter().map(|arm| arm.calls).sum::<u64>(), 0);
    assert_ne!(before.run, after.run);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn feedback_counts_for_the_arm_and_only_from_those_whose_call_it_is() {
    let (one, other) =
        (ScriptedProvider::start([openai("one")]).await, ScriptedProvider::start([openai("other")]).await);
    let experiment = "  greeting: { model: fast, arms: { control: { weight: 1 }, new: { target: other/n, weight: 1 } } }\n";
    let gateway = TestGateway::start(&yaml(&one, &other, "openai-compatible", experiment)).await;
    let access = gateway.store().access();
    let mut teams = Vec::new();
    for name in ["search", "shop"] {
        let new = NewTeam { name: name.into(), ..NewTeam::default() };
        teams.push(access.create_team(new, &Actor::system()).await.unwrap().id);
    }
    tokio::time::sleep(Duration::from_millis(600)).await;
    let of_team = async |team: Option<&tidegate_store::TeamId>| {
        let key = gateway.key(NewKey { team_id: team.cloned(), ..NewKey::default() }).await;
        Client::new(gateway.address()).with_header("authorization", &format!("Bearer {}", key.expose()))
    };
    let (mine, colleague) = (of_team(Some(&teams[0])).await, of_team(Some(&teams[0])).await);
    let (stranger, whole) = (of_team(Some(&teams[1])).await, of_team(None).await);
    let asked = ask(&mine).await;
    let id = asked.header("x-request-id").to_owned();
    let arm = asked.header("x-tidegate-experiment").strip_prefix("greeting=").unwrap().to_owned();
    let say = async |client: &Client, body: Value| client.post("/v1/feedback", &body).await;
    for (client, body, status, said) in [
        (&mine, json!({"request_id": id, "score": 0}), 200, arm.as_str()),
        (
            &mine,
            json!({"request_id": id, "score": true, "label": "fine", "comment": "as high as it should be"}),
            200,
            "1.0",
        ),
        (&colleague, json!({"request_id": id, "score": 0.5}), 200, "greeting"),
        (&whole, json!({"request_id": id, "label": "seen"}), 200, id.as_str()),
        (&stranger, json!({"request_id": id, "score": 0}), 404, "call_not_found"),
        (
            &mine,
            json!({"request_id": "01a204d4-0c17-70ed-87d5-c4613859f63c", "score": 0}),
            404,
            "call_not_found",
        ),
        (&mine, json!({"request_id": "what?", "score": 0}), 400, "request_id"),
        (&mine, json!({"request_id": id, "score": 1.5}), 400, "between 0"),
        (&mine, json!({"request_id": id, "score": "good"}), 400, "true or false"),
        (&mine, json!({"request_id": id}), 400, "comment"),
        (&mine, json!({"request_id": id, "score": 1, "rating": 5}), 400, "rating"),
        (&mine, json!({"request_id": id, "comment": "x".repeat(9_000)}), 400, "8192"),
        (&mine, json!({"request_id": id, "comment": "x".repeat(90_000)}), 413, "65536"),
    ] {
        let received = say(client, body.clone()).await;
        let text = received.text();
        assert!(received.status == status && text.contains(said), "{body} {}: {text}", received.status);
    }
    let shown = report(&gateway, "greeting").await;
    let counted = shown.arms.iter().find(|it| it.name == arm).unwrap();
    let feedback = counted.metrics.iter().find(|metric| metric.metric == "feedback").unwrap();
    assert_eq!(
        (feedback.count, feedback.mean),
        (2, Some(0.75)),
        "what was said last, of each who said something"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_arm_that_fails_is_stopped_and_its_calls_go_back() {
    let (one, other) =
        (ScriptedProvider::start([openai("one")]).await, ScriptedProvider::start([broken()]).await);
    let experiment =
        "  greeting: { model: fast, by: call, arms: { control: {}, new: { target: other/n } } }\n";
    let gateway = TestGateway::start(&yaml(&one, &other, "openai-compatible", experiment)).await;
    let client = Client::new(gateway.address());
    until("the arm is stopped", async || {
        for _ in 0..10 {
            ask(&client).await;
        }
        report(&gateway, "greeting").await.arms[1].stopped.is_some()
    })
    .await;
    until("all calls go back", async || ask(&client).await.status == 200 && ask(&client).await.status == 200)
        .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    for _ in 0..20 {
        let received = ask(&client).await;
        assert_eq!(
            (received.status.as_u16(), received.header("x-tidegate-experiment")),
            (200, "greeting=control")
        );
    }
    assert_eq!(actions(&gateway).await, ["experiment.stop_arm"]);
    let shown = report(&gateway, "greeting").await;
    assert_eq!((shown.arms[0].share.as_str(), shown.arms[1].share.as_str()), ("100%", "0%"));
    assert!(shown.history[0].why.contains("failed"), "{:?}", shown.history);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_goes_forward_by_itself_and_back_when_it_fails() {
    for (answer, expected, state) in [
        (openai("two"), &["experiment.begin", "experiment.step", "experiment.done"][..], "done"),
        (broken(), &["experiment.begin", "experiment.back"], "back"),
    ] {
        let (one, other) =
            (ScriptedProvider::start([openai("one")]).await, ScriptedProvider::start([answer]).await);
        let experiment = "  next: { model: fast, by: call, canary: { target: other/n, steps: [30%, 50%, 100%], calls: 8, after: 1ms } }\n";
        let gateway = TestGateway::start(&yaml(&one, &other, "openai-compatible", experiment)).await;
        let client = Client::new(gateway.address());
        until(state, async || {
            for _ in 0..10 {
                ask(&client).await;
            }
            report(&gateway, "next").await.state == state
        })
        .await;
        assert_eq!(actions(&gateway).await, expected);
        let arm = if state == "done" { "next=canary" } else { "next=control" };
        until("all calls go there", async || ask(&client).await.header("x-tidegate-experiment") == arm).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        for _ in 0..10 {
            assert_eq!(ask(&client).await.header("x-tidegate-experiment"), arm);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_gets_the_body_translated_and_is_nobodys_call() {
    let text = "The tide is two metres high.";
    let (one, other) =
        (ScriptedProvider::start([openai(text)]).await, ScriptedProvider::start([anthropic(text)]).await);
    let experiment = "  cheaper: { model: fast, shadow: { target: other/c, share: 100% } }\n";
    let gateway = TestGateway::start(&yaml(&one, &other, "anthropic", experiment)).await;
    let key = gateway.key(NewKey::default()).await;
    let client =
        Client::new(gateway.address()).with_header("authorization", &format!("Bearer {}", key.expose()));
    assert_eq!(ask(&client).await.status, 200);
    until("the shadow is recorded", async || !shadows(&gateway).await.is_empty()).await;
    let arrived = other.arrived();
    assert_eq!((arrived.len(), arrived[0].line.as_str()), (1, "POST /v1/messages"));
    let body = arrived[0].json();
    assert_eq!(body["model"], "c");
    assert_eq!(body["messages"][0]["role"], "user");
    assert!(body["messages"][0].to_string().contains("How high is the tide?"), "{body}");
    let shadow = shadows(&gateway).await.remove(0);
    assert!(shadow.key_id.is_none() && shadow.organization_id.is_none() && shadow.cost_nanodollars.is_some());
    assert_eq!(shadow.provider.as_deref(), Some("other"));
    let shown = report(&gateway, "cheaper").await;
    let pairs = shown.shadow.unwrap();
    assert_eq!((pairs.pairs, pairs.compared, pairs.similarity), (1, 1, Some(1.0)));
    assert_eq!(shown.arms.iter().map(|arm| arm.calls).collect::<Vec<_>>(), [1, 1]);
    let calls = gateway.calls().await;
    assert_eq!(pairs.examples[0].call, calls.iter().find(|call| !call.is_shadow()).unwrap().id.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_compared_too() {
    let events = |text: &str| {
        let chunk = |delta: Value, finish: Value| {
            let choices = json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
            format!(
                "data: {}\n\n",
                json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices})
            )
        };
        let usage = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}});
        [
            chunk(json!({"role": "assistant", "content": text}), Value::Null),
            chunk(json!({}), json!("stop")),
            format!("data: {usage}\n\n"),
            "data: [DONE]\n\n".to_owned(),
        ]
    };
    let stream = |text: &str| event_stream(&events(text).each_ref().map(String::as_str));
    let (one, other) = (
        ScriptedProvider::start([stream(r#"{"high": true}"#)]).await,
        ScriptedProvider::start([stream("The tide is high.")]).await,
    );
    let experiment = "  cheaper: { model: fast, shadow: { target: other/c, share: 100% } }\n";
    let gateway = TestGateway::start(&yaml(&one, &other, "openai-compatible", experiment)).await;
    let mut question = question();
    question["stream"] = json!(true);
    let received = Client::new(gateway.address()).post("/v1/chat/completions", &question).await;
    assert_eq!(received.events().last().map(String::as_str), Some("[DONE]"));
    until("the shadow is recorded", async || !shadows(&gateway).await.is_empty()).await;
    assert_eq!(other.arrived()[0].json()["stream"], true);
    let shadow = report(&gateway, "cheaper").await.shadow.unwrap();
    assert_eq!((shadow.compared, shadow.with_json, shadow.shadow_json), (1, 1, 0));
    assert!(shadow.similarity.unwrap() < 0.7, "{shadow:?}");
    assert_eq!(
        shadows(&gateway).await[0].usage.output,
        5,
        "usage is known though its caller did not ask for it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_that_fails_or_hangs_is_not_felt_by_the_caller() {
    for (script, failed) in
        [(json_answer(500, &[], &json!({"error": {"message": "down"}})), 1.0), (vec![Step::Close], 1.0)]
    {
        let (one, other) =
            (ScriptedProvider::start([openai("one")]).await, ScriptedProvider::start([script]).await);
        let experiment = "  cheaper: { model: fast, shadow: { target: one/bad, share: 100% } }\n  \
             cheapest: { model: fast, shadow: { target: other/c, share: 100% } }\n";
        let gateway = TestGateway::start(&yaml(&one, &other, "openai-compatible", experiment)).await;
        let client = Client::new(gateway.address());
        for _ in 0..3 {
            assert_eq!(ask(&client).await.status, 200);
        }
        until("shadows are recorded", async || report(&gateway, "cheapest").await.arms[1].calls > 0).await;
        let shown = report(&gateway, "cheapest").await;
        assert_eq!(shown.arms[1].metrics[0].mean, Some(failed), "{shown:?}");
        assert_eq!(shown.arms[0].metrics[0].mean, Some(0.0));
        // The candidate's provider is not out for callers: what shadows found is theirs alone.
        let direct = json!({"model": "other/c", "messages": [{"role": "user", "content": "Hi"}]});
        let before = other.arrived().len();
        client.post("/v1/chat/completions", &direct).await;
        assert!(other.arrived().len() > before);
    }
    // One that never answers holds up nobody.
    let (one, other) =
        (ScriptedProvider::start([openai("one")]).await, ScriptedProvider::start([vec![Step::Hang]]).await);
    let experiment = "  cheaper: { model: fast, shadow: { target: other/c, share: 100% } }\n";
    let gateway = TestGateway::start(&yaml(&one, &other, "openai-compatible", experiment)).await;
    let client = Client::new(gateway.address());
    for _ in 0..5 {
        assert_eq!(ask(&client).await.status, 200);
    }
    until("shadows wait", async || !other.arrived().is_empty()).await;
    assert_eq!(gateway.calls().await.len(), 5, "callers' calls are settled");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_holds_and_what_is_too_much_is_dropped_and_counted() {
    let (one, other) =
        (ScriptedProvider::start([openai("one")]).await, ScriptedProvider::start([openai("two")]).await);
    // A call of 10 and 5 tokens costs 0.00002 dollars, and may cost some 0.0003 by its size.
    let experiment = "  cheaper: { model: fast, shadow: { target: other/c, share: 100%, budget: { usd: 0.0004, per: day } } }\n";
    let gateway = TestGateway::start(&yaml(&one, &other, "openai-compatible", experiment)).await;
    let client = Client::new(gateway.address());
    let counts = gateway.gateway().shadow_counts("cheaper").unwrap();
    for _ in 0..30 {
        assert_eq!(ask(&client).await.status, 200);
    }
    until("all are decided", async || counts.of(ShadowFate::Sent) + counts.of(ShadowFate::NoBudget) == 30)
        .await;
    assert!(counts.of(ShadowFate::Sent) > 0 && counts.of(ShadowFate::NoBudget) > 0, "{counts:?}");
    until("all are recorded", async || {
        u64::try_from(shadows(&gateway).await.len()).unwrap() == counts.of(ShadowFate::Sent)
    })
    .await;
    let spent: u64 = shadows(&gateway).await.iter().filter_map(|shadow| shadow.cost_nanodollars).sum();
    assert!(spent <= 400_000, "{spent}");

    // A candidate that hangs: what waits is bounded, the rest is dropped.
    let hanging = ScriptedProvider::start([vec![Step::Hang]]).await;
    let experiment = "  cheaper: { model: fast, shadow: { target: other/c, share: 100% } }\n";
    let gateway = TestGateway::start(&yaml(&one, &hanging, "openai-compatible", experiment)).await;
    let client = Client::new(gateway.address());
    let counts = gateway.gateway().shadow_counts("cheaper").unwrap();
    let mut asked = 0;
    while counts.of(ShadowFate::QueueFull) == 0 && asked < 2_000 {
        assert_eq!(ask(&client).await.status, 200);
        asked += 1;
    }
    assert!(counts.of(ShadowFate::QueueFull) > 0, "{counts:?} after {asked}");
    assert!(hanging.arrived().len() <= 32, "a few at once");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_stops_resumes_and_promotes_and_the_audit_log_tells_who() {
    let (one, other) =
        (ScriptedProvider::start([openai("one")]).await, ScriptedProvider::start([openai("other")]).await);
    let experiment =
        "  greeting: { model: fast, by: call, arms: { control: {}, new: { target: other/n } } }\n";
    let gateway = TestGateway::start(&yaml(&one, &other, "openai-compatible", experiment)).await;
    let admin = gateway.key(NewKey { role: Some(tidegate_policy::Role::Admin), ..NewKey::default() }).await;
    let admin =
        Client::new(gateway.address()).with_header("authorization", &format!("Bearer {}", admin.expose()));
    let caller = gateway.key(NewKey::default()).await;
    let caller =
        Client::new(gateway.address()).with_header("authorization", &format!("Bearer {}", caller.expose()));
    let arms = async || {
        let mut arms = BTreeSet::new();
        for _ in 0..30 {
            arms.insert(ask(&caller).await.header("x-tidegate-experiment").to_owned());
        }
        arms
    };
    let only = |arm: &str| BTreeSet::from([format!("greeting={arm}")]);
    for (act, body, state, expected) in [
        ("stop", json!({}), "stopped", Some(only("control"))),
        ("resume", json!({}), "running", None),
        ("promote", json!({}), "promoted", Some(only("new"))),
        ("promote", json!({"arm": "control"}), "promoted", Some(only("control"))),
    ] {
        let done = admin.post(&format!("/admin/v1/experiments/greeting/{act}"), &body).await;
        assert_eq!((done.status.as_u16(), &done.json()["state"]), (200, &json!(state)), "{}", done.text());
        let seen = arms().await;
        assert!(expected.as_ref().map_or(seen.len() == 2, |expected| seen == *expected), "{act}: {seen:?}");
    }
    let wrong = admin.post("/admin/v1/experiments/greeting/promote", &json!({"arm": "newest"})).await;
    assert!(wrong.status == 400 && wrong.text().contains("control, new"), "{}", wrong.text());
    assert_eq!(admin.post("/admin/v1/experiments/other/stop", &json!({})).await.status, 404);
    let query = AuditQuery { action: Some("experiment.promote".into()), ..AuditQuery::default() };
    let lines = gateway.store().access().audit(&query).await.unwrap().items;
    assert!(lines.len() == 2 && lines.iter().all(|line| line.actor.starts_with("key_")), "{lines:?}");
}
