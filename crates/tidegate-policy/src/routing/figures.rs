//! What was measured of one target, from its own calls: written by `attempt` and `relay`, read by `plan` for every call.

use std::time::Duration;

use super::decay::{Peak, Ratio, seconds};
use super::sketch::Sketch;
use crate::Moment;

/// Outcomes count for about this long. Longer than the breaker's window: what fails every tenth call is avoided although no
/// breaker opens.
const OUTCOME_MEMORY: Duration = Duration::from_secs(30);

/// Rates of tokens are those of the last minutes: one call gives only one sample, and answers differ.
const RATE_MEMORY: Duration = Duration::from_secs(120);

/// As many good calls are presumed: a single failure is no failure rate of 100 %.
const PRESUMED_CALLS: f64 = 1.0;

/// A target that is new or has recovered gets its full share only after this time: its caches are cold, its instances few,
/// and nothing is known about it under load. Not longer, so that traffic is back within five seconds of a recovery.
const SLOW_START: Duration = Duration::from_secs(4);

/// Its share at the very beginning.
const FIRST_WARMTH: f64 = 0.2;

/// Fewer tokens than this say little about a rate: most of the time was not spent on them.
const LEAST_TOKENS_FOR_RATE: u64 = 8;

/// Of so many calls that wait for their first token it is known since when. Further ones are younger than these were when
/// they came.
const WAITING_KNOWN: usize = 8;

/// A wait of so many seconds is a first estimate of a target that has never answered.
const LONG_WAIT: f64 = 1.0;

/// What kind of answer a call awaits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answering {
    /// A stream, whose first token is seen.
    Streamed,
    /// A whole answer, of which nothing is seen before its end.
    Whole,
}

/// A call that a target was asked for. Given back to the same [`Figures`] when it ends, in one of three ways.
#[derive(Debug)]
#[must_use = "the call counts as in flight until it is given back"]
pub struct Asked {
    at: Moment,
    answering: Answering,
    first_token_at: Option<Moment>,
}

impl Asked {
    /// When the target was asked.
    pub fn at(&self) -> Moment {
        self.at
    }
}

/// The figures of one target.
#[derive(Debug, Clone)]
pub struct Figures {
    warming_since: Option<Moment>,
    in_flight: u32,
    /// When the streams were asked for that have said nothing yet: the oldest few of them.
    waiting: [Option<Moment>; WAITING_KNOWN],
    calls: u64,
    first_token: Option<Peak>,
    first_tokens: Sketch,
    wholes: Sketch,
    streamed_rate: Ratio,
    whole_rate: Ratio,
    failures: Ratio,
}

/// What is known of a target at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// The time to its first token: rises with one slow call, comes down as time goes by, and is at least as long as the
    /// oldest call has been waiting for it by now.
    pub first_token: Option<Duration>,
    /// How old the newest sample of it is.
    pub sampled_ago: Option<Duration>,
    /// Tokens a second, once it speaks.
    pub tokens_per_second: Option<f64>,
    /// The share of its latest calls that failed: `0.0..=1.0`.
    pub failure_rate: f64,
    /// Calls in flight, those included that it is answering.
    pub in_flight: u32,
    /// Calls that it was ever asked for.
    pub calls: u64,
    /// The share of its traffic that it can be given by now: below 1.0 while it is new or has just recovered.
    pub warmth: f64,
}

/// How long a target's answers take at most, but for few: the first token of a stream, or a whole answer. With too few
/// answers nobody can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slowest {
    /// 95 of 100 are there within this time.
    pub p95: Option<Duration>,
    /// From then on one is late, and a second target may be asked: the 95th percentile, but no more than a few times the
    /// median. A target that has been slow for a minute has a high percentile, and that is no reason to be more patient
    /// with it.
    pub late_after: Option<Duration>,
}

impl Measured {
    /// A target of which nothing is known.
    pub const UNKNOWN: Self = Self {
        first_token: None,
        sampled_ago: None,
        tokens_per_second: None,
        failure_rate: 0.0,
        in_flight: 0,
        calls: 0,
        warmth: 1.0,
    };
}

impl Figures {
    /// A target of which nothing is known yet. One that comes later than the others, by a reload, is given its traffic
    /// little by little; those that come together start alike, because only the difference in warmth counts.
    pub fn new(now: Moment) -> Self {
        Self {
            warming_since: Some(now),
            in_flight: 0,
            waiting: [None; WAITING_KNOWN],
            calls: 0,
            first_token: None,
            first_tokens: Sketch::new(),
            wholes: Sketch::new(),
            streamed_rate: Ratio::default(),
            whole_rate: Ratio::default(),
            failures: Ratio::default(),
        }
    }

    /// The target is asked.
    pub fn begin(&mut self, now: Moment, answering: Answering) -> Asked {
        self.calls = self.calls.saturating_add(1);
        self.in_flight = self.in_flight.saturating_add(1);
        if answering == Answering::Streamed
            && let Some(place) = self.waiting.iter_mut().find(|place| place.is_none())
        {
            *place = Some(now);
        }
        Asked { at: now, answering, first_token_at: None }
    }

    /// The first token of a stream is there. Says nothing about a whole answer, and nothing when said again.
    pub fn first_token(&mut self, asked: &mut Asked, now: Moment) {
        if asked.answering == Answering::Whole || asked.first_token_at.is_some() {
            return;
        }
        self.no_longer_waiting(asked);
        asked.first_token_at = Some(now);
        self.note_first_token(now.saturating_sub(asked.at).as_secs_f64(), now);
    }

    /// The answer is complete, with so many tokens.
    pub fn ended(&mut self, asked: Asked, now: Moment, tokens: u64) {
        let asked = self.take_back(asked);
        self.failures.note(0.0, 1.0, now, OUTCOME_MEMORY);
        let took = now.saturating_sub(asked.first_token_at.unwrap_or(asked.at)).as_secs_f64();
        let counted = f64::from(u32::try_from(tokens).unwrap_or(u32::MAX));
        let says_rate = tokens >= LEAST_TOKENS_FOR_RATE && took > 0.0;
        match asked.answering {
            Answering::Streamed if says_rate && asked.first_token_at.is_some() => {
                self.streamed_rate.note(counted, took, now, RATE_MEMORY);
            }
            Answering::Streamed => {}
            Answering::Whole => {
                self.wholes.note(took, now);
                // How long the model spoke is known from its streams; what is left is the time before its first token.
                // With whole answers alone their whole time takes its place: for that the callers wait.
                let speaking = self.streamed_rate.value().map_or(0.0, |rate| counted / rate);
                self.note_first_token((took - speaking).max(took / 20.0), now);
                if says_rate {
                    self.whole_rate.note(counted, took, now, RATE_MEMORY);
                }
            }
        }
    }

    /// The call failed, in a way that counts against the target.
    pub fn failed(&mut self, asked: Asked, now: Moment) {
        self.failures.note(1.0, 1.0, now, OUTCOME_MEMORY);
        // A failure that came late is as bad as a first token that came late. One that came early is no quick answer.
        self.note_wait(asked, now);
    }

    /// The call ended in a way that says nothing about the target: the caller hung up, the request was bad, another target
    /// was quicker.
    pub fn abandoned(&mut self, asked: Asked, now: Moment) {
        // Except that who gave up waiting has seen that it takes at least so long.
        self.note_wait(asked, now);
    }

    /// The target works again after an outage: its traffic comes back little by little.
    pub fn recovered(&mut self, now: Moment) {
        self.warming_since = Some(now);
        self.forgive();
    }

    /// Its failures are forgotten, with how long it was waited for meanwhile.
    pub fn forgive(&mut self) {
        self.failures = Ratio::default();
        self.first_token = None;
    }

    /// What is known by now.
    pub fn measured(&self, now: Moment) -> Measured {
        let usual = self.usual();
        let oldest = self.waiting.iter().flatten().min();
        let waiting = oldest.map_or(0.0, |&since| now.saturating_sub(since).as_secs_f64());
        let peak = self.first_token.as_ref();
        let first_token = match peak {
            Some(peak) => Some(peak.at(now, usual).max(waiting)),
            None => (waiting >= LONG_WAIT).then_some(waiting),
        };
        Measured {
            first_token: first_token.map(seconds),
            sampled_ago: peak.map(|peak| now.saturating_sub(peak.noted_at())),
            tokens_per_second: self.streamed_rate.value().or_else(|| self.whole_rate.value()),
            failure_rate: self.failures.at(now, OUTCOME_MEMORY, PRESUMED_CALLS),
            in_flight: self.in_flight,
            calls: self.calls,
            warmth: self.warmth(now),
        }
    }

    /// How long its answers take at most, but for few.
    pub fn slowest(&self, answering: Answering) -> Slowest {
        let sketch = match answering {
            Answering::Streamed => &self.first_tokens,
            Answering::Whole => &self.wholes,
        };
        Slowest { p95: sketch.p95(), late_after: sketch.late_after() }
    }

    fn warmth(&self, now: Moment) -> f64 {
        let Some(since) = self.warming_since else { return 1.0 };
        let passed = now.saturating_sub(since).as_secs_f64() / SLOW_START.as_secs_f64();
        (FIRST_WARMTH + (1.0 - FIRST_WARMTH) * passed).min(1.0)
    }

    fn usual(&self) -> f64 {
        self.first_tokens.median().unwrap_or(0.0)
    }

    fn note_first_token(&mut self, sample: f64, now: Moment) {
        self.first_tokens.note(sample, now);
        let usual = self.usual();
        match &mut self.first_token {
            Some(peak) => peak.note(sample, now, usual),
            None => self.first_token = Some(Peak::new(sample, now)),
        }
    }

    /// Takes back a call that may have waited for a first token in vain. A wait can only show that the target is slow.
    fn note_wait(&mut self, asked: Asked, now: Moment) {
        let asked = self.take_back(asked);
        if asked.first_token_at.is_some() || asked.answering == Answering::Whole {
            return;
        }
        let waited = now.saturating_sub(asked.at).as_secs_f64();
        let usual = self.usual();
        match &mut self.first_token {
            Some(peak) if waited > peak.at(now, usual) => peak.note(waited, now, usual),
            None if waited >= LONG_WAIT => self.first_token = Some(Peak::new(waited, now)),
            Some(_) | None => {}
        }
    }

    fn take_back(&mut self, asked: Asked) -> Asked {
        self.in_flight = self.in_flight.saturating_sub(1);
        if asked.first_token_at.is_none() {
            self.no_longer_waiting(&asked);
        }
        asked
    }

    fn no_longer_waiting(&mut self, asked: &Asked) {
        if asked.answering == Answering::Streamed
            && let Some(place) = self.waiting.iter_mut().find(|place| **place == Some(asked.at))
        {
            *place = None;
        }
    }
}
