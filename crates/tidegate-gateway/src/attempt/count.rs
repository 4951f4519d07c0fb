//! Counting tokens for targets that have no way to ask: OpenAI's tokenizer over all that the conversation says.
//!
//! An estimate. OpenAI publishes the tokenizer but not how its server lays out messages, tools and images; the allowances
//! below are those of its cookbook. The tables of the tokenizer are loaded when they are first needed.

use tidegate_wire::conversation::{Content, Conversation, MediaSource, Part, Tool};

use tokio::sync::Semaphore;

use crate::error::GatewayError;

/// Tokens that stand around every turn.
const PER_TURN: usize = 3;
/// Tokens that begin the answer.
const PER_ANSWER: usize = 3;
/// Tokens around a tool's definition.
const PER_TOOL: usize = 8;
/// An image of usual size at high detail.
const PER_IMAGE: usize = 765;
/// Documents and sounds: bytes of base64 for one token, roughly.
const BASE64_BYTES_PER_TOKEN: usize = 60;

/// Texts are counted in pieces of at most so many bytes: the tokenizer gives up on very long words, and takes some fifty
/// times their size in memory. A word that is cut costs a token more.
const MAX_PIECE: usize = 64 * 1024;
/// Counts at once in the whole process; further ones wait. They share the workers' blocking threads with the resolver.
static ROOM: Semaphore = Semaphore::const_new(4);

/// Counts a conversation's input tokens, off the worker's thread: a long one takes many milliseconds.
pub(crate) async fn count_locally(conversation: &Conversation, model: &str) -> Result<u64, GatewayError> {
    let (texts, allowance) = texts_of(conversation);
    let model = model.to_owned();
    // Never closed, so this is never an error.
    let room = ROOM.acquire().await;
    let counted = tokio::task::spawn_blocking(move || {
        // Held to the end of the work, which goes on when the caller hangs up.
        let _room = room;
        let tokenizer =
            tiktoken_rs::bpe_for_model(&model).unwrap_or_else(|_unknown| tiktoken_rs::o200k_base_singleton());
        texts.iter().flat_map(|text| pieces(text)).map(|piece| tokenizer.count_ordinary(piece)).sum::<usize>()
    });
    let counted = counted.await.map_err(|_panicked| GatewayError::internal("The tokenizer failed."))?;
    Ok(u64::try_from(counted + allowance).unwrap_or(u64::MAX))
}

fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let end = (0..=text.len().min(MAX_PIECE)).rev().find(|&end| text.is_char_boundary(end))?;
        let (piece, rest) = text.split_at_checked(end).filter(|(piece, _)| !piece.is_empty())?;
        text = rest;
        Some(piece)
    })
}

/// What is to be counted, and what is added for all that is not text.
fn texts_of(conversation: &Conversation) -> (Vec<String>, usize) {
    let mut texts = Vec::new();
    let mut allowance = PER_ANSWER;
    for turn in &conversation.turns {
        allowance += PER_TURN;
        texts.extend(turn.name.clone());
        for part in &turn.parts {
            add_part(part, &mut texts, &mut allowance);
        }
    }
    for tool in &conversation.tools {
        allowance += PER_TOOL;
        match tool {
            Tool::Function(function) => {
                texts.push(function.name.clone());
                texts.extend(function.description.clone());
                texts.extend(function.parameters.as_ref().map(ToString::to_string));
            }
            Tool::Native(native) => texts.push(native.value.to_string()),
        }
    }
    (texts, allowance)
}

fn add_part(part: &Part, texts: &mut Vec<String>, allowance: &mut usize) {
    match &part.content {
        Content::Text { text, .. } | Content::Reasoning { text } | Content::Refusal(text) => {
            texts.push(text.clone());
        }
        Content::ToolCall(call) => {
            texts.push(call.name.clone());
            texts.push(call.arguments.clone());
        }
        Content::ToolResult(result) => {
            for part in &result.parts {
                add_part(part, texts, allowance);
            }
        }
        Content::Media(media) => match &media.source {
            MediaSource::Text(text) => texts.push(text.clone()),
            MediaSource::Base64(data) if media.kind != tidegate_wire::conversation::MediaKind::Image => {
                *allowance += data.len() / BASE64_BYTES_PER_TOKEN;
            }
            MediaSource::Base64(_) | MediaSource::Url(_) | MediaSource::FileId(_) => *allowance += PER_IMAGE,
        },
        Content::Native(native) => texts.push(native.value.to_string()),
        Content::RedactedReasoning => {}
    }
}
