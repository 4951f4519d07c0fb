//! Another target's answer, laid over what the caller has been told: what is said again is passed over, what goes on is
//! let through in the caller's own numbering, and where it says something else, that is found.
//!
//! What counts is the answer: text, refusals and calls, in their order. Reasoning is each model's own. As long as
//! nothing of the answer was said, another model may think in its own words, in a block of its own; behind the first word
//! of the answer its thoughts come too late and are passed over. So no signature ever stands behind words that it was not
//! made for.

use super::said::{Said, SaidPart};
use super::stretch::Stretch;
use crate::Usage;
use crate::event::{Event, PartDelta, PartStart};

/// A text of fewer characters may be said a second time by chance; a longer one that comes again, word by word and whole,
/// is the beginning that the target was given.
const LEAST_REPEATED: usize = 16;

/// How the other target was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// To answer anew.
    Anew {
        /// Whether the answer's text is JSON by the caller's request, so that white space between its tokens does not
        /// count.
        is_json: bool,
    },
    /// To go on with this text, as [`Said::as_prefill`] gave it.
    ToContinue {
        /// The text.
        text: String,
        /// Whether the target is known to say it once more before it goes on.
        is_repeated: bool,
    },
}

/// It says something else than the caller has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Departed;

/// The other target's answer on its way.
#[derive(Debug)]
pub struct Following {
    /// The answer so far.
    stretches: Vec<Stretch>,
    /// Which of them is being said again.
    at: usize,
    /// Reasoning that the caller was told of behind the last of them.
    thoughts: Vec<Thought>,
    next_thought: usize,
    /// Parts of the other answer that have begun.
    places: Vec<(u32, Place)>,
    /// Parts that the caller knows to be open.
    open: Vec<u32>,
    next_part: u32,
    prefill: Option<Prefill>,
    /// What others have used before.
    used_before: Usage,
}

#[derive(Debug)]
struct Thought {
    said: SaidPart,
    matched: usize,
}

/// Where a part of the other answer belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Passed over.
    Nowhere,
    /// In no place that was told: it departs as soon as it says anything.
    Astray,
    Stretch(usize),
    Thought(usize),
    /// New, under this number.
    Live(u32),
}

/// A beginning that the target was given, until it is known whether it says it again.
#[derive(Debug)]
struct Prefill {
    text: String,
    /// White space behind it, which the target was not given and may say now.
    owed: String,
    /// What has come and may be the beginning said again.
    held: String,
    is_decided: bool,
}

impl Following {
    /// Begins to follow a target that goes on after this was said; others have used so much before.
    pub fn new(said: &Said, asked: Asked, used_before: Usage) -> Self {
        let is_json = asked == Asked::Anew { is_json: true };
        let mut stretches: Vec<Stretch> = Vec::new();
        let mut thoughts = Vec::new();
        for part in &said.parts {
            if part.is_reasoning() {
                thoughts.push(Thought { said: part.clone(), matched: 0 });
                continue;
            }
            // A part that has only begun says nothing yet.
            if !(part.start == PartStart::Text && part.text.is_empty()) {
                thoughts.clear();
            }
            match stretches.last_mut() {
                Some(last) if part.start == PartStart::Text && last.start == PartStart::Text => {
                    last.join(part);
                }
                _ => stretches.push(Stretch::new(part, is_json)),
            }
        }
        let prefill = match asked {
            Asked::Anew { .. } => None,
            Asked::ToContinue { text, is_repeated } => {
                let told = said.parts.iter().filter(|part| part.start == PartStart::Text);
                let told: String = told.map(|part| part.text.as_str()).collect();
                let owed = told.get(text.len()..).unwrap_or_default().to_owned();
                let is_decided = !is_repeated && text.chars().count() < LEAST_REPEATED;
                Some(Prefill { text, owed, held: String::new(), is_decided })
            }
        };
        Self {
            stretches,
            at: 0,
            thoughts,
            next_thought: 0,
            places: Vec::new(),
            open: said.parts.iter().filter(|part| part.is_open).map(|part| part.number).collect(),
            next_part: said.parts.iter().map(|part| part.number.saturating_add(1)).max().unwrap_or(0),
            prefill,
            used_before,
        }
    }

    /// Takes the other target's next event, and pushes what the caller is told.
    pub fn take(&mut self, event: Event, out: &mut Vec<Event>) -> Result<(), Departed> {
        match event {
            Event::PartStart { choice: 0, part, start } => self.begin(part, start, out),
            Event::PartDelta { choice: 0, part, delta } => self.extend(part, delta, out),
            Event::PartEnd { choice: 0, part } => self.end(part, out),
            Event::Finish { choice: 0, finish, rest } => {
                self.decide_prefill(out);
                if !self.is_caught_up() {
                    return Err(Departed);
                }
                for part in std::mem::take(&mut self.open) {
                    out.push(Event::PartEnd { choice: 0, part });
                }
                out.push(Event::Finish { choice: 0, finish, rest });
                Ok(())
            }
            Event::Usage(usage) => {
                out.push(Event::Usage(self.used_before.plus(&usage)));
                Ok(())
            }
            Event::Rest(_) | Event::End => {
                out.push(event);
                Ok(())
            }
            // The caller knows the answer by its first name, and asked for one.
            Event::Start { .. }
            | Event::Logprobs { .. }
            | Event::PartStart { .. }
            | Event::PartDelta { .. }
            | Event::PartEnd { .. }
            | Event::Finish { .. } => Ok(()),
        }
    }

    /// Whether all that the caller was told was said again, so that what comes now is new.
    pub fn is_caught_up(&self) -> bool {
        if let Some(prefill) = &self.prefill {
            return prefill.is_decided;
        }
        // A call is said again when it has begun again, even one of whose arguments nothing was told.
        let is_said = |(index, stretch): (usize, &Stretch)| {
            stretch.is_matched() && (stretch.is_words() || index < self.at)
        };
        self.stretches.iter().enumerate().all(is_said)
    }

    fn begin(&mut self, number: u32, start: PartStart, out: &mut Vec<Event>) -> Result<(), Departed> {
        let place = match &start {
            PartStart::Reasoning | PartStart::RedactedReasoning { .. } if !self.may_think() => Place::Nowhere,
            PartStart::Reasoning | PartStart::RedactedReasoning { .. } => self.begin_thought(start, out),
            PartStart::Text | PartStart::Refusal if self.prefill.is_some() => {
                if start == PartStart::Text && !self.stretches.is_empty() {
                    Place::Stretch(self.stretches.len() - 1)
                } else {
                    self.decide_prefill(out);
                    self.begin_live(start, out)
                }
            }
            PartStart::Text | PartStart::Refusal => match self.stretches.get(self.at) {
                Some(stretch) if stretch.is_like(&start) => Place::Stretch(self.at),
                Some(_) => Place::Astray,
                None if self.is_caught_up() => self.begin_live(start, out),
                None => Place::Astray,
            },
            PartStart::ToolCall { .. } => self.begin_call(start, out)?,
            PartStart::Media(_) | PartStart::Native(_) => {
                self.decide_prefill(out);
                if !self.is_caught_up() {
                    return Err(Departed);
                }
                self.begin_live(start, out)
            }
        };
        self.places.retain(|(known, _)| *known != number);
        self.places.push((number, place));
        Ok(())
    }

    /// Whether thoughts are worth telling: not in the middle of what was told.
    fn may_think(&self) -> bool {
        match &self.prefill {
            Some(prefill) => prefill.is_decided && self.at > 0,
            None => self.is_caught_up(),
        }
    }

    fn begin_thought(&mut self, start: PartStart, out: &mut Vec<Event>) -> Place {
        match self.thoughts.get(self.next_thought) {
            Some(thought) if start == PartStart::Reasoning && thought.said.start == start => {
                self.next_thought += 1;
                Place::Thought(self.next_thought - 1)
            }
            Some(thought) if thought.said.start == start => {
                self.next_thought += 1;
                Place::Nowhere
            }
            _ => {
                self.next_thought = self.thoughts.len();
                self.begin_live(start, out)
            }
        }
    }

    fn begin_call(&mut self, start: PartStart, out: &mut Vec<Event>) -> Result<Place, Departed> {
        if self.prefill.is_some() {
            self.decide_prefill(out);
            return Ok(self.begin_live(start, out));
        }
        while self.stretches.get(self.at).is_some_and(|stretch| stretch.is_words() && stretch.is_matched()) {
            self.at += 1;
        }
        match self.stretches.get(self.at) {
            Some(stretch) if stretch.is_like(&start) => {
                self.at += 1;
                Ok(Place::Stretch(self.at - 1))
            }
            Some(_) => Err(Departed),
            None => Ok(self.begin_live(start, out)),
        }
    }

    /// Begins a part that the caller has not been told of. What is open and not gone on with ends before.
    fn begin_live(&mut self, start: PartStart, out: &mut Vec<Event>) -> Place {
        let going_on: Vec<u32> = self.places.iter().filter_map(|(_, place)| self.part_of(*place)).collect();
        self.open.retain(|part| {
            let goes_on = going_on.contains(part);
            if !goes_on {
                out.push(Event::PartEnd { choice: 0, part: *part });
            }
            goes_on
        });
        for stretch in &mut self.stretches {
            stretch.is_open &= self.open.contains(&stretch.part);
        }
        let part = self.next_part;
        self.next_part = part.saturating_add(1);
        self.open.push(part);
        out.push(Event::PartStart { choice: 0, part, start });
        Place::Live(part)
    }

    fn part_of(&self, place: Place) -> Option<u32> {
        match place {
            Place::Live(part) => Some(part),
            Place::Stretch(index) => self.stretches.get(index).map(|stretch| stretch.part),
            Place::Thought(index) => self.thoughts.get(index).map(|thought| thought.said.number),
            Place::Nowhere | Place::Astray => None,
        }
    }

    fn extend(&mut self, number: u32, delta: PartDelta, out: &mut Vec<Event>) -> Result<(), Departed> {
        let place = self.place(number);
        match (place, delta) {
            (Place::Live(part), delta) => {
                out.push(Event::PartDelta { choice: 0, part, delta });
                Ok(())
            }
            (Place::Stretch(index), PartDelta::Text(text)) if self.prefill.is_some() => {
                self.continue_text(index, &text, out);
                Ok(())
            }
            (Place::Stretch(index), PartDelta::Text(text)) => {
                self.match_stretch(index, &text, PartDelta::Text, out)
            }
            (Place::Stretch(index), PartDelta::Arguments(text)) => {
                self.match_stretch(index, &text, PartDelta::Arguments, out)
            }
            (Place::Stretch(index), delta) => {
                self.mark_stretch(index, delta, out);
                Ok(())
            }
            (Place::Thought(index), delta) => {
                self.extend_thought(number, index, delta, out);
                Ok(())
            }
            (Place::Astray, PartDelta::Text(text) | PartDelta::Arguments(text)) if !text.is_empty() => {
                Err(Departed)
            }
            (Place::Nowhere | Place::Astray, _) => Ok(()),
        }
    }

    fn match_stretch(
        &mut self,
        index: usize,
        text: &str,
        delta: impl Fn(String) -> PartDelta,
        out: &mut Vec<Event>,
    ) -> Result<(), Departed> {
        let is_last = index + 1 == self.stretches.len();
        let Some(stretch) = self.stretches.get_mut(index) else { return Ok(()) };
        let rest = if stretch.is_matched() { text } else { stretch.take(text).ok_or(Departed)? };
        if rest.is_empty() {
            return Ok(());
        }
        let is_call = !stretch.is_words();
        if !stretch.is_open && (is_call || !is_last) {
            return if is_call && stretch.is_nothing(rest) { Ok(()) } else { Err(Departed) };
        }
        self.go_on(index, delta(rest.to_owned()), out);
        Ok(())
    }

    /// More of a stretch: in its own part, or, where that has ended, in one of the same kind.
    fn go_on(&mut self, index: usize, delta: PartDelta, out: &mut Vec<Event>) {
        let Some(stretch) = self.stretches.get(index) else { return };
        let mut part = stretch.part;
        if !stretch.is_open {
            let start = stretch.start.clone();
            let Place::Live(new) = self.begin_live(start, out) else { return };
            part = new;
            if let Some(stretch) = self.stretches.get_mut(index) {
                stretch.part = new;
                stretch.is_open = true;
                stretch.is_signed = false;
            }
        }
        out.push(Event::PartDelta { choice: 0, part, delta });
    }

    /// What stands beside a stretch's text: told once the text is said, and a signature only where none was told.
    fn mark_stretch(&mut self, index: usize, delta: PartDelta, out: &mut Vec<Event>) {
        let is_caught_up = self.is_caught_up();
        let Some(stretch) = self.stretches.get_mut(index) else { return };
        let is_signature = matches!(delta, PartDelta::Signature(_));
        if !is_caught_up || !stretch.is_open || (is_signature && stretch.is_signed) {
            return;
        }
        stretch.is_signed |= is_signature;
        out.push(Event::PartDelta { choice: 0, part: stretch.part, delta });
    }

    fn extend_thought(&mut self, number: u32, index: usize, delta: PartDelta, out: &mut Vec<Event>) {
        let Some(thought) = self.thoughts.get_mut(index) else { return };
        let SaidPart { number: part, text, signature, is_open, .. } = &thought.said;
        let (part, is_open, is_signed) = (*part, *is_open, signature.is_some());
        let owed = text.get(thought.matched..).unwrap_or_default();
        match delta {
            PartDelta::Text(more) => {
                let common = owed.len().min(more.len());
                let rest = more.split_at_checked(common).filter(|(same, _)| owed.starts_with(*same));
                match rest.map(|(_, rest)| rest) {
                    Some("") => thought.matched += common,
                    Some(rest) if is_open && !is_signed => {
                        out.push(Event::PartDelta {
                            choice: 0,
                            part,
                            delta: PartDelta::Text(rest.to_owned()),
                        });
                        self.put(number, Place::Live(part));
                    }
                    _ => self.think_apart(number, index, Some(PartDelta::Text(more)), out),
                }
            }
            PartDelta::Signature(_) if !owed.is_empty() => {
                self.think_apart(number, index, Some(delta), out);
            }
            PartDelta::Signature(_) if is_open && !is_signed => {
                out.push(Event::PartDelta { choice: 0, part, delta });
                self.put(number, Place::Live(part));
            }
            _ => {}
        }
    }

    /// The other model thinks something else: its thoughts stand in a block of their own, from their beginning.
    fn think_apart(&mut self, number: u32, index: usize, delta: Option<PartDelta>, out: &mut Vec<Event>) {
        let same = self.thoughts.get(index).and_then(|it| it.said.text.get(..it.matched)).unwrap_or_default();
        let same = same.to_owned();
        self.put(number, Place::Nowhere);
        self.next_thought = self.thoughts.len();
        let place = self.begin_live(PartStart::Reasoning, out);
        self.put(number, place);
        let Place::Live(part) = place else { return };
        if !same.is_empty() {
            out.push(Event::PartDelta { choice: 0, part, delta: PartDelta::Text(same) });
        }
        out.extend(delta.map(|delta| Event::PartDelta { choice: 0, part, delta }));
    }

    fn end(&mut self, number: u32, out: &mut Vec<Event>) -> Result<(), Departed> {
        let mut place = self.place(number);
        match place {
            Place::Stretch(index) => {
                if self.prefill.is_some() {
                    self.decide_prefill(out);
                }
                let Some(stretch) = self.stretches.get(index) else { return Ok(()) };
                let is_call = !stretch.is_words();
                if is_call && !stretch.may_end() {
                    return Err(Departed);
                }
                if self.prefill.is_none() && !stretch.is_matched() && !is_call {
                    // The rest of the text may stand in another part.
                    self.places.retain(|(known, _)| *known != number);
                    return Ok(());
                }
                if is_call && let Some(stretch) = self.stretches.get_mut(index) {
                    stretch.settle();
                }
            }
            Place::Thought(index) => {
                let is_whole = self.thoughts.get(index).is_some_and(|it| it.matched == it.said.text.len());
                if !is_whole {
                    self.think_apart(number, index, None, out);
                    place = self.place(number);
                }
            }
            Place::Nowhere | Place::Astray | Place::Live(_) => {}
        }
        self.places.retain(|(known, _)| *known != number);
        if let Some(part) = self.part_of(place)
            && let Some(position) = self.open.iter().position(|open| *open == part)
        {
            self.open.remove(position);
            for stretch in self.stretches.iter_mut().filter(|stretch| stretch.part == part) {
                stretch.is_open = false;
            }
            out.push(Event::PartEnd { choice: 0, part });
        }
        Ok(())
    }

    /// Text of a target that was given a beginning: what goes on with it, or the beginning said again.
    fn continue_text(&mut self, index: usize, text: &str, out: &mut Vec<Event>) {
        let Some(prefill) = &mut self.prefill else { return };
        if prefill.is_decided {
            let rest = prefill.without_owed(text).to_owned();
            return self.say_on(index, rest, out);
        }
        prefill.held.push_str(text);
        let may_be_repeated =
            prefill.held.len() < prefill.text.len() && prefill.text.starts_with(prefill.held.as_str());
        if may_be_repeated {
            return;
        }
        prefill.is_decided = true;
        let held = std::mem::take(&mut prefill.held);
        let rest = held.strip_prefix(prefill.text.as_str()).unwrap_or(&held);
        let rest = prefill.without_owed(rest).to_owned();
        self.say_on(index, rest, out);
    }

    fn say_on(&mut self, index: usize, text: String, out: &mut Vec<Event>) {
        if !text.is_empty() {
            self.at = self.stretches.len();
            self.go_on(index, PartDelta::Text(text), out);
        }
    }

    /// The beginning was not said again whole: what was held back is the answer.
    fn decide_prefill(&mut self, out: &mut Vec<Event>) {
        let Some(prefill) = self.prefill.as_mut().filter(|prefill| !prefill.is_decided) else { return };
        prefill.is_decided = true;
        let held = std::mem::take(&mut prefill.held);
        let rest = prefill.without_owed(&held).to_owned();
        self.say_on(self.stretches.len().saturating_sub(1), rest, out);
    }

    fn place(&self, number: u32) -> Place {
        self.places.iter().find(|(known, _)| *known == number).map_or(Place::Nowhere, |(_, place)| *place)
    }

    fn put(&mut self, number: u32, place: Place) {
        if let Some((_, present)) = self.places.iter_mut().find(|(known, _)| *known == number) {
            *present = place;
        }
    }
}

impl Prefill {
    /// What is said behind the white space that the caller has already.
    fn without_owed<'a>(&mut self, text: &'a str) -> &'a str {
        let mut rest = text;
        while let Some(character) = self.owed.chars().next() {
            match rest.strip_prefix(character) {
                Some(after) => rest = after,
                None if rest.is_empty() => return rest,
                None => {
                    self.owed.clear();
                    return rest;
                }
            }
            self.owed.drain(..character.len_utf8());
        }
        rest
    }
}
