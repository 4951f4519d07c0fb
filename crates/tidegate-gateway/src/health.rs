//! How keys and targets are doing: written by `attempt` and `relay` after each attempt, read by `plan`.
//!
//! Everything here is shared by all workers: atomics, and one short lock for a breaker, never held across an await.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tidegate_policy::{Breaker, BreakerSettings, Moment, Readiness};

/// After this time a key or target that is out is probed by one real call: a revoked key may have been restored, a model
/// deployed.
const PROBE_AFTER: Duration = Duration::from_secs(60);

/// A moment that many threads may set: milliseconds since the gateway started; 0 is never.
#[derive(Debug, Default)]
struct SharedMoment(AtomicU64);

impl SharedMoment {
    fn get(&self) -> Moment {
        Moment::from_millis(self.0.load(Ordering::Relaxed))
    }

    fn set(&self, moment: Moment) {
        self.0.store(u64::try_from(moment.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// How one key of a provider is doing.
#[derive(Debug, Default)]
pub(crate) struct KeyHealth {
    cool_until: SharedMoment,
    out_until: SharedMoment,
}

impl KeyHealth {
    pub(crate) fn readiness(&self, now: Moment) -> Readiness {
        let out_until = self.out_until.get();
        if out_until > now {
            return Readiness::Out { probe_at: out_until };
        }
        let until = self.cool_until.get();
        if until > now { Readiness::Cooling { until } } else { Readiness::Ready }
    }

    pub(crate) fn is_ready(&self, now: Moment) -> bool {
        self.readiness(now) == Readiness::Ready
    }

    /// Says that the key is used now. When it was out and its probe is due, this is the probe, and others wait for its
    /// outcome.
    pub(crate) fn begin(&self, now: Moment) {
        let out_until = self.out_until.get();
        if out_until != Moment::ZERO && out_until <= now {
            self.out_until.set(now + PROBE_AFTER);
        }
    }

    pub(crate) fn succeed(&self) {
        self.out_until.clear();
    }

    /// Forgets what is known against the key.
    pub(crate) fn reset(&self) {
        self.out_until.clear();
        self.cool_until.clear();
    }

    pub(crate) fn cool(&self, until: Moment) {
        self.cool_until.set(until.max(self.cool_until.get()));
    }

    pub(crate) fn put_out(&self, now: Moment) {
        self.out_until.set(now + PROBE_AFTER);
    }
}

/// How one target (a provider's model) is doing, whatever the key.
#[derive(Debug)]
pub(crate) struct TargetHealth {
    breaker: Mutex<Breaker>,
    out_until: SharedMoment,
    has_answered: AtomicBool,
}

impl Default for TargetHealth {
    fn default() -> Self {
        Self {
            breaker: Mutex::new(Breaker::new(BreakerSettings::default())),
            out_until: SharedMoment::default(),
            has_answered: AtomicBool::new(false),
        }
    }
}

impl TargetHealth {
    pub(crate) fn readiness(&self, now: Moment) -> Readiness {
        let out_until = self.out_until.get();
        if out_until > now {
            return Readiness::Out { probe_at: out_until };
        }
        let breaker = self.breaker();
        if breaker.is_ready(now) { Readiness::Ready } else { Readiness::Out { probe_at: breaker.ready_at() } }
    }

    pub(crate) fn begin(&self, now: Moment) {
        let out_until = self.out_until.get();
        if out_until != Moment::ZERO && out_until <= now {
            self.out_until.set(now + PROBE_AFTER);
        }
        self.breaker().begin(now);
    }

    pub(crate) fn succeed(&self, now: Moment) {
        self.out_until.clear();
        self.has_answered.store(true, Ordering::Relaxed);
        self.breaker().succeed(now);
    }

    /// Whether it ever did, which a made-up name does not.
    pub(crate) fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed)
    }

    /// The configuration was read anew: a model that was missing may have been deployed. The breaker keeps what it knows.
    pub(crate) fn readmit(&self) {
        self.out_until.clear();
    }

    pub(crate) fn fail(&self, now: Moment) {
        self.breaker().fail(now);
    }

    /// An attempt ended that says nothing about the target.
    pub(crate) fn abandon(&self) {
        self.breaker().abandon();
    }

    pub(crate) fn put_out(&self, now: Moment) {
        self.out_until.set(now + PROBE_AFTER);
    }

    /// A breaker is plain data, whole after every step; a panic elsewhere does not spoil it.
    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
