//! The tier of service that an answer says it was served in. Read by every dialect, priced by the catalog, kept in the
//! ledger.
//!
//! What a request asks for is a wish: providers serve it otherwise when a tier is full, and bill what they served. So
//! only the answer's word counts.

use serde_json::{Map, Value};

use crate::Dialect;

/// How urgently a provider served an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServedTier {
    /// As usual.
    Standard,
    /// When there was room.
    Flex,
    /// In a batch.
    Batch,
    /// First. OpenAI calls it `fast` as well, since July 2026.
    Priority,
    /// First of all (OpenAI).
    Ultrafast,
    /// By a faster configuration of the same model (Anthropic's `speed`).
    Fast,
    /// From capacity bought ahead (OpenAI).
    Scale,
    /// From capacity bought ahead (Google).
    Provisioned,
    /// From capacity bought ahead (Groq).
    Performance,
    /// In a tier that nobody here has heard of.
    Other,
}

impl ServedTier {
    /// The word for the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Flex => "flex",
            Self::Batch => "batch",
            Self::Priority => "priority",
            Self::Ultrafast => "ultrafast",
            Self::Fast => "fast",
            Self::Scale => "scale",
            Self::Provisioned => "provisioned",
            Self::Performance => "performance",
            Self::Other => "other",
        }
    }

    /// Reads a provider's word. `None` where it says nothing: `auto` is only asked for, yet some servers echo it.
    pub fn read(word: &str) -> Option<Self> {
        let word = word.trim().to_ascii_lowercase();
        Some(match word.as_str() {
            "" | "auto" | "unspecified" | "traffic_type_unspecified" => return None,
            // Groq's word, and Vertex'.
            "default" | "standard" | "on_demand" => Self::Standard,
            "flex" | "on_demand_flex" => Self::Flex,
            "batch" => Self::Batch,
            "priority" | "fast" | "on_demand_priority" => Self::Priority,
            "ultrafast" => Self::Ultrafast,
            "scale" => Self::Scale,
            "provisioned" | "provisioned_throughput" => Self::Provisioned,
            "performance" => Self::Performance,
            _ => Self::Other,
        })
    }

    /// Reads what an answer says: the tier it names, and what its usage says beside the counts.
    pub(crate) fn of_answer(
        dialect: Dialect,
        named: Option<&str>,
        usage: Option<&Map<String, Value>>,
    ) -> Option<Self> {
        let beside = |name: &str| usage?.get(name)?.as_str();
        let named = named.and_then(Self::read);
        match dialect {
            Dialect::OpenAiChat => named,
            Dialect::AnthropicMessages if beside("speed") == Some("fast") => Some(Self::Fast),
            Dialect::AnthropicMessages => named,
            Dialect::Gemini => named.or_else(|| beside("trafficType").and_then(Self::read)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_s_word_is_read_and_a_wish_is_none() {
        use ServedTier as Tier;
        for (word, tier) in [
            ("default", Some(Tier::Standard)),
            ("standard", Some(Tier::Standard)),
            ("on_demand", Some(Tier::Standard)),
            ("ON_DEMAND", Some(Tier::Standard)),
            ("flex", Some(Tier::Flex)),
            ("ON_DEMAND_FLEX", Some(Tier::Flex)),
            ("priority", Some(Tier::Priority)),
            ("fast", Some(Tier::Priority)),
            ("ON_DEMAND_PRIORITY", Some(Tier::Priority)),
            ("ultrafast", Some(Tier::Ultrafast)),
            ("batch", Some(Tier::Batch)),
            ("scale", Some(Tier::Scale)),
            ("PROVISIONED_THROUGHPUT", Some(Tier::Provisioned)),
            ("performance", Some(Tier::Performance)),
            ("platinum", Some(Tier::Other)),
            ("auto", None),
            ("", None),
        ] {
            assert_eq!(Tier::read(word), tier, "{word}");
        }
    }
}
