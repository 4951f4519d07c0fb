//! Whether a call could go to every arm of an experiment. Asked for all of them before the call is given to one: a call that one arm
//! could not answer takes no part at all, so that who takes part never depends on the arm that a call would have got.

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;
use tidegate_config::{Condition, Model};
use tidegate_policy::Moment;

use super::entries::{ArmTarget, Entry, EntryTarget};
use super::order::{Asked, Planned, Planner, is_strict};
use super::passed_over::Why;
use crate::accept::Call;
use crate::attempt::Translation;
use crate::hold::TooDear;
use crate::snapshot::Snapshot;

/// Why a call takes no part in an experiment of its model.
#[derive(Debug, Clone)]
pub(crate) enum LeftOut {
    /// The caller says who is to be asked.
    Steered,
    /// A target of an arm cannot be asked.
    Target(Arc<str>, Why),
    /// A target of an arm cannot express the whole request, and nothing may be dropped.
    Strict(Arc<str>),
    /// A target of an arm may cost more than this caller's call may, or nobody knows what it costs.
    Price(Arc<str>, TooDear),
    /// The caller's budget has no room for what the call could cost in every arm.
    Budget,
}

impl LeftOut {
    /// The word for the kind of reason, for the ledger and reports.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Steered => "steering",
            Self::Target(_, why) => why.word(),
            Self::Strict(_) => "strict",
            Self::Price(..) => "price",
            Self::Budget => "budget",
        }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steered => formatter.write_str("the caller says who is to be asked"),
            Self::Target(target, why) => write!(formatter, "{target} {}", why.words_for_operators()),
            Self::Strict(target) => write!(formatter, "{target} cannot express the whole request"),
            Self::Price(target, dear) => write!(formatter, "{target} is too dear: {dear}"),
            Self::Budget => formatter.write_str("the budget has no room for what it could cost in every arm"),
        }
    }
}

/// Where this call could go, over all arms; an arm without a target leaves the model as it is. Or why it could not go to one of them.
/// `too_dear` says why a target costs too much for the call.
pub(crate) fn targets_of_arms<'s>(
    snapshot: &'s Snapshot,
    call: &Call,
    asked: Asked<'_>,
    arms: impl Iterator<Item = Option<&'s ArmTarget>>,
    now: Moment,
    too_dear: impl Fn(&Planned) -> Option<TooDear>,
) -> Result<Vec<Planned>, LeftOut> {
    if asked.sort.is_some() || call.steering.as_deref().is_some_and(|wishes| wishes.chooses(asked.name)) {
        return Err(LeftOut::Steered);
    }
    let name = asked.means.strip_prefix("models/").unwrap_or(asked.means);
    let Some((model, entry)) = snapshot.entry(name) else { return Ok(Vec::new()) };
    let able = Able::of(Planner::new(snapshot, call, now, asked), model, entry, arms)?;
    if is_strict(model.policy.strict, call) {
        let translation = Translation::new(call);
        let inexpressible = able.first_without(|planned| {
            let losses = translation.losses(&planned.for_caller(call.dialect));
            (!losses.is_ok_and(|losses| losses.is_empty())).then(|| label(planned))
        });
        if let Some(target) = inexpressible {
            return Err(LeftOut::Strict(target));
        }
    }
    match able.first_without(|planned| Some(LeftOut::Price(label(planned), too_dear(planned)?))) {
        Some(left_out) => Err(left_out),
        None => Ok(able.of_arms.into_iter().chain(able.own).cloned().collect()),
    }
}

/// Targets that can do what the call needs.
struct Able<'s> {
    /// Those of the arms: a call could get to each of them.
    of_arms: SmallVec<[&'s Planned; 4]>,
    /// The model's own, where some arm leaves the model as it is. One of them is enough.
    own: SmallVec<[&'s Planned; 4]>,
}

impl<'s> Able<'s> {
    fn of(
        mut planner: Planner<'_>,
        model: &Model,
        entry: &'s Entry,
        arms: impl Iterator<Item = Option<&'s ArmTarget>>,
    ) -> Result<Self, LeftOut> {
        let unmet: Option<&Condition> = model.when.as_ref();
        let unmet = unmet.filter(|when| !planner.conditions.hold(when, &model.name, None, &planner.needs));
        let mut hindrance = |target: &EntryTarget| planner.hindrance(&model.name, target, unmet, true);
        let mut able = Self { of_arms: SmallVec::new(), own: SmallVec::new() };
        let mut has_model_itself = false;
        for arm in arms {
            match arm {
                None => has_model_itself = true,
                Some(arm) => match hindrance(&arm.target) {
                    None => able.of_arms.push(&arm.target.planned),
                    Some(why) => return Err(of_target(&arm.target, why)),
                },
            }
        }
        let mut hindered = None;
        for target in entry.targets.iter().filter(|_| has_model_itself) {
            match hindrance(target) {
                // Wishes that leave out one of them say who is asked.
                Some(Why::Unwanted(_)) => return Err(LeftOut::Steered),
                Some(why) if why.is_certain() => hindered = Some(of_target(target, why)),
                // Where there is doubt, it is asked when nobody else can be, as always.
                _ => able.own.push(&target.planned),
            }
        }
        hindered.filter(|_| able.own.is_empty()).map_or(Ok(able), Err)
    }

    /// What the first target is without that makes the call impossible in some arm.
    fn first_without<R>(&self, without: impl Fn(&Planned) -> Option<R>) -> Option<R> {
        let of_arms = self.of_arms.iter().find_map(|planned| without(planned));
        of_arms.or_else(|| {
            let all: Option<Vec<R>> = self.own.iter().map(|planned| without(planned)).collect();
            all.and_then(|all| all.into_iter().next())
        })
    }
}

fn of_target(target: &EntryTarget, why: Why) -> LeftOut {
    match why {
        Why::Unwanted(_) => LeftOut::Steered,
        why => LeftOut::Target(label(&target.planned), why),
    }
}

fn label(planned: &Planned) -> Arc<str> {
    Arc::clone(&planned.target.label)
}
