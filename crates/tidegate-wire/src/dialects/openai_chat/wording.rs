//! What a provider's error means: each provider's own codes and wordings of the errors that get a policy of their own.
//! Called by `error`.
//!
//! They come from the providers' and servers' documentation and from errors that people reported; the fixtures in
//! `errors.json` name them. A code decides before words do. Words that put a key or a target out for everybody count in
//! the opening of the message only, where a status says that the request was looked at (see `own_words`).

use std::time::Duration;

use crate::failure::{FailureKind, wait_of_seconds};
use crate::own_words::OwnWords;

/// Codes and types that say by themselves what it is, in lower case.
const CODES: &[(FailureKind, &[&str])] = &[
    (
        FailureKind::ContextLength,
        &[
            "context_length_exceeded",
            "exceed_context_size_error",
            "model_context_window_exceeded",
            "context_window_exceeded",
            "token_limit_exceeded",
            // GitHub's models, at Azure
            "tokens_limit_reached",
        ],
    ),
    (
        FailureKind::ContentPolicy,
        &[
            "content_policy_violation",
            "content_filter",
            "responsibleaipolicyviolation",
            "moderation_blocked",
            // Alibaba
            "data_inspection_failed",
            "datainspectionfailed",
        ],
    ),
    (
        FailureKind::OutOfQuota,
        &[
            "insufficient_quota",
            "billing_hard_limit_reached",
            "billing_not_active",
            "credit_limit",
            // Moonshot
            "exceeded_current_quota_error",
            "insufficient_balance",
            // Alibaba
            "arrearage",
            // OpenRouter
            "payment_required",
        ],
    ),
    (
        FailureKind::NoSuchModel,
        &[
            "model_not_found",
            "model_not_available",
            "model_not_supported",
            "model_decommissioned",
            "model_terms_required",
            "unknown_model",
            "invalid_model",
            "deploymentnotfound",
            // Groq: the account may not use this one.
            "model_permission_blocked_project",
            "model_permission_blocked_org",
        ],
    ),
    (FailureKind::Credentials, &["invalid_api_key", "account_deactivated", "organization_restricted"]),
    (
        FailureKind::Overloaded,
        &[
            "nocapacity",
            "queue_exceeded",
            "engine_overloaded_error",
            "overloaded_error",
            "provider_overloaded",
        ],
    ),
    (
        FailureKind::RateLimited,
        &[
            // OpenRouter: the budget for calls in flight, which passes, though its status is 402.
            "openrouter_in_flight_budget",
        ],
    ),
];

/// The input is longer than the model's window.
const CONTEXT_LENGTH: &[&str] = &[
    // OpenAI, Groq, vLLM, SGLang, OpenRouter, DeepSeek, Fireworks
    "context_length_exceeded",
    "maximum context length",
    "maximum model length",
    "exceeds the context window",
    "input tokens exceed the configured limit",
    // Azure, Databricks
    "exceed context limit",
    "maximum context limit",
    // llama.cpp, Lemonade
    "exceeds the available context size",
    "context size has been exceeded",
    // LM Studio
    "greater than the context length",
    // Ollama
    "input length exceeds the context length",
    "input length exceeds context length",
    // Together
    "longer than the model's context length",
    // TGI, Hugging Face: "`inputs` tokens + `max_new_tokens` must be <= 4096"
    "tokens +  must be <=",
    // Groq
    "reduce the length of the messages",
    // Mistral
    "too large for model with",
    // Moonshot
    "exceeded model token limit",
    // xAI
    "maximum prompt length is",
    // Z.ai, MiniMax, Cerebras
    "prompt exceeds max length",
    "context window exceeds limit",
    "please reduce the length",
    // Alibaba
    "range of input length should be",
    // Cohere
    "too many tokens: total number of tokens",
    // Anthropic's and Google's words behind compatible endpoints
    "prompt is too long",
    "input is too long",
    "exceeds the maximum number of tokens",
];

/// The content is not allowed.
const CONTENT_POLICY: &[&str] = &[
    "content management policy",
    "violating our usage policy",
    "violates our usage polic",
    "violates usage guidelines",
    "safety system",
    "requires moderation",
    "flagged by moderation",
    "input was flagged",
    // DeepSeek
    "content exists risk",
    // Moonshot
    "considered high risk",
];

/// The account has no money or allowance left.
const OUT_OF_QUOTA: &[&str] = &[
    "insufficient_quota",
    "billing hard limit",
    "insufficient balance",
    "insufficient credit",
    "insufficient funds",
    "insufficient account balance",
    "credit balance is too low",
    "requires more credits",
    "never purchased credits",
    "run out of credits",
    "all available credits",
    // xAI: "Your newly created teams doesn't have any credits yet."
    "have any credits",
    "credit limit exceeded",
    "monthly spending limit",
    // OpenRouter
    "key limit exceeded",
    // Azure
    "out of call volume quota",
];

/// A limit for a day or a month, said with the status of one for a minute.
const LASTING: &[&str] =
    &["per day", "per-day", "/ day", "per month", "per-month", "/ month", "monthly limit"];

/// A key that is not valid, said with a status that does not say so.
const CREDENTIALS: &[&str] = &[
    "incorrect api key",
    "api key not valid",
    "invalid api key",
    "authentication fails",
    // Groq, Anthropic's words behind compatible endpoints
    "organization has been restricted",
    "organization has been disabled",
];

/// The account may not use this model; its other models are not concerned.
const MODEL_NOT_FOR_ACCOUNT: &[&str] = &[
    // Bedrock
    "have access to the model",
];

/// Nobody can take the call now.
const OVERLOADED: &[&str] = &[
    "overloaded",
    "over capacity",
    "at capacity",
    "capacity exceeded",
    "no available capacity",
    "server is busy",
    "temporarily unavailable",
    "service unavailable",
    "service_unavailable",
];

/// The same with the status of a rate limit: OpenAI, Moonshot, Azure and Cerebras say so of their engines.
const OVERLOADED_AS_A_LIMIT: &[&str] =
    &["overloaded", "experiencing high demand", "experiencing high traffic"];

/// What else a request can name that may not be there. Only the caller can be wrong about those.
const OTHER_OBJECTS: &[&str] = &[
    "file",
    "response with id",
    "item with id",
    "conversation",
    "container",
    "vector store",
    "prompt with id",
    "thread",
    "assistant",
    "batch",
    "upload",
    "skill",
];

/// What a provider said, as far as it decides.
#[derive(Debug)]
pub(super) struct Said<'a> {
    /// Codes and types, from wherever the body has them.
    pub(super) codes: &'a [&'a str],
    pub(super) message: &'a str,
    /// The request's field that is at fault.
    pub(super) param: Option<&'a str>,
    /// A moderation's findings stand beside the message.
    pub(super) has_findings: bool,
    /// The body says when to come back.
    pub(super) has_time: bool,
}

/// What kind of failure it is, and its status: `status` where there is one, else the one that it would have had.
pub(super) fn classify(status: Option<u16>, said: &Said<'_>) -> (FailureKind, u16) {
    let own = OwnWords::of(said.message);
    let by_code = said.codes.iter().find_map(|code| kind_of_code(code));
    let status = status.unwrap_or_else(|| status_in_band(by_code, said, &own));
    (kind_of(status, by_code, said, &own), status)
}

fn kind_of_code(code: &str) -> Option<FailureKind> {
    let code = code.to_lowercase();
    CODES.iter().find(|(_, codes)| codes.contains(&code.as_str())).map(|(kind, _)| *kind)
}

fn kind_of(status: u16, by_code: Option<FailureKind>, said: &Said<'_>, own: &OwnWords) -> FailureKind {
    let says_too_long = || {
        by_code == Some(FailureKind::ContextLength)
            || own.say_or_print(CONTEXT_LENGTH)
            || (own.say(&["must have less than"]) && own.say(&["tokens"]))
    };
    match status {
        400..=499 => of_client_error(status, by_code, said, own, says_too_long),
        // Local servers say with a 500 that the input is too long.
        500 if says_too_long() => FailureKind::ContextLength,
        503 | 529 => FailureKind::Overloaded,
        _ if by_code == Some(FailureKind::Overloaded)
            || own.say(OVERLOADED)
            || says_code(said, OVERLOADED) =>
        {
            FailureKind::Overloaded
        }
        _ => FailureKind::ProviderError,
    }
}

fn of_client_error(
    status: u16,
    by_code: Option<FailureKind>,
    said: &Said<'_>,
    own: &OwnWords,
    says_too_long: impl Fn() -> bool,
) -> FailureKind {
    // Groq refuses what exceeds the limit a minute by itself as too large.
    if status == 413 && (says_code(said, &["rate_limit_exceeded"]) || own.say(&["tokens per minute"])) {
        return FailureKind::RateLimited;
    }
    if said.has_findings {
        return FailureKind::ContentPolicy;
    }
    if let Some(kind) = by_code {
        // OpenAI says of a key that its project may not use the model. Another key may.
        let is_keys_matter = status == 403 && says_code(said, &["model_not_found"]);
        return if is_keys_matter { FailureKind::Credentials } else { kind };
    }
    match status {
        402 => FailureKind::OutOfQuota,
        401 => FailureKind::Credentials,
        403 | 412 | 429 if own.say(OUT_OF_QUOTA) => FailureKind::OutOfQuota,
        429 if own.say(OVERLOADED_AS_A_LIMIT) => FailureKind::Overloaded,
        // With a time it is waited for like any other; without one it would be asked again and again.
        429 if own.say(LASTING) && !said.has_time => FailureKind::OutOfQuota,
        429 => FailureKind::RateLimited,
        400 | 413 | 422 if says_too_long() => FailureKind::ContextLength,
        400 | 403 | 422 | 451 if own.say_or_print(CONTENT_POLICY) => FailureKind::ContentPolicy,
        403 if own.say(MODEL_NOT_FOR_ACCOUNT) => FailureKind::NoSuchModel,
        403 => FailureKind::Credentials,
        400 if own.open_with(CREDENTIALS) => FailureKind::Credentials,
        400 | 409 | 422 if own.open_with(OUT_OF_QUOTA) => FailureKind::OutOfQuota,
        400 | 404 | 422 if own.say_model_is_missing() => FailureKind::NoSuchModel,
        // The model's own words did not make a call; the request is not at fault.
        400 if says_code(said, &["tool_use_failed"]) => FailureKind::ProviderError,
        // The route exists, but not for what this request asks of it.
        404 if own.say(&["no endpoints found that"]) => FailureKind::BadRequest,
        404 if is_about_another_object(said, own) => FailureKind::BadRequest,
        404 => FailureKind::NoSuchModel,
        408 => FailureKind::Timeout,
        // Groq's status for a flexible tier without room.
        498 => FailureKind::Overloaded,
        // A conflict inside the provider passes by itself.
        409 | 425 => FailureKind::ProviderError,
        _ => FailureKind::BadRequest,
    }
}

fn says_code(said: &Said<'_>, codes: &[&str]) -> bool {
    said.codes.iter().any(|code| codes.contains(&code.to_lowercase().as_str()))
}

/// Something that the request refers to is not there; the model is.
fn is_about_another_object(said: &Said<'_>, own: &OwnWords) -> bool {
    said.param.is_some_and(|param| param != "model")
        || own.name_before(OTHER_OBJECTS, &["model", "deployment", "endpoint"])
}

/// The status that an error in band would have had, where it does not say.
fn status_in_band(by_code: Option<FailureKind>, said: &Said<'_>, own: &OwnWords) -> u16 {
    let by_words = || {
        let says = |phrases: &[&str]| own.say(phrases) || says_code(said, phrases);
        if own.say_or_print(CONTEXT_LENGTH) || own.say_or_print(CONTENT_POLICY) || said.has_findings {
            400
        } else if own.open_with(OUT_OF_QUOTA) {
            402
        } else if says(&[
            "rate_limit",
            "rate_limit_exceeded",
            "rate_limit_error",
            "rate limit",
            "too many requests",
        ]) || says(&["resource_exhausted", "too_many_requests_error", "quota exceeded"])
        {
            429
        } else if says(OVERLOADED) {
            503
        } else if says_code(said, &["authentication_error"]) {
            401
        } else if own.say_model_is_missing() {
            404
        } else if says_code(said, &["invalid_request_error", "invalid_argument", "badrequesterror"]) {
            400
        } else {
            500
        }
    };
    match by_code {
        Some(FailureKind::ContextLength | FailureKind::ContentPolicy) => 400,
        Some(FailureKind::OutOfQuota) => 402,
        Some(FailureKind::NoSuchModel) => 404,
        Some(FailureKind::Credentials) => 401,
        Some(FailureKind::RateLimited) => 429,
        Some(FailureKind::Overloaded) => 503,
        _ => by_words(),
    }
}

/// When to come back, as Google's details say it or as OpenAI and Groq write it into the message: `try again in 1m7.66s`.
pub(super) fn retry_after(delay: Option<&str>, message: &str) -> Option<Duration> {
    let from_message = || {
        let (_, after) = message.split_once("try again in ")?;
        let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).unwrap_or(after.len());
        after.get(..end)
    };
    delay.or_else(from_message).and_then(read_duration)
}

/// `20s`, `7.66s`, `350ms`, `6m0s`, `1h2m3s`.
fn read_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim_end_matches('.');
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let (number, after) = rest.split_at(unit_at);
        let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let factor = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * factor;
        rest = next;
    }
    wait_of_seconds(seconds).filter(|duration| !duration.is_zero())
}
