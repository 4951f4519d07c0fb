//! What is measured of the calls of an arm, and on which scale two arms are compared.

use serde::{Deserialize, Serialize};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The share of calls that failed.
    Errors,
    /// Nano-dollars a call.
    Cost,
    /// Milliseconds to the first token.
    FirstToken,
    /// Milliseconds to the end of the answer.
    Latency,
    /// Tokens of the answer.
    OutputTokens,
    /// What was said of the answers, from 0 (bad) to 1 (good).
    Feedback,
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Less is better.
    Lower,
    /// More is better.
    Higher,
    /// Neither is: only a difference can be seen.
    Neither,
}

/// How the difference between two arms is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Values lie between 0 and 1; a difference of 0.05 is five points.
    Points,
    /// Values are positive with a long tail; they are compared by their logarithms, and a difference of 0.05 means that
    /// typical values are 5 % higher.
    Ratio,
}

impl Metric {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 6] =
        [Self::Errors, Self::Cost, Self::FirstToken, Self::Latency, Self::OutputTokens, Self::Feedback];

    /// Which way is better.
    pub fn direction(self) -> Direction {
        match self {
            Self::Errors | Self::Cost | Self::FirstToken | Self::Latency => Direction::Lower,
            Self::OutputTokens => Direction::Neither,
            Self::Feedback => Direction::Higher,
        }
    }

    /// How differences are told.
    pub fn scale(self) -> Scale {
        match self {
            Self::Errors | Self::Feedback => Scale::Points,
            Self::Cost | Self::FirstToken | Self::Latency | Self::OutputTokens => Scale::Ratio,
        }
    }

    /// The name used in configuration, answers and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Cost => "cost",
            Self::FirstToken => "first_token",
            Self::Latency => "latency",
            Self::OutputTokens => "output_tokens",
            Self::Feedback => "feedback",
        }
    }

    /// The least value that is told apart on a scale of ratios: below it, differences are noise of the clock or of
    /// rounding, and the logarithm of 0 does not exist.
    fn floor(self) -> f64 {
        match self {
            // A ten-millionth of a dollar, less than any call costs that is not free.
            Self::Cost => 100.0,
            // A tenth of a millisecond.
            Self::FirstToken | Self::Latency => 0.1,
            Self::OutputTokens => 1.0,
            Self::Errors | Self::Feedback => 0.0,
        }
    }

    /// The value as it is compared: shares as they are, within 0 and 1; all else as its logarithm. `None` for what is
    /// no number.
    pub(super) fn to_scale(self, value: f64) -> Option<f64> {
        if !value.is_finite() {
            return None;
        }
        Some(match self.scale() {
            Scale::Points => value.clamp(0.0, 1.0),
            Scale::Ratio => value.max(self.floor()).ln(),
        })
    }

    /// A mean on the scale of comparison as a value again: for ratios the geometric mean, which is the value of a
    /// typical call.
    pub(super) fn typical(self, mean: f64) -> f64 {
        match self.scale() {
            Scale::Points => mean,
            Scale::Ratio => mean.exp(),
        }
    }

    /// A difference on the scale of comparison as it is told.
    pub(super) fn told(self, difference: f64) -> f64 {
        match self.scale() {
            Scale::Points => difference,
            Scale::Ratio => difference.exp_m1(),
        }
    }

    /// A margin as it is told, on the scale of comparison.
    pub(super) fn untold(self, margin: f64) -> f64 {
        match self.scale() {
            Scale::Points => margin,
            Scale::Ratio => margin.max(-0.999_999).ln_1p(),
        }
    }
}
