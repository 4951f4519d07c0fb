//! What providers say of their own limits in the headers of their answers, kept for each key of a target: written by
//! `attempt` with every answer, read where a key is chosen and where targets are ranked, so that a key about to run dry is
//! avoided before it answers 429.
//!
//! Kept for a target and not for a key alone, because most providers limit each model by itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;
use smallvec::SmallVec;
use tidegate_policy::Moment;
use tidegate_policy::routing::{Allowance, ProviderLimits};

/// The most keys of a provider whose limits are remembered; those of further ones are taken for unlimited.
const MOST_KEYS: usize = 64;

/// The window of a limit whose headers do not tell: a minute is what nearly all have.
const USUAL_WINDOW: Duration = Duration::from_secs(60);

/// The limit of who says only that nothing is left. Any will do that one call hardly changes once it is whole again.
const PRESUMED_LIMIT: u64 = 100;

/// No provider has a longer window than a month; longer times are mistakes.
const LONGEST_WINDOW: Duration = Duration::from_secs(31 * 24 * 3600);

/// Numbers from here on are no seconds to wait but seconds since 1970, and from the next on milliseconds.
const FIRST_UNIX_SECONDS: f64 = 1e8;
const FIRST_UNIX_MILLISECONDS: f64 = 1e11;

/// The limits of a target, by the fingerprints of its provider's keys.
#[derive(Debug, Default)]
pub(crate) struct LimitsByKey {
    /// Providers that say nothing of limits cost nothing.
    is_known: AtomicBool,
    keys: Mutex<SmallVec<[(u64, ProviderLimits); 1]>>,
}

impl LimitsByKey {
    /// Takes what an answer's headers say.
    pub(crate) fn note(&self, key: u64, headers: &HeaderMap, now: Moment) {
        let Some(limits) = read(headers, now, Timestamp::now) else { return };
        let mut keys = self.keys();
        if let Some((_, known)) = keys.iter_mut().find(|(known, _)| *known == key) {
            *known = limits;
        } else if keys.len() < MOST_KEYS {
            keys.push((key, limits));
        }
        self.is_known.store(true, Ordering::Relaxed);
    }

    /// A call with so many tokens of input goes out.
    pub(crate) fn take(&self, key: u64, input_tokens: u64) {
        if !self.is_known() {
            return;
        }
        if let Some((_, limits)) = self.keys().iter_mut().find(|(known, _)| *known == key) {
            limits.take(input_tokens);
        }
    }

    /// The share of the tightest limit that such a call would leave; 1 where nothing is known.
    pub(crate) fn headroom(&self, key: u64, now: Moment, input_tokens: u64) -> f64 {
        self.of_key(key).map_or(1.0, |limits| limits.headroom(now, input_tokens))
    }

    /// What is known of a key.
    pub(crate) fn of_key(&self, key: u64) -> Option<ProviderLimits> {
        if !self.is_known() {
            return None;
        }
        self.keys().iter().find(|(known, _)| *known == key).map(|(_, limits)| *limits)
    }

    /// Whether anything is known at all.
    pub(crate) fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Relaxed)
    }

    /// Plain data, whole after every step.
    fn keys(&self) -> MutexGuard<'_, SmallVec<[(u64, ProviderLimits); 1]>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Requests,
    Tokens,
    InputTokens,
    OutputTokens,
}

/// One limit as its headers tell it, up to three of them.
#[derive(Debug)]
struct Told<'a> {
    what: What,
    window: &'a str,
    limit: Option<u64>,
    remaining: Option<u64>,
    reset: Option<Duration>,
}

/// Reads the limits; `None` where the headers say nothing of any.
fn read(headers: &HeaderMap, now: Moment, wall: impl Fn() -> Timestamp) -> Option<ProviderLimits> {
    let mut told: SmallVec<[Told<'_>; 4]> = SmallVec::new();
    for (name, value) in headers {
        let Some((part, what, window)) = meaning(name.as_str()) else { continue };
        let Ok(value) = value.to_str().map(str::trim) else { continue };
        let place = told.iter().position(|it| it.what == what && it.window == window).unwrap_or_else(|| {
            told.push(Told { what, window, limit: None, remaining: None, reset: None });
            told.len() - 1
        });
        let Some(limit) = told.get_mut(place) else { continue };
        match part {
            "limit" => limit.limit = whole(value),
            "remaining" => limit.remaining = whole(value),
            _ => limit.reset = until(value, &wall),
        }
    }
    let mut limits = ProviderLimits::default();
    for limit in &told {
        let Some(allowance) = limit.allowance(now) else { continue };
        let known = match limit.what {
            What::Requests => &mut limits.requests,
            What::Tokens => &mut limits.tokens,
            What::InputTokens => &mut limits.input_tokens,
            What::OutputTokens => &mut limits.output_tokens,
        };
        // With a limit a minute and one a day, the tighter one counts.
        let is_tighter =
            known.is_none_or(|known: Allowance| allowance.headroom(now, 0) < known.headroom(now, 0));
        if is_tighter {
            *known = Some(allowance);
        }
    }
    (limits != ProviderLimits::default()).then_some(limits)
}

impl Told<'_> {
    fn allowance(&self, now: Moment) -> Option<Allowance> {
        let remaining = self.remaining?;
        // Without the limit nobody knows what share is left, unless that is nothing.
        let limit = self.limit.or_else(|| (remaining == 0).then_some(PRESUMED_LIMIT))?;
        let window = match self.window {
            "second" => Duration::from_secs(1),
            "hour" => Duration::from_secs(3_600),
            "day" => Duration::from_secs(24 * 3_600),
            "month" => LONGEST_WINDOW,
            _ => USUAL_WINDOW,
        };
        Allowance::new(now, limit, remaining, self.reset.unwrap_or(window).min(LONGEST_WINDOW))
    }
}

/// What a header's name tells: which part (`limit`, `remaining`, `reset`) of which limit in which window.
///
/// | provider | names |
/// |---|---|
/// | OpenAI, Groq, Azure and most others | `x-ratelimit-{part}-{requests,tokens}` |
/// | Cerebras | `x-ratelimit-{part}-requests-day`, `x-ratelimit-{part}-tokens-minute` |
/// | Mistral | `x-ratelimit-{part}-req-minute`, `x-ratelimit-{part}-tokens-minute`, once `ratelimitbysize-{part}` |
/// | OpenRouter | `x-ratelimit-{part}` |
/// | Anthropic | `anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{part}` |
fn meaning(name: &str) -> Option<(&str, What, &str)> {
    let (part, rest) = if let Some(rest) = name.strip_prefix("x-ratelimit-") {
        rest.split_once('-').unwrap_or((rest, "requests"))
    } else if let Some(rest) = name.strip_prefix("anthropic-ratelimit-") {
        let (rest, part) = rest.rsplit_once('-')?;
        (part, rest)
    } else if let Some(part) = name.strip_prefix("ratelimitbysize-") {
        (part, "tokens")
    } else {
        return None;
    };
    if !matches!(part, "limit" | "remaining" | "reset") {
        return None;
    }
    let (what, window) = match rest.rsplit_once('-') {
        Some((what, window @ ("second" | "minute" | "hour" | "day" | "month"))) => (what, window),
        _ => (rest, ""),
    };
    let what = match what {
        "requests" | "req" => What::Requests,
        "tokens" => What::Tokens,
        "input-tokens" => What::InputTokens,
        "output-tokens" => What::OutputTokens,
        _ => return None,
    };
    Some((part, what, window))
}

/// A count; some write it with a fraction.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits")]
fn whole(value: &str) -> Option<u64> {
    value.parse().ok().or_else(|| {
        let number: f64 = value.parse().ok()?;
        number.is_finite().then(|| number.clamp(0.0, f64::from(u32::MAX)) as u64)
    })
}

/// How long until the limit is whole again: `6m0s`, seconds, a moment in RFC 3339, or a moment since 1970.
fn until(value: &str, wall: &impl Fn() -> Timestamp) -> Option<Duration> {
    if let Ok(number) = value.parse::<f64>() {
        let from = |seconds: f64| Duration::try_from_secs_f64(seconds.max(0.0)).ok();
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit for ages")]
        let now = wall().as_millisecond() as f64 / 1_000.0;
        return match number {
            _ if number < FIRST_UNIX_SECONDS => from(number),
            _ if number < FIRST_UNIX_MILLISECONDS => from(number - now),
            _ => from(number / 1_000.0 - now),
        };
    }
    if let Ok(moment) = value.parse::<Timestamp>() {
        return Some(Duration::try_from(moment.duration_since(wall())).unwrap_or(Duration::ZERO));
    }
    crate::attempt::duration_in_words(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_secs(1_000);

    fn wall() -> Timestamp {
        "2025-06-01T12:00:00Z".parse().unwrap()
    }

    fn limits(pairs: &[(&'static str, &str)]) -> Option<ProviderLimits> {
        let headers = pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        read(&headers, NOW, wall)
    }

    /// What is left by now, a second later, and when it is whole again.
    fn check(allowance: Option<Allowance>, limit: u64, remaining: u64, whole_after: u64) {
        let allowance = allowance.unwrap();
        let number = |count: u64| f64::from(u32::try_from(count).unwrap());
        assert!((allowance.left(NOW) - number(remaining)).abs() < 1e-6, "{allowance:?}");
        assert!((allowance.left(NOW + Duration::from_secs(whole_after)) - number(limit)).abs() < 1e-6);
        if whole_after > 1 && remaining < limit {
            let before = allowance.left(NOW + Duration::from_secs(whole_after - 1));
            assert!(before < number(limit), "{allowance:?}");
        }
    }

    #[test]
    fn what_openai_groq_and_others_write_is_understood() {
        let found = limits(&[
            ("x-ratelimit-limit-requests", "10000"),
            ("x-ratelimit-limit-tokens", "200000"),
            ("x-ratelimit-remaining-requests", "9999"),
            ("x-ratelimit-remaining-tokens", "149984"),
            ("x-ratelimit-reset-requests", "8.64s"),
            ("x-ratelimit-reset-tokens", "6m0s"),
        ])
        .unwrap();
        check(found.requests, 10_000, 9_999, 9);
        check(found.tokens, 200_000, 149_984, 360);
        assert_eq!((found.input_tokens, found.output_tokens), (None, None));
    }

    #[test]
    fn what_anthropic_writes_is_understood() {
        let found = limits(&[
            ("anthropic-ratelimit-requests-limit", "4000"),
            ("anthropic-ratelimit-requests-remaining", "3999"),
            ("anthropic-ratelimit-requests-reset", "2025-06-01T12:00:01Z"),
            ("anthropic-ratelimit-input-tokens-limit", "400000"),
            ("anthropic-ratelimit-input-tokens-remaining", "12000"),
            ("anthropic-ratelimit-input-tokens-reset", "2025-06-01T12:00:58Z"),
            ("anthropic-ratelimit-output-tokens-limit", "80000"),
            ("anthropic-ratelimit-output-tokens-remaining", "80000"),
            ("anthropic-ratelimit-output-tokens-reset", "2025-06-01T11:59:59Z"),
            ("anthropic-ratelimit-tokens-limit", "480000"),
            ("anthropic-ratelimit-tokens-remaining", "92000"),
            ("anthropic-ratelimit-tokens-reset", "2025-06-01T12:00:58Z"),
            ("anthropic-organization-id", "0a1b"),
        ])
        .unwrap();
        check(found.requests, 4_000, 3_999, 1);
        check(found.input_tokens, 400_000, 12_000, 58);
        check(found.output_tokens, 80_000, 80_000, 0);
        check(found.tokens, 480_000, 92_000, 58);
        assert!((found.headroom(NOW, 4_000) - 0.02).abs() < 1e-9, "the tightest is the input");
    }

    #[test]
    fn names_with_a_window_are_understood_and_the_tighter_window_counts() {
        let cerebras = limits(&[
            ("x-ratelimit-limit-requests-day", "14400"),
            ("x-ratelimit-remaining-requests-day", "7200"),
            ("x-ratelimit-reset-requests-day", "33011.382867097855"),
            ("x-ratelimit-limit-requests-minute", "30"),
            ("x-ratelimit-remaining-requests-minute", "29"),
            ("x-ratelimit-limit-tokens-minute", "60000"),
            ("x-ratelimit-remaining-tokens-minute", "59000"),
            ("x-ratelimit-reset-tokens-minute", "11.382867097854614"),
        ])
        .unwrap();
        check(cerebras.requests, 14_400, 7_200, 33_012);
        check(cerebras.tokens, 60_000, 59_000, 12);
        let mistral = limits(&[
            ("x-ratelimit-limit-req-minute", "5"),
            ("x-ratelimit-remaining-req-minute", "4"),
            ("x-ratelimit-limit-tokens-minute", "10000"),
            ("x-ratelimit-remaining-tokens-minute", "9000"),
            ("x-ratelimit-tokens-query-cost", "50"),
        ])
        .unwrap();
        check(mistral.requests, 5, 4, 60);
        check(mistral.tokens, 10_000, 9_000, 60);
        let by_size = [
            ("ratelimitbysize-limit", "500000"),
            ("ratelimitbysize-remaining", "499900"),
            ("ratelimitbysize-reset", "28"),
        ];
        check(limits(&by_size).unwrap().tokens, 500_000, 499_900, 28);
    }

    #[test]
    fn moments_since_1970_and_limits_without_a_number_are_understood() {
        let in_ten_seconds = (wall().as_millisecond() + 10_000).to_string();
        let openrouter = [
            ("x-ratelimit-limit", "20"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", &*in_ten_seconds),
        ];
        check(limits(&openrouter).unwrap().requests, 20, 0, 10);
        // Some deployments tell only what is left.
        assert_eq!(limits(&[("x-ratelimit-remaining-requests", "19")]), None);
        let dry = limits(&[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "5")]);
        let dry = dry.unwrap();
        assert!(dry.headroom(NOW, 0) < 1e-9 && dry.headroom(NOW + Duration::from_secs(5), 0) > 0.9);
    }

    #[test]
    fn what_makes_no_sense_is_left_alone() {
        for pairs in [
            &[("x-ratelimit-limit-requests", "many"), ("x-ratelimit-remaining-requests", "few")][..],
            &[("x-ratelimit-limit-requests", "0"), ("x-ratelimit-remaining-requests", "0")],
            &[("x-ratelimit-limit-requests", "-5"), ("x-ratelimit-remaining-requests", "-6")],
            &[
                ("x-ratelimit-", "1"),
                ("anthropic-ratelimit-", "1"),
                ("anthropic-ratelimit-unified-status", "allowed"),
            ],
            &[],
        ] {
            assert_eq!(limits(pairs), None, "{pairs:?}");
        }
        let odd = limits(&[
            ("x-ratelimit-limit-requests", "10"),
            ("x-ratelimit-remaining-requests", "99999999999999999999999"),
            ("x-ratelimit-reset-requests", "1e300"),
        ]);
        assert!(odd.unwrap().headroom(NOW, 1) > 0.8);
    }
}
