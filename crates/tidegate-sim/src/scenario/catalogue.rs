//! The one table of names: each row documents a name and says what it does, so that neither can be without the other.
//! `GET /sim/scenarios` prints it. A key that has a name from it gets that error for every model: so one key of a provider
//! can fail while another works.

use serde::Serialize;
use tidegate_wire::FailureKind;

use super::behaviour::{Behaviour, Failure, Fault, History, seconds};

/// What there is to know about a name.
#[derive(Debug, Clone, Serialize)]
pub struct ScenarioFacts {
    /// The name; `{n}` stands for a number.
    pub pattern: &'static str,
    /// A name to try.
    pub example: &'static str,
    /// The kind of failure that a gateway should see, if any.
    pub failure: Option<FailureKind>,
    /// What happens.
    pub what: &'static str,
}

/// All names.
pub fn scenarios() -> Vec<ScenarioFacts> {
    let facts = |row: &Row| ScenarioFacts {
        pattern: row.pattern,
        example: row.example,
        failure: row.failure,
        what: row.what,
    };
    ROWS.iter().map(facts).collect()
}

/// What a model's name asks for: `[anything/]part[+part…][@suffix or :suffix]`. Unknown parts ask for nothing.
pub(crate) fn behaviour_of(model: &str) -> Behaviour {
    let last = model.rsplit('/').next().unwrap_or(model);
    let name = last.split(['@', ':']).next().unwrap_or(last);
    let mut behaviour = Behaviour::default();
    for part in name.split('+') {
        for row in ROWS {
            if let Some(number) = numbers_in(row.pattern, part) {
                (row.apply)(number, &mut behaviour);
                break;
            }
        }
    }
    behaviour
}

/// The number at `{n}`, 0 where the pattern has none; `None` where the name is not of the pattern.
fn numbers_in(pattern: &str, name: &str) -> Option<u64> {
    let Some((before, after)) = pattern.split_once("{n}") else {
        return (pattern == name).then_some(0);
    };
    let digits = name.strip_prefix(before)?.strip_suffix(after)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

struct Row {
    pattern: &'static str,
    example: &'static str,
    failure: Option<FailureKind>,
    what: &'static str,
    apply: fn(u64, &mut Behaviour),
}

const fn row(
    pattern: &'static str,
    example: &'static str,
    failure: Option<FailureKind>,
    what: &'static str,
    apply: fn(u64, &mut Behaviour),
) -> Row {
    Row { pattern, example, failure, what, apply }
}

/// Where a number is needed and none is given.
const DEFAULT_HUGE_MEGABYTES: u64 = 32;

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row("rate-limited-{n}s", "rate-limited-2s", Some(FailureKind::RateLimited), "429 to every call, to come back in so many seconds (Retry-After; at Gemini RetryInfo in the body)", |n, to| to.refuse = Some(Failure::RateLimited { seconds: n })),
    row("rate-limited-once-{n}s", "rate-limited-once-2s", Some(FailureKind::RateLimited), "429 for so many seconds from the first call of this name on, then an answer", |n, to| { to.refuse = Some(Failure::RateLimited { seconds: n }); to.history = Some(History::Until(n)); }),
    row("rate-limited-reset-{n}s", "rate-limited-reset-2s", Some(FailureKind::RateLimited), "429 where only the x-ratelimit-reset-* headers say when to come back (Gemini has none: RetryInfo)", |n, to| to.refuse = Some(Failure::RateLimitedReset { seconds: n })),
    row("out-of-quota", "out-of-quota", Some(FailureKind::OutOfQuota), "no credit left: 429 insufficient_quota, Anthropic 400 about the credit balance, Gemini 429 with a daily quota", |_, to| to.refuse = Some(Failure::OutOfQuota)),
    row("overloaded", "overloaded", Some(FailureKind::Overloaded), "503, at Anthropic 529", |_, to| to.refuse = Some(Failure::Overloaded)),
    row("overloaded-for-{n}s", "overloaded-for-60s", Some(FailureKind::Overloaded), "503, at Anthropic 529, for so many seconds from the first call of this name on, then an answer", |n, to| { to.refuse = Some(Failure::Overloaded); to.history = Some(History::Until(n)); }),
    row("overloaded-529", "overloaded-529", Some(FailureKind::Overloaded), "529 in every dialect", |_, to| to.refuse = Some(Failure::Overloaded529)),
    row("overloaded-in-stream", "overloaded-in-stream", Some(FailureKind::Overloaded), "200, then an overload error as the first event; whole: as `overloaded`", |_, to| to.fault = Some(Fault::OverloadedAfter(0))),
    row("overloaded-after-{n}", "overloaded-after-5", Some(FailureKind::Overloaded), "an overload error in the stream after so many tokens; whole: as `overloaded`", |n, to| to.fault = Some(Fault::OverloadedAfter(n))),
    row("error-500", "error-500", Some(FailureKind::ProviderError), "500", |_, to| to.refuse = Some(Failure::Server { status: 500 })),
    row("error-502", "error-502", Some(FailureKind::ProviderError), "502", |_, to| to.refuse = Some(Failure::Server { status: 502 })),
    row("error-503", "error-503", Some(FailureKind::Overloaded), "503", |_, to| to.refuse = Some(Failure::Server { status: 503 })),
    row("error-504", "error-504", Some(FailureKind::ProviderError), "504", |_, to| to.refuse = Some(Failure::Server { status: 504 })),
    row("error-in-band", "error-in-band", Some(FailureKind::ProviderError), "200 whose body, or first event, is an error object", |_, to| to.refuse = Some(Failure::InBand)),
    row("error-after-{n}", "error-after-5", Some(FailureKind::ProviderError), "a server error in the stream after so many tokens; whole: as `error-500`", |n, to| to.fault = Some(Fault::ErrorAfter(n))),
    row("html-error-502", "html-error-502", Some(FailureKind::ProviderError), "502 with a proxy's HTML page", |_, to| to.refuse = Some(Failure::Html { status: 502 })),
    row("credentials-401", "credentials-401", Some(FailureKind::Credentials), "the key is wrong: 401, at Gemini 400 API_KEY_INVALID", |_, to| to.refuse = Some(Failure::Credentials { status: 401 })),
    row("credentials-403", "credentials-403", Some(FailureKind::Credentials), "the key may not: 403", |_, to| to.refuse = Some(Failure::Credentials { status: 403 })),
    row("no-such-model", "no-such-model", Some(FailureKind::NoSuchModel), "404 for the model", |_, to| to.refuse = Some(Failure::NoSuchModel)),
    row("bad-request", "bad-request", Some(FailureKind::BadRequest), "400", |_, to| to.refuse = Some(Failure::BadRequest)),
    row("unprocessable-422", "unprocessable-422", Some(FailureKind::BadRequest), "422", |_, to| to.refuse = Some(Failure::Unprocessable)),
    row("too-large-413", "too-large-413", Some(FailureKind::BadRequest), "413", |_, to| to.refuse = Some(Failure::TooLarge)),
    row("context-length-{n}", "context-length-8000", Some(FailureKind::ContextLength), "400 when the request has more tokens (a token is four bytes of text), else an answer", |n, to| to.refuse = Some(Failure::ContextLength { window: n })),
    row("content-policy", "content-policy", Some(FailureKind::ContentPolicy), "the request is refused: 400; at Gemini a 200 with promptFeedback.blockReason", |_, to| to.refuse = Some(Failure::ContentPolicy)),
    row("content-filter", "content-filter", Some(FailureKind::ContentPolicy), "an answer that ends with the filter's finish reason", |_, to| to.content_filter = true),
    row("refusal", "refusal", None, "the model declines: OpenAI `refusal`, Anthropic stop_reason `refusal`, Gemini SAFETY", |_, to| to.refusal = true),
    row("malformed", "malformed", Some(FailureKind::Malformed), "the first event, or the body, is not JSON", |_, to| to.fault = Some(Fault::MalformedAt(1))),
    row("malformed-{n}", "malformed-10", Some(FailureKind::Malformed), "the event of this number is not JSON; whole: as `malformed-body`", |n, to| to.fault = Some(Fault::MalformedAt(n))),
    row("malformed-body", "malformed-body", Some(FailureKind::Malformed), "a body that breaks off inside the JSON though its length is right; streamed: as `malformed`", |_, to| to.fault = Some(Fault::MalformedBody)),
    row("wrong-content-type", "wrong-content-type", Some(FailureKind::Malformed), "a right answer called text/html", |_, to| to.fault = Some(Fault::WrongContentType)),
    row("cut-after-{n}", "cut-after-40", Some(FailureKind::Truncated), "the connection is closed after so many tokens, without a terminal event; whole: inside the body", |n, to| to.fault = Some(Fault::CutAfter(n))),
    row("reset-after-{n}", "reset-after-5", Some(FailureKind::Truncated), "a TCP reset after so many tokens; whole: inside the body", |n, to| to.fault = Some(Fault::ResetAfter(n))),
    row("lying-length", "lying-length", Some(FailureKind::Truncated), "content-length promises more bytes than come before the connection closes", |_, to| to.fault = Some(Fault::LyingLength)),
    row("cut-before-headers", "cut-before-headers", Some(FailureKind::Unreachable), "the connection is closed before any header", |_, to| to.fault = Some(Fault::CutBeforeHeaders)),
    row("reset", "reset", Some(FailureKind::Unreachable), "a TCP reset before any header", |_, to| to.fault = Some(Fault::Reset)),
    row("no-done", "no-done", None, "a complete stream but for [DONE] or message_stop (Gemini has none)", |_, to| to.fault = Some(Fault::NoDone)),
    row("stall", "stall", Some(FailureKind::Timeout), "headers, then nothing for ever", |_, to| to.fault = Some(Fault::Stall)),
    row("stall-after-{n}", "stall-after-10", Some(FailureKind::Stalled), "silence for ever after so many tokens; whole: inside the body", |n, to| to.fault = Some(Fault::StallAfter(n))),
    row("silent", "silent", Some(FailureKind::Timeout), "takes the request and never answers", |_, to| to.fault = Some(Fault::Silent)),
    row("empty", "empty", Some(FailureKind::Malformed), "200 with an empty body", |_, to| to.fault = Some(Fault::EmptyBody)),
    row("empty-stream", "empty-stream", None, "a well-formed answer without any content", |_, to| to.fault = Some(Fault::EmptyAnswer)),
    row("huge-line", "huge-line", Some(FailureKind::Malformed), "one event, or a body, of 32 MB", |_, to| to.fault = Some(Fault::HugeLine(DEFAULT_HUGE_MEGABYTES))),
    row("huge-line-{n}", "huge-line-1", Some(FailureKind::Malformed), "one event, or a body, of so many MB", |n, to| to.fault = Some(Fault::HugeLine(n))),
    row("slow-first-token-{n}s", "slow-first-token-20s", Some(FailureKind::Timeout), "the first token, or the whole answer, takes so many seconds; a stream has its headers at once", |n, to| to.first_token = Some(seconds(n))),
    row("slow-{n}tps", "slow-5tps", None, "so many tokens a second", |n, to| to.tokens_per_second = Some(f64::from(u32::try_from(n.max(1)).unwrap_or(u32::MAX)))),
    row("flap-{n}s", "flap-60s", Some(FailureKind::Overloaded), "good for so many seconds from the first call of this name on, overloaded for as long, and so on", |n, to| { to.refuse = Some(Failure::Overloaded); to.history = Some(History::Flap(n)); }),
    row("fail-{n}", "fail-2", Some(FailureKind::ProviderError), "500 to the first so many calls of this name, then an answer", |n, to| { to.refuse = Some(Failure::Server { status: 500 }); to.history = Some(History::First(n)); }),
    row("fail-{n}-then-ok", "fail-2-then-ok", Some(FailureKind::ProviderError), "the same", |n, to| { to.refuse = Some(Failure::Server { status: 500 }); to.history = Some(History::First(n)); }),
    row("echo", "echo", None, "answers with the last user text", |_, to| to.echo = true),
    row("describe", "describe", None, "answers with JSON: everything that the request contained, as this provider understood it", |_, to| to.describe = true),
    row("differently", "differently", None, "other words than the other models say to the same request", |_, to| to.differently = true),
    row("tokens-{n}", "tokens-500", None, "an answer of so many tokens", |n, to| to.tokens = Some(u32::try_from(n).unwrap_or(u32::MAX))),
    row("tools", "tools", None, "calls a tool whenever the request has some", |_, to| to.tools = true),
    row("parallel-tools", "parallel-tools", None, "calls every tool at once, or the only one twice", |_, to| { to.tools = true; to.parallel_tools = true; }),
    row("thinking", "thinking", None, "thinks first, also unasked", |_, to| to.thinking = true),
    row("redacted", "redacted", None, "thinks, with a redacted block (Anthropic)", |_, to| { to.thinking = true; to.redacted = true; }),
    row("reasoning-content", "reasoning-content", None, "thinks, and shows it as `reasoning_content`, as OpenAI-compatible servers do", |_, to| { to.thinking = true; to.reasoning_content = true; }),
    row("signed-calls", "signed-calls", None, "function calls carry a thought signature and want it back (Gemini; so do all models called gemini-3…)", |_, to| to.signed_calls = true),
    row("citations", "citations", None, "the text carries citations", |_, to| to.citations = true),
    row("cached", "cached", None, "three quarters of the input are read from the prompt cache", |_, to| to.cached = true),
    row("no-usage", "no-usage", None, "an answer without usage, as some compatible servers give", |_, to| to.no_usage = true),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_a_name_of_its_own_row_and_of_no_earlier_one() {
        for row in ROWS {
            let first = ROWS.iter().find(|other| numbers_in(other.pattern, row.example).is_some()).unwrap();
            assert_eq!(first.pattern, row.pattern, "{} is taken by an earlier row", row.example);
        }
    }

    #[test]
    fn a_name_may_have_a_provider_in_front_parts_and_a_suffix() {
        for name in ["fail-2@test17", "fail-2:test17", "sim/fail-2", "a/b/fail-2+echo@x"] {
            assert_eq!(behaviour_of(name).history, Some(History::First(2)), "{name}");
        }
        let behaviour = behaviour_of("tools+cut-after-3@x");
        assert!(behaviour.tools);
        assert_eq!(behaviour.fault, Some(Fault::CutAfter(3)));
    }

    #[test]
    fn unknown_names_ask_for_nothing() {
        for name in ["gpt-5-mini", "fail-", "fail-x", "fail--1", "", "cut-after-99999999999999999999"] {
            let behaviour = behaviour_of(name);
            assert!(behaviour.refuse.is_none() && behaviour.fault.is_none(), "{name}");
        }
    }
}
