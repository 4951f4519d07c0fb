//! Errors, both ways, whole and inside a stream. Called through the codec, and by `reply` and `decode` for errors that
//! come where an answer was expected.

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use crate::framing::encode_json_event;
use crate::own_words::OwnWords;
use crate::{CallerError, ErrorClass, FailureKind, ProviderError};

/// The most of an unreadable body that is quoted.
const MAX_QUOTED_CHARACTERS: usize = 200;

/// Wordings of a 400 that mean that input and wanted output do not fit into the model's window.
const CONTEXT_WORDINGS: &[&str] = &[
    "prompt is too long",
    "exceed context limit",
    "input is too long",
    "context window",
    "maximum context length",
];

/// Wordings that mean that the account is out of money; they come as 400 as well.
const CREDIT_WORDINGS: &[&str] =
    &["credit balance is too low", "specified api usage limits", "spend limit", "usage credits required"];

/// Wordings of a 400 that mean the key.
const KEY_WORDINGS: &[&str] = &["organization has been disabled"];

/// Wordings that mean that the content is not allowed.
const POLICY_WORDINGS: &[&str] = &["content filtering policy", "usage policy", "safety policies"];

/// An error answer of a provider.
pub(super) fn parse_error(status: u16, body: &[u8]) -> ProviderError {
    read_error(Some(status), body)
}

/// An error where an answer or a stream event was expected. Its status is the one that its type comes with elsewhere.
pub(super) fn parse_in_band(body: &[u8]) -> ProviderError {
    read_error(None, body)
}

fn read_error(status: Option<u16>, body: &[u8]) -> ProviderError {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = value.get("error").unwrap_or(&value);
    let text = |name: &str| error.get(name).and_then(Value::as_str).map(str::to_owned);
    let error_type = text("type").filter(|kind| kind != "error");
    let code = error.pointer("/details/error_code").and_then(Value::as_str).map(str::to_owned);
    let message = text("message")
        // AWS and proxies before the API have forms of their own.
        .or_else(|| error.as_str().map(str::to_owned))
        .or_else(|| value.get("message").and_then(Value::as_str).map(str::to_owned))
        .filter(|message| !message.is_empty())
        .unwrap_or_else(|| describe_unreadable(body));
    let status = status.unwrap_or_else(|| status_of(error_type.as_deref()));
    ProviderError {
        kind: kind_of(status, error_type.as_deref(), code.as_deref(), &message),
        status,
        message,
        error_type,
        code,
        param: None,
        retry_after: None,
    }
}

fn describe_unreadable(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let quoted: String = text.trim().chars().take(MAX_QUOTED_CHARACTERS).collect();
    if quoted.is_empty() {
        "the provider gave no reason".to_owned()
    } else {
        format!("the provider's error is not in Anthropic's form: {quoted}")
    }
}

/// The status that errors of a type come with.
fn status_of(error_type: Option<&str>) -> u16 {
    match error_type {
        Some("invalid_request_error") => 400,
        Some("authentication_error") => 401,
        Some("billing_error") => 402,
        Some("permission_error") => 403,
        Some("not_found_error") => 404,
        Some("request_too_large") => 413,
        Some("rate_limit_error") => 429,
        Some("timeout_error") => 504,
        Some("overloaded_error") => 529,
        _ => 500,
    }
}

fn kind_of(status: u16, error_type: Option<&str>, code: Option<&str>, message: &str) -> FailureKind {
    let own = OwnWords::of(message);
    if code.is_some_and(|code| code.ends_with("spend_limit_reached")) {
        return FailureKind::OutOfQuota;
    }
    match (error_type, status) {
        (Some("overloaded_error"), _) | (_, 503 | 529) => FailureKind::Overloaded,
        (Some("billing_error"), _) | (_, 402) => FailureKind::OutOfQuota,
        (Some("rate_limit_error"), _) | (_, 429) => FailureKind::RateLimited,
        (_, 400..=499) if own.open_with(CREDIT_WORDINGS) => FailureKind::OutOfQuota,
        (Some("authentication_error" | "permission_error"), _) | (_, 401 | 403) => FailureKind::Credentials,
        (_, 400) if own.open_with(KEY_WORDINGS) => FailureKind::Credentials,
        // Other objects that are not there (files, skills) are the request's own mistake.
        (Some("not_found_error"), _) if own.say_model_is_missing() || names_model(message) => {
            FailureKind::NoSuchModel
        }
        (None, 404) => FailureKind::NoSuchModel,
        (_, 400..=499) if own.say(CONTEXT_WORDINGS) => FailureKind::ContextLength,
        (_, 400..=499) if own.say(POLICY_WORDINGS) => FailureKind::ContentPolicy,
        // Bedrock's errors have no type.
        (None, 400) if own.say_model_is_missing() => FailureKind::NoSuchModel,
        (_, 408) => FailureKind::ProviderError,
        (_, 400..=499) => FailureKind::BadRequest,
        // Some of what is overloaded says so with the status, and the type, of an error of its own.
        _ if own.say(&["overloaded"]) => FailureKind::Overloaded,
        _ => FailureKind::ProviderError,
    }
}

/// "model: claude-9" is all that the API says of a model that is not there.
fn names_model(message: &str) -> bool {
    message.trim_start().to_ascii_lowercase().starts_with("model:")
}

#[derive(Serialize)]
struct WireError<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    error: ErrorObject<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    message: std::borrow::Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details<'a>>,
}

#[derive(Serialize)]
struct Details<'a> {
    error_code: &'a str,
}

impl<'a> From<&'a CallerError> for WireError<'a> {
    fn from(error: &'a CallerError) -> Self {
        // The field at fault has no place of its own; the API itself puts it before the words.
        let message = match error.param.as_deref() {
            Some(param) if !error.message.contains(param) => format!("{param}: {}", error.message).into(),
            _ => error.message.as_str().into(),
        };
        let details = error.code.as_deref().map(|error_code| Details { error_code });
        Self {
            kind: "error",
            error: ErrorObject { kind: word_of(error.class), message, details },
            request_id: error.request_id.as_deref(),
        }
    }
}

pub(super) fn render_error(error: &CallerError) -> Bytes {
    super::to_bytes(&WireError::from(error))
}

pub(super) fn render_error_event(error: &CallerError) -> Bytes {
    let mut out = Vec::new();
    // Plain structs with text keys always serialise.
    let _ = encode_json_event(&mut out, Some("error"), &WireError::from(error));
    out.into()
}

fn word_of(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::InvalidRequest | ErrorClass::MethodNotAllowed => "invalid_request_error",
        ErrorClass::Authentication => "authentication_error",
        ErrorClass::Permission => "permission_error",
        ErrorClass::NotFound => "not_found_error",
        ErrorClass::TooLarge => "request_too_large",
        ErrorClass::RateLimit => "rate_limit_error",
        ErrorClass::Budget => "billing_error",
        ErrorClass::Overloaded => "overloaded_error",
        ErrorClass::Timeout => "timeout_error",
        ErrorClass::Upstream => "api_error",
    }
}
