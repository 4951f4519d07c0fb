//! A target that answers 503 for a while: its breaker opens within the first few calls, probes are few, callers see nothing
//! of it, and its traffic is back soon after it recovers.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_sim::{Dialect, SimOptions, Simulator};
use tidegate_testkit::{Client, TestGateway};

/// The simulator's target is well for so long, then answers 503 for as long, and so on.
const PHASE: Duration = Duration::from_secs(4);
/// Calls come one after the other, so often.
const PACE: Duration = Duration::from_millis(25);

#[tokio::test]
async fn an_outage_costs_a_few_attempts_and_ends_with_the_outage() {
    let sim = Simulator::start(SimOptions::default()).await.unwrap();
    let url = sim.base_url(Dialect::OpenAiChat);
    let gateway = TestGateway::start(&format!(
        "providers:\n  one: {{ kind: openai, base_url: \"{url}\", api_key: k }}\n\
         \x20 two: {{ kind: openai, base_url: \"{url}\", api_key: k }}\n\
         models:\n  m: {{ targets: [one/flap-4s, two/fine], retry: {{ attempts: 1 }} }}\n"
    ))
    .await;
    let client = Client::new(gateway.address());
    let question = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]});
    let began = Instant::now();
    // When each call began, whether the first target answered it, and how often that had been asked in vain.
    let mut calls = Vec::new();
    while began.elapsed() < PHASE * 3 {
        let at = began.elapsed();
        let received = client.post("/v1/chat/completions", &question).await;
        assert_eq!(received.status, 200, "{}", received.text());
        let is_first = received.header("x-tidegate-target") == "one/flap-4s";
        let attempts: usize = received.header("x-tidegate-attempts").parse().unwrap();
        calls.push((at, is_first, attempts - 1));
        tokio::time::sleep(PACE).await;
    }
    let within = |from: Duration, to: Duration| calls.iter().filter(move |(at, ..)| (from..to).contains(at));

    let during = within(PHASE, PHASE * 2).count();
    let in_vain: usize = calls.iter().map(|(_, _, in_vain)| in_vain).sum();
    assert!(during > 20, "{during} calls met the outage");
    // A run of five opens it; then a probe after one second, and one after each further two or three.
    assert!((5..=10).contains(&in_vain), "{in_vain} of {during} calls asked in vain");

    let end = PHASE * 3;
    let last = within(PHASE * 11 / 4, end);
    let (mut all, mut back) = (0, 0);
    for (_, is_first, _) in last {
        all += 1;
        back += usize::from(*is_first);
    }
    assert!(back * 3 >= all, "{back} of {all} calls are back within four seconds of the recovery");
}
