//! A canary: a new target gets a small share of the calls, and more by steps as long as no guard fires. When one does,
//! it gets none, at once and for good.
//!
//! The state is a small value that outlives restarts. Each transition starts a new stage, and calls are summed up by
//! stage: within one the share is constant, so that the canary and the control see the same hours of the day.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::guard::{Breach, GuardSettings, GuardVerdict, guard_with};
use super::numbers::real;
use super::sums::ArmSums;

/// How likely it may be that a canary that is not too bad is ever stopped, over all its steps.
const CANARY_ALPHA: f64 = 0.05;

/// A canary is not judged against fewer calls of the control than this (or than the canary itself needs).
const LEAST_CONTROL_CALLS: u64 = 50;

/// How a canary goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CanarySettings {
    /// The shares, from the first step to the last, each 0 to 1.
    pub steps: Vec<f64>,
    /// So many calls of the canary each step lasts at least.
    pub calls: u64,
    /// So long each step lasts at least.
    pub after: Duration,
    /// By how much the canary may be worse.
    pub guard: GuardSettings,
}

/// Where a canary is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CanaryPhase {
    /// At this step, counted from 0.
    Step(usize),
    /// The last step was 100 %: all calls go to the new target.
    Done,
    /// A guard fired, or somebody took it back: no call goes there.
    Back,
}

/// The state of a canary, to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryState {
    /// Where it is.
    pub phase: CanaryPhase,
    /// When it came there, in milliseconds since 1970.
    pub since_ms: u64,
    /// Counts transitions: calls are summed up by stage, and only those of this one are asked for.
    pub stage: u32,
}

/// From one state to the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// Before.
    pub from: CanaryState,
    /// After.
    pub to: CanaryState,
    /// The share of calls before.
    pub from_share: f64,
    /// The share of calls after.
    pub to_share: f64,
    /// Why.
    pub reason: TransitionReason,
}

/// Why a canary went on or back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransitionReason {
    /// The step lasted as long as it must, and no guard fired.
    Passed {
        /// Calls of the canary in this step.
        calls: u64,
        /// Calls of the control meanwhile.
        control_calls: u64,
        /// How long it lasted, in milliseconds.
        lasted_ms: u64,
    },
    /// A guard fired.
    Guard(Vec<Breach>),
    /// Somebody wanted it.
    ByHand,
}

impl CanaryState {
    /// A canary that begins at its first step.
    pub fn new(now_ms: u64) -> Self {
        Self { phase: CanaryPhase::Step(0), since_ms: now_ms, stage: 0 }
    }

    /// The share of calls that goes to the new target.
    pub fn share(&self, settings: &CanarySettings) -> f64 {
        match self.phase {
            CanaryPhase::Step(step) => settings.share(step),
            CanaryPhase::Done => 1.0,
            CanaryPhase::Back => 0.0,
        }
    }

    /// Whether it goes on or back now, given the sums of this stage alone. May be asked after every call.
    pub fn next(
        &self,
        settings: &CanarySettings,
        control: &ArmSums,
        canary: &ArmSums,
        now_ms: u64,
    ) -> Option<Transition> {
        let CanaryPhase::Step(step) = self.phase else {
            return None;
        };
        let alpha = CANARY_ALPHA / real(settings.steps.len().max(1) as u64);
        if let GuardVerdict::Stop(breaches) = guard_with(control, canary, &settings.guard, alpha) {
            return Some(self.to(settings, CanaryPhase::Back, now_ms, TransitionReason::Guard(breaches)));
        }
        let lasted = Duration::from_millis(now_ms.saturating_sub(self.since_ms));
        let is_seen = canary.calls() >= settings.calls
            && control.calls() >= settings.calls.min(LEAST_CONTROL_CALLS)
            && lasted >= settings.after;
        let next = settings.after_step(step)?;
        is_seen.then(|| {
            let reason = TransitionReason::Passed {
                calls: canary.calls(),
                control_calls: control.calls(),
                lasted_ms: now_ms.saturating_sub(self.since_ms),
            };
            self.to(settings, next, now_ms, reason)
        })
    }

    /// Takes the canary back, or on to all calls, because somebody wants it.
    pub fn by_hand(&self, settings: &CanarySettings, phase: CanaryPhase, now_ms: u64) -> Transition {
        self.to(settings, phase, now_ms, TransitionReason::ByHand)
    }

    fn to(
        &self,
        settings: &CanarySettings,
        phase: CanaryPhase,
        now_ms: u64,
        reason: TransitionReason,
    ) -> Transition {
        let to = Self { phase, since_ms: now_ms, stage: self.stage.saturating_add(1) };
        Transition { from: *self, to, from_share: self.share(settings), to_share: to.share(settings), reason }
    }
}

impl CanarySettings {
    /// The share of a step; of the last one where the settings have become shorter than the state.
    fn share(&self, step: usize) -> f64 {
        self.steps.get(step).or(self.steps.last()).copied().unwrap_or(0.0).clamp(0.0, 1.0)
    }

    /// What comes after a step; `None` after the last one, if that is not all calls.
    fn after_step(&self, step: usize) -> Option<CanaryPhase> {
        let next = *self.steps.get(step + 1)?;
        Some(if next >= 1.0 { CanaryPhase::Done } else { CanaryPhase::Step(step + 1) })
    }
}

impl fmt::Display for TransitionReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed { calls, control_calls, lasted_ms } => write!(
                formatter,
                "{calls} calls beside {control_calls} of the control in {} s, and no guard fired",
                lasted_ms / 1000
            ),
            Self::Guard(breaches) => {
                for (index, breach) in breaches.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "; " };
                    write!(formatter, "{separator}{breach}")?;
                }
                Ok(())
            }
            Self::ByHand => formatter.write_str("by hand"),
        }
    }
}
