//! A bandit over real sockets: traffic moves to the better arm step by step, by what callers say or by what calls cost, and
//! never beyond its bounds.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_gateway::experiments::{ExperimentReport, report_experiment};
use tidegate_store::AuditQuery;
use tidegate_testkit::{Client, ScriptedProvider, Step, TestGateway, json_answer};

/// A debug build on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(40);
/// A decision moves a tenth of the traffic at most; the rest is for the rounding in the audit log.
const MOST_MOVED: f64 = 10.1;

fn answered(tokens: u64) -> Vec<Step> {
    let body = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "High."}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": 10 + tokens},
    });
    json_answer(200, &[], &body)
}

fn broken() -> Vec<Step> {
    json_answer(500, &[], &json!({"error": {"message": "out of order", "type": "server_error"}}))
}

/// A model at the first provider, with an experiment that also asks the others.
async fn start(providers: &[&ScriptedProvider], experiment: &str) -> TestGateway {
    let listed: Vec<String> = providers
        .iter()
        .enumerate()
        .map(|(place, provider)| {
            format!(
                "p{place}: {{ kind: openai-compatible, base_url: '{}/v1', api_key: sk-123456789{place} }}",
                provider.url()
            )
        })
        .collect();
    let yaml = format!(
        "providers: {{ {} }}\nprices: {{ \"p0/*\": {{ input: 1, output: 2 }}, \"p1/*\": {{ input: 1, output: 2 }} }}\n\
         models: {{ fast: {{ targets: [p0/m], retry: {{ attempts: 1 }} }} }}\nexperiments: {{ greeting: {{ {experiment} }} }}\n",
        listed.join(", ")
    );
    TestGateway::start(&yaml).await
}

/// A call; the arm that it was in, and its id.
async fn ask(client: &Client) -> (String, String) {
    let question =
        json!({"model": "fast", "messages": [{"role": "user", "content": "How high is the tide?"}]});
    let received = client.post("/v1/chat/completions", &question).await;
    let arm = received.header("x-tidegate-experiment").strip_prefix("greeting=").unwrap().to_owned();
    (arm, received.header("x-request-id").to_owned())
}

async fn report(gateway: &TestGateway) -> ExperimentReport {
    let settings = gateway.gateway().settings();
    report_experiment(&settings, &gateway.store().access(), "greeting").await.unwrap().unwrap()
}

/// The share of an arm in percent, as the report has it.
async fn share(gateway: &TestGateway, arm: &str) -> f64 {
    let arms = report(gateway).await.arms;
    percent(&arms.iter().find(|it| it.name == arm).unwrap().share)
}

fn percent(text: &str) -> f64 {
    text.strip_suffix('%').unwrap().parse().unwrap()
}

/// The shares before and after each shift, by the audit log.
async fn shifts(gateway: &TestGateway) -> Vec<[BTreeMap<String, f64>; 2]> {
    let query = AuditQuery { action: Some("experiment.shift".into()), limit: 1_000, ..AuditQuery::default() };
    let lines = gateway.store().access().audit(&query).await.unwrap().items;
    let shares = |text: Option<&String>| -> BTreeMap<String, f64> {
        let shares: BTreeMap<String, String> = serde_json::from_str(text.unwrap()).unwrap();
        shares.into_iter().map(|(arm, share)| (arm, percent(&share))).collect()
    };
    lines.iter().rev().map(|line| [shares(line.before.as_ref()), shares(line.after.as_ref())]).collect()
}

/// That no shift went beyond the bounds, and each began where the one before ended.
fn check_bounds(shifts: &[[BTreeMap<String, f64>; 2]], least: f64) {
    let mut last: Option<&BTreeMap<String, f64>> = None;
    for [before, after] in shifts {
        let moved: f64 = before.iter().map(|(arm, share)| (after[arm] - share).max(0.0)).sum();
        assert!(moved <= MOST_MOVED, "{before:?} {after:?}");
        assert!(after.values().all(|share| *share >= least - 0.1), "{after:?}");
        assert!((after.values().sum::<f64>() - 100.0).abs() < 0.3, "{after:?}");
        assert!(last.is_none_or(|last| last == before), "{last:?} {before:?}");
        last = Some(after);
    }
}

/// Says of a call what callers think of answers of its arm.
async fn say(client: &Client, id: &str, score: f64) {
    let said = client.post("/v1/feedback", &json!({"request_id": id, "score": score})).await;
    assert_eq!(said.status, 200, "{}", said.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_moves_to_the_arm_that_callers_like_and_never_beyond_the_bounds() {
    let (one, other) =
        (ScriptedProvider::start([answered(5)]).await, ScriptedProvider::start([answered(5)]).await);
    let experiment = "model: fast, by: call, arms: { control: {}, new: { target: p1/n } }, \
         bandit: { metric: feedback, least: 20% }";
    let gateway = start(&[&one, &other], experiment).await;
    let client = Client::new(gateway.address());
    let began = Instant::now();
    let mut number = 0_u32;
    // Of ten answers of the new arm nine are liked, and three of the control.
    while share(&gateway, "new").await < 79.9 {
        for _ in 0..20 {
            let (arm, id) = ask(&client).await;
            gateway.gateway().flush_ledger().await;
            number += 1;
            let liked = if arm == "new" { 9 } else { 3 };
            say(&client, &id, if number % 10 < liked { 1.0 } else { 0.0 }).await;
        }
        assert!(began.elapsed() < PATIENCE, "{:?}", shifts(&gateway).await);
    }
    let seen = shifts(&gateway).await;
    assert!(seen.len() >= 3, "a tenth at a time: {seen:?}");
    check_bounds(&seen, 20.0);

    // What the shares say is what calls do, and the bound holds however much more is liked.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut new = 0;
    for _ in 0..200 {
        let (arm, id) = ask(&client).await;
        gateway.gateway().flush_ledger().await;
        new += u32::from(arm == "new");
        say(&client, &id, if arm == "new" { 1.0 } else { 0.0 }).await;
    }
    // Four standard deviations to either side.
    assert!((137..=183).contains(&new), "{new} of 200");
    check_bounds(&shifts(&gateway).await, 20.0);
    assert!((share(&gateway, "new").await - 80.0).abs() < 0.2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_moves_to_the_cheaper_arm_without_a_word_from_callers() {
    let (one, other) =
        (ScriptedProvider::start([answered(50)]).await, ScriptedProvider::start([answered(20)]).await);
    let experiment = "model: fast, by: call, arms: { control: { weight: 3 }, new: { target: p1/n, weight: 1 } }, \
         bandit: { metric: cost, least: 5% }";
    let gateway = start(&[&one, &other], experiment).await;
    let client = Client::new(gateway.address());
    let began = Instant::now();
    while share(&gateway, "new").await < 94.9 {
        for _ in 0..20 {
            ask(&client).await;
        }
        gateway.gateway().flush_ledger().await;
        assert!(began.elapsed() < PATIENCE, "{:?}", shifts(&gateway).await);
    }
    let seen = shifts(&gateway).await;
    check_bounds(&seen, 5.0);
    assert_eq!(seen[0][0], BTreeMap::from([("control".to_owned(), 75.0), ("new".to_owned(), 25.0)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_arm_that_is_stopped_leaves_its_traffic_to_the_others_and_the_bandit_goes_on() {
    let (one, other, third) = (
        ScriptedProvider::start([answered(5)]).await,
        ScriptedProvider::start([answered(5)]).await,
        ScriptedProvider::start([broken()]).await,
    );
    let experiment = "model: fast, by: call, arms: { control: {}, new: { target: p1/n }, bad: { target: p2/n } }, \
         bandit: { metric: feedback, least: 10% }";
    let gateway = start(&[&one, &other, &third], experiment).await;
    let client = Client::new(gateway.address());
    let began = Instant::now();
    while share(&gateway, "bad").await > 0.0 {
        for _ in 0..10 {
            ask(&client).await;
        }
        gateway.gateway().flush_ledger().await;
        assert!(began.elapsed() < PATIENCE, "the arm is not stopped");
    }
    while share(&gateway, "new").await < 89.9 {
        for _ in 0..20 {
            let (arm, id) = ask(&client).await;
            gateway.gateway().flush_ledger().await;
            say(&client, &id, if arm == "new" { 1.0 } else { 0.0 }).await;
        }
        assert!(began.elapsed() < PATIENCE, "{:?}", shifts(&gateway).await);
    }
    check_bounds(&shifts(&gateway).await, 10.0);
    let shown = serde_json::to_value(report(&gateway).await.arms).unwrap();
    let shares: Vec<&Value> = shown.as_array().unwrap().iter().map(|arm| &arm["share"]).collect();
    let all: f64 = shares.iter().map(|share| percent(share.as_str().unwrap())).sum();
    assert!((all - 100.0).abs() < 0.3, "{shares:?}");
}
