//! The table `changes`. Written in every administrative transaction, asked by every process several times a second.

use super::connection::{Connection, count, number};
use super::many::ManyRows;
use crate::access::Changed;
use crate::database::{Transaction, query};
use crate::error::StoreError;

/// How many are kept. Who has missed more loads everything anew.
const KEPT: u64 = 10_000;

/// Adds one. Transactions that write come one after the other, so the numbers become visible in their order.
pub(crate) async fn add(on: &mut Transaction, changed: &Changed) -> Result<(), StoreError> {
    add_many(on, std::slice::from_ref(changed)).await
}

/// Adds several.
pub(crate) async fn add_many(on: &mut Transaction, changed: &[Changed]) -> Result<(), StoreError> {
    static INSERTS: ManyRows = ManyRows::new("changes", &["sequence", "kind", "id"], |_| String::new());
    let before = latest(&mut *on).await?;
    let rows: Vec<(u64, &Changed)> = (before + 1..).zip(changed).collect();
    INSERTS
        .run(on, &rows, |values, (sequence, changed)| {
            let (kind, id) = changed.to_words();
            values.extend([number(*sequence).into(), kind.into(), id.into()]);
        })
        .await?;
    // The latest always stays: the numbers go on from it.
    let latest = rows.last().map_or(before, |(sequence, _)| *sequence);
    let prune = query("DELETE FROM changes WHERE sequence <= $1");
    on.execute(prune.bind(number(latest.saturating_sub(KEPT)))).await.map(drop)
}

/// The number of the latest; 0 when there is none.
pub(crate) async fn latest(on: impl Into<Connection<'_>>) -> Result<u64, StoreError> {
    let query = query("SELECT COALESCE(MAX(sequence), 0) AS latest FROM changes");
    Ok(on.into().first(query, |row| count(row, "latest")).await?.unwrap_or(0))
}

/// The number of the earliest that is kept; 0 when there is none.
pub(crate) async fn earliest(on: impl Into<Connection<'_>>) -> Result<u64, StoreError> {
    let query = query("SELECT COALESCE(MIN(sequence), 0) AS earliest FROM changes");
    Ok(on.into().first(query, |row| count(row, "earliest")).await?.unwrap_or(0))
}

/// Those after this one, as number, kind and id.
pub(crate) async fn since(
    on: impl Into<Connection<'_>>,
    sequence: u64,
) -> Result<Vec<(u64, String, String)>, StoreError> {
    let query = query("SELECT sequence, kind, id FROM changes WHERE sequence > $1 ORDER BY sequence");
    on.into()
        .all(query.bind(number(sequence)), |row| {
            Ok((count(row, "sequence")?, row.get("kind")?, row.get("id")?))
        })
        .await
}
