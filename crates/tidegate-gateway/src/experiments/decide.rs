//! What is decided of a test or a canary, given what was seen: values in, a decision out. Asked by `run` every few seconds.

use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_policy::experiments::{
    ArmSums, CanaryPhase, CanarySettings, CanaryState, GuardVerdict, Transition, bandit_weights, guard,
};
use tidegate_store::RunSums;

use super::prepared::{CANARY, CONTROL, Split};
use super::state::{Kept, State, weights};

/// Shares that move by less than this are left as they are: each shift is a line in the audit log.
const LEAST_SHIFT: f64 = 0.005;

/// A decision: the state after it, and what the audit log says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decided {
    pub(super) state: State,
    pub(super) action: &'static str,
    pub(super) before: Option<Value>,
    pub(super) after: Option<Value>,
}

/// What follows from what was seen, one thing at a time; `None` where all stays as it is.
pub(super) fn decide(
    split: &Split,
    kept: Option<&Kept>,
    sums: &RunSums,
    now: Timestamp,
    may_shift: bool,
) -> Option<Decided> {
    let state = kept.map(|kept| kept.state.clone()).unwrap_or_default();
    if state.is_held || state.promoted.is_some() {
        return None;
    }
    if let Some(settings) = &split.canary {
        return step(settings, state, sums, now);
    }
    let stopped = stop(split, &state, sums, now);
    stopped.or_else(|| may_shift.then(|| shift(split, kept, state, sums, now)).flatten())
}

fn step(settings: &CanarySettings, mut state: State, sums: &RunSums, now: Timestamp) -> Option<Decided> {
    let Some(canary) = state.canary else {
        let begin = CanaryState::new(milliseconds(now));
        let share = percent(begin.share(settings));
        state.canary = Some(begin);
        state.happened(now, format!("{share} of the calls"), "the canary begins");
        let after = Some(json!({"share": share}));
        return Some(Decided { state, action: "experiment.begin", before: None, after });
    };
    let none = ArmSums::default();
    let of = |arm: &str| sums.arms.get(arm).unwrap_or(&none);
    let transition = canary.next(settings, of(CONTROL), of(CANARY), milliseconds(now))?;
    Some(stepped(state, &transition, now))
}

/// The state after a canary's step.
pub(super) fn stepped(mut state: State, transition: &Transition, now: Timestamp) -> Decided {
    let (from, to) = (percent(transition.from_share), percent(transition.to_share));
    let why = transition.reason.to_string();
    state.canary = Some(transition.to);
    state.happened(now, format!("{to} of the calls, {from} before"), why.clone());
    let action = match transition.to.phase {
        CanaryPhase::Step(_) => "experiment.step",
        CanaryPhase::Done => "experiment.done",
        CanaryPhase::Back => "experiment.back",
    };
    Decided {
        state,
        action,
        before: Some(json!({"share": from})),
        after: Some(json!({"share": to, "reason": why})),
    }
}

fn stop(split: &Split, state: &State, sums: &RunSums, now: Timestamp) -> Option<Decided> {
    let settings = split.guard.as_ref()?;
    let control = sums.arms.get(split.control_name())?;
    split.arms.iter().enumerate().find_map(|(place, arm)| {
        if place == split.control || state.stopped.contains_key(&*arm.name) {
            return None;
        }
        let GuardVerdict::Stop(breaches) = guard(control, sums.arms.get(&*arm.name)?, settings) else {
            return None;
        };
        let why: Vec<String> = breaches.iter().map(ToString::to_string).collect();
        let why = why.join("; ");
        let mut state = state.clone();
        state.stopped.insert(arm.name.to_string(), why.clone());
        state.happened(now, format!("{} is stopped", arm.name), why.clone());
        Some(Decided {
            state,
            action: "experiment.stop_arm",
            before: None,
            after: Some(json!({"arm": &*arm.name, "reason": why})),
        })
    })
}

fn shift(
    split: &Split,
    kept: Option<&Kept>,
    mut state: State,
    sums: &RunSums,
    now: Timestamp,
) -> Option<Decided> {
    let settings = split.bandit.as_ref()?;
    let current = weights(split, kept);
    let running: Vec<usize> =
        (0..split.arms.len()).filter(|place| current.get(*place).is_some_and(|share| *share > 0.0)).collect();
    let arms: Option<Vec<&ArmSums>> = running
        .iter()
        .map(|place| split.arms.get(*place).and_then(|arm| sums.arms.get(&*arm.name)))
        .collect();
    let before: Vec<f64> = running.iter().filter_map(|place| current.get(*place).copied()).collect();
    let seed = kept.map_or(0, |kept| kept.version);
    let after = bandit_weights(&arms?, &before, settings, seed);
    let moved: f64 = before.iter().zip(&after).map(|(before, after)| (after - before).max(0.0)).sum();
    if moved < LEAST_SHIFT {
        return None;
    }
    let named = |shares: &[f64]| -> Value {
        let named = running.iter().zip(shares).filter_map(|(place, share)| {
            Some((split.arms.get(*place)?.name.to_string(), Value::from(percent(*share))))
        });
        Value::Object(named.collect())
    };
    let (was, is) = (named(&before), named(&after));
    // An arm that gets nothing by now has nothing to leave to the control: its part is among the others' shares.
    state.shares = split.arms.iter().map(|arm| (arm.name.to_string(), 0.0)).collect();
    for (place, share) in running.iter().zip(&after) {
        if let Some(arm) = split.arms.get(*place) {
            state.shares.insert(arm.name.to_string(), *share);
        }
    }
    state.shifted_ms = Some(milliseconds(now));
    let metric = settings.metric.name();
    state.happened(
        now,
        format!("shares are {is}, {was} before"),
        format!("the better arm by {metric} gets more"),
    );
    Some(Decided { state, action: "experiment.shift", before: Some(was), after: Some(is) })
}

/// A share as people write it.
pub(super) fn percent(share: f64) -> String {
    let rounded = (share * 1000.0).round() / 10.0;
    format!("{rounded}%")
}

pub(super) fn milliseconds(now: Timestamp) -> u64 {
    u64::try_from(now.as_millisecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use tidegate_config::Unit;
    use tidegate_policy::experiments::{BanditSettings, GuardSettings, Metric};

    use super::super::prepared::Arm;
    use super::*;

    /// A test of two equal arms that shifts by feedback.
    fn split() -> Split {
        let arm = |name: &'static str| Arm { name: name.into(), share: 0.5, target: None };
        Split {
            name: "greeting".into(),
            run: "1".into(),
            by: Unit::Call,
            arms: vec![arm("control"), arm("new")],
            control: 0,
            guard: Some(GuardSettings::default()),
            bandit: Some(BanditSettings { metric: Metric::Feedback, least: 0.05, most_moved: 0.1 }),
            canary: None,
        }
    }

    fn sums(values: [(Metric, f64); 2]) -> RunSums {
        let mut sums = RunSums::default();
        for (name, (metric, value)) in ["control", "new"].into_iter().zip(values) {
            let mut arm = ArmSums::default();
            (0..200).for_each(|_| arm.add(metric, value, None));
            sums.arms.insert(name.to_owned(), arm);
        }
        sums
    }

    fn kept(decided: Decided) -> Kept {
        Kept { run: "1".to_owned(), version: 1, state: decided.state }
    }

    #[test]
    fn a_bandit_shifts_a_tenth_at_a_time_and_only_when_it_may() {
        let split = split();
        let better = sums([(Metric::Feedback, 0.2), (Metric::Feedback, 0.9)]);
        assert_eq!(decide(&split, None, &better, Timestamp::now(), false), None);
        let first = decide(&split, None, &better, Timestamp::now(), true).unwrap();
        assert_eq!(first.action, "experiment.shift");
        let first = kept(first);
        let now = weights(&split, Some(&first));
        assert!((now[1] - 0.6).abs() < 1e-9 && (now[0] - 0.4).abs() < 1e-9, "{now:?}");
        let second = kept(decide(&split, Some(&first), &better, Timestamp::now(), true).unwrap());
        assert!(weights(&split, Some(&second))[1] > 0.69);
        let alike = sums([(Metric::Latency, 9.0), (Metric::Latency, 9.0)]);
        assert_eq!(decide(&split, None, &alike, Timestamp::now(), true), None, "nobody has said anything");
    }

    #[test]
    fn what_a_stopped_arm_left_is_shifted_like_all_else() {
        let mut split = split();
        split.arms.push(Arm { name: "bad".into(), share: 0.5, target: None });
        split.arms.iter_mut().for_each(|arm| arm.share = 1.0 / 3.0);
        let mut state = State::default();
        state.stopped.insert("bad".to_owned(), "it failed".to_owned());
        let stopped = Kept { run: "1".to_owned(), version: 1, state };
        let better = sums([(Metric::Feedback, 0.2), (Metric::Feedback, 0.9)]);
        let first = kept(decide(&split, Some(&stopped), &better, Timestamp::now(), true).unwrap());
        let shares = weights(&split, Some(&first));
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{shares:?}");
        let second = kept(decide(&split, Some(&first), &better, Timestamp::now(), true).unwrap());
        let moved = weights(&split, Some(&second))[1] - shares[1];
        assert!((moved - 0.1).abs() < 1e-9, "{moved}");
    }

    #[test]
    fn a_stopped_arm_gives_its_calls_to_the_control_and_what_somebody_decided_stays() {
        let split = split();
        let worse = sums([(Metric::Errors, 0.0), (Metric::Errors, 1.0)]);
        let stopped = decide(&split, None, &worse, Timestamp::now(), true).unwrap();
        assert_eq!(stopped.action, "experiment.stop_arm");
        let mut kept = kept(stopped);
        assert_eq!(weights(&split, Some(&kept))[..], [1.0, 0.0]);
        assert_eq!(decide(&split, Some(&kept), &worse, Timestamp::now(), true), None, "once is enough");
        kept.state = State { is_held: true, ..State::default() };
        assert_eq!(decide(&split, Some(&kept), &worse, Timestamp::now(), true), None);
        kept.state = State { promoted: Some("new".to_owned()), ..State::default() };
        assert_eq!(weights(&split, Some(&kept))[..], [0.0, 1.0]);
        assert_eq!(decide(&split, Some(&kept), &worse, Timestamp::now(), true), None);
    }
}
