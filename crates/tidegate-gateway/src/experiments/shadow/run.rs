//! Takes calls out of the queue, sees whether their shadows may be sent, has them sent, and records them.

use std::sync::Arc;
use std::time::Duration;

use tidegate_catalog::NanoDollars;
use tidegate_policy::{Amounts, Readiness};
use tidegate_store::{CallId, Hold, LedgerEntry, Seat};
use tokio::sync::mpsc;

use super::counts::ShadowFate;
use super::queue::Waiting;
use super::send::{Courier, Sent, Work};
use crate::gateway::Gateway;
use crate::hold::hold_shadow;

/// Shadows that are under way at once. More would only make the candidate slow.
const AT_ONCE: usize = 32;
/// How often the queue is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// The same while no experiment has shadows.
const LOOK_IDLE: Duration = Duration::from_millis(250);

/// Sends shadows, for ever.
pub(crate) async fn run(gateway: Arc<Gateway>) {
    let Some(mut queue) = gateway.shadows.take() else {
        tracing::error!("shadows are sent already");
        return std::future::pending().await;
    };
    let (done, mut results) = mpsc::channel(AT_ONCE);
    let mut courier = None;
    let mut under_way = 0;
    loop {
        while let Ok(sent) = results.try_recv() {
            under_way -= 1;
            record(sent);
        }
        while under_way < AT_ONCE {
            let Ok(waiting) = queue.try_recv() else { break };
            if courier.is_none() {
                // With the first shadow, not before: most gateways have none.
                courier = Courier::start(Arc::clone(&gateway), done.clone())
                    .inspect_err(
                        |error| tracing::error!(%error, "the thread for shadows could not be started"),
                    )
                    .ok();
            }
            let Some(courier) = &courier else { break };
            if let Some(work) = admit(&gateway, waiting).await
                && courier.hand_over(work)
            {
                under_way += 1;
            }
        }
        let is_idle = under_way == 0 && gateway.snapshot().experiments.shadows().next().is_none();
        tokio::time::sleep(if is_idle { LOOK_IDLE } else { LOOK }).await;
    }
}

/// Whether this shadow may be sent: the ledger has a place for it, the candidate takes calls, the budget has room.
async fn admit(gateway: &Gateway, mut waiting: Waiting) -> Option<Work> {
    let shadow = Arc::clone(&waiting.shadow);
    let leave_out = |fate| {
        shadow.counts.count(fate);
        None
    };
    waiting.call.id = CallId::now();
    // Callers come first: where they must wait, for the provider or for a place here, shadows stay away.
    let now = gateway.clock.now();
    let is_ready = |readiness| readiness == Readiness::Ready;
    let planned = &shadow.planned;
    let provider = &planned.provider;
    if !gateway.places().has_room()
        || !shadow.provider.is_at_ease(now)
        || !is_ready(provider.key_readiness(&planned.target.health, now))
        || !is_ready(planned.target.health.readiness(now))
    {
        return leave_out(ShadowFate::NotReady);
    }
    let hold = match &shadow.level {
        None => None,
        Some(level) => match hold_shadow(gateway, &waiting.call, planned, level).await {
            Ok(hold) => Some(hold),
            Err(fate) => return leave_out(fate),
        },
    };
    let Ok(seat) = gateway.ledger().reserve() else { return leave_out(ShadowFate::NotRecorded) };
    shadow.counts.count(ShadowFate::Sent);
    Some(Work { waiting, seat, hold })
}

fn record(sent: Option<Sent>) {
    let Some(Sent { seat, hold, entry }) = sent else { return };
    settle(hold, &entry);
    if let Some(seat) = seat {
        seat.record(entry);
    }
}

fn settle(hold: Option<Hold>, entry: &LedgerEntry) {
    if let Some(hold) = hold {
        let cost = i64::try_from(entry.cost_nanodollars.unwrap_or(0)).unwrap_or(i64::MAX);
        let tokens = entry.usage.input.saturating_add(entry.usage.output);
        hold.settle(Amounts { tokens, cost: NanoDollars(cost) });
    }
}

/// What both ends of the thread agree on.
pub(super) type Results = mpsc::Sender<Option<Sent>>;

/// A seat that travels with an entry; none where the ledger is off.
pub(super) type MaybeSeat = Option<Seat>;
