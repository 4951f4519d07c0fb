//! Errors, both ways: what a provider says whole or inside a stream, and what a caller is told. Called through the codec
//! and by `reply` and `decode`.
//!
//! Compatible servers put their words in many places; all are looked through. What the words mean is for `wording`.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::wording::{Said, classify, retry_after};
use crate::failure::{CallerError, ErrorClass, ProviderError};
use crate::framing::encode_event;

/// The longest message taken over. Some servers echo the whole request in their errors.
const MAX_MESSAGE_CHARS: usize = 2_000;

/// How far into an error the words are looked for.
const MAX_DEPTH: usize = 4;

/// What was found in an error's body.
#[derive(Debug, Default)]
struct Found {
    message: Option<String>,
    error_type: Option<String>,
    code: Option<String>,
    param: Option<String>,
    /// The status that the error would have had, where it stands in band.
    status: Option<u16>,
    retry_delay: Option<String>,
    /// Words for the error beside `type` and `code`: what OpenRouter calls stable, and what the provider behind it said.
    more_codes: Vec<String>,
    /// OpenRouter's moderation says what it found. That is of the caller's words, whatever the status.
    has_findings: bool,
}

/// Reads an error answer.
pub(super) fn parse_error(status: u16, body: &[u8]) -> ProviderError {
    let found = match serde_json::from_slice::<Value>(body) {
        Ok(value) => find(&value),
        Err(_) => Found { message: plain_message(body), ..Found::default() },
    };
    conclude(found, Some(status))
}

/// Reads an error that stands where an answer should, under status 200.
pub(super) fn parse_in_band(body: &[u8]) -> ProviderError {
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => parse_error_value(&value),
        Err(_) => conclude(Found { message: plain_message(body), ..Found::default() }, None),
    }
}

pub(super) fn parse_error_value(value: &Value) -> ProviderError {
    conclude(find(value), None)
}

fn conclude(found: Found, status: Option<u16>) -> ProviderError {
    let more_codes = found.more_codes.iter().map(String::as_str);
    let codes: Vec<&str> = [&found.code, &found.error_type]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .chain(more_codes)
        .collect();
    let words = found.message.as_deref().unwrap_or_default();
    let retry_after = retry_after(found.retry_delay.as_deref(), words);
    let said = Said {
        codes: &codes,
        message: words,
        param: found.param.as_deref(),
        has_findings: found.has_findings,
        has_time: retry_after.is_some(),
    };
    let (kind, status) = classify(status.or(found.status), &said);
    let message = found
        .message
        .unwrap_or_else(|| format!("the provider answered with status {status} and no readable message"));
    ProviderError {
        kind,
        status,
        message: shortened(&message),
        error_type: found.error_type,
        code: found.code,
        param: found.param,
        retry_after,
    }
}

fn find(value: &Value) -> Found {
    let mut found = Found::default();
    look_into(value, &mut found, 0);
    found
}

/// Takes what is missing from this value, and from the objects that errors are wrapped in. What stands further out
/// counts where both say something, except for messages: the inner ones are nearer to the cause.
fn look_into(value: &Value, found: &mut Found, depth: usize) {
    if depth > MAX_DEPTH {
        return;
    }
    match value {
        Value::String(text) => keep(&mut found.message, Some(nested_text(text))),
        Value::Array(items) => {
            let messages: Vec<String> = items.iter().filter_map(validation_message).collect();
            if !messages.is_empty() {
                keep(&mut found.message, Some(messages.join("; ")));
            } else if let Some(first) = items.first() {
                look_into(first, found, depth + 1);
            }
        }
        Value::Object(fields) => look_into_fields(fields, found, depth),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn look_into_fields(fields: &Map<String, Value>, found: &mut Found, depth: usize) {
    if let Some(metadata) = fields.get("metadata") {
        look_into_metadata(metadata, found);
    }
    for name in ["error", "message", "detail", "error_msg", "msg", "error_message", "errors", "details"] {
        if let Some(inner) = fields.get(name) {
            if name == "details" {
                find_retry_delay(inner, found);
            } else {
                look_into(inner, found, depth + 1);
            }
        }
    }
    for (name, place) in [("type", &mut found.error_type), ("param", &mut found.param)] {
        keep(place, fields.get(name).and_then(Value::as_str).map(str::to_owned));
    }
    // Google's compatible endpoint has the word for the error in `status`.
    keep(&mut found.error_type, fields.get("status").and_then(Value::as_str).map(str::to_owned));
    for name in ["status_code", "code", "status"] {
        let number = fields.get(name).and_then(Value::as_u64).and_then(|number| u16::try_from(number).ok());
        if let Some(status) = number.filter(|status| (400..600).contains(status)) {
            found.status.get_or_insert(status);
        }
    }
    let innermost = fields.get("innererror").and_then(|inner| inner.get("code"));
    for code in [innermost, fields.get("code"), fields.get("error_code")].into_iter().flatten() {
        let code = match code {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            // A status in the place of a code says nothing that the status does not.
            Value::Number(number) if number.as_u64().is_none_or(|code| !(100..600).contains(&code)) => {
                Some(number.to_string())
            }
            _ => None,
        };
        keep(&mut found.code, code);
    }
}

/// What OpenRouter puts beside its message.
fn look_into_metadata(metadata: &Value, found: &mut Found) {
    let text = |name: &str| metadata.get(name).and_then(Value::as_str);
    // It repeats the provider behind it word for word, which says more than its own "Provider returned error".
    if let Some(raw) = text("raw") {
        keep(&mut found.message, Some(nested_text(raw)));
    }
    // The narrowest first.
    let names = ["limit_source", "error_type", "provider_code", "provider_error_code"];
    found.more_codes.extend(names.into_iter().filter_map(text).map(str::to_owned));
    let has_reasons =
        metadata.get("reasons").and_then(Value::as_array).is_some_and(|reasons| !reasons.is_empty());
    found.has_findings |= has_reasons || metadata.get("flagged_input").is_some_and(Value::is_string);
    let seconds = metadata.get("retry_after_seconds").and_then(Value::as_f64);
    keep(&mut found.retry_delay, seconds.map(|seconds| format!("{seconds}s")));
}

fn keep(place: &mut Option<String>, text: Option<String>) {
    if place.is_none() {
        *place = text.filter(|text| !text.trim().is_empty());
    }
}

/// Some gateways put the provider's JSON into a string.
fn nested_text(text: &str) -> String {
    let inner =
        text.trim_start().starts_with('{').then(|| serde_json::from_str::<Value>(text).ok()).flatten();
    let inner = inner.and_then(|value| find_shallow(&value));
    inner.unwrap_or_else(|| text.to_owned())
}

fn find_shallow(value: &Value) -> Option<String> {
    let inside = value.get("error").unwrap_or(value);
    let text = inside.get("message").or_else(|| inside.get("detail")).unwrap_or(inside);
    text.as_str().map(str::to_owned)
}

/// One entry of what FastAPI servers say about a request: where, and what.
fn validation_message(item: &Value) -> Option<String> {
    let message = item.get("msg").and_then(Value::as_str)?;
    let place: Vec<String> = item
        .get("loc")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|step| step.as_str().map(str::to_owned).or_else(|| Some(step.as_u64()?.to_string())))
        .collect();
    Some(if place.is_empty() { message.to_owned() } else { format!("{}: {message}", place.join(".")) })
}

fn find_retry_delay(details: &Value, found: &mut Found) {
    let delays = details.as_array().into_iter().flatten();
    let mut delays = delays.filter_map(|detail| detail.get("retryDelay").and_then(Value::as_str));
    keep(&mut found.retry_delay, delays.next().map(str::to_owned));
}

/// Text that is no JSON: a proxy's page, reduced to its title, or a sentence.
fn plain_message(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body.get(..body.len().min(64 * 1024)).unwrap_or_default());
    let lower = text.to_ascii_lowercase();
    let title = lower.find("<title>").map(|at| at + "<title>".len()).and_then(|start| {
        let end = lower.get(start..)?.find("</title>")? + start;
        text.get(start..end).map(|title| title.split_whitespace().collect::<Vec<_>>().join(" "))
    });
    let is_page = lower.trim_start().starts_with('<');
    let message = title.or_else(|| (!is_page).then(|| text.trim().to_owned()));
    message.filter(|message| !message.is_empty())
}

fn shortened(message: &str) -> String {
    match message.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

pub(super) fn render_error(error: &CallerError) -> Bytes {
    super::to_bytes(&error_object(error))
}

/// The SDKs raise whatever chunk holds an `error`; nothing follows it, so that no client takes the answer for whole.
pub(super) fn render_error_event(error: &CallerError) -> Bytes {
    let mut frame = Vec::new();
    encode_event(&mut frame, None, &render_error(error));
    frame.into()
}

fn error_object(error: &CallerError) -> Value {
    json!({
        "error": {
            "message": error.message,
            "type": type_word(error.class),
            "param": error.param,
            "code": error.code.as_deref().or_else(|| default_code(error.class)),
        }
    })
}

fn type_word(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::InvalidRequest
        | ErrorClass::NotFound
        | ErrorClass::MethodNotAllowed
        | ErrorClass::TooLarge => "invalid_request_error",
        ErrorClass::Authentication => "authentication_error",
        ErrorClass::Permission => "permission_error",
        ErrorClass::RateLimit => "rate_limit_error",
        ErrorClass::Budget => "insufficient_quota",
        ErrorClass::Overloaded => "overloaded_error",
        ErrorClass::Timeout => "timeout_error",
        ErrorClass::Upstream => "server_error",
    }
}

/// The codes that programs written against OpenAI look for.
fn default_code(class: ErrorClass) -> Option<&'static str> {
    match class {
        ErrorClass::Authentication => Some("invalid_api_key"),
        ErrorClass::RateLimit => Some("rate_limit_exceeded"),
        ErrorClass::Budget => Some("insufficient_quota"),
        _ => None,
    }
}
