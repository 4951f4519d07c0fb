//! What the limiter in memory costs a call: reserving and settling on three levels with a few limits each, on one thread
//! and on two that share the organisation and the team.
//!
//! `cargo run --release -p tidegate-store --example limiter_cost`

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "an example may fail loudly, and it prints")]

use std::sync::Arc;
use std::time::Instant;

use tidegate_catalog::NanoDollars;
use tidegate_policy::{Amounts, Budget, BudgetKind, BudgetPeriod, Limits, RateLimit, RatePeriod};
use tidegate_store::{CallId, Level, Limiter, LocalOptions};

const CALLS: u32 = 1_000_000;

fn main() {
    let limiter = Limiter::local(LocalOptions::default());
    for threads in [1, 2] {
        for limited in [false, true] {
            let started = Instant::now();
            std::thread::scope(|scope| {
                for thread in 0..threads {
                    let limiter = limiter.clone();
                    scope.spawn(move || run(&limiter, &levels(thread, limited)));
                }
            });
            let each = started.elapsed() / CALLS;
            println!("{threads} threads, limited: {limited}: {each:?} for a call on each");
        }
    }
}

fn run(limiter: &Limiter, levels: &[Level]) {
    let call = CallId::now();
    for _ in 0..CALLS {
        let estimate = Amounts { tokens: 500, cost: NanoDollars(2_000) };
        let hold = limiter.try_reserve(call, levels, estimate).unwrap().unwrap();
        hold.settle(Amounts { tokens: 300, cost: NanoDollars(1_000) });
    }
}

fn levels(thread: u32, limited: bool) -> Vec<Level> {
    let limits = Arc::new(if limited {
        Limits {
            requests: vec![RateLimit { max: u64::MAX, per: RatePeriod::Minute }],
            tokens: vec![RateLimit { max: u64::MAX, per: RatePeriod::Minute }],
            in_flight: Some(1_000),
            budgets: vec![Budget { usd: NanoDollars::MAX, per: BudgetPeriod::Month, kind: BudgetKind::Hard }],
        }
    } else {
        Limits::default()
    });
    let id = |kind: &str, number: u32| format!("{kind}:{kind}_0190f4f0c0ffee00c0ffee00c0ffee{number:02}");
    [id("org", 0), id("team", 0), id("key", thread)]
        .into_iter()
        .map(|scope| Level::new(scope.parse().unwrap(), limits.clone()))
        .collect()
}
