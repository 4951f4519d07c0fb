//! Station 5: try the targets of the plan until one answers: translate, send, classify, and go where the law says.

mod count;
mod exchange;
mod failure;
mod going_on;
mod hedge;
mod held_against;
mod prepare;
mod withheld;
mod witness;

use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use tidegate_config::Hedge;
use tidegate_policy::routing::Answering;
use tidegate_policy::{Backoff, Candidate, Course, CourseSettings, FailureFacts, Readiness, Step, WhyOut};
use tidegate_store::Text;
use tidegate_wire::{FailureKind, Losses};

use crate::accept::{Call, Operation};
use crate::clock::Clock;
use crate::error::GatewayError;
use crate::gateway::Gateway;
use crate::health::Asking;
use crate::plan::{Plan, Planned};
use crate::relay::{StreamRelay, WholeAnswer, likely_input};
use crate::settle::Settlement;
use crate::upstream::UpstreamClient;

pub(crate) use count::count_locally;
pub(crate) use exchange::Reached;
use exchange::{Manner, exchange};
pub(crate) use failure::{Failure, duration_in_words};
use held_against::{KeyProbe, hold_against};
pub(crate) use held_against::{count_late_failure, is_late_failure};
pub(crate) use prepare::Translation;
use withheld::Withheld;
pub(crate) use witness::Witness;

/// An answer that has begun.
#[derive(Debug)]
pub(crate) struct Won {
    pub(crate) planned: Planned,
    pub(crate) losses: Losses,
    /// Whether the target was given the beginning of its answer.
    pub(crate) has_beginning: bool,
    pub(crate) answer: Answered,
}

/// What attempts are made with.
#[derive(Clone, Copy)]
pub(crate) struct Means<'a> {
    pub(crate) gateway: &'a Arc<Gateway>,
    pub(crate) upstream: &'a UpstreamClient,
}

/// The answer, in the caller's dialect.
#[derive(Debug)]
pub(crate) enum Answered {
    /// Whole.
    Whole(WholeAnswer),
    /// As a stream whose first token has come.
    Stream(Box<StreamRelay>),
}

/// Asks the targets of a plan, one after the other, until one answers or nobody is left. The course that this took comes
/// back with the answer: it knows who could go on with it.
pub(crate) async fn attempt(
    means: Means<'_>,
    call: &Call,
    plan: &mut Plan,
    settlement: &mut Settlement,
) -> Result<(Won, Course), GatewayError> {
    let mut translation = Translation::new(call);
    prepare::keep_expressible(plan, &translation)?;
    translation.is_remembered = call.stream && plan.goes_on && plan.targets.len() > 1;
    translation.withholds_refusals =
        plan.falls_back_on_content_policy && call.operation == Operation::Chat && plan.targets.len() > 1;
    let hedge = plan.hedge.filter(|_| call.operation == Operation::Chat && plan.targets.len() > 1);
    if let Some(hedge) = hedge {
        means.gateway.note_hedgeable(hedge);
    }
    let clock = means.gateway.clock;
    let mut course = Course::new(
        plan.targets.iter().map(candidate),
        CourseSettings {
            deadline: clock.moment(plan.deadline),
            falls_back_on_content_policy: plan.falls_back_on_content_policy,
        },
    );
    let now = clock.now();
    let step = course.begin(now, |place| readiness_at(plan, place, now));
    let won = follow(means, &translation, plan, &mut course, step, hedge, settlement).await?;
    Ok((won, course))
}

/// Asks those that are left of a plan to go on with an answer whose stream broke. The translation says how they are asked.
pub(crate) async fn attempt_to_go_on(
    means: Means<'_>,
    translation: &Translation<'_>,
    plan: &Plan,
    course: &mut Course,
    broken_by: FailureKind,
    settlement: &mut Settlement,
) -> Result<Won, GatewayError> {
    let clock = means.gateway.clock;
    let now = clock.now();
    let step = course.after_break(broken_by, now, |place| readiness_at(plan, place, now));
    // The caller sits before half an answer, and whoever goes on with it is paid for all of the conversation: one will do.
    follow(means, translation, plan, course, step, None, settlement).await
}

/// Does what the course says, from this step on.
async fn follow(
    means: Means<'_>,
    translation: &Translation<'_>,
    plan: &Plan,
    course: &mut Course,
    mut step: Step,
    mut hedge: Option<Hedge>,
    settlement: &mut Settlement,
) -> Result<Won, GatewayError> {
    let clock = means.gateway.clock;
    let targets = &plan.targets;
    let readiness = |place: usize| readiness_at(plan, place, clock.now());
    let mut last_failure: Option<Failure> = None;
    let mut tried = TriedKeys::default();
    let mut withheld: Option<Box<Withheld>> = None;
    let mut retry = None;
    let mut asked_otherwise = None;
    loop {
        let Step::Try { candidate, after, is_fresh, is_retry } = step else {
            let Step::GiveUp { cooling_until } = step else { continue };
            if let Some(won) = withheld.and_then(|withheld| withheld.pass_on(plan, settlement)) {
                return Ok(won);
            }
            let wait = cooling_until.map(|until| until.saturating_sub(clock.now()));
            return Err(failure::to_caller(last_failure, wait, targets, plan));
        };
        let Some(planned) = targets.get(candidate) else {
            return Err(GatewayError::internal("The plan has no such target. This is a defect of Tidegate."));
        };
        // The budget's place is held for as long as the retry runs, waiting included, and given back otherwise.
        let retry_in_flight = retry.take().filter(|_| is_retry);
        if !after.is_zero() {
            // All who wait for the same limit to pass would come back in the same moment.
            let after = after + after.mul_f64(fastrand::f64() * 0.1).min(LONGEST_SCATTER);
            tokio::time::sleep(after).await;
            settlement.waited(after);
        }
        let tried_here = tried.at(candidate);
        let attempting =
            Attempting::begin(translation.call, planned, candidate, &tried_here, clock, settlement);
        let late = hedge.map(|hedge| hedge::delay(means.gateway, translation.call, hedge, planned, plan));
        let Ended { attempting, reached, beside } = match late {
            None => {
                let witness = Arc::clone(&attempting.witness);
                let manner = Manner { key: attempting.key, is_fresh, witness };
                let reached = exchange(means, translation, planned, plan.deadline, manner).await;
                Ended { attempting, reached, beside: None }
            }
            // Boxed, since most calls have none, and every call would carry room for it.
            Some(late) => {
                let asking = hedge::ask(
                    means,
                    translation,
                    plan,
                    course,
                    attempting,
                    is_fresh,
                    late,
                    &mut hedge,
                    settlement,
                );
                Box::pin(asking).await
            }
        };
        drop(retry_in_flight);
        match reached {
            Ok(Reached { losses, has_beginning, answer, waited }) => {
                let planned = attempting.planned.clone();
                settlement.waited(waited);
                attempting.succeeded(clock, settlement);
                settlement.count_withheld();
                return Ok(Won { planned, losses, has_beginning, answer });
            }
            Err(mut failure) => {
                settlement.waited(attempting.began.elapsed());
                tried.add(attempting.place, attempting.key);
                let tried_here = tried.at(attempting.place);
                let mut facts = attempting.failed(&mut failure, &tried_here, clock, settlement);
                let mut beside = beside;
                // Of several refusals the first one's target was preferred.
                for failure in beside.iter_mut().chain([&mut failure]) {
                    withheld = withheld.or(failure.withheld.take());
                }
                // Coming back when the provider said so multiplies nothing, and may take so long that it would keep
                // other retries from their place in the budget.
                let is_invited_back = failure.kind == FailureKind::RateLimited;
                retry = if is_invited_back { None } else { means.gateway.begin_retry() };
                facts.is_retry_allowed = is_invited_back || retry.is_some();
                // What one of two said against the request is what the caller must hear.
                last_failure = Some(beside.filter(|_| course.is_settled()).unwrap_or(failure));
                if facts.kind == FailureKind::BadRequest && translation.begun(planned).is_some() {
                    // Most likely it is the beginning of the answer that it will not have.
                    planned.target.refuses_beginnings(true);
                    asked_otherwise = Some(candidate);
                    step = course.ask_otherwise(clock.now());
                    continue;
                }
                if facts.kind == FailureKind::BadRequest && asked_otherwise == Some(candidate) {
                    // It was something else.
                    planned.target.refuses_beginnings(false);
                }
                step = course.after_failure(facts, clock.now(), fastrand::f64(), readiness);
            }
        }
    }
}

/// Nobody waits longer than this beyond the time that was said.
const LONGEST_SCATTER: Duration = Duration::from_millis(500);

const OUT: Readiness = Readiness::Out { why: WhyOut::NoSuchModel, probe_at: tidegate_policy::Moment::MAX };

fn candidate(planned: &Planned) -> Candidate {
    Candidate {
        window: planned.target.window,
        attempts: planned.retry.attempts.max(1),
        backoff: Backoff { shortest: planned.retry.backoff.shortest, longest: planned.retry.backoff.longest },
    }
}

fn readiness_at(plan: &Plan, place: usize, now: tidegate_policy::Moment) -> Readiness {
    plan.targets.get(place).map_or(OUT, |planned| readiness(planned, now))
}

/// Whether a target and any of its keys can be asked.
pub(crate) fn readiness(planned: &Planned, now: tidegate_policy::Moment) -> Readiness {
    let health = &planned.target.health;
    Readiness::of(health.readiness(now), planned.provider.key_readiness(health, now))
}

/// One attempt as health sees it. Dropped without an outcome (the caller hung up), it says nothing about the target.
struct Attempting<'a> {
    planned: &'a Planned,
    /// Its place in the plan.
    place: usize,
    key: usize,
    operation: Operation,
    began: Instant,
    asking: Asking,
    probe: KeyProbe,
    witness: Arc<Witness>,
}

/// The keys that a call has failed with, by the places of their targets in the plan. Each is asked once, before other targets
/// are: one whose rest is over is no other key.
#[derive(Debug, Default)]
struct TriedKeys(SmallVec<[(usize, usize); 2]>);

type KeysOfOne = SmallVec<[usize; 2]>;

impl TriedKeys {
    fn add(&mut self, target: usize, key: usize) {
        self.0.push((target, key));
    }

    fn at(&self, target: usize) -> KeysOfOne {
        self.0.iter().filter(|(place, _)| *place == target).map(|(_, key)| *key).collect()
    }
}

/// An attempt that has ended, of one target or of two that were asked together.
struct Ended<'a> {
    attempting: Attempting<'a>,
    reached: Result<Reached, Failure>,
    /// How the other one failed, before this one did.
    beside: Option<Failure>,
}

impl<'a> Attempting<'a> {
    fn begin(
        call: &Call,
        planned: &'a Planned,
        place: usize,
        tried: &[usize],
        clock: Clock,
        settlement: &mut Settlement,
    ) -> Self {
        let began = Instant::now();
        let now = clock.moment(began);
        let input_tokens = likely_input(call, planned);
        let health = &planned.target.health;
        let key = planned.provider.choose_key(health, now, input_tokens, tried, fastrand::f64());
        let answering = if call.stream { Answering::Streamed } else { Answering::Whole };
        let asking = Asking::begin(&planned.target.health, clock, now, answering);
        let probe = KeyProbe::begin(planned, key, clock, now);
        if let Some(key) = planned.provider.keys.get(key) {
            planned.target.health.limits().take(key.fingerprint(), input_tokens);
        }
        let witness = Arc::new(Witness::new(input_tokens));
        let operation = call.operation;
        let attempting = Self { planned, place, key, operation, began, asking, probe, witness };
        let (key_label, witness) = (attempting.key_label(), &attempting.witness);
        settlement.at_target(&planned.provider.name, &planned.target, key_label, witness);
        attempting
    }

    fn key_label(&self) -> &'a Text {
        self.planned.provider.key_label(self.key)
    }

    /// The target answers; until its answer has ended the call is in flight there.
    fn succeeded(mut self, clock: Clock, settlement: &mut Settlement) {
        settlement.attempted(&self.planned.target, None, Some(200), self.began.elapsed());
        if self.operation == Operation::CountTokens {
            // A count says nothing of answers, also where it succeeds.
            return;
        }
        self.asking.succeed(clock.now());
        if let Some(key) = self.planned.provider.keys.get(self.key) {
            key.health.succeed();
            if let Some(here) = self.planned.target.health.troubled_keys().find(key.fingerprint()) {
                here.succeed();
            }
        }
        settlement.answering(self.asking);
    }

    /// It failed: the ledger, the log and health are told. Gives what the course must know; whether a retry is allowed is
    /// not among it.
    fn failed(
        mut self,
        failure: &mut Failure,
        tried: &[usize],
        clock: Clock,
        settlement: &mut Settlement,
    ) -> FailureFacts {
        let planned = self.planned;
        let (key, now) = (self.key, clock.now());
        failure.conceal(&planned.provider);
        if failure.was_sent_again {
            // The provider may have seen both; the time is that of the two together.
            settlement.attempted(&planned.target, Some(failure.kind), None, Duration::ZERO);
        }
        settlement.attempted(&planned.target, Some(failure.kind), failure.status, self.began.elapsed());
        tracing::debug!(
            target_name = %planned.target.label, kind = %failure.kind, status = failure.status,
            "an attempt failed"
        );
        if let Some(withheld) = &mut failure.withheld {
            withheld.put_down(self.place, planned, key, self.began, settlement);
        }
        // Whoever was given the whole request and was not waited for works on, and is paid, as where a caller hangs up. Where
        // nobody knows the price there is nothing to guess.
        let may_be_paid = self.operation == Operation::Chat && planned.target.prices.is_some();
        let used = if failure.kind == FailureKind::Timeout && may_be_paid {
            self.witness.used()
        } else {
            self.witness.told()
        };
        if let Some(used) = used {
            settlement.also_used(&planned.target, &used);
        }
        hold_against(planned, key, &mut self.probe, self.asking, self.operation, failure, now);
        FailureFacts {
            kind: failure.kind,
            retry_after: failure.retry_after,
            was_sent_again: failure.was_sent_again,
            is_other_key_ready: planned.provider.has_other_ready_key(tried, &planned.target.health, now),
            is_retry_allowed: false,
        }
    }
}
