//! What a key may do. All that is left out is allowed.

use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_catalog::NanoDollars;

use crate::limits::dollars;

/// What a key, a team or an organisation may do. An empty list allows everything; a call must satisfy all three levels.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Permissions {
    /// The models that may be asked for, by the caller's name or by `provider/upstream-model`. `*` stands for anything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<ModelPattern>,
    /// The providers that calls may go to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<String>,
    /// The operations that may be called: `chat`, `count_tokens`, `models`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<String>,
    /// The most that one call may cost by its estimate, in US dollars.
    #[serde(skip_serializing_if = "Option::is_none", with = "dollars::optional")]
    #[schemars(with = "Option<dollars::Dollars>")]
    pub max_usd_per_call: Option<NanoDollars>,
    /// Addresses that calls may come from: `10.0.0.0/8`, `192.0.2.7`.
    #[serde(skip_serializing_if = "Vec::is_empty", with = "networks")]
    #[schemars(with = "Vec<String>")]
    pub addresses: Vec<IpNet>,
    /// Features of requests that are not allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub denied_features: Vec<Feature>,
}

/// What a request can make use of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// Tools that the caller defines, or that the provider runs.
    Tools,
    /// Images and video in the conversation, and answers that are some.
    Images,
    /// Audio in the conversation, and answers that are some.
    Audio,
    /// Documents and other files in the conversation.
    Documents,
    /// Answers in JSON, or in another form that is prescribed.
    StructuredOutput,
    /// Streamed answers.
    Streaming,
    /// Extended reasoning, where a request asks for it.
    Reasoning,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Tools,
        Self::Images,
        Self::Audio,
        Self::Documents,
        Self::StructuredOutput,
        Self::Streaming,
        Self::Reasoning,
    ];

    /// The word for messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Images => "images",
            Self::Audio => "audio",
            Self::Documents => "documents",
            Self::StructuredOutput => "structured_output",
            Self::Streaming => "streaming",
            Self::Reasoning => "reasoning",
        }
    }
}

/// A set of features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features(u8);

impl Features {
    /// Adds one.
    pub fn insert(&mut self, feature: Feature) {
        self.0 |= 1 << (feature as u8);
    }

    /// Whether it is among them.
    pub fn contains(self, feature: Feature) -> bool {
        self.0 & (1 << (feature as u8)) != 0
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// These and the others.
    #[must_use]
    pub fn union(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether all of these are among the others.
    pub fn is_within(self, others: Self) -> bool {
        self.0 & !others.0 == 0
    }
}

impl FromIterator<Feature> for Features {
    fn from_iter<T: IntoIterator<Item = Feature>>(features: T) -> Self {
        let mut all = Self::default();
        features.into_iter().for_each(|feature| all.insert(feature));
        all
    }
}

/// A model's name in which `*` stands for anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ModelPattern(pub String);

impl ModelPattern {
    /// Whether the name fits.
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
        let parts: Vec<&str> = parts.collect();
        let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
        for part in middle {
            match rest.find(part) {
                Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

impl Permissions {
    /// Whether everything is allowed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a model may be asked for by this name. A bare name, an entry of `models:` and `provider/upstream-model`
    /// are all names.
    pub fn allows_model(&self, name: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether calls may go to this provider.
    pub fn allows_provider(&self, name: &str) -> bool {
        self.providers.is_empty() || self.providers.iter().any(|allowed| allowed == name)
    }

    /// Whether this operation may be called.
    pub fn allows_endpoint(&self, operation: &str) -> bool {
        self.endpoints.is_empty() || self.endpoints.iter().any(|allowed| allowed == operation)
    }

    /// Whether calls may come from this address.
    pub fn allows_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.addresses.is_empty() || self.addresses.iter().any(|network| network.contains(&address))
    }

    /// Whether calls may come from this caller. One whose address nobody knows may not where addresses are listed.
    pub fn allows_caller_at(&self, address: Option<IpAddr>) -> bool {
        address.map_or(self.addresses.is_empty(), |address| self.allows_address(address))
    }

    /// The first feature of these that is not allowed.
    pub fn denied_feature(&self, features: Features) -> Option<Feature> {
        self.denied_features.iter().copied().find(|feature| features.contains(*feature))
    }
}

/// Networks in JSON: a single address is a network of one.
mod networks {
    use std::net::IpAddr;

    use ipnet::IpNet;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(networks: &[IpNet], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(networks.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
        Vec::<String>::deserialize(deserializer)?
            .iter()
            .map(|text| {
                text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(
                    |_neither| {
                        de::Error::custom(format!(
                            "`{text}` is neither an address nor a network such as 10.0.0.0/8"
                        ))
                    },
                )
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name, fits) in [
            ("*", "anything/at-all", true),
            ("openai/*", "openai/gpt-5-mini", true),
            ("openai/*", "anthropic/claude", false),
            ("*mini", "gpt-5-mini", true),
            ("gpt-*-mini", "gpt-5-mini", true),
            ("gpt-*-mini", "gpt-mini", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("fast", "fast", true),
            ("fast", "faster", false),
            ("ab*ba", "aba", false),
            ("", "x", false),
        ] {
            assert_eq!(ModelPattern(pattern.into()).matches(name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_left_out_is_allowed_and_what_is_listed_is_all() {
        let open = Permissions::default();
        assert!(open.allows_model("x") && open.allows_provider("x") && open.allows_endpoint("chat"));
        assert!(open.allows_address([127, 0, 0, 1].into()));
        let text = r#"{"models":["openai/*"],"providers":["openai"],"endpoints":["chat"],"max_usd_per_call":"0.05",
            "addresses":["10.0.0.0/8","192.0.2.7"],"denied_features":["images"]}"#;
        let closed: Permissions = serde_json::from_str(text).unwrap();
        assert!(closed.allows_model("openai/gpt-5") && !closed.allows_model("fast"));
        assert!(!closed.allows_provider("anthropic") && !closed.allows_endpoint("models"));
        assert!(closed.allows_address([10, 1, 2, 3].into()) && closed.allows_address([192, 0, 2, 7].into()));
        assert!(closed.allows_address("::ffff:10.0.0.1".parse().unwrap()));
        assert!(!closed.allows_address([192, 0, 2, 8].into()));
        assert!(open.allows_caller_at(None) && !closed.allows_caller_at(None), "nobody knows where from");
        let mut features = Features::default();
        features.insert(Feature::Tools);
        assert_eq!(closed.denied_feature(features), None);
        features.insert(Feature::Images);
        assert_eq!(closed.denied_feature(features), Some(Feature::Images));
        let again: Permissions = serde_json::from_str(&serde_json::to_string(&closed).unwrap()).unwrap();
        assert_eq!(again, closed);
    }
}
