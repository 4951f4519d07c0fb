//! What a request asks, free of its dialect: the dialects' `request` rooms fill it, the answer is made from it, and
//! `describe` gives it back as JSON, so that a test sees what this provider understood.

use serde::Serialize;
use serde_json::{Map, Value};

/// One request, as understood.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Asked {
    pub(crate) model: String,
    pub(crate) stream: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) system: Vec<String>,
    pub(crate) turns: Vec<Turn>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tools: Vec<Tool>,
    pub(crate) tool_choice: ToolChoice,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parallel_tool_calls: Option<bool>,
    pub(crate) output: Output,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reasoning: Option<Reasoning>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) stop: Vec<String>,
    pub(crate) choices: u64,
    /// How many alternatives a token gets; `None`: no logprobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) logprobs: Option<u64>,
    /// How many parts carry a prompt-cache marker.
    pub(crate) cache_markers: u64,
    /// Documents were sent with citations switched on.
    pub(crate) citations: bool,
    /// OpenAI: a usage chunk at the end of a stream.
    pub(crate) stream_usage: bool,
    /// The sampling parameters and everything else at the top of the request, under the dialect's own names.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(crate) parameters: Map<String, Value>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Turn {
    pub(crate) role: Role,
    pub(crate) parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    User,
    Assistant,
    Tool,
}

#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Part {
    Text { text: String },
    Media(Media),
    Call { id: String, name: String, arguments: Value, signed: bool },
    Result { call_id: String, name: String, text: String, is_error: bool, media: Vec<Media> },
    Thinking { text: String, signed: bool },
    RedactedThinking { checksum: String },
    Refusal { text: String },
}

/// Something that is not text, with what proves that it arrived whole.
#[derive(Debug, Clone, Serialize)]
#[expect(clippy::struct_field_names, reason = "a media type is called so")]
pub(crate) struct Media {
    pub(crate) kind: &'static str,
    pub(crate) media_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) checksum: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Tool {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    pub(crate) schema: Value,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToolChoice {
    #[default]
    Auto,
    None,
    /// Some tool must be called.
    Any,
    /// One of these must be called.
    Among(Vec<String>),
}

#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Output {
    #[default]
    Text,
    Json,
    Schema(Value),
}

#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Reasoning {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) effort: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) budget: Option<i64>,
    /// The caller gets to see it.
    pub(crate) visible: bool,
}

impl Asked {
    /// The text of the last user turn.
    pub(crate) fn last_user_text(&self) -> String {
        let last = self.turns.iter().rev().find(|turn| turn.role == Role::User);
        let texts = last.into_iter().flat_map(|turn| &turn.parts).filter_map(|part| match part {
            Part::Text { text } => Some(text.as_str()),
            _ => None,
        });
        texts.collect::<Vec<_>>().join(" ")
    }

    /// The tool results that this request ends with: the model is asked to go on from them.
    pub(crate) fn pending_results(&self) -> Vec<&Part> {
        let mut results: Vec<&Part> = self
            .turns
            .iter()
            .rev()
            .take_while(|turn| turn.role != Role::Assistant)
            .flat_map(|turn| turn.parts.iter().rev())
            .filter(|part| matches!(part, Part::Result { .. }))
            .collect();
        results.reverse();
        results
    }

    /// Everything that is not text, in order, also inside tool results.
    pub(crate) fn media(&self) -> impl Iterator<Item = &Media> {
        self.turns.iter().flat_map(|turn| &turn.parts).flat_map(|part| match part {
            Part::Media(media) => std::slice::from_ref(media),
            Part::Result { media, .. } => media.as_slice(),
            _ => &[],
        })
    }
}
