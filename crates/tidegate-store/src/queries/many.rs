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
        Self { table, columns, ending, sqlite: OnceLock::new(), postgres: OnceLock::new() }
    }

    /// Inserts these rows, each with the values that `push` adds for it. Says how many rows were changed.
    pub(crate) async fn run<T>(
        &self,
        transaction: &mut Transaction,
        mut rows: &[T],
        push: fn(&mut Vec<Value>, &T),
    ) -> Result<u64, StoreError> {
        let kind = transaction.kind();
        let mut changed = 0;
        for (size, sql) in self.statements(kind) {
            while let Some((chunk, rest)) = rows.split_at_checked(*size) {
                let mut values = Vec::with_capacity(size * self.columns.len());
                for row in chunk {
                    push(&mut values, row);
                }
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
        let width = self.columns.len();
        let values: Vec<String> = (0..rows)
            .map(|row| {
                let places: Vec<String> = (1..=width)
                    .map(|column| match kind {
                        // SQLite would have to look up the name of every numbered one.
                        Kind::Sqlite => "?".to_owned(),
                        Kind::Postgres => format!("${}", row * width + column),
                    })
                    .collect();
                format!("({})", places.join(","))
            })
            .collect();
        let (table, columns, ending) = (self.table, self.columns.join(","), (self.ending)(kind));
        AssertSqlSafe(format!("INSERT INTO {table} ({columns}) VALUES {} {ending}", values.join(",")))
            .into_sql_str()
    }
}
