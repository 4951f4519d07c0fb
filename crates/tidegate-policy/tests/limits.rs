//! Properties of the counters, over long stretches of virtual time.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::time::Duration;

use proptest::prelude::*;
use tidegate_catalog::NanoDollars;
use tidegate_policy::{
    Amounts, Budget, BudgetKind, BudgetPeriod, Counters, Limits, RateLimit, RatePeriod, RecentCalls, Room,
    Shortage, Spending, Stamp, TakenWindows,
};

/// Something that happens some time after the thing before.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// A call comes that is estimated at so many tokens, or so much money.
    Call(u64),
    /// One of the calls in flight ends, with this many thousandths of its estimate.
    End(usize, u64),
    /// One is given up.
    Drop(usize),
}

/// Events, each with the pause before it in thousandths of a window.
fn events() -> impl Strategy<Value = Vec<(u64, Event)>> {
    let event = prop_oneof![
        4 => (0u64..60).prop_map(Event::Call),
        2 => (any::<usize>(), 0u64..=1_000).prop_map(|(call, part)| Event::End(call, part)),
        1 => any::<usize>().prop_map(Event::Drop),
    ];
    let pause = prop_oneof![8 => 0u64..40, 2 => 0u64..1_200, 1 => 900u64..1_100];
    prop::collection::vec((pause, event), 1..300)
}

fn periods() -> impl Strategy<Value = RatePeriod> {
    use RatePeriod::{Day, Hour, Minute, Second};
    prop_oneof![Just(Second), Just(Minute), Just(Hour), Just(Day)]
}

/// A call as the test remembers it.
struct Counted {
    at: Duration,
    estimate: u64,
    tokens: u64,
    in_flight: bool,
}

fn stamp(now: Duration) -> Stamp {
    Stamp::new(now, i64::try_from(now.as_secs()).unwrap())
}

fn settle(counters: &mut Counters, limits: &Limits, held: Amounts, at: Duration, real: Option<Amounts>) {
    counters.settle(&TakenWindows::of(limits, held), held.cost, &stamp(at), real);
}

fn take(counters: &mut Counters, limits: &Limits, amounts: Amounts, now: Duration) -> Result<Room, Shortage> {
    let looked = counters.usage(limits, &stamp(now)).shortage(amounts);
    let checked = counters.check(limits, amounts, &stamp(now));
    assert_eq!(looked.map(without_wait), checked.err().map(without_wait), "whoever only looks sees the same");
    checked?;
    let mut room = Room::default();
    counters.take(limits, amounts, &stamp(now), &mut room, |_| {});
    Ok(room)
}

/// When to try again is known better by who checks.
fn without_wait(shortage: Shortage) -> Shortage {
    match shortage {
        Shortage::Rate { measure, limit, per, .. } => {
            Shortage::Rate { measure, limit, per, retry_after: Duration::ZERO }
        }
        budget @ Shortage::Budget { .. } => budget,
    }
}

fn tokens(tokens: u64) -> Amounts {
    Amounts { tokens, cost: NanoDollars::ZERO }
}

fn cost(cost: i64) -> Amounts {
    Amounts { tokens: 0, cost: NanoDollars(cost) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_window_ever_has_more_than_the_limit_and_nobody_is_refused_who_would_fit_a_slice_later(
        events in events(), per in periods(), max_tokens in 1u64..200, max_requests in 1u64..12,
    ) {
        let limits = Limits {
            requests: vec![RateLimit { max: max_requests, per }],
            tokens: vec![RateLimit { max: max_tokens, per }],
            ..Limits::default()
        };
        let length = Duration::from_millis(per.milliseconds());
        let slice = length / 60 + Duration::from_nanos(100);
        let mut counters = Counters::default();
        let mut calls: Vec<Counted> = Vec::new();
        let mut now = length * 10;
        for (pause, event) in events {
            now += length * u32::try_from(pause).unwrap() / 1_000;
            let in_flight: Vec<usize> = (0..calls.len()).filter(|place| calls[*place].in_flight).collect();
            match event {
                Event::Call(estimate) => {
                    let counted = estimate.min(max_tokens);
                    let within = |length: Duration| {
                        let recent = calls.iter().filter(|call| call.at + length > now);
                        recent.fold((0, 0), |sum, call| (sum.0 + 1, sum.1 + call.tokens))
                    };
                    match take(&mut counters, &limits, tokens(estimate), now) {
                        Ok(room) => {
                            let (requests, sum) = within(length);
                            prop_assert!(requests < max_requests, "{requests} requests");
                            prop_assert!(sum + counted <= max_tokens, "{sum} tokens and {counted}");
                            prop_assert!(room.requests.unwrap().remaining < max_requests - requests);
                            calls.push(Counted { at: now, estimate, tokens: counted, in_flight: true });
                        }
                        Err(shortage) => {
                            let (requests, sum) = within(length + slice);
                            prop_assert!(
                                requests >= max_requests || sum + counted > max_tokens,
                                "{requests} requests and {sum} tokens, but {shortage:?}"
                            );
                        }
                    }
                }
                Event::End(number, part) if !in_flight.is_empty() => {
                    let call = &mut calls[in_flight[number % in_flight.len()]];
                    let real = call.tokens * part / 1_000;
                    settle(&mut counters, &limits, tokens(call.estimate), call.at, Some(tokens(real)));
                    (call.tokens, call.in_flight) = (real, false);
                }
                Event::Drop(number) if !in_flight.is_empty() => {
                    let call = calls.remove(in_flight[number % in_flight.len()]);
                    settle(&mut counters, &limits, tokens(call.estimate), call.at, None);
                }
                Event::End(..) | Event::Drop(_) => {}
            }
        }
    }

    #[test]
    fn whoever_waits_as_long_as_told_gets_in_and_a_moment_earlier_does_not(
        events in events(), per in periods(), max in 1u64..100, asked in 1u64..100,
    ) {
        let limits = Limits { tokens: vec![RateLimit { max, per }], ..Limits::default() };
        let length = Duration::from_millis(per.milliseconds());
        let mut counters = Counters::default();
        let mut now = length * 3;
        for (pause, event) in events {
            now += length * u32::try_from(pause).unwrap() / 1_000;
            if let Event::Call(estimate) = event {
                let _ = take(&mut counters, &limits, tokens(estimate), now);
            }
        }
        if let Err(Shortage::Rate { retry_after, .. }) = counters.check(&limits, tokens(asked), &stamp(now)) {
            prop_assert!(retry_after <= length + length / 30);
            let early = now + retry_after.saturating_sub(Duration::from_nanos(1));
            prop_assert!(counters.check(&limits, tokens(asked), &stamp(early)).is_err());
            prop_assert!(counters.check(&limits, tokens(asked), &stamp(now + retry_after)).is_ok());
        }
    }

    #[test]
    fn a_budget_admits_what_fits_beside_what_is_spent_and_held_and_begins_anew_each_day(
        events in events(), usd in 1i64..200,
    ) {
        let budget = Budget { usd: NanoDollars(usd), per: BudgetPeriod::Day, kind: BudgetKind::Hard };
        let limits = Limits { budgets: vec![budget], ..Limits::default() };
        let mut counters = Counters::default();
        let (mut today, mut spent, mut held) = (0, 0, Vec::<(Duration, i64)>::new());
        let mut now = Duration::from_secs(1_000_000_000);
        for (pause, event) in events {
            now += Duration::from_secs(pause * 30);
            if now.as_secs() / 86_400 != today {
                counters.check(&limits, Amounts::default(), &stamp(now)).unwrap();
                for (at, amount) in held.drain(..) {
                    // What began yesterday is yesterday's.
                    settle(&mut counters, &limits, cost(amount), at, Some(cost(amount)));
                }
                (today, spent) = (now.as_secs() / 86_400, 0);
            }
            match event {
                Event::Call(amount) => {
                    let amount = i64::try_from(amount).unwrap();
                    let total = spent + held.iter().map(|(_, amount)| amount).sum::<i64>();
                    let answer = take(&mut counters, &limits, cost(amount), now);
                    prop_assert_eq!(answer.is_ok(), total + amount <= usd, "{:?}", answer);
                    match answer {
                        Ok(room) => {
                            prop_assert_eq!(room.budget.unwrap().remaining.0, usd - total - amount);
                            held.push((now, amount));
                        }
                        Err(Shortage::Budget { used, blocked_by_holds, .. }) => {
                            prop_assert_eq!(used.0, spent);
                            prop_assert_eq!(blocked_by_holds, spent + amount <= usd);
                        }
                        Err(other) => prop_assert!(false, "{other:?}"),
                    }
                }
                Event::End(number, part) if !held.is_empty() => {
                    let (at, amount) = held.remove(number % held.len());
                    let real = amount * i64::try_from(part).unwrap() / 1_000;
                    spent += real;
                    settle(&mut counters, &limits, cost(amount), at, Some(cost(real)));
                }
                Event::Drop(number) if !held.is_empty() => {
                    let (at, amount) = held.remove(number % held.len());
                    settle(&mut counters, &limits, cost(amount), at, None);
                }
                Event::End(..) | Event::Drop(_) => {}
            }
        }
    }
}

#[test]
fn what_the_ledger_remembers_counts_in_windows_and_budgets() {
    let now = Duration::from_secs(1_795_383_149);
    let calls =
        |age, requests| RecentCalls { age: Duration::from_secs(age), requests, tokens: 10 * requests };
    let spending = Spending {
        as_of: 1_795_383_149,
        day: NanoDollars(70),
        recent: vec![calls(3_000, 5), calls(50, 2), calls(3, 1)],
        ..Spending::default()
    };
    let mut counters = Counters::default();
    counters.restore(&spending, &stamp(now));
    for (per, counted) in [(RatePeriod::Second, 0), (RatePeriod::Minute, 3), (RatePeriod::Hour, 8)] {
        let limits = Limits { requests: vec![RateLimit { max: 10, per }], ..Limits::default() };
        assert_eq!(counters.usage(&limits, &stamp(now)).requests[0].used, counted, "{per:?}");
    }
    let budget = Budget { usd: NanoDollars(75), per: BudgetPeriod::Day, kind: BudgetKind::Hard };
    let limits = Limits { budgets: vec![budget], ..Limits::default() };
    assert!(take(&mut counters, &limits, cost(6), now).is_err());
    assert!(take(&mut counters, &limits, cost(5), now).is_ok());
}

#[test]
fn a_limit_of_zero_lets_nothing_through_and_of_two_for_one_window_the_lower_counts() {
    let now = Duration::from_secs(1_000_000);
    let minute = |max: &u64| RateLimit { max: *max, per: RatePeriod::Minute };
    let requests =
        |limits: &[u64]| Limits { requests: limits.iter().map(minute).collect(), ..Limits::default() };
    assert!(take(&mut Counters::default(), &requests(&[0]), tokens(0), now).is_err());
    let none = Limits { tokens: vec![minute(&0)], ..Limits::default() };
    assert!(take(&mut Counters::default(), &none, tokens(1), now).is_err());
    let mut counters = Counters::default();
    let both = requests(&[5, 2, 2]);
    assert!((0..2).all(|_| take(&mut counters, &both, tokens(0), now).is_ok()));
    assert!(take(&mut counters, &both, tokens(0), now).is_err());
}
