//! Keys that rest, are out and come back, over real sockets: how often a limited provider is asked, what a wait of nothing is
//! worth, what is said in the middle of a stream or of a count of tokens; and what attempts use that nobody waited for.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_gateway::share_health;
use tidegate_store::{HealthBoard, Outcome, SharedOptions};
use tidegate_testkit::servers::RedisServer;
use tidegate_testkit::{
    Client, Received, ScriptedProvider, Step, TestGateway, event_stream, json_answer, open_stream,
};

/// A replica writes and another one reads every quarter of a second; the rest is for a busy machine.
const KNOWN_BY_ALL: Duration = Duration::from_millis(1_500);

const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\
    \"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\
    \"usage\":{\"input_tokens\":5000,\"output_tokens\":1}}}\n\n";
const BLOCK: &str = "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\
    \"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";
const WORD: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\
    \"delta\":{\"type\":\"text_delta\",\"text\":\"High\"}}\n\n";
const LIMITED: &str = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\
    \"message\":\"slow down\"}}\n\n";

fn answer() -> Vec<Step> {
    let answer = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
        "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 10, "output_tokens": 2}});
    json_answer(200, &[], &answer)
}

fn refused(status: u16, kind: &str, headers: &[(&str, &str)]) -> Vec<Step> {
    json_answer(status, headers, &json!({"type": "error", "error": {"type": kind, "message": "no"}}))
}

/// The first provider with these keys, and another one behind it.
fn two(first: &ScriptedProvider, keys: &str, second: &ScriptedProvider, more: &str) -> String {
    format!(
        "providers:\n  one: {{ kind: anthropic, base_url: \"{}\", keys: {keys} }}\n\
         \x20 two: {{ kind: anthropic, base_url: \"{}\", api_key: other }}\n\
         models: {{ m: {{ targets: [one/m, two/m]{more} }} }}\n",
        first.url(),
        second.url()
    )
}

fn question(stream: bool) -> Value {
    json!({"model": "m", "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": "Hi"}]})
}

async fn ask(gateway: &TestGateway) -> Received {
    Client::new(gateway.address()).post("/v1/messages", &question(false)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_key_of_a_limited_provider_is_asked_once_and_then_the_next_target_however_short_their_rests_are()
{
    // The first key's rest is over before the second has answered.
    let slowly =
        [vec![Step::Wait(Duration::from_millis(250))], refused(429, "rate_limit_error", &[])].concat();
    let at_once = refused(429, "rate_limit_error", &[("retry-after", "0")]);
    let long_ago = refused(429, "rate_limit_error", &[("retry-after", "1445412480")]);
    for limited in [slowly, at_once, long_ago] {
        let first = ScriptedProvider::start([limited]).await;
        let second = ScriptedProvider::start([answer()]).await;
        let gateway = TestGateway::start(&two(&first, "[a, b]", &second, "")).await;
        let received = ask(&gateway).await;
        assert_eq!(received.status, 200, "{}", received.text());
        assert_eq!(received.header("x-tidegate-target"), "two/m");
        assert_eq!(received.header("x-tidegate-attempts"), "3");
        let arrived = first.arrived();
        let mut keys: Vec<&str> = arrived.iter().map(|request| request.header("x-api-key")).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["a", "b"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_is_never_told_to_come_back_in_no_time() {
    let limited = refused(429, "rate_limit_error", &[("retry-after", "0")]);
    let first = ScriptedProvider::start([limited.clone()]).await;
    let second = ScriptedProvider::start([limited]).await;
    let gateway = TestGateway::start(&two(&first, "[a]", &second, "")).await;
    let received = ask(&gateway).await;
    assert_eq!((received.status.as_u16(), received.header("retry-after")), (429, "1"), "{}", received.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_in_the_middle_of_a_stream_has_the_key_rest_too() {
    let first = ScriptedProvider::start([event_stream(&[START, BLOCK, WORD, LIMITED])]).await;
    let second = ScriptedProvider::start([answer()]).await;
    let gateway = TestGateway::start(&two(&first, "[a]", &second, ", retry: { backoff: 60s..60s }")).await;
    let client = Client::new(gateway.address());
    let received = client.post("/v1/messages", &question(true)).await;
    assert!(received.text().contains("rate_limit_error"), "{}", received.text());
    let received = ask(&gateway).await;
    assert_eq!(received.header("x-tidegate-target"), "two/m", "{}", received.text());
    assert_eq!(first.arrived().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_of_counting_is_not_held_against_answers() {
    for (status, kind) in [(429, "rate_limit_error"), (404, "not_found_error"), (403, "permission_error")] {
        let no = refused(status, kind, &[("retry-after", "60")]);
        let first = ScriptedProvider::start([no, answer()]).await;
        let counted = json_answer(200, &[], &json!({"input_tokens": 5}));
        let second = ScriptedProvider::start([counted, answer()]).await;
        let gateway = TestGateway::start(&two(&first, "[a]", &second, "")).await;
        let client = Client::new(gateway.address());
        client.post("/v1/messages/count_tokens", &question(false)).await;
        let received = ask(&gateway).await;
        assert_eq!(received.header("x-tidegate-target"), "one/m", "{status}: {}", received.text());
        assert_eq!(received.header("x-tidegate-attempts"), "1", "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_whose_body_does_not_come_takes_no_longer_than_an_answer_may() {
    let head = b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n{";
    let first = ScriptedProvider::start([vec![Step::Send(head.to_vec()), Step::Hang]]).await;
    let second = ScriptedProvider::start([answer()]).await;
    // Five seconds for each of its two tries would be beyond the deadline.
    let timeouts = ", timeout: { answer: 1s, total: 6s }";
    let gateway = TestGateway::start(&two(&first, "[a]", &second, timeouts)).await;
    let received = ask(&gateway).await;
    assert_eq!(received.status, 200, "{}", received.text());
    assert_eq!(received.header("x-tidegate-target"), "two/m");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_provider_told_of_usage_before_it_failed_is_booked() {
    let first = ScriptedProvider::start([event_stream(&[START])]).await;
    let second = ScriptedProvider::start([event_stream(&[START, BLOCK, WORD])]).await;
    let gateway = TestGateway::start(&two(&first, "[a]", &second, ", retry: { attempts: 1 }")).await;
    Client::new(gateway.address()).post("/v1/messages", &question(true)).await;
    let calls = gateway.calls_when(1).await;
    let used = calls[0].attempts[0].used.as_ref().unwrap();
    assert_eq!(used.input_tokens, 5_000);
    assert_eq!(calls[0].usage.input, 10_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_times_out_is_charged_for_what_it_has_sent() {
    for stream in [false, true] {
        let provider = ScriptedProvider::start([open_stream(&[])]).await;
        let yaml = format!(
            "providers:\n  one: {{ kind: anthropic, base_url: \"{}\", api_key: k }}\n\
             prices:\n  one/m: {{ input: 1, output: 5 }}\n",
            provider.url()
        );
        let gateway = TestGateway::start(&yaml).await;
        let client = Client::new(gateway.address()).with_header("x-tidegate-timeout", "300ms");
        let mut body = question(stream);
        body["model"] = "one/m".into();
        body["messages"][0]["content"] = "A word or two. ".repeat(500).into();
        let received = client.post("/v1/messages", &body).await;
        assert_eq!(received.status, 504, "{}", received.text());
        let calls = gateway.calls_when(1).await;
        assert_eq!(calls[0].outcome, Outcome::Failed);
        assert!(calls[0].usage.input > 1_000 && calls[0].is_estimated, "{:?}", calls[0].usage);
        assert!(calls[0].charge_nanodollars.is_some_and(|charge| charge > 1_000_000));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_of_any_replica_ends_a_rest_at_all_of_them() {
    let server = RedisServer::private();
    let redis = server.database();
    for reloaded in [0, 1] {
        let limited = refused(429, "rate_limit_error", &[("retry-after", "600")]);
        let first = ScriptedProvider::start([limited, answer()]).await;
        let second = ScriptedProvider::start([answer()]).await;
        let yaml = two(&first, "[sk-secret-0123456789]", &second, "");
        let replicas = [TestGateway::start(&yaml).await, TestGateway::start(&yaml).await];
        for (number, replica) in replicas.iter().enumerate() {
            let prefix = format!("rest{reloaded}");
            let options = SharedOptions { prefix, ..SharedOptions::new(&redis, number.to_string()) };
            let board = HealthBoard::open(&options).unwrap();
            tokio::spawn(share_health(Arc::clone(replica.gateway()), board));
        }
        let [here, there] = &replicas;
        assert_eq!(ask(here).await.header("x-tidegate-attempts"), "2");
        tokio::time::sleep(KNOWN_BY_ALL).await;
        assert_eq!(ask(there).await.header("x-tidegate-target"), "two/m");
        replicas[reloaded].reload(&yaml);
        tokio::time::sleep(KNOWN_BY_ALL).await;
        for replica in &replicas {
            assert_eq!(ask(replica).await.header("x-tidegate-target"), "one/m", "reloaded: {reloaded}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_count_that_succeeds_does_not_make_up_for_answers_that_fail() {
    let busy = refused(503, "overloaded_error", &[]);
    let counted = json_answer(200, &[], &json!({"input_tokens": 5}));
    let script = [&busy, &busy, &busy, &busy, &counted, &busy].map(Clone::clone);
    let first = ScriptedProvider::start(script).await;
    let second = ScriptedProvider::start([answer()]).await;
    let gateway = TestGateway::start(&two(&first, "[a]", &second, ", retry: { attempts: 1 }")).await;
    for number in 0..5 {
        if number == 4 {
            let client = Client::new(gateway.address());
            let counted = client.post("/v1/messages/count_tokens", &question(false)).await;
            assert_eq!(counted.json()["input_tokens"], 5);
        }
        assert_eq!(ask(&gateway).await.header("x-tidegate-attempts"), "2", "{number}");
    }
    assert_eq!(ask(&gateway).await.header("x-tidegate-attempts"), "1", "its breaker is open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_without_a_price_that_times_out_leaves_the_answers_cost_known() {
    let first = ScriptedProvider::start([vec![Step::Hang]]).await;
    let second = ScriptedProvider::start([answer()]).await;
    let yaml = two(&first, "[a]", &second, ", timeout: { answer: 300ms }")
        + "prices:\n  two/m: { input: 1, output: 5 }\n";
    let gateway = TestGateway::start(&yaml).await;
    let received = ask(&gateway).await;
    assert_eq!(received.header("x-tidegate-cost"), "0.00002", "{}", received.text());
    assert_eq!(gateway.calls_when(1).await[0].cost_nanodollars, Some(20_000));
}
