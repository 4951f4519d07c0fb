//! The script against the counters in memory, in virtual time: both must say the same at every step.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fred::interfaces::{ClientLike as _, LuaInterface as _};
use fred::prelude::{Builder, Client, Config};
use tidegate_catalog::NanoDollars;
use tidegate_policy::{
    Amounts, Budget, BudgetKind, BudgetPeriod, Counters, Limits, RateLimit, RatePeriod, Room, Shortage,
    Spending, Stamp, TakenWindows,
};

use super::super::answers::Refused;
use super::super::limiter::Level;
use super::answer::{self, Answer};
use super::link::Settle;
use super::question;
use crate::CallId;

/// The script with a clock that the test sets.
struct Script {
    client: Client,
    text: String,
    anchor: String,
}

impl Script {
    async fn new(name: &str) -> Self {
        let url = format!("redis://127.0.0.1:{}", tidegate_testkit::servers::redis().port());
        let client = Builder::from_config(Config::from_url(&url).unwrap()).build().unwrap();
        client.init().await.unwrap();
        let text = include_str!("limiter.lua");
        let clock = "redis.call('TIME')";
        assert!(text.contains(clock));
        let anchor = format!("{{{name}-{}}}", std::process::id());
        Self { client, text: text.replace(clock, "{ ARGV[2], ARGV[3] }"), anchor }
    }

    async fn run(&self, operation: &str, now: Duration) -> Vec<String> {
        let operations = question::join("a", "", std::iter::once(operation));
        let clock = (now.as_secs().to_string(), now.subsec_micros().to_string());
        let arguments = vec![operations, clock.0, clock.1];
        let answer: String = self.client.eval(&*self.text, &*self.anchor, arguments).await.unwrap();
        serde_json::from_str::<Vec<Vec<String>>>(&answer).unwrap().remove(0)
    }
}

fn stamp(now: Duration) -> Stamp {
    Stamp::new(now, i64::try_from(now.as_secs()).unwrap())
}

fn level(scope: &str, limits: Limits) -> Level {
    Level::new(scope.parse().unwrap(), Arc::new(limits))
}

fn some_levels(random: &mut fastrand::Rng, number: u64) -> Vec<Level> {
    // Seconds do not divide into sixty whole microseconds, so there the two differ by one.
    let periods = [RatePeriod::Minute, RatePeriod::Hour, RatePeriod::Day];
    let mut limits = |most: u64| {
        let mut rate = |max| RateLimit { max, per: periods[random.usize(..3)] };
        let requests = vec![rate(most / 4), rate(most)];
        let tokens = vec![rate(most * 3)];
        let kinds = [BudgetKind::Hard, BudgetKind::Soft];
        let mut budget = || Budget {
            usd: NanoDollars(random.i64(1..400)),
            per: BudgetPeriod::ALL[random.usize(..5)],
            kind: kinds[random.usize(..2)],
        };
        Limits { requests, tokens, in_flight: Some(6), budgets: vec![budget(), budget()] }
    };
    vec![
        level(&format!("org:{number}"), limits(60)),
        level(&format!("team:{number}"), limits(40)),
        level(&format!("key:{number}"), limits(24)),
    ]
}

/// What both have to agree on.
#[derive(Debug, PartialEq)]
enum Said {
    Room(Room, usize),
    Refused(Refused),
}

fn reserve_in_memory(
    counters: &mut HashMap<String, Counters>,
    levels: &[&Level],
    amounts: Amounts,
    now: Duration,
) -> Said {
    let mut refused: Option<(&Level, Shortage)> = None;
    for level in levels {
        let counters = counters.entry(level.scope.to_string()).or_default();
        if let Err(shortage) = counters.check(&level.limits, amounts, &stamp(now))
            && refused.is_none()
        {
            refused = Some((level, shortage));
        }
    }
    if let Some((level, shortage)) = refused {
        return Said::Refused(Refused::new(&level.scope, shortage));
    }
    let (mut room, mut crossed) = (Room::default(), 0);
    for level in levels {
        let counters = counters.get_mut(&level.scope.to_string()).unwrap();
        counters.take(&level.limits, amounts, &stamp(now), &mut room, |_| crossed += 1);
    }
    Said::Room(room, crossed)
}

#[tokio::test]
async fn the_script_counts_as_the_counters_in_memory_do() {
    let script = Script::new("model").await;
    let (mut taken, mut refused) = (0, 0);
    for seed in 0..25 {
        let mut random = fastrand::Rng::with_seed(seed);
        let levels = some_levels(&mut random, seed);
        let mut counters = HashMap::new();
        let mut in_flight: Vec<(CallId, Vec<&Level>, Amounts, Duration)> = Vec::new();
        // Before the end of a month, and of a leap day.
        let start = if seed % 2 == 0 { 1_795_996_000 } else { 1_709_240_000 };
        let mut now = Duration::from_secs(start);
        for step in 0..150 {
            now += match random.u32(..100) {
                0..50 => Duration::from_millis(random.u64(..900)),
                50..90 => Duration::from_secs(random.u64(..60)),
                90..99 => Duration::from_secs(random.u64(..7_200)),
                _ => Duration::from_secs(random.u64(..40 * 86_400)),
            };
            if random.u32(..100) < 60 || in_flight.is_empty() {
                let some: Vec<&Level> = levels.iter().filter(|_| random.u32(..4) > 0).collect();
                let amounts = Amounts { tokens: random.u64(..30), cost: NanoDollars(random.i64(0..40)) };
                let call = CallId::now();
                let as_of = i64::try_from(now.as_secs()).unwrap();
                let spending = Spending { as_of, ..Spending::default() };
                let fill = |place| question::Filling { place, spending: spending.clone(), asked_at: 0 };
                let seeds: Vec<_> = (0..some.len()).map(fill).collect();
                let words = script.run(&question::reserve(call, &some, amounts, &seeds), now).await;
                let said = match answer::read(&words, &some, amounts.cost) {
                    Some(Answer::Taken(levels)) => {
                        let crossed = levels.iter().map(|level| level.crossed.len()).sum();
                        Said::Room(answer::room(&levels), crossed)
                    }
                    Some(Answer::Refused(refused)) => Said::Refused(refused),
                    other => panic!("{other:?} from {words:?}"),
                };
                let expected = reserve_in_memory(&mut counters, &some, amounts, now);
                assert_eq!(said, expected, "seed {seed}, step {step}");
                match said {
                    Said::Room(..) => {
                        taken += 1;
                        in_flight.push((call, some, amounts, now));
                    }
                    Said::Refused(_) => refused += 1,
                }
            } else {
                let (call, some, amounts, at) = in_flight.swap_remove(random.usize(..in_flight.len()));
                let part = |whole: u64| if whole == 0 { 0 } else { random.clone().u64(..=whole * 2) };
                let cost = i64::try_from(part(amounts.cost.0.unsigned_abs())).unwrap();
                let actual = Amounts { tokens: part(amounts.tokens), cost: NanoDollars(cost) };
                let actual = (random.u32(..4) > 0).then_some(actual);
                let settle = Settle { actual, ..Settle::release(call) };
                // Said twice, because nothing may change the second time.
                for _ in 0..2 {
                    assert_eq!(script.run(&question::settle(&settle), now).await, ["done"]);
                }
                for level in some {
                    let counters = counters.get_mut(&level.scope.to_string()).unwrap();
                    counters.check(&level.limits, Amounts::default(), &stamp(now)).ok();
                    let windows = TakenWindows::of(&level.limits, amounts);
                    counters.settle(&windows, amounts.cost, &stamp(at), actual);
                }
            }
        }
    }
    assert!(taken > 200 && refused > 200, "{taken} taken, {refused} refused");
}

#[tokio::test]
async fn an_operation_that_fails_does_not_take_the_others_with_it() {
    let script = Script::new("failing").await;
    let now = Duration::from_secs(1_795_996_000);
    let words = script.run(r#"["settle"]"#, now).await;
    assert_eq!(words[0], "failed", "{words:?}");
    let words = script.run(r#"["unknown"]"#, now).await;
    assert_eq!(words[0], "failed", "{words:?}");
}
