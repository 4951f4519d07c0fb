//! Sums that are fresh: whatever is asked has the same answer as where batches are added to the hours and days at once.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tidegate_testkit::servers::postgres;
use tidegate_wire::Usage;

use super::*;
use crate::{
    CallId, GroupBy, LedgerEntry, Outcome, Scope, Tags, UsageFilter, UsageOrder, UsageQuery, UsageRow,
    database::{Database, query},
    ledger::JournalPosition,
    queries::usage,
};

const NOW: &str = "2026-04-01T12:30:00Z";

/// Calls of some hundred keys and end users over two days, and in the last minute.
fn entries() -> Vec<LedgerEntry> {
    let mut random = fastrand::Rng::with_seed(11);
    let now: Timestamp = NOW.parse().unwrap();
    (0_u32..2_400)
        .map(|number| {
            let back = if number % 8 == 0 { random.i64(1..50_000) } else { random.i64(1..2 * DAY_MS) };
            let started = (now - SignedDuration::from_millis(back)).as_millisecond();
            let id = format!("{:08x}-{:04x}-7000-8000-0000{number:08x}", started >> 16, started & 0xffff);
            LedgerEntry {
                organization_id: Some("org_1".into()),
                team_id: Some(format!("team_{}", random.u8(0..3)).into()),
                key_id: Some(format!("key_{:03}", random.u16(0..400)).into()),
                end_user: random.bool().then(|| format!("user {}", random.u8(0..90)).into()),
                model: Some("fast".into()),
                outcome: *random.choice(&Outcome::ALL).unwrap(),
                usage: Usage { input: random.u64(0..1000), output: random.u64(0..9), ..Usage::default() },
                cost_nanodollars: Some(random.u64(0..1_000_000)),
                duration_us: random.u64(0..1_000_000),
                tags: Tags::parse(random.choice(["", "app=a"]).unwrap()).unwrap(),
                ..LedgerEntry::new(id.parse::<CallId>().unwrap(), "openai-chat", "chat")
            }
        })
        .collect()
}

fn questions() -> Vec<UsageQuery> {
    let text = |text: &'static str| Some(text.into());
    let moment = |text: &str| Some(text.parse::<Timestamp>().unwrap());
    let filters = [
        UsageFilter::default(),
        UsageFilter { key: text("key_007"), ..UsageFilter::default() },
        UsageFilter { organization: text("org_1"), end_user: text("user 3"), ..UsageFilter::default() },
        UsageFilter { tag: Some(("app".into(), "a".into())), ..UsageFilter::default() },
    ];
    let times = [
        (None, None),
        (moment("2026-03-31T00:00:00Z"), moment("2026-04-01T00:00:00Z")),
        (moment("2026-03-31T03:17:00Z"), moment("2026-04-01T12:29:30Z")),
    ];
    let groups: [&[GroupBy]; 4] = [&[], &[GroupBy::Key], &[GroupBy::Hour], &[GroupBy::Day]];
    let mut questions = Vec::new();
    for filter in &filters {
        for (since, until) in times {
            for group_by in groups {
                let query = UsageQuery::by_all(group_by);
                let order = UsageOrder::Name;
                questions.push(UsageQuery { filter: filter.clone(), since, until, order, ..query });
            }
        }
    }
    questions
}

/// All that is asked of sums.
async fn answers(database: &Database) -> (Vec<Vec<UsageRow>>, Vec<(String, String)>) {
    let mut reports = Vec::new();
    for question in questions() {
        reports.push(usage::report(database, &question).await.unwrap());
    }
    let now = NOW.parse().unwrap();
    let mut spending: Vec<(Scope, tidegate_policy::Spending)> =
        of_all(database, now).await.unwrap().into_iter().collect();
    let scopes =
        ["key:key_007", "key:key_399", "user:org_1/user 3", "tag:app=a", "team:team_1", "key:nobody"];
    let scopes: Vec<Scope> = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
    let single = of_scopes(database, &scopes, now).await.unwrap();
    spending.extend(scopes.into_iter().zip(single));
    let mut spending: Vec<(String, String)> = spending
        .into_iter()
        .map(|(scope, mut spent)| {
            spent.recent.sort_by_key(|calls| (calls.age, calls.requests));
            (scope.to_string(), format!("{spent:?}"))
        })
        .collect();
    spending.sort();
    (reports, spending)
}

async fn write(database: &Database, entries: &[LedgerEntry], in_one: usize) {
    let mut from = None;
    for (number, batch) in (1..).zip(entries.chunks(in_one)) {
        let to = JournalPosition { journal: "one".into(), segment: 1, offset: number };
        assert!(database.write_batch(batch, from.as_ref(), &to).await.unwrap());
        from = Some(to);
    }
}

async fn rows(database: &Database, table: &str) -> i64 {
    let count = crate::database::query_text(format!("SELECT COUNT(*) AS n FROM {table}"));
    database.fetch_one(count).await.unwrap().get("n").unwrap()
}

async fn check(database: Database, at_once: Database) {
    let entries = entries();
    // Too few of a batch for anything to be put down.
    write(&at_once, &entries, 20).await;
    assert_eq!(rows(&at_once, "scope_fresh").await, 0);
    let expected = answers(&at_once).await;
    write(&database, &entries, 600).await;
    let fresh = rows(&database, "scope_fresh").await;
    assert!(fresh > 1_000, "{fresh}");
    assert_eq!(answers(&database).await, expected);

    let batches = waiting(&database).await.unwrap();
    assert_eq!(batches.iter().map(|batch| batch.rows).sum::<u64>(), fresh.unsigned_abs());
    // One that is given up after two steps, as by a crash, and one that begins anew.
    let mut given_up = FoldPlan::of(&database, &batches, 300).await.unwrap();
    for _ in 0..2 {
        assert!(given_up.step(&database).await.unwrap());
        assert_eq!(answers(&database).await, expected);
    }
    assert!((1..fresh).contains(&rows(&database, "scope_fresh").await));
    let mut plan = FoldPlan::of(&database, &waiting(&database).await.unwrap(), 300).await.unwrap();
    let mut steps = 1;
    while plan.step(&database).await.unwrap() {
        // The other one has hung, and goes on in between.
        given_up.step(&database).await.unwrap();
        steps += 1;
    }
    assert!(steps > 3, "{steps}");
    assert_eq!((rows(&database, "scope_fresh").await, rows(&database, "fresh_batches").await), (0, 0));
    assert_eq!(answers(&database).await, expected);
    let sum = query("SELECT CAST(SUM(calls) AS BIGINT) AS n FROM scope_days WHERE scope LIKE 'key:%'");
    assert_eq!(database.fetch_one(sum).await.unwrap().get::<i64>("n").unwrap(), 2_400);
}

#[tokio::test]
async fn sums_are_the_same_before_between_and_after_the_steps_of_folding_on_sqlite() {
    let [one, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    check(Database::sqlite(one.path()).await.unwrap(), Database::sqlite(other.path()).await.unwrap()).await;
}

#[tokio::test]
async fn sums_are_the_same_before_between_and_after_the_steps_of_folding_on_postgres() {
    let (one, other) = (postgres().database(), postgres().database());
    let open = async |url: &str| Database::postgres(&url.parse().unwrap()).await.unwrap();
    let (database, at_once) = (open(&one.url()).await, open(&other.url()).await);
    check(database.clone(), at_once.clone()).await;
    database.close().await;
    at_once.close().await;
}

#[tokio::test]
async fn replicas_that_fold_and_write_at_the_same_time_lose_and_double_nothing() {
    let place = postgres().database();
    let database = Database::postgres(&place.url().parse().unwrap()).await.unwrap();
    let entries = entries();
    let writer = |number: usize, entries: Vec<LedgerEntry>| {
        let database = database.clone();
        tokio::spawn(async move {
            let mut from = None;
            // Large batches and small ones: both ways, for the same keys.
            for (offset, batch) in (1..).zip(entries.chunks(if number == 0 { 20 } else { 200 })) {
                let to = JournalPosition { journal: number.to_string(), segment: 1, offset };
                assert!(database.write_batch(batch, from.as_ref(), &to).await.unwrap());
                from = Some(to);
            }
        })
    };
    let halves = entries.split_at(1_200);
    let writers = [writer(0, halves.0.to_vec()), writer(1, halves.1.to_vec())];
    let folding = async {
        loop {
            let batches = waiting(&database).await.unwrap();
            if batches.is_empty() && writers.iter().all(tokio::task::JoinHandle::is_finished) {
                break;
            }
            if batches.is_empty() {
                tokio::time::sleep(Duration::from_millis(2)).await;
                continue;
            }
            let mut plan = FoldPlan::of(&database, &batches, 100).await.unwrap();
            while plan.step(&database).await.unwrap() {}
        }
    };
    tokio::join!(folding, async {
        // Another one, which has its turn when the first has not.
        while let Some(batches) =
            Some(waiting(&database).await.unwrap()).filter(|batches| !batches.is_empty())
        {
            let mut plan = FoldPlan::of(&database, &batches, 70).await.unwrap();
            while plan.step(&database).await.unwrap() {}
        }
    });
    for writer in writers {
        writer.await.unwrap();
    }
    let by_key = UsageQuery { limit: 1_000, ..UsageQuery::by(GroupBy::Key) };
    let calls = usage::report(&database, &by_key).await.unwrap().iter().map(|row| row.calls).sum::<u64>();
    assert_eq!(calls, 2_400);
    database.close().await;
}
