//! The canonical request: what a caller asked for, in words that no provider owns.
//!
//! Every dialect parses into [`Conversation`] and renders out of it. It is used only when caller and target speak
//! different dialects (or when what an earlier answer carried has to be unpacked, see [`crate::carry`]); otherwise
//! bytes pass through. What a dialect does not know about stays in a `rest` map, which is given back when the same
//! dialect is rendered and reported as lost when another one is.

use serde_json::{Map, Number, Value};

use crate::Dialect;
use crate::carry::Signature;

/// Fields that only the dialect of origin understands, by their wire name.
pub type Rest = Map<String, Value>;

/// One request to a model that talks.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    /// The dialect this was parsed from: `rest` maps and `Native` values are in its terms.
    pub origin: Dialect,
    /// The model as the caller named it.
    pub model: String,
    /// Whether the answer is wanted as a stream.
    pub stream: bool,
    /// Whether a streaming caller wants a usage event at the end (OpenAI's `stream_options.include_usage`; the other
    /// dialects always send usage and parse as `true`).
    pub include_usage: bool,
    /// Whether tools came as OpenAI's old `functions`, so that calls are answered as `function_call`.
    pub legacy_functions: bool,
    /// Instructions, questions and answers in the order they came. System turns may stand anywhere; dialects with a
    /// separate field for them parse it to leading turns of role [`Role::System`].
    pub turns: Vec<Turn>,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// Whether and what it must call.
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may call several tools in one answer. `None`: the provider's default.
    pub parallel_tool_calls: Option<bool>,
    /// Upper bound on output tokens, reasoning included.
    pub max_output_tokens: Option<u64>,
    /// Texts at which the model stops.
    pub stop: Vec<String>,
    /// Sampling parameters.
    pub sampling: Sampling,
    /// How many alternative answers are wanted (`n`, `candidateCount`).
    pub choices: Option<u32>,
    /// Log probabilities wanted: `Some(n)` with `n` alternatives a token (0: only the chosen one).
    pub logprobs: Option<u32>,
    /// The form of the answer's text.
    pub output: OutputFormat,
    /// Kinds of output wanted, in wire-neutral lower case (`text`, `audio`, `image`). Empty: text.
    pub modalities: Vec<String>,
    /// Reasoning wanted. `None`: the provider's default.
    pub reasoning: Option<ReasoningRequest>,
    /// How wordy the answer should be (`low`, `medium`, `high`).
    pub verbosity: Option<String>,
    /// The provider's service tier (`auto`, `default`, `flex`, `priority`, `batch`, …).
    pub service_tier: Option<String>,
    /// The end user as the caller names them (`user`, `metadata.user_id`).
    pub user: Option<String>,
    /// A marker on the whole request: cache the prompt up to its last block.
    pub cache: Option<CacheMarker>,
    /// All other fields of the request.
    pub rest: Rest,
}

impl Conversation {
    /// An empty conversation, for parsers to fill in.
    pub fn new(origin: Dialect, model: impl Into<String>) -> Self {
        Self {
            origin,
            model: model.into(),
            stream: false,
            include_usage: false,
            legacy_functions: false,
            turns: Vec::new(),
            tools: Vec::new(),
            tool_choice: None,
            parallel_tool_calls: None,
            max_output_tokens: None,
            stop: Vec::new(),
            sampling: Sampling::default(),
            choices: None,
            logprobs: None,
            output: OutputFormat::Text,
            modalities: Vec::new(),
            reasoning: None,
            verbosity: None,
            service_tier: None,
            user: None,
            cache: None,
            rest: Rest::new(),
        }
    }
}

/// Who speaks in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Instructions above the user's.
    System,
    /// The same in OpenAI's newer word; dialects without it treat it as `System`.
    Developer,
    /// The user, and the results of tools the user's side ran.
    User,
    /// The model.
    Assistant,
}

/// One turn of the conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Who speaks.
    pub role: Role,
    /// The speaker's name, where the dialect has one.
    pub name: Option<String>,
    /// What is said, shown, called or answered. Tool results are parts of a user turn: a parser puts the results that
    /// belong to one assistant turn into one user turn, in order.
    pub parts: Vec<Part>,
    /// Other fields of the wire's message.
    pub rest: Rest,
}

impl Turn {
    /// A turn of these parts.
    pub fn new(role: Role, parts: Vec<Part>) -> Self {
        Self { role, name: None, parts, rest: Rest::new() }
    }
}

/// One piece of a turn or of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// What it is.
    pub content: Content,
    /// The provider's proof of its own reasoning that belongs to this piece: a thinking block's signature (Anthropic)
    /// or the thought signature of a text, thought or call (Gemini). Must come back unchanged on the next turn.
    pub signature: Option<Signature>,
    /// Cache the prompt up to here.
    pub cache: Option<CacheMarker>,
    /// Other fields of the wire's block, in the terms of the conversation's origin.
    pub rest: Rest,
}

impl Part {
    /// A piece with nothing but its content.
    pub fn new(content: Content) -> Self {
        Self { content, signature: None, cache: None, rest: Rest::new() }
    }

    /// A piece of plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(Content::Text { text: text.into(), citations: Vec::new() })
    }
}

/// What a piece is.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Text, with the sources it cites (in answers).
    Text {
        /// The text.
        text: String,
        /// What it cites.
        citations: Vec<Citation>,
    },
    /// An image, a sound, a document or a video.
    Media(Media),
    /// The model calls a tool.
    ToolCall(ToolCall),
    /// What a tool answered.
    ToolResult(ToolResult),
    /// The model's reasoning as text, with its proof in [`Part::signature`].
    Reasoning {
        /// The reasoning; may be empty where the provider shows only the signature.
        text: String,
    },
    /// Reasoning that the provider gave only encrypted (Anthropic's `redacted_thinking`); `data` is in
    /// [`Part::signature`].
    RedactedReasoning,
    /// The model declines, in its own words (OpenAI's `refusal`).
    Refusal(String),
    /// A block that only one dialect knows (server tools and their results, code execution, …), as it stands on that
    /// dialect's wire.
    Native(Native),
}

/// A block kept as it stands on one dialect's wire.
#[derive(Debug, Clone, PartialEq)]
pub struct Native {
    /// Whose wire.
    pub dialect: Dialect,
    /// The block.
    pub value: Value,
}

/// An image, a sound, a document or a video.
#[derive(Debug, Clone, PartialEq)]
pub struct Media {
    /// What kind it is.
    pub kind: MediaKind,
    /// Its MIME type, where known (always known for inline data; parsers derive it from OpenAI's `format` fields and
    /// data URLs).
    pub media_type: Option<String>,
    /// Where its bytes are.
    pub source: MediaSource,
    /// File name or title.
    pub name: Option<String>,
    /// OpenAI's `detail` (`low`, `high`, `auto`).
    pub detail: Option<String>,
    /// What is said in it, for spoken output (OpenAI's `audio.transcript`).
    pub transcript: Option<String>,
}

/// The kind of a medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaKind {
    /// A still picture.
    Image,
    /// Sound.
    Audio,
    /// PDF, plain text and other documents.
    Document,
    /// Moving pictures.
    Video,
}

/// Where a medium's bytes are.
#[derive(Debug, Clone, PartialEq)]
pub enum MediaSource {
    /// Inline, in standard base64 as on the wire (not decoded).
    Base64(String),
    /// To be fetched by the provider. Data URLs are parsed to `Base64`.
    Url(String),
    /// Uploaded to the provider before.
    FileId(String),
    /// A plain-text document inline (Anthropic's `text` source).
    Text(String),
}

/// The model calls a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// The call's id, without anything carried in it. Dialects without ids (Gemini may omit them) make one up that is
    /// stable for the same position: see [`crate::carry::made_up_id`].
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments as JSON text, exactly as the model wrote them (may be invalid JSON where the model erred).
    pub arguments: String,
    /// Whether the arguments are free text, not JSON (OpenAI's custom tools).
    pub free_text: bool,
}

/// What a tool answered.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolResult {
    /// The id of the call it answers, without anything carried in it.
    pub call_id: String,
    /// The tool's name, where the wire says it or a parser could look it up among the earlier calls.
    pub name: Option<String>,
    /// Text, images, documents.
    pub parts: Vec<Part>,
    /// Whether the tool failed.
    pub is_error: bool,
}

/// What a text cites.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Citation {
    /// The source's address, for web citations.
    pub url: Option<String>,
    /// The source's title.
    pub title: Option<String>,
    /// The words cited.
    pub cited_text: Option<String>,
    /// Where in the answer's text it applies: characters from the start.
    pub start: Option<u64>,
    /// Where that ends (exclusive).
    pub end: Option<u64>,
    /// The citation as it stands on the wire of its origin, for the way back.
    pub native: Option<Native>,
}

/// Something the model may call.
#[derive(Debug, Clone, PartialEq)]
pub enum Tool {
    /// A function that the caller runs.
    Function(FunctionTool),
    /// A tool that only one dialect knows (web search, code execution, computer use, custom grammars …).
    Native(Native),
}

/// A function that the caller runs.
#[derive(Debug, Clone, PartialEq)]
pub struct FunctionTool {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The JSON Schema of its arguments.
    pub parameters: Option<Value>,
    /// Whether arguments must match the schema strictly.
    pub strict: Option<bool>,
    /// Cache the prompt up to here.
    pub cache: Option<CacheMarker>,
    /// Other fields of the wire's tool.
    pub rest: Rest,
}

/// Whether and what the model must call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    /// As it likes.
    Auto,
    /// Nothing.
    None,
    /// Something.
    Required,
    /// This function.
    Function(String),
    /// One of these functions, if anything (`required`: something).
    Allowed {
        /// Whether it must call one of them.
        required: bool,
        /// Which.
        names: Vec<String>,
    },
}

/// Sampling parameters, in the spelling of the numbers as they came.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sampling {
    /// Temperature.
    pub temperature: Option<Number>,
    /// Nucleus sampling.
    pub top_p: Option<Number>,
    /// Only the k likeliest tokens.
    pub top_k: Option<Number>,
    /// OpenAI's and Gemini's frequency penalty.
    pub frequency_penalty: Option<Number>,
    /// OpenAI's and Gemini's presence penalty.
    pub presence_penalty: Option<Number>,
    /// Seed.
    pub seed: Option<Number>,
}

/// The form of the answer's text.
#[derive(Debug, Clone, PartialEq)]
pub enum OutputFormat {
    /// Free text.
    Text,
    /// Some JSON object.
    Json,
    /// JSON that fits a schema.
    JsonSchema {
        /// The schema's name (OpenAI requires one).
        name: Option<String>,
        /// What it is for.
        description: Option<String>,
        /// The schema.
        schema: Value,
        /// Whether the answer must match it strictly.
        strict: Option<bool>,
    },
}

/// Reasoning wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReasoningRequest {
    /// `Some(false)`: none at all. `Some(true)`: on.
    pub enabled: Option<bool>,
    /// How hard to think; see [`Effort`].
    pub effort: Option<Effort>,
    /// How many tokens it may take. Negative values mean "as the model likes" (Gemini's `-1`) and parse to `None` with
    /// `enabled` and no effort.
    pub budget_tokens: Option<u64>,
    /// Whether the reasoning's text is wanted in the answer. `None`: the provider's default.
    pub include_text: Option<bool>,
}

/// How hard to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Not at all.
    None,
    /// As little as possible.
    Minimal,
    /// Little.
    Low,
    /// The usual.
    Medium,
    /// Much.
    High,
    /// More.
    XHigh,
    /// All that the model can.
    Max,
}

impl Effort {
    /// The wire's word, the same in OpenAI's `reasoning_effort`, Anthropic's `effort` and (in capitals) Gemini's
    /// `thinkingLevel`, as far as each knows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::XHigh => "xhigh",
            Self::Max => "max",
        }
    }

    /// Reads the wire's word in any case.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::None, Self::Minimal, Self::Low, Self::Medium, Self::High, Self::XHigh, Self::Max]
            .into_iter()
            .find(|effort| effort.as_str().eq_ignore_ascii_case(word))
    }

    /// A token budget of about this effort, for targets that take only budgets.
    pub fn to_budget_tokens(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Minimal => 1_024,
            Self::Low => 2_048,
            Self::Medium => 8_192,
            Self::High => 16_384,
            Self::XHigh => 32_768,
            Self::Max => 65_536,
        }
    }

    /// The effort that comes closest to a token budget, for targets that take only efforts.
    pub fn from_budget_tokens(budget: u64) -> Self {
        match budget {
            0 => Self::None,
            1..=1_024 => Self::Minimal,
            1_025..=4_096 => Self::Low,
            4_097..=12_288 => Self::Medium,
            12_289..=24_576 => Self::High,
            24_577..=49_152 => Self::XHigh,
            _ => Self::Max,
        }
    }
}

/// Cache the prompt up to here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheMarker {
    /// For the provider's short time (Anthropic: five minutes, the default).
    Short,
    /// For an hour.
    Hour,
}
