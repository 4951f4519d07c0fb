//! Whole answers, both ways. Called through the codec, and by the tap on answers that pass through.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::fields::{Fields, Path, items_of, to_value};
use super::HERE;
use super::assistant::{Standing, google_extra, inner_rest, parse_said};
use super::finish::{failure_of, finish_word, parse_finish};
use super::media::url_of;
use super::parts::{render_image, render_part};
use super::reasoning::{render_detail, render_encrypted};
use super::turns::{WRITTEN_IN_MESSAGE, add_leftovers, audio_object, render_call};
use super::types::{Call, ContentPart, Message, MessageContent, Nullable, Without};
use super::usage::{leftovers, parse_usage, render_usage};
use crate::carry::{Carried, CarriedReasoning, Signature, attach_to_id};
use crate::conversation::{Citation, Content, MediaKind, Part, Rest};
use crate::failure::ProviderError;
use crate::json::{self, Document, Kind};
use crate::reply::{Choice, FinishReason, Reply, TokenLogprob};
use crate::tap::Tapped;
use crate::{ReplyError, ReplyOptions, RequestError, ServedTier, TargetTraits};

/// Fields of an answer's `rest` that are written inside other objects.
const WRITTEN_ELSEWHERE: &[&str] = &["usage"];
const WRITTEN_IN_CHOICE: &[&str] = &["message", "logprobs"];

pub(super) fn parse_reply(body: &[u8]) -> Result<Reply, ReplyError> {
    let fields = Fields::of_body(body).map_err(malformed)?;
    if fields.has("error") {
        return Err(ReplyError::Provider(super::error::parse_in_band(body)));
    }
    // Some servers answer an error with a 200 and no `error` around it.
    if !fields.has("choices") && (fields.has("message") || fields.has("detail")) {
        return Err(ReplyError::Provider(super::error::parse_in_band(body)));
    }
    read_reply(fields).map_err(|mistake| match mistake {
        Mistake::Request(error) => malformed(error),
        Mistake::Provider(error) => ReplyError::Provider(error),
    })
}

/// An ordinary answer is one choice that says something in words. Every answer comes by here, so each part is gone through once.
pub(super) fn glance(answer: &Document) -> Option<Tapped> {
    let mut choices = answer.get("choices")?.elements();
    let choice = choices.next()?;
    if choices.next().is_some() || answer.get("error").is_some_and(|error| !error.is_null()) {
        return None;
    }
    let (mut message, mut word) = (None, None);
    for (key, value) in choice.members() {
        if key.is("message") {
            message = Some(value);
        } else if key.is("finish_reason") {
            word = Some(value.as_string()?);
        } else if key.is("error") && !value.is_null() {
            return None;
        }
    }
    let mut says_something = false;
    for (key, value) in message?.members() {
        if key.is("content") {
            says_something = value.kind() == Kind::String;
        } else if (key.is("tool_calls") || key.is("function_call")) && !value.is_null() {
            return None;
        }
    }
    let word = word?;
    if !says_something || failure_of(&word).is_some() {
        return None;
    }
    let usage = answer.get("usage").and_then(parse_usage).unwrap_or_default();
    let tier = answer.get("service_tier").and_then(json::Value::as_string);
    let tier = ServedTier::of_answer(HERE, tier.as_deref(), None);
    Some(Tapped { usage, tier, finish: Some(parse_finish(&word, false).reason) })
}

/// What may be wrong inside an answer.
enum Mistake {
    Request(RequestError),
    Provider(ProviderError),
}

impl From<RequestError> for Mistake {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

fn read_reply(mut fields: Fields<'_>) -> Result<Reply, Mistake> {
    let path = Path::ROOT;
    let mut reply = Reply::new(HERE);
    reply.id = fields.take_text("id", &path)?.unwrap_or_default();
    reply.model = fields.take_text("model", &path)?.unwrap_or_default();
    reply.created = take_time(&mut fields, &path)?;
    let choices = path.field("choices");
    let raw = fields.take("choices").ok_or_else(|| choices.mistake("this field is required"))?;
    for (index, raw) in items_of(raw, &choices)?.into_iter().enumerate() {
        reply.choices.push(read_choice(raw, &reply.id, index, &choices.item(index))?);
    }
    if let Some(raw) = fields.take("usage") {
        let usage = to_value(raw, &path.field("usage"))?;
        reply.usage = parse_usage(&usage).unwrap_or_default();
        if let Some(rest) = leftovers(usage) {
            reply.rest.insert("usage".to_owned(), rest);
        }
    }
    reply.service_tier = fields.take_text("service_tier", &path)?.filter(|tier| !tier.is_empty());
    fields.take("object");
    reply.rest.extend(fields.into_rest(&path)?);
    Ok(reply)
}

/// Some servers write the time with a fraction.
fn take_time(fields: &mut Fields<'_>, path: &Path<'_>) -> Result<Option<i64>, RequestError> {
    let Some(raw) = fields.take("created") else { return Ok(None) };
    Ok(read_time(&to_value(raw, &path.field("created"))?))
}

pub(super) fn read_time(value: &Value) -> Option<i64> {
    let whole = || format!("{:.0}", value.as_f64()?.floor()).parse().ok();
    value.as_i64().or_else(whole).filter(|time| *time > 0)
}

fn read_choice(raw: &RawValue, answer: &str, position: usize, path: &Path<'_>) -> Result<Choice, Mistake> {
    let mut fields = Fields::of(raw, path)?;
    if let Some(error) = fields.take("error") {
        return Err(Mistake::Provider(super::error::parse_error_value(&to_value(error, path)?)));
    }
    let mut choice = Choice {
        index: fields.take_as("index", path, "a whole number")?.or(u32::try_from(position).ok()).unwrap_or(0),
        ..Choice::default()
    };
    if let Some(raw) = fields.take("message") {
        let path = path.field("message");
        let mut message = Fields::of(raw, &path)?;
        message.take("role");
        let said = parse_said(&mut message, &path, Standing { number: position, answer })?;
        choice.parts = said.parts;
        let mut rest = message.into_rest(&path)?;
        rest.extend(said.rest);
        if !rest.is_empty() {
            choice.rest.insert("message".to_owned(), Value::Object(rest));
        }
    }
    if let Some(raw) = fields.take("logprobs") {
        let (tokens, rest) = parse_logprobs(to_value(raw, path)?);
        choice.logprobs = tokens;
        if let Some(rest) = rest {
            choice.rest.insert("logprobs".to_owned(), rest);
        }
    }
    let has_calls = choice.parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
    let word = fields.take_text("finish_reason", path)?.unwrap_or_default();
    if let Some(error) = failure_of(&word) {
        return Err(Mistake::Provider(error));
    }
    // An answer that is whole has ended, even where the server does not say why.
    choice.finish = Some(parse_finish(&word, has_calls));
    choice.rest.extend(fields.into_rest(path)?);
    Ok(choice)
}

fn malformed(error: RequestError) -> ReplyError {
    let detail = match error.param {
        Some(param) => format!("{param}: {}", error.message),
        None => error.message,
    };
    ReplyError::Malformed { dialect: HERE, detail }
}

#[derive(Debug, Deserialize, Serialize)]
struct WireLogprob {
    token: String,
    logprob: f64,
    #[serde(default)]
    bytes: Option<Vec<u8>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<Vec<WireLogprob>>,
}

impl From<WireLogprob> for TokenLogprob {
    fn from(wire: WireLogprob) -> Self {
        let top = wire.top_logprobs.unwrap_or_default().into_iter().map(Into::into).collect();
        Self { token: wire.token, logprob: wire.logprob, bytes: wire.bytes, top }
    }
}

impl From<&TokenLogprob> for WireLogprob {
    fn from(token: &TokenLogprob) -> Self {
        Self {
            token: token.token.clone(),
            logprob: token.logprob,
            bytes: token.bytes.clone(),
            top_logprobs: Some(
                token.top.iter().map(|top| Self { top_logprobs: None, ..top.into() }).collect(),
            ),
        }
    }
}

/// The tokens, and what else stood there (those of a refusal, or another server's form).
pub(super) fn parse_logprobs(mut value: Value) -> (Vec<TokenLogprob>, Option<Value>) {
    let Some(fields) = value.as_object_mut() else { return (Vec::new(), None) };
    let mut tokens = Vec::new();
    if let Some(content) = fields.get("content")
        && let Ok(wire) = Option::<Vec<WireLogprob>>::deserialize(content)
    {
        tokens = wire.unwrap_or_default().into_iter().map(Into::into).collect();
        fields.shift_remove("content");
    }
    fields.retain(|_, value| !value.is_null());
    let rest = (!fields.is_empty()).then_some(value);
    (tokens, rest)
}

pub(super) fn render_logprobs(tokens: &[TokenLogprob], rest: Option<&Value>) -> Value {
    let wire: Vec<WireLogprob> = tokens.iter().map(Into::into).collect();
    let mut rendered = json!({ "content": wire, "refusal": null });
    if let (Some(fields), Some(Value::Object(rest))) = (rendered.as_object_mut(), rest) {
        fields.extend(rest.clone());
    }
    rendered
}

#[derive(Serialize)]
struct WireReply<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: Vec<WireChoice<'a>>,
    usage: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'a str>,
    #[serde(flatten)]
    rest: Without<'a>,
}

#[derive(Serialize)]
struct WireChoice<'a> {
    index: u32,
    message: Message<'a>,
    logprobs: Option<Value>,
    finish_reason: Cow<'a, str>,
    #[serde(flatten)]
    rest: Without<'a>,
}

pub(super) fn render_reply(reply: &Reply, options: &ReplyOptions) -> Bytes {
    let is_own = reply.origin == HERE;
    let id = if reply.id.is_empty() { &options.fallback_id } else { &reply.id };
    let wire = WireReply {
        id,
        object: "chat.completion",
        created: reply.created.unwrap_or(options.now),
        model: &reply.model,
        choices: reply.choices.iter().map(|choice| render_choice(choice, is_own, id, options)).collect(),
        usage: render_usage(&reply.usage, reply.rest.get("usage").filter(|_| is_own)),
        service_tier: reply.service_tier.as_deref(),
        rest: Without { rest: Some(&reply.rest).filter(|_| is_own), names: WRITTEN_ELSEWHERE },
    };
    super::to_bytes(&wire)
}

fn render_choice<'a>(choice: &'a Choice, is_own: bool, id: &str, options: &ReplyOptions) -> WireChoice<'a> {
    let message = render_message(choice, is_own, id, options);
    let has_calls = !message.tool_calls.is_empty() || message.function_call.is_some();
    let reason = choice
        .finish
        .as_ref()
        .map_or(if has_calls { FinishReason::ToolCalls } else { FinishReason::Stop }, |finish| finish.reason);
    let native = choice.finish.as_ref().and_then(|finish| finish.native.as_deref()).filter(|_| is_own);
    let rest = choice.rest.get("logprobs").filter(|_| is_own);
    let has_logprobs = !choice.logprobs.is_empty() || rest.is_some();
    WireChoice {
        index: choice.index,
        message,
        logprobs: has_logprobs.then(|| render_logprobs(&choice.logprobs, rest)),
        finish_reason: native.unwrap_or_else(|| finish_word(reason, options.legacy_functions)).into(),
        rest: Without { rest: Some(&choice.rest).filter(|_| is_own), names: WRITTEN_IN_CHOICE },
    }
}

fn render_message<'a>(choice: &'a Choice, is_own: bool, id: &str, options: &ReplyOptions) -> Message<'a> {
    // Whatever this wire has a field for is written.
    let traits = TargetTraits { google_signatures: true, ..TargetTraits::default() };
    let mut message = Message {
        role: "assistant",
        refusal: Some(Nullable::Null),
        rest: Without {
            rest: inner_rest(&choice.rest, "message").filter(|_| is_own),
            names: WRITTEN_IN_MESSAGE,
        },
        ..Message::default()
    };
    let mut content = Vec::new();
    let mut texts: Vec<&str> = Vec::new();
    let mut since_last_call = Vec::new();
    for part in &choice.parts {
        match &part.content {
            Content::Text { text, citations } => {
                texts.push(text);
                content.extend(render_part(part, &traits, is_own));
                message.annotations.extend(citations.iter().filter_map(render_citation));
                if let Some(extra) = part.signature.as_ref().and_then(google_extra) {
                    message.extra_content = Some(extra);
                }
            }
            Content::Reasoning { .. } | Content::RedactedReasoning => since_last_call.extend(carried(part)),
            Content::ToolCall(call) => {
                let id = carrying_id(&call.id, part.signature.as_ref(), std::mem::take(&mut since_last_call));
                message.tool_calls.push(render_call(part, call, id.into(), &traits, is_own));
            }
            Content::Refusal(text) => message.refusal = Some(Nullable::Value(text.into())),
            Content::Media(media) => match media.kind {
                MediaKind::Image => message.images.extend(url_of(media).map(render_image)),
                MediaKind::Audio => message.audio = Some(spoken(part, media, is_own, id)),
                MediaKind::Document | MediaKind::Video => {}
            },
            Content::Native(native) if native.dialect == HERE => {
                content.push(ContentPart::Native(&native.value));
            }
            Content::Native(_) | Content::ToolResult(_) => {}
        }
    }
    write_reasoning(&mut message, &choice.parts, is_own);
    if let Some(rest) = inner_rest(&choice.rest, "message").filter(|_| is_own) {
        add_leftovers(&mut message, rest);
    }
    let has_native = content.len() > texts.len();
    let is_silent = !message.tool_calls.is_empty()
        || message.audio.is_some()
        || matches!(message.refusal, Some(Nullable::Value(_)));
    message.content = Some(match texts.as_slice() {
        _ if has_native => MessageContent::Parts(content),
        [] if is_silent => MessageContent::Null,
        [only] => MessageContent::Text((*only).into()),
        several => MessageContent::Text(several.concat().into()),
    });
    if options.legacy_functions
        && let Some(Call { function: Some(function), .. }) = message.tool_calls.drain(..).next()
    {
        message.function_call = Some(function);
    }
    message
}

/// Reasoning in words for everybody, and as details where there is more to it than the words.
fn write_reasoning<'a>(message: &mut Message<'a>, parts: &'a [Part], is_own: bool) {
    let is_reasoning =
        |part: &&Part| matches!(part.content, Content::Reasoning { .. } | Content::RedactedReasoning);
    let blocks: Vec<&Part> = parts.iter().filter(is_reasoning).collect();
    let texts: Vec<&str> = blocks
        .iter()
        .filter_map(|part| match &part.content {
            Content::Reasoning { text } if !text.is_empty() => Some(text.as_str()),
            _ => None,
        })
        .collect();
    message.reasoning_content = match texts.as_slice() {
        [] => None,
        [only] => Some((*only).into()),
        several => Some(several.concat().into()),
    };
    let has_more = |part: &&Part| part.signature.is_some() || (is_own && !part.rest.is_empty());
    if blocks.len() > 1 || blocks.iter().any(has_more) {
        message.reasoning_details = blocks
            .iter()
            .enumerate()
            .filter_map(|(index, part)| match (&part.content, &part.signature) {
                (Content::Reasoning { text }, signature) => {
                    let rest = Some(&part.rest).filter(|_| is_own);
                    Some(render_detail(index, Some(text), signature.as_ref(), rest))
                }
                (_, Some(signature)) => Some(render_encrypted(index, signature)),
                (_, None) => None,
            })
            .collect();
    }
}

/// What a later call's id carries of a block: only what has a foreign proof is worth it.
pub(super) fn carried(part: &Part) -> Option<CarriedReasoning> {
    let signature = part.signature.clone().filter(|signature| signature.origin != HERE)?;
    let text = match &part.content {
        Content::Reasoning { text } => Some(text.clone()),
        _ => None,
    };
    Some(CarriedReasoning { text, signature })
}

/// The id that the caller sees.
pub(super) fn carrying_id(
    id: &str,
    signature: Option<&Signature>,
    reasoning: Vec<CarriedReasoning>,
) -> String {
    let signature = signature.filter(|signature| signature.origin != HERE).cloned();
    attach_to_id(id, &Carried { signature, reasoning })
}

pub(super) fn render_citation(citation: &Citation) -> Option<Cow<'_, Value>> {
    if let Some(native) = citation.native.as_ref().filter(|native| native.dialect == HERE) {
        return Some(Cow::Borrowed(&native.value));
    }
    // Only sources on the web have a form here.
    let url = citation.url.as_deref()?;
    let mut inner = Rest::new();
    inner.insert("url".to_owned(), url.into());
    inner.insert("title".to_owned(), citation.title.as_deref().unwrap_or(url).into());
    inner.insert("start_index".to_owned(), citation.start.unwrap_or(0).into());
    inner.insert("end_index".to_owned(), citation.end.unwrap_or(0).into());
    if let Some(text) = &citation.cited_text {
        inner.insert("content".to_owned(), text.as_str().into());
    }
    Some(Cow::Owned(json!({ "type": "url_citation", "url_citation": inner })))
}

/// OpenAI's object for spoken output has an id, which clients send back in its place; others' sounds have none.
fn spoken(part: &Part, media: &crate::conversation::Media, is_own: bool, id: &str) -> Value {
    let data = match &media.source {
        crate::conversation::MediaSource::Base64(data) => data.as_str(),
        _ => "",
    };
    let empty = Rest::new();
    let rest = if is_own { &part.rest } else { &empty };
    let made_up = format!("audio_{id}");
    let id = (!rest.contains_key("id")).then_some(made_up.as_str());
    audio_object(id, Some(data), Some(media.transcript.as_deref().unwrap_or_default()), rest)
}
