//! `kill -9` under load, again and again: whoever has seen the end of an answer is in the ledger, exactly once.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail loudly, and shows figures to who asks"
)]

mod common;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Running, Workplace};
use serde_json::json;
use tidegate_sim::{Dialect, RunningSim, SimOptions, Simulator};
use tidegate_store::{CallId, CallsQuery, LedgerEntry, Outcome, Store, StoreOptions};
use tidegate_testkit::servers;
use tidegate_testkit::servers::PostgresServer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const ROUNDS: usize = 20;
/// Calls at the same time: so many may be in flight when the process is killed.
const CALLERS: usize = 8;

/// The gateway's surroundings, which outlive it.
struct Scene {
    workplace: Workplace,
    simulator: RunningSim,
    store: StoreOptions,
}

/// What callers have seen.
#[derive(Default)]
struct Seen {
    /// The calls whose answers came to their end.
    complete: Mutex<HashSet<CallId>>,
    /// Calls that ended otherwise: refused connections, broken answers.
    broken: AtomicU32,
    /// Whether callers go on.
    is_over: AtomicBool,
    slowest: Mutex<Duration>,
}

impl Scene {
    async fn set(database: Option<&str>) -> Self {
        let options = SimOptions { tokens: 12, tokens_per_second: 2_000.0, ..SimOptions::default() };
        let simulator = Simulator::start(options).await.expect("a simulator");
        let workplace = Workplace::new();
        let store = database.map(|url| format!("store: {url}\n")).unwrap_or_default();
        workplace.write(
            "tidegate.yaml",
            &format!(
                "server: {{ listen: 127.0.0.1:0, workers: 2 }}\ndata: ./data\n{store}providers:\n  \
                 openai: {{ base_url: \"{}\", api_key: k }}\n  anthropic: {{ base_url: \"{}\", api_key: k }}\n  \
                 gemini: {{ base_url: \"{}\", api_key: k }}\n",
                simulator.base_url(Dialect::OpenAiChat),
                simulator.base_url(Dialect::AnthropicMessages),
                simulator.base_url(Dialect::Gemini),
            ),
        );
        let store = StoreOptions {
            data: workplace.path().join("data"),
            database: database.map(|url| url.parse().expect("a database's address")),
        };
        Self { workplace, simulator, store }
    }

    async fn ledger(&self) -> Vec<LedgerEntry> {
        let store = Store::open_existing(&self.store).await.expect("the store opens");
        let calls = store.calls(&CallsQuery::latest(u32::MAX)).await.expect("the ledger is read");
        store.close().await;
        calls
    }
}

/// Calls until it is over, in all the ways in which an answer can end.
fn call_on(address: SocketAddr, seen: &Arc<Seen>) -> JoinSet<()> {
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let seen = Arc::clone(seen);
        callers.spawn(async move {
            let mut kind = caller;
            while !seen.is_over.load(Ordering::Relaxed) {
                kind += 1;
                let began = Instant::now();
                if let Some(id) = call(address, kind).await {
                    assert!(seen.complete.lock().expect("a lock").insert(id), "an id was given twice");
                    let took = began.elapsed();
                    let mut slowest = seen.slowest.lock().expect("a lock");
                    *slowest = took.max(*slowest);
                } else {
                    seen.broken.fetch_add(1, Ordering::Relaxed);
                    // The gateway has gone; do not burn the processor until somebody notices.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        });
    }
    callers
}

/// One call, read byte by byte: its id, once the bytes that end its answer have come.
async fn call(address: SocketAddr, kind: usize) -> Option<CallId> {
    let question = json!([{"role": "user", "content": "hi"}]);
    let openai = |model: &str, stream: bool| json!({"model": model, "stream": stream, "messages": question});
    let anthropic = json!({"model": "anthropic/claude-haiku-4-5", "stream": true, "max_tokens": 64, "messages": question});
    let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
    let gemini_path = "/v1beta/models/gemini%2Fgemini-2.5-flash:streamGenerateContent";
    // What ends a stream is what its clients wait for, not the end of the body; Gemini has only that.
    let (path, body, end) = match kind % 6 {
        0 | 1 => ("/v1/chat/completions", openai("openai/gpt-5-mini", false), None),
        2 => ("/v1/chat/completions", openai("openai/gpt-5-mini", true), Some("data: [DONE]\n\n")),
        3 => ("/v1/chat/completions", openai("anthropic/claude-haiku-4-5", true), Some("data: [DONE]\n\n")),
        4 => ("/v1/messages", anthropic, Some("\"message_stop\"")),
        _ => (gemini_path, gemini, Some("\r\n0\r\n\r\n")),
    };
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(request.as_bytes()).await.ok()?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        let read = stream.read(&mut buffer).await.ok().filter(|&read| read > 0)?;
        answer.extend_from_slice(buffer.get(..read)?);
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let field = |name: &str| {
            head.lines()
                .find_map(|line| line.split_once(": ").filter(|(field, _)| *field == name))
                .map(|(_, value)| value)
        };
        let is_complete = match (end, field("content-length")) {
            (Some(end), None) => body.contains(end),
            (_, Some(length)) => body.len() == length.parse::<usize>().ok()?,
            (None, None) => false,
        };
        if is_complete {
            return if head.starts_with("HTTP/1.1 200") { field("x-request-id")?.parse().ok() } else { None };
        }
    }
}

/// Starts, calls, kills; starts again, ends in order, and compares.
async fn kill_again_and_again(scene: &Scene) {
    let (mut complete, mut answered_before) = (HashSet::new(), 0);
    for round in 0..ROUNDS {
        let mut gateway = scene.workplace.start(&["serve"]);
        let seen = Arc::new(Seen::default());
        let mut callers = call_on(gateway.address(), &seen);
        // Between the first answers and the third batch or so.
        let enough = fastrand::usize(5..200);
        while seen.complete.lock().expect("a lock").len() < enough {
            assert!(callers.try_join_next().is_none(), "a caller has ended");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        gateway.signal("KILL");
        gateway.end();
        seen.is_over.store(true, Ordering::Relaxed);
        while let Some(ended) = callers.join_next().await {
            ended.expect("a caller ends in order");
        }
        complete.extend(seen.complete.lock().expect("a lock").drain());

        let mut gateway = scene.workplace.start(&["serve"]);
        gateway.address();
        end_in_order(gateway);
        let calls = scene.ledger().await;
        let found: HashSet<CallId> = calls.iter().map(|entry| entry.id).collect();
        assert_eq!(found.len(), calls.len(), "round {round}: a call stands there twice");
        let missing: Vec<_> = complete.difference(&found).collect();
        assert!(missing.is_empty(), "round {round}: of {} answers {missing:?} are missing", complete.len());
        let more = found.len() - complete.len() - answered_before;
        assert!(more <= CALLERS, "round {round}: {more} calls more than were in flight");
        answered_before += more;
        for entry in calls.iter().filter(|entry| complete.contains(&entry.id)) {
            assert!(
                entry.outcome == Outcome::Answered && entry.usage.output > 0 && entry.finish_reason.is_some(),
                "round {round}: {entry:?}"
            );
        }
    }
}

fn end_in_order(gateway: Running) {
    gateway.signal("TERM");
    let (code, said) = gateway.end();
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_sqlite_every_answer_that_was_seen_is_in_the_ledger_once_after_a_kill() {
    let scene = Scene::set(None).await;
    kill_again_and_again(&scene).await;
    scene.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_postgresql_every_answer_that_was_seen_is_in_the_ledger_once_after_a_kill() {
    let database = servers::postgres().database();
    let scene = Scene::set(Some(&database.url())).await;
    kill_again_and_again(&scene).await;
    scene.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_postgresql_is_silent_or_gone_and_all_are_in_the_ledger_afterwards() {
    let server = PostgresServer::private();
    let database = server.database();
    let scene = Scene::set(Some(&database.url())).await;
    let mut gateway = scene.workplace.start(&["serve"]);
    let seen = Arc::new(Seen::default());
    let mut callers = call_on(gateway.address(), &seen);
    let phase = async |name: &str| {
        let before = seen.complete.lock().expect("a lock").len();
        *seen.slowest.lock().expect("a lock") = Duration::ZERO;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let calls = seen.complete.lock().expect("a lock").len() - before;
        let slowest = *seen.slowest.lock().expect("a lock");
        println!("{name}: {calls} calls, the slowest in {slowest:?}");
        assert!(calls > 100, "{name}: only {calls} calls");
        assert_eq!(seen.broken.load(Ordering::Relaxed), 0, "{name}: calls failed");
    };
    phase("with the database").await;
    server.pause();
    phase("while it is silent").await;
    server.resume();
    phase("with the database again").await;
    server.kill();
    phase("while it is gone").await;
    server.start();
    phase("with the database once more").await;
    seen.is_over.store(true, Ordering::Relaxed);
    while let Some(ended) = callers.join_next().await {
        ended.expect("a caller ends in order");
    }
    end_in_order(gateway);
    let calls = scene.ledger().await;
    let found: HashSet<CallId> = calls.iter().map(|entry| entry.id).collect();
    assert_eq!(found.len(), calls.len(), "a call stands there twice");
    assert_eq!(found, *seen.complete.lock().expect("a lock"));
    scene.simulator.stop().await;
}
