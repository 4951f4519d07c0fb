//! The tables `experiment_sums` and `experiment_states`. Sums are written by the ledger's writer together with the calls that
//! they are made of; states by whoever decides something.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::connection::{Connection, count, number};
use crate::{
    database::{Database, Transaction, query},
    error::StoreError,
    experiments::{RunSums, StoredState},
    ledger::{Exposure, LedgerEntry},
};

/// Adds what these calls showed of their experiments. Nobody else writes this journal's rows: whoever writes its calls has
/// locked its position.
pub(crate) async fn add(
    transaction: &mut Transaction,
    journal: &str,
    entries: &[LedgerEntry],
) -> Result<(), StoreError> {
    // In the order of their keys: replicas that write several wait for each other and never in a circle.
    let mut runs = BTreeMap::<(&str, &str), Vec<(&LedgerEntry, &Exposure)>>::new();
    for entry in entries {
        if let Some(exposure) = entry.exposure.as_deref() {
            runs.entry((&exposure.experiment, &exposure.run)).or_default().push((entry, exposure));
        }
    }
    for ((experiment, run), exposed) in runs {
        let select =
            query("SELECT sums FROM experiment_sums WHERE experiment = $1 AND run = $2 AND journal = $3");
        let row = transaction.fetch_optional(select.bind(experiment).bind(run).bind(journal)).await?;
        let mut sums: RunSums = row.as_ref().map(|row| row.json("sums")).transpose()?.unwrap_or_default();
        for (entry, exposure) in exposed {
            sums.observe(entry, exposure);
        }
        let put = query(
            "INSERT INTO experiment_sums (experiment, run, journal, sums) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (experiment, run, journal) DO UPDATE SET sums = excluded.sums",
        );
        // Numbers, texts and lists of them always have a JSON form.
        let text = serde_json::to_string(&sums).unwrap_or_default();
        transaction.execute(put.bind(experiment).bind(run).bind(journal).bind(text)).await?;
    }
    Ok(())
}

/// What all replicas have seen of a run.
pub(crate) async fn sums(database: &Database, experiment: &str, run: &str) -> Result<RunSums, StoreError> {
    let select =
        query("SELECT sums FROM experiment_sums WHERE experiment = $1 AND run = $2 ORDER BY journal");
    let mut all = RunSums::default();
    for row in database.fetch_all(select.bind(experiment).bind(run)).await? {
        all.merge(&row.json("sums")?);
    }
    Ok(all)
}

/// All states.
pub(crate) async fn states(database: &Database) -> Result<Vec<StoredState>, StoreError> {
    let select = query(
        "SELECT experiment, run, version, state, changed_at_ms FROM experiment_states ORDER BY experiment",
    );
    Connection::from(database)
        .all(select, |row| {
            Ok(StoredState {
                experiment: row.get("experiment")?,
                run: row.get("run")?,
                version: count(row, "version")?,
                state: row.get("state")?,
                changed_at: row.time("changed_at_ms")?,
            })
        })
        .await
}

/// The version of an experiment's state; 0 where there is none.
pub(crate) async fn version(transaction: &mut Transaction, experiment: &str) -> Result<u64, StoreError> {
    let select = query("SELECT version FROM experiment_states WHERE experiment = $1");
    let row = transaction.fetch_optional(select.bind(experiment)).await?;
    row.map_or(Ok(0), |row| count(&row, "version"))
}

/// Puts another state in the place of the present one.
pub(crate) async fn put_state(
    transaction: &mut Transaction,
    (experiment, run): (&str, &str),
    version: u64,
    state: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    let put = query(
        "INSERT INTO experiment_states (experiment, run, version, state, changed_at_ms) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (experiment) DO UPDATE SET \
         run = excluded.run, version = excluded.version, state = excluded.state, \
         changed_at_ms = excluded.changed_at_ms",
    );
    let put = put.bind(experiment).bind(run).bind(number(version)).bind(state).bind(at);
    transaction.execute(put).await.map(drop)
}
