//! A stream for callers who speak Messages. Called through the codec.
//!
//! On this wire blocks come strictly one after the other, while canonical parts may be open side by side (OpenAI's
//! parallel calls). One part is written as it comes; those that begin meanwhile wait until it ends.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value};

use super::blocks::HERE;
use super::error::render_error_event;
use super::reply::{
    is_tier, stop_reason, wire_call_id, wire_citation, wire_id, wire_signature, words_for_media,
};
use super::types::Block;
use super::usage::WireUsage;
use crate::carry::Signature;
use crate::conversation::{Citation, MediaKind, Rest};
use crate::event::{Event, PartDelta, PartStart};
use crate::framing::encode_json_event;
use crate::reply::{Finish, FinishReason};
use crate::{CallerError, ErrorClass, ReplyOptions, StreamEncoder, Usage};

/// The most text that waits. Parts that are open side by side are tool calls, whose arguments are a few kilobytes.
const MAX_WAITING_BYTES: usize = 8 * 1024 * 1024;

/// The most parts that wait.
const MAX_WAITING_PARTS: usize = 256;

/// Fields of an answer that this wire knows and that come with its end; others are some other dialect's.
const OWN_FIELDS: &[&str] = &["container", "context_management", "diagnostics", "input_transformations"];

#[derive(Debug)]
pub(super) struct Encoder {
    options: ReplyOptions,
    start: Option<(String, String)>,
    usage: Usage,
    finish: Option<(Finish, Rest)>,
    rest: Rest,
    /// Parts that have begun and are not written whole, in the order in which they began. The first is being written.
    parts: Vec<OpenPart>,
    waiting_bytes: usize,
    next_index: u32,
    has_calls: bool,
    has_refusal: bool,
    is_over: bool,
}

#[derive(Debug)]
struct OpenPart {
    number: u32,
    start: PartStart,
    /// Its block's index, once the block is begun.
    index: Option<u32>,
    /// What has come and is not written.
    waiting: Vec<Piece>,
    signature: Option<Signature>,
    /// Somebody else wrote the signature already.
    has_told_signature: bool,
    has_ended: bool,
}

/// Something to write within a block.
#[derive(Debug)]
enum Piece {
    Words(String),
    Arguments(String),
    Citation(Box<Citation>),
}

impl StreamEncoder for Encoder {
    fn encode(&mut self, event: &Event, out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        match event {
            Event::Start { id, model, .. } => self.start = Some((id.clone(), model.clone())),
            Event::PartStart { choice: 0, part, start } => self.start_part(*part, start, out),
            Event::PartDelta { choice: 0, part, delta } => self.extend_part(*part, delta, out),
            Event::PartEnd { choice: 0, part } => self.end_part(*part, out),
            Event::Finish { choice: 0, finish, rest } => self.finish = Some((finish.clone(), rest.clone())),
            Event::Usage(usage) => {
                self.usage = *usage;
                // Counts that are known from the start stand in the first frame.
                self.start_message(out);
            }
            Event::Rest(rest) => self.rest.extend(rest.clone()),
            Event::End => self.end(out),
            // Of several choices only the first can be expressed, and log probabilities not at all.
            Event::PartStart { .. }
            | Event::PartDelta { .. }
            | Event::PartEnd { .. }
            | Event::Finish { .. }
            | Event::Logprobs { .. } => {}
        }
    }

    fn go_on_at(&mut self, next_block: u32, open_block: Option<u32>) {
        self.next_index = next_block;
        if let Some(part) = self.parts.first_mut() {
            part.index = open_block;
            part.has_told_signature = part.signature.is_some();
        }
    }
}

impl Encoder {
    pub(super) fn new(options: ReplyOptions) -> Self {
        Self {
            options,
            start: None,
            usage: Usage::default(),
            finish: None,
            rest: Rest::new(),
            parts: Vec::new(),
            waiting_bytes: 0,
            next_index: 0,
            has_calls: false,
            has_refusal: false,
            is_over: false,
        }
    }

    fn start_message(&mut self, out: &mut Vec<u8>) {
        let Some((id, model)) = self.start.take() else { return };
        let message = StartedMessage {
            id: wire_id(&id, false, &self.options),
            kind: "message",
            role: "assistant",
            model: &model,
            content: [],
            stop_reason: None,
            stop_sequence: None,
            usage: WireUsage::new(&self.usage, None, None),
        };
        write(out, "message_start", &MessageStart { kind: "message_start", message });
    }

    fn start_part(&mut self, number: u32, start: &PartStart, out: &mut Vec<u8>) {
        self.start_message(out);
        match start {
            PartStart::ToolCall { .. } => self.has_calls = true,
            PartStart::Refusal => self.has_refusal = true,
            _ => {}
        }
        if self.parts.len() > MAX_WAITING_PARTS {
            return self.give_up(out);
        }
        let mut part = OpenPart {
            number,
            start: start.clone(),
            index: None,
            waiting: Vec::new(),
            signature: None,
            has_told_signature: false,
            has_ended: false,
        };
        if let PartStart::Media(media) = start
            && (media.kind != MediaKind::Audio || media.transcript.is_some())
        {
            part.waiting.push(Piece::Words(words_for_media(media)));
        }
        self.parts.push(part);
        self.write_on(out);
    }

    fn extend_part(&mut self, number: u32, delta: &PartDelta, out: &mut Vec<u8>) {
        let Some(part) = self.parts.iter_mut().find(|part| part.number == number) else { return };
        let (piece, size) = match delta {
            PartDelta::Text(text) | PartDelta::Data { transcript: text, .. } => {
                (Piece::Words(text.clone()), text.len())
            }
            PartDelta::Arguments(text) => (Piece::Arguments(text.clone()), text.len()),
            PartDelta::Citation(citation) => {
                let size = citation.cited_text.as_ref().map_or(0, String::len);
                (Piece::Citation(Box::new(citation.clone())), size)
            }
            // The SDKs replace a signature by a later one, so that it has to come whole, at the block's end.
            PartDelta::Signature(signature) => {
                match &mut part.signature {
                    Some(present) if present.origin == signature.origin => {
                        present.data.push_str(&signature.data);
                    }
                    present => *present = Some(signature.clone()),
                }
                return;
            }
        };
        part.waiting.push(piece);
        // Arguments that are no JSON are gathered until they are whole.
        let is_first =
            self.parts.first().is_some_and(|first| first.number == number && !first.is_free_text());
        if is_first {
            self.write_on(out);
        } else {
            self.waiting_bytes = self.waiting_bytes.saturating_add(size);
            if self.waiting_bytes > MAX_WAITING_BYTES {
                self.give_up(out);
            }
        }
    }

    fn end_part(&mut self, number: u32, out: &mut Vec<u8>) {
        if let Some(part) = self.parts.iter_mut().find(|part| part.number == number) {
            part.has_ended = true;
            self.write_on(out);
        }
    }

    /// Writes the first part as far as it has come, and, when it is over, those that waited for it.
    fn write_on(&mut self, out: &mut Vec<u8>) {
        while let Some(part) = self.parts.first_mut() {
            part.write(&mut self.next_index, out);
            if !part.has_ended {
                return;
            }
            part.write_end(&mut self.next_index, out);
            self.parts.remove(0);
        }
        self.waiting_bytes = 0;
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.start_message(out);
        for part in &mut self.parts {
            part.has_ended = true;
        }
        self.write_on(out);
        let (finish, choice_rest) =
            self.finish.take().unwrap_or_else(|| (Finish::new(FinishReason::Stop), Rest::new()));
        let tier = self.rest.get("service_tier").and_then(Value::as_str);
        let event = MessageDelta {
            kind: "message_delta",
            delta: EndDelta {
                stop_reason: stop_reason(&finish, self.has_calls, self.has_refusal),
                stop_sequence: finish.stop_sequence.as_deref(),
                stop_details: choice_rest.get("stop_details"),
                container: self.rest.get("container"),
            },
            usage: WireUsage::new(
                &self.usage,
                tier.filter(|tier| is_tier(tier)),
                self.rest.get("usage").and_then(Value::as_object),
            ),
            rest: self.own_rest(),
        };
        write(out, "message_delta", &event);
        write(out, "message_stop", &Plain { kind: "message_stop" });
        self.is_over = true;
    }

    fn own_rest(&self) -> Map<String, Value> {
        let own = self.rest.iter().filter(|(name, _)| OWN_FIELDS.contains(&name.as_str()));
        own.filter(|(name, _)| *name != "container")
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// Too much waits. A stream that cannot be told whole ends with an error, not as if it were complete.
    fn give_up(&mut self, out: &mut Vec<u8>) {
        self.is_over = true;
        self.parts.clear();
        out.extend_from_slice(&render_error_event(&CallerError {
            status: 502,
            class: ErrorClass::Upstream,
            message:
                "The provider's answer has too many parts open at once to be told in Anthropic's order; \
                      ask for it without streaming."
                    .to_owned(),
            code: None,
            param: None,
            request_id: None,
        }));
    }
}

impl OpenPart {
    fn is_free_text(&self) -> bool {
        matches!(self.start, PartStart::ToolCall { free_text: true, .. })
    }

    /// Writes what waits.
    fn write(&mut self, next_index: &mut u32, out: &mut Vec<u8>) {
        if self.is_free_text() && !self.has_ended {
            return;
        }
        // Calls show at once which tool is called; text begins with its first word, since an empty block would be
        // refused when the caller brings it back.
        if matches!(self.start, PartStart::ToolCall { .. } | PartStart::Reasoning) {
            self.begin(next_index, out);
        }
        if self.is_free_text() {
            self.wrap_free_text();
        }
        for piece in std::mem::take(&mut self.waiting) {
            let is_reasoning = matches!(self.start, PartStart::Reasoning);
            let delta = match &piece {
                Piece::Words(text) | Piece::Arguments(text) if text.is_empty() => continue,
                Piece::Words(text) if is_reasoning => Delta::Thinking { thinking: text },
                Piece::Words(text) => Delta::Text { text },
                Piece::Arguments(text) => Delta::InputJson { partial_json: text },
                Piece::Citation(citation) => match wire_citation(citation) {
                    Some(citation) => Delta::Citations { citation },
                    None => continue,
                },
            };
            let Some(index) = self.begin(next_index, out) else { return };
            write(out, "content_block_delta", &BlockDelta { kind: "content_block_delta", index, delta });
        }
    }

    fn write_end(&mut self, next_index: &mut u32, out: &mut Vec<u8>) {
        if matches!(self.start, PartStart::Native(_) | PartStart::RedactedReasoning { .. }) {
            self.begin(next_index, out);
        }
        let Some(index) = self.index else { return };
        if matches!(self.start, PartStart::Reasoning) && !self.has_told_signature {
            let signature = wire_signature(self.signature.as_ref(), false);
            let delta = Delta::Signature { signature };
            write(out, "content_block_delta", &BlockDelta { kind: "content_block_delta", index, delta });
        }
        write(out, "content_block_stop", &BlockStop { kind: "content_block_stop", index });
    }

    /// The block's index; begins it where that was not done. `None` where the part has no form on this wire.
    fn begin(&mut self, next_index: &mut u32, out: &mut Vec<u8>) -> Option<u32> {
        if self.index.is_some() {
            return self.index;
        }
        let content_block = match &self.start {
            PartStart::Text | PartStart::Refusal | PartStart::Media(_) => Block::text(""),
            PartStart::Reasoning => Block::Thinking { thinking: "", signature: "".into(), rest: None },
            PartStart::RedactedReasoning { data } => {
                Block::RedactedThinking { data: data.to_field(HERE).into(), rest: None }
            }
            PartStart::ToolCall { id, name, signature, .. } => Block::ToolUse {
                id: wire_call_id(id, signature.as_ref()),
                name,
                input: serde_json::from_str(EMPTY_INPUT).map(Cow::Borrowed).ok()?,
                cache_control: None,
                rest: None,
            },
            PartStart::Native(native) if native.dialect == HERE => Block::Native(&native.value),
            PartStart::Native(_) => return None,
        };
        let index = *next_index;
        *next_index = index.saturating_add(1);
        let event = BlockStart { kind: "content_block_start", index, content_block };
        write(out, "content_block_start", &event);
        self.index = Some(index);
        self.index
    }

    fn wrap_free_text(&mut self) {
        let mut whole = String::new();
        for piece in self.waiting.drain(..) {
            if let Piece::Arguments(text) = piece {
                whole.push_str(&text);
            }
        }
        self.waiting.push(Piece::Arguments(serde_json::json!({ "input": whole }).to_string()));
    }
}

const EMPTY_INPUT: &str = "{}";

fn write(out: &mut Vec<u8>, name: &str, event: &impl Serialize) {
    // Plain structs with text keys always serialise.
    let _ = encode_json_event(out, Some(name), event);
}

#[derive(Serialize)]
struct Plain {
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Serialize)]
struct MessageStart<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    message: StartedMessage<'a>,
}

#[derive(Serialize)]
struct StartedMessage<'a> {
    id: Cow<'a, str>,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    model: &'a str,
    content: [(); 0],
    stop_reason: Option<()>,
    stop_sequence: Option<()>,
    usage: WireUsage<'a>,
}

#[derive(Serialize)]
struct BlockStart<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    index: u32,
    content_block: Block<'a>,
}

#[derive(Serialize)]
struct BlockDelta<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    index: u32,
    delta: Delta<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum Delta<'a> {
    #[serde(rename = "text_delta")]
    Text { text: &'a str },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: &'a str },
    #[serde(rename = "signature_delta")]
    Signature { signature: Cow<'a, str> },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: &'a str },
    #[serde(rename = "citations_delta")]
    Citations { citation: Cow<'a, Value> },
}

#[derive(Serialize)]
struct BlockStop {
    #[serde(rename = "type")]
    kind: &'static str,
    index: u32,
}

#[derive(Serialize)]
struct MessageDelta<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    delta: EndDelta<'a>,
    usage: WireUsage<'a>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Serialize)]
struct EndDelta<'a> {
    stop_reason: &'static str,
    stop_sequence: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_details: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<&'a Value>,
}
