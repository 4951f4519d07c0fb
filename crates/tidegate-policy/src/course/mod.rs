//! The course of one call over its targets: whom to ask first, and what to do after each failure.
//!
//! The gateway's attempt loop asks [`Course::begin`] once and [`Course::after_failure`] after each failed attempt, does
//! what it is told, and stops at [`Step::GiveUp`]. The relay asks [`Course::after_break`] when a stream broke of which the
//! caller has read a part. All that they must know from outside (who is ready) comes in as values.

use std::time::Duration;

use tidegate_wire::FailureKind;

use crate::Moment;
use crate::backoff::Backoff;
use crate::rules::{HealthEffect, NextTarget, SameTarget, rule};

/// The most attempts of one call, over all targets and keys. Far more than any sane plan has; it bounds a plan of many
/// keys that all fail.
const MOST_ATTEMPTS: u32 = 32;

/// The most targets that go on with one answer, one after the other. Each reads the whole conversation again and is paid
/// for it; an answer that broke so often is better asked for anew.
const MOST_CONTINUATIONS: u32 = 3;

/// One target that may be asked, in the order of the plan.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// Its context window in tokens, where known.
    pub window: Option<u64>,
    /// How often it is tried, the first time included; at least 1.
    pub attempts: u32,
    /// How long to wait between two tries.
    pub backoff: Backoff,
}

/// Whether a candidate can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Now.
    Ready,
    /// After a provider's rate limit is over.
    Cooling {
        /// When that is.
        until: Moment,
    },
    /// Not before somebody has found out that it works again.
    Out {
        /// What speaks against it.
        why: WhyOut,
        /// When a probe may find out whether that has changed; later for one that was just asked all the same. Of several
        /// that are out for the same reason, the soonest is the least bad.
        probe_at: Moment,
    },
}

/// Why a candidate is out, the least bad first: an outage ends by itself, a key has to be paid for or put right, and a model
/// that does not exist is there only once somebody deploys it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WhyOut {
    /// It failed too often.
    Failing,
    /// None of its keys is accepted.
    KeysRefused,
    /// The provider does not know the model.
    NoSuchModel,
}

impl Readiness {
    /// Of a target with keys, from what is known of the two.
    pub fn of(target: Self, keys: Self) -> Self {
        match (target, keys) {
            (other, Self::Ready) | (Self::Ready, other) => other,
            // A provider that told us to wait is not asked before that because its target fails as well.
            (Self::Out { why: WhyOut::Failing, probe_at }, Self::Cooling { until }) => {
                Self::Cooling { until: until.max(probe_at) }
            }
            (Self::Cooling { until }, Self::Cooling { until: other }) => {
                Self::Cooling { until: until.max(other) }
            }
            (Self::Out { why, probe_at }, Self::Out { why: other, probe_at: later }) => {
                Self::Out { why: why.max(other), probe_at: probe_at.max(later) }
            }
            (out @ Self::Out { .. }, Self::Cooling { .. })
            | (Self::Cooling { .. }, out @ Self::Out { .. }) => out,
        }
    }
}

/// What holds for the whole course.
#[derive(Debug, Clone, Copy)]
pub struct CourseSettings {
    /// When the call as a whole must be answered.
    pub deadline: Moment,
    /// Whether another target is asked when one refuses the content.
    pub falls_back_on_content_policy: bool,
}

/// What is known about a failed attempt.
#[derive(Debug, Clone, Copy)]
pub struct FailureFacts {
    /// Its kind.
    pub kind: FailureKind,
    /// When the provider says to come back.
    pub retry_after: Option<Duration>,
    /// Whether the request has already gone out a second time on a fresh connection, because the first one was an idle
    /// one that had been closed.
    pub was_sent_again: bool,
    /// Whether another key of the same target is ready.
    pub is_other_key_ready: bool,
    /// Whether the retry budget has room.
    pub is_retry_allowed: bool,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Ask this candidate.
    Try {
        /// Its place in the plan.
        candidate: usize,
        /// Wait so long before.
        after: Duration,
        /// On a connection that nobody used before.
        is_fresh: bool,
        /// It is a retry at the same target and counts in the retry budget.
        is_retry: bool,
    },
    /// Nobody is left to ask.
    GiveUp {
        /// When the first of those that only rest would be ready: after the deadline, or too late for another try.
        cooling_until: Option<Moment>,
    },
}

/// The course of one call.
#[derive(Debug)]
pub struct Course {
    settings: CourseSettings,
    candidates: Vec<State>,
    current: usize,
    attempts: u32,
    continuations: u32,
    /// One of two that were asked together has failed in a way that settles the call, should the other fail as well.
    is_settled: bool,
    last_resort: LastResort,
}

/// What became of asking one that is out, since nobody else was there. Once a call: with every target failing, each call
/// would else ask all of them in turn, and an outage would be multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastResort {
    /// Nobody had to.
    Unused,
    /// It is being asked.
    Asked,
    /// It failed as was to be expected.
    Failed,
}

#[derive(Debug)]
struct State {
    facts: Candidate,
    tries: u32,
    has_retried: bool,
    is_ruled_out: bool,
    rests_until: Option<Moment>,
}

impl Course {
    /// A course over these candidates, in order of preference.
    pub fn new(candidates: impl IntoIterator<Item = Candidate>, settings: CourseSettings) -> Self {
        let candidates = candidates
            .into_iter()
            .map(|facts| State {
                facts,
                tries: 0,
                has_retried: false,
                is_ruled_out: false,
                rests_until: None,
            })
            .collect();
        Self {
            settings,
            candidates,
            current: 0,
            attempts: 0,
            continuations: 0,
            is_settled: false,
            last_resort: LastResort::Unused,
        }
    }

    /// Whether anybody is left who could go on with an answer: whoever was not asked yet.
    pub fn can_go_on(&self) -> bool {
        self.continuations < MOST_CONTINUATIONS
            && self.attempts < MOST_ATTEMPTS
            && self.candidates.iter().any(|state| state.tries == 0 && !state.is_ruled_out)
    }

    /// Who goes on with an answer that broke off in the middle of its stream. Only those are asked that were not asked
    /// before, and none that would have to be waited for: the caller sits before half an answer.
    pub fn after_break(
        &mut self,
        kind: FailureKind,
        now: Moment,
        readiness: impl Fn(usize) -> Readiness,
    ) -> Step {
        let give_up = Step::GiveUp { cooling_until: None };
        if !rule(kind).in_stream_goes_on || !self.can_go_on() || now >= self.settings.deadline {
            return give_up;
        }
        self.continuations += 1;
        for state in &mut self.candidates {
            state.is_ruled_out |= state.tries > 0;
        }
        self.next(now, false, readiness)
    }

    /// Whom to ask as well while the present one is late: the first that was not asked yet and that will do.
    pub fn second(&self, will_do: impl Fn(usize) -> bool) -> Option<usize> {
        let can_be_asked = |state: &State| state.tries == 0 && !state.is_ruled_out;
        let mut places = self.candidates.iter().enumerate();
        let found = places.find(|(place, state)| can_be_asked(state) && will_do(*place));
        found.filter(|_| self.attempts < MOST_ATTEMPTS).map(|(place, _)| place)
    }

    /// The second is asked beside the present one.
    pub fn begin_second(&mut self, place: usize) {
        self.attempts += 1;
        if let Some(state) = self.candidates.get_mut(place) {
            state.tries += 1;
        }
    }

    /// One of two that were asked together has failed. Nothing is done about it, since the other one is still at work:
    /// what comes next is asked of [`Self::after_failure`] when that fails too.
    pub fn failed_beside(&mut self, failed: usize, at_work: usize, failure: &FailureFacts, now: Moment) {
        self.current = at_work;
        let rule = rule(failure.kind);
        self.is_settled |= match rule.next_target {
            NextTarget::No => true,
            NextTarget::IfConfigured => !self.settings.falls_back_on_content_policy,
            NextTarget::Yes | NextTarget::OtherKeyFirst | NextTarget::LargerWindow => false,
        };
        let Some(state) = self.candidates.get_mut(failed) else { return };
        if rule.same_target == SameTarget::WhenProviderSays && state.tries < state.facts.attempts {
            let rest = failure.retry_after.unwrap_or_else(|| state.facts.backoff.wait(state.tries, 1.0));
            state.rests_until = Some(now.saturating_add(rest));
        }
        if rule.next_target == NextTarget::LargerWindow {
            let too_small = state.facts.window;
            self.rule_out_up_to(too_small);
        }
    }

    /// Whether one of two that were asked together has settled the call: the other one's failure changes nothing.
    pub fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// The input was too long for this window; those that are not known to be larger need not be asked.
    fn rule_out_up_to(&mut self, window: Option<u64>) {
        let too_small = window.unwrap_or(u64::MAX);
        for other in &mut self.candidates {
            other.is_ruled_out |= other.facts.window.is_none_or(|window| window <= too_small);
        }
    }

    /// Whom to ask first.
    pub fn begin(&mut self, now: Moment, readiness: impl Fn(usize) -> Readiness) -> Step {
        self.next(now, false, readiness)
    }

    /// Whether the present candidate is not retried since its breaker has opened, which says enough where somebody else can be
    /// asked: one that is ready, or one that is as bad. A rest of somebody else's is not waited for in its place.
    fn is_left_for_others(&self, readiness: impl Fn(usize) -> Readiness) -> bool {
        if !matches!(readiness(self.current), Readiness::Out { .. }) {
            return false;
        }
        let others = self.candidates.iter().enumerate();
        let others = others.filter(|(_, other)| other.tries == 0 && !other.is_ruled_out);
        let (mut is_any_out, mut is_any_resting) = (false, false);
        for (index, _) in others {
            match readiness(index) {
                Readiness::Ready => return true,
                Readiness::Out { .. } => is_any_out = true,
                Readiness::Cooling { .. } => is_any_resting = true,
            }
        }
        is_any_out && !is_any_resting
    }

    /// What to do after the attempt that the last step asked for has failed. `random` is in `0.0..1.0`.
    pub fn after_failure(
        &mut self,
        failure: FailureFacts,
        now: Moment,
        random: f64,
        readiness: impl Fn(usize) -> Readiness,
    ) -> Step {
        let rule = rule(failure.kind);
        if self.is_settled || self.attempts >= MOST_ATTEMPTS || now >= self.settings.deadline {
            return Step::GiveUp { cooling_until: None };
        }
        // What it says of the request it says as one that works.
        if self.last_resort == LastResort::Asked && rule.health != HealthEffect::None {
            self.last_resort = LastResort::Failed;
        }
        let is_given_up = self.last_resort == LastResort::Failed || self.is_left_for_others(&readiness);
        let Some(state) = self.candidates.get_mut(self.current) else {
            return Step::GiveUp { cooling_until: None };
        };
        let has_tries_left = state.tries < state.facts.attempts;
        let wait = match rule.same_target {
            SameTarget::OnceFresh if !state.has_retried && !failure.was_sent_again => Some(Duration::ZERO),
            SameTarget::Once if !state.has_retried => Some(state.facts.backoff.wait(1, random)),
            // Who says when to come back is not asked sooner, and not waited for longer than anybody is.
            SameTarget::AfterBackoff => {
                let wait = state.facts.backoff.wait(state.tries, random);
                let wait = failure.retry_after.map_or(wait, |said| said.max(wait));
                (wait <= state.facts.backoff.longest).then_some(wait)
            }
            _ => None,
        };
        if let Some(after) = wait.filter(|&after| {
            has_tries_left && !is_given_up && failure.is_retry_allowed && now + after < self.settings.deadline
        }) {
            state.has_retried = true;
            let is_fresh = rule.same_target == SameTarget::OnceFresh;
            return self.try_candidate(self.current, after, is_fresh, true);
        }
        if rule.same_target == SameTarget::WhenProviderSays && has_tries_left {
            let rest = failure.retry_after.unwrap_or_else(|| state.facts.backoff.wait(state.tries, 1.0));
            // With several keys, the one that is free first.
            state.rests_until = Some(match readiness(self.current) {
                Readiness::Cooling { until } => until,
                Readiness::Ready | Readiness::Out { .. } => now.saturating_add(rest),
            });
        }
        match rule.next_target {
            // Somebody has begun to answer this very request, so that it is one only for the target that refuses it.
            NextTarget::No if self.continuations > 0 && failure.kind == FailureKind::BadRequest => {}
            NextTarget::No => return Step::GiveUp { cooling_until: None },
            NextTarget::IfConfigured if !self.settings.falls_back_on_content_policy => {
                return Step::GiveUp { cooling_until: None };
            }
            NextTarget::OtherKeyFirst if failure.is_other_key_ready => {
                // A target's tries are not used up by its keys.
                state.tries = state.tries.saturating_sub(1);
                return self.try_candidate(self.current, Duration::ZERO, false, false);
            }
            NextTarget::LargerWindow => {
                let too_small = state.facts.window;
                self.rule_out_up_to(too_small);
            }
            NextTarget::Yes | NextTarget::IfConfigured | NextTarget::OtherKeyFirst => {}
        }
        self.next(now, failure.is_retry_allowed, readiness)
    }

    /// The present candidate would not have the request as it was put: it is asked at once in other words, which is no retry.
    pub fn ask_otherwise(&mut self, now: Moment) -> Step {
        if self.attempts >= MOST_ATTEMPTS || now >= self.settings.deadline {
            return Step::GiveUp { cooling_until: None };
        }
        if let Some(state) = self.candidates.get_mut(self.current) {
            state.tries = state.tries.saturating_sub(1);
        }
        self.try_candidate(self.current, Duration::ZERO, false, false)
    }

    /// The next candidate: the first untried one that is ready; else the one whose rest is over first; else, once, the least
    /// bad of those that are out.
    fn next(&mut self, now: Moment, is_retry_allowed: bool, readiness: impl Fn(usize) -> Readiness) -> Step {
        let mut soonest: Option<(Moment, usize)> = None;
        let mut least_bad: Option<((WhyOut, Moment), usize)> = None;
        let sooner = |best: Option<(Moment, usize)>, at: Moment, index| match best {
            Some((present, _)) if present <= at => best,
            _ => Some((at, index)),
        };
        for (index, state) in self.candidates.iter().enumerate() {
            if state.is_ruled_out {
                continue;
            }
            if state.tries > 0 {
                if let Some(until) = state.rests_until.filter(|_| is_retry_allowed) {
                    soonest = sooner(soonest, until, index);
                }
                continue;
            }
            match readiness(index) {
                Readiness::Ready => return self.try_candidate(index, Duration::ZERO, false, false),
                Readiness::Cooling { until } => soonest = sooner(soonest, until, index),
                Readiness::Out { why, probe_at } => {
                    if least_bad.is_none_or(|(present, _)| (why, probe_at) < present) {
                        least_bad = Some(((why, probe_at), index));
                    }
                }
            }
        }
        // Nobody is waited for in the middle of an answer.
        let is_waited_for = |until: Moment| until < self.settings.deadline && self.continuations == 0;
        // Whoever failed too often may be probed before the one that rests is free.
        let probe = least_bad.filter(|&((why, at), _)| {
            why == WhyOut::Failing && is_waited_for(at) && soonest.is_some_and(|(until, _)| at < until)
        });
        if let Some(((_, at), index)) = probe {
            return self.try_candidate(index, at.saturating_sub(now), false, false);
        }
        if let Some((until, index)) = soonest.filter(|&(until, _)| is_waited_for(until)) {
            let is_retry = self.candidates.get(index).is_some_and(|state| state.tries > 0);
            return self.try_candidate(index, until.saturating_sub(now), false, is_retry);
        }
        if let Some((_, index)) = least_bad.filter(|_| self.last_resort != LastResort::Failed) {
            self.last_resort = LastResort::Asked;
            return self.try_candidate(index, Duration::ZERO, false, false);
        }
        let resting = self.candidates.iter().enumerate().filter(|(_, state)| !state.is_ruled_out);
        let resting = resting.filter_map(|(index, _)| match readiness(index) {
            Readiness::Cooling { until } => Some(until),
            Readiness::Ready | Readiness::Out { .. } => None,
        });
        Step::GiveUp { cooling_until: soonest.map(|(until, _)| until).or_else(|| resting.min()) }
    }

    fn try_candidate(&mut self, candidate: usize, after: Duration, is_fresh: bool, is_retry: bool) -> Step {
        self.current = candidate;
        self.attempts += 1;
        if let Some(state) = self.candidates.get_mut(candidate) {
            state.tries += 1;
            state.rests_until = None;
        }
        Step::Try { candidate, after, is_fresh, is_retry }
    }
}

#[cfg(test)]
mod tests;
