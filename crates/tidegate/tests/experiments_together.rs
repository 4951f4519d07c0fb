//! Three replicas that try something out together: a session keeps its arm whichever it reaches, what was seen is the sum over
//! all of them, and what is decided is decided once and in force everywhere.

#![expect(clippy::expect_used, clippy::panic, reason = "a test may fail loudly")]

mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::fleet::{Caller, Fleet, Ground};
use serde_json::{Value, json};
use tidegate_policy::{Limits, Role};
use tidegate_store::{AuditQuery, NewKey};
use tidegate_testkit::{Received, ScriptedProvider, Step, json_answer, servers};

/// Each replica looks every five seconds at what was seen; four looks, and the rest for a machine that is busy with tests.
const DECIDED_WITHIN: Duration = Duration::from_secs(60);
/// A decision is followed within two seconds; the rest is for a busy machine.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(5);

/// Three replicas, somebody who asks and somebody who looks.
struct Trial {
    fleet: Fleet,
    caller: Caller,
    admin: Caller,
}

fn answered() -> Vec<Step> {
    let body = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "High."}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    });
    json_answer(200, &[], &body)
}

fn broken() -> Vec<Step> {
    json_answer(500, &[], &json!({"error": {"message": "out of order", "type": "server_error"}}))
}

/// Replicas with two providers, a model at the first for each experiment, and these experiments.
async fn trial(
    one: &ScriptedProvider,
    other: &ScriptedProvider,
    models: &[&str],
    experiments: &str,
) -> Trial {
    // Never dropped: the server goes with the tests, and its databases with it.
    let database = Box::leak(Box::new(servers::postgres().database()));
    let entries =
        models.iter().map(|model| format!("{model}: {{ targets: [one/m], retry: {{ attempts: 1 }} }}"));
    let models = entries.collect::<Vec<_>>().join(", ");
    let settings = format!(
        "providers:\n  one: {{ kind: openai-compatible, base_url: '{}/v1', api_key: sk-1234567890 }}\n  \
         other: {{ kind: openai-compatible, base_url: '{}/v1', api_key: sk-0987654321 }}\n\
         prices: {{ one/*: {{ input: 1, output: 2 }}, other/*: {{ input: 1, output: 2 }} }}\n\
         models: {{ {models} }}\nexperiments:\n{experiments}",
        one.url(),
        other.url(),
    );
    let ground = Ground::of_three_with(&database.url(), &servers::redis().database(), &settings).await;
    let caller = ground.key("caller", Limits::default()).await;
    let admin = NewKey { name: "admin".into(), role: Some(Role::Admin), ..NewKey::default() };
    let admin = ground.new_key(admin).await;
    Trial { fleet: ground.start(), caller, admin }
}

impl Trial {
    /// A call of a session to the replica with this number.
    async fn ask(&self, replica: usize, model: &str, session: &str) -> Received {
        let body =
            json!({"model": model, "messages": [{"role": "user", "content": "How high is the tide?"}]});
        let client = self.caller.client(self.fleet.address(replica));
        client.with_header("x-tidegate-session", session).post("/v1/chat/completions", &body).await
    }

    /// What this replica shows of an experiment.
    async fn report(&self, replica: usize, name: &str) -> Value {
        let path = format!("/admin/v1/experiments/{name}");
        let received = self.admin.client(self.fleet.address(replica)).get(&path).await;
        assert_eq!(received.status, 200, "{}", received.text());
        received.json()
    }

    /// What was decided of an experiment by the audit log, the first first.
    async fn decided(&self, name: &str) -> Vec<String> {
        let query = AuditQuery { limit: 100, ..AuditQuery::default() };
        let lines = self.fleet.ground.access().audit(&query).await.expect("the audit log is read").items;
        let object = format!("experiment:{name}");
        let of_it = lines.into_iter().rev().filter(|line| line.object == object);
        of_it.map(|line| line.action).collect()
    }

    /// Asks all replicas until it is so by what one of them shows.
    async fn ask_until(&self, what: &str, model: &str, name: &str, is_so: impl Fn(&Value) -> bool) {
        let began = Instant::now();
        let mut number = 0;
        loop {
            for _ in 0..12 {
                self.ask(number, model, &format!("session-{number}")).await;
                number += 1;
            }
            let shown = self.report(number, name).await;
            if is_so(&shown) {
                return;
            }
            assert!(began.elapsed() < DECIDED_WITHIN, "{what}: {shown}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until every replica sends all calls into this arm, and sees that it stays so.
    async fn all_go_to(&self, model: &str, arm: &str) {
        let began = Instant::now();
        for replica in 0..3 {
            let mut in_a_row = 0;
            while in_a_row < 20 {
                let received = self.ask(replica, model, &format!("late-{in_a_row}")).await;
                in_a_row = if received.header("x-tidegate-experiment") == arm { in_a_row + 1 } else { 0 };
                assert!(began.elapsed() < FOLLOWED_WITHIN, "replica {replica} has not followed to {arm}");
            }
        }
    }
}

fn calls_of(report: &Value) -> BTreeMap<String, u64> {
    let arms = report["arms"].as_array().expect("arms");
    arms.iter()
        .map(|arm| (arm["name"].as_str().expect("a name").to_owned(), arm["calls"].as_u64().expect("calls")))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_keep_their_arm_on_every_replica_and_each_shows_the_sum_over_all() {
    let (one, other) =
        (ScriptedProvider::start([answered()]).await, ScriptedProvider::start([answered()]).await);
    let experiments = "  greeting: { model: fast, arms: { control: { weight: 3 }, new: { target: other/n, weight: 1 } } }\n";
    let trial = trial(&one, &other, &["fast"], experiments).await;
    let mut sent = BTreeMap::<String, u64>::new();
    let mut sessions = BTreeMap::<String, u64>::new();
    for session in 0..120 {
        let mut arms = Vec::new();
        for replica in 0..3 {
            let received = trial.ask(replica, "fast", &format!("conversation-{session}")).await;
            assert_eq!(received.status, 200, "{}", received.text());
            let arm = received
                .header("x-tidegate-experiment")
                .strip_prefix("greeting=")
                .expect("an arm")
                .to_owned();
            let target = if arm == "new" { "other/n" } else { "one/m" };
            assert_eq!(received.header("x-tidegate-target"), target);
            *sent.entry(arm.clone()).or_default() += 1;
            arms.push(arm);
        }
        assert!(arms.iter().all(|arm| *arm == arms[0]), "session {session} changes its arm: {arms:?}");
        *sessions.entry(arms.remove(0)).or_default() += 1;
    }
    // A quarter of 120 sessions, four standard deviations to either side.
    assert!((11..=49).contains(&sessions["new"]), "{sessions:?}");
    let began = Instant::now();
    for replica in 0..3 {
        while calls_of(&trial.report(replica, "greeting").await) != sent {
            assert!(began.elapsed() < FOLLOWED_WITHIN, "replica {replica} does not show {sent:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let report = trial.report(0, "greeting").await;
    let errors = &report["arms"][0]["metrics"][0];
    assert_eq!(
        (&errors["metric"], &errors["count"]),
        (&json!("errors"), &json!(sent["control"])),
        "{report}"
    );
    assert_eq!(trial.decided("greeting").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_takes_each_step_once_over_all_replicas_and_goes_back_when_it_fails() {
    let (one, other) =
        (ScriptedProvider::start([answered()]).await, ScriptedProvider::start([answered()]).await);
    let canary = |name: &str| {
        format!(
            "  {name}: {{ model: {name}, by: call, canary: {{ target: other/{name}, steps: [30%, 60%, 100%], calls: 12, after: 1ms }} }}\n"
        )
    };
    let experiments = format!("{}{}", canary("forward"), canary("back"));
    let trial = trial(&one, &other, &["forward", "back"], &experiments).await;
    trial.ask_until("the canary is done", "forward", "forward", |shown| shown["state"] == "done").await;
    let steps = trial.decided("forward").await;
    assert_eq!(steps, ["experiment.begin", "experiment.step", "experiment.done"]);
    trial.all_go_to("forward", "forward=canary").await;

    // The second one had a good start, and then its candidate breaks.
    trial.ask_until("the second step", "back", "back", |shown| shown["canary"]["step"] == 2).await;
    other.follow([broken()]);
    trial.ask_until("the canary is taken back", "back", "back", |shown| shown["state"] == "back").await;
    trial.all_go_to("back", "back=control").await;
    let steps = trial.decided("back").await;
    assert_eq!(steps, ["experiment.begin", "experiment.step", "experiment.back"]);
    // What was decided stays so, and nobody decides it once more.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(trial.decided("back").await, steps);
    for replica in 0..3 {
        let shown = trial.report(replica, "back").await;
        assert_eq!((&shown["state"], &shown["arms"][1]["share"]), (&json!("back"), &json!("0%")), "{shown}");
        assert_eq!(trial.report(replica, "forward").await["state"], "done");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_arm_that_fails_is_stopped_once_and_on_every_replica() {
    let (one, other) =
        (ScriptedProvider::start([answered()]).await, ScriptedProvider::start([broken()]).await);
    let experiments =
        "  greeting: { model: fast, by: call, arms: { control: {}, new: { target: other/n } } }\n";
    let trial = trial(&one, &other, &["fast"], experiments).await;
    trial
        .ask_until("the arm is stopped", "fast", "greeting", |shown| shown["arms"][1]["stopped"].is_string())
        .await;
    trial.all_go_to("fast", "greeting=control").await;
    for replica in 0..3 {
        let shown = trial.report(replica, "greeting").await;
        assert_eq!(
            (&shown["arms"][0]["share"], &shown["arms"][1]["share"]),
            (&json!("100%"), &json!("0%")),
            "{shown}"
        );
        assert!(shown["history"][0]["why"].as_str().expect("a reason").contains("failed"), "{shown}");
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(trial.decided("greeting").await, ["experiment.stop_arm"]);
}
