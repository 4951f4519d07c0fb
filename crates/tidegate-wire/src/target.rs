//! What a target takes and refuses, as far as it changes what is written to it. Filled by the catalog from its data.

/// Facts about a target that request renderers obey.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetTraits {
    /// The most output tokens the model gives, for dialects that require a limit (Anthropic's `max_tokens`) when the
    /// caller named none.
    pub max_output_tokens: Option<u64>,
    /// OpenAI: the limit goes into `max_completion_tokens`, since reasoning models refuse `max_tokens`; compatible
    /// servers mostly know only `max_tokens`.
    pub max_completion_tokens_field: bool,
    /// OpenAI: the role `developer` is known; else it is written as `system`.
    pub developer_role: bool,
    /// OpenAI: `stream_options.include_usage` is known.
    pub stream_options: bool,
    /// OpenAI: `parallel_tool_calls` is known.
    pub parallel_tool_calls: bool,
    /// OpenAI: `response_format: json_schema` is known (else `json_object`, with the schema reported as lost).
    pub json_schema: bool,
    /// OpenAI: `seed` is known.
    pub seed: bool,
    /// OpenAI: a field `top_k` is known although OpenAI itself has none (many compatible servers take it).
    pub top_k: bool,
    /// OpenAI: `reasoning_effort` is known.
    pub reasoning_effort: bool,
    /// OpenAI: reasoning is asked for with OpenRouter's object `reasoning` instead.
    pub reasoning_object: bool,
    /// OpenAI: how a place up to which the prompt is to be cached is marked.
    pub cache_markers: CacheMarkers,
    /// OpenAI: tool calls carry Gemini's thought signatures in `extra_content` (Google's own compatible endpoint, which
    /// refuses calls without them).
    pub google_signatures: bool,
    /// OpenAI: text may come as a list of parts; else the parts are joined to one string.
    pub text_parts: bool,
    /// OpenAI: earlier reasoning is sent back as `reasoning_content` or `reasoning` on assistant messages, where the
    /// server wants it (DeepSeek with tools, Moonshot, OpenRouter's `reasoning_details`).
    pub reasoning_back: ReasoningBack,
    /// Anthropic and Gemini: how thinking is asked for by this model.
    pub thinking: ThinkingStyle,
    /// Temperature, top-p and penalties are accepted (OpenAI's and Anthropic's newest reasoning models refuse them).
    pub sampling: bool,
    /// Anthropic: the conversation may end with an assistant turn to be continued.
    pub prefill: bool,
    /// Whether and how the model goes on with an answer that was begun elsewhere. Only what is known for certain: a model
    /// that merely takes such a turn may begin anew.
    pub continuation: Continuation,
    /// Images by URL are fetched by the provider.
    pub media_urls: bool,
}

/// How earlier reasoning is given back in OpenAI's dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasoningBack {
    /// Not at all: the server refuses or ignores it.
    No,
    /// As `reasoning_content`.
    ReasoningContent,
    /// As `reasoning`.
    Reasoning,
    /// As OpenRouter's `reasoning_details`.
    ReasoningDetails,
    /// As Mistral's `thinking` parts of the content.
    ThinkingParts,
}

/// How a place up to which the prompt is to be cached is marked in OpenAI's dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheMarkers {
    /// Not at all: the server caches by itself, or refuses the field.
    No,
    /// As Anthropic's `cache_control` on parts and tools (OpenRouter, LiteLLM, Alibaba).
    CacheControl,
    /// As OpenAI's `prompt_cache_breakpoint` on parts (from gpt-5.6 on).
    Breakpoint,
}

/// How an answer that was begun elsewhere is gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuation {
    /// Not at all, or nobody knows.
    None,
    /// The conversation ends with the assistant's turn.
    LastTurn,
    /// OpenAI: that turn is marked `prefix`, and the answer says it once more (Mistral).
    Prefix,
}

/// How thinking is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThinkingStyle {
    /// The model does not think.
    None,
    /// By a token budget (Anthropic's `thinking.budget_tokens`, Gemini 2.5's `thinkingBudget`).
    Budget,
    /// By a level (Anthropic's adaptive thinking with `effort`, Gemini 3's `thinkingLevel`).
    Level,
}

impl Default for TargetTraits {
    /// The liberal reading: everything that the dialect itself knows is written.
    fn default() -> Self {
        Self {
            max_output_tokens: None,
            max_completion_tokens_field: true,
            developer_role: true,
            stream_options: true,
            parallel_tool_calls: true,
            json_schema: true,
            seed: true,
            top_k: false,
            reasoning_effort: true,
            reasoning_object: false,
            cache_markers: CacheMarkers::No,
            google_signatures: false,
            text_parts: true,
            reasoning_back: ReasoningBack::No,
            thinking: ThinkingStyle::Budget,
            sampling: true,
            prefill: true,
            continuation: Continuation::None,
            media_urls: true,
        }
    }
}
