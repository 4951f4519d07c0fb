//! The course of one call over its targets: whom to ask first, and what to do after each failure.
//!
//! The gateway's attempt loop asks [`Course::begin`] once and [`Course::after_failure`] after each failed attempt, does
//! what it is told, and stops at [`Step::GiveUp`]. The relay asks [`Course::after_break`] when a stream broke of which the
//! caller has read a part. All that they must know from outside (who is ready) comes in as values.

use std::time::Duration;

use tidegate_wire::FailureKind;

use crate::Moment;
use crate::backoff::Backoff;
use crate::rules::{NextTarget, SameTarget, rule};

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
    /// It failed too often, or its key or model was refused.
    Out {
        /// When a probe may find out whether that has changed. Orders the least bad first.
        probe_at: Moment,
    },
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
        Self { settings, candidates, current: 0, attempts: 0, continuations: 0, is_settled: false }
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
        // A breaker that has opened says enough: with somebody else ready nobody waits for this one.
        let is_given_up = matches!(readiness(self.current), Readiness::Out { .. })
            && self.candidates.iter().enumerate().any(|(index, other)| {
                other.tries == 0 && !other.is_ruled_out && readiness(index) == Readiness::Ready
            });
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

    /// The next candidate: the first untried one that is ready; else the one whose rest is over first; else the least
    /// bad of those that are out.
    fn next(&mut self, now: Moment, is_retry_allowed: bool, readiness: impl Fn(usize) -> Readiness) -> Step {
        let mut first_ready = None;
        let mut soonest: Option<(Moment, usize)> = None;
        let mut least_bad: Option<(Moment, usize)> = None;
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
                Readiness::Ready => first_ready = first_ready.or(Some(index)),
                Readiness::Cooling { until } => soonest = sooner(soonest, until, index),
                Readiness::Out { probe_at } => least_bad = sooner(least_bad, probe_at, index),
            }
        }
        if let Some(index) = first_ready {
            return self.try_candidate(index, Duration::ZERO, false, false);
        }
        // Nobody is waited for in the middle of an answer.
        let is_waited_for = |until: Moment| until < self.settings.deadline && self.continuations == 0;
        if let Some((until, index)) = soonest.filter(|&(until, _)| is_waited_for(until)) {
            let is_retry = self.candidates.get(index).is_some_and(|state| state.tries > 0);
            return self.try_candidate(index, until.saturating_sub(now), false, is_retry);
        }
        if let Some((_, index)) = least_bad {
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
mod tests {
    use super::*;

    const BACKOFF: Backoff =
        Backoff { shortest: Duration::from_millis(200), longest: Duration::from_secs(5) };

    fn course(windows: &[Option<u64>], attempts: u32) -> Course {
        Course::new(
            windows.iter().map(|&window| Candidate { window, attempts, backoff: BACKOFF }),
            CourseSettings { deadline: Moment::from_secs(60), falls_back_on_content_policy: false },
        )
    }

    fn fail(course: &mut Course, kind: FailureKind) -> Step {
        let facts = FailureFacts {
            kind,
            retry_after: None,
            was_sent_again: false,
            is_other_key_ready: false,
            is_retry_allowed: true,
        };
        course.after_failure(facts, Moment::ZERO, 0.5, |_| Readiness::Ready)
    }

    fn attempt(candidate: usize, after_ms: u64, is_fresh: bool, is_retry: bool) -> Step {
        Step::Try { candidate, after: Duration::from_millis(after_ms), is_fresh, is_retry }
    }

    const GIVE_UP: Step = Step::GiveUp { cooling_until: None };

    /// The steps of a call to two targets that always fail in the same way.
    fn steps(kind: FailureKind) -> Vec<Step> {
        let mut course = course(&[Some(1000), Some(1000)], 2);
        let mut steps = vec![course.begin(Moment::ZERO, |_| Readiness::Ready)];
        while steps.last() != Some(&GIVE_UP) {
            steps.push(fail(&mut course, kind));
        }
        steps
    }

    #[test]
    fn every_kind_takes_the_course_of_the_table() {
        use FailureKind as Kind;
        let first = attempt(0, 0, false, false);
        let next = attempt(1, 0, false, false);
        let again = |candidate, after, fresh| attempt(candidate, after, fresh, true);
        for kind in Kind::ALL {
            let expected = match kind {
                Kind::Unreachable => vec![first, again(0, 0, true), next, again(1, 0, true), GIVE_UP],
                Kind::Overloaded | Kind::ProviderError | Kind::Malformed | Kind::Truncated => {
                    vec![first, again(0, 100, false), next, again(1, 100, false), GIVE_UP]
                }
                Kind::RateLimited => vec![first, next, again(0, 200, false), again(1, 200, false), GIVE_UP],
                Kind::Timeout | Kind::Stalled | Kind::OutOfQuota | Kind::Credentials | Kind::NoSuchModel => {
                    vec![first, next, GIVE_UP]
                }
                Kind::BadRequest | Kind::ContextLength | Kind::ContentPolicy | Kind::Cancelled => {
                    vec![first, GIVE_UP]
                }
            };
            assert_eq!(steps(kind), expected, "{kind}");
        }
    }

    #[test]
    fn only_larger_windows_are_asked_when_the_input_was_too_long() {
        let mut course = course(&[Some(8_000), Some(8_000), None, Some(200_000)], 2);
        course.begin(Moment::ZERO, |_| Readiness::Ready);
        assert_eq!(fail(&mut course, FailureKind::ContextLength), attempt(3, 0, false, false));
        assert_eq!(fail(&mut course, FailureKind::ContextLength), GIVE_UP);
    }

    #[test]
    fn a_target_whose_breaker_has_opened_is_not_retried_while_another_is_ready() {
        let facts = FailureFacts {
            kind: FailureKind::Overloaded,
            retry_after: None,
            was_sent_again: false,
            is_other_key_ready: false,
            is_retry_allowed: true,
        };
        let out = Readiness::Out { probe_at: Moment::from_secs(1) };
        for (other, expected) in
            [(Readiness::Ready, attempt(1, 0, false, false)), (out, attempt(0, 100, false, true))]
        {
            let mut course = course(&[None, None], 2);
            course.begin(Moment::ZERO, |_| Readiness::Ready);
            let readiness = |index| if index == 0 { out } else { other };
            assert_eq!(course.after_failure(facts, Moment::ZERO, 0.5, readiness), expected);
        }
    }

    #[test]
    fn another_key_is_tried_before_another_target() {
        let mut course = course(&[None, None], 2);
        course.begin(Moment::ZERO, |_| Readiness::Ready);
        for kind in [FailureKind::RateLimited, FailureKind::Credentials, FailureKind::OutOfQuota] {
            let facts = FailureFacts {
                kind,
                retry_after: None,
                was_sent_again: false,
                is_other_key_ready: true,
                is_retry_allowed: true,
            };
            assert_eq!(
                course.after_failure(facts, Moment::ZERO, 0.5, |_| Readiness::Ready),
                attempt(0, 0, false, false)
            );
        }
        assert_eq!(fail(&mut course, FailureKind::Credentials), attempt(1, 0, false, false));
    }

    #[test]
    fn a_limit_is_waited_for_only_if_it_ends_before_the_deadline_and_nobody_else_is_ready() {
        let limited = |seconds| FailureFacts {
            kind: FailureKind::RateLimited,
            retry_after: Some(Duration::from_secs(seconds)),
            was_sent_again: false,
            is_other_key_ready: false,
            is_retry_allowed: true,
        };
        let mut course = course(&[None, None], 2);
        course.begin(Moment::ZERO, |_| Readiness::Ready);
        let step = course.after_failure(limited(7), Moment::ZERO, 0.5, |_| Readiness::Ready);
        assert_eq!(step, attempt(1, 0, false, false));
        let step = course.after_failure(limited(90), Moment::ZERO, 0.5, |_| Readiness::Ready);
        assert_eq!(step, attempt(0, 7_000, false, true));
        let step = course.after_failure(limited(90), Moment::ZERO, 0.5, |_| Readiness::Ready);
        assert_eq!(step, Step::GiveUp { cooling_until: Some(Moment::from_secs(90)) });
    }

    #[test]
    fn of_several_keys_that_are_limited_the_one_that_is_free_first_is_waited_for() {
        let limited = |seconds, is_other_key_ready| FailureFacts {
            kind: FailureKind::RateLimited,
            retry_after: Some(Duration::from_secs(seconds)),
            was_sent_again: false,
            is_other_key_ready,
            is_retry_allowed: true,
        };
        let cooling = |_| Readiness::Cooling { until: Moment::from_secs(2) };
        let mut course = course(&[None], 2);
        course.begin(Moment::ZERO, |_| Readiness::Ready);
        let step = course.after_failure(limited(2, true), Moment::ZERO, 0.5, |_| Readiness::Ready);
        assert_eq!(step, attempt(0, 0, false, false), "the other key is free");
        let step = course.after_failure(limited(50, false), Moment::ZERO, 0.5, cooling);
        assert_eq!(step, attempt(0, 2_000, false, true), "the first key is free again in two seconds");
        let step = course.after_failure(limited(50, false), Moment::ZERO, 0.5, cooling);
        assert_eq!(step, Step::GiveUp { cooling_until: Some(Moment::from_secs(2)) });
    }

    #[test]
    fn targets_that_are_out_are_passed_over_and_the_least_bad_is_tried_when_all_are() {
        let mut course = course(&[None, None, None], 1);
        let out = |seconds| Readiness::Out { probe_at: Moment::from_secs(seconds) };
        let readiness = |index| [out(3), out(1), Readiness::Ready][index];
        assert_eq!(course.begin(Moment::ZERO, readiness), attempt(2, 0, false, false));
        let facts = FailureFacts {
            kind: FailureKind::Timeout,
            retry_after: None,
            was_sent_again: false,
            is_other_key_ready: false,
            is_retry_allowed: true,
        };
        assert_eq!(course.after_failure(facts, Moment::ZERO, 0.5, readiness), attempt(1, 0, false, false));
    }

    #[test]
    fn without_room_in_the_retry_budget_the_next_target_is_asked_at_once() {
        let mut course = course(&[None, None], 3);
        course.begin(Moment::ZERO, |_| Readiness::Ready);
        let facts = FailureFacts {
            kind: FailureKind::Overloaded,
            retry_after: None,
            was_sent_again: false,
            is_other_key_ready: false,
            is_retry_allowed: false,
        };
        let ready = |_| Readiness::Ready;
        assert_eq!(course.after_failure(facts, Moment::ZERO, 0.5, ready), attempt(1, 0, false, false));
        assert_eq!(course.after_failure(facts, Moment::ZERO, 0.5, ready), GIVE_UP);
    }

    /// Who goes on after the stream of the first of so many targets broke.
    fn after_break(course: &mut Course, kind: FailureKind) -> Step {
        course.after_break(kind, Moment::ZERO, |_| Readiness::Ready)
    }

    #[test]
    fn a_broken_stream_goes_on_at_the_next_target_and_never_at_one_that_was_asked() {
        use FailureKind as Kind;
        for kind in Kind::ALL {
            let mut course = course(&[None, None, None], 2);
            course.begin(Moment::ZERO, |_| Readiness::Ready);
            fail(&mut course, Kind::Timeout);
            let goes_on = matches!(
                kind,
                Kind::Truncated | Kind::Stalled | Kind::Malformed | Kind::Overloaded | Kind::ProviderError
            );
            let expected = if goes_on { attempt(2, 0, false, false) } else { GIVE_UP };
            assert_eq!(after_break(&mut course, kind), expected, "{kind}");
            assert_eq!(after_break(&mut course, kind), GIVE_UP, "{kind}");
        }
    }

    #[test]
    fn failures_of_those_that_go_on_take_the_course_of_the_table_but_nobody_is_waited_for() {
        let limited = FailureFacts {
            kind: FailureKind::RateLimited,
            retry_after: Some(Duration::from_secs(2)),
            was_sent_again: false,
            is_other_key_ready: false,
            is_retry_allowed: true,
        };
        let mut course = course(&[None, None, None, None], 2);
        course.begin(Moment::ZERO, |_| Readiness::Ready);
        assert_eq!(after_break(&mut course, FailureKind::Stalled), attempt(1, 0, false, false));
        assert_eq!(fail(&mut course, FailureKind::ProviderError), attempt(1, 100, false, true));
        assert_eq!(fail(&mut course, FailureKind::ProviderError), attempt(2, 0, false, false));
        let readiness = |index| match index {
            3 => Readiness::Cooling { until: Moment::from_secs(1) },
            _ => Readiness::Ready,
        };
        let step = course.after_failure(limited, Moment::ZERO, 0.5, readiness);
        assert!(matches!(step, Step::GiveUp { .. }), "{step:?}");
    }

    #[test]
    fn an_answer_goes_on_only_so_often() {
        let mut course = course(&[None; 8], 1);
        course.begin(Moment::ZERO, |_| Readiness::Ready);
        for place in 1..=3 {
            assert!(course.can_go_on());
            let step = after_break(&mut course, FailureKind::Truncated);
            assert_eq!(step, attempt(place, 0, false, false));
        }
        assert!(!course.can_go_on());
        assert_eq!(after_break(&mut course, FailureKind::Truncated), GIVE_UP);
    }

    fn facts(kind: FailureKind) -> FailureFacts {
        FailureFacts {
            kind,
            retry_after: None,
            was_sent_again: false,
            is_other_key_ready: false,
            is_retry_allowed: true,
        }
    }

    #[test]
    fn an_overloaded_target_that_says_when_is_not_asked_sooner_and_not_waited_for_too_long() {
        for (said_ms, expected) in [
            (50, attempt(0, 100, false, true)),
            (3_000, attempt(0, 3_000, false, true)),
            (6_000, attempt(1, 0, false, false)),
        ] {
            let mut course = course(&[None, None], 2);
            course.begin(Moment::ZERO, |_| Readiness::Ready);
            let said = Some(Duration::from_millis(said_ms));
            let facts = FailureFacts { retry_after: said, ..facts(FailureKind::Overloaded) };
            let step = course.after_failure(facts, Moment::ZERO, 0.5, |_| Readiness::Ready);
            assert_eq!(step, expected, "{said_ms}");
        }
    }

    #[test]
    fn after_two_that_were_asked_together_have_failed_the_course_goes_on_behind_both() {
        let mut course = course(&[None, None, None], 1);
        course.begin(Moment::ZERO, |_| Readiness::Ready);
        assert_eq!(course.second(|place| place != 1), Some(2), "one that will not do is passed over");
        let second = course.second(|_| true).unwrap();
        assert_eq!(second, 1);
        course.begin_second(second);
        course.failed_beside(0, second, &facts(FailureKind::Timeout), Moment::ZERO);
        assert!(!course.is_settled());
        assert_eq!(fail(&mut course, FailureKind::Overloaded), attempt(2, 0, false, false));
        assert_eq!(fail(&mut course, FailureKind::Overloaded), GIVE_UP);
        assert_eq!(course.second(|_| true), None, "all were asked");
    }

    #[test]
    fn what_one_of_two_says_against_the_request_holds_when_the_other_fails_as_well() {
        for (kind, expected) in [
            (FailureKind::BadRequest, GIVE_UP),
            (FailureKind::ContentPolicy, GIVE_UP),
            (FailureKind::ContextLength, attempt(3, 0, false, false)),
            (FailureKind::RateLimited, attempt(2, 0, false, false)),
        ] {
            let mut course = course(&[Some(8_000), Some(8_000), Some(8_000), Some(200_000)], 2);
            course.begin(Moment::ZERO, |_| Readiness::Ready);
            course.begin_second(1);
            course.failed_beside(1, 0, &facts(kind), Moment::ZERO);
            assert_eq!(fail(&mut course, FailureKind::Timeout), expected, "{kind}");
        }
    }

    #[test]
    fn nothing_is_tried_after_the_deadline() {
        let mut course = course(&[None, None], 3);
        course.begin(Moment::ZERO, |_| Readiness::Ready);
        let facts = FailureFacts {
            kind: FailureKind::Unreachable,
            retry_after: None,
            was_sent_again: false,
            is_other_key_ready: false,
            is_retry_allowed: true,
        };
        assert_eq!(course.after_failure(facts, Moment::from_secs(60), 0.5, |_| Readiness::Ready), GIVE_UP);
    }

    #[test]
    fn a_plan_that_only_fails_ends() {
        for kind in FailureKind::ALL {
            let mut course = course(&[None; 5], 1000);
            course.begin(Moment::ZERO, |_| Readiness::Ready);
            let facts = FailureFacts {
                kind,
                retry_after: None,
                was_sent_again: false,
                is_other_key_ready: true,
                is_retry_allowed: true,
            };
            let mut attempts = 1;
            while course.after_failure(facts, Moment::ZERO, 0.0, |_| Readiness::Ready) != GIVE_UP {
                attempts += 1;
                assert!(attempts <= MOST_ATTEMPTS, "{kind}");
            }
        }
    }
}
