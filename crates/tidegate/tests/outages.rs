//! Three replicas, when Redis, PostgreSQL or one of them is away: calls go on, and budgets hold all the same.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail loudly, and shows figures to who asks"
)]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::PATIENCE;
use common::fleet::{CENT, Caller, Fleet, Ground, cents, count, spent};
use http::StatusCode;
use tidegate_policy::Limits;
use tidegate_store::KeySecret;
use tidegate_testkit::servers::{self, PostgresServer, RedisServer};
use tokio::task::JoinSet;

/// No call waits much. That is a quarter of a second once when Redis goes away, and two seconds once for what a new key has
/// spent when PostgreSQL is away; the rest is for a machine that is busy with tests.
const NOT_MUCH: Duration = Duration::from_secs(6);
/// How long each phase of an outage is looked at.
const PHASE: Duration = Duration::from_millis(1_500);

/// One caller at each replica, again and again.
struct Load {
    callers: JoinSet<()>,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    is_over: AtomicBool,
    /// Status and time of every call.
    calls: Mutex<Vec<(StatusCode, Duration)>>,
}

impl Load {
    fn begin(fleet: &Fleet, caller: &Caller) -> Self {
        let seen = Arc::new(Seen::default());
        let mut callers = JoinSet::new();
        for address in fleet.addresses.clone() {
            let (seen, caller) = (Arc::clone(&seen), caller.clone());
            callers.spawn(async move {
                while !seen.is_over.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let received = caller.ask(address).await;
                    if received.status == 503 {
                        assert_eq!(received.header("retry-after"), "1", "{}", received.text());
                    }
                    if received.status == 402 {
                        assert!(received.text().contains("may spend 4 US dollars"), "{}", received.text());
                    }
                    seen.calls.lock().expect("a lock").push((received.status, began.elapsed()));
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        }
        Self { callers, seen }
    }

    /// What callers see for a while: how many were answered with each of these.
    async fn phase(&self, name: &str, expected: &[u16]) -> Vec<usize> {
        self.seen.calls.lock().expect("a lock").clear();
        tokio::time::sleep(PHASE).await;
        let calls = std::mem::take(&mut *self.seen.calls.lock().expect("a lock"));
        let slowest = calls.iter().map(|(_, took)| *took).max().unwrap_or_default();
        let statuses = |status: u16| calls.iter().filter(|(it, _)| *it == status).count();
        let counts: Vec<usize> = expected.iter().map(|status| statuses(*status)).collect();
        println!("{name}: {expected:?} {counts:?} of {}, the slowest in {slowest:?}", calls.len());
        let other: Vec<_> = calls.iter().filter(|(status, _)| !expected.contains(&status.as_u16())).collect();
        assert!(other.is_empty(), "{name}: {other:?}");
        assert!(slowest < NOT_MUCH, "{name}: {slowest:?}");
        assert!(calls.len() >= 10, "{name}: only {} calls", calls.len());
        counts
    }

    async fn end(mut self) {
        self.seen.is_over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.callers.join_next().await {
            ended.expect("a caller ends in order");
        }
    }
}

/// Three replicas that share a Redis of this test alone.
async fn three(redis: &RedisServer, unreachable: &str, limits: Limits) -> (Fleet, Caller) {
    let database = Box::leak(Box::new(servers::postgres().database()));
    let shared = format!("{{ url: \"{}\", unreachable: {unreachable} }}", redis.database());
    let ground = Ground::of_three(&database.url(), &shared).await;
    let caller = ground.key("key", limits).await;
    let mut fleet = ground.start();
    fleet.wait_until_counted();
    (fleet, caller)
}

/// Waits until a call is answered so, at this replica.
async fn wait_for(fleet: &Fleet, number: usize, caller: &Caller, status: u16) -> Duration {
    let began = Instant::now();
    loop {
        let received = caller.ask(fleet.address(number)).await;
        if received.status == status {
            return began.elapsed();
        }
        assert!(began.elapsed() < PATIENCE, "still {}: {}", received.status, received.text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until this replica knows the key, without a call.
async fn wait_until_known(fleet: &Fleet, number: usize, caller: &Caller) {
    let began = Instant::now();
    while caller.client(fleet.address(number)).get("/v1/models").await.status != 200 {
        assert!(began.elapsed() < PATIENCE, "the key is not known");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Calls until nothing is left, and says how many were answered.
async fn use_up(fleet: &Fleet, caller: &Caller) -> usize {
    let mut answered = 0;
    loop {
        let received = fleet.call_all(caller, 60).await;
        assert_eq!(count(&received, 200) + count(&received, 402), 60);
        if count(&received, 200) == 0 {
            return answered;
        }
        answered += count(&received, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_calls_go_on_and_the_budget_holds_in_total_also_when_redis_comes_back_empty() {
    const BUDGET: i64 = 400;
    let redis = RedisServer::private();
    let (fleet, caller) = three(&redis, "local", cents(BUDGET)).await;
    let tight = fleet.ground.key("tight", cents(40)).await;
    for number in 0..3 {
        // The key is known a moment after it was made.
        wait_until_known(&fleet, number, &tight).await;
    }
    let load = Load::begin(&fleet, &caller);
    let mut answered = 0;
    answered += load.phase("with Redis", &[200, 402]).await[0];
    for number in 0..6 {
        assert_eq!(tight.ask(fleet.address(number)).await.status, 200);
    }
    // Replicas have last heard of this key at different times, and no longer take that for all.
    tokio::time::sleep(Duration::from_millis(500)).await;
    redis.pause();
    let silent = load.phase("while Redis is silent", &[200, 402]).await[0];
    assert!(silent > 0, "no call went on");
    // Each replica gives what it may, and together that is not more than there is.
    let alone = use_up(&fleet, &tight).await;
    // It is not said that anything was spent that was not.
    for number in 0..3 {
        let refused = tight.ask(fleet.address(number)).await;
        let words = refused.text();
        assert!(words.contains("may spend 0.4 US dollars") && words.contains("this replica"), "{words}");
        assert!(!words.contains("are spent"), "{words}");
    }
    println!("without Redis {alone} of 34 calls are let in");
    assert!(alone > 0 && alone <= 34, "{alone}");
    redis.resume();
    load.phase("with Redis again", &[200, 402]).await;
    let rest = use_up(&fleet, &tight).await;
    assert_eq!(6 + alone + rest, 40, "after the outage everything is known");
    redis.kill();
    load.phase("while Redis is gone", &[200, 402]).await;
    redis.start();
    load.phase("with an empty Redis", &[200, 402]).await;
    load.end().await;
    answered += silent;
    use_up(&fleet, &caller).await;

    let began = Instant::now();
    let entries = loop {
        let entries = fleet.entries(&caller).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        if fleet.entries(&caller).await.len() == entries.len() {
            break entries;
        }
        assert!(began.elapsed() < PATIENCE, "the ledger does not come to rest");
    };
    let spent = spent(&entries);
    println!("spent {} of {BUDGET} cents", spent / CENT);
    assert!(entries.len() >= answered);
    assert!(spent <= BUDGET * CENT, "{spent}");
    // What was spent in the moment before Redis was there again may be counted twice: a few calls.
    assert!(spent >= BUDGET * CENT * 3 / 4, "{spent}");
}

/// Streams that hold their room while Redis forgets all it knew, and then far more calls than there is room for.
async fn forgetting(lose: impl Fn(&RedisServer), pause: Duration) {
    const BUDGET: i64 = 60;
    let redis = RedisServer::private();
    let (fleet, caller) = three(&redis, "local", cents(BUDGET)).await;
    for number in 0..3 {
        wait_until_known(&fleet, number, &caller).await;
    }
    let mut open = Vec::new();
    for number in 0..15 {
        let (status, _, stream) = caller.open(fleet.address(number)).await;
        assert_eq!(status, 200);
        open.push(stream);
    }
    assert_eq!(count(&fleet.call_all(&caller, 15).await, 200), 15);
    lose(&redis);
    tokio::time::sleep(pause).await;
    // What calls hold that are in flight is not given to others; but what was spent in the very last moment may count twice.
    let let_in = count(&fleet.call_all(&caller, 60).await, 200);
    println!("{let_in} of 30 calls are let in");
    assert!((20..=30).contains(&let_in), "{let_in}");
    assert_eq!(count(&fleet.call_all(&caller, 9).await, 402), 9);
    drop(open);
    let entries = fleet.ledger(&caller, 15 + 15 + let_in).await;
    assert!(spent(&entries) <= BUDGET * CENT, "{}", spent(&entries));
    // The streams have cost less than they held.
    let rest = use_up(&fleet, &caller).await;
    assert!(rest > 0, "what calls held is never free again");
    let entries = fleet.ledger(&caller, 15 + 15 + let_in + rest).await;
    assert!(spent(&entries) <= BUDGET * CENT, "{}", spent(&entries));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_calls_in_flight_hold_outlasts_a_redis_that_is_emptied() {
    forgetting(RedisServer::flush, Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_calls_in_flight_hold_outlasts_a_redis_that_starts_again_empty() {
    let restart = |redis: &RedisServer| {
        redis.kill();
        redis.start();
    };
    forgetting(restart, Duration::from_secs(3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_calls_are_refused_where_the_configuration_says_so() {
    let redis = RedisServer::private();
    let (fleet, caller) = three(&redis, "deny", cents(100_000)).await;
    let free = fleet.ground.key("free", Limits::default()).await;
    for number in 0..3 {
        wait_for(&fleet, number, &free, 200).await;
    }
    let load = Load::begin(&fleet, &caller);
    load.phase("with Redis", &[200]).await;
    redis.pause();
    let counts = load.phase("while Redis is silent", &[200, 503]).await;
    assert!(counts[1] > 0);
    // Whom nothing limits does not need Redis.
    assert_eq!(count(&fleet.call_all(&free, 9).await, 200), 9);
    redis.kill();
    load.phase("while Redis is gone", &[503]).await;
    redis.start();
    for number in 0..3 {
        wait_for(&fleet, number, &caller, 200).await;
    }
    // A machine that is busy may look like another outage for a moment.
    let counts = load.phase("with Redis again", &[200, 503]).await;
    assert!(counts[0] > counts[1] * 4, "{counts:?}");
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_replica_held_is_free_again_once_it_is_back_and_its_calls_are_in_the_ledger_once() {
    let database = servers::postgres().database();
    let ground = Ground::of_three(&database.url(), &servers::redis().database()).await;
    let limits = Limits { in_flight: Some(4), ..cents(10) };
    let caller = ground.key("key", limits).await;
    let mut fleet = ground.start();
    for _ in 0..3 {
        assert_eq!(caller.ask(fleet.address(0)).await.status, 200);
    }
    // Each holds a cent until it ends, and it will never end.
    let mut open = Vec::new();
    for _ in 0..4 {
        let (status, _, stream) = caller.open(fleet.address(0)).await;
        assert_eq!(status, 200);
        open.push(stream);
    }
    assert_eq!(caller.ask(fleet.address(1)).await.status, 429);
    fleet.replicas[0].signal("KILL");
    drop(open);
    tokio::time::sleep(Duration::from_millis(300)).await;
    for number in 1..3 {
        assert_eq!(caller.ask(fleet.address(number)).await.status, 429, "nobody knows yet that it is gone");
    }
    fleet.restart(0);
    let took = wait_for(&fleet, 1, &caller, 200).await;
    println!("what it held is free {took:?} after the restart");
    // Three before, one just now: all but that is there again, and not more.
    let mut answered = 4;
    for number in 0..12 {
        let received = caller.ask(fleet.address(number)).await;
        assert!(received.status == 200 || received.status == 402, "{}", received.text());
        answered += usize::from(received.status == 200);
    }
    assert_eq!(answered, 10);
    let entries = fleet.ledger(&caller, 10).await;
    assert_eq!(spent(&entries), 10 * CENT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_postgresql_known_keys_call_on_and_unknown_ones_are_refused_at_once() {
    let postgres = PostgresServer::private();
    let database = postgres.database();
    let ground = Ground::of_three(&database.url(), &servers::redis().database()).await;
    let caller = ground.key("known", cents(100_000)).await;
    let late = ground.key("late", cents(100_000)).await;
    let fleet = ground.start();
    let stranger = KeySecret::generate().expect("a key");
    let stranger = Caller { secret: stranger.expose().into(), ..caller.clone() };
    let load = Load::begin(&fleet, &caller);
    let mut answered = load.phase("with the database", &[200]).await[0];
    postgres.pause();
    answered += load.phase("while it is silent", &[200]).await[0];
    for number in 0..3 {
        let received = stranger.ask(fleet.address(number)).await;
        assert!(received.status == 401 || received.status == 503, "{}", received.text());
        assert!(received.took < NOT_MUCH, "{:?}", received.took);
        // Redis does not know this one yet, and nobody can say what it has spent.
        let received = late.ask(fleet.address(number)).await;
        assert_eq!(received.status, 200, "{}", received.text());
        println!("a key of which nobody knows what it has spent: {:?}", received.took);
        assert!(received.took < NOT_MUCH, "{:?}", received.took);
    }
    postgres.resume();
    postgres.kill();
    answered += load.phase("while it is gone", &[200]).await[0];
    let received = stranger.ask(fleet.address(0)).await;
    assert!(received.status == 401 || received.status == 503, "{}", received.text());
    postgres.start();
    answered += load.phase("with the database again", &[200]).await[0];
    load.end().await;
    let began = Instant::now();
    // Calls between the phases are in the ledger too.
    while fleet.entries(&caller).await.len() < answered {
        assert!(began.elapsed() < PATIENCE, "calls are missing in the ledger");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    fleet.ledger(&late, 3).await;
}
