//! The canonical stream: what a target's stream says, event by event, and what a caller's stream is made of.
//!
//! Decoders turn a provider's frames into [`Event`]s, encoders turn them into the caller's frames. [`Assembler`] folds
//! events into a [`Reply`], [`events_of`] takes a reply apart again; folding what was taken apart gives the same reply.

use crate::Dialect;
use crate::Usage;
use crate::carry::Signature;
use crate::conversation::{Citation, Content, Media, Native, Part, Rest, ToolCall};
use crate::reply::{Choice, Finish, Reply, TokenLogprob};

/// One step of a streamed answer.
///
/// Order: one `Start`; then for each part `PartStart`, its deltas, `PartEnd`; `Finish` once a choice; `Usage` whenever
/// the provider says (each replaces the one before); `End` last. Parts of one choice are numbered from 0 in the order in
/// which they begin; several may be open at once (OpenAI interleaves parallel tool calls).
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The answer begins.
    Start {
        /// The provider's id for the answer.
        id: String,
        /// The model as the provider names it.
        model: String,
        /// Seconds since 1970, where the wire says when.
        created: Option<i64>,
    },
    /// A part begins.
    PartStart {
        /// Which alternative answer.
        choice: u32,
        /// The part's number within it.
        part: u32,
        /// What it will be.
        start: PartStart,
    },
    /// More of a part.
    PartDelta {
        /// Which alternative answer.
        choice: u32,
        /// The part's number within it.
        part: u32,
        /// What comes.
        delta: PartDelta,
    },
    /// A part is complete.
    PartEnd {
        /// Which alternative answer.
        choice: u32,
        /// The part's number within it.
        part: u32,
    },
    /// Log probabilities of the tokens that came last.
    Logprobs {
        /// Which alternative answer.
        choice: u32,
        /// The tokens.
        tokens: Vec<TokenLogprob>,
    },
    /// An alternative answer is complete.
    Finish {
        /// Which one.
        choice: u32,
        /// Why it ended.
        finish: Finish,
        /// Fields of the candidate that only its own dialect knows.
        rest: Rest,
    },
    /// Tokens used so far; replaces what was said before.
    Usage(Usage),
    /// Fields of the answer as a whole that only its own dialect knows (service tier, fingerprints, …).
    Rest(Rest),
    /// The provider's terminal event was seen, or everything that it would have said.
    End,
}

/// What a part will be.
#[derive(Debug, Clone, PartialEq)]
pub enum PartStart {
    /// Text.
    Text,
    /// Reasoning in words.
    Reasoning,
    /// Reasoning that the provider gives only encrypted.
    RedactedReasoning {
        /// The encrypted block.
        data: Signature,
    },
    /// A tool call; its arguments follow as deltas.
    ToolCall {
        /// The call's id, without anything carried in it.
        id: String,
        /// The tool's name.
        name: String,
        /// Whether the arguments are free text.
        free_text: bool,
        /// The thought signature that belongs to the call (Gemini).
        signature: Option<Signature>,
    },
    /// The model declines, in its own words.
    Refusal,
    /// An image or sound, whole (audio that comes in pieces is gathered by the decoder, or continued by
    /// [`PartDelta::Data`]).
    Media(Media),
    /// A block that only one dialect knows, whole.
    Native(Native),
}

/// More of a part.
#[derive(Debug, Clone, PartialEq)]
pub enum PartDelta {
    /// More text, reasoning or refusal, as the part's start says.
    Text(String),
    /// More of a tool call's arguments.
    Arguments(String),
    /// The signature of a reasoning or text part.
    Signature(Signature),
    /// A citation of the text so far.
    Citation(Citation),
    /// More base64 data of a medium, and what is said in it.
    Data {
        /// Base64.
        base64: String,
        /// Transcript.
        transcript: String,
    },
}

/// Folds events into a whole answer.
#[derive(Debug)]
pub struct Assembler {
    reply: Reply,
    complete: bool,
}

impl Assembler {
    /// Begins an answer that comes in this dialect.
    pub fn new(origin: Dialect) -> Self {
        Self { reply: Reply::new(origin), complete: false }
    }

    /// Takes one event in. Events that make no sense where they stand (a delta of a part that never began) are
    /// passed over: decoders do not produce them.
    pub fn push(&mut self, event: Event) {
        match event {
            Event::Start { id, model, created } => {
                self.reply.id = id;
                self.reply.model = model;
                self.reply.created = created;
            }
            Event::PartStart { choice, part, start } => self.start_part(choice, part, start),
            Event::PartDelta { choice, part, delta } => self.extend_part(choice, part, delta),
            Event::PartEnd { .. } => {}
            Event::Logprobs { choice, tokens } => self.choice(choice).logprobs.extend(tokens),
            Event::Finish { choice, finish, rest } => {
                let choice = self.choice(choice);
                choice.finish = Some(finish);
                choice.rest.extend(rest);
            }
            Event::Usage(usage) => self.reply.usage = usage,
            Event::Rest(mut rest) => {
                if let Some(tier) = rest.get("service_tier").and_then(|tier| tier.as_str()) {
                    self.reply.service_tier = Some(tier.to_owned());
                    rest.remove("service_tier");
                }
                self.reply.rest.extend(rest);
            }
            Event::End => self.complete = true,
        }
    }

    /// Whether the end was seen.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The answer so far.
    pub fn into_reply(mut self) -> Reply {
        self.reply.choices.sort_by_key(|choice| choice.index);
        self.reply
    }

    fn choice(&mut self, index: u32) -> &mut Choice {
        let choices = &mut self.reply.choices;
        let position = choices.iter().position(|choice| choice.index == index).unwrap_or_else(|| {
            choices.push(Choice { index, ..Choice::default() });
            choices.len() - 1
        });
        &mut choices[position]
    }

    fn start_part(&mut self, choice: u32, part: u32, start: PartStart) {
        let parts = &mut self.choice(choice).parts;
        if usize::try_from(part).ok() != Some(parts.len()) {
            return;
        }
        parts.push(match start {
            PartStart::Text => Part::text(""),
            PartStart::Reasoning => Part::new(Content::Reasoning { text: String::new() }),
            PartStart::RedactedReasoning { data } => {
                Part { signature: Some(data), ..Part::new(Content::RedactedReasoning) }
            }
            PartStart::ToolCall { id, name, free_text, signature } => Part {
                signature,
                ..Part::new(Content::ToolCall(ToolCall { id, name, arguments: String::new(), free_text }))
            },
            PartStart::Refusal => Part::new(Content::Refusal(String::new())),
            PartStart::Media(media) => Part::new(Content::Media(media)),
            PartStart::Native(native) => Part::new(Content::Native(native)),
        });
    }

    fn extend_part(&mut self, choice: u32, part: u32, delta: PartDelta) {
        let Some(part) = usize::try_from(part).ok().and_then(|part| self.choice(choice).parts.get_mut(part))
        else {
            return;
        };
        match (delta, &mut part.content) {
            (PartDelta::Text(more), Content::Text { text, .. } | Content::Reasoning { text }) => {
                text.push_str(&more);
            }
            (PartDelta::Text(more), Content::Refusal(text)) => text.push_str(&more),
            (PartDelta::Arguments(more), Content::ToolCall(call)) => call.arguments.push_str(&more),
            (PartDelta::Signature(signature), _) => match &mut part.signature {
                Some(present) if present.origin == signature.origin => present.data.push_str(&signature.data),
                present => *present = Some(signature),
            },
            (PartDelta::Citation(citation), Content::Text { citations, .. }) => citations.push(citation),
            (PartDelta::Data { base64, transcript }, Content::Media(media)) => {
                if let crate::conversation::MediaSource::Base64(data) = &mut media.source {
                    data.push_str(&base64);
                }
                if !transcript.is_empty() {
                    media.transcript.get_or_insert_default().push_str(&transcript);
                }
            }
            _ => {}
        }
    }
}

/// Takes a whole answer apart into the events of a stream that says the same.
pub fn events_of(reply: &Reply) -> Vec<Event> {
    let mut events =
        vec![Event::Start { id: reply.id.clone(), model: reply.model.clone(), created: reply.created }];
    for choice in &reply.choices {
        let mut number = 0;
        for part in &choice.parts {
            if push_part(&mut events, choice.index, number, part).is_some() {
                number += 1;
            }
        }
        if !choice.logprobs.is_empty() {
            events.push(Event::Logprobs { choice: choice.index, tokens: choice.logprobs.clone() });
        }
        if let Some(finish) = &choice.finish {
            events.push(Event::Finish {
                choice: choice.index,
                finish: finish.clone(),
                rest: choice.rest.clone(),
            });
        }
    }
    let mut rest = reply.rest.clone();
    if let Some(tier) = &reply.service_tier {
        rest.insert("service_tier".to_owned(), tier.as_str().into());
    }
    if !rest.is_empty() {
        events.push(Event::Rest(rest));
    }
    events.push(Event::Usage(reply.usage));
    events.push(Event::End);
    events
}

/// `None` where the part is none that an answer can hold; nothing is pushed then.
fn push_part(events: &mut Vec<Event>, choice: u32, number: u32, part: &Part) -> Option<()> {
    let mut deltas = Vec::new();
    let mut own_signature = part.signature.clone();
    let start = match &part.content {
        Content::Text { text, citations } => {
            deltas.push(PartDelta::Text(text.clone()));
            deltas.extend(citations.iter().cloned().map(PartDelta::Citation));
            PartStart::Text
        }
        Content::Reasoning { text } => {
            deltas.push(PartDelta::Text(text.clone()));
            PartStart::Reasoning
        }
        Content::RedactedReasoning => PartStart::RedactedReasoning { data: own_signature.take()? },
        Content::ToolCall(call) => {
            deltas.push(PartDelta::Arguments(call.arguments.clone()));
            PartStart::ToolCall {
                id: call.id.clone(),
                name: call.name.clone(),
                free_text: call.free_text,
                signature: own_signature.take(),
            }
        }
        Content::Refusal(text) => {
            deltas.push(PartDelta::Text(text.clone()));
            PartStart::Refusal
        }
        Content::Media(media) => PartStart::Media(media.clone()),
        Content::Native(native) => PartStart::Native(native.clone()),
        // Answers do not hold tool results of the caller's side.
        Content::ToolResult(_) => return None,
    };
    deltas.extend(own_signature.map(PartDelta::Signature));
    events.push(Event::PartStart { choice, part: number, start });
    events.extend(deltas.into_iter().map(|delta| Event::PartDelta { choice, part: number, delta }));
    events.push(Event::PartEnd { choice, part: number });
    Some(())
}
