//! A 200 that refuses the content before its first word: with `fallback_on: [content_policy]` another target is asked, and
//! where nobody says more the provider's own answer goes through as it came. Whole and streamed, on every wire.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod common;

use serde_json::{Value, json};
use tidegate_sim::{Dialect, SimOptions, Simulator};
use tidegate_store::{LedgerEntry, NewKey, Outcome};
use tidegate_testkit::{Client, Received, ScriptedProvider, Step, TestGateway, event_stream, json_answer};

use common::{DIALECTS, ask, asked};

const FALLBACK: &str = "fallback_on: [content_policy]\n";
const INPUT: u64 = 11;
const OUTPUT: u64 = 3;

/// An answer of one wire that says this, or only refuses; its usage is told.
fn answer(dialect: Dialect, stream: bool, says: Option<&str>) -> Vec<Step> {
    let refuses = says.is_none();
    match (dialect, stream) {
        (Dialect::OpenAiChat, false) => {
            let finish = if refuses { "content_filter" } else { "stop" };
            json_answer(
                200,
                &[],
                &json!({"id": "c1", "object": "chat.completion", "created": 1, "model": "m",
                "choices": [{"index": 0, "message": {"role": "assistant", "content": says}, "finish_reason": finish}],
                "usage": {"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}}),
            )
        }
        (Dialect::OpenAiChat, true) => {
            let chunk = |delta: Value, finish: Option<&str>| {
                let chunk = json!({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m",
                    "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
                format!("data: {chunk}\n\n")
            };
            let usage = json!({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [],
                "usage": {"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}});
            let said = says.map(|text| chunk(json!({"content": text}), None)).unwrap_or_default();
            let finish = if refuses { "content_filter" } else { "stop" };
            streamed(&[
                &chunk(json!({"role": "assistant", "content": ""}), None),
                &said,
                &chunk(json!({}), Some(finish)),
                &format!("data: {usage}\n\n"),
                "data: [DONE]\n\n",
            ])
        }
        (Dialect::AnthropicMessages, false) => {
            let content = says.map(|text| json!({"type": "text", "text": text}));
            let content: Vec<Value> = content.into_iter().collect();
            let stop = if refuses { "refusal" } else { "end_turn" };
            json_answer(
                200,
                &[],
                &json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
                "content": content, "stop_reason": stop, "stop_sequence": null,
                "usage": {"input_tokens": INPUT, "output_tokens": OUTPUT}}),
            )
        }
        (Dialect::AnthropicMessages, true) => {
            let event =
                |value: Value| format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap());
            let start = event(json!({"type": "message_start", "message": {"id": "msg_1", "type": "message",
                "role": "assistant", "model": "m", "content": [], "stop_reason": null, "stop_sequence": null,
                "usage": {"input_tokens": INPUT, "output_tokens": 1}}}));
            let said = says.map(|text| {
                event(json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}))
                    + &event(json!({"type": "content_block_delta", "index": 0,
                        "delta": {"type": "text_delta", "text": text}}))
                    + &event(json!({"type": "content_block_stop", "index": 0}))
            });
            let stop = if refuses { "refusal" } else { "end_turn" };
            let end = event(json!({"type": "message_delta",
                "delta": {"stop_reason": stop, "stop_sequence": null}, "usage": {"output_tokens": OUTPUT}}));
            streamed(&[&start, &said.unwrap_or_default(), &end, &event(json!({"type": "message_stop"}))])
        }
        (Dialect::Gemini, stream) => {
            let usage = json!({"promptTokenCount": INPUT, "candidatesTokenCount": OUTPUT,
                "totalTokenCount": INPUT + OUTPUT});
            let mut candidate = json!({"index": 0, "finishReason": if refuses { "SAFETY" } else { "STOP" }});
            if let Some(text) = says {
                candidate["content"] = json!({"role": "model", "parts": [{"text": text}]});
            }
            let body = json!({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m",
                "responseId": "r1"});
            if stream { streamed(&[&format!("data: {body}\n\n")]) } else { json_answer(200, &[], &body) }
        }
    }
}

/// Pieces of nothing would end the stream.
fn streamed(pieces: &[&str]) -> Vec<Step> {
    let pieces: Vec<&str> = pieces.iter().copied().filter(|piece| !piece.is_empty()).collect();
    event_stream(&pieces)
}

fn sent(steps: &[Step]) -> String {
    let pieces = steps.iter().filter_map(|step| match step {
        Step::Send(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    });
    pieces.collect()
}

/// A gateway whose model asks `p0`, `p1`, … of these kinds in turn.
async fn start(policy: &str, providers: &[(&str, &ScriptedProvider)]) -> TestGateway {
    use std::fmt::Write as _;
    let mut yaml = format!("{policy}retry: {{ attempts: 1 }}\nproviders:\n");
    for (number, (kind, provider)) in providers.iter().enumerate() {
        writeln!(yaml, "  p{number}: {{ kind: {kind}, base_url: \"{}\", api_key: k }}", provider.url())
            .unwrap();
    }
    let targets: Vec<String> = (0..providers.len()).map(|number| format!("p{number}/m")).collect();
    let prices = ["p0/m: { input: 1, output: 2 }", "p1/m: { input: 3, output: 4 }"];
    writeln!(yaml, "prices: {{ {} }}", prices[..providers.len()].join(", ")).unwrap();
    writeln!(yaml, "models:\n  m: {{ targets: [{}] }}", targets.join(", ")).unwrap();
    TestGateway::start(&yaml).await
}

fn failures(call: &LedgerEntry) -> Vec<Option<&str>> {
    call.attempts.iter().map(|attempt| attempt.failure.as_deref()).collect()
}

async fn asked_of(gateway: &TestGateway, dialect: Dialect, stream: bool) -> (Received, LedgerEntry) {
    let received = ask(&Client::new(gateway.address()), dialect, "m", stream).await;
    (received, gateway.calls_when(1).await.remove(0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_without_a_word_goes_to_the_next_target_and_is_paid_for() {
    // The caller's own wire, where the answer passes through, and another one.
    for (place, (dialect, kind)) in DIALECTS.into_iter().enumerate() {
        for (caller, stream) in [(dialect, false), (dialect, true), (DIALECTS[(place + 1) % 3].0, true)] {
            let what = format!("{kind} for {caller:?}, stream {stream}");
            let refusing = ScriptedProvider::start([answer(dialect, stream, None)]).await;
            let speaking = ScriptedProvider::start([answer(dialect, stream, Some("gladly"))]).await;
            let gateway = start(FALLBACK, &[(kind, &refusing), (kind, &speaking)]).await;
            let (received, call) = asked_of(&gateway, caller, stream).await;
            assert_eq!(received.status, 200, "{what}: {}", received.text());
            assert!(received.text().contains("gladly"), "{what}: {}", received.text());
            assert_eq!(received.header("x-tidegate-target"), "p1/m", "{what}");
            assert_eq!(call.outcome, Outcome::Answered, "{what}");
            assert_eq!(failures(&call), [Some("content_policy"), None], "{what}");
            assert_eq!((call.usage.input, call.usage.output), (INPUT * 2, OUTPUT * 2), "{what}");
            assert!(!call.is_estimated, "{what}: both have told");
            let used = call.attempts[0].used.as_ref().unwrap();
            assert_eq!(
                (used.input_tokens, used.output_tokens, used.is_estimated),
                (INPUT, OUTPUT, false),
                "{what}"
            );
            let (first, second) = (INPUT + 2 * OUTPUT, 3 * INPUT + 4 * OUTPUT);
            assert_eq!(used.cost_nanodollars, Some(first * 1000), "{what}");
            assert_eq!(call.cost_nanodollars, Some((first + second) * 1000), "{what}");
            // Both sums can be done again from the entry alone.
            let prices = |kept: Option<&str>| serde_json::from_str::<Value>(kept.unwrap()).unwrap();
            let (of_first, of_second) = (prices(used.prices.as_deref()), prices(call.prices.as_deref()));
            assert_eq!(
                (&of_first["input"], &of_first["output"]),
                (&json!(1_000_000_000), &json!(2_000_000_000_u64))
            );
            assert_eq!(of_second["input"], json!(3_000_000_000_u64), "{what}");
            // Nobody holds it against the target.
            for _ in 0..8 {
                ask(&Client::new(gateway.address()), caller, "m", stream).await;
            }
            assert_eq!(refusing.arrived().len(), 9, "{what}: it is still asked first");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_says_more_the_providers_own_refusal_is_the_answer() {
    for (dialect, kind) in DIALECTS {
        for stream in [false, true] {
            let refusal = answer(dialect, stream, None);
            let broken = json_answer(503, &[], &json!({"error": {"message": "busy"}}));
            // Nobody else at all; one who fails; one who refuses as well; nobody is to be asked.
            for (policy, others, expected) in [
                (FALLBACK, vec![], vec![None]),
                (FALLBACK, vec![broken.clone()], vec![Some("content_policy"), Some("overloaded")]),
                (FALLBACK, vec![refusal.clone()], vec![Some("content_policy"), Some("content_policy")]),
                ("", vec![answer(dialect, stream, Some("gladly"))], vec![None]),
            ] {
                let what = format!("{kind}, stream {stream}, {policy:?}, {expected:?}");
                let first = ScriptedProvider::start([refusal.clone()]).await;
                let mut providers = vec![first];
                for other in others {
                    providers.push(ScriptedProvider::start([other]).await);
                }
                let all: Vec<_> = providers.iter().map(|provider| (kind, provider)).collect();
                let gateway = start(policy, &all).await;
                let (received, call) = asked_of(&gateway, dialect, stream).await;
                assert_eq!(received.status, 200, "{what}: {}", received.text());
                assert_eq!(received.header("x-tidegate-target"), "p0/m", "{what}");
                if !stream {
                    assert!(sent(&refusal).ends_with(&received.text()), "{what}: {}", received.text());
                }
                assert!(received.is_complete, "{what}");
                let words = ["content_filter", "refusal", "SAFETY"];
                assert!(
                    words.iter().any(|word| received.text().contains(word)),
                    "{what}: {}",
                    received.text()
                );
                assert_eq!(call.outcome, Outcome::Answered, "{what}");
                assert_eq!(failures(&call), expected, "{what}");
                let finish = call.finish_reason.as_deref();
                assert!(matches!(finish, Some("content_filter" | "refusal")), "{what}: {finish:?}");
                let refusals =
                    u64::try_from(expected.iter().filter(|it| **it == Some("content_policy")).count());
                let times = if expected.len() == 2 && expected[1] == Some("content_policy") {
                    refusals.unwrap()
                } else {
                    1
                };
                assert_eq!((call.usage.input, call.usage.output), (INPUT * times, OUTPUT * times), "{what}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_that_gemini_blocks_goes_to_another_target() {
    for (caller, stream) in DIALECTS.into_iter().flat_map(|(caller, _)| [(caller, false), (caller, true)]) {
        let sim = Simulator::start(SimOptions::default()).await.unwrap();
        let url = sim.base_url(Dialect::Gemini);
        let gateway = TestGateway::start(&format!(
            "{FALLBACK}providers:\n  g: {{ kind: gemini, base_url: \"{url}\", api_key: k }}\n\
             models:\n  m: {{ targets: [g/content-policy, g/fine] }}\n"
        ))
        .await;
        let (received, call) = asked_of(&gateway, caller, stream).await;
        let what = format!("{caller:?}, stream {stream}: {}", received.text());
        assert_eq!(received.header("x-tidegate-target"), "g/fine", "{what}");
        assert_eq!(asked(&sim, "content-policy").len(), 1, "{what}");
        assert_eq!(failures(&call), [Some("content_policy"), None], "{what}");
        assert!(call.attempts[0].used.as_ref().is_some_and(|used| used.input_tokens > 0), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_has_begun_is_not_asked_for_anew_when_a_filter_ends_it() {
    let completion = |message: Value| {
        json!({"id": "c1", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "content_filter"}]})
    };
    let chunk = |delta: Value, finish: Option<&str>| {
        let chunk = json!({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
        format!("data: {chunk}\n\n")
    };
    for said in
        [json!({"role": "assistant", "content": "Well"}), json!({"role": "assistant", "refusal": "No."})]
    {
        for stream in [false, true] {
            let steps = if stream {
                let end = chunk(json!({}), Some("content_filter"));
                streamed(&[&chunk(said.clone(), None), &end, "data: [DONE]\n\n"])
            } else {
                json_answer(200, &[], &completion(said.clone()))
            };
            let first = ScriptedProvider::start([steps]).await;
            let other = ScriptedProvider::start([answer(Dialect::OpenAiChat, stream, Some("gladly"))]).await;
            let gateway = start(FALLBACK, &[("openai", &first), ("openai", &other)]).await;
            let (received, call) = asked_of(&gateway, Dialect::OpenAiChat, stream).await;
            assert!(!received.text().contains("gladly"), "{said}, stream {stream}: {}", received.text());
            assert_eq!(failures(&call), [None], "{said}, stream {stream}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_target_is_asked_only_where_a_hard_budget_has_room_for_the_refusal_as_well() {
    let dialect = Dialect::OpenAiChat;
    // A thousand tokens of output cost 0.002 at the first, 0.004 at the second.
    for (usd, target) in [("0.005", "p0/m"), ("0.01", "p1/m")] {
        let refusing = ScriptedProvider::start([answer(dialect, false, None)]).await;
        let speaking = ScriptedProvider::start([answer(dialect, false, Some("gladly"))]).await;
        let gateway = start(FALLBACK, &[("openai", &refusing), ("openai", &speaking)]).await;
        let limits = json!({"budgets": [{"usd": usd, "per": "lifetime"}]});
        let limits = serde_json::from_value(limits).unwrap();
        let key = gateway.key(NewKey { limits, ..NewKey::default() }).await;
        let client =
            Client::new(gateway.address()).with_header("authorization", &format!("Bearer {}", key.expose()));
        let received = ask(&client, dialect, "m", false).await;
        assert_eq!(received.status, 200, "{usd}: {}", received.text());
        assert_eq!(received.header("x-tidegate-target"), target, "{usd}");
        assert_eq!(speaking.arrived().len(), usize::from(target == "p1/m"), "{usd}");
    }
}
