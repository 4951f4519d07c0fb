//! What changes traffic by itself: the bandit and the canary, over whole experiments.

use std::time::Duration;

use tidegate_policy::experiments::{
    ArmSums, BanditSettings, CanaryPhase, CanarySettings, CanaryState, GuardSettings, Metric, Observation,
    TransitionReason, Verdict, bandit_weights, verdict,
};

use crate::traffic::{Random, Source, Traffic, Units};

/// Calls between two decisions of the bandit.
const BETWEEN: u32 = 100;

struct Shifted {
    weights: Vec<f64>,
    sums: Vec<ArmSums>,
    least_seen: f64,
    most_moved: f64,
    alarms: u32,
}

/// A bandit over arms for so many calls, with verdicts asked for after every call.
fn shift(sources: &[Source], settings: &BanditSettings, calls: u32, seed: u64) -> Shifted {
    let mut random = Random::new(seed);
    let mut weights = vec![1.0 / f64::from(u32::try_from(sources.len()).unwrap()); sources.len()];
    let mut sums = vec![ArmSums::default(); sources.len()];
    let (mut least_seen, mut most_moved, mut alarms) = (1.0_f64, 0.0_f64, 0);
    for call in 1..=calls {
        let mut point = random.uniform();
        let picked = weights.iter().position(|weight| {
            point -= weight;
            point < 0.0
        });
        let arm = picked.unwrap_or(0);
        let value = sources[arm].draw(&mut random, 0.0);
        sums[arm].add(settings.metric, value, None);
        if verdict(&sums[0], &sums[1], settings.metric, 0.05) != Verdict::Undecided {
            alarms += 1;
        }
        if call % BETWEEN == 0 {
            let next = bandit_weights(
                &sums.iter().collect::<Vec<_>>(),
                &weights,
                settings,
                u64::from(call / BETWEEN),
            );
            let moved: f64 = next.iter().zip(&weights).map(|(next, now)| (next - now).max(0.0)).sum();
            most_moved = most_moved.max(moved);
            least_seen = next.iter().copied().fold(least_seen, f64::min);
            assert!((next.iter().sum::<f64>() - 1.0).abs() < 1e-9, "shares are parts of one: {next:?}");
            weights = next;
        }
    }
    Shifted { weights, sums, least_seen, most_moved, alarms }
}

#[test]
fn a_bandit_gives_most_traffic_to_the_better_arm_and_each_its_least() {
    let settings = BanditSettings { metric: Metric::Feedback, least: 0.05, most_moved: 0.1 };
    let sources = [Source::Chance(0.6), Source::Chance(0.75), Source::Chance(0.5)];
    let mut won = 0;
    for seed in 0..100 {
        let shifted = shift(&sources, &settings, 3000, seed);
        assert!(shifted.least_seen >= 0.05 - 1e-9, "no arm below its least: {}", shifted.least_seen);
        assert!(shifted.most_moved <= 0.1 + 1e-9, "no more than a tenth at a time: {}", shifted.most_moved);
        if shifted.weights[1] > 0.8 {
            won += 1;
        }
        let calls = |arm: usize| shifted.sums[arm].of(Metric::Feedback).count();
        assert!(calls(0) >= 100 && calls(2) >= 100, "each arm can still be judged");
    }
    assert!(won >= 90, "the better arm has most of the traffic in {won} of 100 experiments");
}

#[test]
fn a_bandit_makes_expensive_and_slow_arms_rare_too() {
    for (metric, worse, better) in [
        (Metric::Cost, Source::LongTail(6e5, 1.2), Source::LongTail(4e5, 1.2)),
        (Metric::Latency, Source::LongTail(1200.0, 0.6), Source::LongTail(900.0, 0.6)),
        (Metric::Errors, Source::Chance(0.08), Source::Chance(0.01)),
    ] {
        let settings = BanditSettings { metric, least: 0.1, most_moved: 0.1 };
        let won =
            (0..30).filter(|seed| shift(&[worse, better], &settings, 3000, *seed).weights[1] > 0.8).count();
        assert!(won >= 27, "{}: {won} of 30", metric.name());
    }
}

#[test]
fn verdicts_cry_wolf_no_more_often_when_a_bandit_moves_the_traffic() {
    let settings = BanditSettings { metric: Metric::Latency, least: 0.05, most_moved: 0.2 };
    for (metric, source) in [
        (Metric::Latency, Source::LongTail(900.0, 0.8)),
        (Metric::Errors, Source::Chance(0.03)),
        (Metric::Feedback, Source::Chance(0.8)),
    ] {
        let settings = BanditSettings { metric, ..settings };
        let wrong =
            (0..200).filter(|seed| shift(&[source, source], &settings, 1000, *seed).alarms > 0).count();
        assert!(wrong < 10, "{}: {wrong} of 200", metric.name());
    }
}

#[test]
fn verdicts_cry_wolf_no_more_often_when_the_hours_differ() {
    /// Over a run, calls become this many times as slow, and fail this many times as often.
    const WORSE: f64 = 8.0;
    const CALLS: u32 = 1000;
    for (metric, source_at) in [
        (Metric::Latency, (|hour| Source::LongTail(500.0 * WORSE.powf(hour), 0.6)) as fn(f64) -> Source),
        (Metric::Errors, |hour| Source::Chance(0.01 * WORSE.powf(hour))),
        (Metric::Feedback, |hour| Source::Chance(0.9 * (-hour).exp())),
    ] {
        let wrong = (0..200)
            .filter(|seed| {
                let mut traffic = Traffic::new(*seed, Units::Calls, 0.2);
                (0..CALLS).any(|call| {
                    let source = source_at(f64::from(call) / f64::from(CALLS));
                    traffic.call(metric, &source, &source);
                    verdict(&traffic.control, &traffic.arm, metric, 0.05) != Verdict::Undecided
                })
            })
            .count();
        assert!(wrong < 10, "{}: {wrong} of 200", metric.name());
    }
}

#[test]
fn the_same_sums_and_seed_give_the_same_weights() {
    let settings = BanditSettings { metric: Metric::Errors, ..BanditSettings::default() };
    let shifted = shift(&[Source::Chance(0.05), Source::Chance(0.04)], &settings, 1000, 7);
    let arms: Vec<&ArmSums> = shifted.sums.iter().collect();
    let weights = |seed| bandit_weights(&arms, &[0.5, 0.5], &settings, seed);
    assert_eq!(weights(1), weights(1));
    let kept: Vec<ArmSums> = serde_json::from_str(&serde_json::to_string(&shifted.sums).unwrap()).unwrap();
    let again = bandit_weights(&kept.iter().collect::<Vec<_>>(), &[0.5, 0.5], &settings, 1);
    assert!((again[0] - weights(1)[0]).abs() < 0.01, "a restart changes nothing that matters");
}

fn settings() -> CanarySettings {
    CanarySettings {
        steps: vec![0.01, 0.05, 0.25, 1.0],
        calls: 200,
        after: Duration::from_secs(600),
        guard: GuardSettings { latency: Some(0.5), ..GuardSettings::default() },
    }
}

/// A call every fifty milliseconds.
const EVERY_MS: u64 = 50;

struct Flown {
    state: CanaryState,
    shares: Vec<f64>,
    reasons: Vec<TransitionReason>,
    /// Calls that the canary got.
    exposed: u64,
}

/// A canary with these error rates and latencies, until it is done or back, or for so many calls.
fn fly(canary_errors: f64, canary_latency: f64, calls: u64, seed: u64) -> Flown {
    let settings = settings();
    let mut random = Random::new(seed);
    let mut state = CanaryState::new(0);
    let (mut control, mut canary) = (ArmSums::default(), ArmSums::default());
    let mut flown = Flown { state, shares: vec![state.share(&settings)], reasons: Vec::new(), exposed: 0 };
    for call in 1..=calls {
        let now_ms = call * EVERY_MS;
        let is_canary = random.uniform() < state.share(&settings);
        let (errors, latency) = if is_canary { (canary_errors, canary_latency) } else { (0.01, 900.0) };
        let took = Source::LongTail(latency, 0.6).draw(&mut random, 0.0);
        let failed = random.uniform() < errors;
        let seen = Observation {
            failed,
            latency: (!failed).then(|| Duration::from_secs_f64(took / 1000.0)),
            ..Observation::default()
        };
        if is_canary {
            canary.observe(&seen, None);
            flown.exposed += 1;
        } else {
            control.observe(&seen, None);
        }
        let Some(transition) = state.next(&settings, &control, &canary, now_ms) else {
            continue;
        };
        assert_eq!(transition.from, state);
        assert_eq!(transition.to.stage, state.stage + 1);
        if let TransitionReason::Passed { calls, lasted_ms, .. } = transition.reason {
            assert!(calls >= 200 && lasted_ms >= 600_000, "{calls} calls, {lasted_ms} ms");
        }
        // What is kept is all that is needed after a restart.
        state = serde_json::from_str(&serde_json::to_string(&transition.to).unwrap()).unwrap();
        (control, canary) = (ArmSums::default(), ArmSums::default());
        flown.shares.push(transition.to_share);
        flown.reasons.push(transition.reason);
        if !matches!(state.phase, CanaryPhase::Step(_)) {
            break;
        }
    }
    flown.state = state;
    flown
}

#[test]
fn a_good_canary_goes_up_step_by_step_and_is_hardly_ever_taken_back() {
    let mut back = 0;
    for seed in 0..60 {
        let flown = fly(0.01, 900.0, 100_000, seed);
        match flown.state.phase {
            CanaryPhase::Done => assert_eq!(flown.shares, [0.01, 0.05, 0.25, 1.0]),
            CanaryPhase::Back => back += 1,
            CanaryPhase::Step(step) => unreachable!("still at step {step}"),
        }
    }
    assert!(back <= 3, "{back} of 60 good canaries were taken back");
}

#[test]
fn a_bad_canary_goes_back_by_itself_before_many_have_seen_it() {
    for (errors, latency, word) in [(0.3, 900.0, "failed"), (0.01, 2700.0, "ms")] {
        for seed in 0..30 {
            let flown = fly(errors, latency, 100_000, seed);
            assert_eq!(
                flown.state.phase,
                CanaryPhase::Back,
                "errors {errors}, latency {latency}, seed {seed}"
            );
            assert_eq!(flown.shares.last(), Some(&0.0));
            assert!(flown.exposed < 400, "{} calls were exposed", flown.exposed);
            let reason = flown.reasons.last().unwrap().to_string();
            assert!(reason.contains(word) && reason.contains("allowed"), "{reason}");
        }
    }
}

#[test]
fn a_canary_waits_for_time_and_for_calls_and_for_a_control_to_be_held_against() {
    let settings = settings();
    let seen = |calls: u32| {
        let mut sums = ArmSums::default();
        for _ in 0..calls {
            sums.observe(&Observation::default(), None);
        }
        sums
    };
    let state = CanaryState::new(1_000_000);
    let next =
        |control, canary, now_ms| state.next(&settings, &seen(control), &seen(canary), now_ms).is_some();
    assert!(!next(5000, 200, 1_599_999), "too early");
    assert!(!next(5000, 199, 1_600_000), "too few calls");
    assert!(!next(49, 200, 1_600_000), "no control to speak of");
    assert!(!next(5000, 200, 0), "a clock that was set back");
    assert!(next(5000, 200, 1_600_000));
}

#[test]
fn a_canary_that_is_back_or_done_stays_there_until_somebody_says_otherwise() {
    let settings = settings();
    let back = CanaryState::new(0).by_hand(&settings, CanaryPhase::Back, 5);
    assert_eq!((back.from_share, back.to_share), (0.01, 0.0));
    let sums = ArmSums::default();
    assert_eq!(back.to.next(&settings, &sums, &sums, u64::MAX), None);
    let again = back.to.by_hand(&settings, CanaryPhase::Step(0), 6);
    assert_eq!((again.to.stage, again.to_share, again.to.since_ms), (2, 0.01, 6));
}

#[test]
fn steps_that_were_taken_out_of_the_settings_are_as_the_last_one() {
    let shorter = CanarySettings { steps: vec![0.02, 0.1], ..settings() };
    let state = CanaryState { phase: CanaryPhase::Step(2), since_ms: 0, stage: 2 };
    assert!((state.share(&shorter) - 0.1).abs() < 1e-12);
    let mut many = ArmSums::default();
    (0..1000).for_each(|_| many.observe(&Observation::default(), None));
    assert_eq!(state.next(&shorter, &many, &many, u64::MAX), None, "the last step below all calls lasts");
}
