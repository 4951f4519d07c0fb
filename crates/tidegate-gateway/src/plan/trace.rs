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

    /// That a target is colder than another one of its model, and so gets less than its share; if all are, none is.
    pub(super) fn cold(&self, target: &Considered) -> Option<String> {
        let of_model = self.considered.iter().filter(|it| it.model == target.model);
        let warmest = of_model.map(|it| it.choice.measured.warmth).fold(f64::MIN_POSITIVE, f64::max);
        let share = target.choice.measured.warmth / warmest;
        (share < 0.99).then(|| format!("warming up, gets {:.0} % of its share", share * 100.0))
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
