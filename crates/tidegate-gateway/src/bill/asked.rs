//! The tier of service that a request asks for: how dear its answer can become. Read by `hold` before the call is made.

use tidegate_catalog::ServiceTier;
use tidegate_wire::Dialect;
use tidegate_wire::json::{Document, Value};

/// What a request says about its tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AskedTier {
    /// Nothing: the usual tier, unless the provider's own settings say otherwise (OpenAI's projects can).
    Unsaid,
    /// The usual one and no other.
    Usual,
    /// The cheap one. What is served as usual instead costs as usual.
    Flex,
    /// A dearer one, whatever the provider has, or a word that nobody here has heard of.
    Any,
}

impl AskedTier {
    /// Reads a request.
    pub(crate) fn of(dialect: Dialect, document: &Document) -> Self {
        let text = |name: &str| document.get(name).and_then(Value::as_string);
        let word = match dialect {
            Dialect::OpenAiChat | Dialect::AnthropicMessages => text("service_tier"),
            // Google takes both spellings of every field.
            Dialect::Gemini => text("serviceTier").or_else(|| text("service_tier")),
        };
        if dialect == Dialect::AnthropicMessages && text("speed").is_some_and(|speed| *speed != *"standard") {
            return Self::Any;
        }
        let Some(word) = word else { return Self::Unsaid };
        match word.to_ascii_lowercase().as_str() {
            "default" | "standard" | "standard_only" | "on_demand" | "service_tier_standard" => Self::Usual,
            "flex" | "service_tier_flex" => Self::Flex,
            _ => Self::Any,
        }
    }

    /// The columns of a price list by which the answer may be billed. `is_raised`: the target has served in a dearer tier
    /// without being asked to.
    pub(crate) fn columns(self, is_raised: bool) -> &'static [ServiceTier] {
        match self {
            Self::Unsaid if !is_raised => &[ServiceTier::Standard],
            Self::Usual => &[ServiceTier::Standard],
            Self::Flex => &[ServiceTier::Standard, ServiceTier::Flex],
            Self::Unsaid | Self::Any => &[ServiceTier::Standard, ServiceTier::Flex, ServiceTier::Priority],
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn only_a_request_that_says_so_is_sure_to_be_served_as_usual() {
        use AskedTier as Asked;
        use Dialect::{AnthropicMessages, Gemini, OpenAiChat};
        for (dialect, body, asked) in [
            (OpenAiChat, r#"{"model":"m"}"#, Asked::Unsaid),
            (OpenAiChat, r#"{"service_tier":null}"#, Asked::Unsaid),
            (OpenAiChat, r#"{"service_tier":"default"}"#, Asked::Usual),
            (OpenAiChat, r#"{"service_tier":"flex"}"#, Asked::Flex),
            (OpenAiChat, r#"{"service_tier":"auto"}"#, Asked::Any),
            (OpenAiChat, r#"{"service_tier":"priority"}"#, Asked::Any),
            (OpenAiChat, r#"{"service_tier":"fast"}"#, Asked::Any),
            (AnthropicMessages, r#"{"service_tier":"standard_only"}"#, Asked::Usual),
            (AnthropicMessages, r#"{"service_tier":"auto"}"#, Asked::Any),
            (AnthropicMessages, r#"{"speed":"fast"}"#, Asked::Any),
            (Gemini, r#"{"serviceTier":"priority"}"#, Asked::Any),
            (Gemini, r#"{"service_tier":"standard"}"#, Asked::Usual),
        ] {
            let document = Document::parse(Bytes::from_static(body.as_bytes())).unwrap();
            assert_eq!(AskedTier::of(dialect, &document), asked, "{body}");
        }
    }
}
