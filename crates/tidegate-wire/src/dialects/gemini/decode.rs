//! Answers, read into events: every frame of a stream is a whole response, and a whole answer is a stream of one frame.
//! Called by `reply.rs` and through the codec's stream decoder.

use serde_json::{Map, Value};

use super::partial_args::PartialCall;
use super::parts::{self, Read, take_nested};
use super::types::{Candidate as WireCandidate, LogprobsResult, Part as WirePart, Response};
use super::{HERE, citations, error, finish, time, usage};
use crate::conversation::{Content, MediaSource, Part, Rest, ToolCall};
use crate::event::{Event, PartDelta, PartStart};
use crate::framing::SseEvent;
use crate::reply::{Finish, FinishReason, TokenLogprob};
use crate::{ReplyError, ServedTier, StreamDecoder, Usage};

/// The most alternative answers followed at once; Gemini gives at most eight.
const MAX_CANDIDATES: usize = 64;

/// The most text remembered for turning byte offsets of citations into characters. Behind it, offsets are left out.
const MAX_CITED_TEXT: usize = 4 * 1024 * 1024;

/// The longest piece of the answer's id in the id of a call: OpenAI refuses call ids of more than 40 characters.
const MAX_ID_IN_CALL_ID: usize = 26;

/// Reads frames one after the other.
#[derive(Debug, Default)]
pub(super) struct Reader {
    has_started: bool,
    id: String,
    candidates: Vec<Candidate>,
    is_blocked: bool,
    usage: Option<Usage>,
    tier: Option<ServedTier>,
    rest: Rest,
}

/// What was seen of one alternative answer.
#[derive(Debug, Default)]
struct Candidate {
    index: u32,
    next_part: u32,
    open: Option<Open>,
    partial: Option<PartialCall>,
    has_calls: bool,
    is_finished: bool,
    /// The open part's text, for citations.
    text: String,
    rest: Rest,
}

/// A part that may be continued.
#[derive(Debug, Clone, Copy)]
struct Open {
    part: u32,
    is_thought: bool,
    /// Text behind a signature is a part of its own.
    is_signed: bool,
}

impl StreamDecoder for Reader {
    fn decode(&mut self, frame: &SseEvent, events: &mut Vec<Event>) -> Result<(), ReplyError> {
        let data = frame.data.trim_ascii();
        // Google ends its streams by closing them; some proxies add OpenAI's terminal frame.
        if !frame.has_data || data.is_empty() || data == b"[DONE]" {
            return Ok(());
        }
        self.read(data, events)
    }

    fn finish(&mut self, events: &mut Vec<Event>) -> bool {
        let is_complete = self.is_blocked
            || (!self.candidates.is_empty() && self.candidates.iter().all(|one| one.is_finished));
        if is_complete {
            self.end(events);
        }
        is_complete
    }

    fn served_tier(&self) -> Option<ServedTier> {
        self.tier
    }
}

impl Reader {
    /// Reads one frame, or a whole answer.
    pub(super) fn read(&mut self, data: &[u8], events: &mut Vec<Event>) -> Result<(), ReplyError> {
        let response: Response<'static> = serde_json::from_slice(data).map_err(|error| malformed(&error))?;
        if let Some(error) = &response.error {
            return Err(ReplyError::Provider(error::in_band(error)));
        }
        if !self.has_started {
            self.start(&response, data, events);
        }
        self.keep_rest(response.rest);
        for candidate in response.candidates.into_iter().flatten() {
            self.read_candidate(candidate, events)?;
        }
        if let Some(feedback) = response.prompt_feedback {
            self.read_feedback(feedback, events);
        }
        if let Some(metadata) = response.usage_metadata {
            self.read_usage(metadata, events);
        }
        Ok(())
    }

    /// Says what is left to say.
    pub(super) fn end(&mut self, events: &mut Vec<Event>) {
        for candidate in &mut self.candidates {
            candidate.close(events);
        }
        if !self.rest.is_empty() {
            events.push(Event::Rest(std::mem::take(&mut self.rest)));
        }
        events.push(Event::End);
    }

    fn start(&mut self, response: &Response<'_>, data: &[u8], events: &mut Vec<Event>) {
        self.has_started = true;
        let id = response.response_id.as_deref().unwrap_or_default();
        self.id = if id.is_empty() {
            format!("{:016x}", fingerprint(data))
        } else {
            id.chars()
                .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
                .take(MAX_ID_IN_CALL_ID)
                .collect()
        };
        events.push(Event::Start {
            id: id.to_owned(),
            model: response.model_version.as_deref().unwrap_or_default().to_owned(),
            created: response.create_time.as_deref().and_then(time::to_seconds),
        });
    }

    fn keep_rest(&mut self, rest: Rest) {
        self.rest.extend(rest.into_iter().filter(|(_, value)| !value.is_null()));
    }

    fn read_feedback(&mut self, feedback: Map<String, Value>, events: &mut Vec<Event>) {
        let reason = feedback.get("blockReason").and_then(Value::as_str).map(str::to_owned);
        self.rest.insert("promptFeedback".to_owned(), Value::Object(feedback));
        if let Some(reason) = reason.filter(|_| self.candidates.is_empty() && !self.is_blocked) {
            self.is_blocked = true;
            let finish =
                Finish { reason: FinishReason::ContentFilter, native: Some(reason), stop_sequence: None };
            events.push(Event::Finish { choice: 0, finish, rest: Rest::new() });
        }
    }

    fn read_usage(&mut self, metadata: Map<String, Value>, events: &mut Vec<Event>) {
        if let Some(usage) = usage::read(&metadata).filter(|usage| self.usage != Some(*usage)) {
            self.usage = Some(usage);
            events.push(Event::Usage(usage));
        }
        self.tier = usage::served_tier(&metadata).or(self.tier);
        if let Some(tier) = metadata.get(usage::SERVICE_TIER).and_then(Value::as_str) {
            self.rest.insert("service_tier".to_owned(), super::tier_from_wire(tier).into());
        }
        let left_over = usage::left_over(metadata);
        if !left_over.is_empty() {
            self.rest.insert("usageMetadata".to_owned(), Value::Object(left_over));
        }
    }

    fn read_candidate(
        &mut self,
        wire: WireCandidate<'static>,
        events: &mut Vec<Event>,
    ) -> Result<(), ReplyError> {
        let index = wire.index.unwrap_or_default();
        let position = match self.candidates.iter().position(|candidate| candidate.index == index) {
            Some(position) => position,
            None if self.candidates.len() < MAX_CANDIDATES => {
                self.candidates.push(Candidate { index, ..Candidate::default() });
                self.candidates.len() - 1
            }
            None => {
                let detail = format!("more than {MAX_CANDIDATES} candidates");
                return Err(ReplyError::Malformed { dialect: HERE, detail });
            }
        };
        let candidate = &mut self.candidates[position];
        for part in wire.content.into_iter().flat_map(|content| content.parts) {
            candidate.read_part(part, &self.id, events);
        }
        if let Some(logprobs) = wire.logprobs_result {
            let tokens = read_logprobs(logprobs);
            if !tokens.is_empty() {
                events.push(Event::Logprobs { choice: index, tokens });
            }
        }
        candidate.rest.extend(wire.rest.into_iter().filter(|(_, value)| !value.is_null()));
        if let Some(reason) = wire.finish_reason.filter(|reason| !reason.is_empty()) {
            candidate.finish(&reason, events);
        }
        Ok(())
    }
}

impl Candidate {
    fn read_part(&mut self, wire: WirePart<'static>, answer_id: &str, events: &mut Vec<Event>) {
        match parts::read(wire) {
            Read::Part(part) => self.push(part, events),
            Read::Call { id, call, signature, mut rest, .. } => {
                self.has_calls = true;
                let pieces = take_nested(&mut rest, "functionCall");
                if let Some(partial) = self.partial.as_mut().filter(|_| call.name.is_empty()) {
                    if !partial.extend(pieces) {
                        self.close(events);
                    }
                    return;
                }
                let id = id.unwrap_or_else(|| format!("call_{answer_id}_{}_{}", self.index, self.next_part));
                if pieces.get("willContinue") == Some(&Value::Bool(true)) {
                    let start = PartStart::ToolCall { id, name: call.name, free_text: false, signature };
                    let part = self.start(start, events);
                    let mut partial = PartialCall::new(part, &call.arguments);
                    partial.extend(pieces);
                    self.partial = Some(partial);
                    return;
                }
                let call = ToolCall { id, ..call };
                self.push(Part { signature, ..Part::new(Content::ToolCall(call)) }, events);
            }
            // What a function of the caller's answered is no part of an answer.
            Read::Response(_) => {}
        }
    }

    fn push(&mut self, part: Part, events: &mut Vec<Event>) {
        let signature = part.signature;
        match part.content {
            Content::Text { text, .. } => self.push_text(text, false, signature, events),
            Content::Reasoning { text } => self.push_text(text, true, signature, events),
            Content::RedactedReasoning => {
                if let Some(data) = signature {
                    self.push_whole(PartStart::RedactedReasoning { data }, None, events);
                }
            }
            Content::ToolCall(ToolCall { id, name, arguments, free_text }) => {
                let start = PartStart::ToolCall { id, name, free_text, signature };
                self.push_whole(start, Some(PartDelta::Arguments(arguments)), events);
            }
            Content::Media(media) => {
                let is_empty = matches!(&media.source, MediaSource::Base64(data) if data.is_empty());
                if !is_empty {
                    self.push_whole(PartStart::Media(media), signature.map(PartDelta::Signature), events);
                }
            }
            Content::Native(native) => self.push_whole(PartStart::Native(native), None, events),
            Content::Refusal(_) | Content::ToolResult(_) => {}
        }
    }

    fn push_text(
        &mut self,
        text: String,
        is_thought: bool,
        signature: Option<crate::carry::Signature>,
        events: &mut Vec<Event>,
    ) {
        if text.is_empty() && signature.is_none() {
            return;
        }
        let choice = self.index;
        let continued = self.open.filter(|open| open.is_thought == is_thought && !open.is_signed);
        let part = if let Some(open) = continued {
            open.part
        } else {
            let start = if is_thought { PartStart::Reasoning } else { PartStart::Text };
            self.start(start, events)
        };
        let is_signed = signature.is_some();
        self.open = Some(Open { part, is_thought, is_signed });
        if !is_thought && self.text.len().saturating_add(text.len()) <= MAX_CITED_TEXT {
            self.text.push_str(&text);
        }
        if !text.is_empty() {
            events.push(Event::PartDelta { choice, part, delta: PartDelta::Text(text) });
        }
        if let Some(signature) = signature {
            events.push(Event::PartDelta { choice, part, delta: PartDelta::Signature(signature) });
        }
    }

    fn push_whole(&mut self, start: PartStart, delta: Option<PartDelta>, events: &mut Vec<Event>) {
        let choice = self.index;
        let part = self.start(start, events);
        events.extend(delta.map(|delta| Event::PartDelta { choice, part, delta }));
        events.push(Event::PartEnd { choice, part });
    }

    fn start(&mut self, start: PartStart, events: &mut Vec<Event>) -> u32 {
        self.close(events);
        let part = self.next_part;
        self.next_part = part.saturating_add(1);
        events.push(Event::PartStart { choice: self.index, part, start });
        part
    }

    fn close(&mut self, events: &mut Vec<Event>) {
        self.text.clear();
        if let Some(partial) = self.partial.take() {
            let (choice, part) = (self.index, partial.part);
            let delta = PartDelta::Arguments(partial.into_arguments());
            events.push(Event::PartDelta { choice, part, delta });
            events.push(Event::PartEnd { choice, part });
        }
        if let Some(open) = self.open.take() {
            events.push(Event::PartEnd { choice: self.index, part: open.part });
        }
    }

    fn finish(&mut self, reason: &str, events: &mut Vec<Event>) {
        if self.is_finished {
            return;
        }
        self.is_finished = true;
        let choice = self.index;
        if let Some(open) = self.open.filter(|open| !open.is_thought) {
            let citations = citations::read(&self.rest, &self.text);
            events.extend(citations.into_iter().map(|citation| Event::PartDelta {
                choice,
                part: open.part,
                delta: PartDelta::Citation(citation),
            }));
        }
        self.close(events);
        let finish = finish::read(reason, self.has_calls);
        events.push(Event::Finish { choice, finish, rest: std::mem::take(&mut self.rest) });
    }
}

fn read_logprobs(result: LogprobsResult) -> Vec<TokenLogprob> {
    let mut alternatives = result.top_candidates.into_iter();
    let one = |candidate: super::types::LogprobsCandidate, top| TokenLogprob {
        token: candidate.token.unwrap_or_default(),
        logprob: candidate.log_probability.unwrap_or_default(),
        bytes: None,
        top,
    };
    let read = |candidate| {
        let top = alternatives.next().map_or_else(Vec::new, |top| top.candidates);
        one(candidate, top.into_iter().map(|candidate| one(candidate, Vec::new())).collect())
    };
    result.chosen_candidates.into_iter().map(read).collect()
}

/// What is wrong, without the content: the JSON reader's own words may quote it.
fn malformed(error: &serde_json::Error) -> ReplyError {
    let kind = match error.classify() {
        serde_json::error::Category::Data => "a field has an unexpected type",
        serde_json::error::Category::Eof => "the JSON is cut off",
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => "not JSON",
    };
    let detail = format!("{kind} at line {} column {}", error.line(), error.column());
    ReplyError::Malformed { dialect: HERE, detail }
}

/// FNV-1a: tells answers without an id apart, the same answer getting the same one again.
fn fingerprint(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
