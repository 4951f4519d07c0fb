//! The targets of a call in the order in which they are asked, and its deadlines.
//!
//! First it is settled who may be asked: what the principal may use, what the call needs of a target. Then the model's
//! strategy puts those in order. Fallback models follow in the same way. [`super::explain`] goes exactly this way, with a
//! [`Trace`] that writes down what was seen.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;
use tidegate_config::{AUTO, Auto, Condition, FallbackOn, Hedge, Recovery, Retry, Timeouts};
use tidegate_policy::Moment;
use tidegate_policy::routing::{Mix, Strategy};

use super::conditions::Conditions;
use super::difficulty::{self, Route};
use super::entries::EntryTarget;
use super::names::{Meaning, resolve};
use super::passed_over::{PassedOver, Why};
use super::ranking::{USUAL_TARGETS, choices, ranked};
use super::requirements::{Needs, lack};
use super::steering::{Sort, Steering, Unwanted, unwanted, wished_place, without_suffix};
use super::trace::Trace;
use crate::accept::Call;
use crate::admit::allows_target;
use crate::bill::Priced;
use crate::error::GatewayError;
use crate::provider::{Provider, Target};
use crate::snapshot::Snapshot;

/// The most targets of one plan, over all fallback models. Far more than a call can try.
const MAX_TARGETS: usize = 64;

/// Whom to ask in which order, until when.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) targets: Vec<Planned>,
    /// Where the call could have gone in other arms of its experiment: it needs as much room as the dearest of them, so that whether
    /// there is room does not depend on its arm.
    pub(crate) other_arms: Vec<Planned>,
    /// Who is not asked, and why not.
    pub(crate) passed_over: Vec<PassedOver>,
    /// When the call as a whole must be answered.
    pub(crate) deadline: Instant,
    pub(crate) falls_back_on_content_policy: bool,
    pub(crate) strict: bool,
    /// Whether another target goes on with a stream that breaks.
    pub(crate) goes_on: bool,
    /// Whether a second target is asked when the first is late.
    pub(crate) hedge: Option<Hedge>,
}

impl Plan {
    /// Exactly this target, once.
    pub(crate) fn of_one(planned: Planned, deadline: Instant) -> Self {
        Self {
            targets: vec![planned],
            other_arms: Vec::new(),
            passed_over: Vec::new(),
            deadline,
            falls_back_on_content_policy: false,
            strict: false,
            goes_on: false,
            hedge: None,
        }
    }
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

    /// The same behind the door for callers of this dialect.
    pub(crate) fn for_caller(&self, dialect: tidegate_wire::Dialect) -> Self {
        Self { door: self.provider.door_for(dialect), ..self.clone() }
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
    let asked = asked(snapshot, call);
    let first = asked.first().copied().unwrap_or_else(|| Asked::plainly(&call.model));
    let meaning = resolve(snapshot, first.means)?;
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
    let hedge = match &meaning {
        Meaning::Entry(model, _) => model.hedge,
        Meaning::Direct(_) => None,
    };
    let total = call.wishes.timeout.unwrap_or(configured_total);
    let falls_back_on_content_policy = policy.fallback_on.contains(&FallbackOn::ContentPolicy);
    let strict = is_strict(policy.strict, call);
    let mut planner = Planner { trace, ..Planner::new(snapshot, call, now, first) };
    planner.add_asked(first, meaning)?;
    for further in asked.iter().skip(1) {
        match resolve(snapshot, further.means) {
            Ok(meaning) => planner.add_asked(*further, meaning)?,
            // A name that only a provider knows to which the wishes are passed on.
            Err(_) if planner.passes_wishes_on() => {}
            Err(error) => return Err(error),
        }
    }
    planner.sort_across_models();
    let (targets, passed_over) = planner.chosen();
    Ok(Plan {
        targets,
        other_arms: Vec::new(),
        passed_over,
        deadline: call.at.checked_add(total).unwrap_or_else(|| call.at + Timeouts::default().total),
        falls_back_on_content_policy,
        strict,
        goes_on: policy.recovery == Recovery::Continue,
        hedge,
    })
}

/// A model that the caller names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// As the caller names it, without a suffix: what permissions are asked for.
    pub(super) name: &'a str,
    /// What is looked up: the same, or what `auto` has chosen.
    pub(crate) means: &'a str,
    /// What the name's suffix asks for.
    pub(super) sort: Option<Sort>,
}

impl<'a> Asked<'a> {
    fn plainly(name: &'a str) -> Self {
        Self { name, means: name, sort: None }
    }
}

/// The model that the caller names first.
pub(crate) fn first_asked<'a>(snapshot: &Snapshot, call: &'a Call) -> Asked<'a> {
    asked(snapshot, call).first().copied().unwrap_or_else(|| Asked::plainly(&call.model))
}

/// The models that the caller names, in order, each once.
fn asked<'a>(snapshot: &Snapshot, call: &'a Call) -> SmallVec<[Asked<'a>; 1]> {
    let mut all: SmallVec<[Asked<'a>; 1]> = SmallVec::new();
    for written in names_of(call) {
        let (name, sort) = without_suffix(snapshot, written);
        let means = match &call.route {
            Some(route) if is_auto(snapshot, name).is_some() => &route.model,
            _ => name,
        };
        if all.iter().all(|known| known.name != name) {
            all.push(Asked { name, means, sort });
        }
    }
    all
}

fn names_of(call: &Call) -> impl Iterator<Item = &str> {
    let further = call.steering.as_deref().map_or(&[][..], |steering| steering.models.as_slice());
    std::iter::once(call.model.as_str()).chain(further.iter().map(String::as_str))
}

/// Settles what the names in a call mean: providers in the caller's wishes, and `auto`. Before anything is decided about it.
pub(crate) fn settle_names(snapshot: &Snapshot, call: &mut Call) {
    if let Some(steering) = &mut call.steering {
        steering.settle(snapshot);
    }
    call.route = route(snapshot, call);
}

/// What `auto` chooses, where the call asks for it.
fn route(snapshot: &Snapshot, call: &Call) -> Option<Route> {
    let auto = names_of(call).find_map(|written| is_auto(snapshot, without_suffix(snapshot, written).0))?;
    Some(difficulty::route(auto, call))
}

fn is_auto<'s>(snapshot: &'s Snapshot, name: &str) -> Option<&'s Auto> {
    let name = name.strip_prefix("models/").unwrap_or(name);
    snapshot.settings.auto.as_ref().filter(|_| name == AUTO)
}

/// Whether only targets are asked that can express the whole request: the configuration may want it, and so may the caller.
pub(super) fn is_strict(configured: bool, call: &Call) -> bool {
    let wants_all = call.steering.as_deref().is_some_and(|steering| steering.require_parameters);
    configured || call.wishes.strict || wants_all
}

/// A plan in the making.
pub(super) struct Planner<'a> {
    snapshot: &'a Snapshot,
    call: &'a Call,
    now: Moment,
    /// The model that the caller names, on whose behalf targets are added.
    asked: Asked<'a>,
    steering: Option<&'a Steering>,
    pub(super) needs: Needs<'a>,
    pub(super) conditions: Conditions<'a>,
    targets: Vec<Planned>,
    /// Those that may lack something, asked when nobody else can be.
    doubtful: Vec<Planned>,
    passed_over: Vec<PassedOver>,
    trace: Option<&'a mut Trace>,
}

impl<'a> Planner<'a> {
    /// A plan without a target so far.
    pub(super) fn new(snapshot: &'a Snapshot, call: &'a Call, now: Moment, asked: Asked<'a>) -> Self {
        Self {
            snapshot,
            call,
            now,
            asked,
            steering: call.steering.as_deref(),
            needs: Needs::new(call),
            conditions: Conditions::new(call),
            targets: Vec::new(),
            doubtful: Vec::new(),
            passed_over: Vec::new(),
            trace: None,
        }
    }

    /// Adds the targets of a model that the caller names.
    fn add_asked(&mut self, asked: Asked<'a>, meaning: Meaning<'_>) -> Result<(), GatewayError> {
        self.asked = asked;
        let before = self.targets.len();
        self.add(asked.means, meaning)?;
        let wants_first_only = |wishes: &Steering| !wishes.allow_fallbacks && wishes.order.is_empty();
        if self.steering.is_some_and(wants_first_only) {
            for planned in self.targets.drain((before + 1).min(self.targets.len())..) {
                self.passed_over.push(PassedOver {
                    model: asked.name.into(),
                    target: Arc::clone(&planned.target.label),
                    why: Why::Unwanted(Unwanted::Fallback),
                });
            }
        }
        Ok(())
    }

    /// What is best for this call, whatever the model's strategy: as the caller wishes.
    fn sort(&self) -> Option<Sort> {
        self.asked.sort.or_else(|| self.steering.and_then(|steering| steering.sort))
    }

    /// Whether somebody will be asked who gets the caller's wishes as they are.
    fn passes_wishes_on(&self) -> bool {
        self.steering.is_some_and(|steering| {
            steering.in_body && self.targets.iter().any(|planned| steering.passes_to(&planned.provider.kind))
        })
    }

    /// Puts all targets in one order, where the caller does not want the models one after the other.
    fn sort_across_models(&mut self) {
        let wishes = self.steering.filter(|steering| steering.sorts_across_models);
        let Some(sort) = wishes.and_then(|steering| steering.sort) else { return };
        let facts = self.targets.iter().map(|planned| (planned, 1));
        let strategy = wished(sort);
        let choices = choices(strategy, facts, &self.needs, self.call, self.now);
        let sorted: Vec<Planned> = ranked(strategy, &choices)
            .into_iter()
            .filter_map(|place| self.targets.get(place).cloned())
            .collect();
        if sorted.len() == self.targets.len() {
            self.targets = sorted;
        }
    }

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
                        EntryTarget { place, weight: 1, when: None, planned }
                    })
                    .collect();
                self.add_targets(name, Strategy::Order, None, &targets);
            }
            Meaning::Entry(model, entry) => {
                let (strategy, when) = (strategy_of(model.strategy), model.when.as_ref());
                match self.call.arm.as_deref().filter(|arm| *arm.model == *model.name) {
                    Some(arm) => {
                        self.add_targets(name, Strategy::Order, when, std::slice::from_ref(&arm.target));
                    }
                    None => self.add_targets(name, strategy, when, &entry.targets),
                }
                if self.steering.is_some_and(|steering| !steering.allow_fallbacks) {
                    return Ok(());
                }
                for fallback in &model.fallback {
                    self.add(fallback, resolve(self.snapshot, fallback)?)?;
                }
            }
        }
        Ok(())
    }

    /// Adds those of a model's targets that may be asked, in the order of its strategy.
    fn add_targets(
        &mut self,
        model: &str,
        strategy: Strategy,
        when: Option<&Condition>,
        targets: &[EntryTarget],
    ) {
        let strategy = self.sort().map_or(strategy, wished);
        // Who names a provider's own model has chosen: what it lacks, it may say itself.
        let is_named = targets.len() == 1 && model == self.asked.name;
        let is_choice = !is_named || self.snapshot.entry(model).is_some();
        let when = when.filter(|when| !self.conditions.hold(when, model, None, &self.needs));
        let mut fit: SmallVec<[&EntryTarget; USUAL_TARGETS]> = SmallVec::new();
        let mut doubtful: SmallVec<[&EntryTarget; 4]> = SmallVec::new();
        for target in targets {
            match self.hindrance(model, target, when, is_choice) {
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
    pub(super) fn hindrance(
        &mut self,
        model: &str,
        target: &EntryTarget,
        unmet: Option<&Condition>,
        is_choice: bool,
    ) -> Option<Why> {
        let planned = &target.planned;
        let (provider, label) = (&planned.provider, &planned.target.label);
        let principal = &self.call.principal;
        let allows = |name| allows_target(principal, name, &provider.name, label);
        if !allows(self.asked.name) && (self.asked.means == self.asked.name || !allows(self.asked.means)) {
            return Some(Why::Permission);
        }
        if provider.lacks_key {
            return Some(Why::NoKey);
        }
        if let Some(unmet) = unmet {
            return Some(Why::Condition(unmet.clone()));
        }
        if let Some(when) = &target.when
            && !self.conditions.hold(when, model, Some((&provider.name, &planned.target.model)), &self.needs)
        {
            return Some(Why::Condition(when.clone()));
        }
        if let Some(steering) = self.steering {
            let prices = planned.target.prices.as_ref().map(Priced::list);
            if let Some(unwanted) = unwanted(steering, &provider.name, &provider.kind, prices) {
                return Some(Why::Unwanted(unwanted));
            }
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
        let planned = if is_doubtful { &mut self.doubtful } else { &mut self.targets };
        planned.reserve(targets.len().min(MAX_TARGETS));
        if let [only] = targets
            && self.trace.is_none()
        {
            self.push(&only.planned, is_doubtful);
            return;
        }
        // Also where the order is fixed: whoever is out or has just recovered does not stand first.
        let facts = targets.iter().map(|target| (&target.planned, target.weight));
        let choices = choices(strategy, facts, &self.needs, self.call, self.now);
        let mut ranking = ranked(strategy, &choices);
        if let Some(steering) = self.steering {
            ranking.sort_by_key(|place| {
                let provider = targets.get(*place).map(|target| &target.planned.provider);
                provider
                    .and_then(|provider| wished_place(steering, &provider.name, &provider.kind))
                    .unwrap_or(usize::MAX)
            });
        }
        for place in ranking {
            let (Some(target), Some(choice)) = (targets.get(place), choices.get(place)) else { continue };
            if self.push(&target.planned, is_doubtful)
                && let Some(trace) = &mut self.trace
            {
                trace.considered(model, strategy, target, choice, &self.needs);
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

/// What the caller calls best, as `policy` knows it.
fn wished(sort: Sort) -> Strategy {
    match sort {
        Sort::Price => Strategy::Cost,
        Sort::Throughput => Strategy::Throughput,
        Sort::Latency => Strategy::Latency,
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
