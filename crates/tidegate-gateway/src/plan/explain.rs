//! Who would be asked for a request, in which order and why, and why not the others: for `/admin/v1/explain` and
//! `tidegate explain`. Goes the way of the real plan, and asks nobody.

use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use tidegate_catalog::{Catalog, NanoDollars};
use tidegate_config::Settings;
use tidegate_policy::routing::{Choice, Standing, Strategy};
use tidegate_policy::{Feature, Moment, Readiness};
use tidegate_store::CallId;

use super::arms::LeftOut;
use super::order::{Plan, Planned, plan, plan_with, settle_names};
use super::passed_over::nobody_left;
use super::requirements::Needs;
use super::trace::{Considered, Trace};
use crate::accept::{Arrival, Call, accept};
use crate::admit::{Hindrance, RefusalReason, hindrance, model_hindrance};
use crate::attempt::{Translation, readiness};
use crate::clock::Clock;
use crate::error::GatewayError;
use crate::experiments::{Part, choose};
use crate::gateway::Gateway;
use crate::hold::{ExplainedRoom, RoomLeft, TooDear, room_left, too_dear_for};
use crate::provider::ProviderError;
use crate::report::{TargetReport, TargetState, models_with, of_target, timestamp};
use crate::snapshot::Snapshot;
use crate::way::gather;

/// Who would be asked for a request, and why.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Explanation {
    /// The model that the request names.
    pub model: String,
    /// The dialect that it is written in.
    pub dialect: String,
    /// What it asks for: chat or `count_tokens`.
    pub operation: String,
    /// Whether it wants a stream.
    pub stream: bool,
    /// What `auto` chose, and why, where the request asks for it.
    pub route: Option<String>,
    /// The experiment that it takes part in, with the arm, where there is one.
    pub experiment: Option<String>,
    /// The experiment of its model in which it takes no part, and why.
    pub left_out_of_experiment: Option<String>,
    /// What it needs of a target.
    pub needs: ExplainedNeeds,
    /// Who would be asked, the first one first. The next is asked when the one before fails.
    pub order: Vec<ExplainedTarget>,
    /// Who would not be asked.
    pub passed_over: Vec<ExplainedPassedOver>,
    /// What room the caller's limits and budgets have for it; nothing is reserved. Null where nobody in particular is calling.
    pub room: Option<ExplainedRoom>,
    /// What the caller would be told instead of an answer, where nobody would be asked.
    pub refusal: Option<ExplainedRefusal>,
}

/// What a request needs of a target.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ExplainedNeeds {
    /// Tokens of input, likely.
    pub input_tokens: u64,
    /// The longest answer that is asked for, where the request says.
    pub max_output_tokens: Option<u64>,
    /// What it makes use of: tools, images, …
    pub features: Vec<String>,
}

/// A target that would be asked.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ExplainedTarget {
    /// `provider/upstream-model`.
    pub target: String,
    /// The model behind which it stands: the one asked for, or a fallback.
    pub model: String,
    /// The model's strategy, or what the caller wished instead.
    pub strategy: String,
    /// Why it stands in this place.
    pub because: Vec<String>,
    /// The dialect that is spoken with it.
    pub dialect: String,
    /// Whether the request goes to it as it is, but for the model's name.
    pub passes_through: bool,
    /// Fields of the request that it cannot express, and that would be left out.
    pub drops: Vec<String>,
    /// Its weight.
    pub weight: u32,
    /// What this call would likely cost there, in US dollars; null where the price is not known.
    pub likely_cost_usd: Option<String>,
    /// The share of its provider's own limit that is left: 0 to 1, 1 where nothing is known.
    pub headroom: f64,
    /// How it is doing.
    pub now: TargetReport,
}

/// A target that would not be asked.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ExplainedPassedOver {
    /// `provider/upstream-model`.
    pub target: String,
    /// The model behind which it stands.
    pub model: String,
    /// The kind of reason: permission, no_key, condition, steering, requirement, price or strict.
    pub reason: String,
    /// The reason itself, about the target: `sees no images`.
    pub says: String,
}

/// What a caller would be told instead of an answer.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ExplainedRefusal {
    /// The status.
    pub status: u16,
    /// The code.
    pub code: Option<String>,
    /// The words.
    pub message: String,
}

impl From<GatewayError> for ExplainedRefusal {
    fn from(error: GatewayError) -> Self {
        Self { status: error.status, code: error.code, message: error.message }
    }
}

/// Why nothing can be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The configuration cannot be put in force.
    #[error(transparent)]
    Settings(#[from] ProviderError),
    /// The request makes no sense.
    #[error(transparent)]
    Request(#[from] GatewayError),
}

/// Explains a request to a gateway that runs, as things are at this moment.
pub async fn explain(gateway: &Gateway, arrival: Arrival) -> Result<Explanation, GatewayError> {
    let mut call = accept(CallId::now(), arrival)?;
    let snapshot = gateway.snapshot();
    gather(gateway, &snapshot, &mut call).await;
    let mut part = choose(gateway, &snapshot, &call);
    let mut other_arms = Vec::new();
    if let Some(Part::In(chosen)) = &part {
        call.arm.clone_from(&chosen.target);
        other_arms.clone_from(&chosen.could_go_to);
    }
    let mut room = look_for_room(gateway, &snapshot, &call, other_arms).await;
    if let Some(Part::In(chosen)) = &part
        && room.as_ref().is_some_and(RoomLeft::is_short_of_money)
    {
        // The dearest arm is no reason to refuse it.
        call.arm = None;
        part = Some(Part::LeftOut(chosen.exposure.clone(), LeftOut::Budget));
        room = look_for_room(gateway, &snapshot, &call, Vec::new()).await;
    }
    let refused = hindrance(gateway.directory(), &call);
    let mut explanation = explained(&snapshot, &call, gateway.clock, refused, too_dear_for(gateway, &call));
    match part {
        Some(Part::In(chosen)) => explanation.experiment = Some(chosen.name()),
        Some(Part::LeftOut(experiment, why)) => {
            explanation.left_out_of_experiment = Some(format!("{}: {why}", experiment.experiment));
        }
        None => {}
    }
    if let Some(room) = room {
        let refusal = || room.refusal(&call).map(ExplainedRefusal::from);
        explanation.refusal = explanation.refusal.take().or_else(refusal);
        explanation.room = Some(room.room);
    }
    Ok(explanation)
}

/// Whether there is room for the call where it would go, or in the other arms of its experiment. `None` too where it would go nowhere.
async fn look_for_room(
    gateway: &Gateway,
    snapshot: &Snapshot,
    call: &Call,
    other_arms: Vec<Planned>,
) -> Option<RoomLeft> {
    let mut plan = plan(snapshot, call, gateway.clock.now()).ok()?;
    let too_dear = too_dear_for(gateway, call);
    plan.targets.retain(|planned| too_dear(planned).is_none());
    if plan.targets.is_empty() {
        return None;
    }
    plan.other_arms = other_arms;
    room_left(gateway, call, &plan).await
}

/// Explains a request under a configuration that does not run: nothing is measured, and nobody in particular is calling.
pub fn explain_offline(
    settings: Arc<Settings>,
    catalog: &'static Catalog,
    arrival: Arrival,
) -> Result<Explanation, ExplainError> {
    let clock = Clock::new();
    let snapshot = Snapshot::build(settings, catalog, &[], None, clock)?;
    let mut call = accept(CallId::now(), arrival)?;
    settle_names(&snapshot, &mut call);
    call.budget_used = Some(0.0);
    Ok(explained(&snapshot, &call, clock, None, |_planned| None))
}

fn explained(
    snapshot: &Snapshot,
    call: &Call,
    clock: Clock,
    refused: Option<Hindrance>,
    too_dear: impl Fn(&Planned) -> Option<TooDear>,
) -> Explanation {
    let now = clock.now();
    let mut trace = Trace::default();
    let planned = plan_with(snapshot, call, now, Some(&mut trace));
    let (plan, error) = match planned {
        Ok(plan) => (Some(plan), None),
        Err(error) => (None, Some(error)),
    };
    let mut passed_over = Vec::new();
    let mut order = Vec::new();
    let mut refusal = refused.map(|refused| refused.to_error()).or(error);
    if let Some(plan) = &plan {
        passed_over.extend(plan.passed_over.iter().map(|passed| ExplainedPassedOver {
            target: passed.target.to_string(),
            model: passed.model.to_string(),
            reason: passed.why.word().to_owned(),
            says: passed.why.words_for_operators(),
        }));
        let translation = Translation::new(call);
        let mut too_dear_ones: Vec<TooDear> = Vec::new();
        for planned in as_asked(plan, now, clock.moment(plan.deadline)) {
            let considered = trace.of(planned);
            let mut target = target(&translation, planned, considered, now);
            target.because.extend(considered.and_then(|it| trace.cold(it)));
            target.now.models = models_with(snapshot, &planned.target);
            if let Some(dear) = too_dear(planned) {
                passed_over.push(ExplainedPassedOver {
                    reason: "price".to_owned(),
                    says: dear.to_string(),
                    target: target.target,
                    model: target.model,
                });
                too_dear_ones.push(dear);
            } else if plan.strict && !target.drops.is_empty() {
                passed_over.push(ExplainedPassedOver {
                    reason: "strict".to_owned(),
                    says: format!("cannot express {}", target.drops.join(", ")),
                    target: target.target,
                    model: target.model,
                });
            } else {
                order.push(target);
            }
        }
        if plan.targets.is_empty() {
            let none = || nobody_left(plan, call).unwrap_or_else(|| model_hindrance(call).to_error());
            refusal = refusal.or_else(|| Some(none()));
        } else if order.is_empty() && too_dear_ones.len() == plan.targets.len() {
            let words = too_dear_ones.iter().min().map(ToString::to_string).unwrap_or_default();
            let hindrance = Hindrance { reason: RefusalReason::Price, message: words };
            refusal = refusal.or_else(|| Some(hindrance.to_error()));
        } else if order.is_empty() {
            let lost = passed_over.iter().find(|passed| passed.reason == "strict");
            let fields = lost.and_then(|lost| lost.says.strip_prefix("cannot express ")).unwrap_or_default();
            refusal = refusal.or_else(|| Some(GatewayError::not_expressible(fields)));
        }
    }
    Explanation {
        model: call.model.clone(),
        dialect: call.dialect.as_str().to_owned(),
        operation: call.operation.as_str().to_owned(),
        stream: call.stream,
        experiment: None,
        left_out_of_experiment: None,
        route: call.route.as_ref().map(ToString::to_string),
        needs: needs(call),
        order,
        passed_over,
        room: None,
        refusal: refusal.map(ExplainedRefusal::from),
    }
}

fn needs(call: &Call) -> ExplainedNeeds {
    let needs = Needs::new(call);
    let features = Feature::ALL.into_iter().filter(|feature| needs.uses().features.contains(*feature));
    ExplainedNeeds {
        input_tokens: needs.likely_input(),
        max_output_tokens: needs.asked_output(),
        features: features.map(|feature| feature.as_str().to_owned()).collect(),
    }
}

/// The targets as the course of the call takes them: those that are ready, then those that only rest, then the least bad.
fn as_asked(plan: &Plan, now: Moment, deadline: Moment) -> Vec<&Planned> {
    let mut targets: Vec<&Planned> = plan.targets.iter().collect();
    targets.sort_by_key(|planned| match readiness(planned, now) {
        Readiness::Ready => (0, None, Moment::ZERO),
        Readiness::Cooling { until } if until < deadline => (1, None, until),
        Readiness::Out { why, probe_at } => (2, Some(why), probe_at),
        Readiness::Cooling { until } => (3, None, until),
    });
    targets
}

fn target(
    translation: &Translation<'_>,
    planned: &Planned,
    considered: Option<&Considered>,
    now: Moment,
) -> ExplainedTarget {
    let report = of_target(&planned.provider, &planned.target, now);
    let mut because = Vec::new();
    if let Some(considered) = considered {
        because.push(place(considered));
        because.extend(caution(&considered.choice));
    }
    because.extend(trouble(&report, now));
    let mut drops = Vec::new();
    match translation.losses(planned) {
        Ok(losses) => drops.extend(losses.fields().map(ToOwned::to_owned)),
        Err(error) => because.push(format!("would refuse it: {}", error.message)),
    }
    ExplainedTarget {
        target: planned.target.label.to_string(),
        model: considered.map(|it| it.model.clone()).unwrap_or_default(),
        strategy: considered.map_or("order", |it| it.strategy.name()).to_owned(),
        because,
        dialect: planned.dialect().as_str().to_owned(),
        passes_through: translation.passes_through(planned),
        drops,
        weight: considered.map_or(1, |it| it.choice.weight),
        likely_cost_usd: considered.and_then(|it| it.likely_price).map(dollars),
        headroom: considered.map_or(1.0, |it| it.choice.headroom),
        now: report,
    }
}

/// What the strategy went by.
fn place(considered: &Considered) -> String {
    let choice = &considered.choice;
    let measured = &choice.measured;
    let first_token = measured.first_token.map_or_else(
        || "nothing measured yet".to_owned(),
        |time| format!("first token after {} ms", time.as_millis()),
    );
    let busy = format!("{} calls in flight", measured.in_flight);
    let price =
        choice.price.map_or_else(|| "price unknown".to_owned(), |price| format!("${}", dollars(price)));
    let speed = measured
        .tokens_per_second
        .map_or_else(|| "pace unknown".to_owned(), |rate| format!("{rate:.0} tokens a second"));
    let failing = format!("{:.1} % of calls fail", measured.failure_rate * 100.0);
    match considered.strategy {
        Strategy::Order => format!("number {} of the configuration", considered.place + 1),
        Strategy::Weighted => format!("drawn at random by weight, its own is {}", choice.weight),
        Strategy::Latency => format!("{first_token}, {busy}; the better of two drawn at random"),
        Strategy::Throughput => format!("{speed}, {busy}; the better of two drawn at random"),
        Strategy::Cost => format!("{price} for this call, {first_token}"),
        Strategy::LeastBusy => format!("{busy}; the better of two drawn at random"),
        Strategy::Sticky => format!("by the session's hash {:016x}", choice.affinity),
        Strategy::Score(_) => format!("a mix of {price}, {first_token}, {speed}, {failing}, and chance"),
    }
}

/// What makes it asked less than the strategy would have it.
fn caution(choice: &Choice) -> Vec<String> {
    let mut cautions = Vec::new();
    if choice.standing == Standing::Probe {
        cautions.push("one call is to find out whether it works again".to_owned());
    }
    if choice.headroom < 1.0 {
        cautions.push(format!("{:.0} % of its provider's limit are left", choice.headroom * 100.0));
    }
    cautions
}

/// What keeps calls away from it, so that it is asked last.
fn trouble(report: &TargetReport, now: Moment) -> Option<String> {
    let what = match report.state {
        TargetState::Closed => return None,
        TargetState::HalfOpen => return Some("failed too often, its breaker is half open".to_owned()),
        TargetState::Open => "failed too often, its breaker is open",
        TargetState::Cooling => "all its keys must wait",
        TargetState::Out => "its model or all its keys were refused",
    };
    let kind = report.because.as_deref().map_or_else(String::new, |kind| format!(" ({kind})"));
    let left = report.until.map_or_else(String::new, |until: Timestamp| {
        let seconds = until.duration_since(timestamp(now, now)).as_secs().max(0);
        format!(", for {seconds} seconds more")
    });
    Some(format!("{what}{kind}{left}"))
}

fn dollars(nano: u64) -> String {
    NanoDollars(i64::try_from(nano).unwrap_or(i64::MAX)).to_string()
}
