//! Which arm a call is in. Asked by `walk` before the call is planned.

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderValue;
use ring::digest::{SHA256, digest};
use tidegate_config::Unit;
use tidegate_policy::experiments::assign;
use tidegate_store::{Exposure, Text};

use super::prepared::Split;
use crate::accept::{Call, Operation};
use crate::gateway::Gateway;
use crate::hold::too_dear_for;
use crate::plan::{ArmTarget, LeftOut, Planned, first_asked, targets_of_arms};
use crate::snapshot::Snapshot;

/// What a call is to the experiment of its model.
#[derive(Debug)]
pub(crate) enum Part {
    /// It is in an arm.
    In(Chosen),
    /// It is in none, and why; the ledger keeps that too.
    LeftOut(Exposure, LeftOut),
}

/// The arm of a call.
#[derive(Debug)]
pub(crate) struct Chosen {
    /// What the ledger keeps.
    pub(crate) exposure: Exposure,
    /// Where the arm's calls go instead of the model's own targets.
    pub(crate) target: Option<Arc<ArmTarget>>,
    /// Where the call could have gone, over all arms.
    pub(crate) could_go_to: Vec<Planned>,
}

impl Chosen {
    /// `name=arm`.
    pub(crate) fn name(&self) -> String {
        format!("{}={}", self.exposure.experiment, self.exposure.arm)
    }

    /// `x-tidegate-experiment`.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.name()).ok()
    }
}

/// The part of this call where its model has an A/B test or a canary: an arm if every arm could take it. What one of them could
/// not do for it is no reason to send it there, and a test of those calls alone that an arm can take would compare calls, not targets.
pub(crate) fn choose(gateway: &Gateway, snapshot: &Snapshot, call: &Call) -> Option<Part> {
    if snapshot.experiments.is_empty() || call.operation != Operation::Chat {
        return None;
    }
    let asked = first_asked(snapshot, call);
    let split = snapshot.experiments.of_model(asked.means)?.split.as_ref()?;
    let kept = gateway.experiments.get(split);
    let state = kept.as_deref();
    let exposure = Exposure {
        experiment: split.name.clone(),
        run: super::state::run_now(split, state),
        arm: Text::default(),
        unit: None,
        pair: None,
        left_out: None,
    };
    let arms = split.arms.iter().map(|arm| arm.target.as_deref());
    let now = gateway.clock.now();
    let could_go_to = match targets_of_arms(snapshot, call, asked, arms, now, too_dear_for(gateway, call)) {
        Ok(targets) => targets,
        Err(why) => {
            return Some(Part::LeftOut(Exposure { left_out: Some(why.word().into()), ..exposure }, why));
        }
    };
    let unit = unit_of(split.by, call);
    let (bytes, unit) = match &unit {
        Some(unit) => (Cow::Borrowed(unit.as_bytes()), Some(hash_of(unit.as_bytes()))),
        None => (Cow::Owned(call.id.to_string().into_bytes()), None),
    };
    let weights = super::state::weights(split, state);
    let arms = split.arms.iter().zip(weights).map(|(arm, weight)| (&*arm.name, weight));
    let arm = split.arms.get(assign(&bytes, &split.name, arms)?)?;
    let exposure = Exposure { arm: arm.name.clone(), unit, ..exposure };
    Some(Part::In(Chosen { exposure, target: arm.target.clone(), could_go_to }))
}

/// What stays in one arm, or the next that the call has; `None` where that is the call itself.
fn unit_of(by: Unit, call: &Call) -> Option<String> {
    let session = || call.wishes.session.as_deref().map(|session| format!("session:{session}"));
    let user = || call.end_user.as_deref().map(|user| format!("user:{user}"));
    let key = || {
        let principal = &call.principal;
        principal.organization().map(|_| format!("key:{}", principal.actor().name))
    };
    match by {
        Unit::Session => session().or_else(user).or_else(key),
        Unit::User => user().or_else(key),
        Unit::Key => key(),
        Unit::Call => None,
    }
}

/// Units are kept as hashes: what callers call their users is not the business of statistics.
fn hash_of(unit: &[u8]) -> u64 {
    let hash = digest(&SHA256, unit);
    hash.as_ref().first_chunk::<8>().map_or(0, |first| u64::from_le_bytes(*first))
}

impl Split {
    /// The name of the arm that others are compared with.
    pub(crate) fn control_name(&self) -> &str {
        self.arms.get(self.control).map_or("", |arm| arm.name.as_str())
    }
}

/// A run's name, with the stage where each stage is looked at by itself.
pub(super) fn staged(run: &Text, stage: u32) -> Text {
    Text::from(format!("{run}.{stage}"))
}
