//! What is written together: calls, the sums over them, and how far the journal was read. Called by the ledger's writer.

use super::{calls, journals};
use crate::{
    database::Database,
    error::StoreError,
    ledger::{JournalPosition, LedgerEntry},
};

impl Database {
    /// Writes these entries and what follows from them, or nothing, in one transaction. Entries whose ids are there
    /// already are left alone and count nowhere. The journal's position goes from where it was (`None`: nowhere yet) to
    /// where it stands after them. False, and nothing is done, if it is another one: an earlier transaction of the same
    /// writer, of which it had heard nothing more, was committed after all.
    pub(crate) async fn write_batch(
        &self,
        entries: &[LedgerEntry],
        from: Option<&JournalPosition>,
        to: &JournalPosition,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        // First, because it locks the journal's row: a transaction of the same writer that still hangs is waited for.
        if !journals::advance(&mut transaction, from, to).await? {
            return Ok(false);
        }
        calls::insert(&mut transaction, entries).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// How far this journal is in the database; `None` if nothing of it has been written yet.
    pub(crate) async fn journal_position(
        &self,
        journal: &str,
    ) -> Result<Option<JournalPosition>, StoreError> {
        journals::find(self, journal).await
    }
}
