//! Statements that insert many rows at once. Used where the ledger is written.

use std::sync::OnceLock;

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use crate::{
    database::{Kind, Query, Transaction, Value},
    error::StoreError,
};

/// How many rows one statement inserts: the largest first, the rest of a batch by the smaller ones.
///
/// Measured with SQLite, release build, per entry of a realistic size and with 35 columns, batches of 512: one statement of
/// 64 rows 3.8 µs of CPU, of 16 rows 4.6 µs, of one row 14 µs (each statement is a round trip to the connection's own
/// thread), `INSERT … SELECT … FROM json_each(?)` 23 µs (every column searches the JSON again).
const STATEMENT_ROWS: [usize; 5] = [256, 64, 16, 4, 1];

type Statements = [(usize, SqlStr); STATEMENT_ROWS.len()];

/// An `INSERT` into these columns, in several sizes. Made once for the program.
pub(crate) struct ManyRows {
    table: &'static str,
    /// Columns that are the same in all rows of a statement: their values are bound once for all of them.
    shared: &'static [&'static str],
    /// Those that each row has for itself.
    columns: &'static [&'static str],
    /// What comes after the values: what to do with rows that are there already.
    ending: fn(Kind) -> String,
    sqlite: OnceLock<Statements>,
    postgres: OnceLock<Statements>,
}

impl ManyRows {
    pub(crate) const fn new(
        table: &'static str,
        columns: &'static [&'static str],
        ending: fn(Kind) -> String,
    ) -> Self {
        Self::sharing(table, &[], columns, ending)
    }

    /// One of whose rows some columns hold the same.
    pub(crate) const fn sharing(
        table: &'static str,
        shared: &'static [&'static str],
        columns: &'static [&'static str],
        ending: fn(Kind) -> String,
    ) -> Self {
        Self { table, shared, columns, ending, sqlite: OnceLock::new(), postgres: OnceLock::new() }
    }

    /// Inserts these rows, each with the values that `push` adds for it. Says how many rows were changed.
    pub(crate) async fn run<T>(
        &self,
        transaction: &mut Transaction,
        rows: &[T],
        push: fn(&mut Vec<Value>, &T),
    ) -> Result<u64, StoreError> {
        self.run_sharing(transaction, &[], rows, push).await
    }

    /// The same with the values of the shared columns.
    pub(crate) async fn run_sharing<T>(
        &self,
        transaction: &mut Transaction,
        shared: &[Value],
        mut rows: &[T],
        push: fn(&mut Vec<Value>, &T),
    ) -> Result<u64, StoreError> {
        let kind = transaction.kind();
        let mut changed = 0;
        for (size, sql) in self.statements(kind) {
            while let Some((chunk, rest)) = rows.split_at_checked(*size) {
                let mut values = Vec::with_capacity(size * self.columns.len() + shared.len());
                for row in chunk {
                    push(&mut values, row);
                }
                values.extend_from_slice(shared);
                changed += transaction.execute(Query::many(sql.clone(), values)).await?;
                rows = rest;
            }
        }
        Ok(changed)
    }

    fn statements(&self, kind: Kind) -> &Statements {
        let made = match kind {
            Kind::Sqlite => &self.sqlite,
            Kind::Postgres => &self.postgres,
        };
        made.get_or_init(|| STATEMENT_ROWS.map(|rows| (rows, self.statement(kind, rows))))
    }

    fn statement(&self, kind: Kind, rows: usize) -> SqlStr {
        let (shared, width) = (self.shared.len(), self.columns.len());
        let place = |number: usize| match kind {
            // The next one. SQLite would have to look up the name of every numbered one.
            Kind::Sqlite => "?".to_owned(),
            Kind::Postgres => format!("${number}"),
        };
        let row = |row: usize| (1..=width).map(move |column| place(row * width + column));
        let common = || (1..=shared).map(|column| place(rows * width + column));
        let tuple = |places: Vec<String>| format!("({})", places.join(","));
        let columns = [self.columns, self.shared].concat().join(",");
        let (table, ending) = (self.table, (self.ending)(kind));
        let text = if kind == Kind::Sqlite && shared > 0 {
            let values: Vec<String> = (0..rows).map(|number| tuple(row(number).collect())).collect();
            let (values, common) = (values.join(","), common().collect::<Vec<_>>().join(","));
            // Without the condition, `ON` would be taken for that of a join.
            format!(
                "WITH own AS (VALUES {values}) INSERT INTO {table} ({columns}) SELECT own.*,{common} FROM own WHERE TRUE {ending}"
            )
        } else {
            let values: Vec<String> =
                (0..rows).map(|number| tuple(row(number).chain(common()).collect())).collect();
            format!("INSERT INTO {table} ({columns}) VALUES {} {ending}", values.join(","))
        };
        AssertSqlSafe(text).into_sql_str()
    }
}
