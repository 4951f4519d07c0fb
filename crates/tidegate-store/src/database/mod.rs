//! The database, SQLite or PostgreSQL, behind one face: a [`Query`] is written once and runs on either. Used by the
//! queries and by whoever needs several of them in one transaction.
//!
//! Both understand `$1`, `ON CONFLICT`, `RETURNING` and `FILTER`. What only one of them has is asked for by
//! [`Database::kind`]. Times are milliseconds in `BIGINT`, money is nano-dollars, JSON is text.

mod postgres;
mod query;
mod sqlite;
#[cfg(test)]
mod tests;
mod url;

use std::{path::Path, sync::Arc};

use sqlx::{PgPool, SqlitePool, migrate::Migrator};

pub(crate) use query::{Query, Row, Value, query, query_text};
use query::{Runner, rows, run};
pub use url::{DatabaseUrl, DatabaseUrlError};

use crate::error::StoreError;

/// An open database with its schema up to date. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    /// For messages: the file, or the address without the password.
    name: Arc<str>,
    pools: Pools,
}

#[derive(Debug, Clone)]
enum Pools {
    /// SQLite has one writer at a time, so all of this process's writing goes through one connection, in turns.
    Sqlite {
        writer: SqlitePool,
        readers: SqlitePool,
    },
    Postgres(PgPool),
}

/// Which of the two it is, for the few statements that differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

/// Several statements that happen together or not at all. Dropped without [`Transaction::commit`], none of them happens.
pub(crate) struct Transaction {
    name: Arc<str>,
    inner: Inner,
}

enum Inner {
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>),
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
}

impl Database {
    /// Opens the SQLite file in this directory, makes it where it does not exist and brings its schema up to date.
    pub(crate) async fn sqlite(directory: &Path) -> Result<Self, StoreError> {
        Self::sqlite_with(directory, &sqlite::MIGRATIONS).await
    }

    /// Opens the SQLite file in this directory, which must be there and of this version. Changes nothing.
    pub(crate) async fn existing_sqlite(directory: &Path) -> Result<Self, StoreError> {
        sqlite::check(directory).await?;
        Ok(Self::of_sqlite(directory))
    }

    /// Opens this PostgreSQL database and brings its schema up to date.
    pub(crate) async fn postgres(url: &DatabaseUrl) -> Result<Self, StoreError> {
        Self::postgres_with(url, &postgres::MIGRATIONS).await
    }

    /// Opens this PostgreSQL database, whose schema must be of this version. Changes nothing.
    pub(crate) async fn existing_postgres(url: &DatabaseUrl) -> Result<Self, StoreError> {
        postgres::check(url, &postgres::MIGRATIONS).await?;
        Ok(Self { name: url.to_string().into(), pools: Pools::Postgres(postgres::pool(url)) })
    }

    pub(crate) async fn sqlite_with(directory: &Path, migrations: &Migrator) -> Result<Self, StoreError> {
        sqlite::prepare(directory, migrations).await?;
        Ok(Self::of_sqlite(directory))
    }

    pub(crate) async fn postgres_with(url: &DatabaseUrl, migrations: &Migrator) -> Result<Self, StoreError> {
        postgres::prepare(url, migrations).await?;
        Ok(Self { name: url.to_string().into(), pools: Pools::Postgres(postgres::pool(url)) })
    }

    fn of_sqlite(directory: &Path) -> Self {
        let file = sqlite::file(directory);
        Self {
            name: file.display().to_string().into(),
            pools: Pools::Sqlite { writer: sqlite::writer(&file), readers: sqlite::readers(&file) },
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match &self.pools {
            Pools::Sqlite { .. } => Kind::Sqlite,
            Pools::Postgres(_) => Kind::Postgres,
        }
    }

    /// All rows. The caller sees to it that they are not too many.
    pub(crate) async fn fetch_all(&self, query: Query) -> Result<Vec<Row>, StoreError> {
        let found = async {
            match &self.pools {
                Pools::Sqlite { readers, .. } => {
                    rows(Runner::Sqlite(&mut *readers.acquire().await?), query).await
                }
                Pools::Postgres(pool) => rows(Runner::Postgres(&mut *pool.acquire().await?), query).await,
            }
        };
        found.await.map_err(|source| self.failed(source))
    }

    /// The first row, if there is any.
    pub(crate) async fn fetch_optional(&self, query: Query) -> Result<Option<Row>, StoreError> {
        Ok(self.fetch_all(query).await?.into_iter().next())
    }

    /// The first row, which must be there.
    pub(crate) async fn fetch_one(&self, query: Query) -> Result<Row, StoreError> {
        self.fetch_optional(query).await?.ok_or_else(|| self.failed(sqlx::Error::RowNotFound))
    }

    /// One statement that writes, in a transaction of its own. Says how many rows it changed.
    pub(crate) async fn execute(&self, query: Query) -> Result<u64, StoreError> {
        let done = async {
            match &self.pools {
                Pools::Sqlite { writer, .. } => {
                    run(Runner::Sqlite(&mut *writer.acquire().await?), query).await
                }
                Pools::Postgres(pool) => run(Runner::Postgres(&mut *pool.acquire().await?), query).await,
            }
        };
        done.await.map_err(|source| self.failed(source))
    }

    /// Begins a transaction that writes. On SQLite it holds the one writing connection: keep it short.
    pub(crate) async fn begin(&self) -> Result<Transaction, StoreError> {
        let begun = async {
            Ok(match &self.pools {
                // IMMEDIATE: one that began by reading could fail to become a writer, however long it waits.
                Pools::Sqlite { writer, .. } => Inner::Sqlite(writer.begin_with("BEGIN IMMEDIATE").await?),
                Pools::Postgres(pool) => Inner::Postgres(query::within_time(pool.begin()).await?),
            })
        };
        match begun.await {
            Ok(inner) => Ok(Transaction { name: Arc::clone(&self.name), inner }),
            Err(source) => Err(self.failed(source)),
        }
    }

    /// Sees whether it can be written to now.
    pub(crate) async fn ready(&self) -> Result<(), StoreError> {
        let connected = match &self.pools {
            Pools::Sqlite { writer, .. } => writer.acquire().await.map(drop),
            Pools::Postgres(pool) => pool.acquire().await.map(drop),
        };
        connected.map_err(|source| self.failed(source))
    }

    /// Closes all connections, once they are given back.
    pub(crate) async fn close(&self) {
        match &self.pools {
            Pools::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
            Pools::Postgres(pool) => pool.close().await,
        }
    }

    fn failed(&self, source: sqlx::Error) -> StoreError {
        StoreError::from_database(&self.name, source)
    }
}

impl Transaction {
    pub(crate) fn kind(&self) -> Kind {
        match &self.inner {
            Inner::Sqlite(_) => Kind::Sqlite,
            Inner::Postgres(_) => Kind::Postgres,
        }
    }

    /// All rows. The caller sees to it that they are not too many.
    pub(crate) async fn fetch_all(&mut self, query: Query) -> Result<Vec<Row>, StoreError> {
        rows(self.runner(), query).await.map_err(|source| StoreError::from_database(&self.name, source))
    }

    /// The first row, if there is any.
    pub(crate) async fn fetch_optional(&mut self, query: Query) -> Result<Option<Row>, StoreError> {
        Ok(self.fetch_all(query).await?.into_iter().next())
    }

    /// The first row, which must be there.
    pub(crate) async fn fetch_one(&mut self, query: Query) -> Result<Row, StoreError> {
        let row = self.fetch_optional(query).await?;
        row.ok_or_else(|| StoreError::from_database(&self.name, sqlx::Error::RowNotFound))
    }

    /// A statement that writes. Says how many rows it changed.
    pub(crate) async fn execute(&mut self, query: Query) -> Result<u64, StoreError> {
        run(self.runner(), query).await.map_err(|source| StoreError::from_database(&self.name, source))
    }

    /// Makes everything in it happen.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        let done = match self.inner {
            Inner::Sqlite(transaction) => transaction.commit().await,
            Inner::Postgres(transaction) => query::within_time(transaction.commit()).await,
        };
        done.map_err(|source| StoreError::from_database(&self.name, source))
    }

    fn runner(&mut self) -> Runner<'_> {
        match &mut self.inner {
            Inner::Sqlite(transaction) => Runner::Sqlite(transaction),
            Inner::Postgres(transaction) => Runner::Postgres(transaction),
        }
    }
}

/// The latest version that these migrations lead to.
fn latest(migrations: &Migrator) -> i64 {
    migrations.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// A connection that cannot be closed in order is closed anyway; nothing is lost by it.
async fn close(connection: impl sqlx::Connection) {
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "a database connection did not close in order");
    }
}
