//! The part of the file that says how calls are spread: `auto`, `score`, `hedge`, `health_check`, `queue`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::read::Located;
use crate::units::{DurationText, Number, ShareText};

/// What the model name `auto` means: a call goes to one of these by how hard it looks.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct AutoSection {
    /// For easy calls: an entry of `models`, or `provider/upstream-model`.
    pub(crate) small: Located<String>,
    /// For calls in between. Without it, there are small and large ones.
    pub(crate) medium: Option<Located<String>>,
    /// For hard calls.
    pub(crate) large: Located<String>,
    /// Where the borders are, as difficulties between 0 and 1.
    pub(crate) thresholds: Option<ThresholdsSection>,
}

/// The difficulty, between 0 and 1, from which on a call goes to a larger model.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ThresholdsSection {
    /// From here on, the medium one.
    #[schemars(extend("default" = 0.35))]
    pub(crate) medium: Option<Located<Number>>,
    /// From here on, the large one.
    #[schemars(extend("default" = 0.65))]
    pub(crate) large: Option<Located<Number>>,
}

/// What counts how much under the strategy `score`. What is left out counts 1, and 0 does not count.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ScoreSection {
    /// What the call would cost.
    #[schemars(extend("default" = 1))]
    pub(crate) price: Option<Located<Number>>,
    /// The time to the first token.
    #[schemars(extend("default" = 1))]
    pub(crate) latency: Option<Located<Number>>,
    /// Tokens per second.
    #[schemars(extend("default" = 1))]
    pub(crate) throughput: Option<Located<Number>>,
    /// How seldom it fails.
    #[schemars(extend("default" = 1))]
    pub(crate) reliability: Option<Located<Number>>,
}

/// A second target is asked when the first one has not said anything in time. The first to speak answers, the other one is cancelled.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct HedgeSection {
    /// At most this part of the calls is hedged.
    #[schemars(extend("default" = "5%"))]
    pub(crate) share: Option<Located<ShareText>>,
    /// When a target counts as late. Measured, when left out: later than 19 of 20 of its own calls, or of the model's other targets'.
    pub(crate) after: Option<DurationText>,
}

/// A provider that is asked now and then whether it is there.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct HealthCheckSection {
    /// The time between two questions. What is asked for is the list of its models, which costs nothing.
    #[schemars(extend("default" = "30s"))]
    pub(crate) every: Option<Located<DurationText>>,
}

/// Calls that wait while as many as `max_calls` are worked on.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct QueueSection {
    /// How many may wait. One more is refused at once. 0 lets none wait.
    #[schemars(extend("default" = 1024))]
    pub(crate) length: Option<Located<u32>>,
    /// How long one waits at most.
    #[schemars(extend("default" = "2s"))]
    pub(crate) wait: Option<Located<DurationText>>,
}

/// The strategies, for the schema.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) enum StrategyKind {
    /// The first target that is ready, in the order of the list.
    Order,
    /// At random, by weight.
    Weighted,
    /// The one whose first token comes soonest, as measured, with the calls that it is busy with.
    Latency,
    /// The one that writes the most tokens a second.
    Throughput,
    /// The cheapest for the call at hand, with what it would read from a prompt cache.
    Cost,
    /// The one with the fewest calls in flight.
    LeastBusy,
    /// Always the same one for a session, or for prompts that begin alike, so that the provider's prompt cache hits.
    Sticky,
    /// A mix of price, latency, throughput and reliability, weighted by `score`.
    Score,
}
