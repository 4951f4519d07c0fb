//! Hedging: when a target is late, the next one of the plan is asked as well. The first to give its first token, or its
//! whole answer, wins; the other's connection is closed at once, and what it has used is counted beside the answer.
//!
//! Two futures polled together, and no task: a caller who hangs up drops both. Called by the course's loop in `mod.rs`,
//! only for models that are configured so.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::Hedge;
use tidegate_policy::Moment;
use tidegate_policy::routing::{Answering, Hedging, Measured, Standing};
use tidegate_wire::FailureKind;

use super::exchange::{Manner, Reached, exchange};
use super::failure::Failure;
use super::prepare::Translation;
use super::{Attempting, Ended, Means};
use crate::accept::Call;
use crate::gateway::Gateway;
use crate::plan::{Plan, Planned};
use crate::relay::likely_input;
use crate::series::HedgeOutcome;
use crate::settle::Settlement;
use tidegate_policy::Course;

/// After which time a second target is asked beside this one. Of a target without enough calls of its own nobody knows when
/// it is late: then those of its plan are asked that are known, and the most patient of them counts.
pub(super) fn delay(
    gateway: &Gateway,
    call: &Call,
    hedge: Hedge,
    planned: &Planned,
    plan: &Plan,
) -> Duration {
    let answering = if call.stream { Answering::Streamed } else { Answering::Whole };
    let late = |planned: &Planned| planned.target.health.slowest(answering).late_after;
    let measured = || late(planned).or_else(|| plan.targets.iter().filter_map(late).max());
    gateway.hedge_delay(hedge.after, hedge.after.is_none().then(measured).flatten(), answering)
}

type Exchange<'a> = Pin<Box<dyn Future<Output = Result<Reached, Failure>> + Send + 'a>>;

/// An attempt that goes on.
struct Racing<'a, 'w> {
    attempting: Attempting<'a>,
    exchange: Exchange<'w>,
}

/// Asks a target, and when it is late another one. Once a second one was asked there is no further hedge in this call.
#[expect(
    clippy::too_many_arguments,
    reason = "it takes the place of one line in the loop, with all that stands around that"
)]
pub(super) async fn ask<'a>(
    means: Means<'_>,
    translation: &Translation<'_>,
    plan: &'a Plan,
    course: &mut Course,
    first: Attempting<'a>,
    is_fresh: bool,
    late: Duration,
    hedge: &mut Option<Hedge>,
    settlement: &mut Settlement,
) -> Ended<'a> {
    let clock = means.gateway.clock;
    let make = |attempting: Attempting<'a>, is_fresh: bool| -> Racing<'a, '_> {
        let manner = Manner { key: attempting.key, is_fresh, witness: Arc::clone(&attempting.witness) };
        let exchange = exchange(means, translation, attempting.planned, plan.deadline, manner);
        Racing { attempting, exchange: Box::pin(exchange) }
    };
    let mut first = make(first, is_fresh);
    let in_time = tokio::select! {
        biased;
        reached = &mut first.exchange => Some(reached),
        () = tokio::time::sleep(late) => None,
    };
    if let Some(reached) = in_time {
        return Ended { attempting: first.attempting, reached, beside: None };
    }
    let late = first.attempting.planned.target.health.measured(clock.now());
    let will_do = |place: usize| {
        let planned = plan.targets.get(place);
        planned.is_some_and(|planned| will_do(translation.call, planned, &late, clock.now()))
    };
    let Some(place) = course.second(will_do).filter(|_| means.gateway.take_hedge()) else {
        let reached = first.exchange.await;
        return Ended { attempting: first.attempting, reached, beside: None };
    };
    let Some(planned) = plan.targets.get(place) else {
        let reached = first.exchange.await;
        return Ended { attempting: first.attempting, reached, beside: None };
    };
    *hedge = None;
    course.begin_second(place);
    let mut outcome = means.gateway.series.hedge();
    tracing::debug!(
        late = %first.attempting.planned.target.label, second = %planned.target.label, after = ?late,
        "a second target is asked"
    );
    let mut second = make(Attempting::begin(translation.call, planned, place, &[], clock, settlement), false);

    let (is_first, reached) = tokio::select! {
        biased;
        reached = &mut first.exchange => (true, reached),
        reached = &mut second.exchange => (false, reached),
    };
    let (quicker, other) = if is_first { (first, second) } else { (second, first) };
    let began = quicker.attempting.began.min(other.attempting.began);
    match reached {
        Ok(reached) => {
            lose(other, settlement);
            outcome.is(if is_first { HedgeOutcome::Lost } else { HedgeOutcome::Won });
            win(&quicker.attempting, settlement);
            let reached = Reached { waited: began.elapsed(), ..reached };
            Ended { attempting: quicker.attempting, reached: Ok(reached), beside: None }
        }
        Err(mut failure) => {
            // The other one simply goes on.
            let failed = quicker.attempting.place;
            let facts = {
                let tried = [quicker.attempting.key];
                quicker.attempting.failed(&mut failure, &tried, clock, settlement)
            };
            course.failed_beside(failed, other.attempting.place, &facts, clock.now());
            let reached = other.exchange.await;
            let reached = match reached {
                Ok(reached) => {
                    outcome.is(if is_first { HedgeOutcome::Won } else { HedgeOutcome::Lost });
                    win(&other.attempting, settlement);
                    Ok(Reached { waited: began.elapsed(), ..reached })
                }
                Err(failure) => {
                    outcome.is(HedgeOutcome::Failed);
                    settlement.waited(other.attempting.began.saturating_duration_since(began));
                    Err(failure)
                }
            };
            Ended { attempting: other.attempting, reached, beside: Some(failure) }
        }
    }
}

/// Whether a target may be asked as the second, beside one that is late.
fn will_do(call: &Call, planned: &Planned, late: &Measured, now: Moment) -> bool {
    let headroom = planned.provider.headroom(&planned.target.health, now, likely_input(call, planned));
    let glance = planned.target.health.glance(now);
    glance.standing == Standing::Ready
        && super::readiness(planned, now) == tidegate_policy::Readiness::Ready
        && Hedging::may_ask(&glance.measured, late, headroom)
}

fn win(attempting: &Attempting<'_>, settlement: &mut Settlement) {
    let planned = attempting.planned;
    settlement.answers(&planned.provider.name, &planned.target, attempting.key_label(), attempting.began);
}

/// Another target was faster. That says nothing about this one but that it took so long.
fn lose(racing: Racing<'_, '_>, settlement: &mut Settlement) {
    let Racing { attempting, exchange } = racing;
    // Closes the connection, and leaves behind what was used.
    drop(exchange);
    let planned = attempting.planned;
    settlement.attempted(&planned.target, Some(FailureKind::Cancelled), None, attempting.began.elapsed());
    if let Some(used) = attempting.witness.used() {
        settlement.also_used(&planned.target, &used);
    }
}
