//! What the model says in one message: read the same way in a request's history and in an answer. Called by `messages`
//! and `reply`; `decode` reads tool calls' extras with it.

use std::collections::HashMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::super::fields::{Fields, Path, items_of, to_value};
use super::media::{file_by_id, parse_media_url};
use super::parts::{parse_cache_marker, parse_content};
use super::reasoning::parse_details;
use super::{Dialect, HERE};
use crate::RequestError;
use crate::carry::{Carried, CarriedReasoning, Signature, detach_from_id, made_up_id};
use crate::conversation::{Citation, Content, Media, MediaKind, MediaSource, Native, Part, Rest, ToolCall};

/// The names of the tools called so far, by the calls' ids: a result names only the id.
pub(super) type ToolNames = HashMap<String, String>;

/// One message of the model, taken apart.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) parts: Vec<Part>,
    /// Whether it calls by the old `function_call`.
    pub(super) is_legacy: bool,
    /// What is left of fields that were read in part.
    pub(super) rest: Rest,
}

/// Where a message stands, for the ids of calls that came without one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing<'a> {
    /// The message's number in the request, or the choice's in the answer.
    pub(super) number: usize,
    /// The answer's id: ids made up in two answers must differ, or the next request holds one of them twice.
    pub(super) answer: &'a str,
}

impl Standing<'_> {
    pub(super) fn made_up_id(self, call: usize, name: &str) -> String {
        /// Enough of an answer's id to tell it from the others of one conversation.
        const KEPT: usize = 12;
        let letters: Vec<char> = self.answer.chars().filter(char::is_ascii_alphanumeric).collect();
        let suffix: String = letters.iter().skip(letters.len().saturating_sub(KEPT)).collect();
        let separator = if suffix.is_empty() { "" } else { "_" };
        made_up_id(self.number, call, &format!("{suffix}{separator}{name}"))
    }
}

/// Takes everything out of a message's fields that the canonical model has a word for.
pub(super) fn parse_said(
    fields: &mut Fields<'_>,
    path: &Path<'_>,
    standing: Standing<'_>,
) -> Result<Said, RequestError> {
    let mut content = match fields.take("content") {
        Some(raw) => parse_content(raw, &path.field("content"))?,
        None => Vec::new(),
    };
    let mut rest = Rest::new();
    take_citations(fields, path, &mut content, &mut rest)?;
    take_text_signature(fields, path, &mut content, &mut rest)?;
    if let Some(refusal) = fields.take_text("refusal", path)?.filter(|refusal| !refusal.is_empty()) {
        content.push(Part::new(Content::Refusal(refusal)));
    }
    take_media(fields, path, &mut content)?;
    let (calls, is_legacy) = take_calls(fields, path, standing)?;
    let mut parts = take_reasoning(fields, path, &calls)?;
    let mut is_first = true;
    for (call, carried) in calls {
        parts.extend(carried.reasoning.into_iter().map(part_of_carried));
        // The reasoning before the first call came before the text as well.
        if std::mem::take(&mut is_first) {
            parts.append(&mut content);
        }
        parts.push(call);
    }
    parts.append(&mut content);
    if let Some(marker) = parse_cache_marker(fields)?
        && let Some(last) = parts.last_mut()
    {
        last.cache = Some(marker);
    }
    Ok(Said { parts, is_legacy, rest })
}

fn part_of_carried(carried: CarriedReasoning) -> Part {
    let content = match carried.text {
        Some(text) => Content::Reasoning { text },
        None => Content::RedactedReasoning,
    };
    Part { signature: Some(carried.signature), ..Part::new(content) }
}

/// Reasoning stands in up to four places, mostly saying the same: in the calls' ids (which name its place exactly), in
/// `reasoning_details`, in `reasoning_content` and in `reasoning`. Nothing may come twice.
fn take_reasoning(
    fields: &mut Fields<'_>,
    path: &Path<'_>,
    calls: &[(Part, Carried)],
) -> Result<Vec<Part>, RequestError> {
    let details = match fields.take("reasoning_details") {
        Some(raw) => to_value(raw, &path.field("reasoning_details"))?,
        None => Value::Null,
    };
    let mut parts = parse_details(details.as_array().map_or(&[], Vec::as_slice));
    let mut text = None;
    for name in ["reasoning_content", "reasoning"] {
        if fields.peek_text(name).is_some() {
            text = text.or(fields.take_text(name, path)?.filter(|text| !text.is_empty()));
        }
    }
    let has_words =
        parts.iter().any(|part| matches!(&part.content, Content::Reasoning { text } if !text.is_empty()));
    let carried: Vec<&Signature> = calls
        .iter()
        .flat_map(|(_, carried)| &carried.reasoning)
        .map(|reasoning| &reasoning.signature)
        .collect();
    if let Some(text) = text
        && !has_words
        && carried.is_empty()
    {
        parts.insert(0, Part::new(Content::Reasoning { text }));
    }
    parts.retain(|part| part.signature.as_ref().is_none_or(|signature| !carried.contains(&signature)));
    Ok(parts)
}

/// `url_citation`s belong to the text; annotations of other kinds stay what they are.
fn take_citations(
    fields: &mut Fields<'_>,
    path: &Path<'_>,
    content: &mut Vec<Part>,
    rest: &mut Rest,
) -> Result<(), RequestError> {
    let position = content.iter().rposition(|part| matches!(part.content, Content::Text { .. }));
    let Some(raw) = fields.take("annotations") else { return Ok(()) };
    let value = to_value(raw, &path.field("annotations"))?;
    let mut others = Vec::new();
    let mut found = Vec::new();
    for annotation in value.as_array().cloned().unwrap_or_default() {
        match parse_citation(&annotation) {
            Some(citation) => found.push(citation),
            None => others.push(annotation),
        }
    }
    if !others.is_empty() {
        rest.insert("annotations".to_owned(), Value::Array(others));
    }
    if found.is_empty() {
        return Ok(());
    }
    let position = position.unwrap_or_else(|| {
        content.push(Part::text(""));
        content.len() - 1
    });
    if let Some(Part { content: Content::Text { citations, .. }, .. }) = content.get_mut(position) {
        *citations = found;
    }
    Ok(())
}

/// Reads a `url_citation`; `None` where the annotation is another.
pub(super) fn parse_citation(annotation: &Value) -> Option<Citation> {
    let inner = annotation.get("url_citation")?;
    let text = |name: &str| {
        inner.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let number = |name: &str| inner.get(name).and_then(Value::as_u64);
    Some(Citation {
        url: text("url"),
        title: text("title"),
        cited_text: text("content"),
        start: number("start_index"),
        end: number("end_index"),
        native: Some(Native { dialect: HERE, value: annotation.clone() }),
    })
}

/// Google's compatible endpoint signs a text beside it.
fn take_text_signature(
    fields: &mut Fields<'_>,
    path: &Path<'_>,
    content: &mut [Part],
    rest: &mut Rest,
) -> Result<(), RequestError> {
    let Some(raw) = fields.take("extra_content") else { return Ok(()) };
    let mut extra = to_value(raw, &path.field("extra_content"))?;
    let signature = take_google_signature(&mut extra);
    let last = content.iter_mut().rfind(|part| matches!(part.content, Content::Text { .. }));
    if let (Some(signature), Some(part)) = (signature, last) {
        part.signature = Some(signature);
    }
    if let Value::Object(extra) = extra
        && !extra.is_empty()
    {
        rest.insert("extra_content".to_owned(), Value::Object(extra));
    }
    Ok(())
}

/// Takes Gemini's thought signature out of an `extra_content`, and the objects around it that are empty then.
pub(super) fn take_google_signature(extra: &mut Value) -> Option<Signature> {
    let google = extra.get_mut("google")?.as_object_mut()?;
    let signature = google.shift_remove("thought_signature");
    if google.is_empty() {
        extra.as_object_mut()?.shift_remove("google");
    }
    let signature = signature?;
    let field = signature.as_str().filter(|field| !field.is_empty())?;
    Some(Signature::from_field(field, Dialect::Gemini))
}

/// Writes Gemini's thought signature; other dialects' are nothing to Google.
pub(super) fn google_extra(signature: &Signature) -> Option<Value> {
    (signature.origin == Dialect::Gemini)
        .then(|| json!({ "google": { "thought_signature": signature.data } }))
}

fn take_media(fields: &mut Fields<'_>, path: &Path<'_>, content: &mut Vec<Part>) -> Result<(), RequestError> {
    if let Some(raw) = fields.take("images") {
        let path = path.field("images");
        for (index, raw) in items_of(raw, &path)?.into_iter().enumerate() {
            let path = path.item(index);
            let mut image = Fields::of(raw, &path)?;
            let media = parse_media_url(&mut image, "image_url", MediaKind::Image, &path)?;
            content.push(Part::new(Content::Media(media)));
        }
    }
    if let Some(raw) = fields.take("audio") {
        let path = path.field("audio");
        content.extend(parse_audio(Fields::of(raw, &path)?, &path)?);
    }
    Ok(())
}

/// Spoken output, or in a request the id of what was spoken before. Some servers write an empty object for none.
fn parse_audio(mut audio: Fields<'_>, path: &Path<'_>) -> Result<Option<Part>, RequestError> {
    let id = audio.take_text("id", path)?.filter(|id| !id.is_empty());
    let data = audio.take_text("data", path)?.filter(|data| !data.is_empty());
    let transcript = audio.take_text("transcript", path)?.filter(|transcript| !transcript.is_empty());
    if id.is_none() && data.is_none() && transcript.is_none() {
        return Ok(None);
    }
    let mut rest = audio.into_rest(path)?;
    let media = match (data, id) {
        (None, Some(id)) if transcript.is_none() => file_by_id(MediaKind::Audio, id),
        (data, id) => {
            if let Some(id) = id {
                rest.insert("id".to_owned(), id.into());
            }
            Media {
                kind: MediaKind::Audio,
                media_type: None,
                source: MediaSource::Base64(data.unwrap_or_default()),
                name: None,
                detail: None,
                transcript,
            }
        }
    };
    Ok(Some(Part { rest, ..Part::new(Content::Media(media)) }))
}

fn take_calls(
    fields: &mut Fields<'_>,
    path: &Path<'_>,
    standing: Standing<'_>,
) -> Result<(Vec<(Part, Carried)>, bool), RequestError> {
    let mut calls = Vec::new();
    if let Some(raw) = fields.take("tool_calls") {
        let path = path.field("tool_calls");
        for (index, raw) in items_of(raw, &path)?.into_iter().enumerate() {
            calls.push(parse_call(raw, &path.item(index), standing, index)?);
        }
    }
    let Some(raw) = fields.take("function_call") else { return Ok((calls, false)) };
    let path = path.field("function_call");
    let mut function = Fields::of(raw, &path)?;
    let name = function.take_text("name", &path)?.unwrap_or_default();
    let arguments = take_arguments(&mut function, "arguments", &path)?;
    // Some servers write an empty call for none.
    if name.is_empty() {
        return Ok((calls, false));
    }
    let id = standing.made_up_id(calls.len(), &name);
    let call = ToolCall { id, name, arguments, free_text: false };
    calls.push((Part::new(Content::ToolCall(call)), Carried::default()));
    Ok((calls, true))
}

fn parse_call(
    raw: &RawValue,
    path: &Path<'_>,
    standing: Standing<'_>,
    index: usize,
) -> Result<(Part, Carried), RequestError> {
    let mut fields = Fields::of(raw, path)?;
    let whole_id = fields.take_text("id", path)?.unwrap_or_default();
    let free_text = fields.take_text("type", path)?.as_deref() == Some("custom");
    let (used, unused, text) =
        if free_text { ("custom", "function", "input") } else { ("function", "custom", "arguments") };
    // Some servers write the other kind's object as well, empty.
    fields.take(unused);
    let inner_path = path.field(used);
    let inner = fields.take(used).ok_or_else(|| inner_path.mistake("this field is required"))?;
    let mut inner = Fields::of(inner, &inner_path)?;
    let name = inner.require_text("name", &inner_path)?;
    let arguments = take_arguments(&mut inner, text, &inner_path)?;
    let inner_rest = inner.into_rest(&inner_path)?;
    let (own_id, mut carried) = detach_from_id(&whole_id);
    let id = if own_id.is_empty() { standing.made_up_id(index, &name) } else { own_id.to_owned() };
    let mut signature = carried.signature.take();
    let mut rest = Map::new();
    if let Some(raw) = fields.take("extra_content") {
        let mut extra = to_value(raw, &path.field("extra_content"))?;
        signature = take_google_signature(&mut extra).or(signature);
        if extra.as_object().is_none_or(|extra| !extra.is_empty()) {
            rest.insert("extra_content".to_owned(), extra);
        }
    }
    let cache = parse_cache_marker(&mut fields)?;
    rest.extend(fields.into_rest(path)?);
    // The place in the list says the same.
    if rest.get("index").and_then(Value::as_u64).and_then(|place| usize::try_from(place).ok()) == Some(index)
    {
        rest.shift_remove("index");
    }
    if !inner_rest.is_empty() {
        rest.insert(used.to_owned(), Value::Object(inner_rest));
    }
    let call = ToolCall { id, name, arguments, free_text };
    Ok((Part { signature, cache, rest, ..Part::new(Content::ToolCall(call)) }, carried))
}

/// Arguments are JSON text in a string; a few servers and clients write the object itself.
fn take_arguments(
    fields: &mut Fields<'_>,
    name: &'static str,
    path: &Path<'_>,
) -> Result<String, RequestError> {
    if fields.peek_text(name).is_some() {
        return fields.require_text(name, path);
    }
    Ok(fields.take(name).map_or_else(String::new, |raw| raw.get().to_owned()))
}

/// Notes the names of the calls among these parts.
pub(super) fn note_names(parts: &[Part], names: &mut ToolNames) {
    for part in parts {
        if let Content::ToolCall(call) = &part.content {
            names.insert(call.id.clone(), call.name.clone());
        }
    }
}

/// Parts of `rest` that are objects of their own on the wire (`function`, `message`).
pub(super) fn inner_rest<'a>(rest: &'a Rest, name: &str) -> Option<&'a Rest> {
    rest.get(name).and_then(Value::as_object)
}
