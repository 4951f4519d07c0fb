//! Shadows over real sockets, seen by who looks at them and by who must not notice them: the whole comparison is in the report, usage
//! leaves them out unless asked, and whatever a candidate does, callers are answered as ever.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_policy::Role;
use tidegate_store::{LedgerEntry, NewKey, Outcome};
use tidegate_testkit::{Client, ScriptedProvider, Step, TestGateway, event_stream, json_answer, open_stream};

/// Whatever a shadow waits for takes far longer than this, and what callers wait for far less.
const NOT_MUCH: Duration = Duration::from_secs(5);

fn openai(message: &Value) -> Vec<Step> {
    let body = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    });
    json_answer(200, &[], &body)
}

fn says(text: &str) -> Value {
    json!({"role": "assistant", "content": text})
}

async fn start(one: &ScriptedProvider, other: &ScriptedProvider) -> TestGateway {
    let yaml = format!(
        "providers:\n  one: {{ kind: openai-compatible, base_url: '{}/v1', api_key: sk-1234567890 }}\n  \
         other: {{ kind: openai-compatible, base_url: '{}/v1', api_key: sk-0987654321 }}\n\
         prices: {{ one/*: {{ input: 1, output: 2 }}, other/*: {{ input: 2, output: 4 }} }}\n\
         models: {{ fast: {{ targets: [one/m] }} }}\n\
         experiments: {{ cheaper: {{ model: fast, shadow: {{ target: other/c, share: 100% }} }} }}\n",
        one.url(),
        other.url(),
    );
    TestGateway::start(&yaml).await
}

fn question(stream: bool) -> Value {
    json!({"model": "fast", "max_tokens": 20, "stream": stream, "messages": [{"role": "user", "content": "How high is the tide?"}]})
}

async fn shadows(gateway: &TestGateway, what: &str, count: usize) -> Vec<LedgerEntry> {
    for _ in 0..400 {
        let calls = gateway.calls().await;
        let shadows: Vec<LedgerEntry> = calls.into_iter().filter(LedgerEntry::is_shadow).collect();
        if shadows.len() >= count {
            return shadows;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{what}: there are no {count} shadows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_comparison_is_in_the_report_and_usage_leaves_shadows_out_unless_asked() {
    let tool = |arguments: &str| {
        json!({"role": "assistant", "content": null, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "tide", "arguments": arguments}}]})
    };
    let one =
        ScriptedProvider::start([openai(&says("{\"high\": true}")), openai(&tool("{\"place\": \"Brest\"}"))])
            .await;
    let other =
        ScriptedProvider::start([openai(&says("It is very high.")), openai(&tool("{\"place\": \"Brest\"}"))])
            .await;
    let gateway = start(&one, &other).await;
    let caller = gateway.key(NewKey::default()).await;
    let caller =
        Client::new(gateway.address()).with_header("authorization", &format!("Bearer {}", caller.expose()));
    let admin = gateway.key(NewKey { role: Some(Role::Admin), ..NewKey::default() }).await;
    let admin =
        Client::new(gateway.address()).with_header("authorization", &format!("Bearer {}", admin.expose()));
    for number in 1..=2 {
        assert_eq!(caller.post("/v1/chat/completions", &question(false)).await.status, 200);
        shadows(&gateway, "answered", number).await;
    }
    let listed = admin.get("/admin/v1/experiments").await.json();
    let shown = admin.get("/admin/v1/experiments/cheaper").await.json();
    assert_eq!(listed["data"], json!([shown]));
    let shadow = &shown["shadow"];
    for (name, expected) in [
        ("pairs", 2),
        ("compared", 2),
        ("with_tools", 1),
        ("same_tools", 1),
        ("same_arguments", 1),
        ("with_json", 1),
        ("shadow_json", 0),
    ] {
        assert_eq!(shadow[name], expected, "{name}: {shadow}");
    }
    let similarity = shadow["similarity"].as_f64().unwrap();
    assert!(similarity > 0.5 && similarity < 0.9, "one is the same and the other is not: {shadow}");
    assert!(shadow["length_ratio"].as_f64().unwrap() > 1.0, "{shadow}");
    assert_eq!(shadow["examples"].as_array().unwrap().len(), 2);
    assert_eq!(shown["shadows_here"]["sent"], 2);
    for arm in shown["arms"].as_array().unwrap() {
        let metrics = arm["metrics"].as_array().unwrap();
        for name in ["errors", "cost", "latency", "output_tokens"] {
            let metric = metrics.iter().find(|metric| metric["metric"] == name).unwrap();
            assert_eq!(metric["count"], 2, "{name}: {arm}");
        }
    }
    let cost = |arm: usize| {
        let metrics = shown["arms"][arm]["metrics"].as_array().unwrap().clone();
        metrics.iter().find(|metric| metric["metric"] == "cost").unwrap()["mean"].as_f64().unwrap()
    };
    assert!((cost(1) - 2.0 * cost(0)).abs() < 1e-12, "it costs twice as much");

    for by in ["model", "key", "target", "outcome", "organization"] {
        let usage = admin.get(&format!("/admin/v1/usage?group_by={by}")).await;
        assert_eq!(usage.status, 200, "{}", usage.text());
        let calls: u64 =
            usage.json()["data"].as_array().unwrap().iter().map(|row| row["calls"].as_u64().unwrap()).sum();
        assert_eq!(calls, 2, "{by}: {}", usage.text());
    }
    let asked_for = admin.get("/admin/v1/usage?group_by=target&shadows_of=cheaper").await.json();
    assert_eq!(
        (&asked_for["data"][0]["calls"], asked_for["data"].as_array().unwrap().len()),
        (&json!(2), 1),
        "{asked_for}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_limits_says_far_too_much_or_stops_in_the_middle_is_not_felt() {
    let text = "tide ".repeat(600_000);
    let chunk = |text: &str| {
        let delta =
            json!([{"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": null}]);
        format!(
            "data: {}\n\n",
            json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": delta})
        )
    };
    let end = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":15}}\n\n";
    let done = "data: [DONE]\n\n";
    let long = chunk(&"tide ".repeat(20_000));
    let long_stream: Vec<&str> = std::iter::repeat_n(long.as_str(), 20).chain([end, done]).collect();
    let mut stalled = open_stream(&[&chunk("The tide")]);
    stalled.push(Step::Close);
    let limited = json_answer(
        429,
        &[("retry-after", "60")],
        &json!({"error": {"message": "slow down", "type": "rate_limit_error"}}),
    );
    for (what, stream, script, outcome) in [
        ("a limit", false, limited, Outcome::Failed),
        ("a huge answer", false, openai(&says(&text)), Outcome::Answered),
        ("a huge stream", true, event_stream(&long_stream), Outcome::Answered),
        ("half a stream", true, stalled, Outcome::Failed),
    ] {
        let own = if stream {
            event_stream(&[&chunk("The tide is high."), end, done])
        } else {
            openai(&says("The tide is high."))
        };
        let (one, other) = (ScriptedProvider::start([own]).await, ScriptedProvider::start([script]).await);
        let gateway = start(&one, &other).await;
        let client = Client::new(gateway.address());
        for _ in 0..3 {
            let received = client.post("/v1/chat/completions", &question(stream)).await;
            assert_eq!(received.status, 200, "{what}: {}", received.text());
            assert!(received.is_complete && received.took < NOT_MUCH, "{what}: {:?}", received.took);
            assert!(received.text().contains("The tide is high."), "{what}");
        }
        let shadow = shadows(&gateway, what, 1).await.remove(0);
        assert_eq!(shadow.outcome, outcome, "{what}");
        let pair = shadow.exposure.unwrap().pair.unwrap();
        assert!(pair.likeness.is_none(), "{what}: there is nothing to compare");
        // Callers of the candidate's provider are not kept from it.
        let direct = json!({"model": "other/c", "max_tokens": 5, "stream": stream, "messages": [{"role": "user", "content": "Hi"}]});
        client.with_header("x-tidegate-timeout", "1s").post("/v1/chat/completions", &direct).await;
        assert!(
            other.arrived().iter().any(|request| request.json()["messages"][0]["content"] == "Hi"),
            "{what}"
        );
        let own_calls: Vec<LedgerEntry> = gateway
            .calls()
            .await
            .into_iter()
            .filter(|call| call.model.as_deref() == Some("fast") && !call.is_shadow())
            .collect();
        assert!(
            own_calls.len() == 3 && own_calls.iter().all(|call| call.outcome == Outcome::Answered),
            "{what}"
        );
    }
}
