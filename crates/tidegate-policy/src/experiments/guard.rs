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
    if found.estimate().is_none_or(|estimate| estimate <= most) || !found.is_refuted(most, -alpha.ln()) {
        return None;
    }
    let (control_mean, arm_mean) = (control.mean()?, arm.mean()?);
    let difference = if is_bill {
        found.interval(alpha).map(|above| margin + above / control_mean)
    } else {
        found.interval(alpha).map(|value| metric.told(value))
    };
    Some(Breach {
        guarded,
        margin,
        difference,
        p_value: (-found.against(most)).exp().min(1.0),
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
        write!(formatter, " (p {p_value:.4})")
    }
}
