//! Turns, written as the messages of a request. Called by `render`.
//!
//! One turn may become several messages: every tool result is a message of its own here, and what a tool answered
//! beside text follows in a message of the user, since most servers take only text from tools.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::Value;

use super::HERE;
use super::assistant::{google_extra, inner_rest};
use super::media::url_of;
use super::messages::role_word;
use super::parts::{knows_cache_marker, render_image, render_part};
use super::reasoning::{render_detail, render_encrypted};
use super::types::{
    Call, CalledCustom, CalledFunction, ContentPart, KnownPart, Message, MessageContent, Nullable, Without,
};
use crate::conversation::{
    Content, Conversation, Media, MediaKind, MediaSource, Part, Rest, Role, ToolCall, ToolResult, Turn,
};
use crate::loss::{Losses, place_of_part, place_of_turn};
use crate::{Continuation, ReasoningBack, TargetTraits};

/// Fields of a call's `rest` that are written inside other objects.
const WRITTEN_IN_CALL: &[&str] = &["function", "custom", "extra_content"];

/// Fields of a message's `rest` that are written together with what the canonical model knows of them.
pub(super) const WRITTEN_IN_MESSAGE: &[&str] = &["annotations", "extra_content", "audio"];

pub(super) fn plan_messages<'a>(
    conversation: &'a Conversation,
    traits: &'a TargetTraits,
    losses: &mut Losses,
) -> Vec<Message<'a>> {
    let is_own = conversation.origin == HERE;
    let mut planner =
        Planner { conversation, traits, is_own, losses, names: HashMap::new(), messages: Vec::new() };
    for (index, turn) in conversation.turns.iter().enumerate() {
        planner.push_turn(turn, index);
    }
    let is_begun = |turn: &Turn| turn.role == Role::Assistant && !turn.rest.contains_key("prefix");
    if traits.continuation == Continuation::Prefix
        && conversation.turns.last().is_some_and(is_begun)
        && let Some(last) = planner.messages.last_mut()
    {
        last.prefix = last.tool_calls.is_empty();
    }
    planner.messages
}

struct Planner<'a, 'l> {
    conversation: &'a Conversation,
    traits: &'a TargetTraits,
    is_own: bool,
    losses: &'l mut Losses,
    /// The names of the tools called so far, by the calls' ids.
    names: HashMap<&'a str, &'a str>,
    messages: Vec<Message<'a>>,
}

impl<'a> Planner<'a, '_> {
    fn push_turn(&mut self, turn: &'a Turn, index: usize) {
        self.report_rests(turn, index);
        match turn.role {
            Role::Assistant => {
                let message = self.assistant_message(turn, index);
                self.messages.push(message);
            }
            Role::User => self.push_user(turn, index),
            Role::System | Role::Developer => {
                let parts = self.plain_parts(turn.parts.iter().enumerate(), index);
                let message = self.message(turn, self.content(parts, "\n"));
                self.messages.push(message);
            }
        }
    }

    fn message(&self, turn: &'a Turn, content: MessageContent<'a>) -> Message<'a> {
        Message {
            role: role_word(turn.role, self.traits.developer_role),
            name: turn.name.as_deref(),
            content: Some(content),
            rest: Without::nothing(&turn.rest, self.is_own),
            ..Message::default()
        }
    }

    /// What only the conversation's own dialect understands, and what this target does not mark.
    fn report_rests(&mut self, turn: &Turn, index: usize) {
        if !self.is_own {
            for name in turn.rest.keys() {
                self.losses.push(format!("{}.{name}", place_of_turn(self.conversation, index)));
            }
        }
        for (number, part) in turn.parts.iter().enumerate() {
            let place = || place_of_part(self.conversation, index, number);
            if !self.is_own {
                for name in part.rest.keys() {
                    self.losses.push(format!("{}.{name}", place()));
                }
            }
            if !knows_cache_marker(part, self.traits) {
                self.losses.push(format!("{}.cache_control", place()));
            }
        }
    }

    fn lose(&mut self, turn: usize, part: usize) {
        self.losses.push(place_of_part(self.conversation, turn, part));
    }

    fn push_user(&mut self, turn: &'a Turn, index: usize) {
        let mut attached = Vec::new();
        let mut has_results = false;
        for (number, part) in turn.parts.iter().enumerate() {
            if let Content::ToolResult(result) = &part.content {
                has_results = true;
                self.push_result(part, result, (index, number), &mut attached);
            }
        }
        let others = turn.parts.iter().enumerate();
        let others = others.filter(|(_, part)| !matches!(part.content, Content::ToolResult(_)));
        let mut parts = attached;
        parts.extend(self.plain_parts(others, index));
        if !has_results || !parts.is_empty() {
            let message = self.message(turn, self.content(parts, "\n"));
            self.messages.push(message);
        }
    }

    fn push_result(
        &mut self,
        part: &'a Part,
        result: &'a ToolResult,
        (turn, number): (usize, usize),
        attached: &mut Vec<ContentPart<'a>>,
    ) {
        let mut inside = Vec::new();
        let mut beside = Vec::new();
        for inner in &result.parts {
            let is_text = matches!(inner.content, Content::Text { .. });
            match render_part(inner, self.traits, self.is_own) {
                Some(rendered) if is_text || self.is_own => inside.push(rendered),
                Some(rendered) => beside.push(rendered),
                None => self.lose(turn, number),
            }
        }
        if result.is_error {
            self.losses.push(format!("{}.is_error", place_of_part(self.conversation, turn, number)));
        }
        if !beside.is_empty() {
            attached.push(text_part(format!("Attached to the result of the tool call {}:", result.call_id)));
            attached.append(&mut beside);
            if inside.is_empty() {
                inside.push(text_part("The result is attached below."));
            }
        }
        let is_legacy = self.conversation.legacy_functions;
        let known_name = self.names.get(result.call_id.as_str()).copied();
        let name = result.name.as_deref().filter(|name| is_legacy || known_name != Some(*name));
        let content = self.content(inside, "\n");
        self.messages.push(Message {
            role: if is_legacy { "function" } else { "tool" },
            name,
            tool_call_id: (!is_legacy).then_some(result.call_id.as_str()),
            content: Some(content),
            rest: Without::nothing(&part.rest, self.is_own),
            ..Message::default()
        });
    }

    /// The parts of a message that is neither a tool's nor the model's.
    fn plain_parts(
        &mut self,
        parts: impl Iterator<Item = (usize, &'a Part)>,
        turn: usize,
    ) -> Vec<ContentPart<'a>> {
        let mut rendered = Vec::new();
        for (number, part) in parts {
            match render_part(part, self.traits, self.is_own) {
                Some(part) => rendered.push(part),
                None => self.lose(turn, number),
            }
        }
        rendered
    }

    /// One plain text is written as a string; several stay apart where the target knows how to read that.
    fn content(&self, mut parts: Vec<ContentPart<'a>>, separator: &str) -> MessageContent<'a> {
        if parts.is_empty() {
            return MessageContent::Text("".into());
        }
        if let [ContentPart::Known(part)] = parts.as_mut_slice()
            && let Some(text) = part.take_plain_text()
        {
            return MessageContent::Text(text);
        }
        let is_plain =
            |part: &ContentPart<'_>| matches!(part, ContentPart::Known(part) if part.is_plain_text());
        if (!self.traits.text_parts || separator.is_empty()) && parts.iter().all(is_plain) {
            let texts: Vec<Cow<'_, str>> = parts
                .into_iter()
                .filter_map(|part| match part {
                    ContentPart::Known(mut part) => part.take_plain_text(),
                    ContentPart::Native(_) => None,
                })
                .collect();
            return MessageContent::Text(texts.join(separator).into());
        }
        MessageContent::Parts(parts)
    }

    fn assistant_message(&mut self, turn: &'a Turn, index: usize) -> Message<'a> {
        let mut message = self.message(turn, MessageContent::Null);
        let mut content = Vec::new();
        let mut reasoning = Vec::new();
        for (number, part) in turn.parts.iter().enumerate() {
            match &part.content {
                Content::Reasoning { .. } | Content::RedactedReasoning => reasoning.push((number, part)),
                Content::ToolCall(call) => {
                    self.names.insert(&call.id, &call.name);
                    message.tool_calls.push(render_call(
                        part,
                        call,
                        call.id.as_str().into(),
                        self.traits,
                        self.is_own,
                    ));
                }
                Content::Refusal(text) if message.refusal.is_none() => {
                    message.refusal = Some(Nullable::Value(text.into()));
                }
                Content::Media(media) => {
                    if !self.push_media(&mut message, part, media) {
                        self.lose(index, number);
                    }
                }
                Content::Text { citations, .. } => {
                    content.extend(render_part(part, self.traits, self.is_own));
                    let native = citations.iter().filter_map(|citation| citation.native.as_ref());
                    let own = native.filter(|native| native.dialect == HERE);
                    message.annotations.extend(own.map(|native| Cow::Borrowed(&native.value)));
                    if citations.len() > message.annotations.len() {
                        self.losses
                            .push(format!("{}.citations", place_of_part(self.conversation, index, number)));
                    }
                    if let Some(signature) = part.signature.as_ref().filter(|_| self.traits.google_signatures)
                    {
                        message.extra_content = google_extra(signature);
                    }
                }
                Content::Native(_) | Content::ToolResult(_) | Content::Refusal(_) => {
                    match render_part(part, self.traits, self.is_own) {
                        Some(part) => content.push(part),
                        None => self.lose(index, number),
                    }
                }
            }
        }
        self.write_reasoning(&mut message, &mut content, &reasoning, index);
        // What a stranger's blocks split is one text.
        let separator = if self.is_own { "\n" } else { "" };
        let is_silent = content.is_empty() && (!message.tool_calls.is_empty() || message.refusal.is_some());
        message.content = (!is_silent).then(|| self.content(content, separator));
        self.write_legacy_call(&mut message);
        if self.is_own {
            add_leftovers(&mut message, &turn.rest);
        }
        message
    }

    fn write_legacy_call(&self, message: &mut Message<'a>) {
        if self.conversation.legacy_functions
            && message.tool_calls.len() == 1
            && let Some(call) = message.tool_calls.pop()
        {
            message.function_call = call.function;
            message.content.get_or_insert(MessageContent::Null);
        }
    }

    /// Whether the wire has a form for it.
    fn push_media(&self, message: &mut Message<'a>, part: &'a Part, media: &'a Media) -> bool {
        match (media.kind, &media.source) {
            (MediaKind::Audio, MediaSource::FileId(id)) if self.is_own => {
                message.audio = Some(audio_object(Some(id), None, None, &part.rest));
            }
            (MediaKind::Audio, MediaSource::Base64(data)) if self.is_own => {
                message.audio = Some(audio_object(None, Some(data), media.transcript.as_deref(), &part.rest));
            }
            (MediaKind::Image, _) if self.is_own => match url_of(media) {
                Some(url) => message.images.push(render_image(url)),
                None => return false,
            },
            _ => return false,
        }
        true
    }

    fn write_reasoning(
        &mut self,
        message: &mut Message<'a>,
        content: &mut Vec<ContentPart<'a>>,
        reasoning: &[(usize, &'a Part)],
        turn: usize,
    ) {
        let mut texts = Vec::new();
        for (number, part) in reasoning {
            let own_signature = part.signature.as_ref().filter(|signature| signature.origin == HERE);
            let rest = Some(&part.rest).filter(|_| self.is_own);
            match (&part.content, self.traits.reasoning_back) {
                (_, ReasoningBack::No) => self.lose_reasoning(turn, *number),
                (Content::Reasoning { text }, ReasoningBack::ReasoningDetails) => {
                    let place = message.reasoning_details.len();
                    message.reasoning_details.push(render_detail(place, Some(text), own_signature, rest));
                }
                (Content::Reasoning { text }, _) => texts.push(text.as_str()),
                (_, ReasoningBack::ReasoningDetails) => match own_signature {
                    Some(signature) => {
                        let place = message.reasoning_details.len();
                        message.reasoning_details.push(render_encrypted(place, signature));
                    }
                    None => self.lose_reasoning(turn, *number),
                },
                (_, _) => self.lose_reasoning(turn, *number),
            }
        }
        if texts.is_empty() {
            return;
        }
        let text =
            || Some(if let [only] = texts.as_slice() { (*only).into() } else { texts.concat().into() });
        match self.traits.reasoning_back {
            ReasoningBack::ReasoningContent => message.reasoning_content = text(),
            ReasoningBack::Reasoning => message.reasoning = text(),
            ReasoningBack::ThinkingParts => {
                let parts =
                    reasoning.iter().filter(|(_, part)| matches!(part.content, Content::Reasoning { .. }));
                let parts = parts.filter_map(|(_, part)| render_part(part, self.traits, self.is_own));
                content.splice(0..0, parts);
            }
            ReasoningBack::No | ReasoningBack::ReasoningDetails => {}
        }
    }

    fn lose_reasoning(&mut self, turn: usize, part: usize) {
        if self.is_own {
            self.losses.push(format!("{}.reasoning_content", place_of_turn(self.conversation, turn)));
        } else {
            self.lose(turn, part);
        }
    }
}

/// Adds what the message had beside the citations, the signature and the sound that are parts of their own.
pub(super) fn add_leftovers<'a>(message: &mut Message<'a>, rest: &'a Rest) {
    message.rest.names = WRITTEN_IN_MESSAGE;
    let annotations = rest.get("annotations").and_then(Value::as_array);
    message.annotations.extend(annotations.into_iter().flatten().map(Cow::Borrowed));
    if let Some(extra) = rest.get("extra_content") {
        message.extra_content = Some(match message.extra_content.take() {
            Some(google) => merged(google, Some(extra.clone())),
            None => extra.clone(),
        });
    }
    if let Some(more) = rest.get("audio") {
        match (&mut message.audio, more) {
            (Some(Value::Object(audio)), Value::Object(more)) => audio.extend(more.clone()),
            _ => message.audio = Some(more.clone()),
        }
    }
}

/// Writes a call; `id` is what the reader is to see as its id.
pub(super) fn render_call<'a>(
    part: &'a Part,
    call: &'a ToolCall,
    id: Cow<'a, str>,
    traits: &TargetTraits,
    is_own: bool,
) -> Call<'a> {
    let kind = if call.free_text { "custom" } else { "function" };
    let inner = inner_rest(&part.rest, kind).filter(|_| is_own);
    let mut extra = part.rest.get("extra_content").filter(|_| is_own).cloned();
    if let Some(google) = part.signature.as_ref().filter(|_| traits.google_signatures).and_then(google_extra)
    {
        extra = Some(merged(google, extra));
    }
    Call {
        id,
        kind,
        function: (!call.free_text).then(|| CalledFunction {
            name: &call.name,
            arguments: &call.arguments,
            rest: inner,
        }),
        custom: call.free_text.then(|| CalledCustom {
            name: &call.name,
            input: &call.arguments,
            rest: inner,
        }),
        extra_content: extra,
        rest: Without { rest: Some(&part.rest).filter(|_| is_own), names: WRITTEN_IN_CALL },
    }
}

/// Google's signature beside what else stood in the same object.
fn merged(google: Value, other: Option<Value>) -> Value {
    let Some(Value::Object(mut other)) = other else { return google };
    if let (Some(there), Some(more)) =
        (other.get_mut("google").and_then(Value::as_object_mut), google.get("google"))
    {
        there.extend(more.as_object().cloned().unwrap_or_default());
    } else if let Value::Object(google) = google {
        other.extend(google);
    }
    Value::Object(other)
}

/// The object that holds what the model spoke, or only the id of it.
pub(super) fn audio_object(
    id: Option<&str>,
    data: Option<&str>,
    transcript: Option<&str>,
    rest: &Rest,
) -> Value {
    let mut audio = rest.clone();
    for (name, text) in [("id", id), ("data", data), ("transcript", transcript)] {
        if let Some(text) = text {
            audio.insert(name.to_owned(), text.into());
        }
    }
    Value::Object(audio)
}

fn text_part<'a>(text: impl Into<Cow<'a, str>>) -> ContentPart<'a> {
    ContentPart::Known(Box::new(KnownPart { kind: "text", text: Some(text.into()), ..KnownPart::default() }))
}
