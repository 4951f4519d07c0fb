//! The counts: exact, and the same whole and streamed. A token of a request is four bytes of its text.

use serde_json::Value;

use crate::asked::{Asked, Media, Part};

/// Totals; what is in parentheses in a provider's words ("of which cached") is contained in them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) input: u64,
    /// Of the input: read from a prompt cache.
    pub(crate) cached: u64,
    /// Of the input: written to a prompt cache.
    pub(crate) cache_written: u64,
    pub(crate) input_audio: u64,
    pub(crate) input_image: u64,
    pub(crate) input_document: u64,
    pub(crate) output: u64,
    /// Of the output.
    pub(crate) reasoning: u64,
}

const BYTES_A_TOKEN: usize = 4;
const TOKENS_A_TURN: u64 = 3;
const TOKENS_AN_IMAGE: u64 = 85;
const TOKENS_A_DOCUMENT: u64 = 250;
const AUDIO_BYTES_A_TOKEN: usize = 1_000;

/// The request's side.
pub(crate) fn count_input(asked: &Asked, cached: bool) -> Tokens {
    let mut tokens = Tokens::default();
    let system: u64 = asked.system.iter().map(|text| of_text(text)).sum();
    let tools: u64 = asked.tools.iter().map(|tool| of_text(&tool.name) + of_value(&tool.schema)).sum();
    tokens.input = system + tools;
    for turn in &asked.turns {
        tokens.input += TOKENS_A_TURN;
        for part in &turn.parts {
            tokens.input += match part {
                Part::Text { text } | Part::Thinking { text, .. } | Part::Refusal { text } => of_text(text),
                Part::Call { name, arguments, .. } => of_text(name) + of_value(arguments),
                Part::Result { text, .. } => of_text(text),
                Part::Media(_) | Part::RedactedThinking { .. } => 0,
            };
        }
    }
    for media in asked.media() {
        add_media(&mut tokens, media);
    }
    tokens.input += tokens.input_audio + tokens.input_image + tokens.input_document;
    if cached {
        tokens.cached = tokens.input * 3 / 4;
    } else if asked.cache_markers > 0 {
        tokens.cache_written = tokens.input / 2;
    }
    tokens
}

fn add_media(tokens: &mut Tokens, media: &Media) {
    match media.kind {
        "audio" => tokens.input_audio += size(media.bytes.unwrap_or(0).div_ceil(AUDIO_BYTES_A_TOKEN)),
        "image" => tokens.input_image += TOKENS_AN_IMAGE,
        _ => tokens.input_document += TOKENS_A_DOCUMENT,
    }
}

fn of_text(text: &str) -> u64 {
    size(text.len().div_ceil(BYTES_A_TOKEN))
}

fn of_value(value: &Value) -> u64 {
    of_text(&value.to_string())
}

fn size(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
