//! What was forwarded of a stream that passes through, as the tap sees it: plain pieces of text are appended where they
//! stand, everything else comes as the events that the tap's decoder made of it. So a stream is remembered by its words,
//! for little more than the look that the tap takes at every frame anyway.

use super::said::{Obstacle, Said};
use crate::event::{Event, PartStart};
use crate::json::{Document, Value};
use crate::{Dialect, ReplyOptions, StreamEncoder, Usage};

/// What was forwarded.
#[derive(Debug, Default)]
pub struct Sent {
    said: Said,
    blocks: Blocks,
}

/// Anthropic's wire numbers its blocks, and those that are no part of the canonical answer have numbers too.
#[derive(Debug, Default)]
struct Blocks {
    next: u32,
    open: Option<u32>,
}

impl Sent {
    /// How many bytes it holds, roughly.
    pub fn bytes(&self) -> usize {
        self.said.bytes()
    }

    /// What the caller has been told, and an encoder that goes on from there.
    pub fn into_encoder(self, dialect: Dialect, options: ReplyOptions) -> (Said, Box<dyn StreamEncoder>) {
        let Self { mut said, blocks } = self;
        let mut encoder = dialect.codec().encoder(options);
        let mut told_before = Vec::new();
        // The beginning is told with the first figures, where the wire has them there.
        let figures = Event::Usage(Usage::default());
        for event in said.replay().into_iter().chain([figures]) {
            encoder.encode(&event, &mut told_before);
            told_before.clear();
        }
        if dialect == Dialect::AnthropicMessages {
            let has_open_part = said.parts.iter().any(|part| part.is_open);
            if blocks.open.is_some() && !has_open_part && said.obstacle().is_none() {
                // A block is open of which nothing is known yet: it is said when it is whole, and never will be.
                said.forget(Obstacle::Native);
            }
            encoder.go_on_at(blocks.next, blocks.open);
        }
        (said, encoder)
    }

    /// Takes in a frame and what the dialect's decoder made of it.
    pub(crate) fn note(&mut self, dialect: Dialect, frame: Option<&Document>, events: &[Event]) {
        if let Some(frame) = frame.filter(|_| dialect == Dialect::AnthropicMessages) {
            self.blocks.note(frame);
        }
        for event in events {
            self.said.note(event);
        }
    }

    /// Takes in a frame that goes on with the piece of text or reasoning that is open, and does nothing else: the decoder
    /// need not see it. `false` where it is not certainly one.
    pub(crate) fn append(&mut self, dialect: Dialect, frame: &Document) -> bool {
        if self.said.obstacle().is_some() {
            return true;
        }
        let piece = match dialect {
            Dialect::OpenAiChat => openai_piece(frame),
            Dialect::AnthropicMessages => self.anthropic_piece(frame),
            Dialect::Gemini => gemini_piece(frame),
        };
        let Some((start, text)) = piece else { return false };
        text.as_string().is_some_and(|text| self.said.append(&start, &text))
    }

    fn anthropic_piece<'a>(&self, frame: &'a Document) -> Option<(PartStart, Value<'a>)> {
        let index = frame.get("index").and_then(Value::as_u64);
        if index != self.blocks.open.map(u64::from) {
            return None;
        }
        let delta = frame.get("delta")?;
        match delta.get("type")?.as_string()?.as_ref() {
            "text_delta" => Some((PartStart::Text, delta.get("text")?)),
            "thinking_delta" => Some((PartStart::Reasoning, delta.get("thinking")?)),
            _ => None,
        }
    }
}

fn openai_piece(frame: &Document) -> Option<(PartStart, Value<'_>)> {
    let choice = frame.get("choices")?.elements().next()?;
    let is_first = choice.get("index").is_none_or(|index| index.as_u64() == Some(0));
    if !is_first || choice.get("logprobs").is_some_and(|logprobs| !logprobs.is_null()) {
        return None;
    }
    let mut piece = None;
    for (key, value) in choice.get("delta")?.members() {
        if value.is_null() || key.is("role") {
            continue;
        }
        let start = if key.is("content") {
            PartStart::Text
        } else if key.is("reasoning_content") {
            PartStart::Reasoning
        } else {
            return None;
        };
        if piece.replace((start, value)).is_some() {
            return None;
        }
    }
    piece
}

fn gemini_piece(frame: &Document) -> Option<(PartStart, Value<'_>)> {
    let candidate = frame.get("candidates")?.elements().next()?;
    let is_first = candidate.get("index").is_none_or(|index| index.as_u64() == Some(0));
    if !is_first || candidate.get("logprobsResult").is_some() {
        return None;
    }
    let mut parts = candidate.get("content")?.get("parts")?.elements();
    let (part, None) = (parts.next()?, parts.next()) else { return None };
    let mut text = None;
    let mut start = PartStart::Text;
    for (key, value) in part.members() {
        if key.is("text") {
            text = Some(value);
        } else if key.is("thought") {
            if value.as_bool() == Some(true) {
                start = PartStart::Reasoning;
            }
        } else {
            return None;
        }
    }
    Some((start, text?))
}

impl Blocks {
    fn note(&mut self, frame: &Document) {
        let index = || frame.get("index")?.as_u64().and_then(|index| u32::try_from(index).ok());
        match frame.get("type").and_then(Value::as_string).as_deref() {
            Some("content_block_start") => {
                self.open = index().or(Some(self.next));
                self.next = self.open.map_or(self.next, |open| open.saturating_add(1)).max(self.next);
            }
            Some("content_block_stop") => self.open = None,
            _ => {}
        }
    }
}
