//! Three replicas side by side, with one PostgreSQL and one Redis: limits and budgets hold over all of them, and a change
//! of a key reaches each within a second. One replica with SQLite does the same for itself.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail loudly, and shows figures to who asks"
)]

mod common;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::PATIENCE;
use common::fleet::{CENT, Caller, Fleet, Ground, Speech, actor, cents, count, requests, spent};
use http::StatusCode;
use tidegate_policy::{Limits, ModelPattern, Permissions, RatePeriod};
use tidegate_store::{EndUser, Grace, KeyUpdate, NewKey, NewOrganization, NewTeam, Scope};
use tidegate_testkit::{Client, Received, servers};

/// A change is promised to be in force everywhere within a second. The rest is for a machine that is busy with tests.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(3);

async fn three(prepare: impl AsyncFnOnce(&Ground)) -> Fleet {
    // Never dropped: the server goes with the tests, and its databases with it.
    let database = Box::leak(Box::new(servers::postgres().database()));
    let ground = Ground::of_three(&database.url(), &servers::redis().database()).await;
    prepare(&ground).await;
    ground.start()
}

/// That a refusal for a budget says in the caller's dialect what it has to say.
fn check_refusal(speech: Speech, received: &Received, whose: &str, budget: &str) {
    assert_eq!(received.status, 402, "{}", received.text());
    let body = received.json();
    let (message, kind) = match speech {
        Speech::OpenAi => (&body["error"]["message"], &body["error"]["type"]),
        Speech::Anthropic => (&body["error"]["message"], &body["error"]["type"]),
        Speech::Gemini => (&body["error"]["message"], &body["error"]["status"]),
    };
    let expected = match speech {
        Speech::OpenAi => "insufficient_quota",
        Speech::Anthropic => "billing_error",
        Speech::Gemini => "RESOURCE_EXHAUSTED",
    };
    assert_eq!(kind, expected, "{body}");
    if speech == Speech::Anthropic {
        assert_eq!(body["type"], "error", "{body}");
    }
    let message = message.as_str().expect("a message");
    assert!(message.contains(whose) && message.contains(budget), "{message}");
}

/// A budget of 50 calls against 500 at once.
async fn a_budget_holds(fleet: &Fleet, caller: &Caller) {
    let received = fleet.call_all(caller, 500).await;
    for (speech, received) in received.iter().filter(|(_, received)| received.status != 200) {
        check_refusal(*speech, received, "key `fifty`", "0.5 US dollars per lifetime");
    }
    // All of it was held at some moment, so that whoever came then was refused; but nothing held is ever given back
    // here, since every call uses what it reserved.
    assert_eq!(count(&received, 200), 50);
    for speech in [Speech::OpenAi, Speech::Anthropic, Speech::Gemini] {
        assert!(received.iter().any(|(it, received)| *it == speech && received.status == 402), "{speech:?}");
    }
    assert_eq!(spent(&fleet.ledger(caller, 50).await), 50 * CENT);
    assert_eq!(count(&fleet.call_all(caller, 9).await, 402), 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_calls_at_once_over_three_replicas_never_exceed_a_budget_of_fifty() {
    let mut caller = None;
    let fleet = three(async |ground| caller = Some(ground.key("fifty", cents(50)).await)).await;
    a_budget_holds(&fleet, &caller.expect("a key")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_calls_at_once_on_one_node_with_sqlite_never_exceed_a_budget_of_fifty() {
    let ground = Ground::of_one().await;
    let caller = ground.key("fifty", cents(50)).await;
    a_budget_holds(&ground.start(), &caller).await;
}

/// On all levels at once: organisation, team, key, end user and tag.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_budgets_on_all_levels_the_tightest_decides() {
    let names = ["organisation `Org", "team `Team", "key `Key", "end user `User", "the tag `project=Tag"];
    let mut callers = Vec::new();
    let fleet = three(async |ground| {
        for (tight, _) in names.iter().enumerate() {
            callers.push(on_all_levels(ground, tight).await);
        }
    })
    .await;
    for (tight, (caller, whose)) in callers.iter().zip(names).enumerate() {
        let mut calls = Vec::new();
        for number in 0..24 {
            let (address, caller) = (fleet.address(number), caller.clone());
            calls.push(tokio::spawn(async move { caller.ask(address).await }));
        }
        let mut answered = 0;
        for call in calls {
            let received = call.await.expect("a call comes to its end");
            if received.status == 200 {
                answered += 1;
            } else {
                check_refusal(Speech::OpenAi, &received, &format!("{whose} {tight}"), "0.08 US dollars");
            }
        }
        assert_eq!(answered, 8, "{whose}");
        assert_eq!(spent(&fleet.ledger(caller, 8).await), 8 * CENT);
    }
}

/// A key with budgets on each of its levels, of which this one has the least.
async fn on_all_levels(ground: &Ground, tight: usize) -> Caller {
    let limits = |level: usize| cents(if level == tight { 8 } else { 12 });
    let (access, actor) = (ground.access(), actor());
    let new =
        NewOrganization { name: format!("Org {tight}"), limits: limits(0), ..NewOrganization::default() };
    let organization = access.create_organization(new, &actor).await.expect("an organisation").id;
    let new = NewTeam {
        name: format!("Team {tight}"),
        organization_id: Some(organization.clone()),
        limits: limits(1),
        ..NewTeam::default()
    };
    let team = access.create_team(new, &actor).await.expect("a team").id;
    let new = NewKey {
        name: format!("Key {tight}"),
        organization_id: Some(organization.clone()),
        team_id: Some(team),
        limits: limits(2),
        ..NewKey::default()
    };
    let mut caller = ground.new_key(new).await;
    let (user, tag) = (format!("User {tight}"), format!("Tag {tight}"));
    let end_user = Scope::EndUser(EndUser { organization_id: organization, name: user.as_str().into() });
    access.set_subject(&end_user, limits(3), false, &actor).await.expect("an end user's limits");
    access.set_subject(&Scope::tag("project", &tag), limits(4), false, &actor).await.expect("a tag's limits");
    caller.user = Some(user);
    caller.tags = Some(format!("project={tag}"));
    caller
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_so_many_requests_a_minute_are_admitted_whichever_replicas_they_hit() {
    let mut callers = None;
    let fleet = three(async |ground| {
        let many = ground.key("many", requests(20, RatePeriod::Minute)).await;
        let one = ground.key("one", requests(15, RatePeriod::Minute)).await;
        let quick = ground.key("quick", requests(3, RatePeriod::Second)).await;
        callers = Some((many, one, quick));
    })
    .await;
    let (many, one, quick) = callers.expect("keys");

    let began = Instant::now();
    let received = fleet.call_all(&many, 120).await;
    assert_eq!(count(&received, 200), 20);
    assert_eq!(count(&received, 429), 100);
    let took = began.elapsed().as_secs();
    for (_, refused) in received.iter().filter(|(_, received)| received.status == 429) {
        let retry_after: u64 = refused.header("retry-after").parse().expect("seconds");
        // A window is a minute and the slice in which it begins, and what is in it began in this test.
        assert!(retry_after <= 62 && retry_after + took >= 59, "{retry_after} after {took}");
        assert_eq!(refused.header("x-ratelimit-limit-requests"), "20");
        assert_eq!(refused.header("x-ratelimit-remaining-requests"), "0");
        assert!(refused.text().contains("key `many`"), "{}", refused.text());
    }

    for number in 0..15 {
        let received = one.ask(fleet.address(number)).await;
        assert_eq!(received.status, 200, "{}", received.text());
        let remaining = (14 - number).to_string();
        assert_eq!(received.header("x-ratelimit-remaining-requests"), remaining, "call {number}");
    }
    assert_eq!(one.ask(fleet.address(0)).await.status, 429);

    // Who waits as long as was said is let in: once all that was counted began before the refusal.
    for round in 0..3 {
        let mut number = round;
        let refused = loop {
            number += 1;
            let received = quick.ask(fleet.address(number)).await;
            if received.status == 429 {
                break received;
            }
            assert!(number < 200, "three a second are never refused");
        };
        let wait: u64 = refused.header("retry-after-ms").parse().expect("milliseconds");
        assert!((1..=1_100).contains(&wait), "{wait}");
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let received = quick.ask(fleet.address(number + 1)).await;
        assert_eq!(received.status, 200, "after {wait} ms: {}", received.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_in_flight_are_counted_over_all_replicas_and_end_when_callers_hang_up() {
    let mut caller = None;
    let limits = Limits { in_flight: Some(6), ..Limits::default() };
    let fleet = three(async |ground| caller = Some(ground.key("six", limits).await)).await;
    let caller = caller.expect("a key");
    for _ in 0..2 {
        let mut opening = Vec::new();
        for number in 0..18 {
            let (address, caller) = (fleet.address(number), caller.clone());
            opening.push(tokio::spawn(async move { caller.open(address).await }));
        }
        let mut open = Vec::new();
        let mut refused = 0;
        for stream in opening {
            let (status, headers, stream) = stream.await.expect("a stream begins or is refused");
            if status == StatusCode::OK {
                open.push(stream);
            } else {
                assert!(status == 429 && headers.contains_key("retry-after"), "{status} {headers:?}");
                refused += 1;
            }
        }
        assert_eq!((open.len(), refused), (6, 12));
        for number in 0..3 {
            assert_eq!(caller.ask(fleet.address(number)).await.status, 429);
        }
        // One less on any replica makes room for one on all.
        drop(open.pop());
        wait_for_answer(&caller, fleet.address(1), 200).await;
        drop(open);
        wait_until_free(&fleet, &caller).await;
    }
}

/// Waits until none of the six is in flight: six can be opened at once, one after the other.
async fn wait_until_free(fleet: &Fleet, caller: &Caller) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut open = Vec::new();
        for number in 0..6 {
            let (status, _, stream) = caller.open(fleet.address(number)).await;
            if status == StatusCode::OK {
                open.push(stream);
            }
        }
        if open.len() == 6 {
            drop(open);
            // What was just dropped has to be free for the next.
            return wait_for_answers_in_a_row(fleet, caller).await;
        }
        drop(open);
        assert!(Instant::now() < deadline, "what was in flight is never free again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Redis has heard of all that ended once nothing has changed for a while; asking takes room only for a moment.
async fn wait_for_answers_in_a_row(fleet: &Fleet, caller: &Caller) {
    for number in 0..3 {
        wait_for_answer(caller, fleet.address(number), 200).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
}

/// Asks until it is answered so, and says how long that took.
async fn wait_for_answer(caller: &Caller, address: SocketAddr, status: u16) -> (Duration, Received) {
    let began = Instant::now();
    loop {
        let received = caller.ask(address).await;
        if received.status == status {
            return (began.elapsed(), received);
        }
        assert!(began.elapsed() < PATIENCE, "still {}: {}", received.status, received.text());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// That every replica answers so, soon.
async fn soon_everywhere(fleet: &Fleet, what: &str, caller: &Caller, status: u16, words: &str) {
    let began = Instant::now();
    for address in &fleet.addresses {
        let (_, received) = wait_for_answer(caller, *address, status).await;
        assert!(received.text().contains(words), "{what}: {}", received.text());
    }
    let took = began.elapsed();
    println!("{what}: in force on {} replicas after {took:?}", fleet.addresses.len());
    assert!(took < IN_FORCE_WITHIN, "{what}: {took:?}");
    for address in &fleet.addresses {
        assert_eq!(caller.ask(*address).await.status, status, "{what}: and then not any more");
    }
}

async fn changes_are_soon_in_force(fleet: &Fleet, callers: [Caller; 3]) {
    let [disabled, rotated, restricted] = callers;
    let (access, actor) = (fleet.ground.access(), actor());
    for caller in [&disabled, &rotated, &restricted] {
        for address in &fleet.addresses {
            assert_eq!(caller.ask(*address).await.status, 200);
        }
    }
    let made = fleet.ground.workplace(0).run(&["keys", "create", "--name", "new"]);
    for address in &fleet.addresses {
        let new =
            Client::new(*address).with_header("authorization", &format!("Bearer {}", made.output.trim_end()));
        assert_eq!(new.get("/v1/models").await.status, 200, "a new key works everywhere at once");
    }
    let command = |name: &str| {
        let ended = fleet.ground.workplace(0).run(&["keys", name, disabled.id.as_str()]);
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
    };
    command("disable");
    soon_everywhere(fleet, "a disabled key", &disabled, 401, "disabled").await;
    command("enable");
    soon_everywhere(fleet, "the key enabled again", &disabled, 200, "").await;

    let grace = Grace(Duration::ZERO);
    let new = access.rotate_key(&rotated.id, grace, &actor).await.expect("the key is rotated");
    soon_everywhere(fleet, "a rotated key's old secret", &rotated, 401, "").await;
    soon_everywhere(fleet, "its new secret", &Caller::of(new), 200, "").await;

    let permissions =
        Permissions { models: vec![ModelPattern("openai/gpt-*".into())], ..Permissions::default() };
    let update = KeyUpdate { permissions: Some(permissions), ..KeyUpdate::default() };
    access.update_key(&restricted.id, update, &actor).await.expect("the key is changed");
    soon_everywhere(fleet, "a key without the model", &restricted, 403, "openai/tokens-500").await;
    // It has called more often than that already.
    let limits = requests(1, RatePeriod::Minute);
    let update =
        KeyUpdate { limits: Some(limits), permissions: Some(Permissions::default()), ..KeyUpdate::default() };
    access.update_key(&restricted.id, update, &actor).await.expect("the key is changed");
    soon_everywhere(fleet, "a key with fewer requests", &restricted, 429, "key `restricted`").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_key_is_soon_changed_on_every_replica() {
    let mut callers = None;
    let fleet = three(async |ground| callers = Some(three_keys(ground).await)).await;
    changes_are_soon_in_force(&fleet, callers.expect("keys")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_another_process_changes_in_sqlite_is_soon_changed_for_callers() {
    let ground = Ground::of_one().await;
    let callers = three_keys(&ground).await;
    changes_are_soon_in_force(&ground.start(), callers).await;
}

async fn three_keys(ground: &Ground) -> [Caller; 3] {
    let [disabled, rotated, restricted] = ["disabled", "rotated", "restricted"];
    let key = async |name| ground.key(name, Limits::default()).await;
    [key(disabled).await, key(rotated).await, key(restricted).await]
}
