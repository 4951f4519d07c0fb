//! The course by itself: steps in, steps out, no clock and no socket.

use super::*;

const BACKOFF: Backoff = Backoff { shortest: Duration::from_millis(200), longest: Duration::from_secs(5) };

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
fn a_target_whose_breaker_has_opened_is_not_retried_while_another_can_be_asked() {
    let facts = FailureFacts {
        kind: FailureKind::Overloaded,
        retry_after: None,
        was_sent_again: false,
        is_other_key_ready: false,
        is_retry_allowed: true,
    };
    let resting = Readiness::Cooling { until: Moment::from_secs(5) };
    for (other, expected) in [
        (Readiness::Ready, attempt(1, 0, false, false)),
        (out(1), attempt(1, 0, false, false)),
        (resting, attempt(0, 100, false, true)),
    ] {
        let mut course = course(&[None, None], 2);
        course.begin(Moment::ZERO, |_| Readiness::Ready);
        let readiness = |index| if index == 0 { out(1) } else { other };
        assert_eq!(course.after_failure(facts, Moment::ZERO, 0.5, readiness), expected);
    }
    let mut alone = course(&[None], 2);
    alone.begin(Moment::ZERO, |_| Readiness::Ready);
    let step = alone.after_failure(facts, Moment::ZERO, 0.5, |_| out(1));
    assert_eq!(step, attempt(0, 100, false, true), "its breaker opened in the middle of the call");
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

fn out(seconds: u64) -> Readiness {
    Readiness::Out { why: WhyOut::Failing, probe_at: Moment::from_secs(seconds) }
}

fn refused(why: WhyOut) -> Readiness {
    Readiness::Out { why, probe_at: Moment::ZERO }
}

#[test]
fn targets_that_are_out_are_passed_over_and_the_least_bad_is_tried_when_all_are() {
    let mut course = course(&[None, None, None], 1);
    let readiness = |index| [out(3), out(1), Readiness::Ready][index];
    assert_eq!(course.begin(Moment::ZERO, readiness), attempt(2, 0, false, false));
    let step = course.after_failure(facts(FailureKind::Timeout), Moment::ZERO, 0.5, readiness);
    assert_eq!(step, attempt(1, 0, false, false));
    let step = course.after_failure(facts(FailureKind::Timeout), Moment::ZERO, 0.5, readiness);
    assert_eq!(step, GIVE_UP, "one of those that are out, and no more");
}

#[test]
fn with_all_targets_out_one_is_asked_once_whatever_its_failure() {
    for kind in FailureKind::ALL {
        for count in [1, 4] {
            let mut course = course(&vec![None; count], 5);
            assert_eq!(course.begin(Moment::ZERO, |_| out(1)), attempt(0, 0, false, false));
            let step = course.after_failure(facts(kind), Moment::ZERO, 0.5, |_| out(1));
            // What a limited provider says is an invitation: it works.
            let is_invited = kind == FailureKind::RateLimited;
            assert_eq!(step, if is_invited { attempt(0, 200, false, true) } else { GIVE_UP }, "{kind}");
        }
    }
}

#[test]
fn the_least_bad_is_one_that_fails_then_one_without_keys_then_one_that_does_not_exist() {
    for (targets, expected) in [
        ([refused(WhyOut::NoSuchModel), refused(WhyOut::KeysRefused), out(30)], 2),
        ([refused(WhyOut::NoSuchModel), refused(WhyOut::KeysRefused), refused(WhyOut::NoSuchModel)], 1),
        ([refused(WhyOut::NoSuchModel), out(3), out(2)], 2),
        ([out(2), out(2), out(2)], 0),
    ] {
        let step = course(&[None; 3], 2).begin(Moment::ZERO, |index| targets[index]);
        assert_eq!(step, attempt(expected, 0, false, false), "{targets:?}");
    }
}

#[test]
fn after_a_last_resort_whoever_has_come_back_meanwhile_is_asked() {
    let mut course = course(&[None; 3], 2);
    course.begin(Moment::ZERO, |_| out(1));
    let readiness = |index| if index == 1 { Readiness::Ready } else { out(1) };
    let step = course.after_failure(facts(FailureKind::Timeout), Moment::ZERO, 0.5, readiness);
    assert_eq!(step, attempt(1, 0, false, false));
    let step = course.after_failure(facts(FailureKind::Timeout), Moment::ZERO, 0.5, readiness);
    assert_eq!(step, GIVE_UP);
}

#[test]
fn a_last_resort_that_finds_the_input_too_long_leaves_the_larger_window_its_chance() {
    let mut course = course(&[Some(8_000), Some(200_000)], 2);
    assert_eq!(course.begin(Moment::ZERO, |_| out(1)), attempt(0, 0, false, false));
    let step = course.after_failure(facts(FailureKind::ContextLength), Moment::ZERO, 0.5, |_| out(1));
    assert_eq!(step, attempt(1, 0, false, false));
}

#[test]
fn a_broken_stream_goes_on_at_one_of_those_that_are_out_and_at_no_other() {
    let mut course = course(&[None; 4], 2);
    course.begin(Moment::ZERO, |_| Readiness::Ready);
    let step = course.after_break(FailureKind::Truncated, Moment::ZERO, |_| out(1));
    assert_eq!(step, attempt(1, 0, false, false));
    let step = course.after_failure(facts(FailureKind::Overloaded), Moment::ZERO, 0.5, |_| out(1));
    assert_eq!(step, GIVE_UP);
}

#[test]
fn a_target_is_as_ready_as_its_keys_and_its_provider_let_it_be() {
    let cooling = |seconds| Readiness::Cooling { until: Moment::from_secs(seconds) };
    let keys_out = refused(WhyOut::KeysRefused);
    for (target, keys, expected) in [
        (Readiness::Ready, Readiness::Ready, Readiness::Ready),
        (Readiness::Ready, cooling(3), cooling(3)),
        (out(1), Readiness::Ready, out(1)),
        (out(9), cooling(3), cooling(9)),
        (out(1), keys_out, Readiness::Out { why: WhyOut::KeysRefused, probe_at: Moment::from_secs(1) }),
        (refused(WhyOut::NoSuchModel), cooling(3), refused(WhyOut::NoSuchModel)),
    ] {
        assert_eq!(Readiness::of(target, keys), expected, "{target:?} {keys:?}");
    }
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
fn a_request_that_somebody_has_begun_to_answer_is_bad_only_for_who_says_so() {
    let mut course = course(&[None, None, None], 2);
    course.begin(Moment::ZERO, |_| Readiness::Ready);
    assert_eq!(after_break(&mut course, FailureKind::Truncated), attempt(1, 0, false, false));
    assert_eq!(course.ask_otherwise(Moment::ZERO), attempt(1, 0, false, false));
    assert_eq!(fail(&mut course, FailureKind::BadRequest), attempt(2, 0, false, false));
    assert_eq!(fail(&mut course, FailureKind::BadRequest), GIVE_UP);
    assert_eq!(course.ask_otherwise(Moment::from_secs(60)), GIVE_UP, "its time is over");
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
