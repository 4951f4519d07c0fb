//! The SQLite file in the data directory: opening it and bringing its schema up to date.
//!
//! One process serves from a data directory, others may read and administer it meanwhile: SQLite's write-ahead log lets
//! readers and the writer pass each other. Two writers are no danger to the data, they take turns.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use sqlx::{
    ConnectOptions, Connection as _, SqliteConnection, SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{close, latest};
use crate::error::StoreError;

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/sqlite");

/// The database's file within the data directory.
pub(super) const DATABASE_FILE: &str = "tidegate.db";
/// Held while the schema is brought up to date, so that two processes that start together do it one after the other.
const MIGRATION_LOCK_FILE: &str = "tidegate.migration-lock";
/// A schema change of a large ledger takes its time; a process that waits longer than this says so instead.
const MIGRATION_LOCK_WAIT: Duration = Duration::from_secs(30);
/// How often a waiting process looks again.
const MIGRATION_LOCK_POLL: Duration = Duration::from_millis(20);
/// How long a statement waits for another program's lock before it fails (and the ledger's writer tries again).
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long somebody waits for a connection that others of this process hold.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pages that a reading connection keeps in memory, in KiB. Reports scan and gain nothing by more.
const PAGE_CACHE_KIB: u32 = 1024;
/// The same for the one that writes: with very many keys, the sums that a batch adds to lie in as many pages, and those
/// that have no room here are written and read again within the transaction. Taken only where it is used.
const WRITER_PAGE_CACHE_KIB: u32 = 8 * 1024;
/// The size of a page of a new database. Calls are added at the end: larger pages are fewer to write into the log and from
/// there into the database, and waste less at their ends than SQLite's usual 4 KiB.
const PAGE_BYTES: u32 = 8 * 1024;
/// After so many pages, 16 MiB (of a database with pages of 4 KiB, 8), the log is brought into the database: a page that was written several times meanwhile is
/// brought there once.
const CHECKPOINT_PAGES: u32 = 2_048;
/// The log file is cut back to this size after a long reader has let it grow.
const LOG_FILE_BYTES: u32 = 32 << 20;
/// Rows that a reading connection's thread puts down before whoever asked must take some: each time it waits for that costs
/// two changes of threads.
const ROWS_AHEAD: usize = 1_024;
/// Reports and other questions that run at the same time; each connection has its own thread. Long reports must leave
/// one for the quick questions.
const READERS: u32 = 4;
/// Connections are closed when they have not been used for so long: reports are rare, memory is not free.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The database's file within this data directory.
pub(super) fn file(directory: &Path) -> PathBuf {
    directory.join(DATABASE_FILE)
}

/// Makes the directory and the file where they do not exist, and brings the schema up to date.
pub(super) async fn prepare(directory: &Path, migrations: &Migrator) -> Result<(), StoreError> {
    create_directory(directory)
        .map_err(|source| StoreError::Directory { directory: directory.to_owned(), source })?;
    let database = file(directory);
    // Also around the first connection: it switches a new file to its write-ahead log, for which SQLite waits for nobody.
    let lock = lock_for_migration(directory).await?;
    let mut connection = connect(&writing(&database).create_if_missing(true), &database).await?;
    migrate(&mut connection, &database, migrations).await?;
    close(connection).await;
    drop(lock);
    Ok(())
}

/// Sees whether the file is there and of this version.
pub(super) async fn check(directory: &Path) -> Result<(), StoreError> {
    let database = file(directory);
    if !database.exists() {
        return Err(StoreError::Missing { directory: directory.to_owned() });
    }
    let mut connection = connect(&reading(&database), &database).await?;
    let found = schema_version(&mut connection, &database).await?;
    close(connection).await;
    StoreError::check_version(&database.display().to_string(), found, latest(&MIGRATIONS))
}

/// The one connection that writes. After some errors, a full disk among them, SQLite has ended the transaction by itself, and
/// nobody can begin one on a connection that is taken to be still in it: such a one is replaced.
pub(super) fn writer(database: &Path) -> SqlitePool {
    pool()
        .max_connections(1)
        .before_acquire(|connection, _| Box::pin(async { Ok(!connection.is_in_transaction()) }))
        .connect_lazy_with(writing(database))
}

/// The connections that read.
pub(super) fn readers(database: &Path) -> SqlitePool {
    pool().max_connections(READERS).connect_lazy_with(reading(database))
}

fn pool() -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .min_connections(0)
        .idle_timeout(IDLE_TIMEOUT)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
}

/// For the one connection that writes. In WAL mode, `NORMAL` loses nothing when the process dies; when the machine loses
/// power the last moments may be missing, the database stays whole, and no write waits for the disk.
fn writing(database: &Path) -> SqliteConnectOptions {
    common(database)
        .create_if_missing(false)
        .page_size(PAGE_BYTES)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .pragma("cache_size", format!("-{WRITER_PAGE_CACHE_KIB}"))
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES.to_string())
        .pragma("journal_size_limit", LOG_FILE_BYTES.to_string())
}

fn reading(database: &Path) -> SqliteConnectOptions {
    common(database).create_if_missing(false).read_only(true).row_buffer_size(ROWS_AHEAD)
}

pub(super) fn common(database: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(database)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("cache_size", format!("-{PAGE_CACHE_KIB}"))
        .disable_statement_logging()
}

async fn connect(options: &SqliteConnectOptions, database: &Path) -> Result<SqliteConnection, StoreError> {
    options.connect().await.map_err(|source| failed(database, source))
}

fn failed(database: &Path, source: sqlx::Error) -> StoreError {
    StoreError::from_database(&database.display().to_string(), source)
}

/// Usage is nobody else's business: other users of the machine get no access to a directory that is made here.
pub(crate) fn create_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
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
    ask(connection).await.map_err(|source| failed(database, source))
}

async fn migrate(
    connection: &mut SqliteConnection,
    database: &Path,
    migrations: &Migrator,
) -> Result<(), StoreError> {
    let known = latest(migrations);
    let name = database.display().to_string();
    let found = schema_version(connection, database).await?;
    if found > known {
        return Err(StoreError::Newer { database: name, found, known });
    }
    if found == known {
        return Ok(());
    }
    let done = migrations.run(&mut *connection).await;
    tracing::info!(database = name, from = found, to = known, "the database's schema is brought up to date");
    done.map_err(|source| StoreError::Migration { database: name, source })
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
