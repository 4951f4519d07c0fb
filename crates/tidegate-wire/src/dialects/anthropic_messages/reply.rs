//! Whole answers, both ways. Called through the codec.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use super::super::fields::{Fields, Path, items_of, to_value};
use super::blocks::{HERE, ToolNames, push_block};
use super::types::{Block, Without};
use super::usage::{UsageReader, WireUsage};
use crate::carry::{Carried, Signature, attach_to_id};
use crate::conversation::{Citation, Content, Media, MediaKind, Part, Rest};
use crate::json::{self, Document, Kind};
use crate::reply::{Choice, Finish, FinishReason, Reply};
use crate::tap::Tapped;
use crate::{Dialect, ReplyError, ReplyOptions, RequestError};

/// Stands for "some other dialect" in a wrapped field that only has to say that its block is not Anthropic's own.
const ELSEWHERE: Dialect = Dialect::OpenAiChat;

/// Fields of a canonical `rest` that are written inside other objects.
const WRITTEN_ELSEWHERE: &[&str] = &["usage"];

pub(super) fn parse_reply(body: &[u8]) -> Result<Reply, ReplyError> {
    let fields = Fields::of_body(body).map_err(malformed)?;
    if fields.peek_text("type").as_deref() == Some("error") || fields.has("error") {
        return Err(ReplyError::Provider(super::error::parse_in_band(body)));
    }
    read_reply(fields).map_err(malformed)
}

/// An ordinary answer is one whose blocks all say what they are.
pub(super) fn glance(answer: &Document) -> Option<Tapped> {
    let is_text = |value: json::Value<'_>| value.kind() == Kind::String;
    let is_ordinary = answer.get("type")?.as_string()? == "message"
        && answer.get("error").is_none()
        && answer.get("content").is_some_and(|content| content.kind() == Kind::Array);
    let mut blocks = answer.get("content")?.elements();
    if !is_ordinary || !blocks.all(|block| block.get("type").is_some_and(is_text)) {
        return None;
    }
    let finish = match answer.get("stop_reason") {
        Some(word) if !word.is_null() => Some(reason_of(&word.as_string()?)),
        _ => None,
    };
    let mut usage = UsageReader::default();
    if let Some(counts) = answer.get("usage") {
        usage.read(&counts.deserialize().ok()?);
    }
    Some(Tapped { usage: usage.total(), tier: usage.served_tier(), finish })
}

fn read_reply(mut fields: Fields<'_>) -> Result<Reply, RequestError> {
    let path = Path::ROOT;
    let mut reply = Reply::new(HERE);
    reply.id = fields.take_text("id", &path)?.unwrap_or_default();
    reply.model = fields.take_text("model", &path)?.unwrap_or_default();
    let mut choice = Choice::default();
    let content = path.field("content");
    let blocks = match fields.take("content") {
        Some(blocks) => items_of(blocks, &content)?,
        None if fields.peek_text("type").as_deref() == Some("message") => Vec::new(),
        None => return Err(content.mistake("this field is required")),
    };
    let mut names = ToolNames::new();
    for (index, block) in blocks.into_iter().enumerate() {
        push_block(block, &content.item(index), &mut names, &mut choice.parts)?;
    }
    let stop_sequence = fields.take_text("stop_sequence", &path)?;
    choice.finish = fields.take_text("stop_reason", &path)?.map(|word| parse_finish(word, stop_sequence));
    if let Some(details) = fields.take("stop_details") {
        choice.rest.insert("stop_details".to_owned(), to_value(details, &path)?);
    }
    let mut usage = UsageReader::default();
    if let Some(raw) = fields.take("usage") {
        usage.read(&to_value(raw, &path.field("usage"))?);
    }
    fields.take("type");
    fields.take("role");
    reply.rest = fields.into_rest(&path)?;
    usage.finish(&mut reply);
    reply.choices.push(choice);
    Ok(reply)
}

pub(super) fn malformed(error: RequestError) -> ReplyError {
    let detail = match error.param {
        Some(param) => format!("{param}: {}", error.message),
        None => error.message,
    };
    ReplyError::Malformed { dialect: HERE, detail }
}

#[derive(Serialize)]
struct WireReply<'a> {
    id: Cow<'a, str>,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<Block<'a>>,
    stop_reason: Option<Cow<'a, str>>,
    stop_sequence: Option<&'a str>,
    usage: WireUsage<'a>,
    #[serde(flatten)]
    choice_rest: Option<&'a Rest>,
    #[serde(flatten)]
    rest: Without<'a>,
}

/// Of several choices only the first can be expressed.
pub(super) fn render_reply(reply: &Reply, options: &ReplyOptions) -> Bytes {
    let is_own = reply.origin == HERE;
    let choice = reply.choices.first();
    let parts = choice.map_or(&[][..], |choice| &choice.parts);
    let finish = choice.and_then(|choice| choice.finish.as_ref());
    let stop_reason = match finish {
        None if is_own => None,
        Some(finish) if is_own => {
            Some(finish.native.as_deref().map_or_else(|| word_of(finish, parts).into(), Cow::Borrowed))
        }
        None => Some(word_of(&Finish::new(FinishReason::Stop), parts).into()),
        Some(finish) => Some(word_of(finish, parts).into()),
    };
    let usage_rest = reply.rest.get("usage").and_then(Value::as_object).filter(|_| is_own);
    let wire = WireReply {
        id: wire_id(&reply.id, is_own, options),
        kind: "message",
        role: "assistant",
        model: &reply.model,
        content: parts.iter().filter_map(|part| answer_block(part, is_own)).collect(),
        stop_reason,
        stop_sequence: finish.and_then(|finish| finish.stop_sequence.as_deref()),
        usage: WireUsage::new(
            &reply.usage,
            reply.service_tier.as_deref().filter(|tier| is_own || is_tier(tier)),
            usage_rest,
        ),
        choice_rest: choice.map(|choice| &choice.rest).filter(|_| is_own),
        rest: Without { rest: Some(&reply.rest).filter(|_| is_own), names: WRITTEN_ELSEWHERE },
    };
    super::to_bytes(&wire)
}

/// The id in this wire's form.
pub(super) fn wire_id<'a>(id: &'a str, is_own: bool, options: &'a ReplyOptions) -> Cow<'a, str> {
    let id = if id.is_empty() { &options.fallback_id } else { id };
    if is_own || id.starts_with("msg_") { id.into() } else { format!("msg_{id}").into() }
}

/// Tiers that this wire has a word for.
pub(super) fn is_tier(tier: &str) -> bool {
    matches!(tier, "default" | "priority" | "batch")
}

pub(super) fn parse_finish(word: String, stop_sequence: Option<String>) -> Finish {
    Finish { reason: reason_of(&word), native: Some(word), stop_sequence }
}

fn reason_of(word: &str) -> FinishReason {
    match word {
        "end_turn" => FinishReason::Stop,
        "stop_sequence" => FinishReason::StopSequence,
        "max_tokens" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::Refusal,
        "pause_turn" => FinishReason::Pause,
        "model_context_window_exceeded" => FinishReason::ContextWindow,
        _ => FinishReason::Other,
    }
}

/// This wire's word for why an answer ended. Clients run tools only when told `tool_use`, so an answer that holds calls
/// and merely stopped says so; one in which the model declined in words is a refusal.
fn word_of(finish: &Finish, parts: &[Part]) -> &'static str {
    let has = |wanted: fn(&Content) -> bool| parts.iter().any(|part| wanted(&part.content));
    stop_reason(
        finish,
        has(|content| matches!(content, Content::ToolCall(_))),
        has(|content| matches!(content, Content::Refusal(_))),
    )
}

pub(super) fn stop_reason(finish: &Finish, has_calls: bool, has_refusal: bool) -> &'static str {
    match finish.reason {
        FinishReason::Stop if has_calls => "tool_use",
        FinishReason::Stop if has_refusal => "refusal",
        FinishReason::Stop | FinishReason::MalformedCall => "end_turn",
        FinishReason::StopSequence => "stop_sequence",
        FinishReason::Length => "max_tokens",
        FinishReason::ToolCalls => "tool_use",
        FinishReason::ContentFilter | FinishReason::Refusal => "refusal",
        FinishReason::Pause => "pause_turn",
        FinishReason::ContextWindow => "model_context_window_exceeded",
        FinishReason::Other if finish.native.as_deref() == Some("compaction") => "compaction",
        FinishReason::Other => "end_turn",
    }
}

/// A part of an answer as a block for a caller of this wire; none where it has no form here.
fn answer_block(part: &Part, is_own: bool) -> Option<Block<'_>> {
    let rest = Some(&part.rest).filter(|_| is_own);
    Some(match &part.content {
        // An empty block would be refused when the caller brings it back.
        Content::Text { text, .. } if text.is_empty() && !is_own => return None,
        Content::Text { text, citations } => Block::Text {
            text: text.into(),
            citations: citations.iter().filter_map(wire_citation).collect(),
            cache_control: None,
            rest,
        },
        Content::Refusal(text) if text.is_empty() => return None,
        Content::Refusal(text) => Block::text(text.as_str()),
        Content::Reasoning { text } => Block::Thinking {
            thinking: text,
            signature: wire_signature(part.signature.as_ref(), is_own),
            rest,
        },
        Content::RedactedReasoning => {
            Block::RedactedThinking { data: part.signature.as_ref()?.to_field(HERE).into(), rest }
        }
        Content::ToolCall(call) => Block::ToolUse {
            id: wire_call_id(&call.id, part.signature.as_ref()),
            name: &call.name,
            input: super::turns::wire_input(call),
            cache_control: None,
            rest,
        },
        Content::Media(media) => Block::text(words_for_media(media)),
        Content::Native(native) if native.dialect == HERE => Block::Native(&native.value),
        Content::Native(_) | Content::ToolResult(_) => return None,
    })
}

/// A thinking block always has a signature. Reasoning from elsewhere without one gets a wrapped empty one, which keeps
/// the block from being sent to Anthropic as if it were its own.
pub(super) fn wire_signature(signature: Option<&Signature>, is_own: bool) -> Cow<'_, str> {
    match signature {
        Some(signature) if signature.origin == HERE => signature.data.as_str().into(),
        Some(signature) => signature.to_field(HERE).into(),
        None if is_own => "".into(),
        None => Signature::new(ELSEWHERE, "").to_field(HERE).into(),
    }
}

/// A call's id, with the signature that this wire has no field for.
pub(super) fn wire_call_id<'a>(id: &'a str, signature: Option<&Signature>) -> Cow<'a, str> {
    let foreign = signature.filter(|signature| signature.origin != HERE);
    match foreign {
        None => id.into(),
        Some(signature) => {
            let carried = Carried { signature: Some(signature.clone()), reasoning: Vec::new() };
            attach_to_id(id, &carried).into()
        }
    }
}

/// A citation on this wire: its own, or one of a web page. The index of the latter says that it is not Anthropic's, so
/// that it is left out when it comes back.
pub(super) fn wire_citation(citation: &Citation) -> Option<Cow<'_, Value>> {
    match &citation.native {
        Some(native) if native.dialect == HERE => Some(Cow::Borrowed(&native.value)),
        _ => {
            let url = citation.url.as_deref()?;
            Some(Cow::Owned(serde_json::json!({
                "type": "web_search_result_location",
                "url": url,
                "title": citation.title,
                "cited_text": citation.cited_text.as_deref().unwrap_or_default(),
                "encrypted_index": Signature::new(ELSEWHERE, "").to_field(HERE),
            })))
        }
    }
}

/// What stands for a medium that an answer on this wire cannot hold: what is said in it, or that there was one.
pub(super) fn words_for_media(media: &Media) -> String {
    if let Some(transcript) = media.transcript.as_ref().filter(|transcript| !transcript.is_empty()) {
        return transcript.clone();
    }
    let kind = match media.kind {
        MediaKind::Image => "an image",
        MediaKind::Audio => "a sound",
        MediaKind::Document => "a document",
        MediaKind::Video => "a video",
    };
    let media_type = media.media_type.as_deref().unwrap_or("unknown type");
    format!(
        "[The model answered with {kind} ({media_type}), which Anthropic's Messages format cannot carry.]"
    )
}
