//! What a stream keeps so that another target can go on with it: the call as it came, who is left to ask, and the means.
//! Made by `way` once a stream has begun, used up by `recovery`.
//!
//! The request's body stays in memory for as long as the stream runs. Where nobody could go on nothing is kept.

use std::pin::Pin;
use std::sync::Arc;

use tidegate_policy::Course;
use tidegate_wire::FailureKind;
use tidegate_wire::continuation::{Asked, Obstacle};

use super::stream::StreamRelay;
use crate::accept::{Call, Operation};
use crate::attempt::{Answered, Means, Translation, Won, attempt_to_go_on};
use crate::gateway::Gateway;
use crate::hold::{NoRoom, hold_again};
use crate::plan::{Plan, Planned};
use crate::settle::Settlement;
use crate::upstream::UpstreamClient;

/// What it takes to go on.
pub(crate) struct Onward {
    pub(super) call: Call,
    plan: Plan,
    course: Course,
    upstream: UpstreamClient,
}

/// The search for somebody who goes on. Dropped with the stream when the caller hangs up, which cancels whoever is asked.
pub(super) type Search = Pin<Box<dyn Future<Output = Found> + Send>>;

/// How the search ended, with what was lent to it.
pub(super) struct Found {
    pub(super) onward: Box<Onward>,
    pub(super) settlement: Settlement,
    pub(super) outcome: Result<NextSource, NoSource>,
}

/// Somebody goes on.
pub(super) struct NextSource {
    pub(super) relay: Box<StreamRelay>,
    pub(super) planned: Planned,
    pub(super) asked: Asked,
}

/// Nobody does.
#[derive(Debug)]
pub(super) enum NoSource {
    /// Nobody could, whoever it were.
    Impossible(Obstacle),
    /// A budget has no room for another answer.
    NoRoom,
    /// Nobody is left to ask.
    NobodyLeft,
    /// Those who were asked failed as well; the last one so.
    Failed(String),
}

impl Onward {
    /// For a stream that has begun; `None` where nobody could go on with it.
    pub(crate) fn new(
        call: Call,
        plan: Plan,
        course: Course,
        upstream: &UpstreamClient,
    ) -> Option<Box<Self>> {
        let can_go_on = plan.goes_on && call.operation == Operation::Chat && course.can_go_on();
        can_go_on.then(|| Box::new(Self { call, plan, course, upstream: upstream.clone() }))
    }

    /// Looks for somebody who goes on with a stream that broke. `said` is what was said so far, where that is text alone.
    pub(super) fn search(
        mut self: Box<Self>,
        gateway: Arc<Gateway>,
        mut settlement: Settlement,
        broken_by: FailureKind,
        said: Option<String>,
        tokens_said: u64,
    ) -> Search {
        Box::pin(async move {
            let outcome = self.ask(&gateway, &mut settlement, broken_by, said, tokens_said).await;
            Found { onward: self, settlement, outcome }
        })
    }

    async fn ask(
        &mut self,
        gateway: &Arc<Gateway>,
        settlement: &mut Settlement,
        broken_by: FailureKind,
        said: Option<String>,
        tokens_said: u64,
    ) -> Result<NextSource, NoSource> {
        let Self { call, plan, course, upstream } = self;
        let translation = Translation::to_go_on(call, said, tokens_said).map_err(NoSource::Impossible)?;
        // Another answer costs money too, and a hard budget is never exceeded.
        match hold_again(gateway, call, plan, settlement.cost()).await {
            Ok(hold) => hold.into_iter().for_each(|hold| settlement.holds_more(hold)),
            Err(NoRoom) => return Err(NoSource::NoRoom),
        }
        let before = settlement.attempts();
        let means = Means { gateway, upstream };
        let asking = attempt_to_go_on(means, &translation, plan, course, broken_by, settlement);
        match asking.await {
            Ok(Won { planned, has_beginning, answer: Answered::Stream(relay), .. }) => {
                let asked = translation.asked(&planned, has_beginning);
                Ok(NextSource { relay, planned, asked })
            }
            Ok(_) => Err(NoSource::NobodyLeft),
            Err(_) if settlement.attempts() == before => Err(NoSource::NobodyLeft),
            Err(error) => Err(NoSource::Failed(error.message)),
        }
    }
}
