//! Two thousand mixed calls (answered, failed, cut, hung up), in all dialects and pairs: the ledger holds one entry each,
//! and its sums match what the simulator says it served.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::json;
use tidegate_sim::{Dialect, RunningSim, SimOptions, Simulator};
use tidegate_store::{LedgerEntry, Outcome};
use tidegate_testkit::{Client, TestGateway};
use tokio::sync::Semaphore;

const CALLS: usize = 2_000;
/// Calls at the same time: enough to mix everything, few enough for a small machine.
const AT_ONCE: usize = 64;

const PROVIDERS: [(Dialect, &str); 3] =
    [(Dialect::OpenAiChat, "openai"), (Dialect::AnthropicMessages, "anthropic"), (Dialect::Gemini, "gemini")];

/// What is asked for, and how the caller behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    Failed,
    Cut,
    HungUp,
}

const MIX: [(Fate, &str); 8] = [
    (Fate::Answered, "fine"),
    (Fate::Answered, "tokens-40"),
    (Fate::Answered, "thinking"),
    (Fate::Answered, "cached"),
    (Fate::Failed, "bad-request"),
    (Fate::Failed, "error-500"),
    (Fate::Cut, "cut-after-7"),
    (Fate::HungUp, "slow-2tps"),
];

async fn start() -> (RunningSim, TestGateway) {
    let sim = Simulator::start(SimOptions { tokens: 12, ..SimOptions::default() }).await.unwrap();
    let mut yaml =
        String::from("timeout: { first_token: 20s, idle: 20s }\nretry: { attempts: 1 }\nproviders:\n");
    // A provider for each fate, so that failures open no breaker in front of the calls that are to be answered.
    for (dialect, kind) in PROVIDERS {
        writeln!(yaml, "  {kind}: {{ base_url: \"{}\", api_key: key }}", sim.base_url(dialect)).unwrap();
    }
    let gateway = TestGateway::start(&yaml).await;
    (sim, gateway)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_is_one_entry_and_the_sums_are_the_providers() {
    let (sim, gateway) = start().await;
    let client = Client::new(gateway.address());
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = tokio::task::JoinSet::new();
    for number in 0..CALLS {
        let (fate, scenario) = MIX[number % MIX.len()];
        let (_, provider) = PROVIDERS[(number / MIX.len()) % 3];
        let caller = PROVIDERS[(number / MIX.len() / 3) % 3].0;
        let stream = fate == Fate::HungUp || fate == Fate::Cut || (number / MIX.len() / 9).is_multiple_of(2);
        let model = format!("{provider}/{scenario}@{}", number % 7);
        let (client, room) = (client.clone(), Arc::clone(&room));
        running.spawn(async move {
            let _place = room.acquire().await.unwrap();
            call(&client, caller, &model, stream, fate).await
        });
    }
    let ids: Vec<Option<String>> = running.join_all().await;
    let entries = gateway.calls_when(CALLS).await;
    assert_eq!(entries.len(), CALLS, "one entry a call");
    let distinct: HashSet<String> = entries.iter().map(|entry| entry.id.to_string()).collect();
    assert_eq!(distinct.len(), CALLS, "no entry twice");
    for id in ids.into_iter().flatten() {
        assert!(distinct.contains(&id), "the caller's x-request-id {id} is in the ledger");
    }
    check_outcomes(&entries);
    check_sums(&sim, &entries);
}

async fn call(client: &Client, caller: Dialect, model: &str, stream: bool, fate: Fate) -> Option<String> {
    let text = "Count something for me.";
    let (path, body) = match caller {
        Dialect::Gemini => {
            let method = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
            let body = json!({"contents": [{"role": "user", "parts": [{"text": text}]}]});
            (format!("/v1beta/models/{model}:{method}"), body)
        }
        Dialect::OpenAiChat | Dialect::AnthropicMessages => {
            let path = if caller == Dialect::OpenAiChat { "/v1/chat/completions" } else { "/v1/messages" };
            let body = json!({"model": model, "max_tokens": 20_000, "stream": stream,
                "messages": [{"role": "user", "content": text}]});
            (path.to_owned(), body)
        }
    };
    if fate == Fate::HungUp {
        let read = client.post_and_hang_up(&path, &body, 2).await;
        assert!(!read.is_empty());
        return None;
    }
    let received = client.post(&path, &body).await;
    let expected_status = if fate == Fate::Failed { 400..=503 } else { 200..=200 };
    assert!(expected_status.contains(&received.status.as_u16()), "{model}: {}", received.text());
    Some(received.header("x-request-id").to_owned())
}

fn fate_of(entry: &LedgerEntry) -> Fate {
    let model = entry.model.as_deref().unwrap();
    MIX.iter().find(|(_, scenario)| model.contains(&format!("/{scenario}@"))).unwrap().0
}

fn check_outcomes(entries: &[LedgerEntry]) {
    for entry in entries {
        let expected = match fate_of(entry) {
            Fate::Answered => Outcome::Answered,
            Fate::Failed | Fate::Cut => Outcome::Failed,
            Fate::HungUp => Outcome::Cancelled,
        };
        assert_eq!(entry.outcome, expected, "{:?}", entry.model);
    }
}

/// Tokens in, cached, out and reasoned of the answered calls, by provider and scenario: exactly what was served. Of calls
/// that broke off: at least what the caller saw, at most what was served.
fn check_sums(sim: &RunningSim, entries: &[LedgerEntry]) {
    let mut ledger: HashMap<String, [u64; 5]> = HashMap::new();
    for entry in entries {
        let model = format!("{} {}", entry.dialect_of_provider(), entry.upstream_model.as_deref().unwrap());
        let sums = ledger.entry(model).or_default();
        let usage = entry.usage;
        let figures = [1, usage.input, usage.cache_read, usage.output, usage.reasoning];
        for (sum, figure) in sums.iter_mut().zip(figures) {
            *sum += figure;
        }
    }
    let mut served: HashMap<String, [u64; 5]> = HashMap::new();
    for call in sim.served() {
        let sums = served.entry(format!("{} {}", call.dialect, call.model)).or_default();
        let figures = [1, call.input_tokens, call.cached_tokens, call.output_tokens, call.reasoning_tokens];
        for (sum, figure) in sums.iter_mut().zip(figures) {
            *sum += figure;
        }
    }
    for (model, sums) in &ledger {
        let provider = served.get(model).copied().unwrap_or_default();
        assert_eq!(sums[0], provider[0], "{model}: as many attempts as calls");
        if model.contains("cut-after") || model.contains("slow-") {
            assert!(sums[3] <= provider[3], "{model}: {sums:?}, served {provider:?}");
            assert!(sums[3] > 0, "{model}: {sums:?}, served {provider:?}");
        } else {
            assert_eq!(*sums, provider, "{model}");
        }
    }
}

trait ProviderDialect {
    fn dialect_of_provider(&self) -> Dialect;
}

impl ProviderDialect for LedgerEntry {
    fn dialect_of_provider(&self) -> Dialect {
        let provider = self.provider.as_deref().unwrap();
        PROVIDERS.iter().find(|(_, kind)| *kind == provider).unwrap().0
    }
}
