//! A provider's stream, read chunk by chunk. Called through the codec, and by the tap on streams that pass through.
//!
//! What a chunk says of the answer as a whole is kept here; what it says within one choice is for `decode_parts`.

use serde_json::Value;

use super::HERE;
use super::decode_parts::ChoiceReader;
use super::reply::read_time;
use super::stream::{Chunk, ChunkChoice, DONE};
use super::usage::{leftovers, parse_usage};
use crate::conversation::Rest;
use crate::event::Event;
use crate::framing::SseEvent;
use crate::{ReplyError, ServedTier, StreamDecoder, Usage};

/// The most alternative answers in one stream. OpenAI's limit on `n` is 128.
const MAX_CHOICES: usize = 256;

/// The most fields kept of the answer as a whole: servers repeat the same few in every chunk.
const MAX_REST_FIELDS: usize = 64;

/// Reads one stream.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    is_started: bool,
    is_over: bool,
    id: String,
    choices: Vec<ChoiceReader>,
    usage: Option<Usage>,
    tier: Option<ServedTier>,
    /// Fields of the answer as a whole, said at its end.
    rest: Rest,
}

impl StreamDecoder for Decoder {
    fn decode(&mut self, frame: &SseEvent, events: &mut Vec<Event>) -> Result<(), ReplyError> {
        let data = frame.data.trim_ascii();
        if data.is_empty() || self.is_over {
            return Ok(());
        }
        if data.starts_with(DONE) {
            if !self.is_started {
                return Err(malformed("the stream ended before any answer"));
            }
            self.end(events);
            return Ok(());
        }
        let chunk: Chunk<'_> = match serde_json::from_slice(data) {
            Ok(chunk) => chunk,
            // An error may be in any form, even a sentence.
            Err(_) if frame.name() == "error" => {
                return Err(ReplyError::Provider(super::error::parse_in_band(data)));
            }
            Err(error) => return Err(malformed(&error.to_string())),
        };
        if let Some(error) = chunk.error.as_ref().filter(|error| !error.is_null()) {
            return Err(ReplyError::Provider(super::error::parse_error_value(error)));
        }
        let is_foreign = chunk.choices.is_none() && chunk.usage.is_none();
        if frame.name() == "error"
            || (is_foreign && (chunk.rest.contains_key("message") || chunk.rest.contains_key("detail")))
        {
            return Err(ReplyError::Provider(super::error::parse_in_band(data)));
        }
        self.read_chunk(chunk, events)
    }

    fn finish(&mut self, events: &mut Vec<Event>) -> bool {
        if self.is_over {
            return true;
        }
        // A complete answer that merely lacks its last line is complete.
        let is_complete = !self.choices.is_empty() && self.choices.iter().all(ChoiceReader::is_finished);
        if is_complete {
            self.end(events);
        }
        is_complete
    }

    fn served_tier(&self) -> Option<ServedTier> {
        self.tier
    }
}

impl Decoder {
    fn read_chunk(&mut self, chunk: Chunk<'_>, events: &mut Vec<Event>) -> Result<(), ReplyError> {
        let choices = chunk.choices.unwrap_or_default();
        // Azure's first chunk says only what its filter thinks of the prompt, without id and model.
        if !self.is_started && (!choices.is_empty() || chunk.usage.is_some()) {
            self.is_started = true;
            self.id = chunk.id.unwrap_or_default().into_owned();
            events.push(Event::Start {
                id: self.id.clone(),
                model: chunk.model.unwrap_or_default().into_owned(),
                created: chunk.created.as_ref().and_then(read_time),
            });
        }
        for (position, choice) in choices.into_iter().enumerate() {
            self.read_choice(choice, position, events)?;
        }
        let mut rest = chunk.rest;
        if let Some(named) = rest.get("service_tier").and_then(Value::as_str) {
            self.tier = ServedTier::of_answer(HERE, Some(named), None).or(self.tier);
        }
        if let Some(Value::Object(mut groq)) = chunk.x_groq {
            if let Some(error) = groq.get("error").filter(|error| !error.is_null()) {
                return Err(ReplyError::Provider(super::error::parse_error_value(error)));
            }
            let usage = groq.shift_remove("usage");
            if chunk.usage.is_none() {
                self.read_usage(usage, events);
            }
            rest.insert("x_groq".to_owned(), Value::Object(groq));
        }
        self.read_usage(chunk.usage, events);
        for (name, value) in rest {
            let is_said = !value.is_null() && value != Value::String(String::new());
            if is_said && (self.rest.len() < MAX_REST_FIELDS || self.rest.contains_key(&name)) {
                self.rest.insert(name, value);
            }
        }
        Ok(())
    }

    fn read_choice(
        &mut self,
        choice: ChunkChoice<'_>,
        position: usize,
        events: &mut Vec<Event>,
    ) -> Result<(), ReplyError> {
        if let Some(error) = choice.error.as_ref().filter(|error| !error.is_null()) {
            return Err(ReplyError::Provider(super::error::parse_error_value(error)));
        }
        let index = choice.index.or(u32::try_from(position).ok()).unwrap_or(0);
        let known = self.choices.iter().position(|reader| reader.index() == index);
        let place = match known {
            Some(place) => place,
            None if self.choices.len() >= MAX_CHOICES => return Err(malformed("too many choices")),
            None => {
                self.choices.push(ChoiceReader::new(index, self.id.clone()));
                self.choices.len() - 1
            }
        };
        let usage = choice.usage.clone();
        if let Some(reader) = self.choices.get_mut(place) {
            reader.read(choice, events)?;
        }
        self.read_usage(usage, events);
        Ok(())
    }

    fn read_usage(&mut self, usage: Option<Value>, events: &mut Vec<Event>) {
        let Some(value) = usage else { return };
        if let Some(usage) = parse_usage(&value) {
            if self.usage != Some(usage) {
                events.push(Event::Usage(usage));
            }
            self.usage = Some(usage);
        }
        if let Some(more) = leftovers(value) {
            self.rest.insert("usage".to_owned(), more);
        }
    }

    fn end(&mut self, events: &mut Vec<Event>) {
        self.is_over = true;
        for choice in &mut self.choices {
            choice.finish(events);
        }
        if !self.rest.is_empty() {
            events.push(Event::Rest(std::mem::take(&mut self.rest)));
        }
        events.push(Event::End);
    }
}

pub(super) fn malformed(detail: &str) -> ReplyError {
    ReplyError::Malformed { dialect: HERE, detail: detail.to_owned() }
}
