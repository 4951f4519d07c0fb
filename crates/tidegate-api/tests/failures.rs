//! The law of failures, row by row, against the simulator over real sockets: how often the provider is asked, when, what
//! the caller sees, what the ledger says, and what happens when there is another target.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod common;

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value;
use tidegate_sim::{Dialect, RunningSim, SimOptions, Simulator};
use tidegate_store::{LedgerEntry, Outcome};
use tidegate_testkit::{Client, Received, TestGateway};
use tokio::sync::Semaphore;

use common::{DIALECTS, ask, asked};

const BACKOFF_MS: u64 = 40;

/// One way to fail.
#[derive(Debug, Clone, Copy)]
struct Case {
    scenario: &'static str,
    kind: &'static str,
    /// How often the target is asked when it is the only one.
    attempts: usize,
    /// The status that the caller sees then.
    status: u16,
    /// How often a target is asked before the next one is; `None`: the next one is never asked.
    before_next: Option<usize>,
}

const fn case(
    scenario: &'static str,
    kind: &'static str,
    attempts: usize,
    status: u16,
    before_next: Option<usize>,
) -> Case {
    Case { scenario, kind, attempts, status, before_next }
}

/// What fails before anything was sent to the caller, whole and streamed alike.
const BEFORE: &[Case] = &[
    case("reset", "unreachable", 2, 502, Some(2)),
    case("cut-before-headers", "unreachable", 2, 502, Some(2)),
    case("silent", "timeout", 1, 504, Some(1)),
    case("stall", "timeout", 1, 504, Some(1)),
    case("slow-first-token-20s", "timeout", 1, 504, Some(1)),
    case("rate-limited-1s", "rate_limited", 2, 429, Some(1)),
    case("rate-limited-reset-1s", "rate_limited", 2, 429, Some(1)),
    case("rate-limited-60s", "rate_limited", 1, 429, Some(1)),
    case("out-of-quota", "out_of_quota", 1, 503, Some(1)),
    case("overloaded", "overloaded", 2, 503, Some(2)),
    case("overloaded-529", "overloaded", 2, 503, Some(2)),
    case("overloaded-in-stream", "overloaded", 2, 503, Some(2)),
    case("error-500", "provider_error", 2, 502, Some(2)),
    case("error-502", "provider_error", 2, 502, Some(2)),
    case("error-503", "overloaded", 2, 503, Some(2)),
    case("error-504", "provider_error", 2, 502, Some(2)),
    case("html-error-502", "provider_error", 2, 502, Some(2)),
    case("error-in-band", "provider_error", 2, 502, Some(2)),
    case("credentials-401", "credentials", 1, 502, Some(1)),
    case("credentials-403", "credentials", 1, 502, Some(1)),
    case("no-such-model", "no_such_model", 1, 404, Some(1)),
    case("bad-request", "bad_request", 1, 400, None),
    case("unprocessable-422", "bad_request", 1, 422, None),
    case("too-large-413", "bad_request", 1, 413, None),
    case("context-length-1", "context_length", 1, 400, None),
    case("content-policy", "content_policy", 1, 400, None),
    case("malformed", "malformed", 2, 502, Some(2)),
    case("malformed-body", "malformed", 2, 502, Some(2)),
    case("cut-after-0", "truncated", 2, 502, Some(2)),
];

/// What fails so only where a whole answer is asked for.
const WHOLE: &[Case] = &[
    case("empty", "malformed", 2, 502, Some(2)),
    case("lying-length", "truncated", 2, 502, Some(2)),
    case("cut-after-5", "truncated", 2, 502, Some(2)),
    case("reset-after-5", "truncated", 2, 502, Some(2)),
    case("stall-after-5", "timeout", 1, 504, Some(1)),
];

/// What breaks a stream that has begun.
const WITHIN: &[(&str, &str)] = &[
    ("cut-after-5", "truncated"),
    ("reset-after-5", "truncated"),
    ("stall-after-5", "stalled"),
    ("malformed-6", "malformed"),
    ("overloaded-after-5", "overloaded"),
    ("error-after-5", "provider_error"),
];

/// A gateway whose every case has providers of its own, so that what one does to a key does not touch another.
async fn start(dialect: Dialect, kind: &str, names: &[String]) -> (RunningSim, TestGateway, Client) {
    let sim = Simulator::start(SimOptions { tokens: 24, ..SimOptions::default() }).await.unwrap();
    let mut yaml = String::from(
        "timeout: { connect: 2s, first_token: 1500ms, idle: 1500ms, total: 12s }\nretry: { attempts: 2, backoff: ",
    );
    writeln!(yaml, "{BACKOFF_MS}ms..{BACKOFF_MS}ms }}\nproviders:").unwrap();
    let url = sim.base_url(dialect);
    for number in 0..names.len() {
        for role in ["alone", "bad", "good"] {
            writeln!(
                yaml,
                "  {role}{number}: {{ kind: {kind}, base_url: \"{url}\", api_key: key-{role}-{number} }}"
            )
            .unwrap();
        }
    }
    yaml.push_str("models:\n");
    for (number, name) in names.iter().enumerate() {
        writeln!(yaml, "  one{number}: {{ targets: [\"alone{number}/{name}@one{number}\"] }}").unwrap();
        writeln!(yaml, "  two{number}: {{ targets: [\"bad{number}/{name}@two{number}\", \"good{number}/fine@two{number}\"] }}").unwrap();
    }
    let gateway = TestGateway::start(&yaml).await;
    let client = Client::new(gateway.address());
    (sim, gateway, client)
}

fn error_of(received: &Received) -> Value {
    received.json()["error"].clone()
}

/// The entry of one call.
async fn entry(gateway: &TestGateway, received: &Received) -> LedgerEntry {
    let id = received.header("x-request-id").to_owned();
    for _ in 0..100 {
        if let Some(entry) = gateway.calls().await.into_iter().find(|entry| entry.id.to_string() == id) {
            return entry;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    unreachable_entry(&id)
}

#[expect(clippy::panic, reason = "a test may fail loudly")]
fn unreachable_entry(id: &str) -> LedgerEntry {
    panic!("no ledger entry {id}")
}

/// How often, once the provider has noticed that its stream is not read any more: it counts at the end of each.
async fn asked_in_the_end(sim: &RunningSim, model: &str) -> usize {
    for _ in 0..200 {
        if !asked(sim, model).is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    asked(sim, model).len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_before_the_first_token_takes_the_course_of_its_row() {
    let [openai, anthropic, gemini] =
        DIALECTS.map(|(dialect, kind)| move |stream| rows(dialect, kind, stream));
    tokio::join!(openai(false), openai(true), anthropic(false), anthropic(true), gemini(false), gemini(true));
}

/// Every row that fails before the first token, in one dialect.
async fn rows(dialect: Dialect, kind: &'static str, stream: bool) {
    let cases = if stream { BEFORE.to_vec() } else { [BEFORE, WHOLE].concat() };
    let names: Vec<String> = cases.iter().map(|case| case.scenario.to_owned()).collect();
    let (sim, gateway, client) = start(dialect, kind, &names).await;
    let mut running = tokio::task::JoinSet::new();
    // Three retries are always within the retry budget.
    let room = Arc::new(Semaphore::new(3));
    for (number, case) in cases.into_iter().enumerate() {
        let client = client.clone();
        let place = Arc::clone(&room);
        running.spawn(async move {
            let _place = place.acquire().await.unwrap();
            let alone = ask(&client, dialect, &format!("one{number}"), stream).await;
            let with_next = ask(&client, dialect, &format!("two{number}"), stream).await;
            (number, case, alone, with_next)
        });
    }
    let mut done = running.join_all().await;
    done.sort_by_key(|(number, ..)| *number);
    for (number, case, alone, with_next) in done {
        if dialect == Dialect::Gemini && case.kind == "content_policy" {
            // Google refuses content with a 200 that says why and holds no candidate; it goes to the caller as
            // it is, and nobody else is asked.
            assert_eq!((alone.status.as_u16(), with_next.status.as_u16()), (200, 200), "{}", alone.text());
            assert!(alone.text().contains("blockReason"), "{}", alone.text());
            assert!(asked(&sim, &format!("fine@two{number}")).is_empty());
            continue;
        }
        if stream && case.scenario == "cut-after-0" {
            // Whether the head still goes out before the cut is up to the system; `way.rs` cuts streams at
            // every event.
            continue;
        }
        let what = format!("{kind}, stream {stream}, {}: {}", case.scenario, alone.text());
        let times = asked(&sim, &format!("{}@one{number}", case.scenario));
        assert_eq!(times.len(), case.attempts, "{what}");
        let status = case.status;
        assert_eq!(alone.status, status, "{what}");
        assert_eq!(alone.header("x-tidegate-attempts"), case.attempts.to_string(), "{what}");
        assert!(error_of(&alone)["message"].as_str().unwrap().contains(case.scenario), "{what}");
        let entry = entry(&gateway, &alone).await;
        assert_eq!(entry.outcome, Outcome::Failed, "{what}");
        assert_eq!(entry.failure.as_deref(), Some(case.kind), "{what}");
        assert!(entry.attempts.iter().all(|attempt| attempt.failure.as_deref() == Some(case.kind)), "{what}");
        if case.kind == "rate_limited" {
            let seconds: u64 = alone.header("retry-after").parse().unwrap();
            assert!(seconds >= 1, "{what}");
            if let [first, second] = times[..] {
                assert!(second - first >= 1_000, "{what}: {times:?}");
            }
        }
        // The next target is asked, or is not.
        let what =
            format!("{kind}, stream {stream}, {} with a second target: {}", case.scenario, with_next.text());
        let bad = asked(&sim, &format!("{}@two{number}", case.scenario)).len();
        let good = asked(&sim, &format!("fine@two{number}")).len();
        if let Some(before) = case.before_next {
            assert_eq!((bad, good), (before, 1), "{what}");
            assert_eq!(with_next.status, 200, "{what}");
            assert_eq!(
                with_next.header("x-tidegate-target"),
                format!("good{number}/fine@two{number}"),
                "{what}"
            );
        } else {
            assert_eq!((bad, good), (1, 0), "{what}");
            assert_eq!(with_next.status, status, "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_breaks_after_its_first_token_ends_in_an_error_event_where_there_is_nobody_else() {
    for (dialect, kind) in DIALECTS {
        let names: Vec<String> = WITHIN.iter().map(|(scenario, _)| (*scenario).to_owned()).collect();
        let (sim, gateway, client) = start(dialect, kind, &names).await;
        for (number, (scenario, failure)) in WITHIN.iter().enumerate() {
            let received = ask(&client, dialect, &format!("one{number}"), true).await;
            let what = format!("{kind}, {scenario}: {}", received.text());
            assert_eq!(received.status, 200, "{what}");
            let events = received.events();
            let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
            assert!(
                last["error"]["message"].as_str().is_some_and(|message| message.contains(scenario)),
                "{what}"
            );
            assert!(events.len() > 4, "{what}");
            assert!(
                !received.text().contains("[DONE]") && !received.text().contains("message_stop"),
                "{what}"
            );
            assert_eq!(asked_in_the_end(&sim, &format!("{scenario}@one{number}")).await, 1, "{what}");
            let entry = entry(&gateway, &received).await;
            assert_eq!(entry.outcome, Outcome::Failed, "{what}");
            assert_eq!(entry.failure.as_deref(), Some(*failure), "{what}");
            assert!(entry.usage.output >= 2, "what was said is billed: {what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_breaks_after_its_first_token_goes_on_at_the_next_target() {
    for (dialect, kind) in DIALECTS {
        let names: Vec<String> = WITHIN.iter().map(|(scenario, _)| (*scenario).to_owned()).collect();
        let (sim, gateway, client) = start(dialect, kind, &names).await;
        for (number, (scenario, failure)) in WITHIN.iter().enumerate() {
            let received = ask(&client, dialect, &format!("two{number}"), true).await;
            let what = format!("{kind}, {scenario}: {}", received.text());
            assert_eq!(received.status, 200, "{what}");
            assert!(!received.text().contains("\"error\""), "{what}");
            assert_eq!(asked_in_the_end(&sim, &format!("{scenario}@two{number}")).await, 1, "{what}");
            assert_eq!(asked_in_the_end(&sim, &format!("fine@two{number}")).await, 1, "{what}");
            let entry = entry(&gateway, &received).await;
            assert_eq!(entry.outcome, Outcome::Answered, "{what}");
            let attempts: Vec<_> = entry.attempts.iter().map(|attempt| attempt.failure.as_deref()).collect();
            assert_eq!(attempts, [Some(*failure), None], "{what}");
            assert_eq!(entry.provider.as_deref(), Some(format!("good{number}").as_str()), "{what}");
            // All 24 words of the second, and what the first had said.
            assert!(entry.usage.output >= 24 + 2, "{} {what}", entry.usage.output);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_ends_in_time_is_waited_for_and_then_answered() {
    for (dialect, kind) in DIALECTS {
        let (sim, _gateway, client) =
            start(dialect, kind, &["rate-limited-once-1s".into(), "fail-1".into()]).await;
        let received = ask(&client, dialect, "one0", false).await;
        assert_eq!(received.status, 200, "{kind}: {}", received.text());
        let times = asked(&sim, "rate-limited-once-1s@one0");
        assert_eq!(times.len(), 2, "{kind}");
        assert!(times[1] - times[0] >= 1_000, "{kind}: {times:?}");
        let received = ask(&client, dialect, "one1", true).await;
        assert_eq!(received.status, 200, "{kind}: {}", received.text());
        assert_eq!(received.header("x-tidegate-attempts"), "2");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_complete_answer_without_its_last_frame_is_complete_and_gets_it() {
    for (dialect, kind) in DIALECTS {
        let (_sim, gateway, client) = start(dialect, kind, &["no-done".into()]).await;
        let received = ask(&client, dialect, "one0", true).await;
        assert_eq!(received.status, 200);
        match dialect {
            Dialect::OpenAiChat => {
                assert!(received.text().ends_with("data: [DONE]\n\n"), "{}", received.text());
            }
            Dialect::AnthropicMessages => {
                assert!(received.text().contains("event: message_stop"), "{}", received.text());
            }
            Dialect::Gemini => {}
        }
        assert_eq!(entry(&gateway, &received).await.outcome, Outcome::Answered, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limited_key_rests_while_another_key_of_the_provider_answers() {
    let sim = Simulator::start(SimOptions::default()).await.unwrap();
    let yaml = format!(
        "providers:\n  openai:\n    base_url: {}\n    keys: [one, two]\nmodels:\n  m: {{ targets: [openai/rate-limited-once-30s] }}\n",
        sim.base_url(Dialect::OpenAiChat)
    );
    let gateway = TestGateway::start(&yaml).await;
    let client = Client::new(gateway.address()).with_header("x-tidegate-timeout", "2s");
    // The simulator limits by name, not by key: both keys are tried, at once, and then the limit is too long to wait for.
    let received = ask(&client, Dialect::OpenAiChat, "m", false).await;
    assert_eq!(received.status, 429, "{}", received.text());
    assert_eq!(sim.totals().requests, 2, "each key is tried once");
    // Both keys rest now: the next call is not sent at all.
    let received = ask(&client, Dialect::OpenAiChat, "m", false).await;
    assert_eq!(received.status, 429);
    assert_eq!(sim.totals().requests, 2, "a limited key is not hammered");
    let seconds: u64 = received.header("retry-after").parse().unwrap();
    assert!((20..=30).contains(&seconds), "{seconds}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_content_goes_to_the_next_target_only_where_the_configuration_says_so() {
    for (dialect, kind) in &DIALECTS[..2] {
        let sim = Simulator::start(SimOptions::default()).await.unwrap();
        let yaml = format!(
            "fallback_on: [content_policy]\nproviders:\n  bad: {{ kind: {kind}, base_url: \"{url}\", api_key: a }}\n  good: {{ kind: {kind}, base_url: \"{url}\", api_key: b }}\nmodels:\n  m: {{ targets: [bad/content-policy, good/fine] }}\n",
            url = sim.base_url(*dialect)
        );
        let gateway = TestGateway::start(&yaml).await;
        let received = ask(&Client::new(gateway.address()), *dialect, "m", false).await;
        assert_eq!(received.status, 200, "{kind}: {}", received.text());
        assert_eq!(received.header("x-tidegate-target"), "good/fine");
        assert_eq!((asked(&sim, "content-policy").len(), asked(&sim, "fine").len()), (1, 1), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_hang_up_end_their_attempts_at_once_and_count_against_nobody() {
    const CALLERS: usize = 8;
    let all = u64::try_from(CALLERS).unwrap();
    for (dialect, kind) in DIALECTS {
        for stream in [false, true] {
            // Before anything was said, and in the middle of a stream.
            let scenario = if stream { "stall-after-5" } else { "silent" };
            let (sim, gateway, client) = start(dialect, kind, &[scenario.into()]).await;
            let what = format!("{kind}, stream {stream}");
            let callers: Vec<_> = (0..CALLERS)
                .map(|_| {
                    let client = client.clone();
                    tokio::spawn(async move { ask(&client, dialect, "two0", stream).await })
                })
                .collect();
            until(&what, || sim.totals().open == all).await;
            callers.iter().for_each(tokio::task::JoinHandle::abort);
            until(&what, || sim.totals().all.hung_up == all).await;
            let calls = gateway.calls_when(CALLERS).await;
            assert_eq!(calls.len(), CALLERS, "{what}");
            for call in calls {
                assert_eq!(call.outcome, Outcome::Cancelled, "{what}");
                assert_eq!(call.failure.as_deref(), Some("cancelled"), "{what}");
                assert_eq!(call.attempts.len(), 1, "{what}: nobody else is asked");
            }
            // As many failures would have opened its breaker.
            let received = ask(&client, dialect, "two0", stream).await;
            let what = format!("{what}: {}", received.text());
            until(&what, || asked(&sim, &format!("{scenario}@two0")).len() == CALLERS + 1).await;
        }
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..400 {
        if condition() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(condition(), "{what}");
}
