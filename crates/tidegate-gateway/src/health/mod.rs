//! How keys and targets are doing: written by `attempt` and at the end of each call, read by `plan`.
//!
//! Everything here is shared by all workers: atomics, and one short lock for a target's breaker and figures, never held
//! across an await.

mod key;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegate_policy::routing::{Answering, Asked, Figures, Measured, Slowest, Standing};
use tidegate_policy::{Breaker, BreakerSettings, BreakerState, Comeback, Moment, Readiness, WhyOut};
use tidegate_wire::{FailureKind, Usage};

pub(crate) use key::{KeyHealth, TroubledKeys};
use key::{LastFailure, PROBE_AFTER, SharedMoment};

use crate::clock::Clock;
use crate::provider_limits::LimitsByKey;

/// For so long after an answer of its own a target is not given up because of what another replica says.
const HEARSAY_AFTER: Duration = Duration::from_secs(1);

/// How one target (a provider's model) is doing, whatever the key.
#[derive(Debug)]
pub(crate) struct TargetHealth {
    state: Mutex<State>,
    out_until: SharedMoment,
    last_failure: LastFailure,
    has_answered: AtomicBool,
    has_series: AtomicBool,
    usual: UsualCall,
    limits: LimitsByKey,
    troubled_keys: TroubledKeys,
    answered_at: SharedMoment,
}

#[derive(Debug)]
struct State {
    breaker: Breaker,
    figures: Figures,
}

/// What `plan` sees of a target.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Glance {
    pub(crate) standing: Standing,
    pub(crate) measured: Measured,
}

impl TargetHealth {
    /// A target that is new.
    pub(crate) fn new(now: Moment) -> Self {
        Self {
            state: Mutex::new(State {
                breaker: Breaker::new(BreakerSettings::default()),
                figures: Figures::new(now),
            }),
            out_until: SharedMoment::default(),
            last_failure: LastFailure::default(),
            has_answered: AtomicBool::new(false),
            has_series: AtomicBool::new(false),
            usual: UsualCall::default(),
            limits: LimitsByKey::default(),
            troubled_keys: TroubledKeys::default(),
            answered_at: SharedMoment::default(),
        }
    }

    pub(crate) fn readiness(&self, now: Moment) -> Readiness {
        let out_until = self.out_until.get();
        if out_until > now {
            return Readiness::Out { why: WhyOut::NoSuchModel, probe_at: out_until };
        }
        let breaker = &self.state().breaker;
        if breaker.is_ready(now) {
            return Readiness::Ready;
        }
        Readiness::Out { why: WhyOut::Failing, probe_at: breaker.ready_at() }
    }

    /// Whether it may be asked, and its figures.
    pub(crate) fn glance(&self, now: Moment) -> Glance {
        let out_until = self.out_until.get();
        let state = self.state();
        let measured = state.figures.measured(now);
        let standing = match state.breaker.standing(now) {
            _ if out_until > now => Standing::Out,
            Standing::Ready if out_until != Moment::ZERO => Standing::Probe,
            standing => standing,
        };
        Glance { standing, measured }
    }

    /// Its figures.
    pub(crate) fn measured(&self, now: Moment) -> Measured {
        self.state().figures.measured(now)
    }

    /// How long its answers take at most, but for few.
    pub(crate) fn slowest(&self, answering: Answering) -> Slowest {
        self.state().figures.slowest(answering)
    }

    /// Its breaker's state.
    pub(crate) fn breaker(&self, now: Moment) -> BreakerState {
        self.state().breaker.state(now)
    }

    /// Until when it is out because its model was refused.
    pub(crate) fn out_until(&self, now: Moment) -> Option<Moment> {
        let until = self.out_until.get();
        (until > now).then_some(until)
    }

    /// What was last held against it, and when.
    pub(crate) fn last_failure(&self) -> Option<(FailureKind, Moment)> {
        self.last_failure.get()
    }

    /// What its calls usually are.
    pub(crate) fn usual(&self) -> &UsualCall {
        &self.usual
    }

    /// What its provider says of its limits.
    pub(crate) fn limits(&self) -> &LimitsByKey {
        &self.limits
    }

    /// Its provider's keys that it has refused or told to wait, whatever they may elsewhere.
    pub(crate) fn troubled_keys(&self) -> &TroubledKeys {
        &self.troubled_keys
    }

    /// Says as well whether this call finds out if the model is there by now, for which others wait.
    fn begin(&self, now: Moment, answering: Answering) -> (Asked, bool) {
        let out_until = self.out_until.get();
        let is_probe = out_until != Moment::ZERO && out_until <= now;
        if is_probe {
            self.out_until.set(now.saturating_add(PROBE_AFTER));
        }
        let mut state = self.state();
        state.breaker.begin(now);
        (state.figures.begin(now, answering), is_probe)
    }

    fn succeed(&self, asked: Option<&mut Asked>, now: Moment) {
        let was_out = self.out_until.get() != Moment::ZERO;
        self.out_until.clear();
        self.has_answered.store(true, Ordering::Relaxed);
        self.answered_at.set(now);
        let mut state = self.state();
        let began = asked.as_ref().map_or(now, |asked| asked.at());
        match state.breaker.succeed(began, now) {
            Comeback::None | Comeback::FromFailures if was_out => state.figures.recovered(now),
            Comeback::FromOutage => state.figures.recovered(now),
            Comeback::FromFailures => state.figures.forgive(),
            Comeback::None => {}
        }
        if let Some(asked) = asked {
            state.figures.first_token(asked, now);
        }
    }

    /// Whether it ever did answer, which a made-up name does not.
    pub(crate) fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed)
    }

    /// Whether it has series of its own in the metrics.
    pub(crate) fn has_series(&self) -> bool {
        self.has_series.load(Ordering::Relaxed)
    }

    pub(crate) fn gets_series(&self) {
        self.has_series.store(true, Ordering::Relaxed);
    }

    /// Another replica's breaker is open. Whoever has just answered a call of our own is not given up for that.
    pub(crate) fn hear_of_outage(&self, until: Moment, now: Moment) {
        if !self.has_just_answered(now) {
            self.state().breaker.hear_of_outage(until, now);
        }
    }

    /// Its model was refused to another replica.
    pub(crate) fn hear_of_refusal(&self, until: Moment, now: Moment) {
        if !self.has_just_answered(now) {
            self.out_until.set(until.max(self.out_until.get()));
        }
    }

    fn has_just_answered(&self, now: Moment) -> bool {
        let answered_at = self.answered_at.get();
        answered_at != Moment::ZERO && now < answered_at.saturating_add(HEARSAY_AFTER)
    }

    /// If it is out or its breaker is open, the next call may find out whether that has to be.
    pub(crate) fn probe_soon(&self, now: Moment) {
        if self.out_until.get() > now {
            self.out_until.set(now);
        }
        self.state().breaker.probe_soon(now);
    }

    /// The configuration was read anew: a model that was missing may have been deployed, its keys allowed more. The breaker
    /// keeps what it knows.
    pub(crate) fn readmit(&self) {
        self.out_until.clear();
        self.troubled_keys.clear();
    }

    /// It failed in the middle of an answer, after its attempt had succeeded so far.
    pub(crate) fn fail(&self, kind: FailureKind, now: Moment) {
        self.last_failure.note(kind, now);
        self.state().breaker.fail(now, now);
    }

    pub(crate) fn put_out(&self, kind: FailureKind, now: Moment) {
        self.last_failure.note(kind, now);
        self.out_until.set(now + PROBE_AFTER);
    }

    /// Breaker and figures are plain data, whole after every step; a panic elsewhere does not spoil them.
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One call at a target, from the question to the end of the answer. Dropped without a word (the caller hung up, another
/// target was quicker), it says nothing about the target.
#[derive(Debug)]
pub(crate) struct Asking {
    health: Arc<TargetHealth>,
    clock: Clock,
    asked: Option<Asked>,
    /// Whether the breaker still waits for an outcome.
    is_open: bool,
    /// Whether others wait to hear if its model is there.
    is_probe: bool,
}

impl Asking {
    /// The target is asked now.
    pub(crate) fn begin(health: &Arc<TargetHealth>, clock: Clock, now: Moment, answering: Answering) -> Self {
        let (asked, is_probe) = health.begin(now, answering);
        Self { health: Arc::clone(health), clock, asked: Some(asked), is_open: true, is_probe }
    }

    /// It answers: its first token is there, or its whole answer.
    pub(crate) fn succeed(&mut self, now: Moment) {
        self.is_open = false;
        self.is_probe = false;
        self.health.succeed(self.asked.as_mut(), now);
    }

    /// Its model is refused.
    pub(crate) fn put_out(mut self, kind: FailureKind, now: Moment) {
        self.is_probe = false;
        self.health.put_out(kind, now);
    }

    /// It failed, in a way that counts, before it answered.
    pub(crate) fn fail(mut self, kind: FailureKind, now: Moment) {
        self.is_open = false;
        self.health.last_failure.note(kind, now);
        let mut state = self.health.state();
        state.breaker.fail(self.asked.as_ref().map_or(now, Asked::at), now);
        if let Some(asked) = self.asked.take() {
            state.figures.failed(asked, now);
        }
    }

    /// It broke off the answer that it had begun. The breaker is told by [`TargetHealth::fail`].
    pub(crate) fn broke_off(mut self, now: Moment) {
        if let Some(asked) = self.asked.take() {
            self.health.state().figures.failed(asked, now);
        }
    }

    /// The answer is complete.
    pub(crate) fn end(mut self, usage: &Usage) {
        let now = self.clock.now();
        if let Some(asked) = self.asked.take() {
            self.health.state().figures.ended(asked, now, usage.output);
            self.health.usual.note(usage);
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if self.is_probe && self.health.out_until(self.clock.now()).is_some() {
            // Without an answer nobody knows more than before.
            self.health.out_until.set(self.clock.now());
        }
        let Some(asked) = self.asked.take() else { return };
        let mut state = self.health.state();
        if self.is_open {
            state.breaker.abandon();
        }
        state.figures.abandoned(asked, self.clock.now());
    }
}

/// How much the latest call counts in what is usual: the last twenty or so make it.
const LATEST_SHARE: f64 = 0.05;

/// What a target's calls usually are, to guess what the next one costs: averages that follow slowly. Two workers that write
/// at the same moment may lose one of two samples, which an average does not feel.
#[derive(Debug, Default)]
pub(crate) struct UsualCall {
    /// Output tokens plus one, as bits of a float; 0 is unknown.
    output: AtomicU64,
    /// The share of input that came from the provider's cache, likewise.
    cached: AtomicU64,
}

impl UsualCall {
    fn note(&self, usage: &Usage) {
        let number = |tokens: u64| f64::from(u32::try_from(tokens).unwrap_or(u32::MAX));
        if usage.output > 0 {
            Self::add(&self.output, number(usage.output));
        }
        if usage.input > 0 {
            Self::add(&self.cached, (number(usage.cache_read) / number(usage.input)).min(1.0));
        }
    }

    /// Output tokens of an answer.
    pub(crate) fn output(&self) -> Option<f64> {
        Self::get(&self.output)
    }

    /// The share of the input that comes from the provider's cache: `0.0..=1.0`.
    pub(crate) fn cached_share(&self) -> Option<f64> {
        Self::get(&self.cached)
    }

    fn get(average: &AtomicU64) -> Option<f64> {
        let bits = average.load(Ordering::Relaxed);
        (bits != 0).then(|| f64::from_bits(bits) - 1.0)
    }

    fn add(average: &AtomicU64, sample: f64) {
        let next = Self::get(average).map_or(sample, |before| before + (sample - before) * LATEST_SHARE);
        average.store((next + 1.0).to_bits(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Moment {
        Moment::from_millis(milliseconds)
    }

    #[test]
    fn a_call_is_in_flight_until_its_end_and_nothing_is_left_of_one_that_was_dropped() {
        let health = Arc::new(TargetHealth::new(Moment::ZERO));
        let clock = Clock::new();
        let ask = || Asking::begin(&health, clock, clock.now(), Answering::Streamed);
        let (mut one, two, three) = (ask(), ask(), ask());
        assert_eq!(health.measured(clock.now()).in_flight, 3);
        one.succeed(clock.now());
        assert_eq!(health.measured(clock.now()).in_flight, 3, "it still speaks");
        one.end(&Usage { input: 100, cache_read: 60, output: 40, ..Usage::default() });
        drop(two);
        three.fail(FailureKind::Timeout, clock.now());
        let measured = health.measured(clock.now());
        assert_eq!((measured.in_flight, measured.calls), (0, 3));
        assert!(measured.first_token.is_some() && measured.failure_rate > 0.0);
        assert_eq!(health.usual().output(), Some(40.0));
        assert!(health.usual().cached_share().is_some_and(|share| (share - 0.6).abs() < 1e-9));
        assert_eq!(health.last_failure().map(|(kind, _)| kind), Some(FailureKind::Timeout));
    }

    #[test]
    fn a_missing_model_whose_probe_is_dropped_is_left_to_the_next_call() {
        let (health, clock) = (Arc::new(TargetHealth::new(Moment::ZERO)), Clock::new());
        let probe = || {
            std::thread::sleep(Duration::from_millis(2));
            health.hear_of_refusal(clock.now(), clock.now());
            let probe = Asking::begin(&health, clock, clock.now(), Answering::Whole);
            assert!(health.out_until(clock.now()).is_some(), "others wait for it");
            probe
        };
        drop(probe());
        assert_eq!(health.out_until(clock.now()), None);
        probe().put_out(FailureKind::NoSuchModel, clock.now());
        assert!(health.out_until(clock.now()).is_some(), "it was refused again");
    }

    #[test]
    fn a_target_is_out_then_probed_then_ready() {
        let health = Arc::new(TargetHealth::new(Moment::ZERO));
        for _ in 0..5 {
            health.fail(FailureKind::Overloaded, at(1));
        }
        assert_eq!(health.glance(at(2)).standing, Standing::Out);
        assert_eq!(health.glance(at(1_002)).standing, Standing::Probe);
        let mut probe = Asking::begin(&health, Clock::new(), at(1_002), Answering::Whole);
        assert_eq!(health.glance(at(1_003)).standing, Standing::Out, "one probe at a time");
        probe.succeed(at(1_100));
        let glance = health.glance(at(1_100));
        assert_eq!(glance.standing, Standing::Ready);
        assert!(glance.measured.warmth < 1.0, "its traffic comes back little by little");
    }
}
