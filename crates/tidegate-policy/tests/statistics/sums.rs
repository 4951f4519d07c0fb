//! Sums and assignment: what does not depend on how calls came.

use std::collections::HashMap;

use proptest::prelude::*;
use tidegate_policy::experiments::{
    ArmSums, Cluster, Metric, Observation, Verdict, assign, compare, compare_all, interval, takes_part,
};

use crate::traffic::{Random, Source, Traffic, Units};

fn close(one: Option<f64>, other: Option<f64>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => (one - other).abs() <= 1e-9 * (1.0 + one.abs()),
        (one, other) => one == other,
    }
}

proptest! {
    #[test]
    fn sums_of_replicas_add_up_to_the_sums_of_all_calls(
        calls in prop::collection::vec((0usize..3, 1e-3..1e12_f64, 0u32..40), 1..300)
    ) {
        for metric in Metric::ALL {
            let mut whole = ArmSums::default();
            let mut replicas = [ArmSums::default(), ArmSums::default(), ArmSums::default()];
            for (replica, value, unit) in &calls {
                let cluster = Some(Cluster::of(&unit.to_le_bytes()));
                whole.add(metric, *value, cluster);
                replicas[*replica].add(metric, *value, cluster);
            }
            let mut merged = ArmSums::default();
            for replica in &replicas {
                merged.merge(replica);
            }
            let (whole, merged) = (whole.of(metric), merged.of(metric));
            prop_assert_eq!(whole.count(), merged.count());
            prop_assert_eq!(whole.range(), merged.range());
            prop_assert!(close(whole.mean(), merged.mean()), "{:?} {:?}", whole.mean(), merged.mean());
            prop_assert!(close(whole.deviation(), merged.deviation()));
            prop_assert!(close(Some(whole.effect()), Some(merged.effect())));
        }
    }

    #[test]
    fn whatever_is_seen_intervals_hold_what_was_seen_and_stay_within_the_possible(
        control in prop::collection::vec(0.0..=1.0_f64, 0..80),
        arm in prop::collection::vec(0.0..=1.0_f64, 0..80),
        alpha in 0.001..0.2_f64,
    ) {
        for metric in Metric::ALL {
            let (mut one, mut other) = (ArmSums::default(), ArmSums::default());
            for value in &control {
                one.add(metric, *value, None);
            }
            for value in &arm {
                other.add(metric, *value, None);
            }
            let found = compare(&one, &other, metric, alpha);
            prop_assert!((0.0..=1.0).contains(&found.p_value));
            let lies = found.difference;
            if let (Some(low), Some(estimate), Some(high)) = (lies.low, lies.estimate, lies.high) {
                prop_assert!(low <= estimate && estimate <= high && low >= -1.0, "{lies:?}");
                prop_assert_eq!(found.verdict == Verdict::Undecided, low <= 0.0 && high >= 0.0, "{:?}", found);
            } else {
                prop_assert_eq!(found.verdict, Verdict::Undecided);
            }
            let alone = interval(&other, metric, alpha);
            if let (Some(low), Some(estimate), Some(high)) = (alone.low, alone.estimate, alone.high) {
                prop_assert!(0.0 <= low && low <= estimate && estimate <= high, "{alone:?}");
            }
        }
    }
}

#[test]
fn a_large_sum_loses_no_digits_to_a_large_mean() {
    let mut arm = ArmSums::default();
    for index in 0..100_000_u32 {
        arm.add(Metric::Cost, 1e15 + f64::from(index % 2), None);
    }
    let deviation = arm.of(Metric::Cost).deviation().unwrap();
    assert!((deviation - 0.5).abs() < 1e-3, "{deviation}");
}

#[test]
fn what_is_no_number_is_not_counted() {
    let mut arm = ArmSums::default();
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        arm.feedback(value, None);
    }
    arm.feedback(7.0, None);
    arm.observe(&Observation { cost_nanos: Some(u64::MAX), ..Observation::default() }, None);
    assert_eq!((arm.of(Metric::Feedback).count(), arm.of(Metric::Feedback).mean()), (1, Some(1.0)));
    assert_eq!(serde_json::from_str::<ArmSums>(&serde_json::to_string(&arm).unwrap()).unwrap(), arm);
}

#[test]
fn sums_of_an_older_release_can_be_read() {
    let arm: ArmSums = serde_json::from_str(r#"{"errors": {"count": 3}}"#).unwrap();
    assert_eq!((arm.calls(), arm.of(Metric::Cost).count()), (3, 0));
}

#[test]
fn arms_get_their_shares_and_experiments_do_not_depend_on_each_other() {
    let arms = [("control", 8.0), ("small", 1.0), ("large", 1.0), ("off", 0.0)];
    let mut together: HashMap<(usize, usize), u32> = HashMap::new();
    for unit in 0..50_000_u32 {
        let unit = format!("session-{unit}");
        let one = assign(unit.as_bytes(), "greeting", arms).unwrap();
        let other = assign(unit.as_bytes(), "other", arms).unwrap();
        *together.entry((one, other)).or_default() += 1;
    }
    for (one, share) in [(0, 0.8), (1, 0.1), (2, 0.1)] {
        for (other, other_share) in [(0, 0.8), (1, 0.1), (2, 0.1)] {
            let expected = 50_000.0 * share * other_share;
            let seen = f64::from(together[&(one, other)]);
            assert!(
                (seen - expected).abs() < 5.0 * expected.sqrt(),
                "({one}, {other}): {seen} of {expected}"
            );
        }
    }
    assert_eq!(together.len(), 9, "nobody is in an arm of no weight");
    assert_eq!(assign(b"anybody", "greeting", [("control", 0.0), ("arm", f64::NAN)]), None);
}

#[test]
fn when_weights_change_only_those_move_who_must() {
    let units: Vec<String> = (0..20_000).map(|unit| format!("user {unit}")).collect();
    let arms_of = |weights: &[(&'static str, f64)]| -> Vec<usize> {
        units.iter().map(|unit| assign(unit.as_bytes(), "x", weights.to_vec()).unwrap()).collect()
    };
    let before = arms_of(&[("control", 0.95), ("new", 0.05)]);
    let after = arms_of(&[("control", 0.75), ("new", 0.25)]);
    let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    assert!(before.iter().zip(&after).all(|(before, after)| *before == 0 || *after == 1), "a canary's stay");
    assert!((3700..4300).contains(&moved), "a fifth moves, not more: {moved}");

    let three = arms_of(&[("a", 1.0), ("b", 1.0), ("c", 1.0)]);
    let two = arms_of(&[("a", 1.0), ("b", 1.0), ("c", 0.0)]);
    assert!(three.iter().zip(&two).all(|(three, two)| three == two || *three == 2), "only those of c move");
}

#[test]
fn a_share_grows_by_adding_and_is_independent_of_arms() {
    let arms = [("a", 1.0), ("b", 1.0)];
    let mut taken = [0_u32; 2];
    for unit in 0..40_000_u32 {
        let unit = unit.to_le_bytes();
        let (small, large) = (takes_part(&unit, "x", 0.1), takes_part(&unit, "x", 0.3));
        assert!(!small || large);
        if small {
            taken[assign(&unit, "x", arms).unwrap()] += 1;
        }
    }
    assert!(taken.iter().all(|taken| (1800..2200).contains(taken)), "{taken:?}");
    assert!(takes_part(b"x", "x", 1.0) && !takes_part(b"x", "x", 0.0));
}

#[test]
fn the_interval_of_an_arm_covers_its_mean_at_all_times_together() {
    let mean = |stars: [f64; 5]| stars.iter().zip([0.0, 0.25, 0.5, 0.75, 1.0]).map(|(p, v)| p * v).sum();
    let stars = [0.1, 0.1, 0.2, 0.4, 0.2];
    for (metric, source, truth) in [
        (Metric::Errors, Source::Chance(0.01), 0.01),
        (Metric::Errors, Source::Chance(0.4), 0.4),
        (Metric::Feedback, Source::Stars(stars), mean(stars)),
        (Metric::Latency, Source::LongTail(900.0, 1.0), 900.0),
    ] {
        let missed = (0..300)
            .filter(|seed| {
                let mut random = Random::new(*seed);
                let mut arm = ArmSums::default();
                (0..400).any(|call| {
                    arm.add(metric, source.draw(&mut random, 0.0), None);
                    let lies = interval(&arm, metric, 0.05);
                    // Every call at first, when most is uncertain, then every tenth.
                    (call < 50 || call % 10 == 0)
                        && (lies.low.is_some_and(|low| low > truth)
                            || lies.high.is_some_and(|high| high < truth))
                })
            })
            .count();
        assert!(missed < 15, "{metric:?} {source:?}: {missed} of 300");
    }
}

#[test]
fn a_verdict_and_its_figures_agree_and_many_comparisons_need_more_evidence() {
    let mut traffic = Traffic::new(3, Units::Calls, 0.5);
    for _ in 0..800 {
        traffic.call(Metric::Latency, &Source::LongTail(900.0, 0.5), &Source::LongTail(720.0, 0.5));
    }
    let one = compare(&traffic.control, &traffic.arm, Metric::Latency, 0.05);
    assert_eq!(one.verdict, Verdict::Better);
    let difference = one.difference;
    assert!(
        difference.low.unwrap() < -0.2 && difference.high.unwrap() < 0.0 && one.p_value < 0.05,
        "{one:?}"
    );

    let arms = [&traffic.arm, &traffic.arm, &traffic.arm];
    let many = compare_all(&traffic.control, &arms, &Metric::ALL, 0.05);
    assert_eq!((many.len(), many[0].len()), (3, 6));
    assert!(many[0][3].difference.high > difference.high, "the interval becomes wider");
    assert!(many[0][0].verdict == Verdict::Undecided && many[0][0].difference.estimate.is_none());
}

#[test]
fn a_few_users_with_many_calls_decide_nothing() {
    let (mut control, mut arm) = (ArmSums::default(), ArmSums::default());
    let mut random = Random::new(1);
    for call in 0..6000_u32 {
        let user = (call % 6).to_le_bytes();
        // Three users with long prompts happen to be in the arm.
        let (sums, typical) = if call % 6 < 3 { (&mut control, 900.0) } else { (&mut arm, 1800.0) };
        sums.add(
            Metric::Latency,
            Source::LongTail(typical, 0.3).draw(&mut random, 0.0),
            Some(Cluster::of(&user)),
        );
    }
    assert_eq!(compare(&control, &arm, Metric::Latency, 0.05).verdict, Verdict::Undecided);
}
