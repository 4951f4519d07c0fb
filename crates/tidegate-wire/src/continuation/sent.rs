//! What was forwarded of a stream that passes through. The frames are kept as bytes and understood when there are many of
//! them, or when somebody else has to go on: most streams never break, and a frame has some fifty times the bytes of the
//! words in it.

use bytes::Bytes;

use super::said::{Obstacle, Said};
use crate::event::Event;
use crate::framing::{SseDecoder, SseEvent};
use crate::json::Document;
use crate::{Dialect, ReplyOptions, StreamDecoder, StreamEncoder, Usage};

/// So many bytes of frames are kept before they are understood and let go. An event of a stream has some 200 bytes: short
/// answers are never looked at, and a thousand streams hold 16 MB at most.
const MAX_RAW_BYTES: usize = 16 * 1024;

/// What was forwarded.
pub struct Sent {
    dialect: Dialect,
    decoder: Option<Box<dyn StreamDecoder>>,
    raw: Vec<u8>,
    said: Said,
    blocks: Blocks,
}

/// Anthropic's wire numbers its blocks, and those that are no part of the canonical answer have numbers too.
#[derive(Debug, Default)]
struct Blocks {
    next: u32,
    open: Option<u32>,
}

impl std::fmt::Debug for Sent {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let raw = self.raw.len();
        formatter.debug_struct("Sent").field("raw", &raw).field("said", &self.said).finish_non_exhaustive()
    }
}

impl Sent {
    /// Nothing so far.
    pub fn new(dialect: Dialect) -> Self {
        Self { dialect, decoder: None, raw: Vec::new(), said: Said::default(), blocks: Blocks::default() }
    }

    /// Remembers a frame that was found in order and is forwarded.
    pub fn frame(&mut self, frame: &SseEvent) {
        if !frame.has_data || self.said.obstacle().is_some() {
            return;
        }
        if self.raw.len() + frame.raw.len() > MAX_RAW_BYTES {
            self.understand();
        }
        self.raw.extend_from_slice(&frame.raw);
        if self.raw.len() > MAX_RAW_BYTES {
            self.understand();
        }
    }

    /// How many bytes it holds.
    pub fn bytes(&self) -> usize {
        self.raw.capacity() + self.said.bytes()
    }

    /// What the caller has been told, and an encoder that goes on from there.
    pub fn into_encoder(mut self, options: ReplyOptions) -> (Said, Box<dyn StreamEncoder>) {
        self.understand();
        let mut encoder = self.dialect.codec().encoder(options);
        let mut told_before = Vec::new();
        // The beginning is told with the first figures, where the wire has them there.
        let figures = Event::Usage(Usage::default());
        for event in self.said.replay().into_iter().chain([figures]) {
            encoder.encode(&event, &mut told_before);
            told_before.clear();
        }
        if self.dialect == Dialect::AnthropicMessages {
            let has_open_part = self.said.parts.iter().any(|part| part.is_open);
            if self.blocks.open.is_some() && !has_open_part {
                // A block is open of which nothing is known yet: it is said when it is whole, and never will be.
                self.said.forget(Obstacle::Native);
            }
            encoder.go_on_at(self.blocks.next, self.blocks.open);
        }
        (self.said, encoder)
    }

    fn understand(&mut self) {
        let mut frames = SseDecoder::new();
        frames.push(Bytes::from(std::mem::take(&mut self.raw)));
        let decoder = self.decoder.get_or_insert_with(|| self.dialect.codec().decoder());
        let mut events = Vec::new();
        while let Some(frame) = frames.next_event() {
            let is_read = frame.is_ok_and(|frame| {
                self.blocks.note(self.dialect, &frame.data);
                decoder.decode(&frame, &mut events).is_ok()
            });
            if !is_read {
                return self.said.forget(Obstacle::Unreadable);
            }
            for event in events.drain(..) {
                self.said.note(&event);
            }
        }
    }
}

impl Blocks {
    fn note(&mut self, dialect: Dialect, data: &Bytes) {
        if dialect != Dialect::AnthropicMessages {
            return;
        }
        let Ok(document) = Document::parse(data.clone()) else { return };
        let index = || document.get("index")?.as_u64().and_then(|index| u32::try_from(index).ok());
        match document.get("type").and_then(crate::json::Value::as_string).as_deref() {
            Some("content_block_start") => {
                self.open = index().or(Some(self.next));
                self.next = self.open.map_or(self.next, |open| open.saturating_add(1)).max(self.next);
            }
            Some("content_block_stop") => self.open = None,
            _ => {}
        }
    }
}
