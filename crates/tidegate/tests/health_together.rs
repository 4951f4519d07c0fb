//! Three replicas in front of the same providers: what one learns of a provider by its own calls the others heed within a
//! second or two without having asked, traffic comes back on all of them, and without Redis each goes by what it sees itself.

#![expect(clippy::expect_used, clippy::panic, reason = "a test may fail loudly")]

mod common;

use std::time::{Duration, Instant};

use common::PATIENCE;
use common::fleet::{Caller, Fleet, Ground};
use serde_json::{Value, json};
use tidegate_policy::{Limits, Role};
use tidegate_store::NewKey;
use tidegate_testkit::servers::{self, RedisServer};
use tidegate_testkit::{Received, ScriptedProvider, Step, json_answer};

/// What one knows the others know within half a second; the rest is for a machine that is busy with tests.
const HEARD_WITHIN: Duration = Duration::from_secs(2);
/// So many failures in a row open a breaker.
const OPENS_AFTER: usize = 5;

/// Three replicas with two providers, of which the second is asked when the first cannot be.
struct Three {
    fleet: Fleet,
    caller: Caller,
    admin: Caller,
    first: ScriptedProvider,
    _second: ScriptedProvider,
}

fn answered() -> Vec<Step> {
    let body = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "High."}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    });
    json_answer(200, &[], &body)
}

fn refused(status: u16, headers: &[(&str, &str)]) -> Vec<Step> {
    json_answer(status, headers, &json!({"error": {"message": "no", "type": "error"}}))
}

impl Three {
    async fn start(redis: &str, answer: Vec<Step>) -> Self {
        let (first, second) =
            (ScriptedProvider::start([answer]).await, ScriptedProvider::start([answered()]).await);
        // Never dropped: the server goes with the tests, and its databases with it.
        let database = Box::leak(Box::new(servers::postgres().database()));
        let settings = format!(
            "providers:\n  one: {{ kind: openai-compatible, base_url: '{}/v1', api_key: sk-1234567890 }}\n  \
             two: {{ kind: openai-compatible, base_url: '{}/v1', api_key: sk-0987654321 }}\n\
             models: {{ fast: {{ targets: [one/m, two/m], retry: {{ attempts: 1 }} }} }}\n",
            first.url(),
            second.url(),
        );
        let ground = Ground::of_three_with(&database.url(), redis, &settings).await;
        let caller = ground.key("caller", Limits::default()).await;
        let admin = NewKey { name: "admin".into(), role: Some(Role::Admin), ..NewKey::default() };
        let admin = ground.new_key(admin).await;
        Self { fleet: ground.start(), caller, admin, first, _second: second }
    }

    /// A call to the replica with this number, which the provider can tell by what it says. It is answered, whatever the first
    /// provider does.
    async fn ask(&self, replica: usize) -> Received {
        let content = format!("replica {replica}");
        let body = json!({"model": "fast", "messages": [{"role": "user", "content": content}]});
        let client = self.caller.client(self.fleet.address(replica));
        let received = tokio::time::timeout(PATIENCE, client.post("/v1/chat/completions", &body)).await;
        let received = received.expect("an answer comes in time");
        assert_eq!(received.status, 200, "{}", received.text());
        received
    }

    /// How often the first provider was asked by this replica.
    fn asked_by(&self, replica: usize) -> usize {
        let content = json!(format!("replica {replica}"));
        let arrived = self.first.arrived();
        arrived.iter().filter(|request| request.json()["messages"][0]["content"] == content).count()
    }

    /// What this replica knows of the first provider.
    async fn state(&self, replica: usize) -> Value {
        let received = self.admin.client(self.fleet.address(replica)).get("/admin/v1/targets").await;
        assert_eq!(received.status, 200, "{}", received.text());
        let targets = received.json();
        let targets = targets["data"].as_array().expect("targets");
        targets.iter().find(|target| target["target"] == "one/m").expect("the first provider's")["state"]
            .clone()
    }

    /// Waits until these replicas know this of the first provider.
    async fn wait_until(&self, replicas: [usize; 2], state: &str) {
        let began = Instant::now();
        for replica in replicas {
            loop {
                let known = self.state(replica).await;
                if known == state {
                    break;
                }
                assert!(began.elapsed() < HEARD_WITHIN, "replica {replica} knows it as {known}, not {state}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Asks all replicas until each of them has the first provider's answers again, many in a row.
    async fn wait_for_traffic(&self) {
        let began = Instant::now();
        let mut in_a_row = [0; 3];
        while in_a_row.iter().any(|count| *count < 20) {
            for (replica, count) in in_a_row.iter_mut().enumerate() {
                let is_back = self.ask(replica).await.header("x-tidegate-target") == "one/m";
                *count = if is_back { *count + 1 } else { 0 };
            }
            assert!(began.elapsed() < PATIENCE, "in a row: {in_a_row:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_one_replica_finds_out_is_not_asked_by_the_others() {
    for (answer, state) in [(refused(429, &[("retry-after", "60")]), "cooling"), (refused(401, &[]), "out")] {
        let three = Three::start(&servers::redis().database(), answer).await;
        assert_eq!(three.ask(0).await.header("x-tidegate-attempts"), "2");
        three.wait_until([1, 2], state).await;
        for number in 0..30 {
            let received = three.ask(number % 3).await;
            assert_eq!(received.header("x-tidegate-attempts"), "1", "{state}: call {number}");
        }
        assert_eq!(three.first.arrived().len(), 1, "{state}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_that_one_replica_sees_is_heeded_by_all_and_so_is_its_end() {
    let three = Three::start(&servers::redis().database(), refused(503, &[])).await;
    for _ in 0..OPENS_AFTER {
        assert_eq!(three.ask(0).await.header("x-tidegate-attempts"), "2");
    }
    // Its probes fail meanwhile, which keeps its breaker open.
    let began = Instant::now();
    while three.state(1).await == "closed" || three.state(2).await == "closed" {
        three.ask(0).await;
        assert!(began.elapsed() < HEARD_WITHIN, "the others do not hear of it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let asked = three.first.arrived().len();
    assert_eq!((three.asked_by(1), three.asked_by(2)), (0, 0), "they know it by hearsay");

    // While it lasts, all of them together ask no more than single probes.
    let began = Instant::now();
    let mut calls = 0;
    while began.elapsed() < Duration::from_secs(4) {
        for replica in 0..3 {
            three.ask(replica).await;
            calls += 1;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let probes = three.first.arrived().len() - asked;
    assert!(probes <= 12 && probes * 4 < calls, "{probes} probes in {calls} calls");

    three.first.follow([answered()]);
    three.wait_for_traffic().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_each_replica_finds_out_for_itself_and_with_it_again_they_tell_each_other() {
    let redis = RedisServer::private();
    let three = Three::start(&redis.database(), answered()).await;
    for replica in 0..3 {
        assert_eq!(three.ask(replica).await.header("x-tidegate-target"), "one/m");
    }
    redis.kill();
    three.first.follow([refused(503, &[])]);
    for replica in 0..3 {
        // Each opens its own breaker by its own failures, and every caller is answered meanwhile.
        for _ in 0..OPENS_AFTER {
            three.ask(replica).await;
        }
        assert_ne!(three.state(replica).await, "closed", "replica {replica}");
        assert_eq!(three.asked_by(replica), 1 + OPENS_AFTER, "replica {replica}");
    }
    three.first.follow([answered()]);
    three.wait_for_traffic().await;

    redis.start();
    three.first.follow([refused(401, &[])]);
    // The connection to Redis comes back by itself; what one finds out then reaches the others.
    assert_eq!(three.ask(0).await.header("x-tidegate-attempts"), "2");
    let began = Instant::now();
    while three.state(1).await != "out" || three.state(2).await != "out" {
        assert!(began.elapsed() < PATIENCE, "they do not hear of it");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let asked = three.first.arrived().len();
    for number in 0..9 {
        assert_eq!(three.ask(number % 3).await.header("x-tidegate-attempts"), "1");
    }
    assert_eq!(three.first.arrived().len(), asked);
}
