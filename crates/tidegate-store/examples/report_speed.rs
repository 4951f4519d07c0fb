//! How long reports of a large ledger take: fills a month with ten million calls by bulk SQL, on both databases, and asks.
//! Takes some minutes and 4 GB on disk for each: `cargo run --release -p tidegate-store --example report_speed [CALLS]`.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};
use tidegate_store::{GroupBy, RetentionOptions, Scope, Store, StoreOptions, UsageFilter, UsageQuery};
use tidegate_testkit::servers::PostgresServer;

const DAYS: i64 = 30;
const DAY_MS: i64 = 86_400_000;

#[tokio::main]
async fn main() {
    let calls: i64 = std::env::args().nth(1).map_or(10_000_000, |calls| calls.parse().unwrap());
    sqlite(calls).await;
    postgres(calls).await;
}

/// The first midnight of the month, and the last.
fn month() -> (i64, i64) {
    let today = Timestamp::now().as_millisecond() / DAY_MS * DAY_MS;
    (today - DAYS * DAY_MS, today)
}

async fn sqlite(calls: i64) {
    let (first, today) = month();
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).await.unwrap();
    let path = directory.path().join("tidegate.db");
    let mut connection = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    let numbers = format!(
        "(WITH RECURSIVE n(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < {calls} - 1) SELECT n FROM n)"
    );
    let id = "unhex(printf('%012x', at) || '70008' || printf('%015x', n))";
    let started = Instant::now();
    connection.execute("PRAGMA synchronous = OFF").await.unwrap();
    for sql in fill(calls, first, &numbers, id) {
        connection.execute(AssertSqlSafe(sql)).await.unwrap();
    }
    // What is written in one go would stay in the log, which no reader likes so long.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").await.unwrap();
    connection.close().await.unwrap();
    println!("SQLite: {calls} calls in {:?}", started.elapsed());
    ask(&store, first, today).await;
    store.close().await;
}

async fn postgres(calls: i64) {
    let (first, today) = month();
    let server = PostgresServer::private();
    let database = server.database();
    let directory = tempfile::tempdir().unwrap();
    let options =
        StoreOptions { data: directory.path().to_owned(), database: Some(database.url().parse().unwrap()) };
    let store = Store::open(&options).await.unwrap();
    for day in 0..=DAYS {
        let then = Timestamp::from_millisecond(first + day * DAY_MS).unwrap();
        store.delete_old(&RetentionOptions::default(), then).await.unwrap();
    }
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    let numbers = format!("(SELECT generate_series(CAST(0 AS BIGINT), {calls} - 1) AS n)");
    let id = "CAST(LPAD(TO_HEX(at), 12, '0') || '70008' || LPAD(TO_HEX(n), 15, '0') AS UUID)";
    let started = Instant::now();
    for sql in fill(calls, first, &numbers, id) {
        connection.execute(AssertSqlSafe(sql)).await.unwrap();
    }
    connection.execute("ANALYZE").await.unwrap();
    connection.close().await.unwrap();
    println!("PostgreSQL: {calls} calls in {:?}", started.elapsed());
    ask(&store, first, today).await;
    store.close().await;
}

async fn ask(store: &Store, first_ms: i64, today_ms: i64) {
    let since = Timestamp::from_millisecond(first_ms).unwrap();
    let until = Timestamp::from_millisecond(today_ms).unwrap();
    let unaligned = SignedDuration::from_millis(754_321);
    let team_and_model = || UsageQuery::by_all([GroupBy::Team, GroupBy::Model]);
    let one_key = UsageFilter { key: Some("key_7".into()), ..UsageFilter::default() };
    for (what, query) in [
        (
            "the month by team and model",
            UsageQuery { since: Some(since), until: Some(until), ..team_and_model() },
        ),
        (
            "the same, from minute to minute",
            UsageQuery { since: Some(since + unaligned), until: Some(until - unaligned), ..team_and_model() },
        ),
        ("everything by key", UsageQuery::by(GroupBy::Key)),
        ("everything by day and provider", UsageQuery::by_all([GroupBy::Day, GroupBy::Provider])),
        ("one key by day", UsageQuery { filter: one_key, ..UsageQuery::by(GroupBy::Day) }),
        (
            "one hour by end user, from the calls",
            UsageQuery {
                until: Some(since + SignedDuration::from_hours(1)),
                ..UsageQuery::by(GroupBy::EndUser)
            },
        ),
    ] {
        let (mut longest, mut rows) = (Duration::ZERO, 0);
        for _ in 0..3 {
            let started = Instant::now();
            rows = store.usage(&query).await.unwrap().len();
            longest = longest.max(started.elapsed());
        }
        println!("  {what}: {rows} rows, {longest:?} at most");
    }
    let started = Instant::now();
    let all = store.spending_of_all(until).await.unwrap().len();
    println!("  what {all} organisations, teams and keys have spent: {:?}", started.elapsed());
    let started = Instant::now();
    store.spending_of(&Scope::Key("key_7".into()), until).await.unwrap();
    println!("  what one key has spent: {:?}", started.elapsed());
}

/// The statements that make the calls, spread over the days, and the sums of them.
fn fill(calls: i64, first_ms: i64, numbers: &str, id: &str) -> Vec<String> {
    // Spread well enough, and the same wherever it is named: SQLite draws anew for each mention of a RANDOM().
    const RANDOM: &str = "n * 48271 % 2147483647 % 1000000";
    const SUMS: &str = "COUNT(*), COUNT(*), 0, 0, 0, SUM(input_tokens), 0, 0, 0, 0, SUM(output_tokens), 0, 0, 0, \
        SUM(cost_nanodollars), SUM(cost_nanodollars), 0, 0, SUM(duration_us), COUNT(*), SUM(time_to_first_token_us), \
        MAX(duration_us)";
    const COLUMNS: &str = "calls, answered, failed, refused, cancelled, input_tokens, cache_read_tokens, \
        cache_write_5m_tokens, cache_write_1h_tokens, input_audio_tokens, output_tokens, reasoning_tokens, \
        output_audio_tokens, web_searches, cost_nanodollars, charge_nanodollars, unpriced, estimated, duration_us, \
        first_tokens, time_to_first_token_us, longest_duration_us";
    let mut statements = vec![format!(
        "INSERT INTO calls (id, started_at_ms, duration_us, time_to_first_token_us, organization_id, team_id, key_id, \
            end_user, dialect, operation, model, provider, upstream_model, streamed, outcome, status, input_tokens, \
            cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, input_audio_tokens, output_tokens, \
            reasoning_tokens, output_audio_tokens, web_searches, cost_nanodollars, prices, attempts, bytes_in, bytes_out) \
         SELECT {id}, at, 800000 + r, 200000, 'org_default', 'team_' || (r % 50), 'key_' || (r % 1000), \
            'user_' || (r % 5000), 'openai-chat', 'chat', 'model_' || (r / 50 % 20), 'provider_' || (r / 50 % 20 % 3), \
            'upstream_' || (r / 50 % 20), TRUE, 'answered', 200, r % 3000, 0, 0, 0, 0, r % 700, 0, 0, 0, r, \
            '{{\"input\":250,\"output\":2000}}', '[{{\"target\":\"openai/gpt-5-mini\",\"status\":200}}]', 900, 1200 \
         FROM (SELECT n, {first_ms} + n * {} / {calls} AS at, {RANDOM} AS r FROM {numbers} AS numbers) AS drawn",
        DAYS * DAY_MS
    )];
    for (name, length) in [("hours", 3_600_000), ("days", DAY_MS)] {
        let bucket = format!("started_at_ms / {length} * {length}");
        statements.push(format!(
            "INSERT INTO usage_{name} (bucket_ms, organization_id, team_id, model, provider, upstream_model, {COLUMNS}) \
             SELECT {bucket}, organization_id, team_id, model, provider, upstream_model, {SUMS} FROM calls \
             GROUP BY 1, 2, 3, 4, 5, 6"
        ));
        for scope in ["'org:' || organization_id", "'team:' || team_id", "'key:' || key_id"] {
            statements.push(format!(
                "INSERT INTO scope_{name} (bucket_ms, scope, {COLUMNS}) SELECT {bucket}, {scope}, {SUMS} FROM calls \
                 GROUP BY 1, 2"
            ));
        }
    }
    statements
}
