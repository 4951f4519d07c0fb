//! Google's errors: `{"error": {code, message, status, details}}`.

use serde_json::{Value, json};

use crate::dialects::Refused;
use crate::scenario::Failure;

/// A 400.
pub(crate) fn invalid(message: &str) -> Refused {
    refused(400, "INVALID_ARGUMENT", message, &[])
}

pub(crate) fn refused(status: u16, word: &str, message: &str, details: &[Value]) -> Refused {
    let mut error = json!({"code": status, "message": message, "status": word});
    if !details.is_empty() {
        error["details"] = json!(details);
    }
    Refused { status, headers: Vec::new(), body: json!({"error": error}) }
}

/// A field that the message does not have.
pub(crate) fn unknown_name(name: &str, at: &str) -> Refused {
    let place = if at.is_empty() { String::new() } else { format!(" at '{at}'") };
    let message =
        format!("Invalid JSON payload received. Unknown name \"{name}\"{place}: Cannot find field.");
    let violation = json!({"field": at, "description": message});
    let detail =
        json!({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]});
    refused(400, "INVALID_ARGUMENT", &message, &[detail])
}

pub(crate) fn no_key() -> Refused {
    refused(
        403,
        "PERMISSION_DENIED",
        "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other \
         form of API consumer identity to call this API.",
        &[],
    )
}

/// A bearer token where a key belongs.
pub(crate) fn no_token() -> Refused {
    refused(
        401,
        "UNAUTHENTICATED",
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid \
         authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
        &[],
    )
}

pub(crate) fn wrong_key() -> Refused {
    let detail = json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    });
    refused(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", &[detail])
}

pub(crate) fn failure(failure: Failure, model: &str, counted: u64) -> Refused {
    match failure {
        Failure::RateLimited { seconds } | Failure::RateLimitedReset { seconds } => {
            exhausted(model, "GenerateRequestsPerMinutePerProjectPerModel", Some(seconds))
        }
        Failure::OutOfQuota => exhausted(model, "GenerateRequestsPerDayPerProjectPerModel-FreeTier", None),
        Failure::Overloaded | Failure::Server { status: 503 } => {
            refused(503, "UNAVAILABLE", "The model is overloaded. Please try again later.", &[])
        }
        Failure::Overloaded529 => {
            refused(529, "UNAVAILABLE", "The model is overloaded. Please try again later.", &[])
        }
        Failure::Server { status: 504 } => {
            refused(504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete.", &[])
        }
        Failure::Server { status } | Failure::Html { status } => internal(status),
        Failure::InBand => Refused { status: 200, ..internal(500) },
        Failure::Credentials { status: 403 } => {
            refused(403, "PERMISSION_DENIED", "The caller does not have permission", &[])
        }
        Failure::Credentials { .. } => wrong_key(),
        Failure::NoSuchModel => refused(
            404,
            "NOT_FOUND",
            &format!(
                "models/{model} is not found for API version v1beta, or is not supported for generateContent. Call \
                 ListModels to see the list of available models and their supported methods."
            ),
            &[],
        ),
        Failure::BadRequest => invalid("Please use a valid role: user, model."),
        Failure::Unprocessable => refused(422, "INVALID_ARGUMENT", "The request could not be followed.", &[]),
        Failure::TooLarge => {
            refused(413, "INVALID_ARGUMENT", "Request payload size exceeds the limit: 20971520 bytes.", &[])
        }
        Failure::ContextLength { window } => invalid(&format!(
            "The input token count ({counted}) exceeds the maximum number of tokens allowed ({window})."
        )),
        // A prompt that is not allowed is not an error here, but an answer without candidates.
        Failure::ContentPolicy => Refused {
            status: 200,
            headers: Vec::new(),
            body: json!({
                "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
                "usageMetadata": {"promptTokenCount": counted, "totalTokenCount": counted},
                "modelVersion": model, "responseId": "sim",
            }),
        },
    }
}

fn internal(status: u16) -> Refused {
    refused(
        status,
        "INTERNAL",
        "An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting",
        &[],
    )
}

fn exhausted(model: &str, quota: &str, seconds: Option<u64>) -> Refused {
    let mut message =
        "You exceeded your current quota, please check your plan and billing details. For more information \
                       on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits."
            .to_owned();
    let violation = json!({
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_requests", "quotaId": quota,
        "quotaDimensions": {"model": model, "location": "global"}, "quotaValue": "10",
    });
    let mut details = vec![
        json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}),
        json!({"@type": "type.googleapis.com/google.rpc.Help", "links": [{
            "description": "Learn more about Gemini API quotas", "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
        }]}),
    ];
    if let Some(seconds) = seconds {
        message = format!("{message}\nPlease retry in {seconds}s.");
        details.push(
            json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{seconds}s")}),
        );
    }
    refused(429, "RESOURCE_EXHAUSTED", &message, &details)
}
