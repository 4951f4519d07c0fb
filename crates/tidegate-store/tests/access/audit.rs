//! The audit log under concurrency, tampering and floods.

use std::net::IpAddr;

use tidegate_store::{Access, Actor, AuditQuery, AuditWriter, Finding, NewKey, NewTeam, RefusedAct};
use tokio::task::JoinSet;

use crate::place::{Place, actor, master_key};

async fn make_teams(access: &Access, count: usize) {
    for number in 0..count {
        let new = NewTeam { name: format!("team {number}"), ..NewTeam::default() };
        access.create_team(new, &actor()).await.unwrap();
    }
}

async fn findings(access: &Access) -> Vec<Finding> {
    access.verify_audit().await.unwrap().findings
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_at_once_in_two_processes_leave_a_whole_chain() {
    for place in Place::all().await {
        let other = place.opened_again().await;
        let mut tasks = JoinSet::new();
        for number in 0..20 {
            let access = if number % 2 == 0 { place.access() } else { other.access() };
            tasks.spawn(async move {
                let new = NewKey { name: format!("key {number}"), ..NewKey::default() };
                access.create_key(new, &actor()).await.unwrap();
            });
        }
        tasks.join_all().await;
        let verification = place.access().verify_audit().await.unwrap();
        assert_eq!((verification.lines, verification.findings), (20, vec![]), "{}", place.kind);
        assert_eq!(place.access().latest_change().await.unwrap(), 20);
    }
}

#[tokio::test]
async fn the_database_itself_refuses_to_change_or_remove_a_line() {
    for place in Place::all().await {
        make_teams(&place.access(), 2).await;
        for sql in [
            "UPDATE audit SET actor = 'somebody' WHERE sequence = 1",
            "DELETE FROM audit WHERE sequence = 2",
            "DELETE FROM audit_head",
        ] {
            let error = place.try_to_tamper(sql).await.unwrap_err();
            assert!(error.to_string().contains("append-only"), "{} {sql}: {error}", place.kind);
        }
        assert_eq!(findings(&place.access()).await, []);
    }
}

#[tokio::test]
async fn every_kind_of_tampering_is_found_and_named() {
    for (sql, found) in [
        ("UPDATE audit SET actor = 'somebody' WHERE sequence = 3", vec![Finding::Altered { sequence: 3 }]),
        ("UPDATE audit SET became = NULL WHERE sequence = 1", vec![Finding::Altered { sequence: 1 }]),
        ("UPDATE audit SET at_ms = at_ms + 1 WHERE sequence = 5", vec![Finding::Altered { sequence: 5 }]),
        ("DELETE FROM audit WHERE sequence = 3", vec![Finding::Removed { first: 3, last: 3 }]),
        ("DELETE FROM audit WHERE sequence < 3", vec![Finding::Removed { first: 1, last: 2 }]),
        ("DELETE FROM audit WHERE sequence > 3", vec![Finding::Removed { first: 4, last: 5 }]),
        ("DELETE FROM audit", vec![Finding::Removed { first: 1, last: 5 }]),
        ("DELETE FROM audit_head", vec![Finding::NoHead]),
        (
            "UPDATE audit SET sequence = 10 WHERE sequence = 5",
            vec![Finding::Removed { first: 5, last: 5 }, Finding::Added { first: 10 }],
        ),
        (
            "UPDATE audit SET previous_hash = hash WHERE sequence = 2",
            vec![Finding::Unchained { sequence: 2 }, Finding::Altered { sequence: 2 }],
        ),
        (
            "UPDATE audit SET hash = previous_hash WHERE sequence = 5",
            vec![Finding::Altered { sequence: 5 }, Finding::OtherEnd { sequence: 5 }],
        ),
        (
            "UPDATE audit SET previous_hash = substr(previous_hash, 1, 4) WHERE sequence = 1",
            vec![Finding::Unchained { sequence: 1 }, Finding::Altered { sequence: 1 }],
        ),
        (
            "UPDATE audit SET hash = substr(hash, 1, 4) WHERE sequence = 5",
            vec![Finding::Altered { sequence: 5 }, Finding::OtherEnd { sequence: 5 }],
        ),
        (
            "INSERT INTO audit SELECT 6, at_ms, actor, address, action, object, was, became, hash, hash \
             FROM audit WHERE sequence = 5",
            vec![Finding::Added { first: 6 }],
        ),
        (
            "DELETE FROM audit WHERE sequence = 5; \
             UPDATE audit_head SET sequence = 4, hash = (SELECT hash FROM audit WHERE sequence = 4)",
            // Who rewrites the head too leaves a whole log: only a seal tells.
            vec![],
        ),
    ] {
        for place in Place::all().await {
            make_teams(&place.access(), 5).await;
            assert_eq!(findings(&place.access()).await, []);
            place.unlock().await;
            place.tamper(sql).await;
            assert_eq!(findings(&place.access()).await, found, "{} {sql}", place.kind);
            if found.contains(&Finding::NoHead) {
                let new = NewTeam { name: "later".into(), ..NewTeam::default() };
                place.access().create_team(new, &actor()).await.unwrap();
                assert_eq!(findings(&place.access()).await, found, "what is done later does not hide it");
            }
        }
    }
}

#[tokio::test]
async fn with_a_master_key_the_log_cannot_be_rewritten_as_a_whole() {
    for place in Place::all().await {
        let sealing = place.access().with_master_key(Some(master_key(1)));
        make_teams(&sealing, 3).await;
        let verification = sealing.verify_audit().await.unwrap();
        assert_eq!((verification.sealed_through, verification.findings), (Some(3), vec![]));
        // A process without the key goes on; what it writes is not vouched for.
        let new = NewTeam { name: "unsealed".into(), ..NewTeam::default() };
        place.access().create_team(new, &actor()).await.unwrap();
        assert_eq!(sealing.verify_audit().await.unwrap().sealed_through, Some(3));
        let other = place.access().with_master_key(Some(master_key(2)));
        assert_eq!(findings(&other).await, [Finding::WrongSeal { sequence: 3 }], "{}", place.kind);
        place.unlock().await;
        place
            .tamper(
                "DELETE FROM audit WHERE sequence > 2; \
                 UPDATE audit_head SET sequence = 2, hash = (SELECT hash FROM audit WHERE sequence = 2)",
            )
            .await;
        assert_eq!(findings(&place.access()).await, [], "without the key nobody can tell");
        assert_eq!(findings(&sealing).await, [Finding::WrongSeal { sequence: 3 }]);
        place.tamper("UPDATE audit_head SET sealed_sequence = 2").await;
        assert_eq!(findings(&sealing).await, [Finding::WrongSeal { sequence: 2 }]);
        place.tamper("UPDATE audit_head SET sealed_sequence = 0, seal = NULL").await;
        assert_eq!(findings(&sealing).await, [Finding::NotSealed]);
    }
}

fn refused(actor: Actor, reason: &str) -> RefusedAct {
    RefusedAct { actor, act: "chat".into(), object: "model:gpt-5".into(), reason: reason.into() }
}

#[tokio::test]
async fn equal_refusals_become_one_line_and_a_flood_is_counted() {
    for place in Place::all().await {
        let access = place.access();
        let writer = AuditWriter::start(access.clone());
        let address: IpAddr = "192.0.2.7".parse().unwrap();
        for _ in 0..50 {
            writer.record(refused(Actor { name: "key_1".into(), address: Some(address) }, "models"));
        }
        for number in 0..3_000 {
            writer.record(refused(Actor::anonymous(None), &format!("reason {number}")));
        }
        writer.flush().await;
        writer.flush().await;
        let lines = access.audit(&AuditQuery { limit: 1_000, ..AuditQuery::default() }).await.unwrap().items;
        assert!(lines.len() < 50, "{} {} lines", place.kind, lines.len());
        let state = |text: &Option<String>| -> serde_json::Value {
            serde_json::from_str(text.as_deref().unwrap()).unwrap()
        };
        let first = lines.iter().find(|line| line.actor == "key_1").unwrap();
        assert_eq!(state(&first.after)["count"], 50);
        assert_eq!(first.address.as_deref(), Some("192.0.2.7"));
        let told: u64 = lines.iter().map(|line| state(&line.after)["count"].as_u64().unwrap()).sum();
        assert_eq!(told, 3_050, "{}: every refusal is counted somewhere", place.kind);
        assert!(lines.iter().any(|line| line.action == "permission.left_out"));
        assert!(access.verify_audit().await.unwrap().is_whole());
    }
}

#[tokio::test]
async fn lines_are_listed_in_pages_and_by_what_they_say() {
    for place in Place::all().await {
        let access = place.access();
        make_teams(&access, 5).await;
        let page = access.audit(&AuditQuery { limit: 2, ..AuditQuery::default() }).await.unwrap();
        let numbers =
            |items: &[tidegate_store::AuditLine]| items.iter().map(|line| line.sequence).collect::<Vec<_>>();
        assert_eq!((numbers(&page.items), page.next), (vec![5, 4], Some(4)), "{}", place.kind);
        let page =
            access.audit(&AuditQuery { limit: 3, before: page.next, ..AuditQuery::default() }).await.unwrap();
        assert_eq!((numbers(&page.items), page.next), (vec![3, 2, 1], None));
        let object = page.items.first().unwrap().object.clone();
        let query =
            AuditQuery { object: Some(object), actor: Some("cli:test".into()), ..AuditQuery::default() };
        assert_eq!(numbers(&access.audit(&query).await.unwrap().items), [3]);
        let query = AuditQuery { action: Some("team.update".into()), ..AuditQuery::default() };
        assert_eq!(access.audit(&query).await.unwrap().items, []);
    }
}
