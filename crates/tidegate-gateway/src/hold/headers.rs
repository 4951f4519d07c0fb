//! What is left, in response headers: those that OpenAI's and Anthropic's SDKs and their users know.

use std::cell::RefCell;
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use tidegate_catalog::NanoDollars;
use tidegate_policy::{Measure, Remaining, Room};
use tidegate_store::Refused;
use tidegate_wire::Dialect;

/// All values together are mostly shorter.
const USUAL_VALUES: usize = 128;

/// Numbers whose texts each thread keeps: limits are the same for call after call.
const KEPT_NUMBERS: usize = 16;

/// The names of the headers about one kind of limit.
struct Names {
    limit: HeaderName,
    remaining: HeaderName,
    reset: HeaderName,
}

const OPENAI_REQUESTS: Names = Names {
    limit: HeaderName::from_static("x-ratelimit-limit-requests"),
    remaining: HeaderName::from_static("x-ratelimit-remaining-requests"),
    reset: HeaderName::from_static("x-ratelimit-reset-requests"),
};
const OPENAI_TOKENS: Names = Names {
    limit: HeaderName::from_static("x-ratelimit-limit-tokens"),
    remaining: HeaderName::from_static("x-ratelimit-remaining-tokens"),
    reset: HeaderName::from_static("x-ratelimit-reset-tokens"),
};
const ANTHROPIC_REQUESTS: Names = Names {
    limit: HeaderName::from_static("anthropic-ratelimit-requests-limit"),
    remaining: HeaderName::from_static("anthropic-ratelimit-requests-remaining"),
    reset: HeaderName::from_static("anthropic-ratelimit-requests-reset"),
};
const ANTHROPIC_TOKENS: Names = Names {
    limit: HeaderName::from_static("anthropic-ratelimit-tokens-limit"),
    remaining: HeaderName::from_static("anthropic-ratelimit-tokens-remaining"),
    reset: HeaderName::from_static("anthropic-ratelimit-tokens-reset"),
};
const BUDGET_LIMIT: HeaderName = HeaderName::from_static("x-tidegate-budget-limit");
const BUDGET_REMAINING: HeaderName = HeaderName::from_static("x-tidegate-budget-remaining");

/// Adds what is known about the room that is left.
pub(crate) fn put_room(headers: &mut HeaderMap, room: &Room, dialect: Dialect) {
    let mut values = Values::new();
    let kinds = [
        (OPENAI_REQUESTS, ANTHROPIC_REQUESTS, &room.requests),
        (OPENAI_TOKENS, ANTHROPIC_TOKENS, &room.tokens),
    ];
    for (openai, anthropic, remaining) in kinds {
        let Some(remaining) = remaining else { continue };
        values.put_rate(headers, openai, remaining, |bytes| put_words(bytes, remaining.reset_after));
        if dialect == Dialect::AnthropicMessages
            && let Some(moment) = moment_after(remaining.reset_after)
        {
            values
                .put_rate(headers, anthropic, remaining, |bytes| bytes.extend_from_slice(moment.as_bytes()));
        }
    }
    if let Some(budget) = &room.budget {
        values.put_budget(headers, budget.limit, budget.remaining);
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
            Values::new().put_budget(headers, *usd, (*usd - *used - *held).max(NanoDollars::ZERO));
        }
        Refused::Unavailable { .. } => {}
    }
}

/// The values of all headers, one after the other in one piece of memory: all calls come by here.
struct Values(BytesMut);

impl Values {
    fn new() -> Self {
        Self(BytesMut::with_capacity(USUAL_VALUES))
    }

    fn put_rate(
        &mut self,
        headers: &mut HeaderMap,
        names: Names,
        remaining: &Remaining,
        reset: impl FnOnce(&mut BytesMut),
    ) {
        headers.insert(names.limit, kept(Number::Plain(remaining.limit)));
        self.put(headers, names.remaining, |bytes| put_number(bytes, Number::Plain(remaining.remaining)));
        self.put(headers, names.reset, reset);
    }

    fn put_budget(&mut self, headers: &mut HeaderMap, limit: NanoDollars, remaining: NanoDollars) {
        headers.insert(BUDGET_LIMIT, kept(Number::Money(limit)));
        self.put(headers, BUDGET_REMAINING, |bytes| put_number(bytes, Number::Money(remaining)));
    }

    fn put(&mut self, headers: &mut HeaderMap, name: HeaderName, value: impl FnOnce(&mut BytesMut)) {
        value(&mut self.0);
        if let Ok(value) = HeaderValue::from_maybe_shared(self.0.split().freeze()) {
            headers.insert(name, value);
        }
    }
}

/// What a header says in digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Plain(u64),
    Money(NanoDollars),
}

/// A value that has been made for this number before, or a new one.
fn kept(number: Number) -> HeaderValue {
    thread_local! {
        static KEPT: RefCell<Vec<(Number, HeaderValue)>> = const { RefCell::new(Vec::new()) };
    }
    KEPT.with_borrow_mut(|kept| {
        if let Some((_, value)) = kept.iter().find(|(known, _)| *known == number) {
            return value.clone();
        }
        let mut bytes = BytesMut::new();
        put_number(&mut bytes, number);
        // Digits and a point are always a header's value.
        let value = HeaderValue::from_maybe_shared(bytes.freeze()).unwrap_or(HeaderValue::from_static(""));
        if kept.len() >= KEPT_NUMBERS {
            kept.remove(0);
        }
        kept.push((number, value.clone()));
        value
    })
}

fn put_number(bytes: &mut BytesMut, number: Number) {
    match number {
        Number::Plain(number) => put_digits(bytes, number),
        Number::Money(amount) => bytes.extend_from_slice(amount.in_digits().as_str().as_bytes()),
    }
}

/// As Anthropic writes it.
fn moment_after(duration: Duration) -> Option<String> {
    let after = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    let moment = Timestamp::now().checked_add(after).ok()?;
    Some(moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// As OpenAI writes it: `1s`, `6m0s`, `2h0m30s`, `120ms`. Without the detour over formatting, since all calls come by here.
fn put_words(bytes: &mut BytesMut, duration: Duration) {
    let mut put = |number: u64, unit: &str| {
        put_digits(bytes, number);
        bytes.extend_from_slice(unit.as_bytes());
    };
    if duration < Duration::from_secs(1) {
        return put(duration.subsec_millis().into(), "ms");
    }
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    if seconds >= 3_600 {
        put(seconds / 3_600, "h");
    }
    if seconds >= 60 {
        put(seconds / 60 % 60, "m");
    }
    put(seconds % 60, "s");
}

fn put_digits(bytes: &mut BytesMut, number: u64) {
    bytes.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
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
            let mut bytes = BytesMut::new();
            put_words(&mut bytes, Duration::from_millis(milliseconds));
            assert_eq!(bytes, words);
        }
    }
}
