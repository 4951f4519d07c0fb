//! A target that is late gets company: the first of two to speak answers, the other's connection is closed at once, both
//! stand in the ledger with what they cost, and there are never more of them than configured.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_store::{LedgerEntry, Outcome};
use tidegate_testkit::{
    Client, Received, ScriptedProvider, Step, TestGateway, event_stream, json_answer, open_stream,
};

/// When the first target counts as late.
const LATE: &str = "60ms";
/// A target that was just made gets little traffic, and no hedges, for a moment.
const WARM: Duration = Duration::from_millis(1_800);

fn whole(text: &str) -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
        "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 10, "output_tokens": 2}})
}

fn beginning(input: u64) -> String {
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": input, "output_tokens": 1}});
    let start = json!({"type": "message_start", "message": message});
    format!("event: message_start\ndata: {start}\n\n")
}

fn speech(text: &str) -> String {
    let block =
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
    let delta =
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
    format!("event: content_block_start\ndata: {block}\n\nevent: content_block_delta\ndata: {delta}\n\n")
}

fn ending() -> String {
    let delta = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
        "usage": {"output_tokens": 2}});
    format!(
        "event: content_block_stop\ndata: {{\"type\":\"content_block_stop\",\"index\":0}}\n\n\
         event: message_delta\ndata: {delta}\n\nevent: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"
    )
}

fn answer(stream: bool, text: &str) -> Vec<Step> {
    if stream {
        event_stream(&[&beginning(10), &speech(text), &ending()])
    } else {
        json_answer(200, &[], &whole(text))
    }
}

/// The same after some time without a word; a stream has its headers at once.
fn late_answer(stream: bool, text: &str, after: Duration) -> Vec<Step> {
    let mut steps = answer(stream, text);
    steps.insert(if stream { 2 } else { 0 }, Step::Wait(after));
    steps
}

fn silence(stream: bool) -> Vec<Step> {
    if stream {
        let mut steps = open_stream(&[&beginning(25)]);
        steps.push(Step::Hang);
        steps
    } else {
        vec![Step::Hang]
    }
}

fn yaml(providers: &[&ScriptedProvider], hedge: &str) -> String {
    use std::fmt::Write as _;
    let mut yaml = "providers:\n".to_owned();
    for (number, provider) in providers.iter().enumerate() {
        writeln!(yaml, "  p{number}: {{ kind: anthropic, base_url: \"{}\", api_key: k }}", provider.url())
            .unwrap();
    }
    let targets: Vec<String> = (0..providers.len()).map(|number| format!("p{number}/m")).collect();
    let targets = targets.join(", ");
    write!(
        yaml,
        "prices: {{ p0/m: {{ input: 1, output: 2 }}, p1/m: {{ input: 3, output: 4 }} }}\n\
         models:\n  fast:\n    targets: [{targets}]\n    hedge: {{ {hedge} }}\n\
         \x20   retry: {{ attempts: 1, backoff: 1ms..2ms }}\n"
    )
    .unwrap();
    yaml
}

async fn start(providers: &[&ScriptedProvider], hedge: &str) -> TestGateway {
    let gateway = TestGateway::start(&yaml(providers, hedge)).await;
    tokio::time::sleep(WARM).await;
    // Half of the calls may be hedged: this one is not, so that the next one may be.
    assert!(ask(&gateway, false).await.text().contains("quick"));
    gateway
}

/// The provider that is asked first: quick once, and then as the script says.
async fn first_provider(script: impl IntoIterator<Item = Vec<Step>>) -> ScriptedProvider {
    ScriptedProvider::start(std::iter::once(answer(false, "quick")).chain(script)).await
}

fn question(stream: bool) -> Value {
    json!({"model": "fast", "max_tokens": 100, "stream": stream,
        "messages": [{"role": "user", "content": "x".repeat(400)}]})
}

async fn ask(gateway: &TestGateway, stream: bool) -> Received {
    Client::new(gateway.address()).post("/v1/messages", &question(stream)).await
}

fn attempts(call: &LedgerEntry) -> Vec<(&str, Option<&str>)> {
    let mut attempts: Vec<_> =
        call.attempts.iter().map(|attempt| (&*attempt.target, attempt.failure.as_deref())).collect();
    attempts.sort_unstable();
    attempts
}

#[tokio::test]
async fn a_silent_target_is_overtaken_and_left_at_once_and_both_are_paid_for() {
    for stream in [false, true] {
        let first = first_provider([silence(stream)]).await;
        let second = ScriptedProvider::start([answer(stream, "from the second")]).await;
        let gateway = start(&[&first, &second], &format!("share: 50%, after: {LATE}")).await;
        let received = ask(&gateway, stream).await;
        assert_eq!(received.status, 200, "{}", received.text());
        assert!(received.text().contains("from the second"), "{}", received.text());
        assert_eq!(received.header("x-tidegate-target"), "p1/m");
        assert_eq!(received.header("x-tidegate-attempts"), "2");
        assert!(first.hung_up(1).await, "the first one's connection is closed");
        assert_eq!((first.arrived().len(), second.arrived().len()), (2, 1));

        let calls = gateway.calls_when(2).await;
        let call = &calls[1];
        assert_eq!(call.outcome, Outcome::Answered);
        assert_eq!(attempts(call), [("p0/m", Some("cancelled")), ("p1/m", None)]);
        assert_eq!((call.provider.as_deref(), call.is_estimated), (Some("p1"), true));
        // A stream had told its input; of a whole answer it is estimated from the request's size.
        let lost_input = call.usage.input - 10;
        if stream {
            assert_eq!(lost_input, 25);
        } else {
            assert!((100..200).contains(&lost_input), "{lost_input}");
        }
        let lost_output = call.usage.output - 2;
        let used = call.attempts.iter().find_map(|attempt| attempt.used.clone()).unwrap();
        assert_eq!((used.input_tokens, used.output_tokens), (lost_input, lost_output));
        assert!(used.is_estimated && used.cost_nanodollars.is_some());
        let cost = lost_input * 1_000 + lost_output * 2_000 + 10 * 3_000 + 2 * 4_000;
        assert_eq!(call.cost_nanodollars, Some(cost));
        if !stream {
            let header: f64 = received.header("x-tidegate-cost").parse().unwrap();
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            let expected = cost as f64 / 1e9;
            assert!((header - expected).abs() < 1e-12, "{header} is not {expected}");
        }
        let metrics = Client::new(gateway.address()).get("/metrics").await.text();
        assert!(metrics.contains("tidegate_hedges_total{outcome=\"won\"}"), "{metrics}");
    }
}

#[tokio::test]
async fn a_late_target_that_still_speaks_first_answers_and_the_other_one_is_left() {
    for stream in [false, true] {
        let first = first_provider([late_answer(stream, "from the first", Duration::from_millis(600))]).await;
        let second = ScriptedProvider::start([silence(stream)]).await;
        let gateway = start(&[&first, &second], &format!("share: 50%, after: {LATE}")).await;
        let received = ask(&gateway, stream).await;
        assert!(received.text().contains("from the first"), "{}", received.text());
        assert_eq!(received.header("x-tidegate-target"), "p0/m");
        assert!(second.hung_up(1).await, "the second one's connection is closed");
        let calls = gateway.calls_when(2).await;
        assert_eq!(attempts(&calls[1]), [("p0/m", None), ("p1/m", Some("cancelled"))]);
        assert_eq!(calls[1].provider.as_deref(), Some("p0"));
    }
}

#[tokio::test]
async fn a_target_that_is_in_time_gets_no_company() {
    let first = first_provider([answer(false, "from the first")]).await;
    let second = ScriptedProvider::start([answer(false, "from the second")]).await;
    let gateway = start(&[&first, &second], "share: 50%, after: 5s").await;
    for _ in 0..10 {
        assert!(ask(&gateway, false).await.text().contains("from the first"));
    }
    assert!(second.arrived().is_empty());
}

#[tokio::test]
async fn no_more_calls_are_hedged_than_configured() {
    let first = first_provider([late_answer(false, "from the first", Duration::from_millis(150))]).await;
    let second = ScriptedProvider::start([answer(false, "from the second")]).await;
    let gateway = start(&[&first, &second], &format!("share: 20%, after: {LATE}")).await;
    for _ in 0..30 {
        assert_eq!(ask(&gateway, false).await.status, 200);
    }
    let hedged = second.arrived().len();
    assert!((5..=6).contains(&hedged), "{hedged} of 30");
}

#[tokio::test]
async fn without_a_time_of_its_own_a_hedge_waits_until_enough_is_measured() {
    let mut script: Vec<Vec<Step>> = (0..40).map(|_| answer(true, "from the first")).collect();
    script.push(silence(true));
    let first = first_provider(script).await;
    let second = ScriptedProvider::start([answer(true, "from the second")]).await;
    let gateway = start(&[&first, &second], "share: 50%").await;
    for _ in 0..40 {
        assert!(ask(&gateway, true).await.text().contains("from the first"));
    }
    let received = ask(&gateway, true).await;
    assert!(received.text().contains("from the second"), "{}", received.text());
    assert!(first.hung_up(1).await);

    // Of a target that nobody knows, nobody knows so soon that it is late.
    let silent = first_provider([silence(true)]).await;
    let idle = ScriptedProvider::start([answer(true, "from the second")]).await;
    let gateway = start(&[&silent, &idle], "share: 50%").await;
    let client = Client::new(gateway.address()).with_header("x-tidegate-timeout", "400ms");
    assert_eq!(client.post("/v1/messages", &question(true)).await.status, 504);
    assert!(idle.arrived().is_empty());
}

#[tokio::test]
async fn a_target_without_figures_of_its_own_is_late_when_the_others_of_its_model_would_be() {
    let silent = ScriptedProvider::start([silence(true)]).await;
    let known = ScriptedProvider::start([answer(true, "from the one that is known")]).await;
    let yaml = yaml(&[&silent, &known], "share: 50%") + "  known: { targets: [p1/m] }\n";
    let gateway = TestGateway::start(&yaml).await;
    let client = Client::new(gateway.address());
    let mut other = question(true);
    other["model"] = "known".into();
    for _ in 0..40 {
        assert_eq!(client.post("/v1/messages", &other).await.status, 200);
    }
    let in_time = |time| Client::new(gateway.address()).with_header("x-tidegate-timeout", time);
    let received = in_time("300ms").post("/v1/messages", &question(true)).await;
    assert_eq!(received.status, 504, "half a hedge is saved up yet: {}", received.text());
    // Far sooner than what is presumed of a target when nobody is known.
    let received = in_time("8s").post("/v1/messages", &question(true)).await;
    assert!(received.text().contains("from the one that is known"), "{}", received.text());
}

#[tokio::test]
async fn targets_that_are_all_new_are_hedged_as_soon_as_a_hedge_is_saved_up() {
    for stream in [false, true] {
        let first = first_provider([silence(stream)]).await;
        let second = ScriptedProvider::start([answer(stream, "from the second")]).await;
        let gateway =
            TestGateway::start(&yaml(&[&first, &second], &format!("share: 50%, after: {LATE}"))).await;
        assert!(ask(&gateway, false).await.text().contains("quick"));
        let received = ask(&gateway, stream).await;
        assert!(received.text().contains("from the second"), "{}", received.text());
    }
}

#[tokio::test]
async fn one_of_two_that_fails_leaves_the_call_to_the_other() {
    let error = json!({"type": "error", "error": {"type": "api_error", "message": "broken"}});
    let mut fails = json_answer(500, &[], &error);
    fails.insert(0, Step::Wait(Duration::from_millis(300)));
    let later = || late_answer(false, "after the other had failed", Duration::from_millis(700));
    for (first, second, target) in [(fails.clone(), later(), "p1/m"), (later(), fails.clone(), "p0/m")] {
        let (first, second) = (first_provider([first]).await, ScriptedProvider::start([second]).await);
        let third = ScriptedProvider::start([answer(false, "from the third")]).await;
        let gateway = start(&[&first, &second, &third], &format!("share: 50%, after: {LATE}")).await;
        let received = ask(&gateway, false).await;
        assert!(received.text().contains("after the other had failed"), "{}", received.text());
        assert_eq!(received.header("x-tidegate-target"), target);
        assert!(third.arrived().is_empty(), "nobody else is asked");
        let calls = gateway.calls_when(2).await;
        let failed: Vec<_> = calls[1].attempts.iter().filter_map(|it| it.failure.as_deref()).collect();
        assert_eq!(failed, ["provider_error"]);
        assert_eq!(calls[1].attempts.last().unwrap().failure, None, "who answers comes last");
    }
}

#[tokio::test]
async fn when_both_fail_the_call_goes_on_behind_both_unless_the_request_was_at_fault() {
    let late_failure = |status: u16, kind: &str, after: u64| {
        let error = json!({"type": "error", "error": {"type": kind, "message": format!("said {status}")}});
        let mut steps = json_answer(status, &[], &error);
        steps.insert(0, Step::Wait(Duration::from_millis(after)));
        steps
    };
    for (first_status, kind, expected) in [(500, "api_error", 200), (400, "invalid_request_error", 400)] {
        let first = first_provider([late_failure(first_status, kind, 300)]).await;
        let second = ScriptedProvider::start([late_failure(529, "overloaded_error", 600)]).await;
        let third = ScriptedProvider::start([answer(false, "from the third")]).await;
        let gateway = start(&[&first, &second, &third], &format!("share: 50%, after: {LATE}")).await;
        let received = ask(&gateway, false).await;
        assert_eq!(received.status, expected, "{}", received.text());
        if expected == 200 {
            assert_eq!(received.header("x-tidegate-target"), "p2/m");
            assert_eq!(received.header("x-tidegate-attempts"), "3");
        } else {
            assert!(received.text().contains("said 400"), "{}", received.text());
            assert!(third.arrived().is_empty());
        }
    }
}

#[tokio::test]
async fn a_caller_who_hangs_up_cancels_both() {
    let first = first_provider([silence(false)]).await;
    let second = ScriptedProvider::start([silence(false)]).await;
    let gateway = start(&[&first, &second], &format!("share: 50%, after: {LATE}")).await;
    let client = Client::new(gateway.address());
    let sending = client.send(http::Method::POST, "/v1/messages", question(false).to_string().into());
    let waiting = async {
        while second.arrived().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        _answer = sending => panic!("nobody answers"),
        () = waiting => {}
    }
    assert!(first.hung_up(1).await && second.hung_up(1).await);
    let calls = gateway.calls_when(2).await;
    assert_eq!(calls[1].outcome, Outcome::Cancelled);
    assert_eq!(attempts(&calls[1]), [("p0/m", Some("cancelled")), ("p1/m", Some("cancelled"))]);
}
