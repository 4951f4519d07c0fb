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
use crate::admit::allows_target;
use crate::gateway::Gateway;
use crate::plan::ArmTarget;
use crate::snapshot::Snapshot;

/// The arm of a call.
#[derive(Debug)]
pub(crate) struct Chosen {
    /// What the ledger keeps.
    pub(crate) exposure: Exposure,
    /// Where the arm's calls go instead of the model's own targets.
    pub(crate) target: Option<Arc<ArmTarget>>,
}

impl Chosen {
    /// `x-tidegate-experiment`: `name=arm`.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&format!("{}={}", self.exposure.experiment, self.exposure.arm)).ok()
    }
}

/// The arm of this call, where its model has an A/B test or a canary and the caller may use all targets of it: a test with
/// those alone who may use one arm would compare callers, not targets.
pub(crate) fn choose(gateway: &Gateway, snapshot: &Snapshot, call: &Call) -> Option<Chosen> {
    let split = snapshot.experiments.of_model(call.meant_model())?.split.as_ref()?;
    // Who says which target is to be asked, takes no part.
    if call.operation != Operation::Chat || call.steering.is_some() {
        return None;
    }
    let mut targets = split.arms.iter().filter_map(|arm| arm.target.as_ref());
    let is_open = targets.all(|target| {
        let planned = &target.target.planned;
        allows_target(&call.principal, &call.model, &planned.provider.name, &planned.target.label)
    });
    if !is_open {
        return None;
    }
    let kept = gateway.experiments.get(split);
    let state = kept.as_deref();
    let weights = super::state::weights(split, state);
    let unit = unit_of(split.by, call);
    let (bytes, hash) = match &unit {
        Some(unit) => (Cow::Borrowed(unit.as_bytes()), Some(hash_of(unit.as_bytes()))),
        None => (Cow::Owned(call.id.to_string().into_bytes()), None),
    };
    let arms = split.arms.iter().zip(weights).map(|(arm, weight)| (&*arm.name, weight));
    let arm = split.arms.get(assign(&bytes, &split.name, arms)?)?;
    Some(Chosen {
        exposure: Exposure {
            experiment: split.name.clone(),
            run: super::state::run_now(split, state),
            arm: arm.name.clone(),
            unit: hash,
            pair: None,
        },
        target: arm.target.clone(),
    })
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
