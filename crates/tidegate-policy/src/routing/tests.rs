//! What each strategy promises, over many calls.

use std::time::Duration;

use proptest::prelude::{Just, any, prop};
use proptest::{prop_assert, prop_assert_eq, prop_compose, prop_oneof, proptest};

use super::*;
use crate::Moment;

/// Numbers in `0.0..1.0`, spread evenly: each call of a test gets the next ones.
fn numbers() -> impl FnMut() -> f64 {
    let mut state = 1_u64;
    move || {
        state = affinity::mix(state.wrapping_add(0x9e37_79b9_7f4a_7c15));
        f64::from(u32::try_from(state >> 32).unwrap()) / 4_294_967_296.0
    }
}

const ALL: [Strategy; 8] = [
    Strategy::Order,
    Strategy::Weighted,
    Strategy::Latency,
    Strategy::Throughput,
    Strategy::Cost,
    Strategy::LeastBusy,
    Strategy::Sticky,
    Strategy::Score(Mix { price: 1.0, latency: 1.0, throughput: 1.0, reliability: 1.0 }),
];

/// A target that was measured, like any other.
fn usual() -> Choice {
    Choice {
        weight: 1,
        measured: Measured {
            first_token: Some(Duration::from_millis(500)),
            sampled_ago: Some(Duration::from_secs(1)),
            tokens_per_second: Some(80.0),
            calls: 100,
            ..Measured::UNKNOWN
        },
        price: Some(1_000_000),
        affinity: 7,
        headroom: 1.0,
        standing: Standing::Ready,
    }
}

fn changed(change: impl FnOnce(&mut Choice)) -> Choice {
    let mut choice = usual();
    change(&mut choice);
    choice
}

fn begins_after(milliseconds: u64) -> Choice {
    changed(|choice| choice.measured.first_token = Some(Duration::from_millis(milliseconds)))
}

const CALLS: u32 = 4000;

/// Which share of the calls each target gets first.
fn shares(strategy: Strategy, choices: &[Choice]) -> Vec<f64> {
    let mut counts = vec![0_u32; choices.len()];
    let mut random = numbers();
    let mut sessions = numbers();
    for _ in 0..CALLS {
        let session = AffinityKey::new(&sessions().to_le_bytes());
        let mut choices = choices.to_vec();
        for (index, choice) in choices.iter_mut().enumerate() {
            choice.affinity = session.score(&format!("provider-{index}/model"));
        }
        counts[rank(strategy, &choices, &mut random)[0]] += 1;
    }
    counts.into_iter().map(|count| f64::from(count) / f64::from(CALLS)).collect()
}

fn about(share: f64, expected: f64) -> bool {
    (share - expected).abs() < 0.03
}

#[test]
fn gateways_that_see_the_same_do_not_all_go_the_same_way() {
    for strategy in [Strategy::Latency, Strategy::Throughput, Strategy::LeastBusy, Strategy::Cost, ALL[7]] {
        let alike = shares(strategy, &[usual(), usual()]);
        assert!(about(alike[0], 0.5), "{strategy:?} {alike:?}");
        let many = shares(strategy, &[usual(); 10]);
        assert!(many.iter().all(|&share| about(share, 0.1)), "{strategy:?} {many:?}");
    }
    let nearly = shares(Strategy::Latency, &[begins_after(500), begins_after(550)]);
    assert!((0.3..0.5).contains(&nearly[1]), "a tenth may be noise: {nearly:?}");
}

#[test]
fn the_slowest_of_ten_gets_next_to_nothing() {
    let mut choices = [usual(); 10];
    choices[3] = begins_after(5_000);
    for strategy in [Strategy::Latency, Strategy::LeastBusy, Strategy::Throughput, ALL[7]] {
        let share = shares(strategy, &choices)[3];
        assert!(share < 0.03, "{strategy:?} {share}");
    }
    assert!(shares(Strategy::Latency, &choices)[3] < 0.005);
}

#[test]
fn who_fails_quickly_is_not_mistaken_for_quick() {
    let failing = changed(|choice| {
        choice.measured.first_token = Some(Duration::from_millis(100));
        choice.measured.failure_rate = 0.6;
    });
    for strategy in [Strategy::Latency, Strategy::LeastBusy, Strategy::Throughput, ALL[7]] {
        let share = shares(strategy, &[failing, usual(), usual()])[0];
        assert!(share < 0.05, "{strategy:?} {share}");
    }
}

#[test]
fn who_was_never_measured_is_tried_by_some_and_by_fewer_while_calls_are_under_way() {
    let unknown = |in_flight| Choice { measured: Measured { in_flight, ..Measured::UNKNOWN }, ..usual() };
    for strategy in [Strategy::Latency, ALL[7]] {
        let share =
            |in_flight| shares(strategy, &[unknown(in_flight), begins_after(400), begins_after(400)])[0];
        assert!((0.2..0.5).contains(&share(0)), "{strategy:?} {}", share(0));
        assert!(share(3) < 0.03, "{strategy:?} {}", share(3));
    }
    let nobody = [Choice { measured: Measured::UNKNOWN, ..usual() }; 4];
    for strategy in ALL.into_iter().filter(|&strategy| strategy != Strategy::Order) {
        let all = shares(strategy, &nobody);
        assert!(all.iter().all(|&share| about(share, 0.25)), "{strategy:?} {all:?}");
    }
}

#[test]
fn who_was_good_and_has_not_been_asked_for_long_is_tried_once_in_a_while() {
    let forgotten = changed(|choice| {
        choice.measured.first_token = Some(Duration::from_secs(20));
        choice.measured.sampled_ago = Some(Duration::from_secs(60));
    });
    let share = shares(Strategy::Latency, &[forgotten, usual(), usual()])[0];
    assert!((0.0005..0.005).contains(&share), "{share}");
    let asked = changed(|choice| {
        choice.measured = Measured { in_flight: 1, ..forgotten.measured };
    });
    assert!(shares(Strategy::Latency, &[asked, usual(), usual()])[0] < 0.0005, "one at a time");
}

#[test]
fn weights_say_how_much_a_target_can_take() {
    let twice = changed(|choice| choice.weight = 2);
    for strategy in [Strategy::Weighted, Strategy::Sticky] {
        let all = shares(strategy, &[twice, usual(), usual()]);
        assert!(about(all[0], 0.5) && about(all[1], 0.25), "{strategy:?} {all:?}");
    }
    let busy = |weight, in_flight| {
        changed(|choice| {
            choice.weight = weight;
            choice.measured.in_flight = in_flight;
        })
    };
    for strategy in [Strategy::LeastBusy, Strategy::Latency] {
        let all = shares(strategy, &[busy(2, 19), busy(1, 9)]);
        assert!(about(all[0], 0.5), "{strategy:?} {all:?}");
    }
}

#[test]
fn whoever_warms_up_gets_a_part_of_its_share_and_only_compared_with_others() {
    let cold = changed(|choice| choice.measured.warmth = 0.4);
    for strategy in ALL {
        let warm = shares(strategy, &[usual(), usual()])[0];
        let share = shares(strategy, &[cold, usual()])[0];
        assert!(about(share, 0.4 * warm), "{strategy:?} {share} of {warm}");
        let among_cold = shares(strategy, &[cold, cold])[0];
        assert!(about(among_cold, warm), "{strategy:?} {among_cold}");
    }
}

#[test]
fn a_session_moves_once_while_its_target_warms_up() {
    let mut random = numbers();
    for session in 0..200_u64 {
        let key = AffinityKey::new(&session.to_le_bytes());
        let at = |warmth| {
            let mut choices = [usual(); 3];
            for (index, choice) in choices.iter_mut().enumerate() {
                choice.affinity = key.score(&format!("provider-{index}/model"));
            }
            choices[0].measured.warmth = warmth;
            choices
        };
        let firsts: Vec<usize> = (0..=20)
            .map(|step| rank(Strategy::Sticky, &at(f64::from(step) / 20.0), &mut random)[0])
            .collect();
        let moves = firsts.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(moves <= 1, "{session}: {firsts:?}");
    }
}

#[test]
fn a_session_follows_the_target_that_is_left_and_leaves_one_that_is_far_too_slow() {
    let mut choices = [usual(); 3];
    for (index, choice) in choices.iter_mut().enumerate() {
        choice.affinity = affinity(b"session", &format!("provider-{index}/model"));
    }
    let ranking = |choices: &[Choice]| rank(Strategy::Sticky, choices, || 0.5);
    let before = ranking(&choices);
    choices[before[0]].standing = Standing::Out;
    assert_eq!(ranking(&choices)[..2], before[1..], "the next one takes it, and its order stays");
    choices[before[0]] = Choice { affinity: choices[before[0]].affinity, ..begins_after(2_000) };
    assert_eq!(ranking(&choices), before, "four times slower is worth a warm cache");
    choices[before[0]] = Choice { affinity: choices[before[0]].affinity, ..begins_after(3_000) };
    assert_eq!(ranking(&choices)[0], before[1]);
}

#[test]
fn a_key_about_to_run_dry_is_avoided_before_it_says_429() {
    let left = |headroom| changed(|choice| choice.headroom = headroom);
    for strategy in ALL {
        let whole = shares(strategy, &[usual(), usual()])[0];
        assert!(about(shares(strategy, &[left(0.1), usual()])[0], whole / 2.0), "{strategy:?}");
        assert!(shares(strategy, &[left(0.01), usual()])[0] == 0.0, "{strategy:?}");
    }
}

#[test]
fn behind_those_in_play_stand_stand_bys_then_the_dry_then_those_that_are_out() {
    let choices = [
        changed(|choice| choice.standing = Standing::Out),
        changed(|choice| choice.headroom = 0.0),
        changed(|choice| choice.weight = 0),
        usual(),
    ];
    for strategy in ALL {
        assert_eq!(rank(strategy, &choices, numbers())[..], [3, 2, 1, 0], "{strategy:?}");
    }
}

#[test]
fn strategies_that_go_by_figures_probe_whoever_was_out_and_the_others_when_it_is_its_turn() {
    let was_out = Choice { standing: Standing::Probe, ..begins_after(60_000) };
    for strategy in [Strategy::Latency, Strategy::Throughput, Strategy::LeastBusy, ALL[7]] {
        assert_eq!(rank(strategy, &[usual(), was_out, usual()], numbers())[0], 1, "{strategy:?}");
    }
    for strategy in [Strategy::Weighted, Strategy::Sticky] {
        let share = shares(strategy, &[usual(), was_out])[1];
        assert!(about(share, 0.5), "{strategy:?} {share}");
    }
}

#[test]
fn the_cheapest_is_asked_unless_it_is_far_too_slow_and_an_unknown_price_is_a_high_one() {
    let costs = |price| changed(|choice| choice.price = price);
    let choices = [costs(None), costs(Some(900)), costs(Some(800)), costs(Some(u64::MAX - 1))];
    assert_eq!(rank(Strategy::Cost, &choices, numbers())[..], [2, 1, 3, 0]);
    let mut cheap = begins_after(1_000);
    cheap.price = Some(1);
    assert_eq!(rank(Strategy::Cost, &[usual(), cheap], numbers())[0], 1);
    cheap.measured.first_token = Some(Duration::from_secs(5));
    assert_eq!(rank(Strategy::Cost, &[usual(), cheap], numbers())[0], 0);
    let quick = shares(Strategy::Cost, &[begins_after(1_000), usual()]);
    assert!(quick[1] > 0.9, "of two alike in price the quicker: {quick:?}");
}

#[test]
fn a_mix_weighs_what_it_is_told_to_weigh() {
    let cheap = Choice { price: Some(100_000), ..begins_after(2_000) };
    let quick = usual();
    let only = |price, latency| {
        let mix = Mix { price, latency, throughput: 0.0, reliability: 0.0 };
        shares(Strategy::Score(mix), &[cheap, quick])[0]
    };
    assert!(only(1.0, 0.0) > 0.99, "ten times cheaper");
    assert!(only(0.0, 1.0) < 0.03, "four times slower");
    assert!((0.8..0.99).contains(&only(1.0, 1.0)), "cheaper outweighs: {}", only(1.0, 1.0));
    assert!(only(0.2, 1.0) < 0.15, "{}", only(0.2, 1.0));
    assert!(about(only(2.0, 10.0), only(0.2, 1.0)), "only the ratio counts");
    assert!(about(only(f64::NAN, 1.0), only(0.0, 1.0)));
    assert!(about(only(0.0, 0.0), shares(Strategy::Score(Mix::default()), &[cheap, quick])[0]));
}

#[test]
fn the_faster_to_go_on_is_preferred_until_it_is_swamped() {
    let fast = |in_flight| {
        changed(|choice| {
            choice.measured.tokens_per_second = Some(240.0);
            choice.measured.in_flight = in_flight;
        })
    };
    assert!(shares(Strategy::Throughput, &[fast(0), usual()])[0] > 0.97);
    assert!(shares(Strategy::Throughput, &[fast(3), usual()])[0] > 0.7);
    assert!(shares(Strategy::Throughput, &[fast(30), usual()])[0] < 0.2);
}

/// From the first call to the last everything that the figures are told comes back out.
#[test]
fn a_target_that_hangs_is_seen_before_any_call_has_failed() {
    let mut figures = Figures::new(Moment::ZERO);
    let mut now = Moment::from_secs(10);
    for _ in 0..30 {
        let mut asked = figures.begin(now, Answering::Streamed);
        now += Duration::from_millis(400);
        figures.first_token(&mut asked, now);
        figures.ended(asked, now + Duration::from_secs(1), 80);
    }
    let healthy = figures.measured(now);
    let first_token = healthy.first_token.unwrap();
    assert!(first_token.abs_diff(Duration::from_millis(400)) < Duration::from_millis(2), "{first_token:?}");
    assert!((healthy.tokens_per_second.unwrap() - 80.0).abs() < 0.1);
    let slowest = figures.slowest(Answering::Streamed);
    assert!(slowest.p95.unwrap() < Duration::from_millis(500));
    assert_eq!((healthy.calls, healthy.in_flight), (30, 0));
    let hanging: Vec<Asked> = (0..20).map(|_| figures.begin(now, Answering::Streamed)).collect();
    now += Duration::from_secs(3);
    let measured = figures.measured(now);
    assert_eq!(measured.first_token, Some(Duration::from_secs(3)));
    assert_eq!((measured.in_flight, measured.failure_rate), (20, 0.0));
    for asked in hanging {
        figures.failed(asked, now);
    }
    let measured = figures.measured(now);
    assert!(measured.first_token.unwrap() > Duration::from_millis(2_900), "{measured:?}");
    assert!(measured.failure_rate > 0.35 && measured.in_flight == 0, "{measured:?}");
    let much_later = figures.measured(now + Duration::from_secs(300));
    assert!(much_later.failure_rate < 0.01, "{much_later:?}");
    assert!(much_later.first_token.unwrap() < Duration::from_millis(450), "{much_later:?}");
}

#[test]
fn a_new_target_that_says_nothing_is_not_taken_for_a_quick_one() {
    let mut figures = Figures::new(Moment::ZERO);
    let hanging = figures.begin(Moment::ZERO, Answering::Streamed);
    assert_eq!(figures.measured(Duration::from_millis(500)).first_token, None);
    assert_eq!(figures.measured(Duration::from_secs(4)).first_token, Some(Duration::from_secs(4)));
    figures.abandoned(hanging, Duration::from_secs(5));
    assert!(figures.measured(Duration::from_secs(6)).first_token > Some(Duration::from_secs(4)));
}

#[test]
fn whole_answers_are_compared_by_the_time_before_their_first_token_where_streams_tell_the_rate() {
    let second = |seconds| Moment::from_secs(seconds);
    let mut figures = Figures::new(Moment::ZERO);
    let whole = figures.begin(second(0), Answering::Whole);
    assert_eq!(figures.measured(second(9)).first_token, None, "nobody waits for its first token");
    figures.ended(whole, second(10), 450);
    assert_eq!(figures.measured(second(10)).first_token, Some(second(10)));
    let mut stream = figures.begin(second(10), Answering::Streamed);
    figures.first_token(&mut stream, second(11));
    figures.ended(stream, second(13), 100);
    for _ in 0..100 {
        let whole = figures.begin(second(300), Answering::Whole);
        figures.ended(whole, second(310), 450);
    }
    let first_token = figures.measured(second(310)).first_token.unwrap();
    assert!(first_token.abs_diff(second(1)) < Duration::from_millis(100), "{first_token:?}");
    assert!(figures.slowest(Answering::Whole).p95.unwrap() > second(8));
}

#[test]
fn slow_start_begins_at_a_fifth_and_is_over_after_four_seconds() {
    let mut figures = Figures::new(Moment::ZERO);
    for after in [Moment::ZERO, Moment::from_secs(1000)] {
        if after > Moment::ZERO {
            figures.recovered(after);
        }
        let warmth = |milliseconds| figures.measured(after + Duration::from_millis(milliseconds)).warmth;
        assert!((warmth(0) - 0.2).abs() < 1e-9);
        assert!((warmth(2_000) - 0.6).abs() < 1e-9);
        assert!((warmth(4_000) - 1.0).abs() < 1e-9 && (warmth(60_000) - 1.0).abs() < 1e-9);
    }
}

prop_compose! {
    fn any_choice()(
        weight in 0..5_u32,
        first_token in prop::option::of(0..100_000_u64),
        sampled_ago in prop::option::of(0..100_u64),
        tokens_per_second in prop::option::of(prop_oneof![Just(0.0), Just(f64::INFINITY), 0.1..500.0]),
        failure_rate in 0.0..=1.0,
        in_flight in prop_oneof![0..50_u32, Just(u32::MAX)],
        warmth in 0.0..=1.0,
        price in prop::option::of(any::<u64>()),
        affinity in any::<u64>(),
        headroom in prop_oneof![Just(f64::NAN), Just(-1.0), 0.0..=1.0],
        standing in prop_oneof![Just(Standing::Ready), Just(Standing::Probe), Just(Standing::Out)],
    ) -> Choice {
        Choice {
            weight,
            measured: Measured {
                first_token: first_token.map(Duration::from_millis),
                sampled_ago: sampled_ago.map(Duration::from_secs),
                tokens_per_second,
                failure_rate,
                in_flight,
                warmth,
                ..Measured::UNKNOWN
            },
            price,
            affinity,
            headroom,
            standing,
        }
    }
}

proptest! {
    #[test]
    fn every_target_stands_in_the_ranking_once_and_those_that_are_out_stand_last(
        choices in prop::collection::vec(any_choice(), 0..20),
        luck in prop_oneof![Just(0.0), Just(1.0), Just(f64::NAN), 0.0..1.0],
    ) {
        for strategy in ALL {
            let ranking = rank(strategy, &choices, || luck);
            let mut sorted = ranking.to_vec();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..choices.len()).collect::<Vec<_>>());
            let out: Vec<bool> = ranking.iter().map(|&index| choices[index].standing == Standing::Out).collect();
            prop_assert!(choices.len() < 2 || out.is_sorted(), "{:?}", out);
        }
    }
}
