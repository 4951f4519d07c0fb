//! How keys are doing: one by one for all models of their provider, and again at each target that has refused or limited
//! them by itself. Written by `attempt` and the sharing of health, read where keys are chosen and targets ranked.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smallvec::SmallVec;
use tidegate_policy::{Moment, Readiness, WhyOut};
use tidegate_wire::FailureKind;

/// After this time a key or target that is out is probed by one real call: a revoked key may have been restored, a model
/// deployed.
pub(super) const PROBE_AFTER: Duration = Duration::from_secs(60);

/// The most keys of which a target remembers something; with further ones it goes by what holds for them everywhere.
const MOST_KEYS: usize = 64;

/// A moment that many threads may set: milliseconds since the gateway started; 0 is never.
#[derive(Debug, Default)]
pub(super) struct SharedMoment(AtomicU64);

impl SharedMoment {
    pub(super) fn get(&self) -> Moment {
        Moment::from_millis(self.0.load(Ordering::Relaxed))
    }

    pub(super) fn set(&self, moment: Moment) {
        self.0.store(u64::try_from(moment.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// The latest failure, and when that was.
#[derive(Debug, Default)]
pub(super) struct LastFailure {
    /// Its place in the list of kinds, from 1 on; 0 is none.
    kind: AtomicU8,
    at: SharedMoment,
}

impl LastFailure {
    pub(super) fn note(&self, kind: FailureKind, now: Moment) {
        let place = FailureKind::ALL.iter().position(|other| *other == kind).unwrap_or(0);
        self.kind.store(u8::try_from(place + 1).unwrap_or(0), Ordering::Relaxed);
        self.at.set(now);
    }

    pub(super) fn get(&self) -> Option<(FailureKind, Moment)> {
        let place = usize::from(self.kind.load(Ordering::Relaxed)).checked_sub(1)?;
        Some((*FailureKind::ALL.get(place)?, self.at.get()))
    }
}

/// How one key of a provider is doing, everywhere or at one target.
#[derive(Debug, Default)]
pub(crate) struct KeyHealth {
    cool_until: SharedMoment,
    out_until: SharedMoment,
    last_failure: LastFailure,
}

impl KeyHealth {
    pub(crate) fn readiness(&self, now: Moment) -> Readiness {
        let out_until = self.out_until.get();
        if out_until > now {
            return Readiness::Out { why: WhyOut::KeysRefused, probe_at: out_until };
        }
        let until = self.cool_until.get();
        if until > now { Readiness::Cooling { until } } else { Readiness::Ready }
    }

    pub(crate) fn is_ready(&self, now: Moment) -> bool {
        self.readiness(now) == Readiness::Ready
    }

    /// Says that the key is used now. When it was out and its probe is due, this is the probe, which is said, and others wait
    /// for its outcome.
    pub(crate) fn begin(&self, now: Moment) -> bool {
        let out_until = self.out_until.get();
        let is_probe = out_until != Moment::ZERO && out_until <= now;
        if is_probe {
            self.out_until.set(now.saturating_add(PROBE_AFTER));
        }
        is_probe
    }

    pub(crate) fn succeed(&self) {
        self.out_until.clear();
    }

    /// Forgets what is known against the key.
    pub(crate) fn reset(&self) {
        self.out_until.clear();
        self.cool_until.clear();
    }

    pub(crate) fn cool(&self, kind: FailureKind, now: Moment, until: Moment) {
        self.last_failure.note(kind, now);
        self.cool_until.set(until.max(self.cool_until.get()));
    }

    pub(crate) fn put_out(&self, kind: FailureKind, now: Moment) {
        self.last_failure.note(kind, now);
        self.out_until.set(now + PROBE_AFTER);
    }

    /// Another replica was told by the provider to wait so long.
    pub(crate) fn rest_until(&self, until: Moment) {
        self.cool_until.set(until.max(self.cool_until.get()));
    }

    /// Another replica no longer keeps to what the provider told it.
    pub(crate) fn rests_no_more(&self) {
        self.cool_until.clear();
    }

    /// The key was refused to another replica.
    pub(crate) fn out_until(&self, until: Moment) {
        self.out_until.set(until.max(self.out_until.get()));
    }

    /// If it is out, the next call may find out whether it still is.
    pub(crate) fn probe_soon(&self, now: Moment) {
        if self.out_until.get() > now {
            self.out_until.set(now);
        }
    }

    /// What was last held against it, and when.
    pub(crate) fn last_failure(&self) -> Option<(FailureKind, Moment)> {
        self.last_failure.get()
    }
}

/// The keys that one target has refused or told to wait. Most limits and many permissions are a model's own, so what a
/// key met here says nothing of the provider's other models.
#[derive(Debug, Default)]
pub(crate) struct TroubledKeys {
    /// Where no key ever was in trouble, which is nearly everywhere, nobody looks for one.
    is_any: AtomicBool,
    keys: Mutex<KnownKeys>,
}

/// Keys by their fingerprints.
type KnownKeys = SmallVec<[(u64, Arc<KeyHealth>); 1]>;

impl TroubledKeys {
    /// How the key with this fingerprint is doing here, if it ever was in trouble.
    pub(crate) fn find(&self, key: u64) -> Option<Arc<KeyHealth>> {
        if !self.is_any.load(Ordering::Relaxed) {
            return None;
        }
        self.keys().iter().find(|(known, _)| *known == key).map(|(_, health)| Arc::clone(health))
    }

    /// The same, for who has something to tell of it. `None` where too many are known already.
    pub(crate) fn get(&self, key: u64) -> Option<Arc<KeyHealth>> {
        let mut keys = self.keys();
        if let Some((_, health)) = keys.iter().find(|(known, _)| *known == key) {
            return Some(Arc::clone(health));
        }
        if keys.len() >= MOST_KEYS {
            return None;
        }
        let health = Arc::<KeyHealth>::default();
        keys.push((key, Arc::clone(&health)));
        self.is_any.store(true, Ordering::Relaxed);
        Some(health)
    }

    /// Forgets what is known against any of them.
    pub(super) fn clear(&self) {
        self.keys().clear();
        self.is_any.store(false, Ordering::Relaxed);
    }

    /// Plain data, whole after every step.
    fn keys(&self) -> MutexGuard<'_, KnownKeys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_more_keys_than_are_remembered_the_others_go_by_what_holds_everywhere() {
        let troubled = TroubledKeys::default();
        assert!(troubled.find(0).is_none());
        let now = Moment::from_secs(1);
        let rest = Moment::from_secs(5);
        for key in 0..70 {
            if let Some(here) = troubled.get(key) {
                here.cool(FailureKind::RateLimited, now, rest);
            }
        }
        let is_cooling = |key| {
            troubled.find(key).is_some_and(|here| here.readiness(now) == Readiness::Cooling { until: rest })
        };
        assert_eq!((0..70).filter(|key| is_cooling(*key)).count(), MOST_KEYS);
        troubled.clear();
        assert!(troubled.find(0).is_none());
    }
}
