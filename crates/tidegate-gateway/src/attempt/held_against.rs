//! What a failure is held against: the target, its key there, or its key everywhere. Told to health by attempts that fail
//! and by streams that break.

use std::sync::Arc;

use smallvec::SmallVec;
use tidegate_policy::{HealthEffect, Moment, rule};
use tidegate_wire::FailureKind;

use super::failure::Failure;
use crate::accept::Operation;
use crate::clock::Clock;
use crate::health::{Asking, KeyHealth};
use crate::plan::Planned;

/// An error code of OpenAI's and of many who follow it: the account has nothing left, whatever the model.
const ACCOUNT_HAS_NO_CREDIT: &str = "insufficient_quota";

/// Tells health of an attempt that failed before it answered.
pub(super) fn hold_against(
    planned: &Planned,
    key: usize,
    probe: &mut KeyProbe,
    asking: Asking,
    operation: Operation,
    failure: &Failure,
    now: Moment,
) {
    // Counting has limits and troubles of its own, which say nothing of answers.
    if operation == Operation::CountTokens && !says_something_of_answers(failure) {
        return;
    }
    let kind = failure.kind;
    match rule(kind).health {
        HealthEffect::Counts if failure.is_cut_short => {}
        HealthEffect::Counts => asking.fail(kind, now),
        HealthEffect::TargetOut => asking.put_out(kind, now),
        HealthEffect::KeyOut | HealthEffect::KeyCools => {
            probe.is_over(kind);
            hold_against_key(planned, key, failure, now);
        }
        HealthEffect::None => {}
    }
}

fn says_something_of_answers(failure: &Failure) -> bool {
    matches!(failure.kind, FailureKind::Unreachable) || failure.status == Some(401)
}

/// Counts a failure in the middle of a stream, after its attempt had succeeded so far. A deadline that passes while the
/// target speaks is not its fault.
pub(crate) fn count_late_failure(planned: &Planned, key: usize, failure: &Failure, now: Moment) {
    if is_late_failure(failure.kind) {
        planned.target.health.fail(failure.kind, now);
    } else {
        hold_against_key(planned, key, failure, now);
    }
}

/// Whether such a failure in the middle of an answer counts against the target.
pub(crate) fn is_late_failure(kind: FailureKind) -> bool {
    rule(kind).health == HealthEffect::Counts && kind != FailureKind::Timeout
}

/// Has the key rest, or puts it out, where that is what the failure means.
fn hold_against_key(planned: &Planned, key: usize, failure: &Failure, now: Moment) {
    let Some(key) = planned.provider.keys.get(key) else { return };
    let here = planned.target.health.troubled_keys();
    let here = is_of_model(failure).then(|| here.get(key.fingerprint())).flatten();
    let health = here.unwrap_or_else(|| Arc::clone(&key.health));
    match rule(failure.kind).health {
        HealthEffect::KeyCools => {
            // Who says that no time has to pass is not believed: it has just refused.
            let shortest = planned.retry.backoff.shortest;
            let rest = failure.retry_after.map_or(shortest, |said| said.max(shortest));
            health.cool(failure.kind, now, now.saturating_add(rest));
        }
        HealthEffect::KeyOut => health.put_out(failure.kind, now),
        HealthEffect::None | HealthEffect::Counts | HealthEffect::TargetOut => {}
    }
}

/// Whether what was said against a key holds for the model that was asked. Limits are, and so is what a key may; that it
/// is unknown (401) or that its account has nothing left to pay with holds everywhere.
fn is_of_model(failure: &Failure) -> bool {
    match failure.kind {
        FailureKind::RateLimited => true,
        FailureKind::OutOfQuota => {
            failure.status == Some(429) && failure.code.as_deref() != Some(ACCOUNT_HAS_NO_CREDIT)
        }
        _ => failure.status == Some(403),
    }
}

/// A key that was out and is tried by this attempt, while others wait for the outcome. Dropped without one, the next call
/// tries it.
#[derive(Debug)]
pub(super) struct KeyProbe {
    clock: Clock,
    keys: SmallVec<[Arc<KeyHealth>; 1]>,
}

impl KeyProbe {
    /// The attempt is made with this key now.
    pub(super) fn begin(planned: &Planned, key: usize, clock: Clock, now: Moment) -> Self {
        let mut keys = SmallVec::new();
        if let Some(key) = planned.provider.keys.get(key) {
            if key.health.begin(now) {
                keys.push(Arc::clone(&key.health));
            }
            let here = planned.target.health.troubled_keys().find(key.fingerprint());
            keys.extend(here.filter(|here| here.begin(now)));
        }
        Self { clock, keys }
    }

    /// The provider has said something of the key: where it was refused, it stays out.
    fn is_over(&mut self, kind: FailureKind) {
        if rule(kind).health == HealthEffect::KeyOut {
            self.keys.clear();
        }
    }
}

impl Drop for KeyProbe {
    fn drop(&mut self) {
        for key in &self.keys {
            key.probe_soon(self.clock.now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key of which the probe is under way, and the probe.
    fn probed(clock: Clock) -> (Arc<KeyHealth>, KeyProbe) {
        let health = Arc::<KeyHealth>::default();
        health.out_until(clock.now());
        assert!(health.begin(clock.now()) && !health.is_ready(clock.now()));
        let keys = std::iter::once(Arc::clone(&health)).collect();
        (health, KeyProbe { clock, keys })
    }

    #[test]
    fn a_probe_whose_caller_hangs_up_leaves_it_to_the_next_call() {
        let clock = Clock::new();
        std::thread::sleep(std::time::Duration::from_millis(2));
        let (health, probe) = probed(clock);
        drop(probe);
        assert!(health.is_ready(clock.now()));
        let (health, mut probe) = probed(clock);
        probe.is_over(FailureKind::Credentials);
        drop(probe);
        assert!(!health.is_ready(clock.now()), "it was refused again");
        let (health, mut probe) = probed(clock);
        probe.is_over(FailureKind::RateLimited);
        drop(probe);
        assert!(health.is_ready(clock.now()), "it was taken");
    }
}
