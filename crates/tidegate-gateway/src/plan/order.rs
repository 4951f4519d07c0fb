//! The targets of a call in the order in which they are asked, and its deadlines.
//!
//! First it is settled who may be asked: what the principal may use, what the call needs of a target. Then the model's
//! strategy puts those in order. Fallback models follow in the same way. [`super::explain`] goes exactly this way, with a
//! [`Trace`] that writes down what was seen.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;
use tidegate_config::{FallbackOn, Retry, Timeouts};
use tidegate_policy::Moment;
use tidegate_policy::routing::{Mix, Strategy};

use super::entries::EntryTarget;
use super::names::{Meaning, resolve};
use super::passed_over::{PassedOver, Why};
use super::ranking::{USUAL_TARGETS, choices, ranked};
use super::requirements::{Needs, lack};
use super::trace::Trace;
use crate::accept::Call;
use crate::admit::allows_target;
use crate::error::GatewayError;
use crate::provider::{Provider, Target};
use crate::snapshot::Snapshot;

/// The most targets of one plan, over all fallback models. Far more than a call can try.
const MAX_TARGETS: usize = 64;

/// Whom to ask in which order, until when.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) targets: Vec<Planned>,
    /// Who is not asked, and why not.
    pub(crate) passed_over: Vec<PassedOver>,
    /// When the call as a whole must be answered.
    pub(crate) deadline: Instant,
    pub(crate) falls_back_on_content_policy: bool,
    pub(crate) strict: bool,
}

/// One target of a plan. Cheap to clone: what it is made of is shared by all calls.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    /// Which of the provider's doors is used for this call.
    pub(crate) door: usize,
    shared: Arc<PlannedTarget>,
}

/// What is the same in all plans with this target of this model.
#[derive(Debug)]
pub(crate) struct PlannedTarget {
    pub(crate) provider: Arc<Provider>,
    pub(crate) target: Arc<Target>,
    pub(crate) timeouts: Timeouts,
    pub(crate) retry: Retry,
}

impl Planned {
    /// A target behind its provider's main door.
    pub(super) fn new(target: PlannedTarget) -> Self {
        Self { door: 0, shared: Arc::new(target) }
    }

    /// The dialect that is spoken with the target.
    pub(crate) fn dialect(&self) -> tidegate_wire::Dialect {
        self.provider.doors.get(self.door).map_or(tidegate_wire::Dialect::OpenAiChat, |door| door.dialect)
    }
}

impl Deref for Planned {
    type Target = PlannedTarget;

    fn deref(&self) -> &PlannedTarget {
        &self.shared
    }
}

/// Plans a call.
pub(crate) fn plan(snapshot: &Snapshot, call: &Call, now: Moment) -> Result<Plan, GatewayError> {
    plan_with(snapshot, call, now, None)
}

/// The same, and writes down what was seen where somebody wants to know.
pub(super) fn plan_with(
    snapshot: &Snapshot,
    call: &Call,
    now: Moment,
    trace: Option<&mut Trace>,
) -> Result<Plan, GatewayError> {
    let settings = &snapshot.settings;
    let meaning = resolve(snapshot, &call.model)?;
    let policy = match &meaning {
        Meaning::Entry(model, _) => &model.policy,
        Meaning::Direct(_) => &settings.policy,
    };
    let configured_total = match &meaning {
        Meaning::Entry(..) => policy.timeouts.total,
        // Several providers may serve a bare name: the most patient one sets the deadline of the call.
        Meaning::Direct(serving) => serving
            .iter()
            .filter_map(|(provider, _)| Some(settings.providers.get(&*provider.name)?.timeouts.total))
            .max()
            .unwrap_or(policy.timeouts.total),
    };
    let total = call.wishes.timeout.unwrap_or(configured_total);
    let falls_back_on_content_policy = policy.fallback_on.contains(&FallbackOn::ContentPolicy);
    let strict = policy.strict || call.wishes.strict;
    let mut planner = Planner {
        snapshot,
        call,
        now,
        needs: Needs::new(call),
        targets: Vec::new(),
        doubtful: Vec::new(),
        passed_over: Vec::new(),
        trace,
    };
    planner.add(&call.model, meaning)?;
    let (targets, passed_over) = planner.chosen();
    Ok(Plan {
        targets,
        passed_over,
        deadline: call.at.checked_add(total).unwrap_or_else(|| call.at + Timeouts::default().total),
        falls_back_on_content_policy,
        strict,
    })
}

/// A plan in the making.
struct Planner<'a> {
    snapshot: &'a Snapshot,
    call: &'a Call,
    now: Moment,
    needs: Needs<'a>,
    targets: Vec<Planned>,
    /// Those that may lack something, asked when nobody else can be.
    doubtful: Vec<Planned>,
    passed_over: Vec<PassedOver>,
    trace: Option<&'a mut Trace>,
}

impl Planner<'_> {
    fn add(&mut self, name: &str, meaning: Meaning<'_>) -> Result<(), GatewayError> {
        let settings = &self.snapshot.settings;
        match meaning {
            Meaning::Direct(serving) => {
                let targets: SmallVec<[EntryTarget; 1]> = serving
                    .into_iter()
                    .enumerate()
                    .map(|(place, (provider, model))| {
                        let configured = settings.providers.get(&*provider.name);
                        let timeouts = configured.map_or_else(Timeouts::default, |it| it.timeouts);
                        let target = provider.target(model, self.snapshot.catalog, settings);
                        let retry = settings.policy.retry;
                        let planned = Planned::new(PlannedTarget { provider, target, timeouts, retry });
                        EntryTarget { place, weight: 1, planned }
                    })
                    .collect();
                self.add_targets(name, Strategy::Order, &targets);
            }
            Meaning::Entry(model, entry) => {
                self.add_targets(name, strategy_of(model.strategy), &entry.targets);
                for fallback in &model.fallback {
                    self.add(fallback, resolve(self.snapshot, fallback)?)?;
                }
            }
        }
        Ok(())
    }

    /// Adds those of a model's targets that may be asked, in the order of its strategy.
    fn add_targets(&mut self, model: &str, strategy: Strategy, targets: &[EntryTarget]) {
        // Who names a provider's own model has chosen: what it lacks, it may say itself.
        let is_choice = targets.len() > 1 || model != &*self.call.model;
        let mut fit: SmallVec<[&EntryTarget; USUAL_TARGETS]> = SmallVec::new();
        let mut doubtful: SmallVec<[&EntryTarget; 4]> = SmallVec::new();
        for target in targets {
            match self.hindrance(target, is_choice) {
                None => fit.push(target),
                Some(why) => {
                    if !why.is_certain() {
                        doubtful.push(target);
                    }
                    self.passed_over.push(PassedOver {
                        model: model.into(),
                        target: Arc::clone(&target.planned.target.label),
                        why,
                    });
                }
            }
        }
        self.rank_and_push(model, strategy, &fit, false);
        self.rank_and_push(model, strategy, &doubtful, true);
    }

    /// Why a target cannot be asked, if so. What the principal may not use comes first: nothing more is said about it.
    fn hindrance(&self, target: &EntryTarget, is_choice: bool) -> Option<Why> {
        let planned = &target.planned;
        let call = self.call;
        if !allows_target(&call.principal, &call.model, &planned.provider.name, &planned.target.label) {
            return Some(Why::Permission);
        }
        if is_choice { lack(&planned.target, &self.needs).map(Why::Lack) } else { None }
    }

    fn rank_and_push(
        &mut self,
        model: &str,
        strategy: Strategy,
        targets: &[&EntryTarget],
        is_doubtful: bool,
    ) {
        if let [only] = targets
            && self.trace.is_none()
        {
            self.push(&only.planned, is_doubtful);
            return;
        }
        // Also where the order is fixed: whoever is out or has just recovered does not stand first.
        let facts = targets.iter().map(|target| (&target.planned, target.weight));
        let choices = choices(strategy, facts, &self.needs, self.call, self.now);
        let ranking = ranked(strategy, &choices);
        for place in ranking {
            let (Some(target), Some(choice)) = (targets.get(place), choices.get(place)) else { continue };
            if self.push(&target.planned, is_doubtful)
                && let Some(trace) = &mut self.trace
            {
                trace.considered(model, strategy, &target.planned, choice, &self.needs);
            }
        }
    }

    /// Whether it was new.
    fn push(&mut self, planned: &Planned, is_doubtful: bool) -> bool {
        let targets = if is_doubtful { &mut self.doubtful } else { &mut self.targets };
        let is_known = targets.iter().any(|other| Arc::ptr_eq(&other.target, &planned.target));
        if is_known || targets.len() >= MAX_TARGETS {
            return false;
        }
        let door = planned.provider.door_for(self.call.dialect);
        targets.push(Planned { door, ..planned.clone() });
        true
    }

    /// Those that can answer; where there are none, those that perhaps can.
    fn chosen(mut self) -> (Vec<Planned>, Vec<PassedOver>) {
        if self.targets.is_empty() && !self.doubtful.is_empty() {
            self.passed_over.retain(|passed| passed.why.is_certain());
            return (self.doubtful, self.passed_over);
        }
        (self.targets, self.passed_over)
    }
}

/// The strategy of an entry, as `policy` knows it.
fn strategy_of(configured: tidegate_config::Strategy) -> Strategy {
    use tidegate_config::Strategy as Configured;
    match configured {
        Configured::Order => Strategy::Order,
        Configured::Weighted => Strategy::Weighted,
        Configured::Latency => Strategy::Latency,
        Configured::Throughput => Strategy::Throughput,
        Configured::Cost => Strategy::Cost,
        Configured::LeastBusy => Strategy::LeastBusy,
        Configured::Sticky => Strategy::Sticky,
        Configured::Score(tidegate_config::Mix { price, latency, throughput, reliability }) => {
            Strategy::Score(Mix { price, latency, throughput, reliability })
        }
    }
}
