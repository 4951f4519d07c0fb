//! The tables `fresh_batches` and `scope_fresh`: sums of scopes as batches of calls brought them, and how they are folded
//! into `scope_hours` and `scope_days`.
//!
//! In those two, a million keys lie in some hundred thousand pages, and a batch of calls with a thousand keys would write
//! nearly a thousand pages of each. So such a batch is only put down, and many of them are folded at once, scope after
//! scope. Each row is at every moment in one of the two places: what is asked about a scope is in both together.

use jiff::Timestamp;

use crate::{
    database::{Database, Kind, Transaction, Value, query, query_text},
    error::StoreError,
    queries::many::ManyRows,
};

use super::{
    DAY_MS, LONGEST, SUMS, Sums,
    write::{SCOPE_COLUMNS, SCOPE_KEY, add_to, push_scope},
};

/// Batches with fewer rows than this are added to the hours and days at once: they touch few pages.
pub(super) const LEAST_FRESH: usize = 64;

/// Rows of one step: all of them lie in few pages, which stay in memory meanwhile, and nobody who wants to write waits
/// for long (some 30 ms in SQLite).
pub(crate) const STEP_ROWS: u64 = 4_096;

/// Batches from whose scopes it is guessed where the steps begin and end.
const SAMPLED_BATCHES: usize = 8;

/// Batches that are folded together at most. Their numbers stand in the statements.
const BATCHES_AT_ONCE: u32 = 1_024;

/// The lock under which replicas fold on PostgreSQL, one at a time: `TIDE` and 5.
const POSTGRES_LOCK: i64 = 0x5449_4445_0000_0005;

/// The condition under which one scope is looked up batch by batch.
pub(crate) const BY_BATCH: &str = "batch IN (SELECT number FROM fresh_batches)";

/// What a batch brings of one scope in one hour.
pub(super) type FreshRow = ((String, i64), Sums);

/// A batch that waits to be folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FreshBatch {
    number: i64,
    pub(crate) rows: u64,
    pub(crate) written_at_ms: i64,
}

/// What is to be folded, in steps from scope to scope. Should it be given up, the next one begins with what is left.
#[derive(Debug)]
pub(crate) struct FoldPlan {
    batches: String,
    /// Where the steps after the next one begin, the last first.
    bounds: Vec<String>,
    /// Where the next step begins.
    from: String,
}

/// Puts down what a batch brings, sorted by scope and hour.
pub(super) async fn append(
    transaction: &mut Transaction,
    rows: &[FreshRow],
    now: Timestamp,
) -> Result<(), StoreError> {
    static ROWS: ManyRows = ManyRows::sharing("scope_fresh", &["batch"], SCOPE_COLUMNS, |_| String::new());
    static PLAIN: ManyRows = ManyRows::sharing("scope_fresh", &COMMON, &OWN, |_| String::new());
    let insert = query("INSERT INTO fresh_batches (scopes, written_at_ms) VALUES ($1, $2) RETURNING number")
        .bind(i64::try_from(rows.len()).unwrap_or(i64::MAX))
        .bind(now);
    let batch: i64 = transaction.fetch_one(insert).await?.get("number")?;
    // Of most rows half of the columns are zero, and need no values of their own.
    let (plain, others): (Vec<&FreshRow>, Vec<&FreshRow>) = rows.iter().partition(|(_, sums)| is_plain(sums));
    let mut common: [Value; COMMON.len()] = std::array::from_fn(|_| 0_i64.into());
    common[0] = batch.into();
    let push = |values: &mut Vec<Value>, ((scope, bucket), sums): &&FreshRow| {
        values.push(scope.as_str().into());
        values.push((*bucket).into());
        values.extend(USUAL.iter().filter_map(|(place, _)| sums.0.get(*place)).map(|sum| Value::from(*sum)));
    };
    PLAIN.run_sharing(transaction, &common, &plain, push).await?;
    let push = |values: &mut Vec<Value>, ((scope, bucket), sums): &&FreshRow| {
        push_scope(values, (scope, *bucket), sums);
    };
    ROWS.run_sharing(transaction, &[batch.into()], &others, push).await.map(drop)
}

/// The sums that most calls have, with their places among all.
const USUAL: [(usize, &str); 11] = [
    (0, "calls"),
    (1, "answered"),
    (5, "input_tokens"),
    (6, "cache_read_tokens"),
    (10, "output_tokens"),
    (14, "cost_nanodollars"),
    (15, "charge_nanodollars"),
    (18, "duration_us"),
    (19, "first_tokens"),
    (20, "time_to_first_token_us"),
    (21, LONGEST),
];

const fn is_usual(sum: usize) -> bool {
    let mut place = 0;
    while place < USUAL.len() {
        if USUAL[place].0 == sum {
            return true;
        }
        place += 1;
    }
    false
}

/// The columns of a row without other sums that it has for itself, …
const OWN: [&str; 2 + USUAL.len()] = {
    let mut all = ["scope"; 2 + USUAL.len()];
    all[1] = "bucket_ms";
    let mut place = 0;
    while place < USUAL.len() {
        all[2 + place] = USUAL[place].1;
        place += 1;
    }
    all
};

/// … and those that all such rows of a batch have in common: the batch, and nothing.
const COMMON: [&str; 1 + SUMS.len() - USUAL.len()] = {
    let mut all = ["batch"; 1 + SUMS.len() - USUAL.len()];
    let (mut sum, mut place) = (0, 1);
    while sum < SUMS.len() {
        if !is_usual(sum) {
            all[place] = SUMS[sum];
            place += 1;
        }
        sum += 1;
    }
    all
};

fn is_plain(sums: &Sums) -> bool {
    sums.0.iter().enumerate().all(|(place, sum)| *sum == 0 || is_usual(place))
}

/// The batches that wait, the oldest first.
pub(crate) async fn waiting(database: &Database) -> Result<Vec<FreshBatch>, StoreError> {
    let sql = "SELECT number, scopes, written_at_ms FROM fresh_batches ORDER BY number LIMIT $1";
    let rows = database.fetch_all(query(sql).bind(BATCHES_AT_ONCE)).await?;
    let batch = |row: &crate::database::Row| {
        Ok(FreshBatch {
            number: row.get("number")?,
            rows: row.number("scopes")?,
            written_at_ms: row.get("written_at_ms")?,
        })
    };
    rows.iter().map(batch).collect()
}

impl FoldPlan {
    /// Divides these batches into steps of about so many rows.
    pub(crate) async fn of(
        database: &Database,
        batches: &[FreshBatch],
        step_rows: u64,
    ) -> Result<Self, StoreError> {
        let sample: Vec<&FreshBatch> =
            batches.iter().step_by(batches.len().div_ceil(SAMPLED_BATCHES).max(1)).collect();
        let rows = |batches: &mut dyn Iterator<Item = &FreshBatch>| {
            batches.map(|batch| batch.rows).fold(0_u64, u64::saturating_add)
        };
        let steps = rows(&mut batches.iter()).div_ceil(step_rows).max(1);
        let every = (rows(&mut sample.iter().copied()) / steps).max(1);
        let bounds = query_text(format!(
            "SELECT DISTINCT scope FROM (SELECT scope, ROW_NUMBER() OVER (ORDER BY scope) AS place FROM scope_fresh \
             WHERE batch IN ({})) AS sample WHERE place % $1 = 0 ORDER BY scope DESC",
            numbers(sample)
        ));
        let bounds = database.fetch_all(bounds.bind(i64::try_from(every).unwrap_or(i64::MAX))).await?;
        Ok(Self {
            batches: numbers(batches),
            bounds: bounds.iter().map(|row| row.get("scope")).collect::<Result<_, _>>()?,
            from: String::new(),
        })
    }

    /// Folds the next scopes, in one transaction. False if nothing is left to do.
    pub(crate) async fn step(&mut self, database: &Database) -> Result<bool, StoreError> {
        let until = self.bounds.last();
        let mut transaction = database.begin().await?;
        if !take_turn(&mut transaction).await? {
            return Ok(false);
        }
        let mut values: Vec<Value> = vec![self.from.as_str().into()];
        let mut condition = format!("batch IN ({}) AND scope >= $1", self.batches);
        if let Some(until) = until {
            values.push(until.as_str().into());
            condition.push_str(" AND scope < $2");
        }
        // In this order, and with the keys in theirs: as batches are written.
        let day = format!("bucket_ms / {DAY_MS} * {DAY_MS}");
        for (table, bucket) in [("scope_days", day.as_str()), ("scope_hours", "bucket_ms")] {
            let sql = fold(transaction.kind(), table, bucket, &condition);
            transaction.execute(query_text(sql).bind_all(values.iter().cloned())).await?;
        }
        let delete = query_text(format!("DELETE FROM scope_fresh WHERE {condition}"));
        transaction.execute(delete.bind_all(values)).await?;
        if until.is_none() {
            let delete = format!("DELETE FROM fresh_batches WHERE number IN ({})", self.batches);
            transaction.execute(query_text(delete)).await?;
        }
        transaction.commit().await?;
        match self.bounds.pop() {
            Some(bound) => self.from = bound,
            None => return Ok(false),
        }
        Ok(true)
    }
}

/// Whether nobody else is folding. SQLite has one writer anyway.
async fn take_turn(transaction: &mut Transaction) -> Result<bool, StoreError> {
    if transaction.kind() == Kind::Sqlite {
        return Ok(true);
    }
    let lock = query("SELECT pg_try_advisory_xact_lock($1) AS has_turn").bind(POSTGRES_LOCK);
    transaction.fetch_one(lock).await?.get("has_turn")
}

fn fold(kind: Kind, table: &str, bucket: &str, condition: &str) -> String {
    let columns = SCOPE_COLUMNS.join(", ");
    let ending = add_to(table, SCOPE_KEY);
    match kind {
        // Row by row, each added to what is there: quicker than to sort and sum them up first.
        Kind::Sqlite => format!(
            "INSERT INTO {table} ({columns}) SELECT scope, {bucket}, {} FROM scope_fresh WHERE {condition} {ending}",
            SUMS.join(", ")
        ),
        // PostgreSQL refuses a statement with two rows for one place.
        Kind::Postgres => {
            let sum = |column: &&str| {
                if *column == LONGEST { format!("MAX({column})") } else { format!("SUM({column})") }
            };
            let sums: Vec<String> = SUMS.iter().map(sum).collect();
            format!(
                "INSERT INTO {table} ({columns}) SELECT scope, {bucket}, {} FROM scope_fresh WHERE {condition} \
                 GROUP BY 1, 2 ORDER BY 1, 2 {ending}",
                sums.join(", ")
            )
        }
    }
}

fn numbers<'batch>(batches: impl IntoIterator<Item = &'batch FreshBatch>) -> String {
    let numbers: Vec<String> = batches.into_iter().map(|batch| batch.number.to_string()).collect();
    numbers.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_sums_stand_where_they_are_said_to() {
        for (place, name) in USUAL {
            assert_eq!(SUMS[place], name);
        }
        assert_eq!(COMMON.len() + OWN.len(), 3 + SUMS.len());
    }
}
