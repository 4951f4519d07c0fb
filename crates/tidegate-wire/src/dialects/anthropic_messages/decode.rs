//! A provider's stream, event by event. Called through the codec.
//!
//! Blocks come one after the other, each with an index. Blocks that the canonical stream has no deltas for are gathered
//! and said when they are whole.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::fields::{Fields, Path, to_value};
use super::blocks::{HERE, ToolNames, parse_citation, push_block, read_signature};
use super::reply::{malformed, parse_finish};
use super::usage::UsageReader;
use crate::carry::Signature;
use crate::conversation::{Content, Native, Rest};
use crate::event::{Event, PartDelta, PartStart};
use crate::framing::SseEvent;
use crate::{ReplyError, ServedTier, StreamDecoder};

/// The most that one gathered block may hold. Results of server tools hold files as text; an answer as a whole is at
/// most some megabytes.
const MAX_GATHERED_BYTES: usize = 32 * 1024 * 1024;

/// The most blocks that may be open at once. The API opens one.
const MAX_OPEN_BLOCKS: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Decoder {
    usage: UsageReader,
    blocks: Vec<OpenBlock>,
    next_part: u32,
    rest: Rest,
    has_started: bool,
    has_finished: bool,
    has_ended: bool,
    /// Remembered when the usage is said and emptied.
    tier: Option<ServedTier>,
}

/// A block that has begun and not ended.
#[derive(Debug)]
struct OpenBlock {
    index: u64,
    state: BlockState,
}

#[derive(Debug)]
enum BlockState {
    /// Text and thinking.
    Words { part: u32 },
    /// A call, with the arguments that stood in its beginning: they count when none follow.
    Call { part: u32, initial: String, has_arguments: bool },
    /// Gathered until it is whole.
    Gathered { value: Value, json: String },
    /// Said already.
    Done,
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Cow<'a, str>,
    #[serde(default)]
    index: u64,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    content_block: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct BlockDelta<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Cow<'a, str>,
    text: Option<String>,
    thinking: Option<String>,
    partial_json: Option<String>,
    #[serde(borrow)]
    signature: Option<Cow<'a, str>>,
    citation: Option<Value>,
}

impl StreamDecoder for Decoder {
    fn decode(&mut self, frame: &SseEvent, events: &mut Vec<Event>) -> Result<(), ReplyError> {
        // Some gateways close with OpenAI's word for the end.
        if !frame.has_data || self.has_ended || frame.data.as_ref() == b"[DONE]" {
            return Ok(());
        }
        let is_error = frame.name() == "error";
        let data: Frame<'_> = match serde_json::from_slice(&frame.data) {
            Ok(data) => data,
            Err(_) if is_error => return Err(ReplyError::Provider(super::error::parse_in_band(&frame.data))),
            Err(error) => return Err(not_the_dialect(format!("an event is no JSON: {error}"))),
        };
        match data.kind.as_ref() {
            kind if is_error || (data.error.is_some() && kind.is_empty()) => {
                Err(ReplyError::Provider(super::error::parse_in_band(&frame.data)))
            }
            "error" => Err(ReplyError::Provider(super::error::parse_in_band(&frame.data))),
            "message_start" => self.start(&data, events),
            "content_block_start" => self.start_block(&data, events),
            "content_block_delta" => self.extend_block(&data, events),
            "content_block_stop" => {
                self.end_block(data.index, events);
                Ok(())
            }
            "message_delta" => self.finish_message(&frame.data, events),
            "message_stop" => {
                self.end(events);
                Ok(())
            }
            // `ping`, and what may be added: clients are told to pass over events that they do not know.
            "" => Err(not_the_dialect("an event has no type")),
            _ => Ok(()),
        }
    }

    fn finish(&mut self, events: &mut Vec<Event>) -> bool {
        // All that matters was said; only the last word is missing.
        if self.has_finished && !self.has_ended {
            self.end(events);
        }
        self.has_ended
    }

    fn served_tier(&self) -> Option<ServedTier> {
        self.tier
    }
}

impl Decoder {
    fn start(&mut self, data: &Frame<'_>, events: &mut Vec<Event>) -> Result<(), ReplyError> {
        let path = Path::ROOT.field("message");
        let Some(raw) = data.message else { return Err(not_the_dialect("message_start has no message")) };
        let mut message = Fields::of(raw, &path).map_err(malformed)?;
        let id = message.take_text("id", &path).map_err(malformed)?.unwrap_or_default();
        let model = message.take_text("model", &path).map_err(malformed)?.unwrap_or_default();
        let usage = message.take("usage");
        if self.has_started {
            // A start that is merely said twice does no harm. One behind content means that another answer was spliced
            // onto this one, which then will never be complete.
            if self.next_part > 0 || !self.blocks.is_empty() {
                return Err(not_the_dialect("a second message begins inside the first"));
            }
            return Ok(());
        }
        self.has_started = true;
        events.push(Event::Start { id, model, created: None });
        if let Some(raw) = usage {
            self.read_usage(raw, events)?;
        }
        for name in ["type", "role", "content", "stop_reason", "stop_sequence", "stop_details"] {
            message.take(name);
        }
        self.rest.extend(message.into_rest(&path).map_err(malformed)?);
        Ok(())
    }

    fn start_block(&mut self, data: &Frame<'_>, events: &mut Vec<Event>) -> Result<(), ReplyError> {
        let path = Path::ROOT.field("content_block");
        let Some(raw) = data.content_block else {
            return Err(not_the_dialect("content_block_start has no block"));
        };
        if !self.has_started {
            return Err(not_the_dialect("content begins before the message"));
        }
        if self.blocks.len() >= MAX_OPEN_BLOCKS {
            return Err(not_the_dialect("too many blocks are open at once"));
        }
        let mut parts = Vec::new();
        push_block(raw, &path, &mut ToolNames::new(), &mut parts).map_err(malformed)?;
        let Some(block) = parts.pop() else { return Ok(()) };
        let state = match block.content {
            Content::Text { text, citations } => {
                let part = self.open(PartStart::Text, events);
                push_text(text, part, events);
                let citations = citations.into_iter().map(PartDelta::Citation);
                events.extend(citations.map(|delta| Event::PartDelta { choice: 0, part, delta }));
                BlockState::Words { part }
            }
            Content::Reasoning { text } => {
                let part = self.open(PartStart::Reasoning, events);
                push_text(text, part, events);
                if let Some(signature) = block.signature {
                    let delta = PartDelta::Signature(signature);
                    events.push(Event::PartDelta { choice: 0, part, delta });
                }
                BlockState::Words { part }
            }
            Content::RedactedReasoning => {
                let data = block.signature.unwrap_or_else(|| Signature::new(HERE, ""));
                self.say(PartStart::RedactedReasoning { data }, events);
                BlockState::Done
            }
            Content::ToolCall(call) => {
                let signature = block.signature;
                let start = PartStart::ToolCall { id: call.id, name: call.name, free_text: false, signature };
                let part = self.open(start, events);
                BlockState::Call { part, initial: call.arguments, has_arguments: false }
            }
            Content::Native(native) => BlockState::Gathered { value: native.value, json: String::new() },
            Content::Media(_) | Content::ToolResult(_) | Content::Refusal(_) => {
                let value = to_value(raw, &path).map_err(malformed)?;
                BlockState::Gathered { value, json: String::new() }
            }
        };
        self.blocks.push(OpenBlock { index: data.index, state });
        Ok(())
    }

    fn extend_block(&mut self, data: &Frame<'_>, events: &mut Vec<Event>) -> Result<(), ReplyError> {
        let Some(raw) = data.delta else { return Err(not_the_dialect("content_block_delta has no delta")) };
        let Some(block) = self.blocks.iter_mut().rev().find(|block| block.index == data.index) else {
            return Err(not_the_dialect("a delta belongs to no block"));
        };
        if let BlockState::Gathered { value, json } = &mut block.state {
            return gather(raw, value, json);
        }
        let delta: BlockDelta<'_> = serde_json::from_str(raw.get())
            .map_err(|error| not_the_dialect(format!("a delta cannot be read: {error}")))?;
        match (&mut block.state, delta.kind.as_ref()) {
            (BlockState::Words { part }, "text_delta" | "thinking_delta") => {
                push_text(delta.text.or(delta.thinking).unwrap_or_default(), *part, events);
            }
            (BlockState::Words { part }, "signature_delta") => {
                if let Some(signature) = delta.signature.as_deref().and_then(read_signature) {
                    let delta = PartDelta::Signature(signature);
                    events.push(Event::PartDelta { choice: 0, part: *part, delta });
                }
            }
            (BlockState::Words { part }, "citations_delta") => {
                if let Some(citation) = delta.citation {
                    let delta = PartDelta::Citation(parse_citation(citation));
                    events.push(Event::PartDelta { choice: 0, part: *part, delta });
                }
            }
            (BlockState::Call { part, has_arguments, .. }, "input_json_delta") => {
                let more = delta.partial_json.unwrap_or_default();
                if !more.is_empty() {
                    *has_arguments = true;
                    let delta = PartDelta::Arguments(more);
                    events.push(Event::PartDelta { choice: 0, part: *part, delta });
                }
            }
            // Kinds of deltas may be added.
            _ => {}
        }
        Ok(())
    }

    fn end_block(&mut self, index: u64, events: &mut Vec<Event>) {
        let Some(position) = self.blocks.iter().rposition(|block| block.index == index) else {
            return;
        };
        let block = self.blocks.remove(position);
        match block.state {
            BlockState::Words { part } => events.push(Event::PartEnd { choice: 0, part }),
            BlockState::Call { part, initial, has_arguments } => {
                if !has_arguments {
                    let delta = PartDelta::Arguments(initial);
                    events.push(Event::PartDelta { choice: 0, part, delta });
                }
                events.push(Event::PartEnd { choice: 0, part });
            }
            BlockState::Gathered { mut value, json } => {
                if !json.is_empty() {
                    // An answer that was cut at its token limit may end within the input.
                    let input = serde_json::from_str(&json).unwrap_or(Value::String(json));
                    if let Some(fields) = value.as_object_mut() {
                        fields.insert("input".to_owned(), input);
                    }
                }
                self.say(PartStart::Native(Native { dialect: HERE, value }), events);
            }
            BlockState::Done => {}
        }
    }

    /// `message_delta`: why it ended, the final counts, and what else is known only now.
    fn finish_message(&mut self, data: &[u8], events: &mut Vec<Event>) -> Result<(), ReplyError> {
        let path = Path::ROOT;
        let mut fields = Fields::of_body(data).map_err(malformed)?;
        fields.take("type");
        if let Some(raw) = fields.take("usage") {
            self.read_usage(raw, events)?;
        }
        if let Some(raw) = fields.take("delta") {
            let path = path.field("delta");
            let mut delta = Fields::of(raw, &path).map_err(malformed)?;
            let word = delta.take_text("stop_reason", &path).map_err(malformed)?;
            let stop_sequence = delta.take_text("stop_sequence", &path).map_err(malformed)?;
            let mut rest = Rest::new();
            if let Some(details) = delta.take("stop_details") {
                rest.insert("stop_details".to_owned(), to_value(details, &path).map_err(malformed)?);
            }
            self.rest.extend(delta.into_rest(&path).map_err(malformed)?);
            if let Some(word) = word.filter(|_| !self.has_finished) {
                self.has_finished = true;
                self.close_blocks(events);
                events.push(Event::Finish { choice: 0, finish: parse_finish(word, stop_sequence), rest });
            }
        }
        self.rest.extend(fields.into_rest(&path).map_err(malformed)?);
        Ok(())
    }

    fn end(&mut self, events: &mut Vec<Event>) {
        self.close_blocks(events);
        let mut rest = std::mem::take(&mut self.rest);
        if let Some(tier) = self.usage.tier.take() {
            rest.insert("service_tier".to_owned(), tier.into());
        }
        if !self.usage.rest.is_empty() {
            rest.insert("usage".to_owned(), Value::Object(std::mem::take(&mut self.usage.rest)));
        }
        if !rest.is_empty() {
            events.push(Event::Rest(rest));
        }
        events.push(Event::End);
        self.has_ended = true;
    }

    fn close_blocks(&mut self, events: &mut Vec<Event>) {
        while let Some(block) = self.blocks.first() {
            self.end_block(block.index, events);
        }
    }

    fn read_usage(&mut self, raw: &RawValue, events: &mut Vec<Event>) -> Result<(), ReplyError> {
        self.usage.read(&to_value(raw, &Path::ROOT.field("usage")).map_err(malformed)?);
        self.tier = self.usage.served_tier();
        events.push(Event::Usage(self.usage.total()));
        Ok(())
    }

    fn open(&mut self, start: PartStart, events: &mut Vec<Event>) -> u32 {
        let part = self.next_part;
        self.next_part = self.next_part.saturating_add(1);
        events.push(Event::PartStart { choice: 0, part, start });
        part
    }

    /// A part that is whole from the start.
    fn say(&mut self, start: PartStart, events: &mut Vec<Event>) {
        let part = self.open(start, events);
        events.push(Event::PartEnd { choice: 0, part });
    }
}

/// Adds a delta to a block that is only known as a whole: its input comes as pieces of JSON; of other deltas
/// (`compaction_delta`) each text field is appended to the block's field of that name, any other field replaces it.
fn gather(raw: &RawValue, value: &mut Value, json: &mut String) -> Result<(), ReplyError> {
    let path = Path::ROOT.field("delta");
    let delta = to_value(raw, &path).map_err(malformed)?;
    let (Value::Object(delta), Some(fields)) = (delta, value.as_object_mut()) else { return Ok(()) };
    for (name, more) in delta {
        match (name.as_str(), more) {
            ("type", _) | (_, Value::Null) => {}
            ("partial_json", Value::String(more)) => json.push_str(&more),
            (_, Value::String(more)) => match fields.get_mut(&name) {
                Some(Value::String(text)) => text.push_str(&more),
                _ => {
                    fields.insert(name, Value::String(more));
                }
            },
            (_, more) => {
                fields.insert(name, more);
            }
        }
    }
    let texts = fields.values().filter_map(Value::as_str).map(str::len).sum::<usize>();
    if json.len() + texts > MAX_GATHERED_BYTES {
        return Err(not_the_dialect("a block is too large"));
    }
    Ok(())
}

fn push_text(text: String, part: u32, events: &mut Vec<Event>) {
    if !text.is_empty() {
        events.push(Event::PartDelta { choice: 0, part, delta: PartDelta::Text(text) });
    }
}

fn not_the_dialect(detail: impl Into<String>) -> ReplyError {
    ReplyError::Malformed { dialect: HERE, detail: detail.into() }
}
