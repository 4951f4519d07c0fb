//! The table `journal_positions`: how far each process's journal is in the database.

use jiff::Timestamp;

use crate::{
    database::{Database, Transaction, query},
    error::StoreError,
    ledger::JournalPosition,
};

/// Moves the position, together with the entries before it. False if it is not where it was expected.
pub(crate) async fn advance(
    transaction: &mut Transaction,
    from: Option<&JournalPosition>,
    to: &JournalPosition,
) -> Result<bool, StoreError> {
    let sql = "INSERT INTO journal_positions (journal_id, segment, \"offset\", updated_at_ms) \
        VALUES ($1, $2, $3, $4) ON CONFLICT (journal_id) DO UPDATE SET \
        segment = excluded.segment, \"offset\" = excluded.\"offset\", updated_at_ms = excluded.updated_at_ms \
        WHERE journal_positions.segment = $5 AND journal_positions.\"offset\" = $6";
    let update = query(sql)
        .bind(to.journal.as_str())
        .bind(number(to.segment))
        .bind(number(to.offset))
        .bind(Timestamp::now())
        .bind(from.map(|from| number(from.segment)))
        .bind(from.map(|from| number(from.offset)));
    Ok(transaction.execute(update).await? > 0)
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

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
