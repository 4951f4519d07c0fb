//! Old calls go, their sums stay; bodies go with their calls.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod common;

use std::time::Duration;

use common::{Place, answered, on_both};
use jiff::{SignedDuration, Timestamp};
use tidegate_store::{
    CallBodies, CallId, CallsQuery, Deleted, GroupBy, KeptText, LedgerEntry, LedgerOptions, RetentionOptions,
    Store, UsageQuery,
};

const DAY: Duration = Duration::from_secs(86_400);

fn id_at(moment: Timestamp, number: u32) -> CallId {
    let milliseconds = moment.as_millisecond();
    format!("{:08x}-{:04x}-7000-8000-0000{number:08x}", milliseconds >> 16, milliseconds & 0xffff)
        .parse()
        .unwrap()
}

fn bodies(text: &str) -> CallBodies {
    let kept = |text: &str, is_cut| Some(KeptText { text: text.to_owned(), is_cut });
    CallBodies { request: kept(text, true), response: kept("Zoë", false) }
}

/// Some calls on each of the last four days, the oldest first, each with its bodies.
async fn filled(place: &Place, now: Timestamp, a_day: u32) -> (Store, Vec<CallId>) {
    let store = place.open().await;
    // PostgreSQL's partitions of those days, as they would have been made then.
    for days in (0..4).rev() {
        let then = now - SignedDuration::from_hours(24 * days);
        store.delete_old(&RetentionOptions::default(), then).await.unwrap();
    }
    let ledger = store.ledger(LedgerOptions::default()).await.unwrap();
    let mut ids = Vec::new();
    for number in 0..4 * a_day {
        let back = i64::from(4 * a_day - number) * 96 * 3_600_000 / i64::from(4 * a_day);
        let id = id_at(now - SignedDuration::from_millis(back), number);
        ledger.reserve().unwrap().record(LedgerEntry { cost_nanodollars: Some(1), ..answered(id) });
        ids.push(id);
    }
    assert!(ledger.close(Duration::from_secs(60)).await.is_complete());
    (store, ids)
}

async fn present(store: &Store) -> Vec<CallId> {
    let mut ids: Vec<CallId> =
        store.calls(&CallsQuery::latest(1_000_000)).await.unwrap().iter().map(|entry| entry.id).collect();
    ids.reverse();
    ids
}

on_both! {
    async fn calls_that_are_too_old_go_with_their_bodies_and_their_sums_stay(place: &Place) {
        // So that four days back are four and a half partitions.
        let now: Timestamp = "2026-04-01T12:00:00Z".parse().unwrap();
        let (store, ids) = filled(place, now, 600).await;
        for id in [ids[0], ids[1_250], ids[2_399]] {
            store.keep_bodies(id, &bodies("a\0b")).await.unwrap();
        }
        let options = RetentionOptions { age: Some(2 * DAY), ..RetentionOptions::default() };
        let deleted = store.delete_old(&options, now).await.unwrap();
        assert_ne!(deleted, Deleted::default());
        assert_eq!(deleted.days > 0, place.database.is_some(), "{deleted:?}");
        assert_eq!(present(&store).await, ids[1_200..]);
        assert_eq!(store.bodies(ids[0]).await.unwrap(), None);
        assert_eq!(store.bodies(ids[1_250]).await.unwrap(), Some(bodies("a␀b")));
        assert_eq!(store.usage(&UsageQuery::by(GroupBy::All)).await.unwrap()[0].calls, 2_400);
        assert_eq!(store.delete_old(&options, now).await.unwrap(), Deleted::default());
    }

    async fn the_oldest_calls_go_when_the_ledger_takes_too_much_room(place: &Place) {
        let now: Timestamp = "2026-04-01T12:00:00Z".parse().unwrap();
        let (store, ids) = filled(place, now, 1_500).await;
        let all = RetentionOptions { size_bytes: Some(1 << 40), ..RetentionOptions::default() };
        assert_eq!(store.delete_old(&all, now).await.unwrap(), Deleted::default());
        let options = RetentionOptions { size_bytes: Some(3 << 19), ..RetentionOptions::default() };
        assert_ne!(store.delete_old(&options, now).await.unwrap(), Deleted::default());
        let left = present(&store).await;
        assert!(!left.is_empty() && left.len() < ids.len(), "{}", left.len());
        assert!(left == ids[ids.len() - left.len()..], "{} are left, and not the newest", left.len());
        assert_eq!(store.usage(&UsageQuery::by(GroupBy::All)).await.unwrap()[0].calls, 6_000);
    }

    async fn bodies_are_kept_once_found_and_forgotten(place: &Place) {
        let store = place.open().await;
        let id = CallId::now();
        assert_eq!(store.bodies(id).await.unwrap(), None);
        store.keep_bodies(id, &bodies("first")).await.unwrap();
        store.keep_bodies(id, &bodies("second")).await.unwrap();
        assert_eq!(store.bodies(id).await.unwrap(), Some(bodies("first")));
        assert!(store.delete_bodies(id).await.unwrap());
        assert!(!store.delete_bodies(id).await.unwrap());
    }
}

#[tokio::test]
async fn calls_that_came_before_their_days_partition_are_taken_over_by_it() {
    let place = Place::postgres();
    let store = place.open().await;
    let ledger = store.ledger(LedgerOptions::default()).await.unwrap();
    let (now, old) = (Timestamp::now(), "2026-01-31T12:00:00Z".parse().unwrap());
    let ids = [id_at(old, 1), id_at(now, 2)];
    for id in ids {
        ledger.reserve().unwrap().record(answered(id));
    }
    assert!(ledger.close(Duration::from_secs(60)).await.is_complete());
    let database = place.database.as_ref().unwrap();
    assert_eq!(database.sql("SELECT COUNT(*) FROM calls_default"), "2");
    let options = RetentionOptions::default();
    // Three replicas at once.
    let (one, two, three) = tokio::join!(
        store.delete_old(&options, now),
        store.delete_old(&options, now),
        store.delete_old(&options, now)
    );
    one.and(two).and(three).unwrap();
    assert_eq!(database.sql("SELECT COUNT(*) FROM calls_default"), "1");
    assert_eq!(present(&store).await, ids);
    let partitions = "SELECT COUNT(*) FROM pg_inherits WHERE inhparent = 'calls'::regclass";
    assert_eq!(database.sql(partitions), "9");
}
