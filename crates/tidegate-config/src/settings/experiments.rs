//! Experiments: calls that also go elsewhere (shadow), are split over arms (A/B), or move over step by step (canary).
//! Read by the gateway's experiments.

use std::time::Duration;

use indexmap::IndexMap;
use serde::Serialize;

use super::{Share, Target};

/// An entry of `experiments:`.
#[derive(Debug, Clone, Serialize)]
pub struct Experiment {
    /// Its name.
    pub name: String,
    /// The entry of `models:` whose calls take part. At most one A/B test or canary for each model.
    pub model: String,
    /// What is done with them.
    pub design: Design,
}

/// What an experiment does with the calls of its model.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Design {
    /// Calls are split over arms.
    Arms(ArmsDesign),
    /// A part of the calls also goes to a candidate, after the caller was served.
    Shadow(ShadowDesign),
    /// Calls move over to a candidate step by step.
    Canary(CanaryDesign),
}

/// An A/B test.
#[derive(Debug, Clone, Serialize)]
pub struct ArmsDesign {
    /// What stays in one arm.
    pub by: Unit,
    /// The arms by name, in the file's order; at least two. The one that others are compared with is [`ArmsDesign::control`].
    pub arms: IndexMap<String, Arm>,
    /// When an arm is stopped; never where not set.
    pub guard: Option<Guard>,
    /// Whether calls shift to the better arm.
    pub bandit: Option<Bandit>,
}

impl ArmsDesign {
    /// The index of the arm that the others are compared with: the one without a target, else the first.
    pub fn control(&self) -> usize {
        self.arms.values().position(|arm| arm.target.is_none()).unwrap_or(0)
    }
}

/// One side of an A/B test.
#[derive(Debug, Clone, Serialize)]
pub struct Arm {
    /// Its share of the calls.
    pub weight: u32,
    /// Where its calls go; where the model's calls go anyway, where not set.
    pub target: Option<Target>,
}

/// What stays in one arm. Where a call does not have it, the next that it has: session, user, key, call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A conversation.
    #[default]
    Session,
    /// An end user.
    User,
    /// A key.
    Key,
    /// Nothing: every call is assigned anew.
    Call,
}

/// How much worse than the control an arm may be for sure before it is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Guard {
    /// By how much the part of calls that fail may be higher: `5%` is five calls in a hundred more.
    pub errors: Option<Share>,
    /// By how much a call may be dearer: `50%` is one and a half times the control's cost.
    pub cost: Option<Share>,
}

impl Default for Guard {
    fn default() -> Self {
        Self { errors: Some(Share::from_percent(5)), cost: Some(Share::from_percent(50)) }
    }
}

/// Calls shift to the better arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bandit {
    /// What is better is judged by this.
    pub metric: Metric,
    /// Every arm keeps at least this part of the calls.
    pub least: Share,
}

/// What arms are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The score that callers give; more is better.
    Feedback,
    /// What a call costs; less is better.
    Cost,
    /// The time a call takes; less is better.
    Latency,
    /// The part of calls that fail; less is better.
    Errors,
}

/// A part of the calls also goes to a candidate, after the caller was served.
#[derive(Debug, Clone, Serialize)]
pub struct ShadowDesign {
    /// The candidate.
    pub target: Target,
    /// The part of the calls.
    pub share: Share,
    /// What may be spent on it.
    pub budget: Option<ShadowBudget>,
}

/// What a shadow may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ShadowBudget {
    /// In billionths of a US dollar.
    pub nano_dollars: u64,
    /// In which time.
    pub per: BudgetPeriod,
}

/// The time after which a budget begins anew, on the calendar (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetPeriod {
    /// Every hour.
    Hour,
    /// Every day.
    Day,
    /// Every Monday.
    Week,
    /// The first of every month.
    Month,
    /// Never.
    Lifetime,
}

/// Calls move over to a candidate step by step, forward or back by themselves.
#[derive(Debug, Clone, Serialize)]
pub struct CanaryDesign {
    /// What stays with the candidate or the model.
    pub by: Unit,
    /// The candidate.
    pub target: Target,
    /// The part of the calls at each step: rising, the last one 100%.
    pub steps: Vec<Share>,
    /// Each step takes at least so many calls of the candidate.
    pub calls: u64,
    /// Each step takes at least this long.
    pub after: Duration,
    /// When the candidate is given up; never where not set.
    pub guard: Option<Guard>,
}
