//! What a provider's words mean: each provider's own wording of the errors that get a policy of their own. Called by
//! `error`.
//!
//! The words come from the providers' and servers' documentation and from errors that people reported; all are looked
//! for in lower case, over code, type and message together.

use std::time::Duration;

use crate::failure::{FailureKind, outside_quotes};

/// The input is longer than the model's window.
const CONTEXT_LENGTH: &[&str] = &[
    // OpenAI, Groq, vLLM, SGLang, OpenRouter, DeepSeek, Fireworks
    "context_length_exceeded",
    "maximum context length",
    "maximum model length",
    "exceeds the context window",
    "input tokens exceed the configured limit",
    // GitHub's models, at Azure
    "tokens_limit_reached",
    // Azure, Databricks
    "exceed context limit",
    "maximum context limit",
    // llama.cpp, Lemonade
    "exceed_context_size_error",
    "exceeds the available context size",
    "context size has been exceeded",
    // LM Studio
    "greater than the context length",
    // Ollama
    "input length exceeds the context length",
    "input length exceeds context length",
    // Together
    "longer than the model's context length",
    // TGI, Hugging Face
    "`inputs` tokens + `max_new_tokens` must be",
    "`inputs` must have less than",
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
    // Anthropic's and Google's words behind compatible endpoints
    "prompt is too long",
    "input is too long",
    "exceeds the maximum number of tokens",
    "model_context_window_exceeded",
];

/// The content is not allowed.
const CONTENT_POLICY: &[&str] = &[
    "content_policy_violation",
    "content_filter",
    "responsibleaipolicyviolation",
    "content management policy",
    "violating our usage policy",
    "violates our usage polic",
    "violates usage guidelines",
    "safety system",
    "moderation_blocked",
    "requires moderation",
    "flagged by moderation",
    // Alibaba
    "data_inspection_failed",
    "datainspectionfailed",
    // DeepSeek
    "content exists risk",
    // Moonshot
    "considered high risk",
];

/// The account has no money or allowance left.
const OUT_OF_QUOTA: &[&str] = &[
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing hard limit",
    "billing_not_active",
    // Moonshot
    "exceeded_current_quota",
    "insufficient balance",
    "insufficient_balance",
    "insufficient credit",
    "insufficient funds",
    "insufficient account balance",
    "credit balance is too low",
    "requires more credits",
    "never purchased credits",
    "run out of credits",
    "all available credits",
    "credit limit exceeded",
    "monthly spending limit",
    // OpenRouter's limit of a single key
    "key limit exceeded",
    // Alibaba
    "arrearage",
];

/// The model is not there.
const NO_SUCH_MODEL: &[&str] = &[
    "model_not_found",
    "model_decommissioned",
    "model_terms_required",
    "unknown_model",
    "is not a valid model id",
    "model not exist",
    "invalid model",
    "unable to access non-serverless model",
    "no endpoints found for",
    "deploymentnotfound",
    // Bedrock
    "model identifier is invalid",
    "with on-demand throughput isn",
];

/// A key that is not valid, said with a status that does not say so.
const CREDENTIALS: &[&str] = &[
    "invalid_api_key",
    "incorrect api key",
    "api key not valid",
    "invalid api key",
    "authentication fails",
    // Groq locks an account out
    "organization_restricted",
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

/// What kind of failure it is. `words` are code, type and message in lower case.
pub(super) fn classify(status: u16, words: &str) -> FailureKind {
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
    let is_client_error = matches!(status, 400..=499);
    let own_words = outside_quotes(words);
    let says_itself = |phrases: &[&str]| phrases.iter().any(|phrase| own_words.contains(phrase));
    // Before the rate limit, whose status it may share; after a status of its own.
    if status == 402 || (is_client_error && says_itself(OUT_OF_QUOTA)) {
        return FailureKind::OutOfQuota;
    }
    match status {
        // OpenAI and Moonshot say that their engines are overloaded with the status of a rate limit.
        429 if words.contains("overloaded") => return FailureKind::Overloaded,
        429 => return FailureKind::RateLimited,
        // Groq refuses what exceeds the limit a minute by itself as too large.
        413 if words.contains("rate_limit_exceeded") || words.contains("tokens per minute") => {
            return FailureKind::RateLimited;
        }
        401 => return FailureKind::Credentials,
        _ => {}
    }
    // Local servers say with a 500 that the input is too long.
    let may_be_input = matches!(status, 400 | 413 | 422 | 500);
    if may_be_input && says(CONTEXT_LENGTH) {
        return FailureKind::ContextLength;
    }
    if matches!(status, 400 | 403 | 422 | 451) && says(CONTENT_POLICY) {
        return FailureKind::ContentPolicy;
    }
    if matches!(status, 400 | 404 | 422) && (says(NO_SUCH_MODEL) || names_missing_model(words)) {
        return FailureKind::NoSuchModel;
    }
    match status {
        403 => FailureKind::Credentials,
        400 if says_itself(CREDENTIALS) => FailureKind::Credentials,
        // The model's own words did not make a call; the request is not at fault.
        400 if words.contains("tool_use_failed") => FailureKind::ProviderError,
        // The route exists, but not for what this request asks of it.
        404 if words.contains("no endpoints found that") => FailureKind::BadRequest,
        404 => FailureKind::NoSuchModel,
        408 => FailureKind::Timeout,
        // Groq's status for a flexible tier without room.
        498 | 503 | 529 => FailureKind::Overloaded,
        // A conflict inside the provider passes by itself.
        409 | 425 => FailureKind::ProviderError,
        400..=499 => FailureKind::BadRequest,
        _ if says(OVERLOADED) => FailureKind::Overloaded,
        _ => FailureKind::ProviderError,
    }
}

/// "The model `x` does not exist", "model "x" not found, try pulling it first" and their kin.
fn names_missing_model(words: &str) -> bool {
    words.lines().any(|line| {
        let after = line.find("model").and_then(|at| line.get(at..)).unwrap_or_default();
        ["does not exist", "not found", "is not supported", "has been deprecated", "been decommissioned"]
            .iter()
            .any(|phrase| after.find(phrase).is_some_and(|at| at < 200))
    })
}

/// The status that an error in band would have had, where it does not say.
pub(super) fn status_of(words: &str) -> u16 {
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
    if says(CONTEXT_LENGTH) || says(CONTENT_POLICY) {
        400
    } else if says(OUT_OF_QUOTA) {
        402
    } else if says(&["rate_limit", "rate limit", "too many requests", "resource_exhausted", "quota exceeded"])
    {
        429
    } else if says(OVERLOADED) {
        503
    } else if says(&["authentication_error", "invalid_api_key"]) {
        401
    } else if says(NO_SUCH_MODEL) {
        404
    } else if says(&["invalid_request_error", "invalid_argument", "badrequesterror"]) {
        400
    } else {
        500
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
    Duration::try_from_secs_f64(seconds).ok().filter(|duration| !duration.is_zero())
}
