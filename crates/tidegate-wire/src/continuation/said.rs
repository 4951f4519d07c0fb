//! What the caller has been told of an answer, as far as another target needs it to go on. Filled event by event.

use crate::carry::Signature;
use crate::event::{Event, PartDelta, PartStart};

/// The most text that is remembered of one answer. The longest answers of today's models have 128,000 tokens, about this
/// much; thousands of streams may be open, so what is longer than any usual answer is not kept.
pub const MAX_SAID_BYTES: usize = 512 * 1024;

/// The most parts that are remembered of one answer.
const MAX_PARTS: usize = 4_096;

/// Why nobody can go on with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// It is longer than what is remembered.
    TooLong,
    /// It is one of several alternative answers.
    SeveralChoices,
    /// Its tokens come with their probabilities, which are the first model's own.
    Logprobs,
    /// It holds images or sound.
    Media,
    /// It holds blocks that only one provider knows, such as what its own tools found.
    Native,
    /// Everything was said already.
    Finished,
    /// The request cannot be read as a conversation.
    Unreadable,
}

impl Obstacle {
    /// The reason, as the end of a sentence that begins with "it".
    pub fn as_clause(self) -> &'static str {
        match self {
            Self::TooLong => "is too long to be remembered",
            Self::SeveralChoices => "is one of several that were asked for",
            Self::Logprobs => "comes with the probabilities of its tokens",
            Self::Media => "holds images or sound",
            Self::Native => "holds blocks that only its provider knows",
            Self::Finished => "had said why it ended",
            Self::Unreadable => "answers a request that cannot be told to others",
        }
    }
}

/// What the caller has been told.
#[derive(Debug, Default)]
pub struct Said {
    pub(super) parts: Vec<SaidPart>,
    start: Option<(String, String, Option<i64>)>,
    bytes: usize,
    obstacle: Option<Obstacle>,
}

#[derive(Debug, Clone)]
pub(super) struct SaidPart {
    pub(super) number: u32,
    pub(super) start: PartStart,
    /// Its text, or a call's arguments.
    pub(super) text: String,
    pub(super) signature: Option<Signature>,
    pub(super) is_open: bool,
}

impl SaidPart {
    pub(super) fn is_reasoning(&self) -> bool {
        matches!(self.start, PartStart::Reasoning | PartStart::RedactedReasoning { .. })
    }
}

impl Said {
    /// Takes in what the caller is told.
    pub fn note(&mut self, event: &Event) {
        if self.obstacle.is_some() {
            return;
        }
        match event {
            Event::Start { id, model, created } => {
                self.start = Some((id.clone(), model.clone(), *created));
            }
            Event::PartStart { choice: 0, part, start } => self.begin(*part, start),
            Event::PartDelta { choice: 0, part, delta } => self.extend(*part, delta),
            Event::PartEnd { choice: 0, part } => {
                if let Some(part) = self.part(*part) {
                    part.is_open = false;
                }
            }
            Event::PartStart { .. } | Event::PartDelta { .. } | Event::PartEnd { .. } => {
                self.forget(Obstacle::SeveralChoices);
            }
            Event::Logprobs { .. } => self.forget(Obstacle::Logprobs),
            Event::Finish { choice: 0, .. } | Event::End => self.forget(Obstacle::Finished),
            Event::Finish { .. } => self.forget(Obstacle::SeveralChoices),
            Event::Usage(_) | Event::Rest(_) => {}
        }
    }

    /// Why nobody can go on, if so.
    pub fn obstacle(&self) -> Option<Obstacle> {
        self.obstacle
    }

    /// How many bytes of text are remembered.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The text, where the answer so far is text and nothing else, reasoning apart: what a target can be given as the
    /// beginning of its own answer. White space at its end is left out, since it is refused there.
    pub fn as_prefill(&self) -> Option<String> {
        let mut text = String::new();
        for part in self.parts.iter().filter(|part| !part.is_reasoning()) {
            if part.start != PartStart::Text {
                return None;
            }
            text.push_str(&part.text);
        }
        text.truncate(text.trim_end().len());
        (!text.is_empty()).then_some(text)
    }

    /// More of the last part, which is of this kind and open. `false` where it is not.
    pub(super) fn append(&mut self, start: &PartStart, more: &str) -> bool {
        let last = self.parts.last_mut();
        let Some(last) = last.filter(|last| last.is_open && last.signature.is_none() && last.start == *start)
        else {
            return false;
        };
        last.text.push_str(more);
        self.grow(more.len());
        true
    }

    /// Gives up remembering.
    pub(super) fn forget(&mut self, why: Obstacle) {
        *self = Self { obstacle: Some(why), ..Self::default() };
    }

    /// The events that tell the same again.
    pub(super) fn replay(&self) -> Vec<Event> {
        let mut events = Vec::with_capacity(self.parts.len() * 3 + 1);
        if let Some((id, model, created)) = self.start.clone() {
            events.push(Event::Start { id, model, created });
        }
        for SaidPart { number, start, text, signature, is_open } in &self.parts {
            let (choice, part) = (0, *number);
            events.push(Event::PartStart { choice, part, start: start.clone() });
            if !text.is_empty() {
                let text = text.clone();
                let delta = match start {
                    PartStart::ToolCall { .. } => PartDelta::Arguments(text),
                    _ => PartDelta::Text(text),
                };
                events.push(Event::PartDelta { choice, part, delta });
            }
            if let Some(signature) = signature.clone() {
                events.push(Event::PartDelta { choice, part, delta: PartDelta::Signature(signature) });
            }
            if !is_open {
                events.push(Event::PartEnd { choice, part });
            }
        }
        events
    }

    fn begin(&mut self, number: u32, start: &PartStart) {
        match start {
            PartStart::Media(_) => return self.forget(Obstacle::Media),
            PartStart::Native(_) => return self.forget(Obstacle::Native),
            _ if self.parts.len() >= MAX_PARTS => return self.forget(Obstacle::TooLong),
            _ => {}
        }
        self.parts.push(SaidPart {
            number,
            start: start.clone(),
            text: String::new(),
            signature: None,
            is_open: true,
        });
        let size = match start {
            PartStart::RedactedReasoning { data } => data.data.len(),
            PartStart::ToolCall { signature, .. } => signature.as_ref().map_or(0, |it| it.data.len()),
            _ => 0,
        };
        self.grow(size);
    }

    fn extend(&mut self, number: u32, delta: &PartDelta) {
        let Some(part) = self.part(number) else { return };
        let size = match delta {
            PartDelta::Text(more) | PartDelta::Arguments(more) => {
                part.text.push_str(more);
                more.len()
            }
            PartDelta::Signature(signature) => {
                match &mut part.signature {
                    Some(present) if present.origin == signature.origin => {
                        present.data.push_str(&signature.data);
                    }
                    present => *present = Some(signature.clone()),
                }
                signature.data.len()
            }
            // What stands beside the text is not said again.
            PartDelta::Citation(_) => 0,
            PartDelta::Data { .. } => return self.forget(Obstacle::Media),
        };
        self.grow(size);
    }

    fn grow(&mut self, more: usize) {
        self.bytes = self.bytes.saturating_add(more);
        if self.bytes > MAX_SAID_BYTES {
            self.forget(Obstacle::TooLong);
        }
    }

    fn part(&mut self, number: u32) -> Option<&mut SaidPart> {
        self.parts.iter_mut().rev().find(|part| part.number == number)
    }
}
