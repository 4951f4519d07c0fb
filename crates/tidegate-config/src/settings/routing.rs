//! How calls are spread over targets: strategies, hedges, the model names behind `auto`. Read by `plan` and `attempt`.

use std::time::Duration;

use serde::Serialize;

use super::Share;

/// How a target is chosen among those of a model.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// The first one that is ready, in the file's order.
    #[default]
    Order,
    /// At random, by weight.
    Weighted,
    /// The one whose first token comes soonest.
    Latency,
    /// The one that writes fastest.
    Throughput,
    /// The cheapest for this very call.
    Cost,
    /// The one with the fewest calls in flight.
    LeastBusy,
    /// Always the same one for a session, or for prompts that begin alike.
    Sticky,
    /// A mix of price, speed and reliability.
    Score(Mix),
}

impl Strategy {
    /// Their names, as they are written in the file.
    pub const NAMES: [&'static str; 8] =
        ["order", "weighted", "latency", "throughput", "cost", "least-busy", "sticky", "score"];

    /// Its name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Weighted => "weighted",
            Self::Latency => "latency",
            Self::Throughput => "throughput",
            Self::Cost => "cost",
            Self::LeastBusy => "least-busy",
            Self::Sticky => "sticky",
            Self::Score(_) => "score",
        }
    }
}

/// What counts how much under the strategy `score`. Finite, none negative, at least one above zero.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Mix {
    /// What the call would cost.
    pub price: f64,
    /// The time to the first token.
    pub latency: f64,
    /// Tokens per second.
    pub throughput: f64,
    /// How seldom it fails.
    pub reliability: f64,
}

impl Default for Mix {
    fn default() -> Self {
        Self { price: 1.0, latency: 1.0, throughput: 1.0, reliability: 1.0 }
    }
}

/// A second target is asked when the first one is late, and the first to speak answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Hedge {
    /// At most this part of a model's calls is hedged.
    pub share: Share,
    /// When the first one counts as late; when it is later than in 19 of 20 of its calls, or of the others', where not set.
    pub after: Option<Duration>,
}

/// What stands behind the model name `auto`: a call goes to one of them by how hard it looks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Auto {
    /// For easy calls: an entry of `models:` or `provider/upstream-model`.
    pub small: String,
    /// For calls in between; where not set, they go to `large` from its threshold on and to `small` below it.
    pub medium: Option<String>,
    /// For hard calls.
    pub large: String,
    /// Where the borders are.
    pub thresholds: Thresholds,
}

/// The difficulty, between 0 and 1, from which on a call goes to a larger model. `medium` is not above `large`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Thresholds {
    /// From here on, the medium one.
    pub medium: f64,
    /// From here on, the large one.
    pub large: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { medium: 0.35, large: 0.65 }
    }
}

/// A model name that the router has: what `auto` means.
pub const AUTO: &str = "auto";

/// Calls that wait while too many are worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Queue {
    /// How many may wait. One more is refused at once.
    pub length: usize,
    /// How long one waits at most.
    pub wait: Duration,
}

impl Default for Queue {
    /// A caller that has waited for two seconds does better elsewhere, or later.
    fn default() -> Self {
        Self { length: 1024, wait: Duration::from_secs(2) }
    }
}

/// A provider that is asked now and then whether it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HealthCheck {
    /// The time between two questions.
    pub every: Duration,
}
