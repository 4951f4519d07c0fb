//! The light tap on answers that pass through: usage, finish reason, first token and completeness, without taking the
//! answer apart. Called by the gateway's `relay` when target and caller speak the same dialect.
//!
//! Until the first token every frame goes through the dialect's own decoder, which knows what a token is. After it only
//! frames that can say something new (an error, a finish, usage) do; the others are merely checked to be JSON objects of
//! the dialect's shape.

use bytes::Bytes;

use crate::continuation::Sent;
use crate::event::{Event, PartDelta, PartStart};
use crate::framing::SseEvent;
use crate::json::{Document, Value};
use crate::reply::FinishReason;
use crate::{Dialect, ReplyError, ServedTier, StreamDecoder, Usage};

/// What the tap saw of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tapped {
    /// Tokens used, as far as the provider has said.
    pub usage: Usage,
    /// The tier that served it, as far as the provider has said.
    pub tier: Option<ServedTier>,
    /// Why it ended, once it has.
    pub finish: Option<FinishReason>,
}

/// What one frame is to the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameFacts {
    /// It carries something that the model said.
    pub is_token: bool,
    /// It carries usage and nothing else, so that it is withheld from a caller who did not ask for usage (OpenAI's last
    /// chunk, whose `choices` are empty).
    pub is_usage_only: bool,
}

/// Reads a whole answer that passes through.
pub fn tap_reply(dialect: Dialect, body: &Bytes) -> Result<Tapped, ReplyError> {
    let codec = dialect.codec();
    let ordinary = Document::parse(body.clone()).ok().and_then(|document| codec.glance_at_reply(&document));
    if let Some(tapped) = ordinary {
        return Ok(tapped);
    }
    let reply = codec.parse_reply(body)?;
    let finish = reply.choices.first().and_then(|choice| choice.finish.as_ref());
    Ok(Tapped { usage: reply.usage, tier: reply.served_tier(), finish: finish.map(|finish| finish.reason) })
}

/// Reads a stream that passes through.
pub struct StreamTap {
    dialect: Dialect,
    decoder: Box<dyn StreamDecoder>,
    events: Vec<Event>,
    tapped: Tapped,
    tokens_seen: u64,
    has_said: bool,
    has_usage: bool,
    is_complete: bool,
    /// Gemini repeats usage in every frame; only the last one is read.
    last_frame: Option<SseEvent>,
    /// What was seen, where somebody else could go on with it.
    sent: Option<Box<Sent>>,
}

impl std::fmt::Debug for StreamTap {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("StreamTap").field("tapped", &self.tapped).finish_non_exhaustive()
    }
}

impl StreamTap {
    /// A tap on the start of a stream.
    pub fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            decoder: dialect.codec().decoder(),
            events: Vec::new(),
            tapped: Tapped::default(),
            tokens_seen: 0,
            has_said: false,
            has_usage: false,
            is_complete: false,
            last_frame: None,
            sent: None,
        }
    }

    /// Remembers from now on what it sees, so that another target could go on with it.
    pub fn remember(&mut self) {
        self.sent = Some(Box::default());
    }

    /// Gives away what it remembers, and remembers no more.
    pub fn take_sent(&mut self) -> Option<Box<Sent>> {
        self.sent.take()
    }

    /// Looks at one frame.
    pub fn frame(&mut self, frame: &SseEvent) -> Result<FrameFacts, ReplyError> {
        if !frame.has_data {
            return Ok(FrameFacts { is_token: false, is_usage_only: false });
        }
        let is_read_light = self.tokens_seen > 0;
        let document = if is_read_light || (self.sent.is_some() && self.dialect == Dialect::AnthropicMessages)
        {
            Document::parse(frame.data.clone()).ok()
        } else {
            None
        };
        if is_read_light {
            let glanced = document.as_ref().map_or(Glance::LookCloser, |it| glance(self.dialect, it));
            match glanced {
                Glance::PlainToken | Glance::TokenWithUsage if self.remembers(document.as_ref()) => {
                    self.tokens_seen += 1;
                    self.has_said = true;
                    let has_usage = matches!(glanced, Glance::TokenWithUsage);
                    self.last_frame = has_usage.then(|| frame.clone());
                    return Ok(FrameFacts { is_token: true, is_usage_only: false });
                }
                Glance::Structure if self.sent.is_none() => {
                    return Ok(FrameFacts { is_token: false, is_usage_only: false });
                }
                _ => self.last_frame = None,
            }
        }
        self.decode(frame)?;
        if let Some(sent) = &mut self.sent {
            sent.note(self.dialect, document.as_ref(), &self.events);
        }
        Ok(self.judge(frame))
    }

    /// Whether a plain frame need not be decoded: nothing is remembered, or it was without.
    fn remembers(&mut self, document: Option<&Document>) -> bool {
        match (&mut self.sent, document) {
            (Some(sent), Some(document)) => sent.append(self.dialect, document),
            (sent, _) => sent.is_none(),
        }
    }

    /// Says that the stream has ended; returns whether the answer is complete.
    pub fn finish(&mut self) -> bool {
        self.catch_up();
        if self.decoder.finish(&mut self.events) {
            self.is_complete = true;
        }
        self.digest();
        self.is_complete
    }

    /// Reads what was only glanced at: Gemini's usage so far, when a stream ends or is read no further.
    pub fn catch_up(&mut self) {
        if let Some(frame) = self.last_frame.take() {
            let tokens_seen = self.tokens_seen;
            // It was glanced at, counted and found well-formed; an error in it would have been seen.
            if self.decode(&frame).is_ok() {
                self.judge(&frame);
            }
            self.tokens_seen = tokens_seen;
        }
    }

    /// What was seen so far.
    pub fn tapped(&self) -> Tapped {
        self.tapped
    }

    /// Frames with something that the model said: the best estimate of output tokens when a stream breaks off before
    /// usage comes.
    pub fn tokens_seen(&self) -> u64 {
        self.tokens_seen
    }

    /// Whether the content was refused before anything was said, as far as has come.
    pub fn is_bare_refusal(&self) -> bool {
        !self.has_said && self.tapped.finish.is_some_and(FinishReason::is_refusal)
    }

    /// Whether the provider has told usage.
    pub fn has_usage(&self) -> bool {
        self.has_usage
    }

    /// Whether the terminal event was seen.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    fn decode(&mut self, frame: &SseEvent) -> Result<(), ReplyError> {
        self.events.clear();
        self.decoder.decode(frame, &mut self.events)
    }

    /// What the decoded frame is to the relay.
    fn judge(&mut self, frame: &SseEvent) -> FrameFacts {
        let is_token = self.events.iter().any(is_token);
        let is_usage_only = self.dialect == Dialect::OpenAiChat
            && self.events.iter().any(|event| matches!(event, Event::Usage(_)))
            && has_no_choices(&frame.data);
        self.tokens_seen += u64::from(is_token);
        self.has_said |= self.events.iter().any(says_something);
        self.digest();
        FrameFacts { is_token, is_usage_only }
    }

    fn digest(&mut self) {
        self.tapped.tier = self.decoder.served_tier().or(self.tapped.tier);
        for event in self.events.drain(..) {
            match event {
                Event::Usage(usage) => {
                    self.tapped.usage = usage;
                    self.has_usage = true;
                }
                Event::Finish { choice: 0, finish, .. } => self.tapped.finish = Some(finish.reason),
                Event::End => self.is_complete = true,
                _ => {}
            }
        }
    }
}

/// Whether an event is something that the model said.
pub fn is_token(event: &Event) -> bool {
    match event {
        Event::PartDelta { delta: PartDelta::Text(text) | PartDelta::Arguments(text), .. } => {
            !text.is_empty()
        }
        Event::PartDelta { .. } | Event::Finish { .. } => true,
        Event::PartStart { start, .. } => {
            !matches!(start, PartStart::Text | PartStart::Reasoning | PartStart::Refusal)
        }
        _ => false,
    }
}

/// Whether an event is a part of an answer, and not merely its end.
pub fn says_something(event: &Event) -> bool {
    is_token(event) && !matches!(event, Event::Finish { .. })
}

fn has_no_choices(data: &Bytes) -> bool {
    Document::parse(data.clone())
        .ok()
        .and_then(|document| document.get("choices").map(|choices| choices.elements().next().is_none()))
        .unwrap_or(false)
}

enum Glance {
    /// Something that the model said and nothing else.
    PlainToken,
    /// The same, with usage so far.
    TokenWithUsage,
    /// A frame of the dialect that says nothing (a block's beginning or end, a ping).
    Structure,
    /// Anything else.
    LookCloser,
}

/// Tells, without decoding, whether a frame after the first token is a plain one. Whatever is not certainly plain is
/// looked at closer, so that a mistake here costs time, never correctness.
fn glance(dialect: Dialect, document: &Document) -> Glance {
    match dialect {
        Dialect::OpenAiChat => glance_openai(document),
        Dialect::AnthropicMessages => glance_anthropic(document),
        Dialect::Gemini => glance_gemini(document),
    }
    .unwrap_or(Glance::LookCloser)
}

fn glance_openai(document: &Document) -> Option<Glance> {
    if document.get("error").is_some() || document.get("usage").is_some_and(|usage| !usage.is_null()) {
        return None;
    }
    let mut choices = document.get("choices")?.elements();
    let choice = choices.next()?;
    let delta = choice.get("delta")?;
    // A call's beginning changes what the finish means; its arguments do not.
    let names =
        |call: Value<'_>, inner: &str| call.get(inner).is_some_and(|inner| inner.get("name").is_some());
    let begins_call = delta.get("function_call").is_some_and(|call| call.get("name").is_some())
        || delta.get("tool_calls").is_some_and(|calls| {
            calls.elements().any(|call| names(call, "function") || names(call, "custom"))
        });
    let is_plain = choices.next().is_none()
        && !begins_call
        && choice.get("finish_reason").is_none_or(Value::is_null)
        && document.get("x_groq").is_none();
    is_plain.then_some(Glance::PlainToken)
}

fn glance_anthropic(document: &Document) -> Option<Glance> {
    match document.get("type")?.as_string()?.as_ref() {
        "content_block_delta" => document.get("delta").map(|_| Glance::PlainToken),
        "content_block_start" | "content_block_stop" | "ping" => Some(Glance::Structure),
        _ => None,
    }
}

fn glance_gemini(document: &Document) -> Option<Glance> {
    if document.get("error").is_some() || document.get("promptFeedback").is_some() {
        return None;
    }
    let mut candidates = document.get("candidates")?.elements();
    let candidate = candidates.next()?;
    // A call changes what the finish means.
    let parts = candidate.get("content")?.get("parts");
    let has_call = parts.is_some_and(|parts| parts.elements().any(|part| part.get("functionCall").is_some()));
    let is_plain =
        candidates.next().is_none() && !has_call && candidate.get("finishReason").is_none_or(Value::is_null);
    is_plain.then_some(Glance::TokenWithUsage)
}
