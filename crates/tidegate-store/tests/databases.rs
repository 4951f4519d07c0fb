//! The two databases: opening them, what can go wrong with it, and that both keep what they are given.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

mod common;

use std::error::Error;
use std::time::Duration;

use common::{Place, answered, on_both};
use tidegate_store::{
    CacheState, CallId, CallsQuery, LedgerEntry, LedgerOptions, LedgerWriter, Outcome, Store, StoreError,
    StoreOptions,
};
use tidegate_testkit::servers::PostgresServer;
use tidegate_wire::Usage;

on_both! {
    async fn an_entry_comes_back_as_it_was_given(place: &Place) {
        let store = place.open().await;
        let ledger = store.ledger(LedgerOptions::default()).await.unwrap();
        let full = LedgerEntry {
            organization_id: Some("org_1".into()),
            key_id: Some("key_1".into()),
            team_id: Some("team_1".into()),
            end_user: Some("Zoë".into()),
            outcome: Outcome::Failed,
            failure: Some("rate_limited".into()),
            status: Some(429),
            usage: Usage { input: 1, cache_read: 2, cache_write_5m: 3, cache_write_1h: 4, input_audio: 5, output: 6,
                reasoning: 7, output_audio: 8, web_searches: 9 },
            charge_nanodollars: Some(7),
            is_estimated: true,
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

    async fn processes_that_start_together_agree_on_the_schema(place: &Place) {
        let (one, two, three) = tokio::join!(
            Store::open(place.options()), Store::open(place.options()), Store::open(place.options())
        );
        for store in [one, two, three] {
            store.unwrap().close().await;
        }
        Store::open_existing(place.options()).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_server_or_its_address_is_said_without_the_password() {
    let place = Place::postgres();
    let database = place.database.as_ref().unwrap();
    let open = async |url: String| {
        let options = StoreOptions { database: Some(url.parse().unwrap()), ..place.options() };
        let error = Store::open(&options).await.unwrap_err();
        let words = format!("{error} {error:?} {}", error.source().unwrap());
        assert!(!words.contains("s3cret") && !words.contains("low-tide"), "{words}");
        assert!(!error.remedy().is_empty());
        error
    };
    let error = open(database.url_as("tidegate", "s3cret")).await;
    assert!(matches!(error, StoreError::Login { .. }), "{error:?}");
    let error = open(database.url_as("nobody", "s3cret")).await;
    assert!(matches!(error, StoreError::Login { .. }), "{error:?}");
    let error = open(database.url().replace(database.name(), "no_such_database")).await;
    assert!(matches!(error, StoreError::NoSuchDatabase { .. }), "{error:?}");
    let error = open("postgres://tide:s3cret@127.0.0.1:1/gate".to_owned()).await;
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    let name = database.name();
    database.sql(&format!("DROP ROLE IF EXISTS guest_of_{name}"));
    database.sql(&format!("CREATE ROLE guest_of_{name} LOGIN PASSWORD 's3cret'"));
    let error = open(database.url_as(&format!("guest_of_{name}"), "s3cret")).await;
    database.sql(&format!("DROP ROLE guest_of_{name}"));
    assert!(matches!(error, StoreError::NoRights { .. }), "{error:?}");
    // Nothing has been made there yet.
    let error = Store::open_existing(place.options()).await.unwrap_err();
    assert!(matches!(error, StoreError::Older { found: 0, .. }), "{error:?}");
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let place = Place::postgres();
    place.open().await.close().await;
    let database = place.database.as_ref().unwrap();
    database.sql(
        "INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) \
         VALUES (9000, 'later', NOW(), TRUE, '', 0)",
    );
    for refused in [Store::open(place.options()).await, Store::open_existing(place.options()).await] {
        let error = refused.unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 9_000, .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_that_stands_still_is_unreachable_before_long_and_works_again_afterwards() {
    let server = PostgresServer::private();
    let database = server.database();
    let directory = tempfile::tempdir().unwrap();
    let options =
        StoreOptions { data: directory.path().to_owned(), database: Some(database.url().parse().unwrap()) };
    let store = Store::open(&options).await.unwrap();
    server.pause();
    let opened = tokio::time::timeout(Duration::from_secs(30), Store::open(&options)).await;
    let asked = tokio::time::timeout(Duration::from_secs(60), store.calls(&CallsQuery::latest(1))).await;
    server.resume();
    let error = opened.expect("opening does not hang").unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    let error = asked.expect("asking does not hang").unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    assert_eq!(store.calls(&CallsQuery::latest(1)).await.unwrap(), []);
    server.kill();
    assert!(store.calls(&CallsQuery::latest(1)).await.is_err());
    server.start();
    assert_eq!(store.calls(&CallsQuery::latest(1)).await.unwrap(), []);
}

/// As a machine that was cloned: both write into one database, from the same place on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_data_directories_that_are_copies_of_each_other_lose_no_call() {
    let original = Place::postgres();
    let url = original.database.as_ref().map(|database| database.url().parse().unwrap());
    let copy = tempfile::tempdir().unwrap();
    let record = |ledger: &LedgerWriter| {
        let id = CallId::now();
        // All of the same size, so that both journals come to the same places.
        ledger.reserve().unwrap().record(LedgerEntry::new(id, "openai-chat", "chat"));
        id
    };
    let store = original.open().await;
    let ledger = store.ledger(LedgerOptions::default()).await.unwrap();
    let mut recorded = vec![record(&ledger), record(&ledger)];
    assert!(ledger.close(Duration::from_secs(20)).await.is_complete());
    std::fs::create_dir(copy.path().join("journal")).unwrap();
    for file in std::fs::read_dir(original.directory.path().join("journal")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join("journal").join(file.file_name())).unwrap();
    }

    let data = [original.directory.path().to_owned(), copy.path().to_owned()];
    for _ in 0..2 {
        let mut ledgers = Vec::new();
        for data in &data {
            let options = StoreOptions { data: data.clone(), database: url.clone() };
            let store = Store::open(options).await.unwrap();
            ledgers.push(store.ledger(LedgerOptions::default()).await.unwrap());
        }
        for round in 0..6 {
            for (number, ledger) in ledgers.iter().enumerate() {
                recorded.push(record(ledger));
                // Now one after the other, now both in the same moment.
                if (round + number) % 3 != 0 {
                    ledger.flush().await.unwrap();
                }
            }
        }
        for ledger in &ledgers {
            ledger.flush().await.unwrap();
            assert!(ledger.close(Duration::from_secs(20)).await.is_complete());
        }
    }
    let calls = store.calls(&CallsQuery::latest(u32::MAX)).await.unwrap();
    let mut written: Vec<CallId> = calls.iter().map(|call| call.id).collect();
    written.sort_unstable();
    recorded.sort_unstable();
    assert_eq!(written, recorded);
    let ids = data.map(|data| std::fs::read_to_string(data.join("journal/id")).unwrap());
    assert_ne!(ids[0], ids[1], "each has an id of its own now");
}
