//! Anthropic's errors: `{"type": "error", "error": {type, message}, "request_id"}`.

use serde_json::{Value, json};

use crate::dialects::Refused;
use crate::scenario::Failure;

/// A 400.
pub(crate) fn invalid(message: &str) -> Refused {
    refused(400, "invalid_request_error", message)
}

pub(crate) fn refused(status: u16, kind: &str, message: &str) -> Refused {
    Refused { status, headers: Vec::new(), body: body(kind, message) }
}

fn body(kind: &str, message: &str) -> Value {
    json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_011CSim00000000000000000"})
}

/// What an organisation hears whose settings do not allow conversations to be kept.
pub(crate) fn thread_unsupported() -> Refused {
    let mut refused = invalid("thread: Threads are not supported for this request.");
    refused.body["error"]["details"] = json!({"error_code": "thread_unsupported_request", "unsupported": []});
    refused
}

pub(crate) fn no_key() -> Refused {
    refused(401, "authentication_error", "x-api-key header is required")
}

pub(crate) fn wrong_key() -> Refused {
    refused(401, "authentication_error", "invalid x-api-key")
}

pub(crate) fn failure(failure: Failure, model: &str, counted: u64) -> Refused {
    match failure {
        Failure::RateLimited { seconds } => {
            let mut refused = rate_limited(model, seconds);
            refused.headers.push(("retry-after", seconds.to_string()));
            refused
        }
        Failure::RateLimitedReset { seconds } => rate_limited(model, seconds),
        Failure::OutOfQuota => invalid(
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or \
             purchase credits.",
        ),
        Failure::Overloaded | Failure::Overloaded529 => refused(529, "overloaded_error", "Overloaded"),
        Failure::Server { status: 503 } => refused(503, "overloaded_error", "Overloaded"),
        Failure::Server { status: 504 } => refused(504, "timeout_error", "Request timed out"),
        Failure::Server { status } | Failure::Html { status } => {
            refused(status, "api_error", "Internal server error")
        }
        Failure::InBand => refused(200, "api_error", "Internal server error"),
        Failure::Credentials { status: 403 } => refused(
            403,
            "permission_error",
            "Your API key does not have permission to use the specified resource.",
        ),
        Failure::Credentials { .. } => wrong_key(),
        Failure::NoSuchModel => refused(404, "not_found_error", &format!("model: {model}")),
        Failure::BadRequest => invalid(
            "This model does not support effort level 'xhigh'. Supported levels: high, low, max, medium.",
        ),
        Failure::Unprocessable => refused(422, "invalid_request_error", "The request could not be followed."),
        Failure::TooLarge => {
            refused(413, "request_too_large", "Request exceeds the maximum allowed number of bytes.")
        }
        Failure::ContextLength { window } => {
            invalid(&format!("prompt is too long: {counted} tokens > {window} maximum"))
        }
        Failure::ContentPolicy => invalid("Output blocked by content filtering policy"),
    }
}

fn rate_limited(model: &str, seconds: u64) -> Refused {
    let message = format!(
        "This request would exceed your organization's rate limit of 50 requests per minute (org: sim, model: {model}). \
         For details, refer to: https://docs.claude.com/en/api/rate-limits. You can see the response headers for \
         current usage. Please reduce the prompt length or the maximum tokens requested, or try again later."
    );
    let mut refused = refused(429, "rate_limit_error", &message);
    let reset = jiff::Timestamp::now()
        + jiff::SignedDuration::from_secs(i64::try_from(seconds.min(86_400)).unwrap_or(0));
    refused.headers.extend([
        ("anthropic-ratelimit-requests-limit", "50".to_owned()),
        ("anthropic-ratelimit-requests-remaining", "0".to_owned()),
        ("anthropic-ratelimit-requests-reset", format!("{reset:.0}")),
        ("anthropic-ratelimit-tokens-limit", "30000".to_owned()),
        ("anthropic-ratelimit-tokens-remaining", "29000".to_owned()),
        ("anthropic-ratelimit-tokens-reset", format!("{reset:.0}")),
    ]);
    refused
}
