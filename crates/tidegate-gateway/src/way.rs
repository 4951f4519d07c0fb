//! The way of a request: the one function that walks the stations, in their order.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use http::{HeaderMap, HeaderName, HeaderValue};
use tidegate_policy::Moment;
use tidegate_store::CallId;
use tidegate_wire::Losses;

use crate::accept::{Arrival, Call, accept};
use crate::admit::{permit, refuse_model};
use crate::attempt::{Answered, Means, Won, attempt};
use crate::error::GatewayError;
use crate::experiments::{Part, choose};
use crate::gateway::Gateway;
use crate::hold::{budget_used, hold, put_room, tell_crossed};
use crate::plan::{LeftOut, Plan, nobody_left, plan, settle_names};
use crate::relay::{AnswerBody, Onward};
use crate::settle::Settlement;
use crate::snapshot::Snapshot;
use crate::upstream::UpstreamClient;

/// The most bytes of `x-tidegate-dropped`; clients and proxies limit headers to some 8 KB in all.
const MAX_DROPPED_HEADER: usize = 2_048;

/// Headers of an answer that tells of limits, what HTTP needs besides included: room for them is made once.
const USUAL_HEADERS: usize = 20;

/// The experiment and the arm that a call is in.
const EXPERIMENT: &str = "x-tidegate-experiment";

/// An answer with status 200.
#[derive(Debug)]
pub struct Answer {
    /// Tidegate's own response headers.
    pub headers: HeaderMap,
    /// Whether it is a stream of server-sent events (else JSON).
    pub is_event_stream: bool,
    /// Its body.
    pub body: AnswerBody,
}

/// No answer: the error, and the headers that go with it.
#[derive(Debug)]
pub struct Refusal {
    /// The error.
    pub error: GatewayError,
    /// How many attempts were made.
    pub attempts: usize,
    /// Headers that go with it: what room is left.
    pub headers: HeaderMap,
}

impl From<GatewayError> for Refusal {
    /// Before any attempt was made.
    fn from(error: GatewayError) -> Self {
        Self { error, attempts: 0, headers: HeaderMap::new() }
    }
}

/// Walks a request through the stations.
pub async fn walk(
    gateway: &Arc<Gateway>,
    upstream: &UpstreamClient,
    id: CallId,
    arrival: Arrival,
) -> Result<Answer, Refusal> {
    // First, because nothing else can be decided about a request that makes no sense.
    let mut call = accept(id, arrival)?;

    // Who asks was settled before the body was read; now it is known what for.
    permit(gateway, &call)?;

    // The configuration of the moment; a reload does not change the rules of a call that is under way.
    let snapshot = gateway.snapshot();

    // Before anything that costs money: from here on the call has a place in the ledger, and is settled when the
    // settlement is dropped, wherever that is.
    let mut settlement = Settlement::open(gateway, &snapshot, &call)?;

    // What the rest must know of the world besides what it finds in the snapshot.
    gather(gateway, &snapshot, &mut call).await;

    // Before `plan`, because an arm's target takes the place of the model's own.
    let mut headers = HeaderMap::new();
    let mut other_arms = Vec::new();
    match choose(gateway, &snapshot, &call) {
        Some(Part::In(chosen)) => {
            if let Some(value) = chosen.header() {
                headers.insert(EXPERIMENT, value);
            }
            call.arm = chosen.target;
            other_arms = chosen.could_go_to;
            settlement.exposed(chosen.exposure);
        }
        Some(Part::LeftOut(exposure, _why)) => settlement.exposed(exposure),
        None => {}
    }

    let now = gateway.clock.now();
    let mut plan = plan(&snapshot, &call, now).inspect_err(|error| settlement.refused(error.status))?;
    if plan.targets.is_empty() {
        if let Some(error) = nobody_left(&plan, &call) {
            settlement.refused(error.status);
            return Err(error.into());
        }
        settlement.withdraw();
        return Err(refuse_model(gateway, &call).into());
    }

    // After `plan`, as what a call may cost depends on where it can go; before `attempt`, as nothing may cost money that
    // has no room.
    plan.other_arms = other_arms;
    let mut held = hold(gateway, &call, &mut plan).await;
    if held.as_ref().is_err_and(|refused| refused.is_for_money())
        && settlement.leave_out(&LeftOut::Budget)
        && let Some(ordinary) = without_arm(&snapshot, &mut call, now)
    {
        // The dearest arm is no reason to refuse it.
        headers.remove(EXPERIMENT);
        plan = ordinary;
        held = hold(gateway, &call, &mut plan).await;
    }
    match held {
        Ok(None) => {}
        Ok(Some(hold)) => {
            headers.reserve(USUAL_HEADERS);
            put_room(&mut headers, hold.room(), call.dialect);
            tell_crossed(gateway, hold.crossed());
            settlement.holds(hold);
        }
        Err(refused) => {
            settlement.withdraw();
            return Err(refused.told(gateway, &call));
        }
    }

    let (Won { planned, losses, answer, .. }, course) =
        match attempt(Means { gateway, upstream }, &call, &mut plan, &mut settlement).await {
            Ok(won) => won,
            Err(error) => {
                match error.failure {
                    Some(kind) => settlement.failed(kind, error.status),
                    None => settlement.refused(error.status),
                }
                settlement.said(|| error.message.clone().into());
                return Err(Refusal { attempts: settlement.attempts(), error, headers });
            }
        };

    settlement.dropped(&losses);
    settlement.first_token();
    put(&mut headers, "x-tidegate-target", &planned.target.label);
    if let Some(route) = &call.route {
        put(&mut headers, "x-tidegate-route", &route.to_string());
    }
    headers.insert("x-tidegate-attempts", HeaderValue::from(settlement.attempts()));
    if !losses.is_empty() {
        put(&mut headers, "x-tidegate-dropped", &dropped_header(&losses));
    }
    Ok(match answer {
        Answered::Whole(mut whole) => {
            if whole.estimate_usage(&call, &planned) {
                settlement.likely_used(whole.consumed);
            } else if let Some(cost) = settlement.used(whole.consumed) {
                let cost = tidegate_catalog::NanoDollars(i64::try_from(cost).unwrap_or(i64::MAX));
                put(&mut headers, "x-tidegate-cost", &cost.to_string());
            }
            settlement.sent(whole.body.len());
            settlement.said(|| whole.body.clone());
            settlement.answered(whole.finish);
            if let Some(gathered) = settlement.conclude() {
                // Those that end meanwhile are written with this one.
                let_ready_ones_go_first().await;
                drop(gathered);
            }
            Answer { headers, is_event_stream: false, body: AnswerBody::whole(whole.body) }
        }
        Answered::Stream(mut relay) => {
            settlement.began_answer(200);
            relay.settle_with(settlement);
            let is_event_stream = !call.json_array;
            relay.may_go_on_with(Onward::new(call, plan, course, upstream));
            Answer { headers, is_event_stream, body: AnswerBody::stream(relay) }
        }
    })
}

/// Lets every task of this thread go first that is ready already. Tokio's `yield_now` looks for new work besides, which is one
/// more system call for nearly every call.
async fn let_ready_ones_go_first() {
    let mut is_last = false;
    poll_fn(|context| {
        if std::mem::replace(&mut is_last, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Finds out what is not known from the request alone: whom the caller means, and how far its budgets are used where a condition
/// looks at that.
pub(crate) async fn gather(gateway: &Gateway, snapshot: &Snapshot, call: &mut Call) {
    settle_names(snapshot, call);
    if snapshot.looks_at_budget {
        call.budget_used = budget_used(gateway, call).await;
    }
}

/// The plan of a call that is in no arm any more; `None` where nobody would be asked then.
fn without_arm(snapshot: &Snapshot, call: &mut Call, now: Moment) -> Option<Plan> {
    call.arm = None;
    plan(snapshot, call, now).ok().filter(|plan| !plan.targets.is_empty())
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    // Model names come from callers: what a header cannot carry is left out rather than the whole answer.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

fn dropped_header(losses: &Losses) -> String {
    let mut header = String::new();
    let mut unlisted = losses.unlisted();
    for field in losses.fields() {
        if header.len() + field.len() + 2 > MAX_DROPPED_HEADER {
            unlisted += 1;
            continue;
        }
        if !header.is_empty() {
            header.push_str(", ");
        }
        // Field names may come from the caller's own JSON.
        header.extend(field.chars().map(|c| if c.is_ascii_graphic() && c != ',' { c } else { '?' }));
    }
    if unlisted > 0 {
        header.push_str(&format!(", and {unlisted} more"));
    }
    header
}
