//! The limiter in memory, in virtual time where time matters.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidegate_catalog::NanoDollars;
use tidegate_policy::{
    Amounts, Budget, BudgetKind, BudgetPeriod, Limits, Measure, RateLimit, RatePeriod, Spending,
};

use super::counter_map::CounterMap;
use super::local::Local;
use super::*;
use crate::{CallId, OrganizationId, Scope, StoreError};

fn level(scope: &str, limits: Limits) -> Level {
    Level::new(scope.parse().unwrap(), Arc::new(limits))
}

fn budget(usd: i64, per: BudgetPeriod) -> Limits {
    Limits {
        budgets: vec![Budget { usd: NanoDollars(usd), per, kind: BudgetKind::Hard }],
        ..Limits::default()
    }
}

fn cost(cost: i64) -> Amounts {
    Amounts { tokens: 0, cost: NanoDollars(cost) }
}

fn local(options: LocalOptions) -> Arc<Local> {
    Arc::new(Local::new(options))
}

fn take(local: &Arc<Local>, levels: &[Level], amounts: Amounts) -> Result<Hold, Refused> {
    local.try_reserve(levels, amounts).unwrap()
}

#[test]
fn five_hundred_at_once_get_the_fifty_places_there_are_and_settling_makes_no_more_of_them() {
    let limiter = Limiter::local(LocalOptions::default());
    let levels = [
        level("org:a", Limits::default()),
        level("team:b", budget(500, BudgetPeriod::Month)),
        level("key:c", budget(100_000, BudgetPeriod::Day)),
    ];
    let refused = AtomicUsize::new(0);
    let mut holds: Vec<Hold> = std::thread::scope(|scope| {
        let run = || {
            let reserve = || limiter.try_reserve(CallId::now(), &levels, cost(10)).unwrap();
            let holds: Vec<_> = (0..50).filter_map(|_| reserve().ok()).collect();
            refused.fetch_add(50 - holds.len(), Ordering::Relaxed);
            holds
        };
        let threads: Vec<_> = (0..10).map(|_| scope.spawn(run)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!((holds.len(), refused.into_inner()), (50, 450));

    // Each turns out to cost a little less; room appears only as far as that.
    let mut random = fastrand::Rng::with_seed(7);
    random.shuffle(&mut holds);
    let mut spent = 0;
    for hold in holds {
        let actual = random.i64(0..=10);
        spent += actual;
        hold.settle(cost(actual));
    }
    assert!(limiter.try_reserve(CallId::now(), &levels, cost(500 - spent + 1)).unwrap().is_err());
    assert!(limiter.try_reserve(CallId::now(), &levels, cost(500 - spent)).unwrap().is_ok());
}

#[test]
fn a_refusal_on_the_last_level_takes_nothing_on_the_others() {
    let local = local(LocalOptions::default());
    let one = Limits { in_flight: Some(1), ..Limits::default() };
    let minute =
        |max| Limits { requests: vec![RateLimit { max, per: RatePeriod::Minute }], ..Limits::default() };
    let levels =
        [level("org:a", minute(2)), level("team:t", budget(1_000, BudgetPeriod::Day)), level("key:b", one)];
    let hold = take(&local, &levels, cost(10)).unwrap();
    for _ in 0..5 {
        let refused = take(&local, &levels, cost(10)).unwrap_err();
        assert!(
            matches!(
                &refused,
                Refused::Limit { scope: Scope::Key(_), measure: Measure::InFlight, limit: 1, .. }
            ),
            "{refused:?}"
        );
    }
    hold.settle(cost(7));
    let hold = take(&local, &levels, cost(10)).unwrap();
    assert_eq!(hold.room().requests.unwrap().remaining, 0);
    assert_eq!(hold.room().budget.unwrap().remaining, NanoDollars(1_000 - 7 - 10));
}

#[test]
fn a_dropped_hold_gives_all_of_its_room_back() {
    let local = local(LocalOptions::default());
    let limits = Limits {
        requests: vec![RateLimit { max: 1, per: RatePeriod::Day }],
        tokens: vec![RateLimit { max: 10, per: RatePeriod::Day }],
        in_flight: Some(1),
        ..budget(10, BudgetPeriod::Lifetime)
    };
    let levels = [level("key:a", limits)];
    for _ in 0..100 {
        drop(take(&local, &levels, Amounts { tokens: 10, cost: NanoDollars(10) }).unwrap());
    }
}

#[test]
fn the_same_level_named_twice_counts_once() {
    let local = local(LocalOptions::default());
    let one = level("tag:a=b", Limits { in_flight: Some(1), ..Limits::default() });
    drop(take(&local, &[one.clone(), one.clone()], cost(0)).unwrap());
    let _hold = take(&local, &[one.clone(), one.clone()], cost(0)).unwrap();
    assert!(take(&local, &[one], cost(0)).is_err());
}

#[test]
fn limits_that_change_are_in_force_at_once_and_know_what_was_before() {
    let local = local(LocalOptions::default());
    for _ in 0..10 {
        take(&local, &[level("key:a", Limits::default())], cost(5)).unwrap().settle(cost(5));
    }
    for per in BudgetPeriod::ALL {
        let refused = take(&local, &[level("key:a", budget(54, per))], cost(5)).unwrap_err();
        assert!(
            matches!(refused, Refused::Budget { used: NanoDollars(50), held: NanoDollars::ZERO, .. }),
            "{refused:?}"
        );
        assert!(take(&local, &[level("key:a", budget(55, per))], cost(5)).is_ok());
    }
}

#[test]
fn a_new_period_begins_at_nothing_and_a_clock_set_back_gives_nothing_back() {
    let local = local(LocalOptions::default());
    let levels = [level("key:a", budget(10, BudgetPeriod::Day))];
    let midnight = 1_795_305_600;
    local.clock().set(Duration::ZERO, midnight - 10);
    let late = take(&local, &levels, cost(10)).unwrap();
    local.clock().set(Duration::from_secs(10), midnight);
    take(&local, &levels, cost(10)).unwrap().settle(cost(9));
    // What began yesterday is yesterday's.
    late.settle(cost(10));
    assert!(take(&local, &levels, cost(1)).is_ok());
    for wall in [midnight - 1, midnight - 86_400, midnight + 5, midnight + 86_399] {
        local.clock().set(Duration::from_secs(20), wall);
        assert!(take(&local, &levels, cost(2)).is_err(), "{wall}");
    }
    local.clock().set(Duration::from_secs(86_410), midnight + 86_400);
    assert!(take(&local, &levels, cost(10)).is_ok());
}

#[test]
fn a_soft_budget_refuses_nothing_and_is_reported_once_a_period() {
    let local = local(LocalOptions::default());
    let mut limits = budget(10, BudgetPeriod::Day);
    limits.budgets[0].kind = BudgetKind::Soft;
    let levels = [level("team:a", limits)];
    let mut reports = 0;
    for day in 0..3 {
        for call in 0..6 {
            local.clock().set(Duration::from_secs(day * 86_400 + call), i64::try_from(day).unwrap() * 86_400);
            let hold = take(&local, &levels, cost(4)).unwrap();
            reports += hold.crossed().len();
            // After three calls 12 of 10 are spent, which the fourth one reports.
            assert_eq!(hold.crossed().len(), usize::from(call == 3), "day {day}, call {call}");
            hold.settle(cost(4));
        }
    }
    assert_eq!(reports, 3);
}

/// A ledger that counts how often it is asked.
struct Ledger {
    spending: Option<Spending>,
    asked: AtomicUsize,
}

impl SpendingSource for Ledger {
    fn spending(&self, scopes: Vec<Scope>) -> SpendingFuture {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = self.spending.clone().map(|spending| vec![spending; scopes.len()]);
        Box::pin(async move { answer.ok_or(StoreError::Missing { directory: "ledger".into() }) })
    }
}

#[test]
fn a_level_that_two_limiters_know_counts_in_each_for_itself() {
    let [first, second] = [(); 2].map(|()| local(LocalOptions::default()));
    let kept = level("key:a", budget(10, BudgetPeriod::Day));
    let fresh = level("key:a", budget(10, BudgetPeriod::Day));
    for local in [&first, &second, &first, &second] {
        take(local, std::slice::from_ref(&kept), cost(4)).unwrap().settle(cost(4));
    }
    // Both have spent eight, whoever asks.
    for (local, level) in [(&first, &kept), (&first, &fresh), (&second, &kept), (&second, &fresh)] {
        assert!(take(local, std::slice::from_ref(level), cost(3)).is_err());
        assert!(take(local, std::slice::from_ref(level), cost(2)).is_ok());
    }
}

#[tokio::test]
async fn what_an_end_user_has_spent_is_asked_for_once_and_counts() {
    let now = jiff::Timestamp::now().as_second();
    let spending =
        Spending { as_of: now, month: NanoDollars(8), lifetime: NanoDollars(20), ..Spending::default() };
    let ledger = Arc::new(Ledger { spending: Some(spending), asked: AtomicUsize::new(0) });
    let local = local(LocalOptions { source: Some(ledger.clone()), ..LocalOptions::default() });
    let levels = [level("org:a", Limits::default()), level("user:a/b", budget(10, BudgetPeriod::Month))];
    assert!(local.try_reserve(&levels, cost(1)).is_none());
    assert!(local.reserve(&levels, cost(3)).await.is_err());
    let _hold = local.reserve(&levels, cost(2)).await.unwrap();
    assert_eq!(ledger.asked.load(Ordering::Relaxed), 1);
    let usage = local.usage(&levels).await;
    assert_eq!(
        (usage[1].usage.budgets[0].used, usage[1].usage.budgets[0].held),
        (NanoDollars(8), NanoDollars(2))
    );
    // Unlimited end users are nobody's business.
    assert!(local.try_reserve(&[level("user:a/c", Limits::default())], cost(1)).is_some());
}

#[tokio::test]
async fn a_ledger_that_cannot_be_read_stops_no_call() {
    let ledger = Arc::new(Ledger { spending: None, asked: AtomicUsize::new(0) });
    let local = local(LocalOptions { source: Some(ledger.clone()), ..LocalOptions::default() });
    let levels = [level("tag:a=b", budget(10, BudgetPeriod::Month))];
    local.clock().set(Duration::ZERO, 1_000);
    for _ in 0..5 {
        drop(local.reserve(&levels, cost(10)).await.unwrap());
    }
    assert_eq!(ledger.asked.load(Ordering::Relaxed), 1);
    local.clock().set(Duration::from_secs(60), 1_060);
    drop(local.reserve(&levels, cost(10)).await.unwrap());
    while ledger.asked.load(Ordering::Relaxed) < 2 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn callers_cannot_fill_the_memory_with_names() {
    let map = CounterMap::new();
    let clock = super::clock::Clock::new();
    let busy = map.find_or_insert(&Scope::tag("user", "busy"), None, &clock.now(), None);
    let nothing = Amounts::default();
    busy.lock().counters.take(
        &Limits::default(),
        nothing,
        &clock.now(),
        &mut tidegate_policy::Room::default(),
        |_| {},
    );
    let organization = Scope::Organization(OrganizationId::from("org_a"));
    map.find_or_insert(&organization, None, &clock.now(), None);
    for number in 0..200_000 {
        map.find_or_insert(&Scope::tag("user", &format!("{number:08}")), None, &clock.now(), None);
    }
    assert!(map.len() <= 70_000, "{}", map.len());
    assert!(map.find(&organization).is_some());
    assert!(map.find(&Scope::tag("user", "busy")).is_some());
    assert!(map.find(&Scope::tag("user", "00199999")).is_some());
}
