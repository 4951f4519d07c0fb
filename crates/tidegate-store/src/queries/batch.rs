//! What is written together: calls, the sums over them, and how far the journal was read. Called by the ledger's writer.

use std::slice;

use super::{calls, experiments, journals, rollups};
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
        let inserted = calls::insert(&mut transaction, entries).await?;
        if usize::try_from(inserted).is_ok_and(|inserted| inserted == entries.len()) {
            rollups::add(&mut transaction, entries).await?;
            experiments::add(&mut transaction, &to.journal, entries).await?;
            transaction.commit().await?;
            return Ok(true);
        }
        drop(transaction);
        tracing::warn!("calls that are recorded already came to the ledger again; they are left out");
        self.write_new_ones(entries, from, to).await
    }

    /// The same, one by one, to see which are new. Must not happen, and takes its time.
    async fn write_new_ones(
        &self,
        entries: &[LedgerEntry],
        from: Option<&JournalPosition>,
        to: &JournalPosition,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        if !journals::advance(&mut transaction, from, to).await? {
            return Ok(false);
        }
        let mut new = Vec::new();
        for entry in entries {
            if calls::insert(&mut transaction, slice::from_ref(entry)).await? > 0 {
                new.push(entry.clone());
            }
        }
        rollups::add(&mut transaction, &new).await?;
        experiments::add(&mut transaction, &to.journal, &new).await?;
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

#[cfg(test)]
mod tests {
    use tidegate_testkit::servers::postgres;

    use tidegate_wire::Usage;

    use super::*;
    use crate::{Attempt, CallId, CallsQuery, Outcome, Tags, database::query};

    fn position(offset: u64) -> JournalPosition {
        JournalPosition { journal: "one".into(), segment: 1, offset }
    }

    async fn check(database: Database) {
        let entry = |end_user: &str| LedgerEntry {
            organization_id: Some("org_1".into()),
            key_id: Some("key_1".into()),
            end_user: Some(end_user.to_owned().into()),
            cost_nanodollars: Some(5),
            charge_nanodollars: Some(7),
            tags: Tags::parse("app=search").unwrap(),
            ..LedgerEntry::new(CallId::now(), "openai-chat", "chat")
        };
        let (one, two) = (entry("a"), entry("b"));
        let first = [one.clone(), two.clone()];
        assert!(database.write_batch(&first, None, &position(10)).await.unwrap());
        // The same again, from where the journal no longer is: nothing happens.
        assert!(!database.write_batch(&first, None, &position(10)).await.unwrap());
        // Entries that are there already, whatever the position says, beside one that is new and comes twice.
        let three = entry("a");
        let again = [one, three.clone(), three, two];
        assert!(database.write_batch(&again, Some(&position(10)), &position(20)).await.unwrap());
        assert_eq!(database.journal_position("one").await.unwrap(), Some(position(20)));
        for table in ["scope_hours", "scope_days"] {
            let sql =
                format!("SELECT scope, calls, cost_nanodollars, charge_nanodollars FROM {table} ORDER BY 1");
            let rows = database.fetch_all(crate::database::query_text(sql)).await.unwrap();
            let found: Vec<(String, i64, i64, i64)> = rows
                .iter()
                .map(|row| {
                    let number = |name| row.get::<i64>(name).unwrap();
                    (
                        row.get("scope").unwrap(),
                        number("calls"),
                        number("cost_nanodollars"),
                        number("charge_nanodollars"),
                    )
                })
                .collect();
            let expected = [
                ("key:key_1", 3, 15, 21),
                ("org:org_1", 3, 15, 21),
                ("tag:app=search", 3, 15, 21),
                ("user:org_1/a", 2, 10, 14),
                ("user:org_1/b", 1, 5, 7),
            ];
            assert_eq!(
                found,
                expected.map(|(scope, calls, cost, charge)| (scope.to_owned(), calls, cost, charge)),
                "{table}"
            );
        }
        // Ids that read alike when they are written out.
        let alike = [("org_1", "b/c"), ("org_1/b", "c")].map(|(organization, name)| LedgerEntry {
            organization_id: Some(organization.into()),
            end_user: Some(name.into()),
            ..LedgerEntry::new(CallId::now(), "openai-chat", "chat")
        });
        assert!(database.write_batch(&alike, Some(&position(20)), &position(30)).await.unwrap());
        for sql in
            ["SELECT CAST(SUM(calls) AS BIGINT) AS n FROM usage_days", "SELECT COUNT(*) AS n FROM calls"]
        {
            assert_eq!(database.fetch_one(query(sql)).await.unwrap().get::<i64>("n").unwrap(), 5);
        }
    }

    /// Calls of two shapes that are frequent, of one that is not, and some with more to say than most; no two are equal.
    async fn check_shapes(database: Database) {
        let entries: Vec<LedgerEntry> = (0_u16..350)
            .map(|number| {
                let usual = LedgerEntry {
                    organization_id: Some("org_1".into()),
                    key_id: (number % 3 > 0).then(|| format!("key_{}", number % 3).into()),
                    team_id: (number % 5 > 0).then(|| "team_1".into()),
                    model: Some(if number % 2 == 0 { "fast" } else { "smart" }.into()),
                    provider: Some("openai".into()),
                    upstream_model: Some("gpt-5-mini".into()),
                    finish_reason: Some("stop".into()),
                    prices: Some("{}".into()),
                    outcome: Outcome::Answered,
                    status: Some(200),
                    duration_us: u64::from(number),
                    time_to_first_token_us: (number % 4 > 0).then(|| u64::from(number) / 2),
                    usage: Usage { input: 10, cache_read: 3, output: u64::from(number), ..Usage::default() },
                    cost_nanodollars: (number % 7 > 0).then_some(9),
                    charge_nanodollars: (number % 7 > 0).then_some(10),
                    attempts: vec![Attempt {
                        target: "openai/gpt-5-mini".into(),
                        failure: None,
                        status: Some(200),
                        duration_us: 5,
                        used: None,
                    }],
                    bytes_in: 100,
                    bytes_out: u64::from(number),
                    ..LedgerEntry::new(CallId::now(), "openai-chat", "chat")
                };
                match number {
                    40..45 => LedgerEntry { streamed: true, status: None, ..usual },
                    50..55 => LedgerEntry { tags: Tags::parse("app=search").unwrap(), ..usual },
                    60..65 => LedgerEntry { dropped: vec!["seed".into()], ..usual },
                    80..85 => LedgerEntry { upstream_model: Some("another".into()), ..usual },
                    70..75 => LedgerEntry { usage: Usage { reasoning: 7, ..usual.usage }, ..usual },
                    _ => usual,
                }
            })
            .collect();
        assert!(database.write_batch(&entries, None, &position(1)).await.unwrap());
        let mut found = calls::list(&database, &CallsQuery::latest(1_000)).await.unwrap();
        found.sort_by_key(|entry| entry.duration_us);
        assert_eq!(found, entries);
        // As plain attempts were written for a while.
        let sql = "UPDATE calls SET attempts = CAST(attempt_us AS TEXT), attempt_us = NULL WHERE attempt_us IS NOT NULL";
        assert!(database.execute(query(sql)).await.unwrap() > 300);
        let mut found = calls::list(&database, &CallsQuery::latest(1_000)).await.unwrap();
        found.sort_by_key(|entry| entry.duration_us);
        assert_eq!(found, entries);
    }

    #[tokio::test]
    async fn calls_that_are_alike_are_written_together_and_read_as_they_were() {
        let directory = tempfile::tempdir().unwrap();
        check_shapes(Database::sqlite(directory.path()).await.unwrap()).await;
        let place = postgres().database();
        let database = Database::postgres(&place.url().parse().unwrap()).await.unwrap();
        check_shapes(database.clone()).await;
        database.close().await;
    }

    #[tokio::test]
    async fn what_comes_twice_is_written_and_counted_once() {
        let directory = tempfile::tempdir().unwrap();
        check(Database::sqlite(directory.path()).await.unwrap()).await;
        let place = postgres().database();
        let database = Database::postgres(&place.url().parse().unwrap()).await.unwrap();
        check(database.clone()).await;
        database.close().await;
    }
}
