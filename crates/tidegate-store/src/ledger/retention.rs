//! How long single calls are kept. Their sums by hour and day stay for ever.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    database::{Database, Kind},
    error::StoreError,
    queries::{partitions, retention},
};

/// How often the oldest are looked for, and partitions made for the days to come.
const EVERY: Duration = Duration::from_secs(600);
/// Between two batches others come to write.
const PAUSE: Duration = Duration::from_millis(10);

/// How long calls are kept, with their bodies. The first bound that is reached counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetentionOptions {
    /// Older ones are deleted.
    pub age: Option<Duration>,
    /// The oldest are deleted when the database takes more room than this. PostgreSQL gives room back by whole days, so the
    /// present day stays.
    pub size_bytes: Option<u64>,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Rows of calls and bodies that were deleted one by one.
    pub rows: u64,
    /// Whole days that were dropped, of calls and of bodies.
    pub days: u64,
}

/// Keeps house for ever. Replicas may all do so.
pub(crate) async fn keep_house(database: Database, options: RetentionOptions) {
    loop {
        match once(&database, &options, Timestamp::now()).await {
            Ok(deleted) if deleted == Deleted::default() => {}
            Ok(Deleted { rows, days }) => {
                tracing::info!(rows, days, "calls that are old enough were deleted");
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "old calls could not be deleted, or room for new ones not be prepared; it is tried again in ten minutes"
            ),
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Makes partitions ahead, and deletes what has become too old or too much.
pub(crate) async fn once(
    database: &Database,
    options: &RetentionOptions,
    now: Timestamp,
) -> Result<Deleted, StoreError> {
    let mut deleted = Deleted::default();
    if database.kind() == Kind::Postgres {
        partitions::make_ahead(database, now).await?;
    }
    if let Some(age) = options.age {
        let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let before_ms = now.as_millisecond().saturating_sub(age_ms).max(0);
        if database.kind() == Kind::Postgres {
            deleted.days += partitions::drop_before(database, before_ms).await?;
        }
        deleted.rows += delete_before(database, before_ms).await?;
    }
    if let Some(size) = options.size_bytes {
        match database.kind() {
            Kind::Postgres => {
                let (days, until_ms) = partitions::drop_beyond(database, size, now).await?;
                deleted.days += days;
                // What has no day of its own must not outlive it, nor bodies their calls.
                if let Some(until_ms) = until_ms {
                    deleted.rows += delete_before(database, until_ms).await?;
                }
            }
            Kind::Sqlite => deleted.rows += delete_beyond(database, size).await?,
        }
    }
    Ok(deleted)
}

async fn delete_before(database: &Database, before_ms: i64) -> Result<u64, StoreError> {
    let mut all = 0;
    for table in retention::TABLES {
        loop {
            let deleted = retention::delete_some(database, table, before_ms).await?;
            all += deleted;
            if deleted < retention::BATCH {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(all)
}

/// Deletes the oldest until the rest fits. Bodies go with their calls.
async fn delete_beyond(database: &Database, size: u64) -> Result<u64, StoreError> {
    let mut all = 0;
    while retention::size_in_use(database).await? > size {
        let Some(before_ms) = retention::oldest(database).await? else { break };
        let deleted = delete_before(database, before_ms).await?;
        if deleted == 0 {
            break;
        }
        all += deleted;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(all)
}
