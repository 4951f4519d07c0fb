//! The turns of a conversation as `system` and `messages`. Called by `render`.
//!
//! Turns that were read from this wire are given back as they stood. Those of another dialect are fitted to what the API
//! insists on: no system message between the others (only some of its models take one), no empty text, one message a
//! speaker, results first in the message that brings them, and for every call exactly one result.

use std::borrow::Cow;
use std::collections::HashSet;

use base64::Engine as _;
use serde_json::value::RawValue;

use super::blocks::HERE;
use super::reply::wire_citation;
use super::types::{Block, Message, Source};
use crate::carry::made_up_id;
use crate::conversation::{
    Citation, Content, Conversation, Media, MediaKind, MediaSource, Part, Rest, Role, ToolCall, ToolResult,
    Turn,
};
use crate::loss::{Field, Losses, place_of_part, place_of_turn};
use crate::target::TargetTraits;

/// What the API takes as an inline image.
const IMAGE_TYPES: &[&str] = &["image/jpeg", "image/png", "image/gif", "image/webp"];

/// Answers a call that the caller never answered; without an answer the API refuses the whole request.
const NO_RESULT: &str = "The caller gave no result for this call.";

/// Stands for the words of a tool that failed without any.
const NO_WORDS: &str = "The tool failed and gave no reason.";

/// Follows a final answer of the model where the model cannot continue it.
const CONTINUE: &str = "Continue.";

/// `system` and `messages`.
#[derive(Debug, Default)]
pub(super) struct Plan<'a> {
    pub(super) system: Vec<Block<'a>>,
    pub(super) messages: Vec<Message<'a>>,
}

pub(super) fn plan_turns<'a>(
    conversation: &'a Conversation,
    traits: &TargetTraits,
    losses: &mut Losses,
) -> Plan<'a> {
    let mut writer = Writer { conversation, traits, losses, is_own: conversation.origin == HERE };
    let mut plan = Plan::default();
    for (index, turn) in conversation.turns.iter().enumerate() {
        let blocks = writer.blocks_of(index, turn);
        let role = match turn.role {
            Role::System | Role::Developer if index == 0 || !writer.is_own => {
                if !plan.messages.is_empty() && !blocks.is_empty() {
                    // It is heard, but no longer where it was said.
                    writer.losses.push(format!("{}.role", place_of_turn(conversation, index)));
                }
                plan.system.extend(blocks);
                continue;
            }
            Role::System | Role::Developer => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        let rest = Some(&turn.rest).filter(|_| writer.is_own);
        if writer.is_own && blocks.is_empty() && !turn.parts.is_empty() {
            // Nothing of it can be said, and an empty message would be refused.
        } else if writer.is_own {
            plan.messages.push(Message { role, content: blocks, rest, turn: index });
        } else if !blocks.is_empty() {
            match plan.messages.last_mut().filter(|last| last.role == role) {
                Some(last) => last.content.extend(blocks),
                None => plan.messages.push(Message { role, content: blocks, rest, turn: index }),
            }
        }
    }
    if !writer.is_own {
        writer.pair_results(&mut plan.messages);
        writer.settle_ends(&mut plan);
    }
    plan
}

/// The arguments as an object. What the model wrote wrong goes back in the form that Anthropic's documentation gives for
/// it, so that the model sees its mistake.
pub(super) fn wire_input(call: &ToolCall) -> Cow<'_, RawValue> {
    let text = call.arguments.trim();
    let wrap = |name: &str| {
        let wrapped = serde_json::json!({ name: call.arguments });
        RawValue::from_string(wrapped.to_string()).map_or_else(|_| Cow::Borrowed(RawValue::NULL), Cow::Owned)
    };
    if call.free_text {
        return wrap("input");
    }
    if text.is_empty() {
        return serde_json::from_str::<&RawValue>("{}").map_or(Cow::Borrowed(RawValue::NULL), Cow::Borrowed);
    }
    match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) if raw.get().starts_with('{') => Cow::Borrowed(raw),
        _ => wrap("INVALID_JSON"),
    }
}

struct Writer<'a, 'l> {
    conversation: &'a Conversation,
    traits: &'l TargetTraits,
    losses: &'l mut Losses,
    is_own: bool,
}

impl<'a> Writer<'a, '_> {
    fn blocks_of(&mut self, index: usize, turn: &'a Turn) -> Vec<Block<'a>> {
        if turn.name.is_some() {
            self.losses.push(format!("{}.name", place_of_turn(self.conversation, index)));
        }
        if !self.is_own {
            for name in turn.rest.keys() {
                self.losses.push(format!("{}.{name}", place_of_turn(self.conversation, index)));
            }
        }
        let mut blocks = Vec::with_capacity(turn.parts.len());
        for (number, part) in turn.parts.iter().enumerate() {
            match self.block_of(index, number, turn.role, part) {
                Ok(Some(block)) => blocks.push(block),
                Ok(None) => {}
                Err(CannotExpress) => {
                    self.losses.push(place_of_part(self.conversation, index, number));
                }
            }
        }
        blocks
    }

    /// `Ok(None)` where there is nothing to say.
    fn block_of(
        &mut self,
        turn: usize,
        number: usize,
        role: Role,
        part: &'a Part,
    ) -> Result<Option<Block<'a>>, CannotExpress> {
        let cache_control = part.cache.map(Into::into);
        let rest: Option<&'a Rest> = Some(&part.rest).filter(|_| self.is_own);
        if !self.is_own {
            for name in part.rest.keys() {
                self.losses.push(format!("{}.{name}", place_of_part(self.conversation, turn, number)));
            }
        }
        let is_system = matches!(role, Role::System | Role::Developer);
        Ok(Some(match &part.content {
            // The API refuses text without a visible character.
            Content::Text { text, .. } | Content::Refusal(text) if text.trim().is_empty() => {
                if cache_control.is_some() {
                    self.losses.push(Field::CacheMarker.name(self.conversation.origin));
                }
                return Ok(None);
            }
            Content::Text { text, citations } => {
                let is_own = |citation: &&Citation| {
                    citation.native.as_ref().is_some_and(|native| native.dialect == HERE)
                };
                let kept: Vec<_> = citations.iter().filter(is_own).filter_map(wire_citation).collect();
                if kept.len() < citations.len() {
                    // The API checks citations against its own searches and documents.
                    self.losses.push(format!("{}.citations", place_of_part(self.conversation, turn, number)));
                }
                Block::Text { text: text.into(), citations: kept, cache_control, rest }
            }
            Content::Refusal(text) => Block::text(text.as_str()),
            _ if is_system && !self.is_own => return Err(CannotExpress),
            Content::Media(media) => {
                return self.media_block(turn, number, role, part, media).map(Some);
            }
            Content::ToolCall(call) => Block::ToolUse {
                id: wire_id(&call.id, turn, number, &call.name),
                name: &call.name,
                input: wire_input(call),
                cache_control,
                rest,
            },
            Content::ToolResult(result) => self.result_block(turn, number, part, result),
            // What Anthropic did not sign itself is worth nothing to it.
            Content::Reasoning { text } => Block::Thinking {
                thinking: text,
                signature: own_signature(part).ok_or(CannotExpress)?.into(),
                rest,
            },
            Content::RedactedReasoning => {
                Block::RedactedThinking { data: own_signature(part).ok_or(CannotExpress)?.into(), rest }
            }
            Content::Native(native) if native.dialect == HERE => Block::Native(&native.value),
            Content::Native(_) => return Err(CannotExpress),
        }))
    }

    fn result_block(
        &mut self,
        turn: usize,
        number: usize,
        part: &'a Part,
        result: &'a ToolResult,
    ) -> Block<'a> {
        let mut content = Vec::with_capacity(result.parts.len());
        for inner in &result.parts {
            match self.block_of(turn, number, Role::User, inner) {
                Ok(block) => content.extend(block),
                Err(CannotExpress) => self.losses.push(place_of_part(self.conversation, turn, number)),
            }
        }
        if result.is_error && content.is_empty() {
            // The API refuses an error without words.
            content.push(Block::text(NO_WORDS));
        }
        Block::ToolResult {
            tool_use_id: wire_id(&result.call_id, turn, number, ""),
            content,
            is_error: result.is_error,
            cache_control: part.cache.map(Into::into),
            rest: Some(&part.rest).filter(|_| self.is_own),
        }
    }

    fn media_block(
        &mut self,
        turn: usize,
        number: usize,
        role: Role,
        part: &'a Part,
        media: &'a Media,
    ) -> Result<Block<'a>, CannotExpress> {
        let cache_control = part.cache.map(Into::into);
        let rest = Some(&part.rest).filter(|_| self.is_own);
        if let Some(transcript) = media.transcript.as_deref().filter(|words| !words.trim().is_empty()) {
            self.losses.push(place_of_part(self.conversation, turn, number));
            return Ok(Block::text(transcript));
        }
        // Pictures that a model made itself cannot be shown to this one as its own.
        if role == Role::Assistant && !self.is_own {
            return Err(CannotExpress);
        }
        let source = self.source_of(media).ok_or(CannotExpress)?;
        if media.detail.as_deref().is_some_and(|detail| detail != "auto") {
            self.losses.push(format!("{}.detail", place_of_part(self.conversation, turn, number)));
        }
        match media.kind {
            MediaKind::Image => Ok(Block::Image { source, cache_control, rest }),
            MediaKind::Document => {
                Ok(Block::Document { source, title: media.name.as_deref(), cache_control, rest })
            }
            MediaKind::Audio | MediaKind::Video => Err(CannotExpress),
        }
    }

    fn source_of(&self, media: &'a Media) -> Option<Source<'a>> {
        let media_type = media.media_type.as_deref();
        match &media.source {
            MediaSource::Base64(data) if self.is_own => Some(Source::Base64 { media_type, data }),
            MediaSource::Base64(data) => match (media.kind, media_type?) {
                (MediaKind::Image, "image/jpg") => {
                    Some(Source::Base64 { media_type: Some("image/jpeg"), data })
                }
                (MediaKind::Image, kind) if IMAGE_TYPES.contains(&kind) => {
                    Some(Source::Base64 { media_type, data })
                }
                (MediaKind::Document, "application/pdf") => Some(Source::Base64 { media_type, data }),
                (MediaKind::Document, kind) if kind.starts_with("text/") || kind == "application/json" => {
                    let bytes = base64::engine::general_purpose::STANDARD.decode(data).ok()?;
                    let data = String::from_utf8(bytes).ok()?.into();
                    Some(Source::Text { media_type: "text/plain", data })
                }
                _ => None,
            },
            MediaSource::Url(url) => {
                let is_reachable = url.starts_with("https://") || url.starts_with("http://");
                (self.is_own || (self.traits.media_urls && is_reachable)).then_some(Source::Url { url })
            }
            MediaSource::FileId(file_id) => self.is_own.then_some(Source::File { file_id }),
            MediaSource::Text(data) => {
                Some(Source::Text { media_type: media_type.unwrap_or("text/plain"), data: data.into() })
            }
        }
    }

    /// Sees to it that every message with calls is followed by one that begins with their results, and that no result
    /// stands anywhere else.
    fn pair_results(&mut self, messages: &mut Vec<Message<'a>>) {
        let mut position = 0;
        let mut calls: Vec<Cow<'a, str>> = Vec::new();
        while position < messages.len() {
            if messages[position].role == "assistant" {
                calls = call_ids(&messages[position].content);
                let is_answered = messages.get(position + 1).is_some_and(|next| next.role == "user");
                if !calls.is_empty() && !is_answered && position + 1 < messages.len() {
                    let turn = messages[position].turn;
                    let content = Vec::new();
                    messages.insert(position + 1, Message { role: "user", content, rest: None, turn });
                }
            } else {
                let turn = messages[position].turn;
                let content = std::mem::take(&mut messages[position].content);
                messages[position].content = self.sort_results(content, &calls, turn);
                calls.clear();
            }
            position += 1;
        }
    }

    fn sort_results(
        &mut self,
        content: Vec<Block<'a>>,
        calls: &[Cow<'a, str>],
        turn: usize,
    ) -> Vec<Block<'a>> {
        let mut answered = HashSet::new();
        let mut results = Vec::with_capacity(content.len());
        let mut others = Vec::new();
        for block in content {
            match block {
                Block::ToolResult { ref tool_use_id, .. }
                    if calls.contains(tool_use_id) && answered.insert(tool_use_id.clone()) =>
                {
                    results.push(block);
                }
                Block::ToolResult { tool_use_id, content, .. } => {
                    // A result that answers nothing is told as text.
                    self.losses.push(format!("{}.tool_call_id", place_of_turn(self.conversation, turn)));
                    others.push(Block::text(format!("Result of an earlier call ({tool_use_id}):")));
                    others.extend(content);
                }
                other => others.push(other),
            }
        }
        for id in calls.iter().filter(|id| !answered.contains(*id)) {
            results.push(Block::ToolResult {
                tool_use_id: id.clone(),
                content: vec![Block::text(NO_RESULT)],
                is_error: true,
                cache_control: None,
                rest: None,
            });
        }
        results.append(&mut others);
        results
    }

    /// The API wants at least one message, and a last one of the model's only where the model can continue it.
    fn settle_ends(&mut self, plan: &mut Plan<'a>) {
        if plan.messages.is_empty() && !plan.system.is_empty() {
            self.losses.push(format!("{}.role", place_of_turn(self.conversation, 0)));
            let content = std::mem::take(&mut plan.system);
            plan.messages.push(Message { role: "user", content, rest: None, turn: 0 });
        }
        let Some(last) = plan.messages.last_mut().filter(|last| last.role == "assistant") else { return };
        if let Some(Block::Text { text, .. }) = last.content.last_mut() {
            // White space at the end of what is to be continued is refused.
            *text = text.trim_end().to_owned().into();
        }
        let turn = last.turn;
        if !self.traits.prefill && call_ids(&last.content).is_empty() {
            self.losses.push(place_of_turn(self.conversation, turn));
            let content = vec![Block::text(CONTINUE)];
            plan.messages.push(Message { role: "user", content, rest: None, turn });
        }
    }
}

struct CannotExpress;

fn own_signature(part: &Part) -> Option<&str> {
    let signature = part.signature.as_ref().filter(|signature| signature.origin == HERE)?;
    (!signature.data.is_empty()).then_some(signature.data.as_str())
}

fn call_ids<'a>(content: &[Block<'a>]) -> Vec<Cow<'a, str>> {
    let ids = content.iter().filter_map(|block| match block {
        Block::ToolUse { id, .. } => Some(id.clone()),
        _ => None,
    });
    ids.collect()
}

/// An id within the API's pattern, `[a-zA-Z0-9_-]+`. The same id becomes the same again, so that results keep to their
/// calls.
fn wire_id<'a>(id: &'a str, turn: usize, part: usize, name: &str) -> Cow<'a, str> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if id.is_empty() {
        return made_up_id(turn, part, name).into();
    }
    if id.chars().all(is_allowed) {
        return id.into();
    }
    id.chars().map(|c| if is_allowed(c) { c } else { '_' }).collect::<String>().into()
}
