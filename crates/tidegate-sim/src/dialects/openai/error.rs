//! OpenAI's errors: `{"error": {message, type, param, code}}`.

use serde_json::{Value, json};

use crate::dialects::Refused;
use crate::scenario::Failure;

/// A 400 about a field.
pub(crate) fn invalid(message: &str, param: Option<&str>, code: Option<&str>) -> Refused {
    refused(400, message, "invalid_request_error", param, code)
}

pub(crate) fn refused(
    status: u16,
    message: &str,
    kind: &str,
    param: Option<&str>,
    code: Option<&str>,
) -> Refused {
    Refused { status, headers: Vec::new(), body: body(message, kind, param, code) }
}

fn body(message: &str, kind: &str, param: Option<&str>, code: Option<&str>) -> Value {
    json!({"error": {"message": message, "type": kind, "param": param, "code": code}})
}

pub(crate) fn no_key() -> Refused {
    refused(
        401,
        "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth \
         (i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the \
         API from your browser and are prompted for a username and password. You can obtain an API key from \
         https://platform.openai.com/account/api-keys.",
        "invalid_request_error",
        None,
        None,
    )
}

pub(crate) fn wrong_key() -> Refused {
    refused(
        401,
        "Incorrect API key provided: sim-****. You can find your API key at \
         https://platform.openai.com/account/api-keys.",
        "invalid_request_error",
        None,
        Some("invalid_api_key"),
    )
}

pub(crate) fn failure(failure: Failure, model: &str, counted: u64) -> Refused {
    const SERVER: &str = "The server had an error while processing your request. Sorry about that!";
    match failure {
        Failure::RateLimited { seconds } => {
            let mut refused = rate_limited(model, seconds);
            refused.headers.push(("retry-after", seconds.to_string()));
            refused.headers.push(("retry-after-ms", seconds.saturating_mul(1000).to_string()));
            refused
        }
        Failure::RateLimitedReset { seconds } => rate_limited(model, seconds),
        Failure::OutOfQuota => refused(
            429,
            "You exceeded your current quota, please check your plan and billing details. For more information on this \
             error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.",
            "insufficient_quota",
            None,
            Some("insufficient_quota"),
        ),
        Failure::Overloaded => refused(
            503,
            "The engine is currently overloaded, please try again later",
            "server_error",
            None,
            None,
        ),
        Failure::Overloaded529 => refused(
            529,
            "The engine is currently overloaded, please try again later",
            "server_error",
            None,
            None,
        ),
        Failure::Server { status: 503 } => refused(
            503,
            "That model is currently overloaded with other requests.",
            "server_error",
            None,
            None,
        ),
        Failure::Server { status } | Failure::Html { status } => {
            refused(status, SERVER, "server_error", None, None)
        }
        Failure::InBand => refused(200, SERVER, "server_error", None, None),
        Failure::Credentials { status: 403 } => refused(
            403,
            &format!("Project `proj_sim` does not have access to model `{model}`"),
            "invalid_request_error",
            None,
            Some("model_not_found"),
        ),
        Failure::Credentials { .. } => wrong_key(),
        Failure::NoSuchModel => refused(
            404,
            &format!("The model `{model}` does not exist or you do not have access to it."),
            "invalid_request_error",
            None,
            Some("model_not_found"),
        ),
        Failure::BadRequest => invalid(
            "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is \
             supported.",
            Some("temperature"),
            Some("unsupported_value"),
        ),
        Failure::Unprocessable => refused(
            422,
            "Unprocessable entity: the request could not be followed.",
            "invalid_request_error",
            None,
            None,
        ),
        Failure::TooLarge => {
            refused(413, "Request entity too large", "invalid_request_error", None, Some("request_too_large"))
        }
        Failure::ContextLength { window } => invalid(
            &format!(
                "This model's maximum context length is {window} tokens. However, your messages resulted in {counted} \
                 tokens. Please reduce the length of the messages."
            ),
            Some("messages"),
            Some("context_length_exceeded"),
        ),
        Failure::ContentPolicy => invalid(
            "Invalid prompt: your prompt was flagged as potentially violating our usage policy. Please try again with a \
             different prompt: https://platform.openai.com/docs/guides/reasoning#advice-on-prompting",
            None,
            Some("invalid_prompt"),
        ),
    }
}

fn rate_limited(model: &str, seconds: u64) -> Refused {
    let message = format!(
        "Rate limit reached for {model} in organization org-sim on requests per min (RPM): Limit 500, Used 500, \
         Requested 1. Please try again in {seconds}s. Visit https://platform.openai.com/account/rate-limits to learn more."
    );
    let mut refused = refused(429, &message, "requests", None, Some("rate_limit_exceeded"));
    refused.headers.extend([
        ("x-ratelimit-limit-requests", "500".to_owned()),
        ("x-ratelimit-remaining-requests", "0".to_owned()),
        ("x-ratelimit-reset-requests", format!("{seconds}s")),
        ("x-ratelimit-limit-tokens", "30000".to_owned()),
        ("x-ratelimit-remaining-tokens", "29000".to_owned()),
        ("x-ratelimit-reset-tokens", "20ms".to_owned()),
    ]);
    refused
}
