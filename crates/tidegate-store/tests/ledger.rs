//! The ledger against real SQLite: exactly once, through full queues, a database that refuses, and a close.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod common;

use std::{collections::HashSet, time::Duration};

use common::answered;
use sqlx::{Connection, Executor, SqliteConnection};
use tidegate_store::{
    Attempt, CacheState, CallId, CallsQuery, GroupBy, LedgerEntry, LedgerOptions, LedgerWriter, NoSeat,
    Outcome, Store, StoreError, UsageQuery,
};
use tidegate_wire::Usage;

const LONG: Duration = Duration::from_secs(20);

async fn ids(store: &Store) -> Vec<CallId> {
    store.calls(&CallsQuery::latest(u32::MAX)).await.unwrap().into_iter().map(|entry| entry.id).collect()
}

/// A foreign hand on the database, to make the writer's life hard.
async fn outsider(directory: &tempfile::TempDir) -> SqliteConnection {
    let path = directory.path().join("tidegate.db");
    SqliteConnection::connect(path.to_str().unwrap()).await.unwrap()
}

#[tokio::test]
async fn what_is_recorded_is_read_back_unchanged() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).await.unwrap();
    let ledger = store.ledger(LedgerOptions::default()).await.unwrap();
    let full = LedgerEntry {
        key_id: Some("key_1".into()),
        team_id: Some("team_1".into()),
        end_user: Some("Zoë".into()),
        outcome: Outcome::Failed,
        failure: Some("rate_limited".into()),
        status: Some(429),
        usage: Usage {
            input: 1,
            cache_read: 2,
            cache_write_5m: 3,
            cache_write_1h: 4,
            input_audio: 5,
            output: 6,
            reasoning: 7,
            output_audio: 8,
            web_searches: 9,
        },
        attempts: vec![
            Attempt {
                target: "a/b".into(),
                failure: Some("timeout".into()),
                status: None,
                duration_us: 5,
                used: None,
            },
            Attempt {
                target: "c/d".into(),
                failure: Some("rate_limited".into()),
                status: Some(429),
                duration_us: 6,
                used: None,
            },
        ],
        dropped: vec!["logit_bias".into(), "seed \"x\"".into()],
        cache: Some(CacheState::Bypass),
        ..answered(CallId::now())
    };
    let empty = LedgerEntry::new(CallId::now(), "gemini", "count_tokens");
    for entry in [&full, &empty] {
        ledger.reserve().unwrap().record(entry.clone());
    }
    ledger.flush().await.unwrap();
    assert_eq!(store.call(full.id).await.unwrap().unwrap(), full);
    assert_eq!(store.call(empty.id).await.unwrap().unwrap(), empty);
    assert_eq!(store.call(CallId::now()).await.unwrap(), None);
    assert_eq!(store.calls(&CallsQuery::latest(1)).await.unwrap(), [empty]);
}

#[tokio::test]
async fn what_a_caller_or_provider_exaggerates_is_cut_and_neither_blocks_the_ledger_nor_breaks_reports() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).await.unwrap();
    let ledger = store.ledger(LedgerOptions::default()).await.unwrap();
    for _ in 0..20 {
        ledger.reserve().unwrap().record(LedgerEntry {
            model: Some("é".repeat(100_000).into()),
            end_user: Some("before\0after".into()),
            usage: Usage { input: u64::MAX, output: u64::MAX, ..Usage::default() },
            cost_nanodollars: Some(u64::MAX),
            duration_us: u64::MAX,
            ..answered(CallId::now())
        });
    }
    ledger.flush().await.unwrap();
    let rows = store.usage(&UsageQuery::by(GroupBy::EndUser)).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].name(), rows[0].calls), (Some("before"), 20));
    let models = store.usage(&UsageQuery::by(GroupBy::Model)).await.unwrap();
    assert_eq!(models[0].name().unwrap().len(), 512);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_recorded_call_is_there_once_and_no_dropped_seat_is_under_concurrent_load() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).await.unwrap();
    let ledger = store
        .ledger(LedgerOptions {
            capacity: 300,
            batch_window: Duration::from_millis(2),
            ..LedgerOptions::default()
        })
        .await
        .unwrap();
    let mut tasks = Vec::new();
    for _ in 0..16 {
        let ledger = ledger.clone();
        tasks.push(tokio::spawn(async move {
            let mut recorded = Vec::new();
            let mut refused = 0_u32;
            for _ in 0..500 {
                let Ok(seat) = ledger.reserve() else {
                    refused += 1;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                };
                if fastrand::u8(..) < 40 {
                    tokio::task::yield_now().await;
                }
                if fastrand::u8(..) < 25 {
                    drop(seat);
                } else {
                    let id = CallId::now();
                    seat.record(answered(id));
                    recorded.push(id);
                }
            }
            (recorded, refused)
        }));
    }
    let mut expected = Vec::new();
    for task in tasks {
        let (recorded, _) = task.await.unwrap();
        expected.extend(recorded);
    }
    let report = ledger.close(LONG).await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(report.written, expected.len() as u64);
    let found = ids(&store).await;
    assert_eq!(found.len(), expected.len());
    assert_eq!(found.into_iter().collect::<HashSet<_>>(), expected.into_iter().collect());
    let total = &store.usage(&UsageQuery::by(GroupBy::All)).await.unwrap()[0];
    assert_eq!((total.calls, total.usage.input), (report.written, 812 * report.written));
}

#[tokio::test]
async fn a_full_queue_refuses_and_a_dropped_seat_makes_room() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).await.unwrap();
    let ledger = store.ledger(LedgerOptions { capacity: 2, ..LedgerOptions::default() }).await.unwrap();
    let first = ledger.reserve().unwrap();
    let second = ledger.reserve().unwrap();
    assert_eq!(ledger.reserve().unwrap_err(), NoSeat::Full);
    drop(first);
    let third = ledger.reserve().unwrap();
    second.record(answered(CallId::now()));
    third.record(answered(CallId::now()));
    ledger.flush().await.unwrap();
    assert_eq!(ledger.status().free_seats, 2);
    assert_eq!(ids(&store).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_refuses_loses_nothing_and_fills_the_journal_until_it_takes_entries_again() {
    const LIMIT: u64 = 512 << 10;
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).await.unwrap();
    let options =
        LedgerOptions { capacity: 100, batch_window: Duration::from_millis(1), journal_bytes: LIMIT };
    let ledger = store.ledger(options).await.unwrap();
    let mut outsider = outsider(&directory).await;
    outsider.execute("ALTER TABLE calls RENAME TO away").await.unwrap();

    let mut recorded = HashSet::new();
    while let Ok(seat) = ledger.reserve() {
        let id = CallId::now();
        seat.record(answered(id));
        recorded.insert(id);
        assert!(ledger.status().journal_bytes <= LIMIT, "the journal is not bounded");
        if recorded.len() % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert!(recorded.len() > 1_000, "only {} entries found room", recorded.len());
    while !ledger.status().failing {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(ledger.status().pending, recorded.len() as u64);
    outsider.execute("ALTER TABLE away RENAME TO calls").await.unwrap();
    tokio::time::timeout(LONG, ledger.flush()).await.unwrap().unwrap();
    let status = ledger.status();
    assert!(!status.failing && status.failed_batches > 0 && status.pending == 0, "{status:?}");
    assert!(status.journal_bytes < LIMIT / 4 && status.free_seats > 0, "{status:?}");
    let found = ids(&store).await;
    assert_eq!(found.len(), recorded.len());
    assert_eq!(found.into_iter().collect::<HashSet<_>>(), recorded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_programs_lock_is_waited_out() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).await.unwrap();
    let ledger = store.ledger(LedgerOptions::default()).await.unwrap();
    let mut outsider = outsider(&directory).await;
    outsider.execute("BEGIN IMMEDIATE").await.unwrap();
    ledger.reserve().unwrap().record(answered(CallId::now()));
    let flush = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.flush().await }
    });
    // Longer than a statement waits for the lock, so that at least one batch fails.
    tokio::time::sleep(Duration::from_millis(2_300)).await;
    assert!(!flush.is_finished());
    // Readers are not disturbed.
    assert_eq!(ids(&store).await.len(), 0);
    outsider.execute("ROLLBACK").await.unwrap();
    tokio::time::timeout(LONG, flush).await.unwrap().unwrap().unwrap();
    assert_eq!(ids(&store).await.len(), 1);
}

#[tokio::test]
async fn closing_waits_for_open_seats_refuses_new_ones_and_writes_everything() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).await.unwrap();
    let ledger = store.ledger(LedgerOptions::default()).await.unwrap();
    let late = ledger.reserve().unwrap();
    let abandoned = ledger.reserve().unwrap();
    ledger.reserve().unwrap().record(answered(CallId::now()));
    let closing = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.close(LONG).await }
    });
    while ledger.reserve().err() != Some(NoSeat::Closed) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!closing.is_finished());
    late.record(answered(CallId::now()));
    drop(abandoned);
    let report = closing.await.unwrap();
    assert!(report.is_complete() && report.written == 2, "{report:?}");
    assert!(ledger.flush().await.is_err());
    assert_eq!(ids(&store).await.len(), 2);
}

#[tokio::test]
async fn closing_ends_at_its_deadline_and_what_waits_in_the_journal_is_written_by_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).await.unwrap();
    let ledger = store.ledger(LedgerOptions::default()).await.unwrap();
    let mut outsider = outsider(&directory).await;
    outsider.execute("ALTER TABLE calls RENAME TO away").await.unwrap();
    let held = ledger.reserve().unwrap();
    for _ in 0..3 {
        ledger.reserve().unwrap().record(answered(CallId::now()));
    }
    let report = ledger.close(Duration::from_millis(250)).await;
    assert_eq!((report.written, report.waiting, report.unwritten, report.open_seats), (0, 3, 0, 1));
    assert!(!report.is_complete());
    drop(held);

    // Once more without the database: what waits goes on waiting, with what comes.
    let ledger = store.ledger(LedgerOptions::default()).await.unwrap();
    ledger.reserve().unwrap().record(answered(CallId::now()));
    let report = ledger.close(Duration::from_millis(250)).await;
    assert_eq!((report.written, report.waiting), (0, 4));
    assert!(report.is_complete());

    outsider.execute("ALTER TABLE away RENAME TO calls").await.unwrap();
    let ledger = store.ledger(LedgerOptions::default()).await.unwrap();
    ledger.reserve().unwrap().record(answered(CallId::now()));
    let report = ledger.close(LONG).await;
    assert_eq!((report.written, report.waiting), (5, 0));
    assert_eq!(ids(&store).await.len(), 5);
}

#[tokio::test]
async fn dropping_every_handle_still_writes_what_was_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).await.unwrap();
    let ledger = store.ledger(LedgerOptions::default()).await.unwrap();
    let seat = ledger.reserve().unwrap();
    drop(ledger);
    seat.record(answered(CallId::now()));
    for _ in 0..2_000 {
        if !ids(&store).await.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    unreachable!("the entry never came");
}

#[tokio::test]
async fn a_second_writer_on_one_directory_is_refused_until_the_first_has_ended() {
    let directory = tempfile::tempdir().unwrap();
    // Both find an empty directory and bring its schema up to date.
    let (one, two) = tokio::join!(Store::open(directory.path()), Store::open(directory.path()));
    let (one, two) = (one.unwrap(), two.unwrap());
    let first = one.ledger(LedgerOptions::default()).await.unwrap();
    let error = two.ledger(LedgerOptions::default()).await.unwrap_err();
    assert!(matches!(error, StoreError::JournalInUse { .. }), "{error:?}");
    assert!(error.remedy().contains("data directory of its own"));
    first.reserve().unwrap().record(answered(CallId::now()));
    assert!(first.close(LONG).await.is_complete());
    drop(first);
    let second = two.ledger(LedgerOptions::default()).await.unwrap();
    second.reserve().unwrap().record(answered(CallId::now()));
    assert!(second.close(LONG).await.is_complete());
    let reader = Store::open_existing(directory.path()).await.unwrap();
    assert_eq!(ids(&reader).await.len(), 2);
}

#[tokio::test]
async fn without_a_ledger_every_call_has_a_seat_and_nothing_is_kept() {
    let ledger = LedgerWriter::disabled();
    for _ in 0..3 {
        ledger.reserve().unwrap().record(answered(CallId::now()));
    }
    ledger.flush().await.unwrap();
    assert_eq!(ledger.status().recorded, 0);
    assert!(ledger.close(LONG).await.is_complete());
}
