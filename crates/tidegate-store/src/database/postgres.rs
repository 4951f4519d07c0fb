//! PostgreSQL: connecting to it and bringing its schema up to date.

use std::{io, time::Duration};

use sqlx::{
    ConnectOptions, Executor, PgConnection, PgPool, migrate::Migrator, postgres::PgConnectOptions,
    postgres::PgPoolOptions,
};

use super::{DatabaseUrl, close, latest, query::within_time};
use crate::error::StoreError;

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/postgres");

/// Connections of one process: a server's are few, and several replicas share them.
const CONNECTIONS: u32 = 8;
/// How long connecting, or waiting for a connection that others hold, may take.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that have not been used for so long are closed: the server keeps a process for each.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Another replica may be changing the schema of a large ledger.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(600);
/// Ends statements that take too long, and transactions of a process that has stopped in the middle: their locks would
/// hold up every replica. In PostgreSQL's units, milliseconds. See also `ANSWER_TIMEOUT`.
const SESSION: &str = "SET statement_timeout = 30000; SET idle_in_transaction_session_timeout = 30000";

/// Brings the schema up to date. Replicas that start together do it one after the other: the migrator takes an advisory
/// lock.
pub(super) async fn prepare(url: &DatabaseUrl, migrations: &Migrator) -> Result<(), StoreError> {
    let mut connection = connect(url).await?;
    let (found, known) = (schema_version(&mut connection, url).await?, latest(migrations));
    if found > known {
        return Err(StoreError::Newer { database: url.to_string(), found, known });
    }
    if found < known {
        let done = tokio::time::timeout(MIGRATION_TIMEOUT, migrations.run(&mut connection)).await;
        let done = done.unwrap_or_else(|_elapsed| {
            let words = "another process has been changing the database's schema for a long time";
            Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, words)).into())
        });
        done.map_err(|source| StoreError::from_migration(&url.to_string(), source))?;
        tracing::info!(database = %url, from = found, to = known, "the database's schema is brought up to date");
    }
    close(connection).await;
    Ok(())
}

/// Sees whether the schema is of this version.
pub(super) async fn check(url: &DatabaseUrl, migrations: &Migrator) -> Result<(), StoreError> {
    let mut connection = connect(url).await?;
    let found = schema_version(&mut connection, url).await?;
    close(connection).await;
    StoreError::check_version(&url.to_string(), found, latest(migrations))
}

pub(super) fn pool(url: &DatabaseUrl) -> PgPool {
    PgPoolOptions::new()
        .min_connections(0)
        .max_connections(CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(IDLE_TIMEOUT)
        .after_connect(|connection, _| {
            Box::pin(async move {
                connection.execute(SESSION).await?;
                Ok(())
            })
        })
        .connect_lazy_with(options(url))
}

fn options(url: &DatabaseUrl) -> PgConnectOptions {
    url.options().clone().application_name("tidegate").disable_statement_logging()
}

/// Not through the pool, which would hide why a connection cannot be had.
async fn connect(url: &DatabaseUrl) -> Result<PgConnection, StoreError> {
    let connected = tokio::time::timeout(ACQUIRE_TIMEOUT, options(url).connect()).await;
    connected
        .unwrap_or_else(|_elapsed| {
            let words = "the server did not answer in time";
            Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, words)))
        })
        .map_err(|source| StoreError::from_database(&url.to_string(), source))
}

/// The version of the schema that is there; 0 for an empty database.
async fn schema_version(connection: &mut PgConnection, url: &DatabaseUrl) -> Result<i64, StoreError> {
    async fn ask(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
        let is_there: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
            .fetch_one(&mut *connection)
            .await?;
        if !is_there {
            return Ok(0);
        }
        sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations")
            .fetch_one(connection)
            .await
    }
    within_time(ask(connection)).await.map_err(|source| StoreError::from_database(&url.to_string(), source))
}
