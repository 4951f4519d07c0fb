//! Whole answers, both ways. Called through the codec.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::Value;

use super::decode::Reader;
use super::types::{
    Candidate, Content as WireContent, LogprobsCandidate, LogprobsResult, Part as WirePart, Response,
    TopCandidates,
};
use super::{HERE, citations, finish, parts, time, usage};
use crate::carry::{Carried, CarriedReasoning, attach_to_id};
use crate::conversation::{Content, Part, Rest, ToolCall};
use crate::event::Assembler;
use crate::json::{Document, Kind};
use crate::reply::{Choice, Reply, TokenLogprob};
use crate::tap::Tapped;
use crate::{ReplyError, ReplyOptions, Usage};

pub(super) fn parse_reply(body: &[u8]) -> Result<Reply, ReplyError> {
    let mut reader = Reader::default();
    let mut events = Vec::new();
    reader.read(body, &mut events)?;
    reader.end(&mut events);
    let mut assembler = Assembler::new(HERE);
    for event in events {
        assembler.push(event);
    }
    let reply = assembler.into_reply();
    // Neither words nor a reason: no caller must take that for an answer.
    if reply.choices.is_empty() {
        let detail = "no candidate says anything, and the prompt was not blocked".to_owned();
        return Err(ReplyError::Malformed { dialect: HERE, detail });
    }
    Ok(reply)
}

/// An ordinary answer is one candidate that says something and calls nothing.
pub(super) fn glance(answer: &Document) -> Option<Tapped> {
    let mut candidates = answer.get("candidates")?.elements();
    let candidate = candidates.next()?;
    let mut said = candidate.get("content")?.get("parts")?.elements();
    let is_ordinary = candidates.next().is_none()
        && answer.get("error").is_none()
        && answer.get("promptFeedback").is_none()
        && said.all(|part| part.kind() == Kind::Object && part.get("functionCall").is_none());
    let word = candidate.get("finishReason")?.as_string()?;
    if !is_ordinary || word.is_empty() {
        return None;
    }
    let (usage, tier) = match answer.get("usageMetadata") {
        Some(metadata) => {
            let metadata = metadata.deserialize().ok()?;
            (usage::read(&metadata).unwrap_or_default(), usage::served_tier(&metadata))
        }
        None => (Usage::default(), None),
    };
    Some(Tapped { usage, tier, finish: Some(finish::read(&word, false).reason) })
}

pub(super) fn render_reply(reply: &Reply, options: &ReplyOptions) -> Bytes {
    let is_own = reply.origin == HERE;
    let mut rest = if is_own { reply.rest.clone() } else { Rest::new() };
    let left_over = match rest.shift_remove("usageMetadata") {
        Some(Value::Object(left_over)) => Some(left_over),
        _ => None,
    };
    let prompt_feedback = match rest.shift_remove("promptFeedback") {
        Some(Value::Object(feedback)) => Some(feedback),
        _ => None,
    };
    // A blocked prompt has no candidates: that is how the SDKs tell.
    let is_blocked = prompt_feedback.as_ref().is_some_and(|feedback| feedback.contains_key("blockReason"))
        && reply.choices.iter().all(|choice| choice.parts.is_empty());
    let candidates = reply.choices.iter().map(|choice| candidate_of(choice, is_own)).collect();
    let tier = reply.service_tier.as_deref().map(super::tier_to_wire);
    let response = Response {
        candidates: Some(candidates).filter(|_| !is_blocked),
        prompt_feedback,
        usage_metadata: match usage::write(&reply.usage, tier, left_over.as_ref()) {
            Some(Value::Object(metadata)) => Some(metadata),
            _ => None,
        },
        model_version: Some(Cow::Borrowed(reply.model.as_str())).filter(|model| !model.is_empty()),
        create_time: reply.created.map(time::from_seconds),
        response_id: Some(id_of(&reply.id, options)).filter(|id| !id.is_empty()),
        rest,
        ..Response::default()
    };
    to_json(&response)
}

/// The answer's id, or the one it is given.
pub(super) fn id_of<'a>(id: &'a str, options: &'a ReplyOptions) -> Cow<'a, str> {
    Cow::Borrowed(if id.is_empty() { options.fallback_id.as_str() } else { id })
}

fn candidate_of(choice: &Choice, is_own: bool) -> Candidate<'_> {
    let mut rest = if is_own { choice.rest.clone() } else { Rest::new() };
    let mut malformed = Vec::new();
    let mut wire = Vec::with_capacity(choice.parts.len());
    let mut reasoning = Vec::new();
    for part in &choice.parts {
        match &part.content {
            Content::ToolCall(call) if is_malformed(call) => malformed.push(call),
            Content::ToolCall(_) => wire.extend(write_call(part, std::mem::take(&mut reasoning))),
            _ => {
                reasoning.extend(carried(part));
                wire.extend(write_part(part));
            }
        }
    }
    if !rest.contains_key("groundingMetadata") && !rest.contains_key("citationMetadata") {
        rest.extend(citations::write(&choice.parts).map(|cited| ("citationMetadata".to_owned(), cited)));
    }
    let mut finish_reason = choice.finish.as_ref().map(|finish| Cow::Borrowed(finish::write(finish)));
    if !malformed.is_empty() {
        finish_reason = Some(Cow::Borrowed(finish::MALFORMED_CALL));
        rest.insert("finishMessage".to_owned(), malformed_message(malformed).into());
    }
    Candidate {
        content: Some(content_of(wire)),
        finish_reason,
        index: Some(choice.index),
        logprobs_result: write_logprobs(&choice.logprobs),
        rest,
    }
}

/// What a candidate says. Never without a part: the SDKs' chats drop an answer that has none from their history.
pub(super) fn content_of(mut parts: Vec<WirePart<'_>>) -> WireContent<'_> {
    if parts.is_empty() {
        parts.push(WirePart { text: Some(Cow::Borrowed("")), ..WirePart::default() });
    }
    WireContent { parts, role: Some(Cow::Borrowed("model")), rest: Rest::new() }
}

/// Writes a part of an answer.
pub(super) fn write_part(part: &Part) -> Option<WirePart<'_>> {
    let signature = part.signature.as_ref().map(|signature| Cow::Owned(signature.to_field(HERE)));
    parts::write(part, signature, true, Rest::new())
}

/// Writes a call, with the reasoning before it in its id: who answers a call brings the id back, and often not the
/// thoughts.
pub(super) fn write_call(part: &Part, reasoning: Vec<CarriedReasoning>) -> Option<WirePart<'_>> {
    let mut wire = write_part(part)?;
    if let (Some(call), false) = (&mut wire.function_call, reasoning.is_empty()) {
        let id = call.id.take().unwrap_or_default();
        call.id = Some(Cow::Owned(attach_to_id(&id, &Carried { signature: None, reasoning })));
    }
    Some(wire)
}

/// What a later call's id carries of a part: only reasoning with a foreign proof is worth it.
pub(super) fn carried(part: &Part) -> Option<CarriedReasoning> {
    let text = match &part.content {
        Content::Reasoning { text } => Some(text.clone()),
        Content::RedactedReasoning => None,
        _ => return None,
    };
    let signature = part.signature.clone().filter(|signature| signature.origin != HERE)?;
    Some(CarriedReasoning { text, signature })
}

/// A call whose arguments are no JSON object cannot be written, and must not be called with others. It is reported as
/// Google reports such calls of its own models: by the finish reason, with what the model wrote in the message.
pub(super) fn is_malformed(call: &ToolCall) -> bool {
    !call.free_text && parts::as_object(&call.arguments).is_none()
}

/// The message for calls that cannot be written.
pub(super) fn malformed_message<'a>(calls: impl IntoIterator<Item = &'a ToolCall>) -> String {
    let calls: Vec<String> =
        calls.into_iter().map(|call| format!("{}({})", call.name, call.arguments)).collect();
    format!("Malformed function call: {}", calls.join("; "))
}

/// Writes log probabilities; `None` where there are none.
pub(super) fn write_logprobs(tokens: &[TokenLogprob]) -> Option<LogprobsResult> {
    if tokens.is_empty() {
        return None;
    }
    let one = |token: &TokenLogprob| LogprobsCandidate {
        token: Some(token.token.clone()),
        log_probability: Some(token.logprob),
    };
    let has_top = tokens.iter().any(|token| !token.top.is_empty());
    let top = |token: &TokenLogprob| TopCandidates { candidates: token.top.iter().map(one).collect() };
    Some(LogprobsResult {
        chosen_candidates: tokens.iter().map(one).collect(),
        top_candidates: if has_top { tokens.iter().map(top).collect() } else { Vec::new() },
    })
}

/// Writes a value whose parts all have a JSON form.
pub(super) fn to_json(value: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(value).map(Bytes::from).unwrap_or_default()
}
