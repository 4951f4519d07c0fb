//! Deleting the oldest calls and bodies, a few at a time: whoever writes waits no longer than one batch takes.

use crate::{
    database::{Database, query, query_text},
    error::StoreError,
    ledger::CallId,
};

/// Rows of one transaction: some 20 ms in SQLite.
pub(crate) const BATCH: u64 = 1_000;

/// What is deleted when it is old: the table and its id.
pub(crate) const TABLES: [(&str, &str); 3] =
    [("calls", "id"), ("bodies", "call_id"), ("feedback", "call_id")];

/// Deletes up to [`BATCH`] rows that began before this moment. Says how many.
pub(crate) async fn delete_some(
    database: &Database,
    (table, id): (&str, &str),
    before_ms: i64,
) -> Result<u64, StoreError> {
    // The times let PostgreSQL leave out partitions.
    let delete = query_text(format!(
        "DELETE FROM {table} WHERE started_at_ms < $2 AND {id} IN \
         (SELECT {id} FROM {table} WHERE {id} < $1 AND started_at_ms < $2 ORDER BY {id} LIMIT {BATCH})"
    ));
    let lowest = CallId::lowest_at_ms(before_ms).uuid();
    database.execute(delete.bind(lowest).bind(before_ms)).await
}

/// The moment before which lie the oldest calls, about a batch of them, or else the oldest bodies; `None` if there is
/// nothing left.
pub(crate) async fn oldest(database: &Database) -> Result<Option<i64>, StoreError> {
    for (table, id) in TABLES {
        let select = query_text(format!(
            "SELECT MAX(started_at_ms) AS latest_ms FROM \
             (SELECT started_at_ms FROM {table} ORDER BY {id} LIMIT {BATCH}) AS oldest"
        ));
        if let Some(latest_ms) = database.fetch_one(select).await?.get::<Option<i64>>("latest_ms")? {
            return Ok(Some(latest_ms + 1));
        }
    }
    Ok(None)
}

/// What SQLite's tables take. The file itself keeps its size: what was deleted makes room in it for what comes.
pub(crate) async fn size_in_use(database: &Database) -> Result<u64, StoreError> {
    let select = "SELECT (page_count - freelist_count) * page_size AS size \
        FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()";
    database.fetch_one(query(select)).await?.number("size")
}
