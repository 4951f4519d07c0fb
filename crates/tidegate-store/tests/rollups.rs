//! The sums beside the calls: reports that use them say what the calls say, and limits learn from them what was spent.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{Place, answered, on_both};
use jiff::{SignedDuration, Timestamp};
use sqlx::{Connection, Executor, SqliteConnection};
use tidegate_catalog::NanoDollars;
use tidegate_policy::{RecentCalls, Spending};
use tidegate_store::{
    Actor, CallId, EndUser, GroupBy, LedgerEntry, LedgerOptions, NewTeam, Outcome, Scope, Store, Tags,
    UsageFilter, UsageOrder, UsageQuery, UsageRow, UsageTotal,
};
use tidegate_wire::Usage;

fn id_at(moment: Timestamp, number: u32) -> CallId {
    let milliseconds = moment.as_millisecond();
    format!("{:08x}-{:04x}-7000-8000-0000{number:08x}", milliseconds >> 16, milliseconds & 0xffff)
        .parse()
        .unwrap()
}

async fn write(store: &Store, entries: &[LedgerEntry]) {
    let ledger = store.ledger(LedgerOptions::default()).await.unwrap();
    for entry in entries {
        ledger.reserve().unwrap().record(entry.clone());
    }
    assert!(ledger.close(Duration::from_secs(30)).await.is_complete());
}

/// Calls over three days, of all sorts.
fn mixed() -> Vec<LedgerEntry> {
    let mut random = fastrand::Rng::with_seed(7);
    let begin: Timestamp = "2026-03-30T22:00:00Z".parse().unwrap();
    (0..1_000)
        .map(|number| {
            let moment = begin + SignedDuration::from_millis(random.i64(0..3 * 86_400_000));
            let pick = |random: &mut fastrand::Rng, words: &[&'static str]| {
                random.choice(words).filter(|word| !word.is_empty()).map(|word| (*word).into())
            };
            let organization = pick(&mut random, &["org_1", "org_2", ""]);
            LedgerEntry {
                key_id: organization.as_ref().and_then(|_| pick(&mut random, &["key_1", "key_2", "key_3"])),
                team_id: pick(&mut random, &["team_1", "team_2", ""]),
                end_user: pick(&mut random, &["ann", "bob/b", ""]),
                organization_id: organization,
                model: pick(&mut random, &["fast", "smart", ""]),
                provider: pick(&mut random, &["openai", "anthropic"]),
                outcome: *random.choice(&Outcome::ALL).unwrap(),
                failure: None,
                usage: Usage { input: random.u64(0..1000), output: random.u64(0..9), ..Usage::default() },
                cost_nanodollars: random.bool().then(|| random.u64(0..1_000_000)),
                charge_nanodollars: random.bool().then(|| random.u64(0..1_000_000)),
                is_estimated: random.bool(),
                duration_us: random.u64(0..1_000_000),
                time_to_first_token_us: random.bool().then(|| random.u64(0..9_000)),
                tags: Tags::parse(random.choice(["", "app=a", "app=b,env=x"]).unwrap()).unwrap(),
                ..answered(id_at(moment, number))
            }
        })
        .collect()
}

/// What a report has to say, by plain adding up.
fn expected(entries: &[LedgerEntry], query: &UsageQuery) -> BTreeMap<Vec<Option<String>>, [u64; 9]> {
    let mut rows = BTreeMap::<_, [u64; 9]>::new();
    let text = |text: &Option<tidegate_store::Text>| text.as_ref().map(ToString::to_string);
    for entry in entries {
        let filter = &query.filter;
        let started = entry.id.started_at();
        let in_time = query.since.is_none_or(|since| started >= since)
            && query.until.is_none_or(|until| started < until);
        let is = |wanted: &Option<tidegate_store::Text>, found: &Option<tidegate_store::Text>| {
            wanted.is_none() || wanted == found
        };
        let wanted = in_time
            && is(&filter.organization, &entry.organization_id)
            && is(&filter.team, &entry.team_id)
            && is(&filter.key, &entry.key_id)
            && is(&filter.model, &entry.model)
            && is(&filter.provider, &entry.provider)
            && is(&filter.end_user, &entry.end_user)
            && filter.tag.as_ref().is_none_or(|(name, value)| entry.tags.get(name) == Some(value.as_str()))
            && filter.outcome.as_ref().is_none_or(|outcome| *outcome == entry.outcome.as_str());
        if !wanted {
            continue;
        }
        let names = query.group_by.iter().map(|by| match by {
            GroupBy::All => None,
            GroupBy::Organization => text(&entry.organization_id),
            GroupBy::Team => text(&entry.team_id),
            GroupBy::Key => text(&entry.key_id),
            GroupBy::EndUser => text(&entry.end_user),
            GroupBy::Model => text(&entry.model),
            GroupBy::Provider => text(&entry.provider),
            GroupBy::Target => Some(format!("{}/gpt-5-mini", entry.provider.as_ref().unwrap())),
            GroupBy::Outcome => Some(entry.outcome.as_str().to_owned()),
            GroupBy::Tag(name) => entry.tags.get(name).map(str::to_owned),
            GroupBy::Hour => Some(started.strftime("%Y-%m-%dT%H:00Z").to_string()),
            GroupBy::Day => Some(started.strftime("%Y-%m-%d").to_string()),
        });
        let row = rows.entry(names.collect()).or_default();
        let used = entry.outcome == Outcome::Answered || entry.usage.input + entry.usage.output > 0;
        for (sum, value) in row.iter_mut().zip([
            1,
            u64::from(entry.outcome == Outcome::Refused),
            entry.usage.input,
            entry.usage.output,
            entry.cost_nanodollars.unwrap_or(0),
            entry.charge_nanodollars.or(entry.cost_nanodollars).unwrap_or(0),
            u64::from(entry.cost_nanodollars.is_none() && used),
            u64::from(entry.is_estimated),
        ]) {
            *sum += value;
        }
        row[8] = row[8].max(entry.duration_us);
    }
    rows
}

fn found(rows: Vec<UsageRow>) -> BTreeMap<Vec<Option<String>>, [u64; 9]> {
    let figures = |row: UsageRow| {
        let sums = [
            row.calls,
            row.refused,
            row.usage.input,
            row.usage.output,
            row.cost_nanodollars,
            row.charge_nanodollars,
            row.unpriced,
            row.estimated,
            row.longest_duration_us,
        ];
        (row.names, sums)
    };
    rows.into_iter().map(figures).collect()
}

fn questions() -> Vec<UsageQuery> {
    let groups: [&[GroupBy]; 12] = [
        &[],
        &[GroupBy::All],
        &[GroupBy::Team, GroupBy::Model],
        &[GroupBy::Organization, GroupBy::Day],
        &[GroupBy::Target, GroupBy::Hour],
        &[GroupBy::Key],
        &[GroupBy::Day, GroupBy::Key],
        &[GroupBy::Key, GroupBy::Model],
        &[GroupBy::EndUser],
        &[GroupBy::Outcome, GroupBy::Provider],
        &[GroupBy::Tag("app".into())],
        &[GroupBy::Hour],
    ];
    let some = |text: &'static str| Some(text.into());
    let filters = [
        UsageFilter::default(),
        UsageFilter { team: some("team_1"), model: some("fast"), ..UsageFilter::default() },
        UsageFilter { key: some("key_2"), ..UsageFilter::default() },
        UsageFilter { organization: some("org_1"), end_user: some("bob/b"), ..UsageFilter::default() },
        UsageFilter { tag: Some(("app".into(), "b".into())), ..UsageFilter::default() },
        UsageFilter { outcome: some("refused"), provider: some("openai"), ..UsageFilter::default() },
    ];
    let moment = |text: &str| Some(text.parse::<Timestamp>().unwrap());
    let times = [
        (None, None),
        (moment("2026-04-01T00:00:00Z"), moment("2026-04-02T00:00:00Z")),
        (moment("2026-03-31T03:00:00Z"), None),
        (moment("2026-03-31T21:22:23.456Z"), moment("2026-04-01T21:22:23.456Z")),
        (moment("2026-04-01T03:04:05Z"), moment("2026-04-01T03:44:05Z")),
        (None, moment("2020-01-01T00:00:00Z")),
    ];
    let mut questions = Vec::new();
    for group_by in groups {
        for filter in &filters {
            for (since, until) in times {
                let query = UsageQuery::by_all(group_by);
                questions.push(UsageQuery { filter: filter.clone(), since, until, ..query });
            }
        }
    }
    questions
}

on_both! {
    async fn reports_say_what_the_calls_say_from_wherever_they_come(place: &Place) {
        let store = place.open().await;
        let entries = mixed();
        write(&store, &entries).await;
        for query in questions() {
            let rows = store.usage(&query).await.unwrap();
            assert_eq!(found(rows), expected(&entries, &query), "{query:?}");
        }
    }

    async fn reports_of_whole_days_do_not_need_the_calls(place: &Place) {
        let store = place.open().await;
        let entries = mixed();
        write(&store, &entries).await;
        if let Some(database) = &place.database {
            database.sql("DELETE FROM calls");
        } else {
            let path = place.directory.path().join("tidegate.db");
            let mut outsider = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
            outsider.execute("DELETE FROM calls").await.unwrap();
        }
        for query in [
            UsageQuery::by_all([GroupBy::Team, GroupBy::Model]).since("2026-04-01T00:00:00Z".parse().unwrap()),
            UsageQuery::by_all([GroupBy::Hour, GroupBy::Target]).since("2026-03-31T05:00:00Z".parse().unwrap()),
            UsageQuery::by(GroupBy::Key),
        ] {
            let rows = store.usage(&query).await.unwrap();
            assert_eq!(found(rows), expected(&entries, &query), "{query:?}");
        }
    }

    async fn the_order_and_the_limit_of_a_report_are_as_asked(place: &Place) {
        let store = place.open().await;
        write(&store, &mixed()).await;
        let ask = async |order, limit| {
            let query = UsageQuery { order, limit, ..UsageQuery::by(GroupBy::Key) };
            store.usage(&query).await.unwrap()
        };
        let by_name = ask(UsageOrder::Name, 3).await;
        let names: Vec<_> = by_name.iter().map(UsageRow::name).collect();
        assert_eq!(names, [None, Some("key_1"), Some("key_2")]);
        assert!(ask(UsageOrder::Calls, 9).await.is_sorted_by_key(|row| std::cmp::Reverse(row.calls)));
        assert!(ask(UsageOrder::Cost, 9).await.is_sorted_by_key(|row| std::cmp::Reverse(row.cost_nanodollars)));
        assert!(ask(UsageOrder::Tokens, 9).await
            .is_sorted_by_key(|row| std::cmp::Reverse(row.usage.input + row.usage.output)));
        for query in questions() {
            let all = store.usage(&UsageQuery { limit: u32::MAX, ..query.clone() }).await.unwrap();
            let total = store.usage_total(&UsageQuery { limit: 1, ..query.clone() }).await.unwrap();
            assert_eq!(total, UsageTotal::of(&all), "{query:?}");
        }
    }

    async fn teams_and_keys_are_called_by_their_names_beside_their_ids(place: &Place) {
        let store = place.open().await;
        let team = store
            .access()
            .create_team(NewTeam { name: "Search".into(), ..NewTeam::default() }, &Actor::system())
            .await
            .unwrap();
        let id = team.id.to_string();
        let call = |team: &str, number| LedgerEntry {
            team_id: Some(team.to_owned().into()),
            ..answered(id_at("2026-04-01T00:00:00Z".parse().unwrap(), number))
        };
        write(&store, &[call(&id, 1), call("team_of_old", 2)]).await;
        let rows = store.usage(&UsageQuery::by_all([GroupBy::Model, GroupBy::Team])).await.unwrap();
        for row in &rows {
            let label = (row.names[1].as_deref() == Some(&*id)).then(|| "Search".to_owned());
            assert_eq!(row.labels, [None, label], "{rows:?}");
        }
        assert_eq!(rows.len(), 2);
    }

    async fn a_limiter_that_starts_learns_what_was_spent_in_each_period_and_lately(place: &Place) {
        let store = place.open().await;
        // A Wednesday.
        let now: Timestamp = "2026-04-01T12:30:00Z".parse().unwrap();
        let call = |moment: &str, number, charge: Option<u64>| LedgerEntry {
            organization_id: Some("org_1".into()),
            team_id: Some("team_1".into()),
            key_id: Some("key_1".into()),
            end_user: Some("a/b".into()),
            usage: Usage { input: 100, output: 10, ..Usage::default() },
            cost_nanodollars: Some(1),
            charge_nanodollars: charge,
            tags: Tags::parse("app=x").unwrap(),
            ..answered(id_at(moment.parse().unwrap(), number))
        };
        write(&store, &[
            call("2026-03-01T00:00:00Z", 1, Some(1_000_000)),
            call("2026-03-31T10:00:00Z", 2, Some(100_000)),
            call("2026-04-01T11:59:59Z", 3, Some(10_000)),
            call("2026-04-01T12:00:00Z", 4, Some(1_000)),
            call("2026-04-01T12:29:30.100Z", 5, Some(100)),
            call("2026-04-01T12:29:30.900Z", 6, None),
        ]).await;
        let all = store.spending_of_all(now).await.unwrap();
        let user = EndUser { organization_id: "org_1".into(), name: "a/b".into() };
        let mut scopes: Vec<Scope> = all.iter().map(|(scope, _)| scope.clone()).collect();
        scopes.sort_by_key(ToString::to_string);
        assert_eq!(
            scopes,
            [Scope::Key("key_1".into()), Scope::Organization("org_1".into()), Scope::Team("team_1".into())]
        );
        scopes.extend([Scope::EndUser(user), Scope::tag("app", "x")]);
        for scope in scopes {
            let mut spending = store.spending_of(&scope, now).await.unwrap();
            spending.recent.sort_by_key(|calls| calls.age);
            let recent = |seconds, requests| RecentCalls {
                age: Duration::from_millis(seconds), requests, tokens: requests * 110
            };
            let expected = Spending {
                as_of: now.as_second(),
                hour: NanoDollars(1_101),
                day: NanoDollars(11_101),
                week: NanoDollars(111_101),
                month: NanoDollars(11_101),
                lifetime: NanoDollars(1_111_101),
                recent: vec![recent(29_100, 2), recent(60_000, 1), recent(1_800_000, 1)],
            };
            assert_eq!(spending, expected, "{scope}");
            if let Some((_, found)) = all.iter().find(|(known, _)| *known == scope) {
                let mut found = found.clone();
                found.recent.sort_by_key(|calls| calls.age);
                assert_eq!(found, expected, "{scope}");
            }
        }
        let nobody = store.spending_of(&Scope::Key("key_9".into()), now).await.unwrap();
        assert_eq!(nobody, Spending { as_of: now.as_second(), ..Spending::default() });
    }
}
