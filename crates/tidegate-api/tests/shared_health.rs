//! What one replica has learned of a provider the others know within a second, through Redis; without it each goes by what
//! it sees itself.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_gateway::share_health;
use tidegate_store::{HealthBoard, SharedOptions};
use tidegate_testkit::servers::RedisServer;
use tidegate_testkit::{Client, Received, ScriptedProvider, TestGateway, json_answer};

/// A replica writes and another one reads every quarter of a second; the rest is for a busy machine.
const KNOWN_BY_ALL: Duration = Duration::from_millis(1_500);

fn answer() -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
        "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 10, "output_tokens": 2}})
}

fn error(kind: &str) -> Value {
    json!({"type": "error", "error": {"type": kind, "message": "no"}})
}

/// Two replicas with the same two providers, asked in order.
async fn replicas(
    first: &ScriptedProvider,
    second: &ScriptedProvider,
    redis: &str,
    prefix: &str,
) -> [TestGateway; 2] {
    let yaml = format!(
        "providers:\n  one: {{ kind: anthropic, base_url: \"{}\", api_key: sk-secret-0123456789 }}\n\
         \x20 two: {{ kind: anthropic, base_url: \"{}\", api_key: sk-secret-9876543210 }}\n\
         models: {{ fast: {{ targets: [one/m, two/m], retry: {{ attempts: 1 }} }} }}\n",
        first.url(),
        second.url()
    );
    let replicas = [TestGateway::start(&yaml).await, TestGateway::start(&yaml).await];
    for (number, replica) in replicas.iter().enumerate() {
        let options =
            SharedOptions { prefix: prefix.into(), ..SharedOptions::new(redis, number.to_string()) };
        let board = HealthBoard::open(&options).unwrap();
        tokio::spawn(share_health(Arc::clone(replica.gateway()), board));
    }
    replicas
}

async fn ask(replica: &TestGateway) -> Received {
    let question = json!({"model": "fast", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]});
    let received = Client::new(replica.address()).post("/v1/messages", &question).await;
    assert_eq!(received.status, 200, "{}", received.text());
    received
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_rests_or_is_out_is_not_found_out_by_every_replica_anew() {
    let redis = RedisServer::private();
    let limited = json_answer(429, &[("retry-after", "60")], &error("rate_limit_error"));
    let refused = json_answer(401, &[], &error("authentication_error"));
    for (failure, prefix) in [(limited, "rests"), (refused, "out")] {
        let first = ScriptedProvider::start([failure]).await;
        let second = ScriptedProvider::start([json_answer(200, &[], &answer())]).await;
        let [here, there] = replicas(&first, &second, &redis.database(), prefix).await;
        assert_eq!(ask(&here).await.header("x-tidegate-attempts"), "2");
        tokio::time::sleep(KNOWN_BY_ALL).await;
        assert_eq!(ask(&there).await.header("x-tidegate-attempts"), "1", "{prefix}");
        assert_eq!(first.arrived().len(), 1, "{prefix}: the provider was asked by one of them only");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_breaker_is_heard_of_but_not_against_what_was_just_seen() {
    let redis = RedisServer::private();
    let first = ScriptedProvider::start([json_answer(503, &[], &error("overloaded_error"))]).await;
    let second = ScriptedProvider::start([json_answer(200, &[], &answer())]).await;
    let [here, there] = replicas(&first, &second, &redis.database(), "breaker").await;
    let open = |replica: &TestGateway| {
        let reports = replica.gateway().targets();
        reports.iter().find(|report| report.target == "one/m").is_some_and(|it| it.state.as_str() != "closed")
    };
    let mut heard = false;
    for _ in 0..60 {
        // Calls here keep it open: every probe fails.
        ask(&here).await;
        heard |= open(&there);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(heard, "the other replica has heard of it");
    let asked = first.arrived().len();
    assert!(asked < 20, "{asked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_everything_goes_on_and_with_it_again_so_does_the_sharing() {
    let redis = RedisServer::private();
    let refused = json_answer(401, &[], &error("authentication_error"));
    let first = ScriptedProvider::start([refused]).await;
    let second = ScriptedProvider::start([json_answer(200, &[], &answer())]).await;
    let address = redis.database();
    redis.kill();
    let [here, there] = replicas(&first, &second, &address, "away").await;
    assert_eq!(ask(&here).await.header("x-tidegate-attempts"), "2");
    tokio::time::sleep(Duration::from_millis(700)).await;
    for _ in 0..3 {
        assert_eq!(ask(&here).await.header("x-tidegate-attempts"), "1");
    }
    redis.start();
    for _ in 0..100 {
        let reports = there.gateway().targets();
        if reports.iter().any(|report| report.target == "one/m" && report.state.as_str() == "out") {
            assert_eq!(ask(&there).await.header("x-tidegate-attempts"), "1");
            assert_eq!(first.arrived().len(), 1);
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(first.arrived().len(), 0, "the other replica never heard of it");
}
