//! How hard a call looks, between 0 and 1: what the model name `auto` chooses by. Called by `plan`.
//!
//! It looks at the size of the request and at a bounded piece of its text: words in several languages, code, formulas, demands on the
//! answer. No model is asked and nothing is learned, so the same request always gets the same figure, and the figure can be explained: it
//! is a sum, and [`WEIGHTS`] is the table.

mod features;
#[cfg(test)]
mod tests;
mod words;

use std::fmt::{self, Write as _};

use smallvec::SmallVec;
use tidegate_config::{Auto, Thresholds};

use crate::accept::Call;
pub(crate) use features::Feature;
use features::measure;

/// What counts how much. The values were chosen by hand on two thirds of the labelled prompts in `prompts.jsonl`; the test holds them
/// against the last third as well.
pub(crate) const WEIGHTS: [(Feature, f64); Feature::COUNT] = [
    (Feature::Length, 0.22),
    (Feature::Context, 0.20),
    (Feature::Turns, 0.08),
    (Feature::Code, 0.16),
    (Feature::Maths, 0.30),
    (Feature::Reasoning, 0.45),
    (Feature::Task, 0.06),
    (Feature::Constraints, 0.10),
    (Feature::Tools, 0.10),
    (Feature::Schema, 0.04),
    (Feature::Images, 0.06),
    (Feature::System, 0.06),
    (Feature::Effort, 0.25),
    (Feature::Quick, -0.15),
];

/// From the sum of the table to the difficulty, in between in proportion: so that the usual borders, 0.35 and 0.65, lie where easy and
/// medium, medium and hard prompts part. It changes no order.
const SCALE: [(f64, f64); 4] = [(0.0, 0.0), (0.06, 0.35), (0.27, 0.65), (0.80, 1.0)];

/// Parts of the sum that are smaller are not shown.
const LEAST_SHOWN: f64 = 0.005;

/// How hard a call looks, and why.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Difficulty {
    /// Between 0 and 1.
    pub(crate) value: f64,
    /// What it is the sum of, the largest first.
    pub(crate) parts: SmallVec<[(Feature, f64); Feature::COUNT]>,
}

/// The size of model that a call is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    Small,
    Medium,
    Large,
}

impl Size {
    fn as_str(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
        }
    }
}

/// What was chosen for a call that asked for `auto`. Shown as the header `x-tidegate-route`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Route {
    pub(crate) size: Size,
    /// The model that stands for that size.
    pub(crate) model: String,
    pub(crate) difficulty: Difficulty,
}

/// How hard a call looks.
pub(crate) fn assess(call: &Call) -> Difficulty {
    let values = measure(call);
    let sum: f64 = WEIGHTS.into_iter().map(|(feature, weight)| weight * values.of(feature)).sum();
    let value = scaled(sum);
    // The parts are shown on the same scale, so that they add up to what is shown.
    let factor = if sum > 0.0 { value / sum } else { 1.0 };
    let mut parts: SmallVec<[(Feature, f64); Feature::COUNT]> = WEIGHTS
        .into_iter()
        .map(|(feature, weight)| (feature, weight * values.of(feature) * factor))
        .filter(|(_, part)| part.abs() >= LEAST_SHOWN)
        .collect();
    parts.sort_by(|(_, one), (_, other)| other.abs().total_cmp(&one.abs()));
    Difficulty { value, parts }
}

fn scaled(sum: f64) -> f64 {
    for pair in SCALE.windows(2) {
        let [(from, low), (to, high)] = pair else { continue };
        if sum < *to {
            let way = ((sum - from) / (to - from)).max(0.0);
            return low + way * (high - low);
        }
    }
    1.0
}

/// Which of the models a call that asked for `auto` goes to.
pub(crate) fn route(auto: &Auto, call: &Call) -> Route {
    let difficulty = assess(call);
    let Thresholds { medium, large } = auto.thresholds;
    let (size, model) = match &auto.medium {
        _ if difficulty.value >= large => (Size::Large, &auto.large),
        Some(model) if difficulty.value >= medium => (Size::Medium, model),
        _ => (Size::Small, &auto.small),
    };
    Route { size, model: model.clone(), difficulty }
}

impl fmt::Display for Route {
    /// `large; difficulty=0.71; reasoning=0.35, code=0.16`: plain ASCII, as it stands in a header.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}; {}", self.size.as_str(), self.difficulty)
    }
}

impl fmt::Display for Difficulty {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "difficulty={:.2}", self.value)?;
        let mut separator = ';';
        for (feature, part) in &self.parts {
            formatter.write_char(separator)?;
            write!(formatter, " {}={part:.2}", feature.as_str())?;
            separator = ',';
        }
        Ok(())
    }
}
