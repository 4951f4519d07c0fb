//! More calls than Tidegate may work on: who waits, who is next, who is turned away and how, over real sockets.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tidegate_gateway::queue::PlacesStatus;
use tidegate_store::NewKey;
use tidegate_testkit::{
    Client, Received, ScriptedProvider, Step, TestGateway, event_stream, json_answer, open_stream,
};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// How long something may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(20);

const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-haiku-4-5\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":7,\"output_tokens\":1}}}\n\n";
const BLOCK: &str = "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";
const HELLO: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\n";
const BLOCK_END: &str = "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n";
const DELTA: &str = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":3}}\n\n";
const STOP: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

fn answer() -> Vec<Step> {
    let body = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5",
        "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 10, "output_tokens": 2}});
    json_answer(200, &[], &body)
}

/// A provider that answers, its first call only when the sign is given.
async fn provider_that_waits() -> (ScriptedProvider, Arc<Notify>) {
    let sign = Arc::new(Notify::new());
    let mut first = answer();
    first.insert(0, Step::Await(Arc::clone(&sign)));
    (ScriptedProvider::start([first, answer()]).await, sign)
}

fn yaml(provider: &ScriptedProvider, max_calls: usize, length: usize, wait: &str) -> String {
    format!(
        "server: {{ max_calls: {max_calls}, queue: {{ length: {length}, wait: {wait} }} }}\n\
         providers:\n  anthropic: {{ base_url: \"{}\", api_key: sk-secret }}\n",
        provider.url()
    )
}

fn question(text: &str, stream: bool) -> Value {
    json!({"model": "claude-haiku-4-5", "max_tokens": 100, "stream": stream,
        "messages": [{"role": "user", "content": text}]})
}

/// Asks in a task of its own. Dropping or aborting it hangs up.
fn ask(client: &Client, text: &str) -> JoinHandle<Received> {
    let (client, body) = (client.clone(), question(text, false));
    tokio::spawn(async move { client.post("/v1/messages", &body).await })
}

async fn until(gateway: &TestGateway, what: &str, condition: impl Fn(PlacesStatus) -> bool) {
    let waiting = async {
        while !condition(gateway.gateway().status().places) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let done = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(done.is_ok(), "{what}: {:?}", gateway.gateway().status().places);
}

/// The questions in the order in which they came to the provider.
fn order(provider: &ScriptedProvider) -> Vec<String> {
    let text = |arrived: &tidegate_testkit::Arrived| {
        arrived.json()["messages"][0]["content"].as_str().unwrap_or("?").to_owned()
    };
    provider.arrived().iter().map(text).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_callers_never_more_than_four_are_at_the_provider_and_all_are_answered() {
    for stream in [false, true] {
        let events = [START, BLOCK, HELLO, BLOCK_END, DELTA, STOP];
        let mut steps = if stream { event_stream(&events) } else { answer() };
        steps.insert(steps.len() - 1, Step::Wait(Duration::from_millis(20)));
        let provider = ScriptedProvider::start([steps]).await;
        let gateway = TestGateway::start(&yaml(&provider, 4, 100, "20s")).await;
        let client = Client::new(gateway.address());
        let mut running = tokio::task::JoinSet::new();
        for number in 0..100 {
            let (client, body) = (client.clone(), question(&number.to_string(), stream));
            running.spawn(async move { client.post("/v1/messages", &body).await });
        }
        for received in running.join_all().await {
            assert_eq!(received.status, 200, "{}", received.text());
            assert!(
                received.is_complete && (!stream || received.text().ends_with(STOP)),
                "{}",
                received.text()
            );
        }
        assert_eq!(provider.most_at_once(), 4, "stream {stream}");
        assert_eq!(provider.arrived().len(), 100);
        assert_eq!(gateway.calls_when(100).await.len(), 100);
        until(&gateway, "all places are given back", |places| places.taken == 0).await;
        let metrics = client.get("/metrics").await.text();
        assert!(metrics.contains("tidegate_queue_wait_seconds_count{priority=\"interactive\"}"), "{metrics}");
        assert!(metrics.contains("tidegate_queue_length{priority=\"batch\"} 0"), "{metrics}");
    }
}

/// Path and body of a call in each dialect, whole and streamed, and where its error's word is.
fn dialects() -> [(&'static str, Value, &'static str, &'static str); 6] {
    let chat = |stream| question("Hi", stream);
    let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]});
    [
        ("/v1/chat/completions", chat(false), "/error/code", "overloaded"),
        ("/v1/chat/completions", chat(true), "/error/code", "overloaded"),
        ("/v1/messages", chat(false), "/error/type", "overloaded_error"),
        ("/v1/messages", chat(true), "/error/type", "overloaded_error"),
        ("/v1beta/models/claude-haiku-4-5:generateContent", gemini.clone(), "/error/status", "UNAVAILABLE"),
        (
            "/v1beta/models/claude-haiku-4-5:streamGenerateContent?alt=sse",
            gemini,
            "/error/status",
            "UNAVAILABLE",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gets_no_place_is_told_in_its_dialect_when_to_come_back_and_leaves_no_trace() {
    for (length, reason) in [(0, "as many wait as may"), (4, "no place became free")] {
        let provider = ScriptedProvider::start([vec![Step::Hang]]).await;
        let gateway = TestGateway::start(&yaml(&provider, 1, length, "60ms")).await;
        let client = Client::new(gateway.address());
        let holding = ask(&client, "holds the place");
        until(&gateway, "one call has the place", |places| places.taken == 1).await;
        for (path, body, pointer, word) in dialects() {
            let received = client.post(path, &body).await;
            let what = format!("{path}: {}", received.text());
            assert_eq!(received.status, 503, "{what}");
            assert_eq!(received.json().pointer(pointer), Some(&word.into()), "{what}");
            assert!(received.text().contains(reason), "{what}");
            let seconds: u64 = received.header("retry-after").parse().unwrap();
            assert!((1..=30).contains(&seconds), "{what}: {seconds}");
            assert_eq!(received.header("x-tidegate-attempts"), "0", "{what}");
            assert!(!received.header("x-request-id").is_empty(), "{what}");
        }
        until(&gateway, "nobody waits", |places| places.interactive == 0).await;
        holding.abort();
        let calls = gateway.calls_when(1).await;
        assert_eq!(calls.len(), 1, "only the one that had the place is in the ledger");
        assert_eq!(provider.arrived().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interactive_calls_go_before_batch_calls_however_these_say_so() {
    let (provider, sign) = provider_that_waits().await;
    let gateway = TestGateway::start(&yaml(&provider, 1, 20, "20s")).await;
    let client = Client::new(gateway.address());
    let mut asked = vec![ask(&client, "first")];
    until(&gateway, "one call has the place", |places| places.taken == 1).await;
    let batch = client.clone().with_header("x-tidegate-priority", "batch");
    asked.push(ask(&batch, "by header"));
    until(&gateway, "one waits", |places| places.batch == 1).await;
    let flex = json!({"model": "claude-haiku-4-5", "service_tier": "flex", "messages": [{"role": "user", "content": "by tier"}]});
    let openai = client.clone();
    asked.push(tokio::spawn(async move { openai.post("/v1/chat/completions", &flex).await }));
    until(&gateway, "two wait", |places| places.batch == 2).await;
    let header_first = client.clone().with_header("x-tidegate-priority", "interactive");
    asked.push(ask(&header_first, "interactive"));
    asked.push(ask(&client, "default"));
    until(&gateway, "two more wait", |places| places.interactive == 2).await;
    sign.notify_one();
    for asked in asked {
        assert_eq!(asked.await.unwrap().status, 200);
    }
    let order = order(&provider);
    assert_eq!(order[0], "first");
    let mut before: Vec<_> = order[1..3].to_vec();
    before.sort_unstable();
    assert_eq!(before, ["default", "interactive"], "{order:?}");
    assert_eq!(order.len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_gives_up_its_newest_batch_call_for_an_interactive_one() {
    let (provider, sign) = provider_that_waits().await;
    let gateway = TestGateway::start(&yaml(&provider, 1, 2, "20s")).await;
    let client = Client::new(gateway.address());
    let first = ask(&client, "first");
    until(&gateway, "one call has the place", |places| places.taken == 1).await;
    let batch = client.clone().with_header("x-tidegate-priority", "batch");
    let older = ask(&batch, "older");
    until(&gateway, "one waits", |places| places.batch == 1).await;
    let newest = ask(&batch, "newest");
    until(&gateway, "two wait", |places| places.batch == 2).await;
    let interactive = ask(&client, "interactive");
    let gone = newest.await.unwrap();
    assert_eq!(gone.status, 503, "{}", gone.text());
    assert!(gone.text().contains("make room in the queue"), "{}", gone.text());
    assert!(!gone.header("retry-after").is_empty());
    let refused = batch.post("/v1/messages", &question("too late", false)).await;
    assert_eq!(refused.status, 503, "a batch call does not displace another of the same caller");
    sign.notify_one();
    for asked in [first, older, interactive] {
        assert_eq!(asked.await.unwrap().status, 200);
    }
    assert_eq!(order(&provider), ["first", "interactive", "older"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_take_turns_however_many_calls_each_of_them_has_waiting() {
    let (provider, sign) = provider_that_waits().await;
    let gateway = TestGateway::start(&yaml(&provider, 1, 24, "20s")).await;
    let (greedy, modest) = (gateway.key(NewKey::default()).await, gateway.key(NewKey::default()).await);
    let greedy = Client::new(gateway.address()).with_header("x-api-key", greedy.expose());
    let modest = Client::new(gateway.address()).with_header("x-api-key", modest.expose());
    let mut asked = vec![ask(&greedy, "first")];
    until(&gateway, "one call has the place", |places| places.taken == 1).await;
    // The queue is filled by one caller alone …
    let mut crowd: Vec<_> = (0..24).map(|_| ask(&greedy, "greedy")).collect();
    until(&gateway, "the queue is full", |places| places.interactive == 24).await;
    // … and the other gets in all the same, and has every second turn.
    for _ in 0..3 {
        asked.push(ask(&modest, "modest"));
    }
    while crowd.iter().filter(|asked| asked.is_finished()).count() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sign.notify_one();
    for asked in asked {
        assert_eq!(asked.await.unwrap().status, 200);
    }
    let (mut answered, mut turned_away) = (0, 0);
    for asked in crowd.drain(..) {
        match asked.await.unwrap().status.as_u16() {
            200 => answered += 1,
            503 => turned_away += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((answered, turned_away), (21, 3));
    let order = order(&provider);
    assert_eq!(order[1..8].iter().filter(|whose| *whose == "modest").count(), 3, "{order:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_has_its_place_until_its_end_and_one_that_is_left_gives_it_back_at_once() {
    let mut begun = open_stream(&[START, BLOCK, HELLO]);
    begun.push(Step::Hang);
    let provider = ScriptedProvider::start([begun, answer()]).await;
    let gateway = TestGateway::start(&yaml(&provider, 1, 4, "100ms")).await;
    let client = Client::new(gateway.address());
    let stream = client.send(Method::POST, "/v1/messages", question("stream", true).to_string().into()).await;
    assert_eq!(stream.status(), 200);
    let refused = client.post("/v1/messages", &question("meanwhile", false)).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    drop(stream);
    until(&gateway, "the place is given back", |places| places.taken == 0).await;
    let received = client.post("/v1/messages", &question("afterwards", false)).await;
    assert_eq!(received.status, 200, "{}", received.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_callers_who_hang_up_leave_the_queue_at_once() {
    let (provider, sign) = provider_that_waits().await;
    let gateway = TestGateway::start(&yaml(&provider, 1, 50, "20s")).await;
    let client = Client::new(gateway.address());
    let first = ask(&client, "first");
    until(&gateway, "one call has the place", |places| places.taken == 1).await;
    let gone: Vec<_> = (0..49).map(|_| ask(&client, "gone")).collect();
    let stays = ask(&client, "stays");
    until(&gateway, "fifty wait", |places| places.interactive == 50).await;
    gone.iter().for_each(JoinHandle::abort);
    until(&gateway, "one waits", |places| places.interactive == 1 && places.taken == 1).await;
    assert_eq!(order(&provider), ["first"], "while the first call still has the place");
    sign.notify_one();
    assert_eq!((first.await.unwrap().status.as_u16(), stays.await.unwrap().status.as_u16()), (200, 200));
    assert_eq!(order(&provider), ["first", "stays"]);
    assert_eq!(gateway.calls_when(2).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_is_read_once_there_is_a_place_and_refused_unread_without_one() {
    let (provider, sign) = provider_that_waits().await;
    let gateway = TestGateway::start(&yaml(&provider, 1, 1, "20s")).await;
    let client = Client::new(gateway.address());
    let large = "large ".repeat(400_000);
    let first = ask(&client, &large);
    until(&gateway, "one call has the place", |places| places.taken == 1).await;
    let second = ask(&client, &large);
    until(&gateway, "one waits", |places| places.interactive == 1).await;
    let refused = client.post("/v1/messages", &question(&"large ".repeat(12_000), false)).await;
    assert_eq!((refused.status.as_u16(), refused.header("connection")), (503, "close"));
    sign.notify_one();
    for asked in [first, second] {
        assert_eq!(asked.await.unwrap().status, 200);
    }
    assert!(order(&provider).iter().all(|text| *text == large));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_but_calls_answers_while_there_is_no_place() {
    let provider = ScriptedProvider::start([vec![Step::Hang]]).await;
    let gateway = TestGateway::start(&yaml(&provider, 1, 1, "20s")).await;
    let client = Client::new(gateway.address());
    let holding = ask(&client, "holds the place");
    until(&gateway, "one call has the place", |places| places.taken == 1).await;
    let ready = client.get("/health/ready").await;
    assert_eq!(
        (ready.status.as_u16(), &ready.json()["places"]["full"]),
        (200, &false.into()),
        "one may wait"
    );
    let waiting = ask(&client, "waits");
    until(&gateway, "the queue is full", |places| places.is_full).await;
    let ready = client.get("/health/ready").await;
    assert_eq!(ready.status, 503);
    let places = json!({"most": 1, "taken": 1, "waiting": {"interactive": 1, "batch": 0}, "full": true});
    assert_eq!(ready.json()["places"], places);
    for (path, status) in [
        ("/health/live", 200),
        ("/metrics", 200),
        ("/v1/models", 200),
        ("/openapi.json", 200),
        ("/admin/v1/keys", 401),
    ] {
        assert_eq!(client.get(path).await.status, status, "{path}");
    }
    let metrics = client.get("/metrics").await.text();
    for line in
        ["tidegate_places 1", "tidegate_places_taken 1", "tidegate_queue_length{priority=\"interactive\"} 1"]
    {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    waiting.abort();
    holding.abort();
    until(&gateway, "all is free", |places| places.taken == 0 && !places.is_full).await;
    assert_eq!(client.get("/health/ready").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_places_in_a_new_configuration_are_given_to_those_who_wait() {
    let provider = ScriptedProvider::start([vec![Step::Hang], answer()]).await;
    let gateway = TestGateway::start(&yaml(&provider, 1, 8, "20s")).await;
    let client = Client::new(gateway.address());
    let holding = ask(&client, "holds the place");
    until(&gateway, "one call has the place", |places| places.taken == 1).await;
    let waiting = ask(&client, "waits");
    until(&gateway, "one waits", |places| places.interactive == 1).await;
    gateway.reload(&yaml(&provider, 2, 8, "20s"));
    assert_eq!(waiting.await.unwrap().status, 200);
    holding.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_a_place_ends_with_the_callers_own_deadline() {
    let provider = ScriptedProvider::start([vec![Step::Hang]]).await;
    let gateway = TestGateway::start(&yaml(&provider, 1, 8, "60s")).await;
    let client = Client::new(gateway.address());
    let holding = ask(&client, "holds the place");
    until(&gateway, "one call has the place", |places| places.taken == 1).await;
    let hurried = client.clone().with_header("x-tidegate-timeout", "50ms");
    let waiting = tokio::time::timeout(PATIENCE, ask(&hurried, "hurried"));
    assert_eq!(waiting.await.unwrap().unwrap().status, 503);
    holding.abort();
}

#[tokio::test]
async fn a_priority_that_does_not_exist_is_told_even_while_nobody_waits() {
    let provider = ScriptedProvider::start([answer()]).await;
    let gateway = TestGateway::start(&yaml(&provider, 1, 8, "1s")).await;
    let client = Client::new(gateway.address()).with_header("x-tidegate-priority", "urgent");
    let received = client.post("/v1/messages", &question("Hi", false)).await;
    assert_eq!(received.status, 400);
    assert!(received.text().contains("`interactive` or `batch`"), "{}", received.text());
}
