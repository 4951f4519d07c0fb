//! The closed list of what can go wrong with an attempt, and what a provider's error says.
//!
//! The dialects recognise a failure by status and body ([`crate::Codec::parse_error`]); `tidegate-policy` says what each
//! kind gets; the gateway acts on it and the ledger records it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The kinds of failure. One table decides what each gets (see docs on failures).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// DNS, refused, TLS, or reset before headers.
    Unreachable,
    /// No headers or no first token in time.
    Timeout,
    /// 429.
    RateLimited,
    /// 402, 429 `insufficient_quota`, credit errors.
    OutOfQuota,
    /// 503, 529, `overloaded_error`, also inside a 200 stream.
    Overloaded,
    /// 500, 502, 504, in-band error objects.
    ProviderError,
    /// 401 or 403 from the provider.
    Credentials,
    /// 404 for the model.
    NoSuchModel,
    /// 400, 413, 422.
    BadRequest,
    /// A 400 that says the input is longer than the model's window.
    ContextLength,
    /// A 400 that says the content is not allowed.
    ContentPolicy,
    /// A body or stream event that is not the dialect.
    Malformed,
    /// A stream that ends without its terminal event.
    Truncated,
    /// No byte for the idle time inside a stream.
    Stalled,
    /// The caller hung up.
    Cancelled,
}

impl FailureKind {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 15] = [
        Self::Unreachable,
        Self::Timeout,
        Self::RateLimited,
        Self::OutOfQuota,
        Self::Overloaded,
        Self::ProviderError,
        Self::Credentials,
        Self::NoSuchModel,
        Self::BadRequest,
        Self::ContextLength,
        Self::ContentPolicy,
        Self::Malformed,
        Self::Truncated,
        Self::Stalled,
        Self::Cancelled,
    ];

    /// The word for the ledger, the metrics and configuration files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::RateLimited => "rate_limited",
            Self::OutOfQuota => "out_of_quota",
            Self::Overloaded => "overloaded",
            Self::ProviderError => "provider_error",
            Self::Credentials => "credentials",
            Self::NoSuchModel => "no_such_model",
            Self::BadRequest => "bad_request",
            Self::ContextLength => "context_length",
            Self::ContentPolicy => "content_policy",
            Self::Malformed => "malformed",
            Self::Truncated => "truncated",
            Self::Stalled => "stalled",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What a provider said when it refused or failed, whole or inside a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderError {
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// The HTTP status; for an error inside a 200 stream the status that the error would have had, where the dialect
    /// says, else 500.
    pub status: u16,
    /// The provider's own words. Never empty: where the body says nothing readable, a sentence that says so.
    pub message: String,
    /// The provider's word for the type of error (`invalid_request_error`, `INVALID_ARGUMENT`, …).
    pub error_type: Option<String>,
    /// The provider's code (`context_length_exceeded`, …).
    pub code: Option<String>,
    /// The request's field that is at fault.
    pub param: Option<String>,
    /// When to come back, where the *body* says (Google's `RetryInfo`); headers are the gateway's business.
    pub retry_after: Option<Duration>,
}

/// What a caller is told, before a dialect gives it a shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerError {
    /// The HTTP status.
    pub status: u16,
    /// What class of error it is: dialects choose their type word by it, so that the caller's SDK raises the exception
    /// its users know.
    pub class: ErrorClass,
    /// What happened, at which target, and what to do.
    pub message: String,
    /// A code, where one is known (`context_length_exceeded`, `model_not_found`, …).
    pub code: Option<String>,
    /// The request's field that is at fault.
    pub param: Option<String>,
    /// The call's id.
    pub request_id: Option<String>,
}

/// The classes of errors that callers' SDKs tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The request is wrong (400, 422).
    InvalidRequest,
    /// No key or a wrong one (401).
    Authentication,
    /// The key may not do this (403).
    Permission,
    /// No such model, route or object (404).
    NotFound,
    /// The method is not allowed on this path (405).
    MethodNotAllowed,
    /// The body is too large (413).
    TooLarge,
    /// Too many requests or tokens (429).
    RateLimit,
    /// The budget is used up (402).
    Budget,
    /// Nobody can take the call now (503, 529).
    Overloaded,
    /// Nobody answered in time (504).
    Timeout,
    /// A provider failed (502), or Tidegate itself did (500).
    Upstream,
}

/// A wait that a provider asks for, in seconds. One that no clock can hold is as good as the longest that one can; what is
/// negative or no number says nothing.
pub fn wait_of_seconds(seconds: f64) -> Option<Duration> {
    (seconds >= 0.0).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}
