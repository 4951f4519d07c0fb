//! The part of the file that says what is tried out: `experiments`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Named;
use crate::read::Located;
use crate::units::{LongDurationText, PositiveDollars, ShareText};

/// Something that is tried out with the calls of a model: `arms` (an A/B test), `shadow` or `canary`, one of them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ExperimentSection {
    /// The entry of `models` whose calls take part.
    pub(crate) model: Option<Located<String>>,
    /// What stays in one arm, or with one side of a canary. Where a call does not have it, the next that it has counts.
    #[schemars(extend("default" = "session"))]
    pub(crate) by: Option<Located<UnitKind>>,
    /// An A/B test: calls are split over these.
    pub(crate) arms: Option<Located<Named<Option<ArmSection>>>>,
    /// A part of the calls also goes to a candidate, after the caller was served.
    pub(crate) shadow: Option<Located<ShadowSection>>,
    /// Calls move over to a candidate step by step, and back if it is worse.
    pub(crate) canary: Option<Located<CanarySection>>,
    /// How much worse an arm or a canary may be for sure before it is stopped. `false`: it is never stopped.
    #[schemars(extend("default" = {"errors": "5%", "cost": "50%"}))]
    pub(crate) guard: Option<Located<GuardEntry>>,
    /// Calls of an A/B test shift to the better arm.
    pub(crate) bandit: Option<Located<BanditSection>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UnitKind {
    /// A conversation, by `x-tidegate-session`.
    Session,
    /// An end user.
    User,
    /// A key.
    Key,
    /// Nothing: every call is assigned anew.
    Call,
}

/// One side of an A/B test.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ArmSection {
    /// Its share of the calls.
    #[schemars(extend("default" = 1))]
    pub(crate) weight: Option<Located<u32>>,
    /// Where its calls go, `provider/upstream-model`. Where the model's calls go anyway, when left out; the other arms are compared with
    /// that one.
    pub(crate) target: Option<Located<String>>,
}

/// `false`, or the bounds.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename = "$text_or_mapping")]
#[schemars(rename = "GuardEntry", untagged)]
pub(crate) enum GuardEntry {
    /// `false`: nothing is stopped.
    #[schemars(with = "bool")]
    Text(String),
    /// The bounds.
    Mapping(GuardSection),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
#[derive(Default)]
pub(crate) struct GuardSection {
    /// By how much the part of calls that fail may be higher: `5%` is five calls in a hundred more.
    pub(crate) errors: Option<Located<ShareText>>,
    /// By how much a call may be dearer: `50%` is one and a half times.
    pub(crate) cost: Option<Located<ShareText>>,
}

/// Calls shift to the better arm.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct BanditSection {
    /// What is better is judged by this.
    pub(crate) metric: Located<MetricKind>,
    /// Every arm keeps at least this part of the calls.
    #[schemars(extend("default" = "5%"))]
    pub(crate) least: Option<Located<ShareText>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MetricKind {
    /// The score that callers give.
    Feedback,
    /// What a call costs.
    Cost,
    /// The time a call takes.
    Latency,
    /// The part of calls that fail.
    Errors,
}

/// A part of the calls also goes to a candidate.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ShadowSection {
    /// The candidate, `provider/upstream-model`.
    pub(crate) target: Located<String>,
    /// The part of the calls.
    #[schemars(extend("default" = "10%"))]
    pub(crate) share: Option<Located<ShareText>>,
    /// What may be spent on it. Without it, there is no bound but the share.
    pub(crate) budget: Option<ShadowBudgetSection>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ShadowBudgetSection {
    /// US dollars.
    pub(crate) usd: Located<PositiveDollars>,
    /// In which time.
    #[schemars(extend("default" = "day"))]
    pub(crate) per: Option<PeriodKind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PeriodKind {
    /// Every hour anew.
    Hour,
    /// Every day (UTC) anew.
    Day,
    /// Every Monday anew.
    Week,
    /// Every month anew.
    Month,
    /// Once.
    Lifetime,
}

/// Calls move over to a candidate step by step.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct CanarySection {
    /// The candidate, `provider/upstream-model`.
    pub(crate) target: Located<String>,
    /// The part of the calls at each step: rising, the last one `100%`.
    #[schemars(extend("default" = ["1%", "5%", "25%", "100%"]))]
    pub(crate) steps: Option<Located<Vec<Located<ShareText>>>>,
    /// Each step takes at least so many calls of the candidate.
    #[schemars(extend("default" = 200))]
    pub(crate) calls: Option<Located<u32>>,
    /// Each step takes at least this long.
    #[schemars(extend("default" = "10m"))]
    pub(crate) after: Option<LongDurationText>,
}
