//! What holds calls against limits and budgets: in memory, or in Redis together with other replicas. Made at the start,
//! from what the ledger says was spent before.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tidegate_catalog::NanoDollars;
use tidegate_config::{Settings, Shared, Unreachable};
use tidegate_policy::Amounts;
use tidegate_store::{
    CallId, HealthBoard, LedgerEntry, LedgerWriter, Limiter, LocalOptions, SharedOptions, Store,
};

use crate::failure::Failure;

/// How long the start waits for the calls that an earlier process has left in the journal: what they spent counts. Some
/// hundred thousand are written in that time.
const WAIT_FOR_JOURNAL: Duration = Duration::from_secs(30);

/// The limiter that the settings ask for.
pub(crate) async fn limiter(
    settings: &Settings,
    store: &Store,
    ledger: &LedgerWriter,
) -> Result<Limiter, Failure> {
    if let Ok(ended) = tokio::time::timeout(WAIT_FOR_JOURNAL, ledger.flush()).await {
        ended.map_err(anyhow::Error::from)?;
    } else {
        tracing::warn!(
            "calls of an earlier process still wait in the journal; what they spent is not counted yet"
        );
    }
    if let Some(shared) = &settings.shared {
        let options = shared_options(shared, store, ledger);
        return Ok(Limiter::shared(options).await.map_err(anyhow::Error::from)?);
    }
    let restored = store.spending_of_all(Timestamp::now()).await?;
    Ok(Limiter::local(LocalOptions { restored, source: Some(Arc::new(store.clone())) }))
}

/// Where replicas tell each other how providers are doing, if the settings name such a place.
pub(crate) fn health_board(settings: &Settings, store: &Store, ledger: &LedgerWriter) -> Option<HealthBoard> {
    let options = shared_options(settings.shared.as_ref()?, store, ledger);
    // The limiter is made of the same options, and whoever gets here has made it.
    HealthBoard::open(&options).map_err(|error| tracing::error!(%error, "health cannot be shared")).ok()
}

fn shared_options(shared: &Shared, store: &Store, ledger: &LedgerWriter) -> SharedOptions {
    // Without a journal nothing outlasts the process, and every start is another replica.
    let replica = ledger.journal_id().map_or_else(|| CallId::now().to_string(), str::to_owned);
    SharedOptions {
        prefix: shared.prefix.clone(),
        unreachable: match shared.unreachable {
            Unreachable::Local => tidegate_store::Unreachable::Local,
            Unreachable::Deny => tidegate_store::Unreachable::Deny,
        },
        source: Some(Arc::new(store.clone())),
        ledger: Some(Arc::new(ledger.clone())),
        ..SharedOptions::new(shared.url.expose(), replica)
    }
}

/// Settles what calls of this replica's earlier process left behind in the shared counters.
pub(crate) async fn recover(limiter: Limiter, store: Store) {
    limiter
        .recover(async |calls: Vec<CallId>| {
            let mut used = HashMap::with_capacity(calls.len());
            for id in calls {
                match store.call(id).await {
                    Ok(Some(entry)) => {
                        used.insert(id, amounts_of(&entry));
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!(%error, call = %id, "a call of before the start was not found");
                    }
                }
            }
            used
        })
        .await;
}

fn amounts_of(entry: &LedgerEntry) -> Amounts {
    let charge = entry.charge_nanodollars.or(entry.cost_nanodollars).unwrap_or(0);
    Amounts {
        tokens: entry.usage.input.saturating_add(entry.usage.output),
        cost: NanoDollars(i64::try_from(charge).unwrap_or(i64::MAX)),
    }
}
