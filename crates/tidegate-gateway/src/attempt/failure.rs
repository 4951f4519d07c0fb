//! What went wrong with an attempt, and what the caller is told when it was the last.

use std::time::Duration;

use http::HeaderMap;
use tidegate_policy::rule;
use tidegate_wire::{ErrorClass, FailureKind, ProviderError, ReplyError, wait_of_seconds};

use super::withheld::Withheld;
use crate::error::{GatewayError, Source};
use crate::plan::{Plan, Planned};
use crate::provider::Provider;
use crate::upstream::{SendError, SendFailure};

/// The longest wait that a provider's header can ask for; anything longer is as good as never, and absurd values must
/// not overflow.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The most characters of a provider's own words that are handed on.
const MAX_WORDS: usize = 2_000;

/// An attempt that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    /// The provider's status, if it came so far.
    pub(crate) status: Option<u16>,
    /// When the provider says to come back.
    pub(crate) retry_after: Option<Duration>,
    /// What happened: the provider's own words, or ours.
    pub(crate) message: String,
    pub(crate) code: Option<String>,
    pub(crate) param: Option<String>,
    /// `provider/upstream-model`.
    pub(crate) target: Box<str>,
    /// Whether the provider has had the one more try on a fresh connection already.
    pub(crate) was_sent_again: bool,
    /// The call's deadline left the target far less time than its configuration grants, so that its silence says nothing
    /// about it. Else a caller with a deadline of a millisecond could open the breaker for everybody.
    pub(crate) is_cut_short: bool,
    /// It did answer, but only to refuse the content; kept for the case that nobody else says more.
    pub(crate) withheld: Option<Box<Withheld>>,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, target: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            status: None,
            retry_after: None,
            message: message.into(),
            code: None,
            param: None,
            target: target.into(),
            was_sent_again: false,
            is_cut_short: false,
            withheld: None,
        }
    }

    /// Its answer is a refusal of the content and nothing else.
    pub(super) fn of_refusal(withheld: Withheld, target: &str) -> Self {
        Self {
            status: Some(200),
            withheld: Some(Box::new(withheld)),
            ..Self::new(FailureKind::ContentPolicy, target, "it refused the content and said nothing")
        }
    }

    /// No answer came.
    pub(crate) fn of_sending(failure: &SendFailure, target: &str) -> Self {
        let kind = match failure.error {
            // Silence, not a refusal: another try would only multiply the wait.
            SendError::ConnectTimeout { .. } => FailureKind::Timeout,
            _ => FailureKind::Unreachable,
        };
        let was_sent_again = failure.was_sent_again;
        Self { was_sent_again, ..Self::new(kind, target, failure.to_string()) }
    }

    /// The provider said no.
    pub(crate) fn of_provider(error: ProviderError, headers: Option<&HeaderMap>, target: &str) -> Self {
        let from_headers = headers.and_then(retry_after);
        Self {
            kind: error.kind,
            status: Some(error.status),
            retry_after: from_headers.or(error.retry_after).map(|wait| wait.min(LONGEST_RETRY_AFTER)),
            message: shortened(error.message),
            code: error.code,
            param: error.param,
            target: target.into(),
            was_sent_again: false,
            is_cut_short: false,
            withheld: None,
        }
    }

    /// What came is not the dialect, or reports an error in band.
    pub(crate) fn of_reply(error: ReplyError, target: &str) -> Self {
        match error {
            ReplyError::Malformed { .. } => Self::new(FailureKind::Malformed, target, error.to_string()),
            ReplyError::Provider(error) => Self::of_provider(error, None, target),
        }
    }

    /// Takes out what only the operator may know: providers quote the key that they refuse.
    pub(crate) fn conceal(&mut self, provider: &Provider) {
        provider.conceal(&mut self.message);
        for text in [&mut self.code, &mut self.param].into_iter().flatten() {
            provider.conceal(text);
        }
    }

    /// What the caller is told.
    pub(crate) fn to_error(&self) -> GatewayError {
        let status = rule(self.kind).caller_status.or(self.status).unwrap_or(400);
        let target = &self.target;
        // The provider's own words stay as they are; a sentence built around them needs no second full stop.
        let words = self.message.as_str();
        let clause = words.trim_end_matches(['.', '?', '!']);
        let (class, code, message) = match self.kind {
            FailureKind::Unreachable => (
                ErrorClass::Upstream,
                "upstream_unreachable",
                format!(
                    "{target} could not be reached: {clause}. Try again; if it lasts, check the provider's base URL and status."
                ),
            ),
            FailureKind::Timeout => (
                ErrorClass::Timeout,
                "upstream_timeout",
                format!("{target} did not answer in time: {clause}. Try again, or raise the deadline."),
            ),
            FailureKind::RateLimited => (
                ErrorClass::RateLimit,
                "rate_limit_exceeded",
                format!("{target} is at its rate limit: {words}"),
            ),
            FailureKind::OutOfQuota => (
                ErrorClass::Overloaded,
                "upstream_out_of_quota",
                format!(
                    "The account at {target} has no credit or quota left: {clause}. The operator must see to it."
                ),
            ),
            FailureKind::Overloaded => (
                ErrorClass::Overloaded,
                "upstream_overloaded",
                format!("{target} is overloaded: {clause}. Try again shortly."),
            ),
            FailureKind::ProviderError => {
                (ErrorClass::Upstream, "upstream_error", format!("{target} failed: {clause}. Try again."))
            }
            FailureKind::Credentials => (
                ErrorClass::Upstream,
                "upstream_credentials",
                format!(
                    "{target} refused the credentials that Tidegate has for it: {clause}. Your own key is fine; the operator must see to the provider's."
                ),
            ),
            FailureKind::NoSuchModel => (
                ErrorClass::NotFound,
                "model_not_found",
                format!("{target} does not exist at the provider: {words}"),
            ),
            FailureKind::BadRequest => (
                if status == 413 { ErrorClass::TooLarge } else { ErrorClass::InvalidRequest },
                self.code.as_deref().unwrap_or("invalid_request"),
                format!("{words} (answered by {target})"),
            ),
            FailureKind::ContextLength => (
                ErrorClass::InvalidRequest,
                "context_length_exceeded",
                format!("{words} (answered by {target}; send less, or ask a model with a larger window)"),
            ),
            FailureKind::ContentPolicy => (
                ErrorClass::InvalidRequest,
                self.code.as_deref().unwrap_or("content_policy_violation"),
                format!("{words} (answered by {target})"),
            ),
            FailureKind::Malformed => (
                ErrorClass::Upstream,
                "upstream_malformed",
                format!("{target} answered with something that is not its own format: {clause}. Try again."),
            ),
            FailureKind::Truncated => (
                ErrorClass::Upstream,
                "upstream_truncated",
                format!(
                    "{target} broke its answer off before the end: {clause}. What came so far is incomplete; try again."
                ),
            ),
            FailureKind::Stalled => (
                ErrorClass::Timeout,
                "upstream_stalled",
                format!(
                    "{target} fell silent in the middle of its answer: {clause}. What came so far is incomplete; try again."
                ),
            ),
            FailureKind::Cancelled => {
                (ErrorClass::InvalidRequest, "cancelled", "The caller hung up.".to_owned())
            }
        };
        GatewayError {
            status,
            class,
            source: match self.kind {
                FailureKind::BadRequest | FailureKind::ContextLength | FailureKind::ContentPolicy => {
                    Source::Caller
                }
                _ => Source::Provider,
            },
            failure: Some(self.kind),
            message,
            code: Some(code.to_owned()),
            param: self.param.clone(),
            retry_after: match self.kind {
                FailureKind::RateLimited | FailureKind::Overloaded => self.retry_after,
                _ => None,
            },
        }
    }
}

/// What the caller is told when nobody is left to ask. `cooling` is how long the first of those that only rest would have
/// taken.
pub(crate) fn to_caller(
    last: Option<Failure>,
    cooling: Option<Duration>,
    targets: &[Planned],
    plan: &Plan,
) -> GatewayError {
    let Some(last) = last else {
        let target = targets.first().map_or("the target", |planned| &*planned.target.label);
        let mut limited = Failure::new(
            FailureKind::RateLimited,
            target,
            "an earlier call was told to wait, and that wait ends after this call's deadline.",
        );
        limited.retry_after = cooling;
        return limited.to_error();
    };
    let mut error = last.to_error();
    if last.kind == FailureKind::RateLimited {
        // Clients look for Retry-After on a 429; where the provider gave none, or says that no time has to pass, a short one is
        // better than none.
        let wait = cooling.or(last.retry_after).filter(|wait| !wait.is_zero());
        error.retry_after = Some(wait.unwrap_or(Duration::from_secs(1)));
    }
    // Where the request itself is at fault nobody else was asked.
    if plan.targets.len() > 1 && error.source != Source::Caller {
        error.message.push_str(" All targets of this model were tried or are unavailable.");
    }
    error
}

/// Some servers echo the whole request in their errors.
fn shortened(mut words: String) -> String {
    if let Some((end, _)) = words.char_indices().nth(MAX_WORDS) {
        words.truncate(end);
        words.push('…');
    }
    words
}

/// When a provider says to come back: `retry-after-ms`, `retry-after` (seconds or a date), or the `x-ratelimit-reset-*`
/// of what ran out.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    said_wait(headers).map(|wait| wait.min(LONGEST_RETRY_AFTER))
}

fn said_wait(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let number = |text: &str| text.parse::<f64>().ok();
    if let Some(milliseconds) = text("retry-after-ms").and_then(number) {
        return wait_of_seconds(milliseconds / 1000.0);
    }
    if let Some(value) = text("retry-after") {
        return match number(value) {
            Some(moment) if UNIX_SECONDS.contains(&moment) => Some(until_unix_seconds(moment)),
            Some(seconds) => wait_of_seconds(seconds),
            None => until_http_date(value),
        };
    }
    let is_used_up = |remaining: &str| text(remaining).is_none_or(|left| left == "0");
    let resets = ["requests", "tokens"].iter().filter_map(|what| {
        let reset = text(&format!("x-ratelimit-reset-{what}")).and_then(reset_duration)?;
        is_used_up(&format!("x-ratelimit-remaining-{what}")).then_some(reset)
    });
    let anthropic = ["requests", "tokens", "input-tokens", "output-tokens"].iter().filter_map(|what| {
        let reset = text(&format!("anthropic-ratelimit-{what}-reset")).and_then(until_timestamp)?;
        is_used_up(&format!("anthropic-ratelimit-{what}-remaining")).then_some(reset)
    });
    resets.chain(anthropic).max()
}

/// No wait, but a moment: from 2001 to 2128, as some write it in spite of the standard.
const UNIX_SECONDS: std::ops::Range<f64> = 1e9..5e9;

fn until_unix_seconds(moment: f64) -> Duration {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Duration::try_from_secs_f64(moment - now.as_secs_f64()).unwrap_or(Duration::ZERO)
}

/// Anthropic writes a moment in whole seconds, which may be the one that has just begun: the next is surely right.
fn until_timestamp(text: &str) -> Option<Duration> {
    let then = text.parse::<jiff::Timestamp>().ok()?;
    let wait = Duration::try_from(then.duration_since(jiff::Timestamp::now())).unwrap_or_default();
    Some(wait + Duration::from_secs(1))
}

/// OpenAI writes `1s`, `6m0s`, `120ms`; others write seconds.
fn reset_duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<f64>() {
        // A Unix time would be far above any real wait.
        return Duration::try_from_secs_f64(seconds).ok().filter(|wait| *wait <= LONGEST_RETRY_AFTER);
    }
    duration_in_words(text)
}

/// `1s`, `6m0s`, `120ms`.
pub(crate) fn duration_in_words(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let factor = match rest.get(..letters)? {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * factor).ok()?)?;
        rest = rest.get(letters..)?;
    }
    Some(total)
}

fn until_http_date(text: &str) -> Option<Duration> {
    let then = httpdate::parse_http_date(text).ok()?;
    // A date in the past means at once.
    Some(then.duration_since(std::time::SystemTime::now()).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn an_address_that_is_silent_is_not_tried_again_at_once() {
        let after = Duration::from_secs(2);
        let error = SendError::ConnectTimeout { endpoint: "http://a:80".into(), after };
        let silent = SendFailure { error, was_sent_again: false };
        assert_eq!(Failure::of_sending(&silent, "a/b").kind, FailureKind::Timeout);
    }

    #[test]
    fn every_way_in_which_providers_say_when_is_understood() {
        for (pairs, expected_ms) in [
            (&[("retry-after", "2")][..], Some(2_000)),
            (&[("retry-after", "0.5")], Some(500)),
            (&[("retry-after-ms", "120"), ("retry-after", "9")], Some(120)),
            // As good as never is not the same as nothing.
            (&[("retry-after", "99999999999999999999")], Some(86_400_000)),
            (&[("retry-after", "inf")], Some(86_400_000)),
            (&[("retry-after-ms", "1e300")], Some(86_400_000)),
            (&[("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT")], Some(86_400_000)),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "NaN")], None),
            (&[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")], Some(0)),
            (
                &[("x-ratelimit-reset-requests", "6m0s"), ("x-ratelimit-remaining-requests", "0")],
                Some(360_000),
            ),
            (
                &[
                    ("x-ratelimit-reset-requests", "1s"),
                    ("x-ratelimit-reset-tokens", "120ms"),
                    ("x-ratelimit-remaining-requests", "12"),
                    ("x-ratelimit-remaining-tokens", "0"),
                ],
                Some(120),
            ),
            (
                &[
                    ("anthropic-ratelimit-requests-remaining", "0"),
                    ("anthropic-ratelimit-requests-reset", "2015-10-21T07:28:00Z"),
                ],
                Some(1_000),
            ),
            (
                &[
                    ("anthropic-ratelimit-tokens-remaining", "29000"),
                    ("anthropic-ratelimit-tokens-reset", "2099-10-21T07:28:00Z"),
                ],
                None,
            ),
            (&[("retry-after", "1445412480")], Some(0)),
            (&[("retry-after", "4900000000")], Some(86_400_000)),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "-1")], None),
            (&[("x-ratelimit-reset-tokens", "1790000000")], None),
            (&[], None),
        ] {
            let found = retry_after(&headers(pairs)).map(|wait| wait.as_millis());
            assert_eq!(found, expected_ms, "{pairs:?}");
        }
    }
}
