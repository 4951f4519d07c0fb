//! What is written together: calls, the sums over them, and how far the journal was read. Called by the ledger's writer.

use super::{calls, journals};
use crate::{
    database::Database,
    error::StoreError,
    ledger::{JournalPosition, LedgerEntry},
};

impl Database {
    /// Writes these entries and what follows from them, or nothing, in one transaction. Entries whose ids are there
    /// already are left alone and count nowhere. `position` is where the journal stands after them.
    pub(crate) async fn write_batch(
        &self,
        entries: &[LedgerEntry],
        position: Option<&JournalPosition>,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        calls::insert(&mut transaction, entries).await?;
        if let Some(position) = position {
            journals::set(&mut transaction, position).await?;
        }
        transaction.commit().await
    }

    /// How far this journal is in the database; `None` if nothing of it has been written yet.
    pub(crate) async fn journal_position(
        &self,
        journal: &str,
    ) -> Result<Option<JournalPosition>, StoreError> {
        journals::find(self, journal).await
    }
}
