//! Opening, and what can go wrong with it.

use std::{error::Error, fs, fs::File, time::Duration};

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Executor, SqlSafeStr,
    migrate::{Migration, MigrationType},
};

use super::{
    sqlite::{DATABASE_FILE, MIGRATIONS, common},
    *,
};
use crate::{CallId, LedgerEntry, LedgerOptions, Store, StoreOptions};

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

async fn open_with(directory: &Path, migrations: &Migrator) -> Result<Store, StoreError> {
    let database = Database::sqlite_with(directory, migrations).await?;
    Ok(Store::of(database, StoreOptions::embedded(directory)))
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
    let newer = open_with(directory.path(), &later_migrations()).await.unwrap();
    let second = record_one(&newer).await;
    assert!(newer.call(id).await.unwrap().is_some() && newer.call(second).await.unwrap().is_some());
    let later: i64 =
        newer.database().fetch_one(query("SELECT COUNT(*) AS n FROM later")).await.unwrap().get("n").unwrap();
    assert_eq!(later, 0);
    // Once more: nothing is left to do.
    open_with(directory.path(), &later_migrations()).await.unwrap();
}

#[test]
fn every_migration_has_a_number_of_its_own_and_stands_on_both_databases() {
    let versions = |migrations: &Migrator| -> Vec<i64> { migrations.iter().map(|it| it.version).collect() };
    let sqlite = versions(&MIGRATIONS);
    assert!(sqlite.is_sorted_by(|one, next| one < next), "{sqlite:?}");
    assert_eq!(sqlite, versions(&super::postgres::MIGRATIONS));
}

#[tokio::test]
async fn when_a_full_disk_has_room_again_it_is_written_to_again() {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::sqlite(directory.path()).await.unwrap();
    database.execute(query("CREATE TABLE heap (stone BLOB)")).await.unwrap();
    // SQLite says of its own limit what it says of the disk's. It is never lower than the present size.
    database.execute(query("PRAGMA max_page_count = 1")).await.unwrap();
    let mut transaction = database.begin().await.unwrap();
    let error = loop {
        let stone = query("INSERT INTO heap (stone) VALUES (zeroblob(10000))");
        if let Err(error) = transaction.execute(stone).await {
            break error;
        }
    };
    assert!(error.source().is_some_and(|cause| cause.to_string().contains("full")), "{error:?}");
    drop(transaction);
    let mut transaction = database.begin().await.unwrap();
    transaction.execute(query("INSERT INTO heap (stone) VALUES (zeroblob(10))")).await.unwrap();
    transaction.commit().await.unwrap();
    let stones = database.fetch_one(query("SELECT COUNT(*) AS n FROM heap")).await.unwrap();
    assert_eq!(stones.get::<i64>("n").unwrap(), 1);
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let id = record_one(&open_with(directory.path(), &later_migrations()).await.unwrap()).await;
    for refused in [Store::open(directory.path()).await, Store::open_existing(directory.path()).await] {
        let error = refused.unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 9_000, .. }), "{error:?}");
        assert!(error.to_string().contains("newer Tidegate"), "{error}");
    }
    assert!(
        open_with(directory.path(), &later_migrations()).await.unwrap().call(id).await.unwrap().is_some()
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
    let error = open_with(directory.path(), &bad).await.unwrap_err();
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
    let mut holder =
        common(&database).locking_mode(sqlx::sqlite::SqliteLockingMode::Exclusive).connect().await.unwrap();
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
