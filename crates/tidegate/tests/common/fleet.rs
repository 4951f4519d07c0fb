//! Gateways side by side, as processes: each with its data directory and port, in front of one simulator. They share a
//! PostgreSQL and a Redis, or one alone keeps everything in SQLite.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tidegate_policy::{Budget, BudgetKind, BudgetPeriod, Limits, RateLimit, RatePeriod};
use tidegate_sim::{Dialect, RunningSim, SimOptions, Simulator};
use tidegate_store::{
    Access, Actor, CallsQuery, KeyId, KeyRecord, KeySecret, LedgerEntry, NewKey, Store, StoreOptions,
};
use tidegate_testkit::{Client, Received};

use super::{PATIENCE, Running, Workplace};

/// What a call costs: ten tokens at a thousand dollars a million, and the input is free. So what is reserved is exactly
/// what is used.
pub(crate) const CENT: i64 = 10_000_000;
/// As many tokens as a cent buys.
pub(crate) const TOKENS: u64 = 10;
/// Answers with as many tokens as it may.
pub(crate) const TALKATIVE: &str = "openai/tokens-500";
/// Begins to answer and goes on when the caller hangs up, never before.
pub(crate) const ENDLESS: &str = "openai/stall-after-3";

/// What a fleet stands on.
pub(crate) struct Ground {
    pub(crate) simulator: RunningSim,
    workplaces: Vec<Workplace>,
    pub(crate) store: Store,
}

/// The gateways that run.
pub(crate) struct Fleet {
    pub(crate) ground: Ground,
    pub(crate) replicas: Vec<Running>,
    pub(crate) addresses: Vec<SocketAddr>,
}

/// In which dialect is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Speech {
    OpenAi,
    Anthropic,
    Gemini,
}

pub(crate) const SPEECHES: [Speech; 3] = [Speech::OpenAi, Speech::Anthropic, Speech::Gemini];

/// A key's holder.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) id: KeyId,
    pub(crate) secret: Arc<str>,
    /// The name of the end user it speaks for.
    pub(crate) user: Option<String>,
    pub(crate) tags: Option<String>,
}

impl Ground {
    /// For three replicas that share this database. `shared` is what stands under `shared:`.
    pub(crate) async fn of_three(database: &str, shared: &str) -> Self {
        Self::new(3, Some(database), &together(database, shared), None).await
    }

    /// The same with these providers and models: what stands in their configuration beside what they share.
    pub(crate) async fn of_three_with(database: &str, shared: &str, models: &str) -> Self {
        Self::new(3, Some(database), &together(database, shared), Some(models)).await
    }

    /// For one gateway with SQLite.
    pub(crate) async fn of_one() -> Self {
        Self::new(1, None, "", None).await
    }

    async fn new(count: usize, database: Option<&str>, more: &str, models: Option<&str>) -> Self {
        let options = SimOptions { tokens: 500, ..SimOptions::default() };
        let simulator = Simulator::start(options).await.expect("a simulator");
        let workplaces: Vec<Workplace> = (0..count).map(|_| Workplace::new()).collect();
        let usual = format!(
            "providers:\n  openai: {{ base_url: \"{}\", api_key: k }}\nprices:\n  openai/*: {{ input: 0, output: 1000 }}\n",
            simulator.base_url(Dialect::OpenAiChat),
        );
        let models = models.unwrap_or(&usual);
        for workplace in &workplaces {
            let configuration =
                format!("server: {{ listen: 127.0.0.1:0, workers: 2 }}\ndata: ./data\n{more}{models}");
            workplace.write("tidegate.yaml", &configuration);
        }
        let store = StoreOptions {
            data: workplaces[0].path().join("data"),
            database: database.map(|url| url.parse().expect("a database's address")),
        };
        let store = Store::open(store).await.expect("the store opens");
        Self { simulator, workplaces, store }
    }

    pub(crate) fn access(&self) -> Access {
        self.store.access()
    }

    pub(crate) fn workplace(&self, number: usize) -> &Workplace {
        &self.workplaces[number]
    }

    /// Makes a key of the default organisation.
    pub(crate) async fn key(&self, name: &str, limits: Limits) -> Caller {
        let new = NewKey { name: name.to_owned(), limits, ..NewKey::default() };
        self.new_key(new).await
    }

    pub(crate) async fn new_key(&self, new: NewKey) -> Caller {
        Caller::of(self.access().create_key(new, &actor()).await.expect("a key is made"))
    }

    /// Starts every replica.
    pub(crate) fn start(self) -> Fleet {
        let mut replicas: Vec<Running> =
            self.workplaces.iter().map(|workplace| workplace.start(&["serve"])).collect();
        let addresses = replicas.iter_mut().map(Running::address).collect();
        Fleet { ground: self, replicas, addresses }
    }
}

impl Fleet {
    /// The replica that serves the call with this number: each in turn.
    pub(crate) fn address(&self, number: usize) -> SocketAddr {
        self.addresses[number % self.addresses.len()]
    }

    /// Starts one again after it was killed.
    pub(crate) fn restart(&mut self, number: usize) {
        let mut replica = self.ground.workplaces[number].start(&["serve"]);
        self.addresses[number] = replica.address();
        self.replicas[number] = replica;
    }

    /// Waits until each replica knows how many there are: by that it divides limits when it is on its own.
    pub(crate) fn wait_until_counted(&mut self) {
        let count = self.replicas.len();
        for replica in &mut self.replicas {
            let words = format!("\"replicas\":{count}");
            if !replica.said().contains(&words) {
                replica.wait_for(&words);
            }
        }
    }

    /// Many calls at once, one after the other to each replica, in every dialect.
    pub(crate) async fn call_all(&self, caller: &Caller, count: usize) -> Vec<(Speech, Received)> {
        let mut calls = Vec::with_capacity(count);
        for number in 0..count {
            let (address, caller) = (self.address(number), caller.clone());
            let speech = SPEECHES[number / self.addresses.len() % SPEECHES.len()];
            calls.push((speech, tokio::spawn(async move { caller.call(address, speech).await })));
        }
        let mut received = Vec::with_capacity(count);
        for (speech, call) in calls {
            received.push((speech, call.await.expect("a call comes to its end")));
        }
        received
    }

    /// What the ledger has of a key by now. Each call once.
    pub(crate) async fn entries(&self, caller: &Caller) -> Vec<LedgerEntry> {
        let query = CallsQuery::latest(u32::MAX);
        let mut calls = self.ground.store.calls(&query).await.expect("the ledger is read");
        calls.retain(|call| call.key_id.as_deref() == Some(caller.id.as_str()));
        let ids: HashSet<_> = calls.iter().map(|call| call.id).collect();
        assert_eq!(ids.len(), calls.len(), "a call stands in the ledger twice");
        calls
    }

    /// What the ledger has of a key, once it has this many answered calls.
    pub(crate) async fn ledger(&self, caller: &Caller, answered: usize) -> Vec<LedgerEntry> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let calls = self.entries(caller).await;
            let found = calls.iter().filter(|call| call.status == Some(200)).count();
            if found >= answered {
                assert_eq!(found, answered, "the ledger has more answered calls than there were");
                return calls;
            }
            assert!(Instant::now() < deadline, "the ledger has {found} of {answered} answered calls");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Caller {
    pub(crate) fn of((record, secret): (KeyRecord, KeySecret)) -> Self {
        Self { id: record.id, secret: secret.expose().into(), user: None, tags: None }
    }

    /// A short call to the talkative model.
    pub(crate) async fn call(&self, address: SocketAddr, speech: Speech) -> Received {
        let (path, body) = self.question(speech);
        let ask = self.client(address);
        let ask = ask.post(path, &body);
        tokio::time::timeout(PATIENCE, ask).await.expect("an answer comes in time")
    }

    /// The same in OpenAI's dialect.
    pub(crate) async fn ask(&self, address: SocketAddr) -> Received {
        self.call(address, Speech::OpenAi).await
    }

    /// Opens a stream that lasts until it is hung up, which is what dropping it does.
    pub(crate) async fn open(&self, address: SocketAddr) -> (StatusCode, HeaderMap, Box<dyn Send>) {
        let mut body = self.question(Speech::OpenAi).1;
        body["model"] = json!(ENDLESS);
        body["stream"] = json!(true);
        let client = self.client(address);
        let sent = client.send(Method::POST, "/v1/chat/completions", Bytes::from(body.to_string()));
        let response = tokio::time::timeout(PATIENCE, sent).await.expect("an answer begins in time");
        let (head, mut body) = response.into_parts();
        if head.status == StatusCode::OK {
            body.frame().await.expect("a first piece").expect("a first piece");
        }
        (head.status, head.headers, Box::new(body))
    }

    pub(crate) fn client(&self, address: SocketAddr) -> Client {
        let client = Client::new(address).with_header("authorization", &format!("Bearer {}", self.secret));
        match &self.tags {
            Some(tags) => client.with_header("x-tidegate-tags", tags),
            None => client,
        }
    }

    fn question(&self, speech: Speech) -> (&'static str, Value) {
        let messages = json!([{"role": "user", "content": "hi"}]);
        let (path, mut body) = match speech {
            Speech::OpenAi => (
                "/v1/chat/completions",
                json!({"model": TALKATIVE, "max_completion_tokens": TOKENS, "messages": messages}),
            ),
            Speech::Anthropic => {
                ("/v1/messages", json!({"model": TALKATIVE, "max_tokens": TOKENS, "messages": messages}))
            }
            Speech::Gemini => (
                "/v1beta/models/openai%2Ftokens-500:generateContent",
                json!({
                    "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
                    "generationConfig": {"maxOutputTokens": TOKENS},
                }),
            ),
        };
        if let (Some(user), Speech::OpenAi) = (&self.user, speech) {
            body["user"] = json!(user);
        }
        if let (Some(user), Speech::Anthropic) = (&self.user, speech) {
            body["metadata"] = json!({"user_id": user});
        }
        (path, body)
    }
}

/// What replicas share, in their configuration.
fn together(database: &str, shared: &str) -> String {
    format!("store: {database}\nshared: {shared}\n")
}

/// In whose name tests change things.
pub(crate) fn actor() -> Actor {
    Actor::command_line("test")
}

/// A hard budget that never resets.
pub(crate) fn cents(count: i64) -> Limits {
    let budget = Budget {
        usd: tidegate_catalog::NanoDollars(count * CENT),
        per: BudgetPeriod::Lifetime,
        kind: BudgetKind::Hard,
    };
    Limits { budgets: vec![budget], ..Limits::default() }
}

pub(crate) fn requests(max: u64, per: RatePeriod) -> Limits {
    Limits { requests: vec![RateLimit { max, per }], ..Limits::default() }
}

/// What the entries cost together, in nano-dollars.
pub(crate) fn spent(entries: &[LedgerEntry]) -> i64 {
    let sum: u64 = entries.iter().filter_map(|entry| entry.cost_nanodollars).sum();
    i64::try_from(sum).expect("a small sum")
}

pub(crate) fn count(received: &[(Speech, Received)], status: u16) -> usize {
    received.iter().filter(|(_, received)| received.status == status).count()
}
