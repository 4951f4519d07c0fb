//! What a target's dialect could not express. Filled by renderers, shown in `x-tidegate-dropped`.

use std::borrow::Cow;

use crate::conversation::{Conversation, Role};

/// The most fields listed; the rest is counted. A header has to hold them.
const MAX_LISTED: usize = 64;

/// The longest path that is listed; names in it may come from the caller and be of any length.
const MAX_PATH_BYTES: usize = 256;

/// The fields that were lost on the way from one dialect to another, by the path they had in the caller's request
/// (`seed`, `messages[2].content[0].image_url.detail`), each once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Losses {
    fields: Vec<Cow<'static, str>>,
    more: usize,
}

impl Losses {
    /// None so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that a field was lost.
    pub fn push(&mut self, field: impl Into<Cow<'static, str>>) {
        let mut field = field.into();
        if field.len() > MAX_PATH_BYTES {
            let end = (0..=MAX_PATH_BYTES).rev().find(|&end| field.is_char_boundary(end));
            field.to_mut().truncate(end.unwrap_or(0));
        }
        if self.fields.contains(&field) {
            return;
        }
        if self.fields.len() < MAX_LISTED {
            self.fields.push(field);
        } else {
            self.more += 1;
        }
    }

    /// Whether nothing was lost.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The fields, in the order in which they were met.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(AsRef::as_ref)
    }

    /// How many more were met than are listed.
    pub fn unlisted(&self) -> usize {
        self.more
    }
}

/// Where a turn stood in the caller's request, as far as the conversation still tells: `messages[2]`. What OpenAI's
/// callers send as several tool messages is one turn here, so that later numbers may be lower than the caller's.
pub(crate) fn place_of_turn(conversation: &Conversation, turn: usize) -> String {
    let is_system = conversation.turns.get(turn).is_some_and(|turn| turn.role == Role::System);
    let has_system = conversation.turns.first().is_some_and(|turn| turn.role == Role::System);
    match conversation.origin {
        crate::Dialect::OpenAiChat => format!("messages[{turn}]"),
        crate::Dialect::AnthropicMessages if is_system && turn == 0 => "system".to_owned(),
        crate::Dialect::AnthropicMessages => format!("messages[{}]", turn - usize::from(has_system)),
        crate::Dialect::Gemini if is_system => "systemInstruction".to_owned(),
        crate::Dialect::Gemini => format!("contents[{}]", turn - usize::from(has_system)),
    }
}

/// Where a part stood in the caller's request: `messages[2].content[0]`.
pub(crate) fn place_of_part(conversation: &Conversation, turn: usize, part: usize) -> String {
    let place = place_of_turn(conversation, turn);
    match conversation.origin {
        crate::Dialect::Gemini => format!("{place}.parts[{part}]"),
        crate::Dialect::AnthropicMessages if place == "system" => format!("system[{part}]"),
        _ => format!("{place}.content[{part}]"),
    }
}

/// Fields of the canonical request that a target may be unable to express.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// [`crate::conversation::Sampling::temperature`]
    Temperature,
    /// [`crate::conversation::Sampling::top_p`]
    TopP,
    /// [`crate::conversation::Sampling::top_k`]
    TopK,
    /// [`crate::conversation::Sampling::frequency_penalty`]
    FrequencyPenalty,
    /// [`crate::conversation::Sampling::presence_penalty`]
    PresencePenalty,
    /// [`crate::conversation::Sampling::seed`]
    Seed,
    /// [`crate::conversation::Conversation::stop`]
    Stop,
    /// [`crate::conversation::Conversation::choices`]
    Choices,
    /// [`crate::conversation::Conversation::logprobs`]
    Logprobs,
    /// [`crate::conversation::Conversation::output`]
    OutputFormat,
    /// [`crate::conversation::Conversation::modalities`]
    Modalities,
    /// [`crate::conversation::Conversation::reasoning`]
    Reasoning,
    /// [`crate::conversation::Conversation::verbosity`]
    Verbosity,
    /// [`crate::conversation::Conversation::service_tier`]
    ServiceTier,
    /// [`crate::conversation::Conversation::user`]
    User,
    /// [`crate::conversation::Conversation::parallel_tool_calls`]
    ParallelToolCalls,
    /// [`crate::conversation::Conversation::tool_choice`]
    ToolChoice,
    /// [`crate::conversation::CacheMarker`], wherever it stands
    CacheMarker,
}

impl Field {
    /// The field's name in a caller's dialect. A field that the dialect does not have cannot have come from it; the
    /// general word stands there.
    pub fn name(self, origin: crate::Dialect) -> &'static str {
        use crate::Dialect::{AnthropicMessages as Anthropic, Gemini, OpenAiChat};
        match (self, origin) {
            (Self::Temperature, Gemini) => "generationConfig.temperature",
            (Self::Temperature, _) => "temperature",
            (Self::TopP, Gemini) => "generationConfig.topP",
            (Self::TopP, _) => "top_p",
            (Self::TopK, Gemini) => "generationConfig.topK",
            (Self::TopK, _) => "top_k",
            (Self::FrequencyPenalty, Gemini) => "generationConfig.frequencyPenalty",
            (Self::FrequencyPenalty, _) => "frequency_penalty",
            (Self::PresencePenalty, Gemini) => "generationConfig.presencePenalty",
            (Self::PresencePenalty, _) => "presence_penalty",
            (Self::Seed, Gemini) => "generationConfig.seed",
            (Self::Seed, _) => "seed",
            (Self::Stop, Gemini) => "generationConfig.stopSequences",
            (Self::Stop, Anthropic) => "stop_sequences",
            (Self::Stop, OpenAiChat) => "stop",
            (Self::Choices, Gemini) => "generationConfig.candidateCount",
            (Self::Choices, _) => "n",
            (Self::Logprobs, Gemini) => "generationConfig.responseLogprobs",
            (Self::Logprobs, _) => "logprobs",
            (Self::OutputFormat, Gemini) => "generationConfig.responseSchema",
            (Self::OutputFormat, Anthropic) => "output_config.format",
            (Self::OutputFormat, OpenAiChat) => "response_format",
            (Self::Modalities, Gemini) => "generationConfig.responseModalities",
            (Self::Modalities, _) => "modalities",
            (Self::Reasoning, Gemini) => "generationConfig.thinkingConfig",
            (Self::Reasoning, Anthropic) => "thinking",
            (Self::Reasoning, OpenAiChat) => "reasoning_effort",
            (Self::Verbosity, _) => "verbosity",
            (Self::ServiceTier, _) => "service_tier",
            (Self::User, Anthropic) => "metadata.user_id",
            (Self::User, _) => "user",
            (Self::ParallelToolCalls, Anthropic) => "tool_choice.disable_parallel_tool_use",
            (Self::ParallelToolCalls, _) => "parallel_tool_calls",
            (Self::ToolChoice, Gemini) => "toolConfig.functionCallingConfig",
            (Self::ToolChoice, _) => "tool_choice",
            (Self::CacheMarker, _) => "cache_control",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_callers_are_listed_up_to_a_length_and_each_once() {
        let mut losses = Losses::new();
        let long = "é".repeat(1_000_000);
        losses.push(long.clone());
        losses.push(long);
        losses.push("seed");
        let lengths: Vec<usize> = losses.fields().map(str::len).collect();
        assert_eq!(lengths, [MAX_PATH_BYTES, 4]);
    }
}
