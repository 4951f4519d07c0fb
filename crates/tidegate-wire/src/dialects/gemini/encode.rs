//! Streams for callers: every frame is a whole response that holds what is new. Called through the codec, and by
//! `json_array.rs` for callers who asked without `alt=sse`.
//!
//! Calls and media are whole on this wire, so they are held back until they end; everything else goes out at once. The
//! finish reason, the usage and what the answer is like as a whole stand in the last frame.

use std::borrow::Cow;

use serde_json::Value;

use super::json_array::JsonArray;
use super::reply::{
    carried, content_of, id_of, is_malformed, malformed_message, to_json, write_call, write_logprobs,
    write_part,
};
use super::types::{Candidate as WireCandidate, Part as WirePart, Response};
use super::{citations, finish, time, usage};
use crate::carry::{CarriedReasoning, MAX_CARRIED_IN_ID, Signature};
use crate::conversation::{Content, MediaSource, Part, Rest, ToolCall};
use crate::event::{Event, PartDelta, PartStart};
use crate::framing::encode_json_text;
use crate::reply::Finish;
use crate::{ReplyOptions, StreamEncoder, Usage};

/// The longest arguments or data held back for one part. What is longer is cut, and a call that was cut is reported as
/// malformed.
const MAX_HELD_BYTES: usize = 32 * 1024 * 1024;
/// The most parts held back at once. Further ones are left out, which no real answer comes near.
const MAX_HELD_PARTS: usize = 512;
/// The most text of a part remembered to count the bytes before a citation.
const MAX_CITED_TEXT: usize = 4 * 1024 * 1024;
/// The most citations and malformed calls gathered for the last frame.
const MAX_GATHERED: usize = 1_024;

/// Fields of a candidate that are Gemini's own. A stream does not say which dialect it came in; fields of others are
/// not this caller's.
const CANDIDATE_FIELDS: [&str; 9] = [
    "safetyRatings",
    "groundingMetadata",
    "citationMetadata",
    "urlContextMetadata",
    "finishMessage",
    "avgLogprobs",
    "tokenCount",
    "groundingAttributions",
    "continuationToken",
];

/// How frames are set apart.
#[derive(Debug)]
pub(super) enum Framing {
    /// `alt=sse`.
    Events,
    /// A JSON array that grows.
    Array(JsonArray),
}

/// Writes one stream.
#[derive(Debug)]
pub(super) struct Encoder {
    framing: Framing,
    options: ReplyOptions,
    id: String,
    model: String,
    created: Option<i64>,
    usage: Usage,
    rest: Rest,
    /// Parts that have begun and not gone out yet, in their order.
    held: Vec<Held>,
    /// Text parts that are open.
    open: Vec<OpenText>,
    /// Reasoning of other providers that the next call's id carries, by choice.
    reasoning: Vec<(u32, CarriedReasoning)>,
    choices: Vec<ChoiceEnd>,
}

#[derive(Debug)]
struct Held {
    choice: u32,
    number: u32,
    part: Part,
    is_ended: bool,
    is_cut: bool,
}

#[derive(Debug)]
struct OpenText {
    choice: u32,
    number: u32,
    is_thought: bool,
    text: String,
    signature: Option<Signature>,
}

/// What the last frame says of one alternative answer.
#[derive(Debug, Default)]
struct ChoiceEnd {
    choice: u32,
    finish: Option<Finish>,
    rest: Rest,
    citations: Vec<Value>,
    malformed: Vec<ToolCall>,
}

impl Encoder {
    pub(super) fn new(options: ReplyOptions, framing: Framing) -> Self {
        Self {
            framing,
            options,
            id: String::new(),
            model: String::new(),
            created: None,
            usage: Usage::default(),
            rest: Rest::new(),
            held: Vec::new(),
            open: Vec::new(),
            reasoning: Vec::new(),
            choices: Vec::new(),
        }
    }
}

impl StreamEncoder for Encoder {
    fn encode(&mut self, event: &Event, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model, created } => {
                self.id.clone_from(id);
                self.model.clone_from(model);
                self.created = *created;
            }
            Event::PartStart { choice, part, start } => self.start_part(*choice, *part, start, out),
            Event::PartDelta { choice, part, delta } => self.extend_part(*choice, *part, delta, out),
            Event::PartEnd { choice, part } => self.end_part(*choice, *part, out),
            Event::Logprobs { choice, tokens } => {
                let candidate = WireCandidate {
                    logprobs_result: write_logprobs(tokens),
                    ..candidate(*choice, Vec::new())
                };
                let response = self.response(vec![candidate]);
                let json = to_json(&response);
                self.put(&json, out);
            }
            Event::Finish { choice, finish, rest } => {
                self.release(*choice, true, out);
                let end = self.choice(*choice);
                end.finish = Some(finish.clone());
                let is_own = |name: &str| CANDIDATE_FIELDS.contains(&name);
                end.rest.extend(
                    rest.iter().filter(|(name, _)| is_own(name)).map(|(n, v)| (n.clone(), v.clone())),
                );
            }
            Event::Usage(usage) => self.usage = *usage,
            Event::Rest(rest) => self.rest.extend(rest.clone()),
            Event::End => self.end(out),
        }
    }
}

impl Encoder {
    fn start_part(&mut self, choice: u32, number: u32, start: &PartStart, out: &mut Vec<u8>) {
        let held = match start {
            PartStart::Text | PartStart::Refusal | PartStart::Reasoning => {
                let is_thought = matches!(start, PartStart::Reasoning);
                if self.open.len() < MAX_HELD_PARTS {
                    self.open.push(OpenText {
                        choice,
                        number,
                        is_thought,
                        text: String::new(),
                        signature: None,
                    });
                }
                return;
            }
            PartStart::RedactedReasoning { data } => {
                let part = Part { signature: Some(data.clone()), ..Part::new(Content::RedactedReasoning) };
                self.remember(choice, &part);
                return self.put_part(choice, &part, out);
            }
            PartStart::Native(native) => {
                return self.put_part(choice, &Part::new(Content::Native(native.clone())), out);
            }
            PartStart::Media(media) => Part::new(Content::Media(media.clone())),
            PartStart::ToolCall { id, name, free_text, signature } => Part {
                signature: signature.clone(),
                ..Part::new(Content::ToolCall(ToolCall {
                    id: id.clone(),
                    name: name.clone(),
                    arguments: String::new(),
                    free_text: *free_text,
                }))
            },
        };
        if self.held.len() < MAX_HELD_PARTS {
            self.held.push(Held { choice, number, part: held, is_ended: false, is_cut: false });
        }
    }

    fn extend_part(&mut self, choice: u32, number: u32, delta: &PartDelta, out: &mut Vec<u8>) {
        if let Some(held) = self.held.iter_mut().find(|held| held.choice == choice && held.number == number) {
            return held.extend(delta);
        }
        let Some(open) = self.open.iter_mut().find(|open| open.choice == choice && open.number == number)
        else {
            return;
        };
        let thought = open.is_thought.then_some(true);
        let part = match delta {
            PartDelta::Text(text) if !text.is_empty() => {
                // A thought may grow beyond what fits into an id, so that it is not carried cut off.
                let is_kept = if open.is_thought {
                    open.text.len() <= MAX_CARRIED_IN_ID
                } else {
                    open.text.len().saturating_add(text.len()) <= MAX_CITED_TEXT
                };
                if is_kept {
                    open.text.push_str(text);
                }
                WirePart { text: Some(Cow::Borrowed(text)), thought, ..WirePart::default() }
            }
            PartDelta::Signature(signature) => {
                match &mut open.signature {
                    Some(present) if present.origin == signature.origin => {
                        present.data.push_str(&signature.data);
                    }
                    present => *present = Some(signature.clone()),
                }
                WirePart {
                    text: Some(Cow::Borrowed("")),
                    thought,
                    thought_signature: Some(Cow::Owned(signature.to_field(super::HERE))),
                    ..WirePart::default()
                }
            }
            PartDelta::Citation(citation) => {
                let source = citations::write_one(citation, &open.text);
                let end = self.choice(choice);
                if end.citations.len() < MAX_GATHERED {
                    end.citations.extend(source);
                }
                return;
            }
            _ => return,
        };
        let json = to_json(&self.response(vec![candidate(choice, vec![part])]));
        self.put(&json, out);
    }

    fn end_part(&mut self, choice: u32, number: u32, out: &mut Vec<u8>) {
        let is_it = |open: &OpenText| open.choice == choice && open.number == number;
        if let Some(open) = self.open.iter().position(is_it).map(|position| self.open.swap_remove(position))
            && open.is_thought
        {
            let content = Content::Reasoning { text: open.text };
            self.remember(choice, &Part { signature: open.signature, ..Part::new(content) });
        }
        let held = self.held.iter_mut().find(|held| held.choice == choice && held.number == number);
        if let Some(held) = held {
            held.is_ended = true;
            self.release(choice, false, out);
        }
    }

    /// Lets go out what has ended, as long as nothing before it is still open; at the end of the answer all of it.
    fn release(&mut self, choice: u32, all: bool, out: &mut Vec<u8>) {
        while let Some(position) = self.held.iter().position(|held| held.choice == choice) {
            if !all && !self.held.get(position).is_some_and(|held| held.is_ended) {
                return;
            }
            let held = self.held.remove(position);
            match held.part.content {
                Content::ToolCall(call) if held.is_cut || is_malformed(&call) => {
                    let end = self.choice(choice);
                    if end.malformed.len() < MAX_GATHERED {
                        end.malformed.push(call);
                    }
                }
                Content::ToolCall(_) => {
                    let (mine, others) = std::mem::take(&mut self.reasoning)
                        .into_iter()
                        .partition(|(owner, _)| *owner == choice);
                    self.reasoning = others;
                    let mine: Vec<(u32, CarriedReasoning)> = mine;
                    let mine = mine.into_iter().map(|(_, block)| block).collect();
                    self.put_wire(choice, write_call(&held.part, mine), out);
                }
                _ => self.put_part(choice, &held.part, out),
            }
        }
    }

    fn remember(&mut self, choice: u32, part: &Part) {
        if self.reasoning.len() < MAX_HELD_PARTS {
            self.reasoning.extend(carried(part).map(|block| (choice, block)));
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        let feedback = match self.rest.shift_remove("promptFeedback") {
            Some(Value::Object(feedback)) => Some(feedback),
            _ => None,
        };
        let is_blocked = feedback.as_ref().is_some_and(|feedback| feedback.contains_key("blockReason"));
        let left_over = match self.rest.shift_remove("usageMetadata") {
            Some(Value::Object(left_over)) => Some(left_over),
            _ => None,
        };
        let tier = self.rest.get("service_tier").and_then(Value::as_str).map(super::tier_to_wire);
        let metadata = usage::write(&self.usage, tier, left_over.as_ref());
        let choices = std::mem::take(&mut self.choices);
        let candidates = choices.iter().map(last_of_candidate).collect();
        let mut response = self.response(candidates);
        if is_blocked {
            response.candidates = None;
        }
        response.prompt_feedback = feedback;
        response.usage_metadata = match metadata {
            Some(Value::Object(metadata)) => Some(metadata),
            _ => None,
        };
        if let Some(status) = self.rest.get("modelStatus") {
            response.rest.insert("modelStatus".to_owned(), status.clone());
        }
        let json = to_json(&response);
        self.put(&json, out);
        if let Framing::Array(array) = &mut self.framing {
            array.finish(out);
        }
    }

    fn put_part(&mut self, choice: u32, part: &Part, out: &mut Vec<u8>) {
        self.put_wire(choice, write_part(part), out);
    }

    fn put_wire(&mut self, choice: u32, wire: Option<WirePart<'_>>, out: &mut Vec<u8>) {
        if let Some(wire) = wire {
            let json = to_json(&self.response(vec![candidate(choice, vec![wire])]));
            self.put(&json, out);
        }
    }

    fn put(&mut self, json: &[u8], out: &mut Vec<u8>) {
        match &mut self.framing {
            Framing::Events => encode_json_text(out, None, json),
            Framing::Array(array) => array.push(json, out),
        }
    }

    fn response<'a>(&'a self, candidates: Vec<WireCandidate<'a>>) -> Response<'a> {
        Response {
            candidates: Some(candidates),
            model_version: Some(Cow::Borrowed(self.model.as_str())).filter(|model| !model.is_empty()),
            create_time: self.created.map(time::from_seconds),
            response_id: Some(id_of(&self.id, &self.options)).filter(|id| !id.is_empty()),
            ..Response::default()
        }
    }

    fn choice(&mut self, choice: u32) -> &mut ChoiceEnd {
        let position = self.choices.iter().position(|end| end.choice == choice).unwrap_or_else(|| {
            self.choices.push(ChoiceEnd { choice, ..ChoiceEnd::default() });
            self.choices.len() - 1
        });
        &mut self.choices[position]
    }
}

impl Held {
    fn extend(&mut self, delta: &PartDelta) {
        match (delta, &mut self.part.content) {
            (PartDelta::Arguments(more), Content::ToolCall(call)) => {
                self.is_cut |= !push_bounded(&mut call.arguments, more);
            }
            (PartDelta::Data { base64, transcript }, Content::Media(media)) => {
                if let MediaSource::Base64(data) = &mut media.source {
                    self.is_cut |= !push_bounded(data, base64);
                }
                if !transcript.is_empty() {
                    push_bounded(media.transcript.get_or_insert_default(), transcript);
                }
            }
            (PartDelta::Signature(signature), _) => self.part.signature = Some(signature.clone()),
            _ => {}
        }
    }
}

/// Appends, unless that were too long; says whether it did.
fn push_bounded(text: &mut String, more: &str) -> bool {
    let fits = text.len().saturating_add(more.len()) <= MAX_HELD_BYTES;
    if fits {
        text.push_str(more);
    }
    fits
}

fn candidate(choice: u32, parts: Vec<WirePart<'_>>) -> WireCandidate<'_> {
    WireCandidate { content: Some(content_of(parts)), index: Some(choice), ..WireCandidate::default() }
}

fn last_of_candidate(end: &ChoiceEnd) -> WireCandidate<'_> {
    let mut rest = end.rest.clone();
    if !rest.contains_key("groundingMetadata") && !rest.contains_key("citationMetadata") {
        let cited = citations::wrap(&end.citations);
        rest.extend(cited.map(|cited| ("citationMetadata".to_owned(), cited)));
    }
    let mut finish_reason = end.finish.as_ref().map(|finish| Cow::Borrowed(finish::write(finish)));
    if !end.malformed.is_empty() {
        finish_reason = Some(Cow::Borrowed(finish::MALFORMED_CALL));
        rest.insert("finishMessage".to_owned(), malformed_message(&end.malformed).into());
    }
    WireCandidate { finish_reason, rest, ..candidate(end.choice, Vec::new()) }
}
