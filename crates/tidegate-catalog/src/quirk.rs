//! How a provider departs from the plain OpenAI-compatible server. Read by the renderer of OpenAI requests, which leaves out or renames
//! what the target would refuse.

use serde::Deserialize;

macro_rules! quirks {
    ($($(#[$documentation:meta])* $name:ident = $text:literal,)*) => {
        /// One departure. The closed list: a new one is added here, and then handled where requests are rendered.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[non_exhaustive]
        pub enum Quirk {
            $($(#[$documentation])* $name,)*
        }

        impl Quirk {
            /// Every quirk.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// As it is written in `providers.toml`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

quirks! {
    /// The limit on output tokens is `max_completion_tokens`; `max_tokens` is refused, at least by some models.
    MaxCompletionTokens = "max-completion-tokens",
    /// Knows the role `developer`. Without it, developer instructions are sent as `system`.
    DeveloperRole = "developer-role",
    /// Takes `reasoning_effort`.
    ReasoningEffort = "reasoning-effort",
    /// Takes `top_k`, which OpenAI itself does not have.
    TopK = "top-k",
    /// Gives, and takes back, reasoning text as `reasoning_content`.
    ReasoningContent = "reasoning-content",
    /// Gives, and takes back, reasoning text as `reasoning`.
    Reasoning = "reasoning",
    /// Gives, and takes back, reasoning as a list of `reasoning_details`, signatures included.
    ReasoningDetails = "reasoning-details",
    /// Gives reasoning text as `thinking` parts inside a content array.
    ThinkingChunks = "thinking-chunks",
    /// An assistant's turn with tool calls must carry its reasoning text back, or the next call is refused.
    ReasoningMustReturn = "reasoning-must-return",
    /// Refuses `stream_options`; usage comes without asking.
    NoStreamOptions = "no-stream-options",
    /// Has no tools.
    NoTools = "no-tools",
    /// Ignores or refuses `tool_choice` altogether.
    NoToolChoice = "no-tool-choice",
    /// Has no `tool_choice: required`.
    NoRequiredToolChoice = "no-required-tool-choice",
    /// Has no `parallel_tool_calls`.
    NoParallelToolCalls = "no-parallel-tool-calls",
    /// Has no `seed`.
    NoSeed = "no-seed",
    /// Calls the seed `random_seed`.
    RandomSeed = "random-seed",
    /// Has no `response_format: json_schema`, only `json_object`.
    NoJsonSchema = "no-json-schema",
    /// Has no `logprobs` and `top_logprobs`.
    NoLogprobs = "no-logprobs",
    /// Has no `logit_bias`.
    NoLogitBias = "no-logit-bias",
    /// Gives one choice only: no `n` above 1.
    NoMultipleChoices = "no-multiple-choices",
    /// Has no `stop`.
    NoStop = "no-stop",
    /// Has no `frequency_penalty` and `presence_penalty`.
    NoPenalties = "no-penalties",
    /// Refuses `name` on messages.
    NoMessageNames = "no-message-names",
    /// Takes images as base64 only, does not fetch URLs.
    NoImageUrls = "no-image-urls",
    /// Goes on with the assistant's last message where that is marked `prefix`, and says it once more.
    Prefix = "prefix",
    /// Refuses any field it does not know, also inside messages.
    StrictFields = "strict-fields",
}

/// A set of quirks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quirks(u32);

impl Quirks {
    /// None: a plain server.
    pub const NONE: Self = Self(0);

    /// Whether the provider has this one.
    pub fn has(self, quirk: Quirk) -> bool {
        self.0 & bit(quirk) != 0
    }

    /// The set with one more.
    #[must_use]
    pub fn with(self, quirk: Quirk) -> Self {
        Self(self.0 | bit(quirk))
    }

    /// All that are in the set.
    pub fn iter(self) -> impl Iterator<Item = Quirk> {
        Quirk::ALL.iter().copied().filter(move |quirk| self.has(*quirk))
    }
}

impl FromIterator<Quirk> for Quirks {
    fn from_iter<I: IntoIterator<Item = Quirk>>(quirks: I) -> Self {
        quirks.into_iter().fold(Self::NONE, Self::with)
    }
}

fn bit(quirk: Quirk) -> u32 {
    1 << quirk as u32
}

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, StrDeserializer};

    use super::*;

    #[test]
    fn every_quirk_is_written_as_it_is_read_and_has_a_bit_of_its_own() {
        for quirk in Quirk::ALL {
            let text: StrDeserializer<'_, Error> = quirk.name().into_deserializer();
            assert_eq!(Quirk::deserialize(text), Ok(*quirk));
        }
        let all: Quirks = Quirk::ALL.iter().copied().collect();
        assert_eq!(all.iter().count(), Quirk::ALL.len());
    }
}
