//! The table `journal_positions`: how far each process's journal is in the database.

use jiff::Timestamp;

use crate::{
    database::{Database, Transaction, query},
    error::StoreError,
    ledger::JournalPosition,
};

/// Puts the position down, together with the entries before it.
pub(crate) async fn set(transaction: &mut Transaction, position: &JournalPosition) -> Result<(), StoreError> {
    let sql = "INSERT INTO journal_positions (journal_id, segment, \"offset\", updated_at_ms) \
        VALUES ($1, $2, $3, $4) ON CONFLICT (journal_id) DO UPDATE SET \
        segment = excluded.segment, \"offset\" = excluded.\"offset\", updated_at_ms = excluded.updated_at_ms";
    let update = query(sql)
        .bind(position.journal.as_str())
        .bind(i64::try_from(position.segment).unwrap_or(i64::MAX))
        .bind(i64::try_from(position.offset).unwrap_or(i64::MAX))
        .bind(Timestamp::now());
    transaction.execute(update).await?;
    Ok(())
}

/// Where this journal is; `None` if nothing of it has been written yet.
pub(crate) async fn find(database: &Database, journal: &str) -> Result<Option<JournalPosition>, StoreError> {
    let sql = "SELECT segment, \"offset\" FROM journal_positions WHERE journal_id = $1";
    let Some(row) = database.fetch_optional(query(sql).bind(journal)).await? else { return Ok(None) };
    Ok(Some(JournalPosition {
        journal: journal.to_owned(),
        segment: row.number("segment")?,
        offset: row.number("offset")?,
    }))
}
