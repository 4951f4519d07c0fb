//! `contents` and `systemInstruction` of a request. Called by `render.rs`.

use std::borrow::Cow;

use super::render::own_rest;
use super::types::{Content as WireContent, Part as WirePart};
use super::{HERE, parts, results};
use crate::conversation::{Content, Conversation, Media, MediaSource, Part, Rest, Role, Turn};
use crate::loss::{place_of_part, place_of_turn};
use crate::{Dialect, Losses, RequestOptions, ThinkingStyle};

/// What Gemini 3 takes instead of a thought signature for calls that it did not make itself, in base64 as the field
/// wants it: `skip_thought_signature_validator`. Without any it refuses the request.
const FOREIGN_CALL: &str = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=";

pub(super) fn write<'a>(
    conversation: &'a Conversation,
    options: &RequestOptions<'_>,
    losses: &mut Losses,
) -> (Option<WireContent<'a>>, Vec<WireContent<'a>>) {
    let mut writer = Writer { conversation, options, losses, is_own: conversation.origin == HERE };
    let mut system: Option<WireContent<'a>> = None;
    let mut contents: Vec<WireContent<'a>> = Vec::new();
    for (index, turn) in conversation.turns.iter().enumerate() {
        let parts = writer.write_parts(index, turn);
        let place = place_of_turn(conversation, index);
        let rest = own_rest(&turn.rest, conversation.origin, &place, writer.losses);
        if turn.name.is_some() {
            writer.losses.push(format!("{place}.name"));
        }
        let role = match turn.role {
            Role::System | Role::Developer => {
                if parts.is_empty() && !writer.is_own {
                    continue;
                }
                if !contents.is_empty() {
                    // It is heard, but no longer where it was said.
                    writer.losses.push(format!("{place}.role"));
                }
                let system = system.get_or_insert_default();
                system.parts.extend(parts);
                system.rest.extend(rest);
                continue;
            }
            Role::User => "user",
            Role::Assistant => "model",
        };
        // Gemini's own callers get back exactly the turns they wrote.
        let last = contents.last_mut().filter(|last| !writer.is_own && last.role.as_deref() == Some(role));
        match last {
            Some(last) => last.parts.extend(parts),
            None if parts.is_empty() && !writer.is_own => {}
            None => contents.push(WireContent { parts, role: Some(Cow::Borrowed(role)), rest }),
        }
    }
    (system, contents)
}

struct Writer<'a, 'b> {
    conversation: &'a Conversation,
    options: &'b RequestOptions<'b>,
    losses: &'b mut Losses,
    is_own: bool,
}

impl<'a> Writer<'a, '_> {
    fn write_parts(&mut self, index: usize, turn: &'a Turn) -> Vec<WirePart<'a>> {
        let mut written = Vec::with_capacity(turn.parts.len());
        // Media of results that the target takes only beside them.
        let mut beside = Vec::new();
        let mut needs_signature = self.needs_signature(index, turn);
        for (number, part) in turn.parts.iter().enumerate() {
            let place = || place_of_part(self.conversation, index, number);
            if part.cache.is_some() {
                self.losses.push(format!("{}.cache_control", place()));
            }
            let mut rest = if part.rest.is_empty() {
                Rest::new()
            } else {
                own_rest(&part.rest, self.conversation.origin, &place(), self.losses)
            };
            if let Content::ToolResult(result) = &part.content {
                let has_parts = self.is_own || self.options.traits.thinking == ThinkingStyle::Level;
                let result_place = place();
                let mut one = results::write(result, has_parts, self.is_own, &mut rest);
                if one.response.name.as_deref() == Some("") && !self.is_own {
                    one.response.name = Some(self.name_of_call(&result.call_id));
                }
                if self.is_own && is_made_up(&result.call_id, result.name.as_deref().unwrap_or_default()) {
                    one.response.id = None;
                }
                for left in one.left_over {
                    let place = format!("{result_place}.content[{left}]");
                    match result.parts.get(left) {
                        Some(part) if matches!(part.content, Content::Media(_)) => {
                            beside.extend(self.write_part(part, &place, None, Rest::new()));
                        }
                        _ => self.losses.push(place),
                    }
                }
                let thought_signature = match rest.shift_remove("thoughtSignature") {
                    Some(serde_json::Value::String(signature)) => Some(Cow::Owned(signature)),
                    _ => None,
                };
                let function_response = Some(one.response);
                written.push(WirePart { function_response, thought_signature, rest, ..WirePart::default() });
                continue;
            }
            let mut signature = part
                .signature
                .as_ref()
                .filter(|signature| signature.origin == HERE)
                .map(|signature| Cow::Borrowed(signature.data.as_str()));
            if matches!(part.content, Content::ToolCall(_)) && std::mem::take(&mut needs_signature) {
                signature = signature.or(Some(Cow::Borrowed(FOREIGN_CALL)));
            }
            let place = place();
            let mut wire = self.write_part(part, &place, signature, rest);
            if let (Some(wire), Content::ToolCall(call)) = (&mut wire, &part.content)
                && self.is_own
                && is_made_up(&call.id, &call.name)
                && let Some(call) = &mut wire.function_call
            {
                call.id = None;
            }
            written.extend(wire);
        }
        written.extend(beside);
        written
    }

    fn write_part<'p>(
        &mut self,
        part: &'p Part,
        place: &str,
        signature: Option<Cow<'p, str>>,
        rest: Rest,
    ) -> Option<WirePart<'p>> {
        if !self.is_own {
            match &part.content {
                // Other wires have empty texts where nothing is said; this one takes them for a mistake.
                Content::Text { text, .. } | Content::Reasoning { text }
                    if text.is_empty() && signature.is_none() =>
                {
                    return None;
                }
                Content::Text { citations, .. } if !citations.is_empty() => {
                    self.losses.push(format!("{place}.citations"));
                }
                Content::RedactedReasoning if signature.is_none() => {
                    self.losses.push(place.to_owned());
                    return None;
                }
                // A model that does not think has no thoughts to read either.
                Content::Reasoning { .. } if self.options.traits.thinking == ThinkingStyle::None => {
                    self.losses.push(place.to_owned());
                    return None;
                }
                Content::Media(media) if !self.takes(media, place) => return None,
                _ => {}
            }
        }
        let written = parts::write(part, signature, self.is_own, rest);
        if written.is_none() {
            self.losses.push(place.to_owned());
        }
        written
    }

    /// Whether a medium of another dialect can be written, reporting what of it cannot.
    fn takes(&mut self, media: &Media, place: &str) -> bool {
        let is_reachable = match &media.source {
            MediaSource::Base64(_) | MediaSource::Text(_) => true,
            MediaSource::Url(_) => self.options.traits.media_urls,
            // Uploaded to another provider.
            MediaSource::FileId(_) => false,
        };
        if !is_reachable {
            self.losses.push(place.to_owned());
            return false;
        }
        if media.name.is_some() {
            let field = match self.conversation.origin {
                Dialect::OpenAiChat => "file.filename",
                Dialect::AnthropicMessages => "title",
                Dialect::Gemini => "displayName",
            };
            self.losses.push(format!("{place}.{field}"));
        }
        if media.detail.as_deref().is_some_and(|detail| detail != "auto") {
            self.losses.push(format!("{place}.image_url.detail"));
        }
        true
    }

    /// Whether the first call of this turn must be signed: Gemini 3 checks every step since the user last spoke.
    fn needs_signature(&self, index: usize, turn: &Turn) -> bool {
        let is_result = |part: &Part| matches!(part.content, Content::ToolResult(_));
        let is_current = |later: &Turn| later.role != Role::User || later.parts.iter().any(is_result);
        !self.is_own
            && self.options.traits.thinking == ThinkingStyle::Level
            && turn.role == Role::Assistant
            && self.conversation.turns.iter().skip(index + 1).all(is_current)
    }

    /// The name of the function that an answer belongs to. The wire requires one; the id stands in where nobody knows.
    fn name_of_call(&self, id: &'a str) -> Cow<'a, str> {
        let mut parts = self.conversation.turns.iter().rev().flat_map(|turn| &turn.parts);
        let name = parts.find_map(|part| match &part.content {
            Content::ToolCall(call) if call.id == id => Some(call.name.as_str()),
            _ => None,
        });
        Cow::Borrowed(name.unwrap_or(id))
    }
}

/// Whether an id is one that [`crate::carry::made_up_id`] made for a call of this name.
fn is_made_up(id: &str, name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mut pieces = id.splitn(4, '_');
    let (Some("call"), Some(turn), Some(part), Some(rest)) =
        (pieces.next(), pieces.next(), pieces.next(), pieces.next())
    else {
        return false;
    };
    is_number(turn)
        && is_number(part)
        && crate::carry::made_up_id(0, 0, name).strip_prefix("call_0_0_") == Some(rest)
}
