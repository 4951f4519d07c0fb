//! Usage reports against figures made by hand.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod common;

use common::{Place, answered, on_both};
use jiff::{SignedDuration, Timestamp};
use tidegate_store::{
    CallId, CallsQuery, GroupBy, LedgerEntry, LedgerOptions, Outcome, Store, Tags, UsageQuery, UsageRow,
};
use tidegate_wire::Usage;

/// An id of a call that began at this moment.
fn id_at(moment: &str, number: u16) -> CallId {
    let milliseconds = moment.parse::<Timestamp>().unwrap().as_millisecond();
    format!("{:08x}-{:04x}-7000-8000-00000000{number:04x}", milliseconds >> 16, milliseconds & 0xffff)
        .parse()
        .unwrap()
}

async fn filled(place: &Place) -> Store {
    let store = place.open().await;
    let ledger = store.ledger(LedgerOptions::default()).await.unwrap();
    let entries = [
        LedgerEntry {
            duration_us: 100,
            time_to_first_token_us: Some(10),
            usage: Usage { input: 10, cache_read: 4, output: 5, reasoning: 2, ..Usage::default() },
            cost_nanodollars: Some(1_000),
            tags: Tags::parse("team=search,v1.2=x").unwrap(),
            ..answered(id_at("2026-01-31T12:59:59.999Z", 1))
        },
        LedgerEntry {
            duration_us: 301,
            time_to_first_token_us: None,
            usage: Usage { input: 20, output: 7, web_searches: 3, ..Usage::default() },
            cost_nanodollars: None,
            tags: Tags::parse("team=ads").unwrap(),
            ..answered(id_at("2026-01-31T13:00:00Z", 2))
        },
        LedgerEntry {
            model: Some("smart".into()),
            provider: Some("anthropic".into()),
            upstream_model: Some("claude-haiku-4-5".into()),
            duration_us: 50,
            time_to_first_token_us: None,
            usage: Usage { input: 1, output: 1, ..Usage::default() },
            cost_nanodollars: Some(9_000),
            outcome: Outcome::Failed,
            failure: Some("truncated".into()),
            tags: Tags::parse("team=search").unwrap(),
            ..answered(id_at("2026-02-01T00:00:00Z", 3))
        },
        LedgerEntry {
            outcome: Outcome::Refused,
            duration_us: 1,
            ..LedgerEntry::new(id_at("2026-02-01T00:00:01Z", 4), "openai-chat", "chat")
        },
        LedgerEntry {
            model: Some("fast".into()),
            duration_us: 4,
            ..LedgerEntry::new(id_at("2026-02-01T00:00:02Z", 5), "openai-chat", "chat")
        },
    ];
    for entry in entries {
        ledger.reserve().unwrap().record(entry);
    }
    assert!(ledger.close(std::time::Duration::from_secs(20)).await.is_complete());
    store
}

fn figures(rows: &[UsageRow]) -> Vec<(Option<&str>, u64, u64)> {
    rows.iter().map(|row| (row.name(), row.calls, row.cost_nanodollars)).collect()
}

on_both! {
    async fn sums_are_what_a_pencil_says(place: &Place) {
        let store = filled(place).await;
        let rows = store.usage(&UsageQuery::by(GroupBy::Model)).await.unwrap();
        let fast = UsageRow {
            names: vec![Some("fast".into())],
            labels: vec![None],
            calls: 3,
            answered: 2,
            failed: 0,
            refused: 0,
            cancelled: 1,
            usage: Usage {
                input: 30,
                cache_read: 4,
                output: 12,
                reasoning: 2,
                web_searches: 3,
                ..Usage::default()
            },
            cost_nanodollars: 1_000,
            charge_nanodollars: 1_000,
            unpriced: 1,
            estimated: 0,
            average_duration_us: 135,
            longest_duration_us: 301,
            average_time_to_first_token_us: Some(10),
        };
        assert_eq!(rows.iter().find(|row| row.name() == Some("fast")), Some(&fast));
        assert_eq!(figures(&rows), [(Some("smart"), 1, 9_000), (Some("fast"), 3, 1_000), (None, 1, 0)]);
        // A call that was refused or cancelled before it used anything has no unknown price.
        assert_eq!(rows.iter().map(|row| row.unpriced).collect::<Vec<_>>(), [0, 1, 0]);
    }

    async fn every_grouping_finds_its_groups(place: &Place) {
        let store = filled(place).await;
        for (group_by, expected) in [
            (GroupBy::All, vec![(None, 5, 10_000)]),
            (GroupBy::Provider, vec![(Some("anthropic"), 1, 9_000), (Some("openai"), 2, 1_000), (None, 2, 0)]),
            (
                GroupBy::Target,
                vec![
                    (Some("anthropic/claude-haiku-4-5"), 1, 9_000),
                    (Some("openai/gpt-5-mini"), 2, 1_000),
                    (None, 2, 0),
                ],
            ),
            (GroupBy::Tag("team".into()), vec![(Some("search"), 2, 10_000), (None, 2, 0), (Some("ads"), 1, 0)]),
            (GroupBy::Tag("v1.2".into()), vec![(None, 4, 9_000), (Some("x"), 1, 1_000)]),
            (GroupBy::Tag("nobody' OR 1=1 --".into()), vec![(None, 5, 10_000)]),
            (
                GroupBy::Outcome,
                vec![
                    (Some("truncated"), 1, 9_000),
                    (Some("answered"), 2, 1_000),
                    (Some("cancelled"), 1, 0),
                    (Some("refused"), 1, 0),
                ],
            ),
            (
                GroupBy::Hour,
                vec![
                    (Some("2026-02-01T00:00Z"), 3, 9_000),
                    (Some("2026-01-31T13:00Z"), 1, 0),
                    (Some("2026-01-31T12:00Z"), 1, 1_000),
                ],
            ),
            (GroupBy::Day, vec![(Some("2026-02-01"), 3, 9_000), (Some("2026-01-31"), 2, 1_000)]),
        ] {
            let rows = store.usage(&UsageQuery::by(group_by.clone())).await.unwrap();
            assert_eq!(figures(&rows), expected, "{group_by:?}");
        }
    }

    async fn a_range_of_time_includes_its_beginning_and_not_its_end(place: &Place) {
        let store = filled(place).await;
        let thirteen: Timestamp = "2026-01-31T13:00:00Z".parse().unwrap();
        let calls = |query: UsageQuery| {
            let store = store.clone();
            async move { store.usage(&query).await.unwrap().iter().map(|row| row.calls).sum::<u64>() }
        };
        assert_eq!(calls(UsageQuery::by(GroupBy::All).since(thirteen)).await, 4);
        let later = thirteen + SignedDuration::from_millis(1);
        assert_eq!(calls(UsageQuery::by(GroupBy::All).since(later)).await, 3);
        let before = UsageQuery { until: Some(thirteen), ..UsageQuery::by(GroupBy::All) };
        assert_eq!(calls(before).await, 1);
        assert_eq!(calls(UsageQuery::by(GroupBy::All).since("2027-01-01T00:00:00Z".parse().unwrap())).await, 0);
        let listed = store.calls(&CallsQuery { since: Some(later), ..CallsQuery::latest(2) }).await.unwrap();
        assert_eq!(
            listed.iter().map(|entry| entry.id).collect::<Vec<_>>(),
            [id_at("2026-02-01T00:00:02Z", 5), id_at("2026-02-01T00:00:01Z", 4)]
        );
    }
}
