//! What a shadow shows: a call and its shadow, side by side. The gateway's shadows compare the answers; the store keeps the
//! sums, beside those of the two arms.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sums::Observation;

/// What was seen of a caller's call that has a shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    /// Whether it failed.
    pub failed: bool,
    /// What it cost, where the price is known.
    pub cost_nanodollars: Option<u64>,
    /// To its first token.
    pub first_token_us: Option<u64>,
    /// To its end, where it was answered.
    pub latency_us: Option<u64>,
    /// Tokens of its answer.
    pub output_tokens: Option<u64>,
}

impl Seen {
    /// The same as an observation of an arm.
    pub fn observation(&self) -> Observation {
        Observation {
            failed: self.failed,
            cost_nanos: self.cost_nanodollars,
            first_token: self.first_token_us.map(Duration::from_micros),
            latency: self.latency_us.map(Duration::from_micros),
            output_tokens: self.output_tokens,
        }
    }
}

/// How much two answers have in common.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Likeness {
    /// From 0 (nothing in common) to 1 (the same).
    pub similarity: f64,
    /// How long the caller's answer is.
    pub control_characters: u64,
    /// How long the shadow's answer is.
    pub shadow_characters: u64,
    /// Whether both call the same tools; `None` where neither calls any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_names: Option<bool>,
    /// Whether they do so with the same arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_arguments: Option<bool>,
    /// Whether the shadow's answer is JSON; `None` where the caller's is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<bool>,
}

/// The sums over all pairs of a shadow.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PairSums {
    /// Calls that had a shadow.
    pub pairs: u64,
    /// Of these, those where both were answered, and so could be compared.
    pub compared: u64,
    /// The sum of their similarities.
    similarity: f64,
    /// The sum of the logarithms of the shadow's length over the call's.
    length_ratio: f64,
    /// Pairs in which somebody called a tool.
    pub with_tools: u64,
    /// Of these, those that called the same tools.
    pub same_tools: u64,
    /// Of these, those that gave them the same arguments.
    pub same_arguments: u64,
    /// Pairs in which the caller's answer is JSON.
    pub with_json: u64,
    /// Of these, those in which the shadow's is too.
    pub shadow_json: u64,
}

impl PairSums {
    /// Adds a pair.
    pub fn add(&mut self, likeness: Option<&Likeness>) {
        self.pairs += 1;
        let Some(likeness) = likeness else { return };
        self.compared += 1;
        self.similarity +=
            if likeness.similarity.is_finite() { likeness.similarity.clamp(0.0, 1.0) } else { 0.0 };
        // One more on both sides: an answer may be empty.
        let length = |characters: u64| f64::from(u32::try_from(characters).unwrap_or(u32::MAX)) + 1.0;
        self.length_ratio += (length(likeness.shadow_characters) / length(likeness.control_characters)).ln();
        if let Some(is_same) = likeness.tool_names {
            self.with_tools += 1;
            self.same_tools += u64::from(is_same);
            self.same_arguments += u64::from(likeness.tool_arguments == Some(true));
        }
        if let Some(is_json) = likeness.json {
            self.with_json += 1;
            self.shadow_json += u64::from(is_json);
        }
    }

    /// Adds the sums of another replica.
    pub fn merge(&mut self, other: &Self) {
        self.pairs += other.pairs;
        self.compared += other.compared;
        self.similarity += other.similarity;
        self.length_ratio += other.length_ratio;
        self.with_tools += other.with_tools;
        self.same_tools += other.same_tools;
        self.same_arguments += other.same_arguments;
        self.with_json += other.with_json;
        self.shadow_json += other.shadow_json;
    }

    /// How similar the answers are on average.
    pub fn mean_similarity(&self) -> Option<f64> {
        (self.compared > 0).then(|| self.similarity / super::numbers::real(self.compared))
    }

    /// How long the shadow's answers are beside the caller's, typically: 2 is twice as long.
    pub fn typical_length_ratio(&self) -> Option<f64> {
        (self.compared > 0).then(|| (self.length_ratio / super::numbers::real(self.compared)).exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_two_replicas_add_up_to_what_one_would_have_seen() {
        let likenesses = [
            Likeness {
                similarity: 1.0,
                control_characters: 99,
                shadow_characters: 199,
                ..Likeness::default()
            },
            Likeness { similarity: 0.5, json: Some(false), ..Likeness::default() },
            Likeness {
                similarity: 0.0,
                tool_names: Some(true),
                tool_arguments: Some(false),
                ..Likeness::default()
            },
            Likeness {
                similarity: f64::NAN,
                tool_names: Some(false),
                json: Some(true),
                ..Likeness::default()
            },
        ];
        let (mut whole, mut first, mut second) =
            (PairSums::default(), PairSums::default(), PairSums::default());
        for (number, likeness) in likenesses.iter().enumerate() {
            whole.add(Some(likeness));
            if number % 2 == 0 { &mut first } else { &mut second }.add(Some(likeness));
        }
        whole.add(None);
        second.add(None);
        first.merge(&second);
        assert_eq!(first, whole);
        assert_eq!((whole.pairs, whole.compared), (5, 4));
        assert_eq!((whole.with_tools, whole.same_tools, whole.same_arguments), (2, 1, 0));
        assert_eq!((whole.with_json, whole.shadow_json), (2, 1));
        assert!((whole.mean_similarity().unwrap() - 1.5 / 4.0).abs() < 1e-12);
        assert!((whole.typical_length_ratio().unwrap() - 2.0_f64.powf(0.25)).abs() < 1e-12);
    }
}
