//! The limiter over a real Redis or Valkey, with several replicas: it counts exactly, and outages do not stop it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tidegate_catalog::NanoDollars;
use tidegate_policy::{
    Amounts, Budget, BudgetKind, BudgetPeriod, Limits, Measure, RateLimit, RatePeriod, RecentCalls, Spending,
};
use tidegate_store::{
    CallId, Hold, LedgerProgress, Level, Limiter, LocalOptions, Refused, Scope, SharedOptions,
    SpendingFuture, SpendingSource, Unreachable,
};
use tidegate_testkit::servers::{self, RedisServer};

/// In tests of what is counted, a machine that is busy must not look like an outage.
const PATIENT: Duration = Duration::from_secs(20);

/// Nothing waits for Redis for long. Generous, because the machine may be busy.
const AT_ONCE: Duration = Duration::from_secs(1);

fn options(port: u16, test: &str, replica: &str) -> SharedOptions {
    let prefix = format!("{test}-{}", std::process::id());
    SharedOptions { prefix, ..SharedOptions::new(format!("redis://127.0.0.1:{port}"), replica) }
}

fn patient(test: &str, replica: &str) -> SharedOptions {
    let options = options(servers::redis().port(), test, replica);
    SharedOptions { patience: PATIENT, unreachable: Unreachable::Deny, ..options }
}

fn level(scope: &str, limits: Limits) -> Level {
    Level::new(scope.parse().unwrap(), Arc::new(limits))
}

fn budget(usd: i64, kind: BudgetKind) -> Limits {
    let budget = Budget { usd: NanoDollars(usd), per: BudgetPeriod::Month, kind };
    Limits { budgets: vec![budget], ..Limits::default() }
}

fn hard(usd: i64) -> Limits {
    budget(usd, BudgetKind::Hard)
}

fn in_flight(limit: u32) -> Limits {
    Limits { in_flight: Some(limit), ..Limits::default() }
}

fn cost(cost: i64) -> Amounts {
    Amounts { tokens: 0, cost: NanoDollars(cost) }
}

async fn take(limiter: &Limiter, levels: &[Level], amounts: Amounts) -> Result<Hold, Refused> {
    let call = CallId::now();
    match limiter.try_reserve(call, levels, amounts) {
        Some(answer) => answer,
        None => limiter.reserve(call, levels, amounts).await,
    }
}

/// What is used and held of the first budget of a level.
async fn spent(limiter: &Limiter, level: &Level) -> (i64, i64) {
    let usage = limiter.usage(std::slice::from_ref(level)).await.unwrap();
    (usage[0].usage.budgets[0].used.0, usage[0].usage.budgets[0].held.0)
}

/// Whether so much is used and held. A machine that is busy may look like an outage.
async fn is_spent(limiter: &Limiter, level: &Level, expected: (i64, i64)) -> bool {
    let usage = limiter.usage(std::slice::from_ref(level)).await;
    usage.is_ok_and(|usage| {
        let budget = &usage[0].usage.budgets[0];
        (budget.used.0, budget.held.0) == expected
    })
}

/// Waits until it becomes true.
async fn wait_for(what: &str, mut is_true: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_true().await {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_admit_exactly_what_fits_and_settling_makes_no_more_of_it() {
    let mut replicas = Vec::new();
    for replica in ["a", "b", "c"] {
        replicas.push(Limiter::shared(patient("exact", replica)).await.unwrap());
    }
    let levels: Arc<[Level]> =
        [level("org:o", Limits::default()), level("team:t", hard(500)), level("key:k", hard(100_000))].into();
    let mut tasks = Vec::new();
    for number in 0..500 {
        let (limiter, levels) = (replicas[number % 3].clone(), levels.clone());
        tasks.push(tokio::spawn(async move { take(&limiter, &levels, cost(10)).await }));
    }
    let mut holds = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(hold) => holds.push(hold),
            Err(Refused::Budget { scope: Scope::Team(_), .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(holds.len(), 50);

    let mut random = fastrand::Rng::with_seed(3);
    random.shuffle(&mut holds);
    let mut used = 0;
    for hold in holds {
        let actual = random.i64(0..=10);
        used += actual;
        hold.settle(cost(actual));
    }
    for limiter in &replicas {
        limiter.flush().await;
    }
    assert_eq!(spent(&replicas[1], &levels[1]).await, (used, 0));
    assert_eq!(spent(&replicas[1], &levels[2]).await, (used, 0));
    assert!(take(&replicas[0], &levels, cost(500 - used + 1)).await.is_err());
    assert!(take(&replicas[2], &levels, cost(500 - used)).await.is_ok());
}

#[tokio::test]
async fn a_caller_with_one_call_at_a_time_is_never_refused() {
    let limiter = Limiter::shared(patient("sequential", "a")).await.unwrap();
    let levels = [level("key:k", in_flight(1))];
    for call in 0..300 {
        let hold = take(&limiter, &levels, cost(1)).await.unwrap();
        if call % 3 == 0 {
            let refused = take(&limiter, &levels, cost(1)).await.unwrap_err();
            assert!(
                matches!(refused, Refused::Limit { measure: Measure::InFlight, limit: 1, .. }),
                "{refused}"
            );
        }
        if call % 2 == 0 { hold.settle(cost(1)) } else { drop(hold) }
    }
}

#[tokio::test]
async fn calls_come_from_the_runtimes_of_other_threads() {
    let limiter = Limiter::shared(patient("threads", "a")).await.unwrap();
    let levels: Arc<[Level]> = [level("key:k", hard(1_000))].into();
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let (limiter, levels) = (limiter.clone(), levels.clone());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    for _ in 0..50 {
                        take(&limiter, &levels, cost(10)).await.unwrap().settle(cost(3));
                    }
                });
            })
        })
        .collect();
    for worker in workers {
        tokio::task::spawn_blocking(|| worker.join().unwrap()).await.unwrap();
    }
    limiter.flush().await;
    assert_eq!(spent(&limiter, &levels[0]).await, (300, 0));
}

#[tokio::test]
async fn a_refusal_on_one_level_takes_nothing_on_the_others_and_what_is_dropped_comes_back() {
    let limiter = Limiter::shared(patient("atomic", "a")).await.unwrap();
    let all = Limits {
        requests: vec![RateLimit { max: 3, per: RatePeriod::Hour }],
        tokens: vec![RateLimit { max: 100, per: RatePeriod::Hour }],
        in_flight: Some(5),
        ..hard(1_000)
    };
    let levels = [level("org:o", all), level("key:k", in_flight(1))];
    let amounts = Amounts { tokens: 40, cost: NanoDollars(10) };
    let hold = take(&limiter, &levels, amounts).await.unwrap();
    for _ in 0..5 {
        assert!(take(&limiter, &levels, amounts).await.is_err());
    }
    assert_eq!(hold.room().requests.unwrap().remaining, 2);
    assert_eq!(hold.room().tokens.unwrap().remaining, 60);
    assert_eq!(hold.room().budget.unwrap().remaining, NanoDollars(990));
    drop(hold);
    let hold = take(&limiter, &levels, amounts).await.unwrap();
    assert_eq!(hold.room().requests.unwrap().remaining, 2);
    hold.settle(Amounts { tokens: 95, cost: NanoDollars(10) });
    let refused = take(&limiter, &levels, amounts).await.unwrap_err();
    assert!(matches!(refused, Refused::Limit { measure: Measure::Tokens, limit: 100, .. }), "{refused}");
    // What is larger than the whole limit runs alone.
    let alone = [level("key:l", Limits { tokens: levels[0].limits.tokens.clone(), ..Limits::default() })];
    let large = Amounts { tokens: 1_000, ..amounts };
    let hold = take(&limiter, &alone, large).await.unwrap();
    assert!(take(&limiter, &alone, Amounts { tokens: 1, ..amounts }).await.is_err());
    drop(hold);
    take(&limiter, &alone, Amounts { tokens: 1, ..amounts }).await.unwrap().settle(amounts);
}

#[tokio::test]
async fn a_soft_budget_is_reported_once_by_all_replicas_together() {
    let replicas = [
        Limiter::shared(patient("soft", "a")).await.unwrap(),
        Limiter::shared(patient("soft", "b")).await.unwrap(),
    ];
    let levels = [level("team:t", budget(10, BudgetKind::Soft))];
    let mut crossed = 0;
    for call in 0..10 {
        let hold = take(&replicas[call % 2], &levels, cost(3)).await.unwrap();
        crossed += hold.crossed().len();
        hold.settle(cost(3));
        replicas[call % 2].flush().await;
    }
    assert_eq!(crossed, 1);
}

/// A ledger in which everybody has spent the same.
#[derive(Default)]
struct Ledger {
    spent: AtomicI64,
    requests: u64,
    asked: AtomicUsize,
}

impl SpendingSource for Ledger {
    fn spending(&self, scopes: Vec<Scope>) -> SpendingFuture {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let spending = Spending {
            as_of: Timestamp::now().as_second(),
            month: NanoDollars(self.spent.load(Ordering::Relaxed)),
            lifetime: NanoDollars(self.spent.load(Ordering::Relaxed)),
            recent: vec![RecentCalls { age: Duration::from_secs(5), requests: self.requests, tokens: 0 }],
            ..Spending::default()
        };
        Box::pin(async move { Ok(vec![spending; scopes.len()]) })
    }
}

#[tokio::test]
async fn a_redis_that_comes_back_empty_is_filled_from_the_ledger_again() {
    let redis = RedisServer::private();
    let ledger = Arc::new(Ledger { spent: AtomicI64::new(60), requests: 2, ..Ledger::default() });
    let limiter = Limiter::shared(SharedOptions {
        source: Some(ledger.clone()),
        unreachable: Unreachable::Deny,
        ..options(redis.port(), "empty", "a")
    });
    let limiter = limiter.await.unwrap();
    let requests = vec![RateLimit { max: 6, per: RatePeriod::Hour }];
    let levels = [level("key:k", Limits { requests, ..hard(100) })];
    let is_there = async || take(&limiter, &levels, cost(1)).await.is_ok();
    for round in 1..=2 {
        wait_for("Redis is there", is_there).await;
        let hold = take(&limiter, &levels, cost(10)).await.unwrap();
        // Two that the ledger knows, one that is dropped; one that is held.
        assert_eq!(hold.room().requests.unwrap().remaining, 3, "round {round}");
        hold.settle(cost(10));
        limiter.flush().await;
        assert_eq!(spent(&limiter, &levels[0]).await, (70, 0), "round {round}");
        assert_eq!(ledger.asked.load(Ordering::Relaxed), round);
        redis.kill();
        redis.start();
        wait_for("the loss is noticed", async || take(&limiter, &levels, cost(0)).await.is_err()).await;
    }
}

/// A ledger that has what was recorded when it is told so.
#[derive(Default)]
struct LateLedger {
    ledger: Ledger,
    recorded: AtomicU64,
    written: AtomicU64,
}

impl SpendingSource for LateLedger {
    fn spending(&self, scopes: Vec<Scope>) -> SpendingFuture {
        self.ledger.spending(scopes)
    }
}

impl LedgerProgress for LateLedger {
    fn recorded(&self) -> u64 {
        self.recorded.load(Ordering::Relaxed)
    }

    fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }
}

/// Two replicas with this ledger that are there, and a Redis of their own.
async fn two(test: &str, unreachable: Unreachable, ledger: &Arc<LateLedger>) -> (RedisServer, [Limiter; 2]) {
    let redis = RedisServer::private();
    let connect = async |replica: &str| {
        let options = SharedOptions {
            unreachable,
            patience: if unreachable == Unreachable::Deny { PATIENT } else { Duration::from_millis(250) },
            source: Some(ledger.clone()),
            ledger: Some(ledger.clone()),
            ..options(redis.port(), test, replica)
        };
        Limiter::shared(options).await.unwrap()
    };
    let both = [connect("a").await, connect("b").await];
    let levels = [level("key:other", hard(1_000_000))];
    for limiter in &both {
        wait_for("it is there", async || limiter.usage(&levels).await.is_ok()).await;
    }
    // Both know of each other with the next sign of life.
    tokio::time::sleep(Duration::from_secs(2)).await;
    (redis, both)
}

/// What somebody does to Redis.
type Act<'a> = &'a dyn Fn();

fn is_budget(refused: &Result<Hold, Refused>) -> bool {
    matches!(refused, Err(Refused::Budget { is_share: false, .. }))
}

#[tokio::test]
async fn the_room_of_calls_in_flight_outlasts_all_that_redis_knew() {
    let ledger = Arc::new(LateLedger::default());
    let (redis, [a, b]) = two("in-flight", Unreachable::Deny, &ledger).await;
    let levels = [level("key:k", Limits { in_flight: Some(2), ..hard(100) })];
    let (first, second) = (take(&a, &levels, cost(40)).await, take(&b, &levels, cost(30)).await);
    let (first, second) = (first.unwrap(), second.unwrap());
    let lose: [Act<'_>; 3] = [&|| redis.flush(), &|| redis.flush(), &|| {
        redis.kill();
        redis.start();
    }];
    for (round, lose) in lose.iter().enumerate() {
        lose();
        for limiter in [&a, &b] {
            let known = async || limiter.usage(&levels).await.is_ok();
            wait_for("Redis is there again", known).await;
            let usage = limiter.usage(&levels).await.unwrap().remove(0).usage;
            assert_eq!((usage.budgets[0].held.0, usage.in_flight), (70, 2), "round {round}");
            assert!(is_budget(&take(limiter, &levels, cost(31)).await));
            let refused = take(limiter, &levels, cost(30)).await;
            assert!(matches!(refused, Err(Refused::Limit { measure: Measure::InFlight, .. })));
        }
    }
    // Nobody is told while it is away what the ledger hears.
    ledger.ledger.spent.store(25, Ordering::Relaxed);
    first.settle(cost(25));
    drop(second);
    a.flush().await;
    b.flush().await;
    assert_eq!(spent(&b, &levels[0]).await, (25, 0));
    drop(take(&b, &levels, cost(75)).await.unwrap());
    assert!(is_budget(&take(&a, &levels, cost(76)).await));
}

#[tokio::test]
async fn the_first_question_to_an_emptied_redis_waits_until_every_replica_has_said_what_it_holds() {
    let ledger = Arc::new(LateLedger::default());
    let (redis, [a, b]) = two("at-once", Unreachable::Local, &ledger).await;
    let levels = [level("key:k", hard(100))];
    for round in 0..3 {
        let hold = take(&a, &levels, cost(60)).await.unwrap();
        redis.flush();
        let began = Instant::now();
        assert!(is_budget(&take(&b, &levels, cost(50)).await), "round {round}");
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        drop(take(&b, &levels, cost(40)).await.unwrap());
        drop(hold);
        a.flush().await;
        b.flush().await;
    }
}

#[tokio::test]
async fn what_was_spent_and_the_ledger_does_not_have_yet_counts_once_in_an_emptied_redis() {
    let ledger = Arc::new(LateLedger::default());
    let (redis, [a, b]) = two("late", Unreachable::Deny, &ledger).await;
    let levels = [level("key:k", hard(100))];
    for _ in 0..2 {
        let hold = take(&a, &levels, cost(30)).await.unwrap();
        ledger.recorded.fetch_add(1, Ordering::Relaxed);
        hold.settle(cost(30));
    }
    a.flush().await;
    redis.flush();
    assert_eq!(spent(&b, &levels[0]).await, (60, 0), "before the ledger has it");
    // It has the first.
    ledger.ledger.spent.store(30, Ordering::Relaxed);
    ledger.written.store(1, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(spent(&b, &levels[0]).await, (60, 0), "what is there already is not added again");
    ledger.ledger.spent.store(60, Ordering::Relaxed);
    ledger.written.store(2, Ordering::Relaxed);
    // Whether it is just written or was long ago.
    for wait in [0, 4] {
        tokio::time::sleep(Duration::from_secs(wait)).await;
        redis.flush();
        assert_eq!(spent(&b, &levels[0]).await, (60, 0), "after the ledger has it");
    }
}

#[tokio::test]
async fn calls_that_were_let_in_without_redis_hold_their_room_when_it_is_back() {
    let ledger = Arc::new(LateLedger::default());
    let (redis, [a, b]) = two("back", Unreachable::Local, &ledger).await;
    let levels = [level("key:k", hard(100))];
    drop(take(&a, &levels, cost(1)).await.unwrap());
    drop(take(&b, &levels, cost(1)).await.unwrap());
    let ways: [(Act<'_>, Act<'_>); 2] =
        [(&|| redis.pause(), &|| redis.resume()), (&|| redis.kill(), &|| redis.start())];
    for (begin, end) in ways {
        begin();
        wait_for("it is away", async || a.usage(&levels).await.is_err()).await;
        let hold = take(&a, &levels, cost(40)).await.unwrap();
        end();
        for limiter in [&a, &b] {
            wait_for("it is back", async || limiter.usage(&levels).await.is_ok()).await;
        }
        wait_for("it knows of the call", async || is_spent(&b, &levels[0], (0, 40)).await).await;
        assert!(is_budget(&take(&b, &levels, cost(61)).await));
        drop(take(&b, &levels, cost(60)).await.unwrap());
        hold.settle(cost(0));
        for limiter in [&a, &b] {
            wait_for("nothing is held", async || is_spent(limiter, &levels[0], (0, 0)).await).await;
        }
    }
}

/// A Redis that answers with errors is as good as none, and hears of everything once it takes it.
async fn refusing(test: &str, begin: &[&str], end: &[&str]) {
    let ledger = Arc::new(LateLedger::default());
    let (redis, [a, b]) = two(test, Unreachable::Local, &ledger).await;
    let levels = [level("key:k", hard(1_000))];
    let tell = |commands: &[&str]| {
        for command in commands {
            assert_eq!(redis.command(command), "+OK", "{command}");
        }
    };
    let settle = |hold: Hold, actual: i64| {
        ledger.ledger.spent.fetch_add(actual, Ordering::Relaxed);
        hold.settle(cost(actual));
    };
    for limiter in [&a, &b] {
        settle(take(limiter, &levels, cost(100)).await.unwrap(), 100);
    }
    let before = take(&b, &levels, cost(100)).await.unwrap();
    for limiter in [&a, &b] {
        wait_for("all is settled", async || is_spent(limiter, &levels[0], (200, 100)).await).await;
    }
    tell(begin);
    // Ended while it takes nothing: both what began before and what is let in meanwhile.
    settle(before, 70);
    let mut during = 0;
    for _ in 0..20 {
        for limiter in [&a, &b] {
            let began = Instant::now();
            if let Ok(hold) = take(limiter, &levels, cost(50)).await {
                during += 50;
                settle(hold, 50);
            }
            assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
        }
    }
    assert!((100..=700).contains(&during), "{during}");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(a.usage(&levels).await.is_err(), "it counts as away");
    tell(end);
    let expected = (270 + during, 0);
    for limiter in [&a, &b] {
        wait_for("it is back", async || limiter.usage(&levels).await.is_ok()).await;
    }
    wait_for("it knows what was spent", async || is_spent(&b, &levels[0], expected).await).await;
    let left = 1_000 - expected.0;
    assert!(is_budget(&take(&a, &levels, cost(left + 1)).await));
    drop(take(&a, &levels, cost(left)).await.unwrap());
}

#[tokio::test]
async fn a_redis_without_memory_hears_what_was_spent_once_it_has_some() {
    refusing("memory", &["CONFIG SET maxmemory 1"], &["CONFIG SET maxmemory 0"]).await;
}

#[tokio::test]
async fn a_redis_that_follows_another_hears_what_was_spent_once_it_leads_again() {
    refusing("follower", &["REPLICAOF 127.0.0.1 1"], &["REPLICAOF NO ONE"]).await;
}

#[tokio::test]
async fn a_redis_that_lets_nobody_write_hears_what_was_spent_once_it_does() {
    refusing("forbidden", &["ACL SETUSER default -@write"], &["ACL SETUSER default +@all"]).await;
}

#[tokio::test]
async fn a_redis_that_forbids_a_part_hears_what_was_spent_once_it_allows_it() {
    refusing("part", &["ACL SETUSER default -hincrby"], &["ACL SETUSER default +hincrby"]).await;
}

/// Somebody else's key where an account should be.
#[tokio::test]
async fn what_can_never_be_told_keeps_redis_away_for_a_while_only() {
    let ledger = Arc::new(LateLedger::default());
    let (redis, [a, _b]) = two("spoilt", Unreachable::Local, &ledger).await;
    let (levels, others) = ([level("key:k", hard(1_000))], [level("key:l", hard(1_000))]);
    let hold = take(&a, &levels, cost(100)).await.unwrap();
    let key = format!("{{spoilt-{}}}:c:key:k", std::process::id());
    assert_eq!(redis.command(&format!("SET {key} x")), "+OK");
    hold.settle(cost(100));
    a.flush().await;
    wait_for("others go on", async || a.usage(&others).await.is_ok()).await;
    drop(take(&a, &others, cost(1_000)).await.unwrap());
}

async fn outage(test: &str, begin: impl Fn(&RedisServer), end: impl Fn(&RedisServer)) {
    let redis = RedisServer::private();
    let ledger = Arc::new(Ledger::default());
    let settle = |hold: Hold, actual: i64| {
        ledger.spent.fetch_add(actual, Ordering::Relaxed);
        hold.settle(cost(actual));
    };
    let connect = async |replica: &str, unreachable| {
        let options = options(redis.port(), test, replica);
        Limiter::shared(SharedOptions { unreachable, source: Some(ledger.clone()), ..options }).await.unwrap()
    };
    let local = connect("local", Unreachable::Local).await;
    let deny = connect("deny", Unreachable::Deny).await;
    let levels = [level("key:k", hard(1_000))];
    wait_for("both are connected", async || {
        take(&local, &levels, cost(0)).await.is_ok() && take(&deny, &levels, cost(0)).await.is_ok()
    })
    .await;
    // Both replicas know of each other with the next sign of life.
    tokio::time::sleep(Duration::from_secs(3)).await;
    wait_for("it is counted", async || match take(&local, &levels, cost(200)).await {
        Ok(hold) => {
            settle(hold, 200);
            true
        }
        Err(_) => false,
    })
    .await;
    let in_flight = take(&local, &levels, cost(100)).await.unwrap();
    let (used, held) = spent(&local, &levels[0]).await;
    let known = used + held;
    begin(&redis);

    let mut holds = Vec::new();
    let mut refused = 0;
    for call in 0..200 {
        let started = Instant::now();
        let answer = take(&local, &levels, cost(10)).await;
        assert!(started.elapsed() < AT_ONCE, "call {call} took {:?}", started.elapsed());
        match answer {
            Ok(hold) => holds.push(hold),
            Err(Refused::Budget { is_share: true, .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
        let started = Instant::now();
        let answer = take(&deny, &levels, cost(10)).await;
        assert!(started.elapsed() < AT_ONCE, "call {call} took {:?}", started.elapsed());
        assert!(matches!(answer, Err(Refused::Unavailable { .. })), "{answer:?}");
    }
    // Half of what was left, because there are two replicas.
    let share = usize::try_from((1_000 - known) / 2 / 10).unwrap();
    assert_eq!((holds.len(), refused), (share, 200 - share));
    settle(in_flight, 50);
    let during = 7 * i64::try_from(holds.len()).unwrap();
    for hold in holds {
        settle(hold, 7);
    }
    // What was spent in the last moment before would be counted twice by a Redis that was emptied.
    tokio::time::sleep(Duration::from_millis(500)).await;
    end(&redis);

    wait_for("Redis is back", async || {
        deny.usage(&levels).await.is_ok() && local.usage(&levels).await.is_ok()
    })
    .await;
    let expected = known - 100 + 50 + during;
    wait_for("it knows what was spent", async || {
        matches!(deny.usage(&levels).await, Ok(usage) if usage[0].usage.budgets[0].used.0 == expected)
    })
    .await;
    wait_for(
        "nothing is left over",
        async || matches!(deny.usage(&levels).await, Ok(usage) if usage[0].usage.budgets[0].held.0 == 0),
    )
    .await;
    assert_eq!(spent(&deny, &levels[0]).await, (expected, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_holds_up_no_call_and_knows_everything_afterwards() {
    outage("hang", RedisServer::pause, RedisServer::resume).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_killed_holds_up_no_call() {
    outage("kill", RedisServer::kill, RedisServer::start).await;
}

#[tokio::test]
async fn a_gateway_starts_without_redis() {
    let redis = RedisServer::private();
    redis.kill();
    let local = Limiter::shared(options(redis.port(), "absent", "a")).await.unwrap();
    let levels = [level("key:k", in_flight(1))];
    let hold = take(&local, &levels, cost(1)).await.unwrap();
    assert!(take(&local, &levels, cost(1)).await.is_err());
    drop(hold);
    redis.start();
    wait_for("it is there", async || local.usage(&levels).await.is_ok()).await;
    drop(take(&local, &levels, cost(1)).await.unwrap());
}

#[test]
fn a_replica_that_vanishes_gives_back_what_its_calls_held() {
    let vanishing =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let levels = [level("key:k", Limits { in_flight: Some(1), ..hard(100) })];
    let hold = vanishing.block_on(async {
        let limiter = Limiter::shared(patient("vanish", "a")).await.unwrap();
        take(&limiter, &levels, cost(100)).await.unwrap()
    });
    vanishing.shutdown_background();

    let staying = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    staying.block_on(async {
        let options = SharedOptions { dead_after: Duration::from_secs(3), ..patient("vanish", "b") };
        let limiter = Limiter::shared(options).await.unwrap();
        assert!(take(&limiter, &levels, cost(1)).await.is_err());
        wait_for("the room is free", async || take(&limiter, &levels, cost(100)).await.is_ok()).await;
    });
    drop(hold);
}

#[test]
fn a_replica_that_starts_again_settles_what_the_ledger_knows_and_releases_the_rest() {
    let levels = [level("key:k", hard(100))];
    let (known, unknown) = (CallId::now(), CallId::now());
    let before = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let holds = before.block_on(async {
        let limiter = Limiter::shared(patient("recover", "a")).await.unwrap();
        let reserve = async |call| limiter.reserve(call, &levels, cost(50)).await.unwrap();
        (reserve(known).await, reserve(unknown).await)
    });
    before.shutdown_background();

    let after = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    after.block_on(async {
        let limiter = Limiter::shared(patient("recover", "a")).await.unwrap();
        assert!(take(&limiter, &levels, cost(1)).await.is_err());
        limiter
            .recover(async |calls| {
                assert!(calls.len() == 2 && calls.contains(&unknown));
                HashMap::from([(known, cost(30))])
            })
            .await;
        assert_eq!(spent(&limiter, &levels[0]).await, (30, 0));
        // A call of this run is none of the earlier one.
        let hold = take(&limiter, &levels, cost(70)).await.unwrap();
        limiter.recover(async |calls| panic!("{calls:?}")).await;
        drop(hold);
    });
    drop(holds);
}

#[tokio::test]
async fn levels_without_limits_cost_no_round_trip() {
    let limiter = Limiter::shared(patient("unlimited", "a")).await.unwrap();
    let levels = [level("org:o", Limits::default()), level("key:k", Limits::default())];
    assert!(limiter.try_reserve(CallId::now(), &levels, cost(1)).is_some_and(|answer| answer.is_ok()));
    let in_memory = Limiter::local(LocalOptions::default());
    assert!(in_memory.try_reserve(CallId::now(), &levels, cost(1)).is_some_and(|answer| answer.is_ok()));
}
