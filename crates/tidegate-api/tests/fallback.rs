//! Where calls go when a key, a target or all of them fail, and how far an outage is kept from being multiplied: counted
//! at the provider, over real sockets, whole and streamed, in every dialect.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod common;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_sim::{Dialect, RunningSim, SimOptions, Simulator};
use tidegate_store::{NewKey, Outcome};
use tidegate_testkit::{Arrived, Client, ScriptedProvider, Step, TestGateway, json_answer};
use tokio::task::JoinSet;

use common::{DIALECTS, ask, asked, say};

async fn simulator() -> RunningSim {
    Simulator::start(SimOptions::default()).await.unwrap()
}

/// Providers of one kind at the simulator, each with its key.
fn providers(sim: &RunningSim, dialect: Dialect, kind: &str, keys: &[(&str, &str)]) -> String {
    let mut yaml = String::from("providers:\n");
    for (name, key) in keys {
        let url = sim.base_url(dialect);
        writeln!(yaml, "  {name}: {{ kind: {kind}, base_url: \"{url}\", keys: {key} }}").unwrap();
    }
    yaml
}

/// How often the simulator gave no answer, and how often it did.
fn failed_and_answered(sim: &RunningSim) -> (u64, u64) {
    let all = sim.totals().all;
    (all.failed + all.cut, all.answered)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_fails_gives_way_to_another_key_of_the_provider_and_is_left_alone() {
    for (dialect, kind) in DIALECTS {
        for stream in [false, true] {
            for (bad, failure) in [
                ("rate-limited-60s", "rate_limited"),
                ("out-of-quota", "out_of_quota"),
                ("credentials-401", "credentials"),
                ("credentials-403", "credentials"),
            ] {
                let sim = simulator().await;
                // The weight has the bad key asked early, as good as always first.
                let keys = format!("[{{ key: {bad}, weight: 10000 }}, good]");
                let yaml = providers(&sim, dialect, kind, &[("one", &keys), ("other", "[good]")])
                    + "models:\n  m: { targets: [one/fine, other/fine] }\n";
                let gateway = TestGateway::start(&yaml).await;
                let client = Client::new(gateway.address());
                for number in 0..4 {
                    let received = ask(&client, dialect, "m", stream).await;
                    let what = format!("{kind}, stream {stream}, {bad}, call {number}: {}", received.text());
                    assert_eq!(received.status, 200, "{what}");
                    assert_eq!(received.header("x-tidegate-target"), "one/fine", "{what}");
                }
                let what = format!("{kind}, stream {stream}, {bad}");
                assert_eq!(failed_and_answered(&sim), (1, 4), "{what}: the bad key is asked once");
                let calls = gateway.calls_when(4).await;
                let two = calls.iter().find(|call| call.attempts.len() == 2).unwrap();
                let failures: Vec<_> = two.attempts.iter().map(|it| it.failure.as_deref()).collect();
                assert_eq!(failures, [Some(failure), None], "{what}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_that_is_too_long_goes_to_larger_windows_only() {
    // A model, another with the same window, a larger one.
    let models = [
        ["gpt-4o-mini", "gpt-4o", "gpt-4.1-mini"],
        ["claude-haiku-4-5", "claude-opus-4-5", "claude-opus-4-6"],
        ["gemini-2.5-flash", "gemini-2.5-pro", "gemini-exp-1206"],
    ];
    for ((dialect, kind), [first, same, larger]) in DIALECTS.into_iter().zip(models) {
        for stream in [false, true] {
            let sim = simulator().await;
            let yaml = providers(&sim, dialect, kind, &[("small", "[context-length-1]"), ("fine", "[good]")])
                + &format!(
                    "models:\n  with: {{ targets: [small/{first}, fine/{same}, fine/unknown, fine/{larger}] }}\n\
                     \x20 without: {{ targets: [small/{first}, fine/{same}, fine/unknown] }}\n"
                );
            let gateway = TestGateway::start(&yaml).await;
            let client = Client::new(gateway.address());
            let received = ask(&client, dialect, "with", stream).await;
            let what = format!("{kind}, stream {stream}: {}", received.text());
            assert_eq!(received.status, 200, "{what}");
            assert_eq!(received.header("x-tidegate-target"), format!("fine/{larger}"), "{what}");
            assert_eq!(received.header("x-tidegate-attempts"), "2", "{what}");
            let received = ask(&client, dialect, "without", stream).await;
            let what = format!("{kind}, stream {stream}: {}", received.text());
            assert_eq!(
                (received.status.as_u16(), received.header("x-tidegate-attempts")),
                (400, "1"),
                "{what}"
            );
            if dialect == Dialect::OpenAiChat {
                assert_eq!(received.json()["error"]["code"], "context_length_exceeded", "{what}");
            }
            assert_eq!(failed_and_answered(&sim), (2, 1), "{what}");
            // It is nobody's fault: whoever has less to say is answered there.
            let calls = gateway.calls_when(2).await;
            assert!(calls.iter().all(|call| call.attempts[0].failure.as_deref() == Some("context_length")));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_every_breaker_open_the_least_bad_target_is_asked_all_the_same() {
    for (dialect, kind) in DIALECTS {
        for stream in [false, true] {
            let sim = simulator().await;
            let yaml = providers(&sim, dialect, kind, &[("one", "[a]"), ("two", "[b]")])
                + "models:\n  m: { targets: [one/fail-5@one, two/fail-5@two], retry: { attempts: 1 } }\n";
            let gateway = TestGateway::start(&yaml).await;
            let client = Client::new(gateway.address());
            for _ in 0..5 {
                assert_eq!(ask(&client, dialect, "m", stream).await.status, 502);
            }
            assert_eq!((asked(&sim, "fail-5@one").len(), asked(&sim, "fail-5@two").len()), (5, 5));
            // Both have failed five times in a row and are left alone for a second; the call is made nevertheless.
            let began = Instant::now();
            let received = ask(&client, dialect, "m", stream).await;
            let is_early = began.elapsed() < Duration::from_millis(500);
            let what = format!("{kind}, stream {stream}: {}", received.text());
            assert_eq!(
                (received.status.as_u16(), received.header("x-tidegate-attempts")),
                (200, "1"),
                "{what}"
            );
            assert!(is_early || sim.totals().all.answered == 1, "{what}");
        }
    }
}

/// How many of these were under way at once, each for so long.
fn most_at_once(mut begun: Vec<Instant>, each: Duration) -> usize {
    begun.sort_unstable();
    let under_way = |at: usize| begun[..=at].iter().filter(|other| **other + each > begun[at]).count();
    (0..begun.len()).map(under_way).max().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_storm_of_failures_retries_are_at_most_a_fifth_of_the_calls_in_flight() {
    const CALLERS: usize = 60;
    const ANSWERS_AFTER: Duration = Duration::from_millis(100);
    for (dialect, kind) in DIALECTS {
        for stream in [false, true] {
            let mut steps = vec![Step::Wait(ANSWERS_AFTER)];
            steps.extend(json_answer(500, &[], &json!({})));
            let provider = ScriptedProvider::start([steps]).await;
            let path = if dialect == Dialect::OpenAiChat { "/v1" } else { "" };
            let yaml = format!(
                "retry: {{ attempts: 5, backoff: 1ms..2ms }}\nproviders:\n  p: {{ kind: {kind}, base_url: \"{}{path}\", api_key: k }}\n",
                provider.url()
            );
            let gateway = TestGateway::start(&yaml).await;
            let client = Client::new(gateway.address());
            let mut storm = JoinSet::new();
            for caller in 0..CALLERS {
                let client = client.clone();
                storm.spawn(async move {
                    for round in 0..2 {
                        let text = format!("caller {caller} round {round} end");
                        let received = say(&client, dialect, "p/m", stream, &text).await;
                        assert_eq!(received.status, 502, "{}", received.text());
                    }
                });
            }
            storm.join_all().await;
            let mut first: HashMap<String, Instant> = HashMap::new();
            let mut retries = Vec::new();
            for Arrived { at, body, .. } in provider.arrived() {
                let text = String::from_utf8(body).unwrap();
                let which = text[text.find("caller").unwrap()..text.find("end").unwrap()].to_owned();
                if first.insert(which, at).is_some() {
                    retries.push(at);
                }
            }
            assert_eq!(first.len(), CALLERS * 2);
            let most = most_at_once(retries.clone(), ANSWERS_AFTER);
            assert!(
                (1..=CALLERS / 5).contains(&most),
                "{kind}, stream {stream}: {most} of {}",
                retries.len()
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_attempts_of_a_call_share_one_deadline() {
    let total = Duration::from_millis(700);
    for (dialect, kind) in DIALECTS {
        for stream in [false, true] {
            let sim = simulator().await;
            let yaml = providers(&sim, dialect, kind, &[("busy", "[overloaded]"), ("fine", "[good]")])
                + "timeout: { first_token: 60s, answer: 60s, total: 700ms }\nretry: { attempts: 2, backoff: 1ms..2ms }\n\
                   models:\n  m: { targets: [busy/a, fine/silent, fine/never] }\n";
            let gateway = TestGateway::start(&yaml).await;
            let client = Client::new(gateway.address());
            let received = ask(&client, dialect, "m", stream).await;
            let what = format!("{kind}, stream {stream}: {}", received.text());
            assert_eq!(received.status, 504, "{what}");
            assert_eq!(received.header("x-tidegate-attempts"), "3", "{what}");
            assert!(received.took >= total && received.took < total * 20, "{what}: {:?}", received.took);
            assert_eq!(asked(&sim, "a").len(), 2, "{what}");
            assert!(asked(&sim, "never").is_empty(), "there is no time for it: {what}");
            let call = gateway.calls_when(1).await.remove(0);
            assert_eq!(call.failure.as_deref(), Some("timeout"), "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_every_target_down_a_call_asks_one_of_them_and_notices_soon_who_is_back() {
    for (dialect, kind) in DIALECTS {
        for stream in [false, true] {
            let sim = simulator().await;
            let yaml = providers(&sim, dialect, kind, &[("one", "[a]"), ("two", "[b]"), ("three", "[c]")])
                + "retry: { attempts: 3, backoff: 1ms..2ms }\n\
                   models:\n  m: { targets: [one/overloaded, two/error-500, three/overloaded-for-3s] }\n";
            let gateway = TestGateway::start(&yaml).await;
            let client = Client::new(gateway.address());
            let began = Instant::now();
            let mut attempts = Vec::new();
            let answered = loop {
                let received = ask(&client, dialect, "m", stream).await;
                if received.status == 200 {
                    break began.elapsed();
                }
                attempts.push(received.header("x-tidegate-attempts").parse::<usize>().unwrap());
                let words = received.text();
                assert!(words.contains("were tried or are unavailable"), "{words}");
                assert!(began.elapsed() < Duration::from_secs(20), "{attempts:?}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            };
            let what = format!("{kind}, stream {stream}, after {answered:?}: {attempts:?}");
            // The first calls open the breakers. After that it is one attempt a call, but for the few that find one of
            // the targets due for its probe.
            let single = attempts.iter().skip(5).filter(|attempts| **attempts == 1).count();
            assert!(single >= 20 && single * 10 >= (attempts.len() - 5) * 8, "{what}");
            assert!(attempts.iter().skip(5).all(|attempts| *attempts <= 3), "{what}");
            assert!(answered < Duration::from_secs(5), "{what}");
            for model in ["overloaded", "error-500", "overloaded-for-3s"] {
                assert!(
                    asked(&sim, model).len() >= attempts.len() / 6,
                    "not always the same: {model}, {what}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_stream_goes_on_only_where_a_hard_budget_has_room_for_both_answers() {
    for (dialect, kind) in DIALECTS {
        for (usd, goes_on) in [("0.0035", false), ("0.02", true)] {
            let sim = simulator().await;
            let yaml = providers(&sim, dialect, kind, &[("one", "[a]"), ("two", "[b]")])
                + "models:\n  m: { targets: [one/cut-after-5, two/fine] }\n\
                   prices: { one/*: { input: 1, output: 2 }, two/*: { input: 1, output: 2 } }\n";
            let gateway = TestGateway::start(&yaml).await;
            let limits = json!({"budgets": [{"usd": usd, "per": "month"}]});
            let limits = serde_json::from_value(limits).unwrap();
            let key = gateway.key(NewKey { limits, ..NewKey::default() }).await;
            let client = Client::new(gateway.address()).with_header("x-api-key", key.expose());
            // A thousand tokens at most: 0.002 dollars and some for the input.
            let received = match dialect {
                Dialect::Gemini => {
                    let body = json!({"contents": [{"role": "user", "parts": [{"text": "Tell me a story."}]}],
                        "generationConfig": {"maxOutputTokens": 1000}});
                    client.post("/v1beta/models/m:streamGenerateContent?alt=sse", &body).await
                }
                _ => ask(&client, dialect, "m", true).await,
            };
            let what = format!("{kind}, {usd}: {}", received.text());
            assert_eq!(received.status, 200, "{what}");
            assert_eq!(asked(&sim, "fine").len(), usize::from(goes_on), "{what}");
            assert_eq!(received.text().contains("no room for another answer"), !goes_on, "{what}");
            let call = gateway.calls_when(1).await.remove(0);
            assert_eq!(call.outcome == Outcome::Answered, goes_on, "{what}");
            // What is left is what was not spent: both holds are settled.
            let next = ask(&client, Dialect::OpenAiChat, "m", false).await;
            assert_ne!(next.status, 402, "{what}: {}", next.text());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_down_is_left_alone_but_for_a_few_probes_and_gets_its_calls_back_soon() {
    let [openai, anthropic, gemini] =
        DIALECTS.map(|(dialect, kind)| move |stream| outage(dialect, kind, stream, Duration::from_secs(6)));
    tokio::join!(openai(false), openai(true), anthropic(false), anthropic(true), gemini(false), gemini(true));
}

/// A target is down for some time, and calls come all the while.
async fn outage(dialect: Dialect, kind: &'static str, stream: bool, down: Duration) {
    let sim = simulator().await;
    let scenario = format!("overloaded-for-{}s", down.as_secs());
    let yaml = providers(&sim, dialect, kind, &[("down", "[a]"), ("stands-by", "[b]")])
        + &format!(
            "models:\n  m: {{ targets: [down/{scenario}, stands-by/fine], retry: {{ attempts: 1 }} }}\n"
        );
    let gateway = TestGateway::start(&yaml).await;
    let client = Client::new(gateway.address());
    let began = Instant::now();
    let mut calls = 0;
    let mut back = None;
    while back.is_none() && began.elapsed() < down + Duration::from_secs(10) {
        let received = ask(&client, dialect, "m", stream).await;
        assert_eq!(received.status, 200, "nobody notices: {}", received.text());
        calls += 1;
        back = received.header("x-tidegate-target").starts_with("down/").then(|| began.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let what = format!("{kind}, stream {stream}, {calls} calls");
    let (failed, _) = failed_and_answered(&sim);
    assert!(calls > 60, "{what}: too few to tell anything");
    // Five to open; then after 1, 2 and 4 seconds, by which time it is over.
    assert!((5..=10).contains(&failed), "{what}: asked {failed} times while it was down");
    let back = back.unwrap_or(Duration::MAX);
    assert!(back >= down && back < down + Duration::from_secs(5), "{what}: back after {back:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_key_met_at_one_model_is_held_against_it_there_alone_unless_it_is_the_keys_own_matter() {
    for (dialect, kind) in DIALECTS {
        for (bad, is_of_model, state) in [
            ("rate-limited-60s", true, "cooling"),
            // Google says that a model's quota for the day is used up, the others that the account has no credit.
            ("out-of-quota", dialect == Dialect::Gemini, "out"),
            ("credentials-403", true, "out"),
            ("credentials-401", false, "out"),
        ] {
            let sim = simulator().await;
            let yaml = providers(&sim, dialect, kind, &[("one", "[good]"), ("two", "[good]")])
                + &format!("models:\n  m: {{ targets: [one/{bad}, one/fine, two/fine] }}\n");
            let gateway = TestGateway::start(&yaml).await;
            let client = Client::new(gateway.address());
            let answering = if is_of_model { "one/fine" } else { "two/fine" };
            for attempts in ["2", "1"] {
                let received = ask(&client, dialect, "m", false).await;
                let what = format!("{kind}, {bad}: {}", received.text());
                assert_eq!(received.status, 200, "{what}");
                assert_eq!(received.header("x-tidegate-target"), answering, "{what}");
                assert_eq!(received.header("x-tidegate-attempts"), attempts, "{what}");
            }
            let reports = gateway.gateway().targets();
            let state_of = |target: &str| {
                reports.iter().find(|report| report.target == target).unwrap().state.as_str().to_owned()
            };
            assert_eq!(state_of(&format!("one/{bad}")), state, "{kind}, {bad}");
            assert_eq!(state_of("one/fine"), if is_of_model { "closed" } else { "out" }, "{kind}, {bad}");
        }
    }
}
