//! What is left, in response headers: those that OpenAI's and Anthropic's SDKs and their users know.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use tidegate_catalog::NanoDollars;
use tidegate_policy::{Measure, Remaining, Room};
use tidegate_store::Refused;
use tidegate_wire::Dialect;

/// Adds what is known about the room that is left.
pub(crate) fn put_room(headers: &mut HeaderMap, room: &Room, dialect: Dialect) {
    for (what, remaining) in [("requests", &room.requests), ("tokens", &room.tokens)] {
        let Some(remaining) = remaining else { continue };
        put_openai(headers, what, remaining);
        if dialect == Dialect::AnthropicMessages {
            put_anthropic(headers, what, remaining);
        }
    }
    if let Some(budget) = &room.budget {
        put(headers, "x-tidegate-budget-limit", &budget.limit.to_string());
        put(headers, "x-tidegate-budget-remaining", &budget.remaining.to_string());
    }
}

/// Adds what a refusal says about the limit that was reached.
pub(crate) fn put_refused(headers: &mut HeaderMap, refused: &Refused, dialect: Dialect) {
    match refused {
        Refused::Limit { measure, limit, retry_after, .. } => {
            let remaining = Remaining { limit: *limit, remaining: 0, reset_after: *retry_after };
            let room = match measure {
                Measure::Requests => Room { requests: Some(remaining), ..Room::default() },
                Measure::Tokens => Room { tokens: Some(remaining), ..Room::default() },
                Measure::InFlight => return,
            };
            put_room(headers, &room, dialect);
        }
        Refused::Budget { usd, used, held, .. } => {
            put(headers, "x-tidegate-budget-limit", &usd.to_string());
            let remaining = (*usd - *used - *held).max(NanoDollars::ZERO);
            put(headers, "x-tidegate-budget-remaining", &remaining.to_string());
        }
        Refused::Unavailable { .. } => {}
    }
}

fn put_openai(headers: &mut HeaderMap, what: &str, remaining: &Remaining) {
    put(headers, &format!("x-ratelimit-limit-{what}"), &remaining.limit.to_string());
    put(headers, &format!("x-ratelimit-remaining-{what}"), &remaining.remaining.to_string());
    put(headers, &format!("x-ratelimit-reset-{what}"), &in_words(remaining.reset_after));
}

fn put_anthropic(headers: &mut HeaderMap, what: &str, remaining: &Remaining) {
    put(headers, &format!("anthropic-ratelimit-{what}-limit"), &remaining.limit.to_string());
    put(headers, &format!("anthropic-ratelimit-{what}-remaining"), &remaining.remaining.to_string());
    let after = SignedDuration::try_from(remaining.reset_after).unwrap_or(SignedDuration::MAX);
    if let Ok(moment) = Timestamp::now().checked_add(after) {
        let moment = moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        put(headers, &format!("anthropic-ratelimit-{what}-reset"), &moment);
    }
}

/// As OpenAI writes it: `1s`, `6m0s`, `2h0m30s`, `120ms`.
fn in_words(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        return format!("{}ms", duration.as_millis());
    }
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_written_as_openai_writes_it() {
        for (milliseconds, words) in [
            (0, "0ms"),
            (120, "120ms"),
            (1_000, "1s"),
            (59_001, "1m0s"),
            (360_000, "6m0s"),
            (7_230_000, "2h0m30s"),
        ] {
            assert_eq!(in_words(Duration::from_millis(milliseconds)), words);
        }
    }
}
