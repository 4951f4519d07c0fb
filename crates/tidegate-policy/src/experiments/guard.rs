//! Guardrails: an arm that is significantly worse than the control, by more than was allowed, is stopped.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::evidence::{Difference, Evidence, Interval};
use super::metric::Metric;
use super::numbers::real;
use super::sums::ArmSums;

/// How likely it may be that a guard ever stops an arm that is not too bad: all guards of an arm together, at all times
/// together.
const GUARD_ALPHA: f64 = 0.05;

/// Parts of a cost are parts of this at least, in nano-dollars: where the control is free, no part of it can be told.
const LEAST_COST: f64 = 100.0;

/// By how much an arm may be worse before it is stopped; `None`: by anything.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GuardSettings {
    /// Points of the error rate: 0.05 allows 6 % where the control has 1 %.
    pub errors: Option<f64>,
    /// Part of the cost: 0.5 allows one and a half times the control's.
    pub cost: Option<f64>,
    /// Part of the time to the first token.
    pub first_token: Option<f64>,
    /// Part of the time to the end.
    pub latency: Option<f64>,
}

impl Default for GuardSettings {
    fn default() -> Self {
        Self { errors: Some(0.05), cost: Some(0.5), first_token: None, latency: None }
    }
}

/// What a guard looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guarded {
    /// The error rate.
    Errors,
    /// The cost of a typical call (geometric mean).
    Cost,
    /// The bill: the plain mean of the cost, to which few dear calls can contribute most.
    Bill,
    /// Time to the first token.
    FirstToken,
    /// Time to the end.
    Latency,
}

/// Why an arm must be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Breach {
    /// What is worse.
    pub guarded: Guarded,
    /// By how much it may be: points, or a part of the control's.
    pub margin: f64,
    /// By how much it is.
    pub difference: Interval,
    /// The probability of seeing as much at any time if it was within the margin, at most.
    pub p_value: f64,
    /// The mean of the control (errors: a share, cost: nano-dollars, times: milliseconds).
    pub control: f64,
    /// The mean of the arm.
    pub arm: f64,
    /// Calls of the control.
    pub control_calls: u64,
    /// Calls of the arm.
    pub arm_calls: u64,
}

/// What the guards say of an arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardVerdict {
    /// It may go on.
    Fine,
    /// It must be stopped, for at least one reason.
    Stop(Vec<Breach>),
}

/// Looks at one arm. May be asked after every call.
pub fn guard(control: &ArmSums, arm: &ArmSums, settings: &GuardSettings) -> GuardVerdict {
    guard_with(control, arm, settings, GUARD_ALPHA)
}

pub(super) fn guard_with(
    control: &ArmSums,
    arm: &ArmSums,
    settings: &GuardSettings,
    alpha: f64,
) -> GuardVerdict {
    let margins = settings.margins();
    let guards = real(margins.iter().flatten().count().max(1) as u64);
    let breaches: Vec<Breach> = margins
        .into_iter()
        .flatten()
        .filter_map(|(guarded, margin)| breach(control, arm, guarded, margin, alpha / guards))
        .collect();
    if breaches.is_empty() { GuardVerdict::Fine } else { GuardVerdict::Stop(breaches) }
}

impl GuardSettings {
    fn margins(&self) -> [Option<(Guarded, f64)>; 5] {
        [
            self.errors.map(|margin| (Guarded::Errors, margin)),
            self.cost.map(|margin| (Guarded::Cost, margin)),
            self.cost.map(|margin| (Guarded::Bill, margin)),
            self.first_token.map(|margin| (Guarded::FirstToken, margin)),
            self.latency.map(|margin| (Guarded::Latency, margin)),
        ]
    }
}

impl Guarded {
    fn metric(self) -> Metric {
        match self {
            Self::Errors => Metric::Errors,
            Self::Cost | Self::Bill => Metric::Cost,
            Self::FirstToken => Metric::FirstToken,
            Self::Latency => Metric::Latency,
        }
    }
}

fn breach(control: &ArmSums, arm: &ArmSums, guarded: Guarded, margin: f64, alpha: f64) -> Option<Breach> {
    let metric = guarded.metric();
    let (control, arm) = (control.of(metric), arm.of(metric));
    let is_bill = guarded == Guarded::Bill;
    let (control_evidence, arm_evidence, most) = match guarded {
        // The bill is compared with the control's, raised by the margin: a difference above 0 is too much.
        Guarded::Bill => (Evidence::plain(control, 1.0 + margin), Evidence::plain(arm, 1.0), 0.0),
        Guarded::Errors => {
            (Evidence::of_errors_at_once(control), Evidence::of_errors_at_once(arm), metric.untold(margin))
        }
        _ => (Evidence::of(metric, control), Evidence::of(metric, arm), metric.untold(margin)),
    };
    let found = Difference::new(&control_evidence, &arm_evidence);
    if found.estimate().is_none_or(|estimate| estimate <= most) || !found.is_refuted(most, alpha) {
        return None;
    }
    let (control_mean, arm_mean) = (control.mean()?, arm.mean()?);
    let difference = if is_bill {
        found.interval(alpha).map(|above| margin + above / control_mean.max(LEAST_COST))
    } else {
        found.interval(alpha).map(|value| metric.told(value))
    };
    Some(Breach {
        guarded,
        margin,
        difference,
        p_value: found.p_value(most),
        control: control_mean,
        arm: arm_mean,
        control_calls: control.count(),
        arm_calls: arm.count(),
    })
}

impl fmt::Display for Breach {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { guarded, margin, difference, control, arm, control_calls, arm_calls, p_value } = self;
        let least = difference.low.unwrap_or_default() * 100.0;
        let margin = margin * 100.0;
        match guarded {
            Guarded::Errors => write!(
                formatter,
                "{:.1} % of {arm_calls} calls failed, {:.1} % of {control_calls} in the control: at least {least:.1} \
                 points more, {margin:.1} are allowed",
                arm * 100.0,
                control * 100.0
            )?,
            Guarded::Cost | Guarded::Bill => write!(
                formatter,
                "a call costs {:.6} USD over {arm_calls} calls, {:.6} over {control_calls} in the control: {} at least \
                 {least:.0} % more, {margin:.0} % is allowed",
                arm / 1e9,
                control / 1e9,
                if *guarded == Guarded::Bill { "on average" } else { "typically" }
            )?,
            Guarded::FirstToken | Guarded::Latency => write!(
                formatter,
                "{} takes {arm:.0} ms over {arm_calls} calls, {control:.0} over {control_calls} in the control: typically \
                 at least {least:.0} % more, {margin:.0} % is allowed",
                if *guarded == Guarded::FirstToken { "the first token" } else { "an answer" }
            )?,
        }
        if *p_value < 1e-4 {
            formatter.write_str(" (p < 0.0001)")
        } else {
            write!(formatter, " (p = {p_value:.4})")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sums::Cluster;
    use super::*;

    fn arm(calls: u64, failed: u64, cost_nanos: f64) -> ArmSums {
        let mut sums = ArmSums::default();
        for call in 0..calls {
            sums.add(Metric::Errors, f64::from(u8::from(call < failed)), None);
            sums.add(Metric::Cost, cost_nanos, None);
        }
        sums
    }

    fn guards_that_fire(control: &ArmSums, arm: &ArmSums, settings: &GuardSettings) -> Vec<Guarded> {
        match guard(control, arm, settings) {
            GuardVerdict::Fine => Vec::new(),
            GuardVerdict::Stop(breaches) => breaches.iter().map(|breach| breach.guarded).collect(),
        }
    }

    #[test]
    fn an_arm_is_stopped_for_what_is_worse_and_the_reason_has_the_figures() {
        let settings = GuardSettings::default();
        let control = arm(1000, 10, 2e6);
        assert_eq!(guards_that_fire(&control, &arm(200, 2, 2e6), &settings), []);
        assert_eq!(guards_that_fire(&control, &arm(200, 100, 2e6), &settings), [Guarded::Errors]);
        let dear = guards_that_fire(&control, &arm(200, 2, 8e6), &settings);
        assert_eq!(dear, [Guarded::Cost, Guarded::Bill], "costs that never vary are compared too");
        let GuardVerdict::Stop(breaches) = guard(&control, &arm(200, 100, 2e6), &settings) else {
            panic!("it was stopped just now");
        };
        let reason = breaches[0].to_string();
        let expected = "50.0 % of 200 calls failed, 1.0 % of 1000 in the control: at least";
        assert!(reason.starts_with(expected) && reason.ends_with("5.0 are allowed (p < 0.0001)"), "{reason}");
    }

    #[test]
    fn an_arm_that_is_better_or_that_nobody_guards_goes_on() {
        let (bad, good) = (arm(1000, 500, 9e6), arm(1000, 0, 1e6));
        assert_eq!(guards_that_fire(&bad, &good, &GuardSettings::default()), []);
        let off = GuardSettings { errors: None, cost: None, first_token: None, latency: None };
        assert_eq!(guards_that_fire(&good, &bad, &off), []);
    }

    #[test]
    fn nothing_seen_stops_nobody() {
        let none = ArmSums::default();
        assert_eq!(guards_that_fire(&none, &arm(1000, 1000, 1e9), &GuardSettings::default()), []);
        assert_eq!(guards_that_fire(&arm(1000, 0, 1.0), &none, &GuardSettings::default()), []);
    }

    #[test]
    fn an_arm_that_costs_where_the_control_is_free_is_stopped_and_can_be_told() {
        let breaches = match guard(&arm(100, 0, 0.0), &arm(100, 0, 5e6), &GuardSettings::default()) {
            GuardVerdict::Stop(breaches) => breaches,
            GuardVerdict::Fine => panic!("it costs more"),
        };
        assert!(!breaches.iter().any(|breach| breach.to_string().contains("inf")), "{breaches:?}");
        let kept: Vec<Breach> = serde_json::from_str(&serde_json::to_string(&breaches).unwrap()).unwrap();
        assert_eq!(kept.len(), breaches.len());
    }

    #[test]
    fn failures_stop_an_arm_before_many_users_have_seen_them() {
        let (mut control, mut bad) = (ArmSums::default(), ArmSums::default());
        let user = Some(Cluster::of(b"the only one"));
        for _ in 0..30 {
            control.add(Metric::Errors, 0.0, user);
            bad.add(Metric::Errors, 1.0, user);
        }
        assert_eq!(guards_that_fire(&control, &bad, &GuardSettings::default()), [Guarded::Errors]);
    }
}
