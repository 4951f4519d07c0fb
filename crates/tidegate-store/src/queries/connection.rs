//! What a query runs on: the database itself, or a transaction. Taken by the queries of tables that are both read alone
//! and within changes.

use crate::database::{Database, Query, Row, Transaction, query_text};
use crate::error::StoreError;

/// Where a query runs.
pub(crate) enum Connection<'a> {
    /// By itself.
    Database(&'a Database),
    /// Together with others.
    Transaction(&'a mut Transaction),
}

impl<'a> From<&'a Database> for Connection<'a> {
    fn from(database: &'a Database) -> Self {
        Self::Database(database)
    }
}

impl<'a> From<&'a mut Transaction> for Connection<'a> {
    fn from(transaction: &'a mut Transaction) -> Self {
        Self::Transaction(transaction)
    }
}

impl Connection<'_> {
    /// Runs it; how many rows it changed.
    pub(crate) async fn execute(self, query: Query) -> Result<u64, StoreError> {
        match self {
            Self::Database(database) => database.execute(query).await,
            Self::Transaction(transaction) => transaction.execute(query).await,
        }
    }

    /// All rows, each read by this.
    pub(crate) async fn all<T>(
        self,
        query: Query,
        read: impl Fn(&Row) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let rows = match self {
            Self::Database(database) => database.fetch_all(query).await?,
            Self::Transaction(transaction) => transaction.fetch_all(query).await?,
        };
        rows.iter().map(read).collect()
    }

    /// The first row, if there is any.
    pub(crate) async fn first<T>(
        self,
        query: Query,
        read: impl Fn(&Row) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.all(query, read).await?.into_iter().next())
    }
}

/// A statement that is put together from conditions, each with its value.
pub(crate) struct Conditions {
    sql: String,
    values: Vec<crate::database::Value>,
}

impl Conditions {
    /// A statement that ends in `WHERE TRUE`.
    pub(crate) fn of(sql: String) -> Self {
        Self { sql, values: Vec::new() }
    }

    /// `AND <text> <value>`, where there is a value.
    pub(crate) fn and(mut self, text: &str, value: Option<impl Into<crate::database::Value>>) -> Self {
        if let Some(value) = value {
            self.values.push(value.into());
            self.sql.push_str(&format!(" AND {text} ${}", self.values.len()));
        }
        self
    }

    /// Words without a value.
    pub(crate) fn then(mut self, words: &str) -> Self {
        self.sql.push_str(words);
        self
    }

    /// The end: so many rows in this order.
    pub(crate) fn order(mut self, by: &str, limit: u32) -> Query {
        self.values.push(limit.into());
        let sql = format!("{} ORDER BY {by} LIMIT ${}", self.sql, self.values.len());
        self.values.into_iter().fold(query_text(sql), Query::bind)
    }
}

/// A column that counts.
pub(crate) fn count(row: &Row, column: &str) -> Result<u64, StoreError> {
    u64::try_from(row.get::<i64>(column)?).map_err(|error| wrong(column, error))
}

/// A count as a parameter.
pub(crate) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A column with a SHA-256.
pub(crate) fn hash(row: &Row, column: &str) -> Result<[u8; 32], StoreError> {
    row.get::<Vec<u8>>(column)?.try_into().map_err(|_length| wrong(column, "a hash has 32 bytes"))
}

/// A column that holds what cannot be.
pub(crate) fn wrong(column: &str, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::unreadable(column, sqlx::Error::Decode(why.into()))
}
