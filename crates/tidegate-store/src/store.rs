//! The store as the others see it: opening it, recording in it, asking it. Opened by the binary's commands.

use std::{
    path::{Path, PathBuf},
    slice,
};

use jiff::Timestamp;
use tidegate_policy::Spending;

use crate::{
    Scope,
    access::Access,
    database::{Database, DatabaseUrl},
    error::StoreError,
    ledger::{
        self, CallBodies, CallId, CallsQuery, Deleted, LedgerEntry, LedgerOptions, LedgerWriter,
        RetentionOptions, UsageQuery, UsageRow, UsageTotal,
    },
    limits::{SpendingFuture, SpendingSource},
    queries,
};

/// The ledger's journal within the data directory.
const JOURNAL_DIRECTORY: &str = "journal";

/// Where the store is.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The data directory: the embedded database, and always the ledger's journal.
    pub data: PathBuf,
    /// The PostgreSQL database that takes the embedded one's place.
    pub database: Option<DatabaseUrl>,
}

impl StoreOptions {
    /// The embedded database in this directory.
    pub fn embedded(data: impl Into<PathBuf>) -> Self {
        Self { data: data.into(), database: None }
    }
}

impl From<&Path> for StoreOptions {
    fn from(data: &Path) -> Self {
        Self::embedded(data)
    }
}

impl From<&PathBuf> for StoreOptions {
    fn from(data: &PathBuf) -> Self {
        Self::embedded(data)
    }
}

impl From<&StoreOptions> for StoreOptions {
    fn from(options: &StoreOptions) -> Self {
        options.clone()
    }
}

/// An open store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    database: Database,
    data: PathBuf,
}

impl Store {
    /// Opens the store, makes the data directory where it does not exist and brings the schema up to date. A path alone
    /// stands for the embedded database there.
    pub async fn open(options: impl Into<StoreOptions>) -> Result<Self, StoreError> {
        let StoreOptions { data, database: url } = options.into();
        let database = match &url {
            Some(url) => Database::postgres(url).await?,
            None => Database::sqlite(&data).await?,
        };
        Ok(Self { database, data })
    }

    /// Opens a store that must be there, perhaps while another process serves from it. Changes nothing by itself.
    pub async fn open_existing(options: impl Into<StoreOptions>) -> Result<Self, StoreError> {
        let StoreOptions { data, database: url } = options.into();
        let database = match &url {
            Some(url) => Database::existing_postgres(url).await?,
            None => Database::existing_sqlite(&data).await?,
        };
        Ok(Self { database, data })
    }

    #[cfg(test)]
    pub(crate) fn of(database: Database, options: StoreOptions) -> Self {
        Self { database, data: options.data }
    }

    /// All administration: keys, teams, limits, the audit log, credentials.
    pub fn access(&self) -> Access {
        Access::new(self.database.clone())
    }

    /// Starts the ledger's writer on the current runtime. The journal in the data directory belongs to this process until
    /// the writer is closed.
    pub async fn ledger(&self, options: LedgerOptions) -> Result<LedgerWriter, StoreError> {
        self.database.ready().await?;
        LedgerWriter::start(&self.data.join(JOURNAL_DIRECTORY), self.database.clone(), options).await
    }

    /// A usage report: sums by group, the dearest first. It sees what is written; see [`LedgerWriter::flush`].
    pub async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
        let rows = queries::usage::report(&self.database, query).await?;
        Ok(rows.into_iter().map(|row| row.with_readable_times(&query.group_by)).collect())
    }

    /// What all rows of a report come to, those included that [`UsageQuery::limit`] cuts.
    pub async fn usage_total(&self, query: &UsageQuery) -> Result<UsageTotal, StoreError> {
        queries::usage::total(&self.database, query).await
    }

    /// Calls, the newest first.
    pub async fn calls(&self, query: &CallsQuery) -> Result<Vec<LedgerEntry>, StoreError> {
        queries::calls::list(&self.database, query).await
    }

    /// One call, by the id that its caller got as `x-request-id`.
    pub async fn call(&self, id: CallId) -> Result<Option<LedgerEntry>, StoreError> {
        queries::calls::find(&self.database, id).await
    }

    /// Keeps what was said in a call beside its entry, unless that has been done.
    pub async fn keep_bodies(&self, call: CallId, bodies: &CallBodies) -> Result<(), StoreError> {
        queries::bodies::insert(&self.database, call, bodies).await
    }

    /// What was said in a call, where it was kept.
    pub async fn bodies(&self, call: CallId) -> Result<Option<CallBodies>, StoreError> {
        queries::bodies::find(&self.database, call).await
    }

    /// Forgets what was said in a call. Says whether anything was there.
    pub async fn delete_bodies(&self, call: CallId) -> Result<bool, StoreError> {
        queries::bodies::delete(&self.database, call).await
    }

    /// Deletes calls and bodies that are too old or too much, now and then every ten minutes, and prepares room for new
    /// ones. Goes on for ever; failures are logged and tried again. Replicas may all do so.
    pub async fn keep_house(&self, options: RetentionOptions) {
        ledger::keep_house(self.database.clone(), options).await;
    }

    /// The same once, as of this moment.
    pub async fn delete_old(
        &self,
        options: &RetentionOptions,
        now: Timestamp,
    ) -> Result<Deleted, StoreError> {
        ledger::delete_old(&self.database, options, now).await
    }

    /// What one level has spent, up to what is written.
    pub async fn spending_of(&self, scope: &Scope, now: Timestamp) -> Result<Spending, StoreError> {
        let spending = queries::rollups::of_scopes(&self.database, slice::from_ref(scope), now).await?;
        Ok(spending.into_iter().next().unwrap_or_default())
    }

    /// What all organisations, teams and keys have spent, up to what is written, for a limiter that starts. Those without
    /// calls are not in it.
    pub async fn spending_of_all(&self, now: Timestamp) -> Result<Vec<(Scope, Spending)>, StoreError> {
        Ok(queries::rollups::of_all(&self.database, now).await?.into_iter().collect())
    }

    /// Closes the database's connections. The [ledger's writer](LedgerWriter::close) is closed by itself, before.
    pub async fn close(&self) {
        self.database.close().await;
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    #[cfg(test)]
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }
}

/// Up to what is written. Calls in the journal are not counted yet: a limiter counts its own process's calls itself.
impl SpendingSource for Store {
    fn spending(&self, scopes: Vec<Scope>) -> SpendingFuture {
        let database = self.database.clone();
        Box::pin(async move { queries::rollups::of_scopes(&database, &scopes, Timestamp::now()).await })
    }
}
