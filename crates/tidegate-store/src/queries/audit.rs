//! The tables `audit` and `audit_head`: lines are added and read, never changed.

use super::connection::{Conditions, Connection, count, hash, number};
use crate::audit::{AuditHead, AuditLine, AuditQuery};
use crate::database::{Row, query, query_text};
use crate::error::StoreError;

const COLUMNS: &str = "sequence, at_ms, actor, address, action, object, was, became, previous_hash, hash";

pub(crate) async fn head(on: impl Into<Connection<'_>>) -> Result<Option<AuditHead>, StoreError> {
    let query = query("SELECT sequence, hash, sealed_sequence, seal FROM audit_head WHERE id = 1");
    on.into()
        .first(query, |row| {
            Ok(AuditHead {
                sequence: count(row, "sequence")?,
                hash: hash(row, "hash")?,
                sealed_sequence: count(row, "sealed_sequence")?,
                seal: row.get("seal")?,
            })
        })
        .await
}

pub(crate) async fn put_head(on: impl Into<Connection<'_>>, head: &AuditHead) -> Result<(), StoreError> {
    let query =
        query("UPDATE audit_head SET sequence = $1, hash = $2, sealed_sequence = $3, seal = $4 WHERE id = 1")
            .bind(number(head.sequence))
            .bind(&head.hash[..])
            .bind(number(head.sealed_sequence))
            .bind(head.seal.clone());
    on.into().execute(query).await.map(drop)
}

pub(crate) async fn add(on: impl Into<Connection<'_>>, line: &AuditLine) -> Result<(), StoreError> {
    let sql = format!("INSERT INTO audit ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)");
    let query = query_text(sql)
        .bind(number(line.sequence))
        .bind(line.at)
        .bind(&line.actor)
        .bind(line.address.clone())
        .bind(&line.action)
        .bind(&line.object)
        .bind(line.before.clone())
        .bind(line.after.clone())
        .bind(&line.previous_hash[..])
        .bind(&line.hash[..]);
    on.into().execute(query).await.map(drop)
}

/// The lines after this one, the oldest first.
pub(crate) async fn following(
    on: impl Into<Connection<'_>>,
    after: i64,
    limit: u32,
) -> Result<Vec<AuditLine>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM audit WHERE sequence > $1 ORDER BY sequence LIMIT $2");
    on.into().all(query_text(sql).bind(after).bind(limit), read).await
}

/// The newest first.
pub(crate) async fn list(
    on: impl Into<Connection<'_>>,
    query: &AuditQuery,
    limit: u32,
) -> Result<Vec<AuditLine>, StoreError> {
    let sql = Conditions::of(format!("SELECT {COLUMNS} FROM audit WHERE TRUE"))
        .and("sequence <", query.before.map(number))
        .and("actor =", query.actor.as_deref())
        .and("action =", query.action.as_deref())
        .and("object =", query.object.as_deref())
        .and("at_ms >=", query.since)
        .and("at_ms <", query.until);
    on.into().all(sql.order("sequence DESC", limit), read).await
}

fn read(row: &Row) -> Result<AuditLine, StoreError> {
    Ok(AuditLine {
        sequence: count(row, "sequence")?,
        at: row.time("at_ms")?,
        actor: row.get("actor")?,
        address: row.get("address")?,
        action: row.get("action")?,
        object: row.get("object")?,
        before: row.get("was")?,
        after: row.get("became")?,
        previous_hash: any_hash(row, "previous_hash")?,
        hash: any_hash(row, "hash")?,
    })
}

/// A line's hash. One of another length was never written: it is read as one that fits nothing, so that whoever goes through
/// the log names the line instead of stopping at it.
fn any_hash(row: &Row, column: &str) -> Result<[u8; 32], StoreError> {
    Ok(row.get::<Vec<u8>>(column)?.try_into().unwrap_or([0xff; 32]))
}
