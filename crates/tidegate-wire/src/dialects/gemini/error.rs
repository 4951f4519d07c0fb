//! Errors, both ways: Google's `{"error":{"code","message","status","details"}}`. Called through the codec and by
//! `decode.rs`.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::types::to_whole_number;
use crate::failure::wait_of_seconds;
use crate::own_words::OwnWords;
use crate::{CallerError, ErrorClass, FailureKind, ProviderError};

/// What a per-day limit or an unpaid plan says of itself; limits per minute pass by themselves.
const LASTING_QUOTAS: [&str; 2] = ["PerDay", "per_day"];
/// Wordings of a 429 that no waiting helps against.
const UNPAID: [&str; 4] = ["prepayment credits", "spending cap", "billing account", "credits are depleted"];
/// Reasons of an `ErrorInfo` that mean the key, whatever the status.
const KEY_REASONS: [&str; 9] = [
    "API_KEY_INVALID",
    "API_KEY_EXPIRED",
    "API_KEY_SERVICE_BLOCKED",
    "API_KEY_HTTP_REFERRER_BLOCKED",
    "API_KEY_IP_ADDRESS_BLOCKED",
    "ACCESS_TOKEN_EXPIRED",
    "ACCESS_TOKEN_TYPE_UNSUPPORTED",
    "CREDENTIALS_MISSING",
    "CONSUMER_SUSPENDED",
];
/// Wordings of a 400 that mean the key or where the gateway stands, not the request.
const KEY_WORDINGS: [&str; 4] =
    ["api key not valid", "api key expired", "api key not found", "user location is not supported"];
/// Wordings of a 400 that mean the input is too long.
const TOO_LONG: [&str; 4] = [
    "exceeds the maximum number of tokens allowed",
    "exceed the maximum number of tokens",
    "request payload tokens exceed",
    "input token count exceeds",
];
/// Wordings of a 400 that mean the content is not wanted.
const UNWANTED: [&str; 3] = ["safety policy", "prohibited use policy", "blocked by safety"];

/// Files and cached contents that a request names: that they are not there, or another key's, is said with a 403.
const OTHER_OBJECTS: [&str; 4] = [
    "permission to access the file",
    "cachedcontent not found",
    "cached content not found",
    "file not found",
];

/// Reads an error answer.
pub(super) fn parse_error(status: u16, body: &[u8]) -> ProviderError {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    // Streams asked for without `alt=sse` answer with a list of one.
    let object = match &parsed {
        Some(Value::Array(list)) => list.first(),
        other => other.as_ref(),
    };
    let error = object.and_then(|object| object.get("error")).filter(|error| !error.is_null());
    if let Some(error) = error {
        return read(Some(status), error);
    }
    let text = String::from_utf8_lossy(body);
    let text: String = text.trim().chars().take(500).collect();
    let message = if parsed.is_none() && !text.is_empty() && !text.starts_with('<') {
        text
    } else {
        format!("the provider answered with status {status} and said nothing more")
    };
    ProviderError {
        kind: kind_of(status, "", &message, &Details::default()),
        status,
        message,
        error_type: None,
        code: None,
        param: None,
        retry_after: None,
    }
}

/// Reads an error object from inside a stream or an answer with status 200.
pub(super) fn in_band(error: &Value) -> ProviderError {
    read(None, error)
}

fn read(status: Option<u16>, error: &Value) -> ProviderError {
    let code = error.get("code").and_then(to_whole_number).and_then(|code| u16::try_from(code).ok());
    let status = status.or(code.filter(|code| (400..600).contains(code))).unwrap_or(500);
    let word = error.get("status").and_then(Value::as_str);
    let message = error
        .get("message")
        .or(Some(error))
        .and_then(Value::as_str)
        .filter(|message| !message.is_empty())
        .map_or_else(
            || format!("the provider answered with status {status} and gave no reason"),
            str::to_owned,
        );
    let details = read_details(error);
    ProviderError {
        kind: kind_of(status, word.unwrap_or_default(), &message, &details),
        status,
        message,
        error_type: word.map(str::to_owned),
        code: details.reason.clone(),
        param: details.field.clone(),
        retry_after: details.retry_after,
    }
}

/// What the typed details of a Google error say.
#[derive(Debug, Default)]
struct Details {
    reason: Option<String>,
    field: Option<String>,
    retry_after: Option<Duration>,
    quotas: Vec<String>,
}

fn read_details(error: &Value) -> Details {
    let mut details = Details::default();
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    for detail in error.get("details").and_then(Value::as_array).into_iter().flatten() {
        if let Some(reason) = text(detail, "reason") {
            details.reason.get_or_insert(reason);
        }
        if let Some(delay) = detail.get("retryDelay").and_then(Value::as_str) {
            details.retry_after = parse_delay(delay);
        }
        for violation in detail.get("violations").and_then(Value::as_array).into_iter().flatten() {
            details.quotas.extend(text(violation, "quotaId").or_else(|| text(violation, "quotaMetric")));
        }
        for violation in detail.get("fieldViolations").and_then(Value::as_array).into_iter().flatten() {
            details.field = details.field.take().or_else(|| text(violation, "field"));
        }
    }
    details
}

/// Reads a duration of protocol buffers: `34.4s`.
fn parse_delay(text: &str) -> Option<Duration> {
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    wait_of_seconds(seconds)
}

fn kind_of(status: u16, word: &str, message: &str, details: &Details) -> FailureKind {
    let own = OwnWords::of(message);
    let reason = details.reason.as_deref().unwrap_or_default();
    if (400..500).contains(&status) && (KEY_REASONS.contains(&reason) || own.open_with(&KEY_WORDINGS)) {
        return FailureKind::Credentials;
    }
    match (status, word) {
        (429, _) | (_, "RESOURCE_EXHAUSTED") => {
            let lasts =
                details.quotas.iter().any(|quota| LASTING_QUOTAS.iter().any(|word| quota.contains(word)));
            let message = message.to_ascii_lowercase();
            // A limit of zero: the plan does not include the model at all.
            if lasts || own.say(&UNPAID) || message.contains("limit: 0,") || message.ends_with("limit: 0") {
                FailureKind::OutOfQuota
            } else if reason == "MODEL_CAPACITY_EXHAUSTED" || own.say(&["no capacity available"]) {
                FailureKind::Overloaded
            } else {
                FailureKind::RateLimited
            }
        }
        (402, _) => FailureKind::OutOfQuota,
        (403 | 404, _) if own.say(&OTHER_OBJECTS) => FailureKind::BadRequest,
        (403, _) if own.say(&["permission to access the model", "permission to access tuned model"]) => {
            FailureKind::NoSuchModel
        }
        (401 | 403, _) | (_, "UNAUTHENTICATED" | "PERMISSION_DENIED") => FailureKind::Credentials,
        (404, _) => FailureKind::NoSuchModel,
        (503 | 529, _) | (_, "UNAVAILABLE") => FailureKind::Overloaded,
        (408, _) => FailureKind::Timeout,
        // What Google's own back end has cancelled or got in the way of; the request is not at fault.
        (409 | 499, _) | (_, "CANCELLED" | "ABORTED") => FailureKind::ProviderError,
        (400 | 413 | 422, _) if own.say(&TOO_LONG) => FailureKind::ContextLength,
        (400 | 422, _) if own.say(&UNWANTED) => FailureKind::ContentPolicy,
        // The account has no billing where the free plan is not offered.
        (400, "FAILED_PRECONDITION") if own.open_with(&["billing", "free tier"]) => FailureKind::OutOfQuota,
        (400..500, _) => FailureKind::BadRequest,
        _ => FailureKind::ProviderError,
    }
}

/// Writes an error for a caller.
pub(super) fn render_error(error: &CallerError) -> Bytes {
    Bytes::from(to_value(error).to_string())
}

/// Writes an error as a frame of a stream: both SDKs raise it when the frame's object begins with `error` and `code` is
/// a number.
pub(super) fn render_error_event(error: &CallerError) -> Bytes {
    Bytes::from(format!("data: {}\n\n", to_value(error)))
}

fn to_value(error: &CallerError) -> Value {
    let mut details = Vec::new();
    if let Some(code) = &error.code {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": code.to_ascii_uppercase(),
            "domain": "tidegate"
        }));
    }
    if let Some(param) = &error.param {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": param, "description": error.message}]
        }));
    }
    if let Some(id) = &error.request_id {
        details.push(json!({"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": id}));
    }
    let mut object = Map::new();
    object.insert("code".to_owned(), error.status.into());
    object.insert("message".to_owned(), error.message.as_str().into());
    object.insert("status".to_owned(), status_word(error).into());
    if !details.is_empty() {
        object.insert("details".to_owned(), Value::Array(details));
    }
    json!({"error": object})
}

fn status_word(error: &CallerError) -> &'static str {
    match error.class {
        ErrorClass::InvalidRequest | ErrorClass::TooLarge => "INVALID_ARGUMENT",
        ErrorClass::Authentication => "UNAUTHENTICATED",
        ErrorClass::Permission => "PERMISSION_DENIED",
        ErrorClass::NotFound => "NOT_FOUND",
        ErrorClass::MethodNotAllowed => "UNIMPLEMENTED",
        ErrorClass::RateLimit | ErrorClass::Budget => "RESOURCE_EXHAUSTED",
        ErrorClass::Overloaded => "UNAVAILABLE",
        ErrorClass::Timeout => "DEADLINE_EXCEEDED",
        ErrorClass::Upstream => "INTERNAL",
    }
}
