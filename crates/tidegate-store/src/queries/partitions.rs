//! PostgreSQL's partitions of calls and bodies: one a day (UTC), made ahead of it, dropped when it is too old.
//!
//! Each statement waits two seconds for its locks at most: whoever comes to write or read waits behind it. What does not
//! succeed is tried again the next time.

use jiff::Timestamp;

use super::rollups::{DAY_MS, bucket};
use crate::{
    database::{Database, Transaction, query, query_text},
    error::StoreError,
};

/// Nobody need look after a gateway for so long before calls land in the default partition.
const DAYS_AHEAD: i64 = 7;

/// The tables that are partitioned.
const TABLES: [&str; 2] = ["calls", "bodies"];

/// Taken by whoever makes or drops partitions, so that replicas do not get in each other's way. Any number does.
const LOCK: i64 = 0x7469_6465_6761_7465;

/// A partition that holds one day.
struct Day {
    name: String,
    table: &'static str,
    from_ms: i64,
    size: u64,
}

/// Makes the partitions of today and the days to come.
pub(crate) async fn make_ahead(database: &Database, now: Timestamp) -> Result<(), StoreError> {
    let today = bucket(now.as_millisecond(), DAY_MS);
    let there = days(database).await?;
    for table in TABLES {
        for day in 0..=DAYS_AHEAD {
            let from_ms = today + day * DAY_MS;
            if there.iter().any(|day| day.table == table && day.from_ms == from_ms) {
                continue;
            }
            let mut transaction = begin(database).await?;
            make(&mut transaction, table, from_ms).await?;
            transaction.commit().await?;
        }
    }
    Ok(())
}

/// Drops the days that ended before this moment. Says how many.
pub(crate) async fn drop_before(database: &Database, before_ms: i64) -> Result<u64, StoreError> {
    let mut dropped = 0;
    for day in days(database).await? {
        if day.from_ms + DAY_MS <= before_ms {
            drop_day(database, &day).await?;
            dropped += 1;
        }
    }
    Ok(dropped)
}

/// Drops the oldest days until the rest takes no more than so many bytes. Today stays. Says how many, and the moment at
/// which the last of them ended.
pub(crate) async fn drop_beyond(
    database: &Database,
    size: u64,
    now: Timestamp,
) -> Result<(u64, Option<i64>), StoreError> {
    let today = bucket(now.as_millisecond(), DAY_MS);
    let days = days(database).await?;
    let mut in_use: u64 = days.iter().map(|day| day.size).sum();
    let (mut dropped, mut until_ms) = (0, None);
    for day in days {
        if in_use <= size || day.from_ms >= today {
            break;
        }
        drop_day(database, &day).await?;
        in_use = in_use.saturating_sub(day.size);
        dropped += 1;
        until_ms = Some(day.from_ms + DAY_MS);
    }
    Ok((dropped, until_ms))
}

/// All days that have a partition, the oldest first.
async fn days(database: &Database) -> Result<Vec<Day>, StoreError> {
    let mut days = Vec::new();
    for table in TABLES {
        let select = "SELECT CAST(child.relname AS TEXT) AS name, pg_total_relation_size(child.oid) AS size \
            FROM pg_inherits JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid \
            WHERE pg_inherits.inhparent = to_regclass($1)";
        for row in database.fetch_all(query(select).bind(table)).await? {
            let name: String = row.get("name")?;
            // The default one has no day.
            if let Some(from_ms) = day_of(table, &name) {
                days.push(Day { name, table, from_ms, size: row.number("size")? });
            }
        }
    }
    days.sort_by_key(|day| (day.from_ms, day.table));
    Ok(days)
}

async fn make(transaction: &mut Transaction, table: &str, from_ms: i64) -> Result<(), StoreError> {
    let name = name_of(table, from_ms);
    let until_ms = from_ms + DAY_MS;
    let there = query("SELECT to_regclass($1) IS NOT NULL AS is_there").bind(&name);
    if transaction.fetch_one(there).await?.get("is_there")? {
        return Ok(()); // Another replica came first.
    }
    // Made beside the table and attached: that takes a weaker lock than making it as a part of it.
    let make = format!(
        "CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)"
    );
    transaction.execute(query_text(make)).await?;
    // What came for this day before it had a partition.
    let take_over = format!(
        "WITH early AS (DELETE FROM {table}_default WHERE started_at_ms >= $1 AND started_at_ms < $2 RETURNING *) \
         INSERT INTO {name} SELECT * FROM early"
    );
    transaction.execute(query_text(take_over).bind(from_ms).bind(until_ms)).await?;
    let attach =
        format!("ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({from_ms}) TO ({until_ms})");
    transaction.execute(query_text(attach)).await.map(drop)
}

async fn drop_day(database: &Database, day: &Day) -> Result<(), StoreError> {
    let mut transaction = begin(database).await?;
    // Another replica may have come first.
    transaction.execute(query_text(format!("DROP TABLE IF EXISTS {}", day.name))).await?;
    transaction.commit().await
}

async fn begin(database: &Database) -> Result<Transaction, StoreError> {
    let mut transaction = database.begin().await?;
    transaction.execute(query("SET LOCAL lock_timeout = 2000")).await?;
    transaction.execute(query("SELECT pg_advisory_xact_lock($1)").bind(LOCK)).await?;
    Ok(transaction)
}

fn name_of(table: &str, from_ms: i64) -> String {
    let day = Timestamp::from_millisecond(from_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{table}_{}", day.strftime("%Y%m%d"))
}

fn day_of(table: &str, name: &str) -> Option<i64> {
    let digits = name.strip_prefix(table)?.strip_prefix('_')?;
    let date = jiff::civil::Date::strptime("%Y%m%d", digits).ok()?;
    Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partitions_name_says_its_day() {
        let day = "2026-02-28T00:00:00Z".parse::<Timestamp>().unwrap().as_millisecond();
        assert_eq!(name_of("calls", day), "calls_20260228");
        assert_eq!(day_of("calls", "calls_20260228"), Some(day));
        assert_eq!(day_of("calls", "calls_default"), None);
        assert_eq!(day_of("calls", "bodies_20260228"), None);
    }
}
