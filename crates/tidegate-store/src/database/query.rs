//! A query written once, its parameters, and the rows that either database answers with.

use std::{io, sync::Arc, time::Duration};

use jiff::Timestamp;
use sqlx::{
    Arguments as _, AssertSqlSafe, Decode, PgConnection, Postgres, Row as _, SqlSafeStr, SqlStr, Sqlite,
    SqliteConnection, Type,
    error::BoxDynError,
    postgres::{PgArguments, PgRow},
    sqlite::{SqliteArguments, SqliteRow},
};
use uuid::Uuid;

use crate::error::StoreError;

/// PostgreSQL ends a statement itself after [`super::postgres::STATEMENT_TIMEOUT`]. One that has not even said so by now
/// is not there any more.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);

/// A statement with its parameters.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    sql: SqlStr,
    values: Vec<Value>,
}

/// A parameter. PostgreSQL wants to know the type of a NULL too.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Integer(Option<i64>),
    Bool(Option<bool>),
    Text(Option<Arc<str>>),
    Bytes(Option<Vec<u8>>),
    Uuid(Option<Uuid>),
}

/// A statement that is written in the program.
pub(crate) fn query(sql: &'static str) -> Query {
    Query { sql: sql.into_sql_str(), values: Vec::new() }
}

/// A statement that is put together. Nothing from outside may stand in it; that is what parameters are for.
pub(crate) fn query_text(sql: impl Into<Arc<str>>) -> Query {
    let sql: Arc<str> = sql.into();
    Query { sql: AssertSqlSafe(sql).into_sql_str(), values: Vec::new() }
}

impl Query {
    /// The next parameter: `$1`, `$2`, …
    #[must_use]
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// The next parameters.
    #[must_use]
    pub(crate) fn bind_all(mut self, values: impl IntoIterator<Item = Value>) -> Self {
        self.values.extend(values);
        self
    }

    /// A statement of many rows, made before, with all its parameters.
    pub(crate) fn many(sql: SqlStr, values: Vec<Value>) -> Self {
        Self { sql, values }
    }

    fn into_sqlite(self) -> Result<(SqlStr, SqliteArguments), sqlx::Error> {
        let mut arguments = SqliteArguments::default();
        arguments.reserve(self.values.len(), 0);
        self.values
            .into_iter()
            .try_for_each(|value| to_sqlite(&mut arguments, value))
            .map_err(sqlx::Error::Encode)?;
        Ok((self.sql, arguments))
    }

    fn into_postgres(self) -> Result<(SqlStr, PgArguments), sqlx::Error> {
        let mut arguments = PgArguments::default();
        arguments.reserve(self.values.len(), self.values.len() * 16);
        self.values
            .into_iter()
            .try_for_each(|value| to_postgres(&mut arguments, value))
            .map_err(sqlx::Error::Encode)?;
        Ok((self.sql, arguments))
    }
}

fn to_sqlite(arguments: &mut SqliteArguments, value: Value) -> Result<(), BoxDynError> {
    match value {
        Value::Integer(value) => arguments.add(value),
        Value::Bool(value) => arguments.add(value),
        Value::Text(value) => arguments.add(value),
        Value::Bytes(value) => arguments.add(value),
        Value::Uuid(value) => arguments.add(value),
    }
}

fn to_postgres(arguments: &mut PgArguments, value: Value) -> Result<(), BoxDynError> {
    match value {
        Value::Integer(value) => arguments.add(value),
        Value::Bool(value) => arguments.add(value),
        Value::Text(value) => arguments.add(value.as_deref()),
        Value::Bytes(value) => arguments.add(value),
        Value::Uuid(value) => arguments.add(value),
    }
}

/// Makes values of these types, and of an `Option` of them.
macro_rules! values {
    ($($source:ty => $variant:ident, $convert:expr;)+) => {
        $(
            impl From<$source> for Value {
                fn from(value: $source) -> Self {
                    let convert: fn($source) -> _ = $convert;
                    Self::$variant(Some(convert(value)))
                }
            }

            impl From<Option<$source>> for Value {
                fn from(value: Option<$source>) -> Self {
                    let convert: fn($source) -> _ = $convert;
                    Self::$variant(value.map(convert))
                }
            }
        )+
    };
}

values! {
    i64 => Integer, |value| value;
    i32 => Integer, i64::from;
    u32 => Integer, i64::from;
    bool => Bool, |value| value;
    &str => Text, |value| Arc::from(value);
    String => Text, Arc::from;
    Arc<str> => Text, |value| value;
    &Arc<str> => Text, Arc::clone;
    &String => Text, |value| Arc::from(value.as_str());
    Vec<u8> => Bytes, |value| value;
    &[u8] => Bytes, <[u8]>::to_vec;
    Uuid => Uuid, |value| value;
    Timestamp => Integer, Timestamp::as_millisecond;
}

/// One row of an answer.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// What both databases can give: `i64`, `bool`, `String`, `Vec<u8>`, `Uuid`, and `Option`s of them.
pub(crate) trait Column:
    for<'row> Decode<'row, Sqlite> + Type<Sqlite> + for<'row> Decode<'row, Postgres> + Type<Postgres>
{
}

impl<T> Column for T where
    T: for<'row> Decode<'row, Sqlite> + Type<Sqlite> + for<'row> Decode<'row, Postgres> + Type<Postgres>
{
}

impl Row {
    /// A column by its name.
    pub(crate) fn get<T: Column>(&self, column: &str) -> Result<T, StoreError> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(|source| StoreError::unreadable(column, source))
    }

    /// A time, from its milliseconds.
    pub(crate) fn time(&self, column: &str) -> Result<Timestamp, StoreError> {
        timestamp(column, self.get(column)?)
    }

    /// A time that need not be there.
    pub(crate) fn optional_time(&self, column: &str) -> Result<Option<Timestamp>, StoreError> {
        self.get::<Option<i64>>(column)?.map(|milliseconds| timestamp(column, milliseconds)).transpose()
    }

    /// A value of JSON text.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        serde_json::from_str(&self.get::<String>(column)?)
            .map_err(|source| StoreError::unreadable(column, sqlx::Error::Decode(Box::new(source))))
    }

    /// A number that is never negative.
    pub(crate) fn number<N: TryFrom<i64>>(&self, column: &str) -> Result<N, StoreError>
    where
        N::Error: std::error::Error + Send + Sync + 'static,
    {
        N::try_from(self.get(column)?)
            .map_err(|source| StoreError::unreadable(column, sqlx::Error::Decode(Box::new(source))))
    }

    /// A number that need not be there.
    pub(crate) fn optional_number<N: TryFrom<i64>>(&self, column: &str) -> Result<Option<N>, StoreError>
    where
        N::Error: std::error::Error + Send + Sync + 'static,
    {
        self.get::<Option<i64>>(column)?
            .map(N::try_from)
            .transpose()
            .map_err(|source| StoreError::unreadable(column, sqlx::Error::Decode(Box::new(source))))
    }
}

fn timestamp(column: &str, milliseconds: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(milliseconds)
        .map_err(|source| StoreError::unreadable(column, sqlx::Error::Decode(Box::new(source))))
}

/// A connection to either, for the length of one statement.
pub(super) enum Runner<'connection> {
    Sqlite(&'connection mut SqliteConnection),
    Postgres(&'connection mut PgConnection),
}

pub(super) async fn rows(runner: Runner<'_>, query: Query) -> Result<Vec<Row>, sqlx::Error> {
    match runner {
        Runner::Sqlite(connection) => {
            let (sql, arguments) = query.into_sqlite()?;
            let rows = sqlx::query_with(sql, arguments).fetch_all(connection).await?;
            Ok(rows.into_iter().map(Row::Sqlite).collect())
        }
        Runner::Postgres(connection) => {
            let (sql, arguments) = query.into_postgres()?;
            let rows = within_time(sqlx::query_with(sql, arguments).fetch_all(connection)).await?;
            Ok(rows.into_iter().map(Row::Postgres).collect())
        }
    }
}

pub(super) async fn run(runner: Runner<'_>, query: Query) -> Result<u64, sqlx::Error> {
    match runner {
        Runner::Sqlite(connection) => {
            let (sql, arguments) = query.into_sqlite()?;
            Ok(sqlx::query_with(sql, arguments).execute(connection).await?.rows_affected())
        }
        Runner::Postgres(connection) => {
            let (sql, arguments) = query.into_postgres()?;
            Ok(within_time(sqlx::query_with(sql, arguments).execute(connection)).await?.rows_affected())
        }
    }
}

/// What comes over the network may never come.
pub(super) async fn within_time<T>(
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    tokio::time::timeout(ANSWER_TIMEOUT, answer).await.unwrap_or_else(|_elapsed| {
        let words = "the database did not answer in time";
        Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, words)))
    })
}
