//! Streams that break after a part of them was sent, over real sockets: at every event, in every pair of dialects, the
//! answer is either the one that would have come, or ends in an error event. Never half an answer that looks whole.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_sim::{Dialect as SimDialect, RunningSim, SimOptions, Simulator};
use tidegate_store::Outcome;
use tidegate_testkit::{Client, Received, TestGateway};
use tidegate_wire::conversation::Content;
use tidegate_wire::event::Assembler;
use tidegate_wire::framing::SseDecoder;
use tidegate_wire::reply::Reply;
use tidegate_wire::{Dialect, FailureKind};
use tokio::sync::Semaphore;

const DIALECTS: [(Dialect, SimDialect, &str); 3] = [
    (Dialect::OpenAiChat, SimDialect::OpenAiChat, "openai"),
    (Dialect::AnthropicMessages, SimDialect::AnthropicMessages, "anthropic"),
    (Dialect::Gemini, SimDialect::Gemini, "gemini"),
];

/// Ways to break, with a number behind each.
const FAULTS: [(&str, FailureKind); 5] = [
    ("cut-after", FailureKind::Truncated),
    ("stall-after", FailureKind::Stalled),
    ("malformed", FailureKind::Malformed),
    ("error-after", FailureKind::ProviderError),
    ("overloaded-after", FailureKind::Overloaded),
];

/// Answers, and what the simulator's model is called that gives them.
const ANSWERS: [(&str, &str); 3] =
    [("text", "fine"), ("call", "tools"), ("thought", "thinking+reasoning-content")];

/// So many places at which answers are broken: more than the shortest has.
const PLACES: u64 = 14;

fn request(dialect: Dialect, model: &str) -> (String, Value) {
    let text = "What is the weather like by the sea?";
    let parameters = json!({"type": "object", "required": ["city", "days"],
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}});
    match dialect {
        Dialect::Gemini => (
            format!("/v1beta/models/{model}:streamGenerateContent?alt=sse"),
            json!({"contents": [{"role": "user", "parts": [{"text": text}]}],
                "tools": [{"functionDeclarations": [{"name": "weather", "parameters": parameters}]}]}),
        ),
        Dialect::AnthropicMessages => (
            "/v1/messages".to_owned(),
            json!({"model": model, "max_tokens": 1000, "stream": true,
                "tools": [{"name": "weather", "input_schema": parameters}],
                "messages": [{"role": "user", "content": text}]}),
        ),
        Dialect::OpenAiChat => (
            "/v1/chat/completions".to_owned(),
            json!({"model": model, "stream": true, "stream_options": {"include_usage": true},
                "tools": [{"type": "function", "function": {"name": "weather", "parameters": parameters}}],
                "messages": [{"role": "user", "content": text}]}),
        ),
    }
}

async fn ask(client: &Client, dialect: Dialect, model: &str) -> Received {
    let (path, body) = request(dialect, model);
    client.post(&path, &body).await
}

/// What the caller's SDK makes of a stream; an error where it would raise one.
fn read(dialect: Dialect, body: &[u8]) -> Result<Reply, String> {
    let mut frames = SseDecoder::new();
    frames.push(body.to_vec().into());
    let mut decoder = dialect.codec().decoder();
    let mut events = Vec::new();
    while let Some(frame) = frames.next_event() {
        decoder.decode(&frame.unwrap(), &mut events).map_err(|error| error.to_string())?;
    }
    assert!(decoder.finish(&mut events), "not complete: {}", String::from_utf8_lossy(body));
    let mut assembler = Assembler::new(dialect);
    for event in events {
        assembler.push(event);
    }
    Ok(assembler.into_reply())
}

/// The answer as its reader sees it.
fn seen(reply: &Reply) -> Vec<String> {
    let mut seen: Vec<(&'static str, String)> = Vec::new();
    for part in &reply.choices[0].parts {
        let (kind, text) = match &part.content {
            Content::Text { text, .. } => ("text", text.clone()),
            Content::Reasoning { text } => ("reasoning", text.clone()),
            Content::ToolCall(call) => {
                let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
                ("call", format!("{} {arguments}", call.name))
            }
            other => panic!("{other:?}"),
        };
        match seen.last_mut() {
            Some((last, present)) if *last == kind && kind == "text" => present.push_str(&text),
            _ => seen.push((kind, text)),
        }
    }
    let finish = reply.choices[0].finish.as_ref().unwrap().reason;
    seen.push(("finish", finish.as_str().to_owned()));
    seen.into_iter().map(|(kind, text)| format!("{kind}: {text}")).collect()
}

/// A gateway with a first provider of each dialect that breaks, and a second of each that does not.
async fn start(more: &str) -> (Vec<RunningSim>, TestGateway, Client) {
    let mut sims = Vec::new();
    let mut yaml = format!(
        "timeout: {{ connect: 5s, first_token: 10s, idle: 1s, total: 60s }}\nretry: {{ attempts: 1, backoff: 1ms..2ms }}\n{more}providers:\n"
    );
    for (_, sim_dialect, kind) in DIALECTS {
        let sim = Simulator::start(SimOptions { tokens: 10, ..SimOptions::default() }).await.unwrap();
        let url = sim.base_url(sim_dialect);
        for role in ["bad", "good"] {
            writeln!(yaml, "  {role}-{kind}: {{ kind: {kind}, base_url: \"{url}\", api_key: {role} }}")
                .unwrap();
        }
        sims.push(sim);
    }
    yaml.push_str("models:\n");
    for (answer, name) in ANSWERS {
        for (_, _, first) in DIALECTS {
            writeln!(yaml, "  {answer}-{first}: {{ targets: [\"good-{first}/{name}\"] }}").unwrap();
            for (_, _, second) in DIALECTS {
                for (fault, _) in FAULTS {
                    for place in 0..PLACES {
                        writeln!(yaml, "  {answer}-{fault}-{place}-{first}-{second}: {{ targets: [\"bad-{first}/{name}+{fault}-{place}\", \"good-{second}/{name}\"] }}").unwrap();
                    }
                }
            }
        }
    }
    let gateway = TestGateway::start(&yaml).await;
    let client = Client::new(gateway.address());
    (sims, gateway, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_broken_anywhere_goes_on_as_if_nothing_had_happened() {
    let (_sims, gateway, client) = start("").await;
    let room = Arc::new(Semaphore::new(24));
    let mut running = tokio::task::JoinSet::new();
    for (asker, (caller, _, caller_name)) in DIALECTS.into_iter().enumerate() {
        for (answer, _) in ANSWERS {
            let mut expected = Vec::new();
            for (_, _, second) in DIALECTS {
                let whole = ask(&client, caller, &format!("{answer}-{second}")).await;
                expected.push(seen(&read(caller, &whole.body).unwrap()));
            }
            for (_, _, first) in DIALECTS {
                for (number, (_, _, second)) in DIALECTS.into_iter().enumerate() {
                    for (fault, kind) in FAULTS {
                        for place in 0..PLACES {
                            // Silence takes a second each time. Of the others every pair sees each place from one side
                            // or another.
                            let is_left_out = match kind {
                                FailureKind::Stalled => place != 6,
                                _ => (usize::try_from(place).unwrap() + number + asker) % 2 == 0,
                            };
                            if is_left_out {
                                continue;
                            }
                            let (client, room) = (client.clone(), Arc::clone(&room));
                            let model = format!("{answer}-{fault}-{place}-{first}-{second}");
                            let expected = expected[number].clone();
                            running.spawn(async move {
                                let _place = room.acquire().await.unwrap();
                                let received = ask(&client, caller, &model).await;
                                let what = format!("{caller_name} asks {model}: {}", received.text());
                                assert_eq!(received.status, 200, "{what}");
                                let reply = read(caller, &received.body);
                                let reply = reply.unwrap_or_else(|error| panic!("{error}: {what}"));
                                assert_eq!(seen(&reply), expected, "{what}");
                                assert!(received.is_complete, "{what}");
                                received.header("x-tidegate-target").starts_with("bad")
                            });
                        }
                    }
                }
            }
        }
    }
    let continued = running.join_all().await.into_iter().filter(|is_continued| *is_continued).count();
    assert!(continued > 500, "{continued}");
    let calls = gateway.calls().await;
    assert!(calls.iter().all(|call| call.outcome == Outcome::Answered));
    let broken = calls.iter().filter(|call| call.attempts.len() == 2).collect::<Vec<_>>();
    assert!(broken.len() > 500, "{}", broken.len());
    let metrics = client.get("/metrics").await.text();
    assert!(metrics.contains("tidegate_continuations_total{outcome=\"taken\"}"), "{metrics}");
}
