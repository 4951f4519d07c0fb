//! What administrators do: it is kept, told to other processes and written down.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tidegate_policy::{Limits, Permissions, Role};
use tidegate_store::{
    Access, AccessError, Actor, AuditQuery, Changed, Changes, Grace, KeyHash, KeyId, KeySecret, KeyUpdate,
    KeysQuery, NewKey, NewOrganization, NewTeam, OrganizationId, OrganizationUpdate, RoleFilter, Scope,
    Standing, TeamUpdate,
};

use crate::place::{Place, actor};

fn limits(json: &str) -> Limits {
    serde_json::from_str(json).unwrap()
}

fn named(name: &str) -> NewKey {
    NewKey { name: name.to_owned(), ..NewKey::default() }
}

#[track_caller]
fn field<T: std::fmt::Debug>(result: Result<T, AccessError>) -> String {
    match result.unwrap_err() {
        AccessError::Invalid { field, .. } => field,
        AccessError::Conflict { field, .. } => format!("taken: {field}"),
        AccessError::NotFound { kind, .. } => format!("no {kind}"),
        other => panic!("{other:?}"),
    }
}

async fn changed_since(access: &Access, sequence: &mut u64) -> Vec<Changed> {
    match access.changes_since(*sequence).await.unwrap() {
        Changes::These { changed, latest } => {
            *sequence = latest;
            changed
        }
        Changes::Everything => panic!("everything"),
    }
}

#[tokio::test]
async fn every_operation_is_kept_told_and_written_down() {
    for place in Place::all().await {
        let access = place.access();
        let elsewhere = place.opened_again().await.access();
        let mut seen = elsewhere.latest_change().await.unwrap();

        let organization = access
            .create_organization(NewOrganization { name: " Acme ".into(), ..Default::default() }, &actor())
            .await
            .unwrap();
        assert_eq!(organization.name, "Acme");
        assert_eq!(elsewhere.organization(&organization.id).await.unwrap().unwrap(), organization);
        let update = OrganizationUpdate {
            end_user_limits: Some(limits(r#"{"requests":[{"max":5,"per":"minute"}]}"#)),
            ..Default::default()
        };
        let organization = access.update_organization(&organization.id, update, &actor()).await.unwrap();
        assert_eq!(elsewhere.organization(&organization.id).await.unwrap().unwrap(), organization);
        assert_eq!(
            changed_since(&elsewhere, &mut seen).await,
            [Changed::Organization(organization.id.clone())]
        );

        let new = NewTeam {
            name: "core".into(),
            organization_id: Some(organization.id.clone()),
            ..Default::default()
        };
        let team = access.create_team(new, &actor()).await.unwrap();
        let update = TeamUpdate { margin_millionths: Some(200_000), ..Default::default() };
        let team = access.update_team(&team.id, update, &actor()).await.unwrap();
        assert_eq!(elsewhere.team(&team.id).await.unwrap().unwrap(), team);
        assert_eq!(changed_since(&elsewhere, &mut seen).await, [Changed::Team(team.id.clone())]);

        let expires_at = Timestamp::now() + SignedDuration::from_hours(1);
        let new = NewKey {
            team_id: Some(team.id.clone()),
            tags: vec![("app".into(), "shop".into())],
            expires_at: Some(expires_at),
            permissions: serde_json::from_str::<Permissions>(r#"{"models":["openai/*"]}"#).unwrap(),
            limits: limits(r#"{"budgets":[{"usd":"0.25","per":"day"}]}"#),
            ..named("a key")
        };
        let (key, secret) = access.create_key(new, &actor()).await.unwrap();
        assert_eq!(key.organization_id, organization.id, "a team's key is in the team's organisation");
        assert_eq!(elsewhere.key(&key.id).await.unwrap().unwrap(), key);
        assert_eq!(elsewhere.key_by_hash(&secret.hash()).await.unwrap().unwrap().id, key.id);
        let update = KeyUpdate { name: Some("renamed".into()), expires_at: Some(None), ..Default::default() };
        let key = access.update_key(&key.id, update, &actor()).await.unwrap();
        assert_eq!((key.name.as_str(), key.expires_at), ("renamed", None));
        assert!(access.disable_key(&key.id, &actor()).await.unwrap().disabled);
        assert!(!access.enable_key(&key.id, &actor()).await.unwrap().disabled);
        assert_eq!(elsewhere.key(&key.id).await.unwrap().unwrap(), key);
        assert_eq!(changed_since(&elsewhere, &mut seen).await, [Changed::Key(key.id.clone())], "named once");

        let user: Scope = format!("user:{}/ann", organization.id).parse().unwrap();
        for scope in [&user, &Scope::tag("app", "shop")] {
            let set = access.set_subject(scope, limits(r#"{"in_flight":2}"#), false, &actor()).await.unwrap();
            assert_eq!(elsewhere.subject(scope).await.unwrap().unwrap(), set);
        }
        assert_eq!(elsewhere.subjects("user:", None, 0).await.unwrap().items.len(), 1);
        access.remove_subject(&user, &actor()).await.unwrap();
        assert_eq!(elsewhere.subject(&user).await.unwrap(), None);
        assert!(changed_since(&elsewhere, &mut seen).await.contains(&Changed::Subject(user)));
        assert_eq!(changed_since(&elsewhere, &mut seen).await, []);

        let lines = elsewhere.audit(&AuditQuery::default()).await.unwrap().items;
        let actions: Vec<&str> = lines.iter().rev().map(|line| &*line.action).collect();
        assert_eq!(
            actions,
            [
                "organization.create",
                "organization.update",
                "team.create",
                "team.update",
                "key.create",
                "key.update",
                "key.disable",
                "key.enable",
                "limits.set",
                "limits.set",
                "limits.remove",
            ],
            "{}",
            place.kind
        );
        let renamed = lines.iter().find(|line| line.action == "key.update").unwrap();
        assert!(renamed.before.as_ref().unwrap().contains("\"a key\""));
        assert!(renamed.after.as_ref().unwrap().contains("\"renamed\""));
        assert_eq!((&*renamed.actor, renamed.object.as_str()), ("cli:test", &*format!("key:{}", key.id)));
        assert!(elsewhere.verify_audit().await.unwrap().is_whole());
    }
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_field_and_changes_nothing() {
    for place in Place::all().await {
        let access = place.access();
        let missing_team = NewKey { team_id: Some("team_x".into()), ..named("x") };
        assert_eq!(field(access.create_key(missing_team, &actor()).await), "team_id");
        let missing = NewKey { organization_id: Some("org_x".into()), ..named("x") };
        assert_eq!(field(access.create_key(missing, &actor()).await), "organization_id");
        assert_eq!(field(access.create_key(named(" "), &actor()).await), "name");
        let past = NewKey { expires_at: Some(Timestamp::UNIX_EPOCH), ..named("x") };
        assert_eq!(field(access.create_key(past, &actor()).await), "expires_at");
        let member = NewKey { role: Some(Role::Member), ..named("x") };
        assert_eq!(field(access.create_key(member, &actor()).await), "team_id");
        let new = NewTeam { name: "core".into(), ..Default::default() };
        let team = access.create_team(new.clone(), &actor()).await.unwrap();
        assert_eq!(field(access.create_team(new, &actor()).await), "taken: name");
        let other = access
            .create_organization(NewOrganization { name: "other".into(), ..Default::default() }, &actor())
            .await
            .unwrap();
        let default = NewOrganization { name: "default".into(), ..Default::default() };
        assert_eq!(field(access.create_organization(default, &actor()).await), "taken: name");
        let contradicting =
            NewKey { organization_id: Some(other.id.clone()), team_id: Some(team.id.clone()), ..named("x") };
        assert_eq!(field(access.create_key(contradicting, &actor()).await), "organization_id");
        let (key, _) = access
            .create_key(NewKey { organization_id: Some(other.id), ..named("x") }, &actor())
            .await
            .unwrap();
        let moved = KeyUpdate { team_id: Some(Some(team.id)), ..Default::default() };
        assert_eq!(field(access.update_key(&key.id, moved, &actor()).await), "team_id");
        assert_eq!(field(access.disable_key(&KeyId::new(), &actor()).await), "no key");
        let too_long = Grace(Duration::from_secs(365 * 86_400));
        assert_eq!(field(access.rotate_key(&key.id, too_long, &actor()).await), "grace");
        let user: Scope = "user:org_x/ann".parse().unwrap();
        assert_eq!(
            field(access.set_subject(&user, Limits::default(), true, &actor()).await),
            "organization_id"
        );
        assert_eq!(field(access.remove_subject(&user, &actor()).await), "no limit of");
        assert_eq!(access.latest_change().await.unwrap(), 3, "{}", place.kind);
        assert_eq!(access.audit(&AuditQuery::default()).await.unwrap().items.len(), 3);
    }
}

#[tokio::test]
async fn an_old_secret_works_until_its_grace_ends() {
    for place in Place::all().await {
        let access = place.access();
        let (key, first) = access.create_key(named("x"), &actor()).await.unwrap();
        let (_, second) = access.rotate_key(&key.id, Grace::default(), &actor()).await.unwrap();
        let now = Timestamp::now();
        let later = now + SignedDuration::from_hours(25);
        let found = access.key_by_hash(&first.hash()).await.unwrap().unwrap();
        assert_eq!(found.standing(&first.hash(), now), Standing::Valid);
        assert_eq!(found.standing(&first.hash(), later), Standing::Rotated);
        assert_eq!(found.standing(&second.hash(), later), Standing::Valid);
        let (third_record, third) =
            access.rotate_key(&key.id, Grace(Duration::ZERO), &actor()).await.unwrap();
        assert_eq!(third_record.previous, None);
        assert!(access.key_by_hash(&first.hash()).await.unwrap().is_none());
        assert!(access.key_by_hash(&second.hash()).await.unwrap().is_none());
        assert_eq!(third_record.standing(&second.hash(), now), Standing::OtherSecret);
        let disabled = access.disable_key(&key.id, &actor()).await.unwrap();
        assert_eq!(disabled.standing(&third.hash(), now), Standing::Disabled);
        assert!(access.key_by_hash(&KeyHash([7; 32])).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_new_store_gets_one_owner_and_never_loses_its_last() {
    for place in Place::all().await {
        let access = place.access();
        let (first, second) = (access.clone(), place.opened_again().await.access());
        let (one, other) = tokio::join!(first.bootstrap(), second.bootstrap());
        let made: Vec<_> = [one.unwrap(), other.unwrap()].into_iter().flatten().collect();
        assert_eq!(made.len(), 1, "{}", place.kind);
        let (owner, _) = made.into_iter().next().unwrap();
        assert!(!access.any_caller_key().await.unwrap(), "an owner calls no models");
        assert_eq!(field(access.disable_key(&owner.id, &actor()).await), "taken: disabled");
        assert!(!access.key(&owner.id).await.unwrap().unwrap().disabled);
        let second_owner = NewKey { role: Some(Role::Owner), ..named("second") };
        let (second_owner, _) = access.create_key(second_owner, &actor()).await.unwrap();
        access.disable_key(&owner.id, &actor()).await.unwrap();
        assert_eq!(field(access.disable_key(&second_owner.id, &actor()).await), "taken: disabled");
        let (caller, _) = access.create_key(named("caller"), &actor()).await.unwrap();
        access.disable_key(&caller.id, &actor()).await.unwrap();
        assert!(access.any_caller_key().await.unwrap(), "a disabled one has existed too");
        assert!(access.bootstrap().await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_callers_key_that_is_made_before_the_first_start_does_not_take_the_owners_place() {
    for place in Place::all().await {
        let access = place.access();
        access.create_key(named("caller"), &actor()).await.unwrap();
        access.create_key(NewKey { role: Some(Role::Auditor), ..named("auditor") }, &actor()).await.unwrap();
        let (owner, _) = access.bootstrap().await.unwrap().unwrap();
        assert_eq!(owner.role, Some(Role::Owner));
        assert!(access.bootstrap().await.unwrap().is_none());
    }
}

#[tokio::test]
async fn no_change_from_the_network_locks_every_owner_out_and_the_command_line_repairs_what_it_did() {
    for place in Place::all().await {
        let access = place.access();
        let (only, _) = access.bootstrap().await.unwrap().unwrap();
        let network = |address: &str| Actor::key(&only.id, Some(address.parse().unwrap()));
        let from_outside = network("203.0.113.9");
        let soon = Timestamp::now() + jiff::SignedDuration::from_hours(1);
        let expires = KeyUpdate { expires_at: Some(Some(soon)), ..KeyUpdate::default() };
        let inside: Permissions = serde_json::from_str(r#"{"addresses":["10.0.0.0/8"]}"#).unwrap();
        let bound = KeyUpdate { permissions: Some(inside), ..KeyUpdate::default() };
        let (disabled, ends, elsewhere) =
            ("taken: disabled", "taken: expires_at", "taken: permissions.addresses");

        // The only owner's key.
        assert_eq!(field(access.disable_key(&only.id, &from_outside).await), disabled);
        assert_eq!(field(access.update_key(&only.id, expires.clone(), &from_outside).await), ends);
        assert_eq!(field(access.update_key(&only.id, bound.clone(), &from_outside).await), elsewhere);
        access.update_key(&only.id, bound.clone(), &network("10.0.0.1")).await.unwrap();
        assert_eq!(
            access
                .update_key(
                    &only.id,
                    KeyUpdate { permissions: Some(Permissions::default()), ..KeyUpdate::default() },
                    &from_outside
                )
                .await
                .unwrap()
                .permissions,
            Permissions::default()
        );

        // One beside it that works for an hour, or from elsewhere, does not take its place; one that lasts does.
        let owner = |name: &str| NewKey { role: Some(Role::Owner), ..named(name) };
        let (hour, _) =
            access.create_key(NewKey { expires_at: Some(soon), ..owner("hour") }, &actor()).await.unwrap();
        assert_eq!(field(access.disable_key(&only.id, &from_outside).await), disabled);
        assert_eq!(field(access.update_key(&only.id, expires.clone(), &from_outside).await), ends);
        let (office, _) = access
            .create_key(
                NewKey { permissions: bound.permissions.clone().unwrap(), ..owner("office") },
                &actor(),
            )
            .await
            .unwrap();
        assert_eq!(field(access.disable_key(&only.id, &from_outside).await), disabled);
        assert_eq!(field(access.update_key(&only.id, bound.clone(), &from_outside).await), elsewhere);
        access.disable_key(&only.id, &network("10.0.0.1")).await.unwrap();
        access.enable_key(&only.id, &from_outside).await.unwrap();
        access.disable_key(&office.id, &from_outside).await.unwrap();
        access.disable_key(&hour.id, &from_outside).await.unwrap();
        let (second, _) = access.create_key(owner("second"), &from_outside).await.unwrap();
        access.disable_key(&only.id, &from_outside).await.unwrap();
        assert_eq!(field(access.disable_key(&second.id, &from_outside).await), disabled);
        access
            .update_key(
                &second.id,
                KeyUpdate { name: Some("renamed".into()), ..KeyUpdate::default() },
                &from_outside,
            )
            .await
            .unwrap();
        access.rotate_key(&second.id, Grace::default(), &from_outside).await.unwrap();

        // Behind a proxy that tells no address, a key that is bound to some is none.
        let unknown = Actor::key(&second.id, None);
        assert_eq!(field(access.update_key(&second.id, bound.clone(), &unknown).await), elsewhere);

        // The command line may give the last one an end and bind it, and undo both.
        access.update_key(&second.id, expires.clone(), &actor()).await.unwrap();
        access.update_key(&second.id, bound.clone(), &actor()).await.unwrap();
        assert_eq!(field(access.disable_key(&second.id, &actor()).await), disabled, "{}", place.kind);
        let free = KeyUpdate {
            expires_at: Some(None),
            permissions: Some(Permissions::default()),
            ..KeyUpdate::default()
        };
        access.update_key(&second.id, free, &actor()).await.unwrap();
        access.enable_key(&only.id, &actor()).await.unwrap();
    }
}

#[tokio::test]
async fn lists_come_in_pages_and_are_filtered() {
    for place in Place::all().await {
        let access = place.access();
        let team = access
            .create_team(NewTeam { name: "core".into(), ..Default::default() }, &actor())
            .await
            .unwrap();
        let mut made = Vec::new();
        for number in 0..7 {
            let team_id = (number % 2 == 0).then(|| team.id.clone());
            let role = (number == 5).then_some(Role::Auditor);
            let new = NewKey { team_id, role, ..named(&format!("Key 100% {number}")) };
            made.push(access.create_key(new, &actor()).await.unwrap().0);
        }
        made.reverse();
        let mut query = KeysQuery { limit: 3, ..KeysQuery::default() };
        let mut listed = Vec::new();
        loop {
            let page = access.keys(&query).await.unwrap();
            listed.extend(page.items);
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        assert_eq!(listed, made, "{}", place.kind);
        let count = async |query: KeysQuery| access.keys(&query).await.unwrap().items.len();
        assert_eq!(count(KeysQuery { team_id: Some(team.id.clone()), ..Default::default() }).await, 4);
        assert_eq!(count(KeysQuery { role: RoleFilter::Callers, ..Default::default() }).await, 6);
        assert_eq!(count(KeysQuery { role: RoleFilter::Administrators, ..Default::default() }).await, 1);
        assert_eq!(count(KeysQuery { role: RoleFilter::Only(Role::Owner), ..Default::default() }).await, 0);
        assert_eq!(count(KeysQuery { name: Some("100% 3".into()), ..Default::default() }).await, 1);
        assert_eq!(count(KeysQuery { name: Some("1__%".into()), ..Default::default() }).await, 0);
        assert_eq!(count(KeysQuery { disabled: Some(true), ..Default::default() }).await, 0);
        let organization = OrganizationId::default_organization();
        assert_eq!(count(KeysQuery { organization_id: Some(organization), ..Default::default() }).await, 7);
        let mut loaded = Vec::new();
        let rest = access.load_all(|key| loaded.push(key)).await.unwrap();
        loaded.reverse();
        assert_eq!(loaded, made);
        assert_eq!((rest.organizations.len(), rest.teams, rest.latest), (1, vec![team], 8));
    }
}

#[tokio::test]
async fn a_key_is_loaded_with_all_others_as_it_is_found_alone() {
    for place in Place::all().await {
        let access = place.access();
        let mut made = Vec::new();
        for number in 0..4 {
            let new = NewKey {
                limits: limits(
                    r#"{"requests":[{"max":5,"per":"day"}],"budgets":[{"usd":"0.25","per":"week"}]}"#,
                ),
                permissions: serde_json::from_str(r#"{"models":["gpt-*"],"max_usd_per_call":"0.1"}"#)
                    .unwrap(),
                tags: vec![("app".into(), "\"search\" ü".into())],
                expires_at: Some("2031-01-31T12:00:00.123Z".parse().unwrap()),
                ..named(&format!("one of \"many\" \\ ü {number}"))
            };
            made.push(access.create_key(new, &actor()).await.unwrap().0.id);
        }
        access.create_key(NewKey { role: Some(Role::Admin), ..named("admin") }, &actor()).await.unwrap();
        access.create_key(named("plain"), &actor()).await.unwrap();
        access.rotate_key(&made[1], Grace::default(), &actor()).await.unwrap();
        access.disable_key(&made[2], &actor()).await.unwrap();
        let mut loaded = Vec::new();
        access.load_all(|key| loaded.push(key)).await.unwrap();
        assert!(loaded.len() == 6);
        assert!(loaded.iter().any(|key| key.previous.is_some()) && loaded.iter().any(|key| key.disabled));
        for key in loaded {
            assert_eq!(access.key(&key.id).await.unwrap().as_ref(), Some(&key), "{}", place.kind);
        }
    }
}

#[tokio::test]
async fn who_looks_at_another_store_loads_everything() {
    for place in Place::all().await {
        let access = place.access();
        assert_eq!(access.changes_since(5).await.unwrap(), Changes::Everything, "{}", place.kind);
        access.create_key(named("x"), &actor()).await.unwrap();
        assert_eq!(access.changes_since(5).await.unwrap(), Changes::Everything);
        // So many changes later, the early ones are no longer kept.
        place.tamper("INSERT INTO changes (sequence, kind, id) VALUES (20000, 'key', 'key_1')").await;
        let (key, _) = access.create_key(named("y"), &actor()).await.unwrap();
        assert_eq!(access.changes_since(1).await.unwrap(), Changes::Everything);
        let these = Changes::These { changed: vec![Changed::Key(key.id)], latest: 20_001 };
        assert_eq!(access.changes_since(20_000).await.unwrap(), these, "{}", place.kind);
    }
}

#[tokio::test]
async fn thousands_of_keys_are_imported_with_a_line_in_the_log_for_each_transaction() {
    for place in Place::all().await {
        let access = place.access();
        let elsewhere = place.opened_again().await.access();
        let mut seen = elsewhere.latest_change().await.unwrap();
        let new = NewTeam { name: "many".into(), ..Default::default() };
        let team = access.create_team(new, &actor()).await.unwrap();
        let secret = KeySecret::generate().unwrap();
        let key = |number: usize| NewKey {
            team_id: number.is_multiple_of(2).then(|| team.id.clone()),
            limits: limits(r#"{"in_flight":7}"#),
            ..named(&format!("key {number}"))
        };
        let all = (0..5_001).map(|number| match number {
            4_000 => (key(number), secret.clone()),
            _ => (key(number), KeySecret::generate().unwrap()),
        });
        assert_eq!(access.import_keys(all, &actor()).await.unwrap(), 5_001);
        let found = elsewhere.key_by_hash(&secret.hash()).await.unwrap().unwrap();
        assert_eq!((found.name.as_str(), &found.team_id), ("key 4000", &Some(team.id.clone())));
        assert_eq!((found.organization_id, found.limits.in_flight), (team.organization_id.clone(), Some(7)));
        let changed = changed_since(&elsewhere, &mut seen).await;
        assert_eq!(changed.len(), 5_002);
        assert!(changed.contains(&Changed::Key(found.id)));
        let lines = access.audit(&AuditQuery { limit: 3, ..AuditQuery::default() }).await.unwrap();
        let actions: Vec<&str> = lines.items.iter().map(|line| line.action.as_str()).collect();
        assert_eq!(actions, ["key.import", "key.import", "team.create"]);

        // A secret that is there already, a team that is not: nothing of the transaction is kept.
        let twice = [(named("new"), KeySecret::generate().unwrap()), (named("old"), secret.clone())];
        assert!(access.import_keys(twice, &actor()).await.is_err());
        let lost = NewKey { team_id: Some("team_of_nobody".into()), ..named("lost") };
        let lost = [(named("new"), KeySecret::generate().unwrap()), (lost, KeySecret::generate().unwrap())];
        assert_eq!(field(access.import_keys(lost, &actor()).await), "team_id");
        let query = KeysQuery { name: Some("new".into()), ..KeysQuery::default() };
        assert!(access.keys(&query).await.unwrap().items.is_empty());
    }
}
