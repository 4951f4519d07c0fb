//! The data directory: opening it, bringing its schema up to date, asking it. Opened by the binary's commands.
//!
//! One process serves from a data directory, others may read it meanwhile (`tidegate usage`): SQLite's write-ahead log
//! lets readers and the writer pass each other. A second writer is no danger to the data, the two take turns.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{
    ConnectOptions, Connection, SqliteConnection, SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{
    error::StoreError,
    ledger::{CallId, CallsQuery, LedgerEntry, LedgerOptions, LedgerWriter, UsageQuery, UsageRow},
    queries,
};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/sqlite");

/// The database's file within the data directory.
const DATABASE_FILE: &str = "tidegate.db";
/// Held while the schema is brought up to date, so that two processes that start together do it one after the other.
const MIGRATION_LOCK_FILE: &str = "tidegate.migration-lock";
/// A schema change of a large ledger takes its time; a process that waits longer than this says so instead.
const MIGRATION_LOCK_WAIT: Duration = Duration::from_secs(30);
/// How often a waiting process looks again.
const MIGRATION_LOCK_POLL: Duration = Duration::from_millis(20);
/// How long a statement waits for another program's lock before it fails (and the ledger's writer tries again).
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Pages that a connection keeps in memory, in KiB. The ledger appends; reports scan: neither gains by more.
const PAGE_CACHE_KIB: u32 = 1024;
/// The log file is cut back to this size after a long reader has let it grow.
const LOG_FILE_BYTES: u32 = 32 << 20;
/// Reports that run at the same time; each connection has its own thread.
const READERS: u32 = 2;
/// Readers are closed when they have not been used for so long: reports are rare, memory is not free.
const READER_IDLE: Duration = Duration::from_secs(30);

/// An open data directory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    database: Arc<Path>,
    readers: SqlitePool,
}

impl Store {
    /// Opens the data directory, makes it where it does not exist and brings its schema up to date.
    pub async fn open(directory: &Path) -> Result<Self, StoreError> {
        Self::open_with(directory, &MIGRATIONS).await
    }

    /// Opens a data directory only to read it, perhaps while another process serves from it. Changes nothing.
    pub async fn open_existing(directory: &Path) -> Result<Self, StoreError> {
        let database = directory.join(DATABASE_FILE);
        if !database.exists() {
            return Err(StoreError::Missing { directory: directory.to_owned() });
        }
        let mut connection = connect(&reading(&database), &database).await?;
        let found = schema_version(&mut connection, &database).await?;
        close(connection).await;
        let known = latest(&MIGRATIONS);
        match found {
            _ if found > known => Err(StoreError::Newer { database, found, known }),
            _ if found < known => Err(StoreError::Older { database, found, known }),
            _ => Ok(Self::with_readers(&database)),
        }
    }

    async fn open_with(directory: &Path, migrations: &Migrator) -> Result<Self, StoreError> {
        create_directory(directory)
            .map_err(|source| StoreError::Directory { directory: directory.to_owned(), source })?;
        let database = directory.join(DATABASE_FILE);
        let mut connection = connect(&writing(&database).create_if_missing(true), &database).await?;
        migrate(&mut connection, directory, &database, migrations).await?;
        close(connection).await;
        Ok(Self::with_readers(&database))
    }

    fn with_readers(database: &Path) -> Self {
        let readers = SqlitePoolOptions::new()
            .min_connections(0)
            .max_connections(READERS)
            .idle_timeout(READER_IDLE)
            .test_before_acquire(false)
            .connect_lazy_with(reading(database));
        Self { database: database.into(), readers }
    }

    /// Starts the ledger's writer on the current runtime.
    pub async fn ledger(&self, options: LedgerOptions) -> Result<LedgerWriter, StoreError> {
        let connect_options = writing(&self.database);
        let connection = connect(&connect_options, &self.database).await?;
        Ok(LedgerWriter::start(connection, connect_options, options))
    }

    /// A usage report: sums by group, the dearest first. It sees what is written; see [`LedgerWriter::flush`].
    pub async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
        let rows = queries::calls::usage(&self.readers, query).await.map_err(|error| self.failed(error))?;
        Ok(rows.into_iter().map(|row| row.with_readable_time(&query.group_by)).collect())
    }

    /// Calls, the newest first.
    pub async fn calls(&self, query: &CallsQuery) -> Result<Vec<LedgerEntry>, StoreError> {
        queries::calls::list(&self.readers, query).await.map_err(|error| self.failed(error))
    }

    /// One call, by the id that its caller got as `x-request-id`.
    pub async fn call(&self, id: CallId) -> Result<Option<LedgerEntry>, StoreError> {
        queries::calls::find(&self.readers, id).await.map_err(|error| self.failed(error))
    }

    /// Closes the readers. The [ledger's writer](LedgerWriter::close) is closed by itself, before.
    pub async fn close(&self) {
        self.readers.close().await;
    }

    fn failed(&self, source: sqlx::Error) -> StoreError {
        StoreError::from_database(self.database.to_path_buf(), source)
    }
}

/// For the one connection that writes. In WAL mode, `NORMAL` loses nothing when the process dies; when the machine loses
/// power the last moments may be missing, the database stays whole, and no write waits for the disk.
fn writing(database: &Path) -> SqliteConnectOptions {
    common(database)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .pragma("journal_size_limit", LOG_FILE_BYTES.to_string())
}

fn reading(database: &Path) -> SqliteConnectOptions {
    common(database).create_if_missing(false).read_only(true)
}

fn common(database: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(database)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("cache_size", format!("-{PAGE_CACHE_KIB}"))
        .disable_statement_logging()
}

async fn connect(options: &SqliteConnectOptions, database: &Path) -> Result<SqliteConnection, StoreError> {
    options.connect().await.map_err(|source| StoreError::from_database(database.to_owned(), source))
}

/// A connection that cannot be closed in order is closed anyway; nothing is lost by it.
async fn close(connection: SqliteConnection) {
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "a database connection did not close in order");
    }
}

/// Usage is nobody else's business: other users of the machine get no access to a directory that is made here.
fn create_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

fn latest(migrations: &Migrator) -> i64 {
    migrations.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// The version of the schema that is there; 0 for an empty database.
async fn schema_version(connection: &mut SqliteConnection, database: &Path) -> Result<i64, StoreError> {
    async fn ask(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
        let tables: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'",
        )
        .fetch_one(&mut *connection)
        .await?;
        if tables == 0 {
            return Ok(0);
        }
        sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations")
            .fetch_one(connection)
            .await
    }
    ask(connection).await.map_err(|source| StoreError::from_database(database.to_owned(), source))
}

async fn migrate(
    connection: &mut SqliteConnection,
    directory: &Path,
    database: &Path,
    migrations: &Migrator,
) -> Result<(), StoreError> {
    let known = latest(migrations);
    let found = schema_version(connection, database).await?;
    if found > known {
        return Err(StoreError::Newer { database: database.to_owned(), found, known });
    }
    if found == known {
        return Ok(());
    }
    let lock = lock_for_migration(directory).await?;
    // Another process may have done it meanwhile: the migrator looks again and does what is left.
    let done = migrations.run(&mut *connection).await;
    drop(lock);
    done.map_err(|source| StoreError::Migration { database: database.to_owned(), source })?;
    tracing::info!(database = %database.display(), from = found, to = known, "the database's schema is up to date");
    Ok(())
}

/// SQLite has no lock that outlasts a transaction, and each migration is one of its own. The lock goes when the file is
/// closed, also by a crash.
async fn lock_for_migration(directory: &Path) -> Result<File, StoreError> {
    let failed = |source| StoreError::Directory { directory: directory.to_owned(), source };
    let path: PathBuf = directory.join(MIGRATION_LOCK_FILE);
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(failed)?;
    let deadline = Instant::now() + MIGRATION_LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
            Err(TryLockError::WouldBlock) if Instant::now() > deadline => {
                return Err(failed(io::Error::new(
                    io::ErrorKind::WouldBlock,
                    "another process has been changing the database's schema for a long time",
                )));
            }
            Err(TryLockError::WouldBlock) => tokio::time::sleep(MIGRATION_LOCK_POLL).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use sqlx::{
        AssertSqlSafe, Executor, SqlSafeStr,
        migrate::{Migration, MigrationType},
    };

    use super::*;

    /// The migrations as a later version might have them.
    fn later_migrations() -> Migrator {
        let mut migrations: Vec<Migration> = MIGRATIONS.iter().cloned().collect();
        let sql = "CREATE TABLE later (id INTEGER); ALTER TABLE calls ADD COLUMN later INTEGER";
        migrations.push(Migration::new(
            9_000,
            "later".into(),
            MigrationType::Simple,
            AssertSqlSafe(sql).into_sql_str(),
            false,
        ));
        Migrator { migrations: migrations.into(), ..Migrator::DEFAULT }
    }

    async fn record_one(store: &Store) -> CallId {
        let ledger = store.ledger(LedgerOptions::default()).await.unwrap();
        let id = CallId::now();
        ledger.reserve().unwrap().record(LedgerEntry::new(id, "openai-chat", "chat"));
        assert!(ledger.close(Duration::from_secs(20)).await.is_complete());
        id
    }

    #[tokio::test]
    async fn an_older_schema_is_brought_up_to_date_and_keeps_its_entries() {
        let directory = tempfile::tempdir().unwrap();
        let id = record_one(&Store::open(directory.path()).await.unwrap()).await;
        let newer = Store::open_with(directory.path(), &later_migrations()).await.unwrap();
        let second = record_one(&newer).await;
        assert!(newer.call(id).await.unwrap().is_some() && newer.call(second).await.unwrap().is_some());
        let later: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM later").fetch_one(&newer.readers).await.unwrap();
        assert_eq!(later, 0);
        // Once more: nothing is left to do.
        Store::open_with(directory.path(), &later_migrations()).await.unwrap();
    }

    #[tokio::test]
    async fn a_newer_schema_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let id = record_one(&Store::open_with(directory.path(), &later_migrations()).await.unwrap()).await;
        for refused in [Store::open(directory.path()).await, Store::open_existing(directory.path()).await] {
            let error = refused.unwrap_err();
            assert!(matches!(error, StoreError::Newer { found: 9_000, .. }), "{error:?}");
            assert!(error.to_string().contains("newer Tidegate"), "{error}");
        }
        assert!(
            Store::open_with(directory.path(), &later_migrations())
                .await
                .unwrap()
                .call(id)
                .await
                .unwrap()
                .is_some()
        );
    }

    #[tokio::test]
    async fn a_migration_that_fails_leaves_everything_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let id = record_one(&Store::open(directory.path()).await.unwrap()).await;
        let mut migrations: Vec<Migration> = MIGRATIONS.iter().cloned().collect();
        let sql = "DELETE FROM calls; SELECT no_such_column FROM calls";
        migrations.push(Migration::new(
            9_000,
            "bad".into(),
            MigrationType::Simple,
            AssertSqlSafe(sql).into_sql_str(),
            false,
        ));
        let bad = Migrator { migrations: migrations.into(), ..Migrator::DEFAULT };
        let error = Store::open_with(directory.path(), &bad).await.unwrap_err();
        assert!(matches!(error, StoreError::Migration { .. }), "{error:?}");
        assert!(Store::open(directory.path()).await.unwrap().call(id).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn what_cannot_be_opened_says_why_and_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let empty = directory.path().join("empty");
        fs::create_dir(&empty).unwrap();
        assert!(matches!(Store::open_existing(&empty).await, Err(StoreError::Missing { .. })));

        let file = directory.path().join("file");
        fs::write(&file, "x").unwrap();
        let error = Store::open(&file.join("data")).await.unwrap_err();
        assert!(matches!(error, StoreError::Directory { .. }), "{error:?}");

        let folder_in_its_place = directory.path().join("folder");
        fs::create_dir_all(folder_in_its_place.join(DATABASE_FILE)).unwrap();
        let error = Store::open(&folder_in_its_place).await.unwrap_err();
        assert!(matches!(error, StoreError::NoAccess { .. }), "{error:?}");

        let damaged = directory.path().join("damaged");
        fs::create_dir(&damaged).unwrap();
        fs::write(damaged.join(DATABASE_FILE), "this is no database, whatever its name says").unwrap();
        let error = Store::open(&damaged).await.unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
        assert!(error.source().is_some() && !error.remedy().is_empty());

        let older = directory.path().join("older");
        fs::create_dir(&older).unwrap();
        File::create(older.join(DATABASE_FILE)).unwrap();
        let error = Store::open_existing(&older).await.unwrap_err();
        assert!(matches!(error, StoreError::Older { found: 0, .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_database_that_another_program_holds_is_reported_as_locked() {
        let directory = tempfile::tempdir().unwrap();
        Store::open(directory.path()).await.unwrap().close().await;
        let database = directory.path().join(DATABASE_FILE);
        let mut holder = common(&database)
            .locking_mode(sqlx::sqlite::SqliteLockingMode::Exclusive)
            .connect()
            .await
            .unwrap();
        holder.execute("BEGIN EXCLUSIVE").await.unwrap();
        let error = Store::open(directory.path()).await.unwrap_err();
        assert!(matches!(error, StoreError::Locked { .. }), "{error:?}");
        holder.execute("ROLLBACK").await.unwrap();
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_directory_made_here_is_closed_to_others() {
        use std::os::unix::fs::PermissionsExt;

        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("a/b");
        Store::open(&data).await.unwrap();
        assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
