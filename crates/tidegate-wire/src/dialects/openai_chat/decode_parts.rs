//! One choice of a provider's stream: its deltas, made into parts that begin, grow and end. Called by `decode`.
//!
//! Text and reasoning follow one another, so that one beginning ends the other; tool calls may grow side by side and
//! end with the choice.

use serde_json::Value;

use super::HERE;
use super::assistant::{Standing, parse_citation, take_google_signature};
use super::decode::malformed;
use super::finish::{failure_of, parse_finish};
use super::media::media_of_url;
use super::reasoning::{Detail, parse_detail};
use super::reply::parse_logprobs;
use super::stream::{CallDelta, ChunkChoice, Delta, DeltaContent, FunctionDelta};
use crate::ReplyError;
use crate::carry::{Signature, detach_from_id};
use crate::conversation::{Media, MediaKind, MediaSource, Native, Rest};
use crate::event::{Event, PartDelta, PartStart};

/// The most tool calls in one choice. Models make a handful.
const MAX_CALLS: usize = 1_024;

/// The most fields kept of a choice that nobody here has a word for.
const MAX_REST_FIELDS: usize = 64;

/// The most bytes of arguments held back for a call whose name has not come yet.
const MAX_PENDING_ARGUMENTS: usize = 1024 * 1024;

#[derive(Debug)]
pub(super) struct ChoiceReader {
    index: u32,
    /// The answer's id.
    answer: String,
    next_part: u32,
    /// The one open part among text, reasoning, refusal and sound.
    open: Option<Open>,
    calls: Vec<CallReader>,
    is_finished: bool,
    /// What only this dialect knows, said with the finish.
    rest: Rest,
    message_rest: Rest,
    has_legacy_call: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// With the number of the detail it comes from, where it comes from one.
    Reasoning(Option<u64>),
    Refusal,
    Audio,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    part: u32,
    kind: Kind,
}

#[derive(Debug, Default)]
struct CallReader {
    /// The wire's number; some servers have none.
    index: Option<u64>,
    whole_id: String,
    /// The part's number, once the name is known and the part has begun.
    part: Option<u32>,
    pending: String,
    free_text: bool,
    signature: Option<Signature>,
}

impl ChoiceReader {
    pub(super) fn new(index: u32, answer: String) -> Self {
        Self {
            index,
            answer,
            next_part: 0,
            open: None,
            calls: Vec::new(),
            is_finished: false,
            rest: Rest::new(),
            message_rest: Rest::new(),
            has_legacy_call: false,
        }
    }

    pub(super) fn index(&self) -> u32 {
        self.index
    }

    pub(super) fn is_finished(&self) -> bool {
        self.is_finished
    }

    pub(super) fn read(
        &mut self,
        choice: ChunkChoice<'_>,
        events: &mut Vec<Event>,
    ) -> Result<(), ReplyError> {
        let word = choice.finish_reason.as_deref().filter(|word| !word.is_empty());
        if let Some(error) = word.and_then(failure_of) {
            return Err(ReplyError::Provider(error));
        }
        if let Some(delta) = choice.delta {
            self.read_delta(delta, events)?;
        }
        if let Some(logprobs) = choice.logprobs {
            let (tokens, rest) = parse_logprobs(logprobs);
            if !tokens.is_empty() {
                events.push(Event::Logprobs { choice: self.index, tokens });
            }
            keep(&mut self.rest, rest.map(|rest| ("logprobs".to_owned(), rest)));
        }
        keep(&mut self.rest, choice.rest);
        if let Some(word) = word {
            self.finish_with(word, events);
        }
        Ok(())
    }

    /// Ends what is open, and the choice where the server never said why it ended.
    pub(super) fn finish(&mut self, events: &mut Vec<Event>) {
        self.finish_with("", events);
    }

    fn finish_with(&mut self, word: &str, events: &mut Vec<Event>) {
        self.start_unnamed_calls(events);
        self.close(events);
        for call in &mut self.calls {
            if let Some(part) = call.part.take() {
                events.push(Event::PartEnd { choice: self.index, part });
            }
        }
        let has_calls = !self.calls.is_empty();
        // Some servers repeat the finish in a later chunk.
        if std::mem::replace(&mut self.is_finished, true) {
            return;
        }
        let mut rest = std::mem::take(&mut self.rest);
        let message = std::mem::take(&mut self.message_rest);
        if !message.is_empty() {
            rest.insert("message".to_owned(), Value::Object(message));
        }
        events.push(Event::Finish { choice: self.index, finish: parse_finish(word, has_calls), rest });
    }

    fn read_delta(&mut self, delta: Delta<'_>, events: &mut Vec<Event>) -> Result<(), ReplyError> {
        self.read_reasoning(&delta, events);
        match delta.content {
            DeltaContent::Text(text) if !text.is_empty() => self.push_text(Kind::Text, &text, events),
            DeltaContent::Parts(parts) => {
                for part in parts {
                    self.read_part(part, events);
                }
            }
            DeltaContent::Nothing | DeltaContent::Text(_) | DeltaContent::Object(_) => {}
        }
        if let Some(refusal) = delta.refusal.filter(|refusal| !refusal.is_empty()) {
            self.push_text(Kind::Refusal, &refusal, events);
        }
        self.read_annotations(delta.annotations.unwrap_or_default(), events);
        if let Some(mut extra) = delta.extra_content {
            if let Some(signature) = take_google_signature(&mut extra) {
                let part = self.open(Kind::Text, events);
                events.push(self.delta(part, PartDelta::Signature(signature)));
            }
            let is_more = extra.as_object().is_some_and(|extra| !extra.is_empty());
            keep(&mut self.message_rest, is_more.then(|| ("extra_content".to_owned(), extra)));
        }
        for image in delta.images.unwrap_or_default() {
            self.read_image(&image, events);
        }
        if let Some(audio) = delta.audio {
            self.read_audio(audio, events);
        }
        for (position, call) in delta.tool_calls.unwrap_or_default().into_iter().enumerate() {
            self.read_call(call, position, events)?;
        }
        if let Some(function) = delta.function_call {
            self.read_legacy_call(function, events)?;
        }
        keep(&mut self.message_rest, delta.rest);
        Ok(())
    }

    /// Words stand in `reasoning_details` or in one of two plain fields, mostly in both.
    fn read_reasoning(&mut self, delta: &Delta<'_>, events: &mut Vec<Event>) {
        let mut has_words = false;
        let mut encrypted = Vec::new();
        for detail in delta.reasoning_details.iter().flatten() {
            match parse_detail(detail) {
                None => {}
                Some(Detail::Encrypted(signature)) => encrypted.push(signature),
                Some(Detail::Text { text, signature, index, .. }) => {
                    has_words |= !text.is_empty();
                    let part = self.open_reasoning(index, events);
                    if !text.is_empty() {
                        events.push(self.delta(part, PartDelta::Text(text)));
                    }
                    if let Some(signature) = signature {
                        events.push(self.delta(part, PartDelta::Signature(signature)));
                    }
                }
            }
        }
        if !has_words && let Some(text) = delta.reasoning_content.text().or_else(|| delta.reasoning.text()) {
            let part = self.open_reasoning(None, events);
            events.push(self.delta(part, PartDelta::Text(text.to_owned())));
        }
        for data in encrypted {
            self.push_whole(PartStart::RedactedReasoning { data }, events);
        }
    }

    /// Continues the reasoning that is open, unless a detail of another number begins.
    fn open_reasoning(&mut self, index: Option<u64>, events: &mut Vec<Event>) -> u32 {
        if let Some(Open { part, kind: Kind::Reasoning(open) }) = self.open
            && (open == index || open.is_none() || index.is_none())
        {
            self.open = Some(Open { part, kind: Kind::Reasoning(open.or(index)) });
            return part;
        }
        self.begin(Kind::Reasoning(index), PartStart::Reasoning, events)
    }

    fn read_part(&mut self, part: Value, events: &mut Vec<Event>) {
        let text_of = |value: &Value| value.get("text").and_then(Value::as_str).map(str::to_owned);
        match part.get("type").and_then(Value::as_str) {
            Some("text") => {
                let text = text_of(&part).unwrap_or_default();
                if !text.is_empty() {
                    self.push_text(Kind::Text, &text, events);
                }
            }
            Some("thinking") => {
                let chunks = part.get("thinking").and_then(Value::as_array);
                for text in chunks.into_iter().flatten().filter_map(text_of) {
                    let part = self.open_reasoning(None, events);
                    events.push(self.delta(part, PartDelta::Text(text)));
                }
            }
            _ => self.push_whole(PartStart::Native(Native { dialect: HERE, value: part }), events),
        }
    }

    fn read_annotations(&mut self, annotations: Vec<Value>, events: &mut Vec<Event>) {
        let mut others = Vec::new();
        for annotation in annotations {
            match parse_citation(&annotation) {
                Some(citation) => {
                    let part = self.open(Kind::Text, events);
                    events.push(self.delta(part, PartDelta::Citation(citation)));
                }
                None => others.push(annotation),
            }
        }
        let has_others = !others.is_empty();
        keep(&mut self.message_rest, has_others.then(|| ("annotations".to_owned(), Value::Array(others))));
    }

    fn read_image(&mut self, image: &Value, events: &mut Vec<Event>) {
        let url = image.get("image_url").map(|inner| inner.get("url").unwrap_or(inner));
        if let Some(url) = url.and_then(Value::as_str) {
            let media = media_of_url(MediaKind::Image, url.to_owned());
            self.push_whole(PartStart::Media(media), events);
        }
    }

    /// The id and the time of expiry go with the finish: a part's beginning has no room for them.
    fn read_audio(&mut self, mut audio: Rest, events: &mut Vec<Event>) {
        let mut take = |name: &str| match audio.shift_remove(name) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let (base64, transcript) = (take("data"), take("transcript"));
        let part = self.open(Kind::Audio, events);
        if !base64.is_empty() || !transcript.is_empty() {
            events.push(self.delta(part, PartDelta::Data { base64, transcript }));
        }
        audio.retain(|_, value| !value.is_null());
        if let Some(Value::Object(known)) = self.message_rest.get_mut("audio") {
            known.extend(audio);
        } else if !audio.is_empty() {
            self.message_rest.insert("audio".to_owned(), Value::Object(audio));
        }
    }

    fn read_call(
        &mut self,
        delta: CallDelta<'_>,
        position: usize,
        events: &mut Vec<Event>,
    ) -> Result<(), ReplyError> {
        let id = delta.id.as_deref().filter(|id| !id.is_empty());
        let is_custom =
            delta.kind.as_deref() == Some("custom") || (delta.function.is_none() && delta.custom.is_some());
        let inner = if is_custom { delta.custom } else { delta.function }.unwrap_or_default();
        let has_name = inner.name.as_deref().is_some_and(|name| !name.is_empty());
        let place = match self.find_call(delta.index, id, has_name, position) {
            Some(place) => place,
            None if self.calls.len() >= MAX_CALLS => return Err(malformed("too many tool calls")),
            None => {
                let whole_id = id.unwrap_or_default().to_owned();
                self.calls.push(CallReader {
                    index: delta.index,
                    whole_id,
                    free_text: is_custom,
                    ..CallReader::default()
                });
                self.calls.len() - 1
            }
        };
        if let Some(mut extra) = delta.extra_content
            && let Some(signature) = take_google_signature(&mut extra)
        {
            match self.calls.get_mut(place) {
                Some(call) if call.part.is_none() => call.signature = Some(signature),
                Some(CallReader { part: Some(part), .. }) => {
                    let part = *part;
                    events.push(self.delta(part, PartDelta::Signature(signature)));
                }
                _ => {}
            }
        }
        self.grow_call(place, inner, events)
    }

    /// Which call a fragment belongs to. Numbers decide; some servers have none, or give every call the same one and tell
    /// them apart by id alone.
    fn find_call(
        &self,
        index: Option<u64>,
        id: Option<&str>,
        has_name: bool,
        position: usize,
    ) -> Option<usize> {
        let is_other = |call: &CallReader| {
            has_name && id.is_some_and(|id| !call.whole_id.is_empty() && call.whole_id != id)
        };
        if let Some(index) = index {
            return self
                .calls
                .iter()
                .rposition(|call| call.index == Some(index))
                .filter(|place| self.calls.get(*place).is_some_and(|call| !is_other(call)));
        }
        if let Some(id) = id {
            return self.calls.iter().position(|call| call.whole_id == id);
        }
        // Neither number nor id: a name begins a call, anything else continues the last one.
        if has_name || (position > 0 && position >= self.calls.len()) {
            return None;
        }
        self.calls.len().checked_sub(1)
    }

    fn read_legacy_call(
        &mut self,
        function: FunctionDelta<'_>,
        events: &mut Vec<Event>,
    ) -> Result<(), ReplyError> {
        let is_empty =
            function.name.as_deref().is_none_or(str::is_empty) && function.arguments.text().is_none();
        if is_empty {
            return Ok(());
        }
        if !std::mem::replace(&mut self.has_legacy_call, true) {
            self.calls.push(CallReader::default());
        }
        let place = self.calls.len().saturating_sub(1);
        self.grow_call(place, function, events)
    }

    fn grow_call(
        &mut self,
        place: usize,
        inner: FunctionDelta<'_>,
        events: &mut Vec<Event>,
    ) -> Result<(), ReplyError> {
        let more = match inner.arguments {
            DeltaContent::Text(text) => text.into_owned(),
            DeltaContent::Object(object) => Value::Object(object).to_string(),
            DeltaContent::Parts(items) => Value::Array(items).to_string(),
            DeltaContent::Nothing => String::new(),
        };
        let name = inner.name.unwrap_or_default();
        let Some(call) = self.calls.get_mut(place) else { return Ok(()) };
        if let Some(part) = call.part {
            if !more.is_empty() {
                events.push(self.delta(part, PartDelta::Arguments(more)));
            }
            return Ok(());
        }
        if call.pending.len().saturating_add(more.len()) > MAX_PENDING_ARGUMENTS && name.is_empty() {
            return Err(malformed("a tool call without a name"));
        }
        call.pending.push_str(&more);
        if !name.is_empty() {
            self.start_call(place, &name, events);
        }
        Ok(())
    }

    fn start_call(&mut self, place: usize, name: &str, events: &mut Vec<Event>) {
        self.close(events);
        let part = self.next_part;
        let Some(call) = self.calls.get_mut(place) else { return };
        self.next_part = self.next_part.saturating_add(1);
        call.part = Some(part);
        let pending = std::mem::take(&mut call.pending);
        let (own_id, carried) = detach_from_id(&call.whole_id);
        let choice = self.index;
        let id = match own_id {
            "" => {
                let number = usize::try_from(choice).unwrap_or_default();
                Standing { number, answer: &self.answer }.made_up_id(place, name)
            }
            own_id => own_id.to_owned(),
        };
        let signature = call.signature.take().or(carried.signature);
        let start = PartStart::ToolCall { id, name: name.to_owned(), free_text: call.free_text, signature };
        events.push(Event::PartStart { choice, part, start });
        if !pending.is_empty() {
            events.push(Event::PartDelta { choice, part, delta: PartDelta::Arguments(pending) });
        }
    }

    /// A call that never got a name is still shown, so that nothing is lost in silence.
    fn start_unnamed_calls(&mut self, events: &mut Vec<Event>) {
        if self.is_finished {
            return;
        }
        for place in 0..self.calls.len() {
            if self.calls.get(place).is_some_and(|call| call.part.is_none()) {
                self.start_call(place, "", events);
            }
        }
    }

    fn push_text(&mut self, kind: Kind, text: &str, events: &mut Vec<Event>) {
        let part = self.open(kind, events);
        events.push(self.delta(part, PartDelta::Text(text.to_owned())));
    }

    /// The part of this kind that is open, or a new one.
    fn open(&mut self, kind: Kind, events: &mut Vec<Event>) -> u32 {
        match self.open {
            Some(open) if open.kind == kind => open.part,
            _ => {
                let start = match kind {
                    Kind::Text => PartStart::Text,
                    Kind::Reasoning(_) => PartStart::Reasoning,
                    Kind::Refusal => PartStart::Refusal,
                    Kind::Audio => PartStart::Media(Media {
                        kind: MediaKind::Audio,
                        media_type: None,
                        source: MediaSource::Base64(String::new()),
                        name: None,
                        detail: None,
                        transcript: None,
                    }),
                };
                self.begin(kind, start, events)
            }
        }
    }

    fn begin(&mut self, kind: Kind, start: PartStart, events: &mut Vec<Event>) -> u32 {
        self.close(events);
        let part = self.next_part;
        self.next_part = self.next_part.saturating_add(1);
        self.open = Some(Open { part, kind });
        events.push(Event::PartStart { choice: self.index, part, start });
        part
    }

    fn push_whole(&mut self, start: PartStart, events: &mut Vec<Event>) {
        self.close(events);
        let part = self.next_part;
        self.next_part = self.next_part.saturating_add(1);
        events.push(Event::PartStart { choice: self.index, part, start });
        events.push(Event::PartEnd { choice: self.index, part });
    }

    fn close(&mut self, events: &mut Vec<Event>) {
        if let Some(open) = self.open.take() {
            events.push(Event::PartEnd { choice: self.index, part: open.part });
        }
    }

    fn delta(&self, part: u32, delta: PartDelta) -> Event {
        Event::PartDelta { choice: self.index, part, delta }
    }
}

/// Keeps fields that nobody here has a word for, up to a limit; the last word counts.
fn keep(rest: &mut Rest, more: impl IntoIterator<Item = (String, Value)>) {
    for (name, value) in more {
        if !value.is_null() && (rest.len() < MAX_REST_FIELDS || rest.contains_key(&name)) {
            rest.insert(name, value);
        }
    }
}
