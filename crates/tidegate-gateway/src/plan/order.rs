//! The targets of a call in the order in which they are asked, and its deadlines.

use std::sync::Arc;
use std::time::Instant;

use tidegate_config::{FallbackOn, Retry, Settings, Strategy, Timeouts};
use tidegate_policy::order_by_weight;

use super::names::{Meaning, resolve};
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
    /// When the call as a whole must be answered.
    pub(crate) deadline: Instant,
    pub(crate) falls_back_on_content_policy: bool,
    pub(crate) strict: bool,
}

/// One target of a plan.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) provider: Arc<Provider>,
    /// Which of the provider's doors is used for this call.
    pub(crate) door: usize,
    pub(crate) target: Arc<Target>,
    pub(crate) timeouts: Timeouts,
    pub(crate) retry: Retry,
}

impl Planned {
    /// The dialect that is spoken with the target.
    pub(crate) fn dialect(&self) -> tidegate_wire::Dialect {
        self.provider.doors.get(self.door).map_or(tidegate_wire::Dialect::OpenAiChat, |door| door.dialect)
    }
}

/// Plans a call.
pub(crate) fn plan(snapshot: &Snapshot, call: &Call) -> Result<Plan, GatewayError> {
    let settings = &snapshot.settings;
    let meaning = resolve(snapshot, &call.model)?;
    let policy = match &meaning {
        Meaning::Entry(entry) => &entry.policy,
        Meaning::Direct(_) => &settings.policy,
    };
    let configured_total = match &meaning {
        Meaning::Entry(_) => policy.timeouts.total,
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
    let mut targets = Vec::new();
    add(&mut targets, snapshot, call, meaning)?;
    targets.retain(|planned| {
        allows_target(&call.principal, &call.model, &planned.provider.name, &planned.target.label)
    });
    Ok(Plan {
        targets,
        deadline: call.at.checked_add(total).unwrap_or_else(|| call.at + Timeouts::default().total),
        falls_back_on_content_policy,
        strict,
    })
}

fn add(
    targets: &mut Vec<Planned>,
    snapshot: &Snapshot,
    call: &Call,
    meaning: Meaning<'_>,
) -> Result<(), GatewayError> {
    let settings = &snapshot.settings;
    match meaning {
        Meaning::Direct(serving) => {
            for (provider, model) in serving {
                let timeouts =
                    settings.providers.get(&*provider.name).map_or_else(Timeouts::default, |it| it.timeouts);
                push(targets, snapshot, settings, call, &provider, model, timeouts, settings.policy.retry);
            }
        }
        Meaning::Entry(entry) => {
            let order: Vec<usize> = match entry.strategy {
                // The others rank by what is measured, for which there is nothing yet.
                Strategy::Order
                | Strategy::Latency
                | Strategy::Throughput
                | Strategy::Cost
                | Strategy::LeastBusy
                | Strategy::Sticky
                | Strategy::Score(_) => (0..entry.targets.len()).collect(),
                Strategy::Weighted => {
                    let weights: Vec<u32> = entry.targets.iter().map(|target| target.weight).collect();
                    order_by_weight(&weights, fastrand::f64)
                }
            };
            for configured in order.into_iter().filter_map(|place| entry.targets.get(place)) {
                if let Some(provider) = snapshot.provider(&configured.provider) {
                    push(
                        targets,
                        snapshot,
                        settings,
                        call,
                        provider,
                        &configured.model,
                        configured.timeouts,
                        configured.retry,
                    );
                }
            }
            for fallback in &entry.fallback {
                add(targets, snapshot, call, resolve(snapshot, fallback)?)?;
            }
        }
    }
    Ok(())
}

#[expect(
    clippy::too_many_arguments,
    reason = "one private helper for two callers that differ in two of them"
)]
fn push(
    targets: &mut Vec<Planned>,
    snapshot: &Snapshot,
    settings: &Settings,
    call: &Call,
    provider: &Arc<Provider>,
    model: &str,
    timeouts: Timeouts,
    retry: Retry,
) {
    let target = provider.target(model, snapshot.catalog, settings);
    let is_known = targets.iter().any(|planned| Arc::ptr_eq(&planned.target, &target));
    if !is_known && targets.len() < MAX_TARGETS {
        let door = provider.door_for(call.dialect);
        targets.push(Planned { provider: Arc::clone(provider), door, target, timeouts, retry });
    }
}
