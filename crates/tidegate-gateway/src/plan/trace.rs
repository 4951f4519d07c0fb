//! What a plan saw of each target that it put in order. Written only where somebody asks for an explanation.

use std::sync::Arc;

use tidegate_policy::routing::{Choice, Strategy};

use super::entries::EntryTarget;
use super::order::Planned;
use super::ranking::LikelyUse;
use super::requirements::Needs;

/// What was seen, in the order of the plan.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub(super) considered: Vec<Considered>,
}

/// One target that was put in order.
#[derive(Debug)]
pub(super) struct Considered {
    /// The model behind which it stands.
    pub(super) model: String,
    pub(super) strategy: Strategy,
    /// Its place in the configuration's list.
    pub(super) place: usize,
    pub(super) planned: Planned,
    pub(super) choice: Choice,
    /// What the call would likely cost there, in nano-dollars, whether or not the strategy asks.
    pub(super) likely_price: Option<u64>,
}

impl Trace {
    /// What was seen of a target of the plan.
    pub(super) fn of(&self, planned: &Planned) -> Option<&Considered> {
        self.considered.iter().find(|it| Arc::ptr_eq(&it.planned.target, &planned.target))
    }

    pub(super) fn considered(
        &mut self,
        model: &str,
        strategy: Strategy,
        target: &EntryTarget,
        choice: &Choice,
        needs: &Needs<'_>,
    ) {
        let planned = &target.planned;
        let likely = || LikelyUse::of(needs, &std::iter::once(&*planned.target)).price_at(&planned.target);
        self.considered.push(Considered {
            model: model.to_owned(),
            strategy,
            place: target.place,
            planned: planned.clone(),
            choice: *choice,
            likely_price: choice.price.or_else(likely),
        });
    }
}
