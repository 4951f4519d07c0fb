//! `/admin/v1`: every route for every kind of caller, and what a member, an admin and an owner can do. A route that is
//! added to the table fails these tests until it has a case here.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};
use tidegate_api::admin::routes::{ADMIN_ROUTES, AdminRoute};
use tidegate_catalog::NanoDollars;
use tidegate_config::Secret;
use tidegate_gateway::StoredCredential;
use tidegate_policy::{Amounts, Role};
use tidegate_store::{
    Access, Actor, AuditQuery, CallId, CredentialSecret, LedgerEntry, Level, MasterKey, NewKey, NewTeam,
    Scope, TeamId,
};
use tidegate_testkit::{Client, Received, TestGateway};

const YAML: &str = "providers: { openai: { api_key: x } }\nmodels: { fast: { targets: [openai/gpt-5-mini] } }\n\
    experiments: { greeting: { model: fast, arms: { control: {}, nano: { target: openai/gpt-5-nano } } } }\n";

struct Admin {
    gateway: TestGateway,
    access: Access,
    team: TeamId,
}

impl Admin {
    async fn start() -> Self {
        let gateway = TestGateway::start(YAML).await;
        let master_key = MasterKey::parse(&"5e".repeat(32)).unwrap();
        let access = gateway.store().access().with_master_key(Some(master_key));
        let new = NewTeam { name: "core".into(), ..NewTeam::default() };
        let team = access.create_team(new, &Actor::system()).await.unwrap().id;
        Self { gateway, access, team }
    }

    async fn key(&self, role: Option<Role>, more: NewKey) -> String {
        let new = NewKey { name: "test".into(), role, team_id: Some(self.team.clone()), ..more };
        self.access.create_key(new, &Actor::system()).await.unwrap().1.expose().to_owned()
    }

    async fn role(&self, role: Role) -> String {
        self.key(Some(role), NewKey::default()).await
    }

    async fn call(&self, key: &str, method: Method, path: &str, body: &Value) -> Received {
        let client = Client::new(self.gateway.address());
        let client = if key.is_empty() {
            client
        } else {
            client.with_header("authorization", &format!("Bearer {key}"))
        };
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        client.call(method, path, body).await
    }

    async fn get(&self, key: &str, path: &str) -> Received {
        self.call(key, Method::GET, path, &Value::Null).await
    }

    /// The path with objects that are there, and a body that is right, for one use of a route.
    async fn case(&self, route: &AdminRoute, number: usize) -> (String, Value) {
        let actor = Actor::system();
        let access = &self.access;
        let unique = format!("{} {number}", route.name);
        let limits = json!({"limits": {"requests": [{"max": 5, "per": "minute"}]}});
        let user: Scope = "user:org_default/ann".parse().unwrap();
        let tag = Scope::tag("app", "shop");
        let set = async |scope: &Scope| {
            access.set_subject(scope, tidegate_policy::Limits::default(), true, &actor).await.unwrap();
        };
        let (id, body) = match route.name {
            "list_organizations"
            | "list_teams"
            | "list_keys"
            | "list_end_user_limits"
            | "list_tag_limits"
            | "report_usage"
            | "list_calls"
            | "list_audit"
            | "verify_audit"
            | "list_experiments"
            | "get_experiment"
            | "stop_experiment"
            | "resume_experiment"
            | "promote_arm"
            | "list_credentials"
            | "list_targets" => (String::new(), Value::Null),
            "explain_request" => (
                String::new(),
                json!({"body": {"model": "openai/gpt-5-mini", "messages": [{"role": "user", "content": "Hi"}]}}),
            ),
            "create_organization" | "create_team" | "create_key" => (String::new(), json!({"name": unique})),
            "get_organization" | "get_organization_limits_usage" => ("org_default".into(), Value::Null),
            "update_organization" => ("org_default".into(), limits),
            "get_team" | "get_team_limits_usage" => (self.team.to_string(), Value::Null),
            "update_team" => (self.team.to_string(), json!({"margin_percent": 20.5})),
            "get_key"
            | "get_key_limits_usage"
            | "update_key"
            | "rotate_key"
            | "disable_key"
            | "enable_key" => {
                let new = NewKey { name: unique, team_id: Some(self.team.clone()), ..NewKey::default() };
                let (key, _) = access.create_key(new, &actor).await.unwrap();
                let body = match route.name {
                    "update_key" => json!({"name": "renamed"}),
                    "rotate_key" => json!({"grace": "1h"}),
                    _ => Value::Null,
                };
                (key.id.to_string(), body)
            }
            "get_end_user_limits" | "get_end_user_limits_usage" | "remove_end_user_limits" => {
                set(&user).await;
                (String::new(), Value::Null)
            }
            "get_tag_limits" | "get_tag_limits_usage" | "remove_tag_limits" => {
                set(&tag).await;
                (String::new(), Value::Null)
            }
            "set_end_user_limits" | "set_tag_limits" => (String::new(), limits),
            "get_call" => {
                let entry = LedgerEntry {
                    team_id: Some(self.team.to_string().into()),
                    ..LedgerEntry::new(CallId::now(), "openai-chat", "chat")
                };
                let id = entry.id;
                self.gateway.record(entry).await;
                (id.to_string(), Value::Null)
            }
            "create_credential" => (
                String::new(),
                json!({"provider": "openai", "label": unique, "secret": "sk-1234567890123456"}),
            ),
            "rotate_credential" | "remove_credential" => {
                let secret = CredentialSecret::new("sk-1234567890123456");
                let made = access.create_credential("openai", &unique, &secret, &actor).await.unwrap();
                (made.id.to_string(), json!({"secret": "sk-6543210987654321"}))
            }
            name => panic!("{name} has no case here"),
        };
        let path = route.path.replace("{id}", &id).replace("{organization_id}", "org_default");
        let name = match path.split('/').nth(3) {
            Some("tags") => "app",
            Some("experiments") => "greeting",
            _ => "ann",
        };
        let path = path.replace("{name}", name);
        (path.replace("{value}", "shop"), body)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_is_open_to_the_roles_that_may_and_to_nobody_else() {
    let admin = Admin::start().await;
    let disabled = admin.key(Some(Role::Owner), NewKey::default()).await;
    let hash = tidegate_store::KeyHash::of_secret(&disabled).unwrap();
    let record = admin.access.key_by_hash(&hash).await.unwrap().unwrap();
    // Not the last owner from here on.
    let mut callers = vec![];
    for role in Role::ALL {
        callers.push((role.as_str(), admin.role(role).await, Some(role)));
    }
    admin.access.disable_key(&record.id, &Actor::system()).await.unwrap();
    let soon = NewKey { expires_at: Some(Timestamp::now() + 300.milliseconds()), ..NewKey::default() };
    let expired = admin.key(Some(Role::Owner), soon).await;
    tokio::time::sleep(std::time::Duration::from_millis(350)).await;
    let elsewhere: tidegate_policy::Permissions =
        serde_json::from_str(r#"{"addresses":["192.0.2.0/24"]}"#).unwrap();
    let far = admin.key(Some(Role::Owner), NewKey { permissions: elsewhere, ..NewKey::default() }).await;
    let caller = admin.key(None, NewKey::default()).await;
    let unknown = tidegate_store::KeySecret::generate().unwrap().expose().to_owned();
    let mut number = 0;
    for route in ADMIN_ROUTES {
        for (name, key, expected) in [
            ("nobody", "", 401),
            ("garbage", "tg-garbage", 401),
            ("an unknown key", &*unknown, 401),
            ("a disabled key", &*disabled, 401),
            ("an expired key", &*expired, 401),
            ("a key from elsewhere", &*far, 403),
            ("a caller's key", &*caller, 403),
        ] {
            let (path, body) = (route.path.replace(['{', '}'], ""), json!({"not": "looked at"}));
            let received = admin.call(key, route.method.clone(), &path, &body).await;
            assert_eq!(received.status, expected, "{name} at {route:?}: {}", received.text());
            let error = received.json();
            assert!(error["error"]["message"].is_string() && error["error"]["code"].is_string(), "{error}");
        }
        for (name, key, role) in &callers {
            number += 1;
            let role = role.unwrap();
            let may = if route.writes { role.may_write(route.area) } else { role.may_read(route.area) };
            let (path, body) = admin.case(route, number).await;
            let received = admin.call(key, route.method.clone(), &path, &body).await;
            let expected = if may { route.status } else { 403 };
            assert_eq!(received.status, expected, "{name} at {route:?}: {}", received.text());
            if received.status == 403 {
                assert!(received.text().contains(&format!("role `{name}`")), "{}", received.text());
            } else if route.response.is_some() {
                received.json();
            } else {
                assert!(received.body.is_empty());
            }
        }
    }
    admin.gateway.audit().flush().await;
    let lines = admin.access.audit(&AuditQuery { limit: 1000, ..AuditQuery::default() }).await.unwrap().items;
    let refused = lines.iter().find(|line| line.action == "permission.refused").unwrap();
    assert_eq!(refused.address.as_deref(), Some("127.0.0.1"));
    let by_role =
        lines.iter().filter(|line| line.action == "permission.refused" && line.actor.starts_with("key_"));
    assert!(by_role.count() > 0, "who was refused is named");
    let created =
        lines.iter().find(|line| line.action == "key.create" && line.actor.starts_with("key_")).unwrap();
    assert_eq!(created.address.as_deref(), Some("127.0.0.1"));
    assert!(admin.access.verify_audit().await.unwrap().is_whole());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_is_confined_to_its_team_and_its_own_permissions() {
    let admin = Admin::start().await;
    let own: tidegate_policy::Permissions = serde_json::from_str(r#"{"models":["openai/*"]}"#).unwrap();
    let member = admin.key(Some(Role::Member), NewKey { permissions: own, ..NewKey::default() }).await;
    let other = NewTeam { name: "other".into(), ..NewTeam::default() };
    let other = admin.access.create_team(other, &Actor::system()).await.unwrap().id;
    let new = NewKey { name: "theirs".into(), team_id: Some(other.clone()), ..NewKey::default() };
    let (theirs, _) = admin.access.create_key(new, &Actor::system()).await.unwrap();

    let made = admin.call(&member, Method::POST, "/admin/v1/keys", &json!({"name": "mine"})).await.json();
    assert_eq!(made["team_id"], admin.team.as_str());
    assert_eq!(
        made["permissions"],
        json!({"models": ["openai/*"]}),
        "what is left open is what the member has"
    );
    let id = made["id"].as_str().unwrap();
    for (method, path, body, status, said) in [
        (
            Method::POST,
            "/admin/v1/keys".to_owned(),
            json!({"name": "x", "permissions": {"models": ["*"]}}),
            403,
            "permissions.models",
        ),
        (
            Method::POST,
            "/admin/v1/keys".to_owned(),
            json!({"name": "x", "team_id": other.as_str()}),
            403,
            "own team",
        ),
        (
            Method::POST,
            "/admin/v1/keys".to_owned(),
            json!({"name": "x", "role": "member"}),
            403,
            "administrators",
        ),
        (
            Method::PATCH,
            format!("/admin/v1/keys/{id}"),
            json!({"permissions": {"models": ["a"]}}),
            403,
            "permissions.models",
        ),
        (Method::PATCH, format!("/admin/v1/keys/{id}"), json!({"team_id": null}), 403, "out of its team"),
        (Method::GET, format!("/admin/v1/keys/{}", theirs.id), Value::Null, 404, "no key"),
        (Method::POST, format!("/admin/v1/keys/{}/rotate", theirs.id), Value::Null, 404, "no key"),
        (Method::GET, format!("/admin/v1/keys?team_id={other}"), Value::Null, 403, "own team"),
        (Method::GET, format!("/admin/v1/calls?team_id={other}"), Value::Null, 403, "own team"),
        (Method::GET, format!("/admin/v1/usage?team_id={other}"), Value::Null, 403, "own team"),
        (Method::PATCH, format!("/admin/v1/keys/{id}"), json!({"name": "renamed"}), 200, "renamed"),
    ] {
        let received = admin.call(&member, method.clone(), &path, &body).await;
        assert!(
            received.status == status && received.text().contains(said),
            "{method} {path} {}",
            received.text()
        );
    }
    let listed = admin.get(&member, "/admin/v1/keys").await.json();
    let ids: Vec<&str> =
        listed["data"].as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [id], "neither its own nor other teams' keys");

    for team in [Some(&admin.team), Some(&other), None] {
        let team_id = team.map(|team| team.to_string().into());
        admin
            .gateway
            .record(LedgerEntry { team_id, ..LedgerEntry::new(CallId::now(), "openai-chat", "chat") })
            .await;
    }
    let calls = admin.get(&member, "/admin/v1/calls").await.json();
    assert_eq!(calls["data"].as_array().unwrap().len(), 1, "{calls}");
    let usage = admin.get(&member, "/admin/v1/usage?group_by=team").await.json();
    assert_eq!(usage["data"][0]["calls"], 1, "{usage}");
    assert_eq!(usage["data"].as_array().unwrap().len(), 1, "{usage}");
    let owner = admin.role(Role::Owner).await;
    let theirs = admin.get(&owner, &format!("/admin/v1/calls?team_id={other}")).await.json();
    let their_call = theirs["data"][0]["id"].as_str().unwrap();
    assert_eq!(admin.get(&member, &format!("/admin/v1/calls/{their_call}")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_gets_no_secret_of_a_key_that_may_more_than_itself_and_gives_it_no_more() {
    let admin = Admin::start().await;
    let own = r#"{"models":["openai/*"],"max_usd_per_call":"0.01","denied_features":["images"]}"#;
    let read = |text: &str| -> tidegate_policy::Permissions { serde_json::from_str(text).unwrap() };
    let end = Timestamp::now() + 48.hours();
    let member = NewKey { permissions: read(own), expires_at: Some(end), ..NewKey::default() };
    let member = admin.key(Some(Role::Member), member).await;
    let later = Some(Timestamp::now() + 72.hours());
    for (permissions, expires_at, may) in [
        ("{}", Some(end), false),
        (r#"{"models":["openai/*"],"max_usd_per_call":"0.01"}"#, Some(end), false),
        (
            r#"{"models":["openai/*"],"max_usd_per_call":"0.02","denied_features":["images"]}"#,
            Some(end),
            false,
        ),
        (own, None, false),
        (own, later, false),
        (own, Some(end), true),
        (
            r#"{"models":["openai/gpt-*"],"max_usd_per_call":"0.01","denied_features":["images","audio"]}"#,
            Some(end),
            true,
        ),
    ] {
        let new = NewKey {
            name: "theirs".into(),
            team_id: Some(admin.team.clone()),
            permissions: read(permissions),
            expires_at,
            ..NewKey::default()
        };
        let (key, secret) = admin.access.create_key(new, &Actor::system()).await.unwrap();
        let path = |act: &str| format!("/admin/v1/keys/{}{act}", key.id);
        for (method, path, body) in [
            (Method::POST, path("/rotate"), json!({"grace": "0s"})),
            (Method::POST, path("/enable"), Value::Null),
            (Method::PATCH, path(""), json!({"limits": {}})),
            (Method::PATCH, path(""), json!({"permissions": {"models": ["openai/x"]}})),
        ] {
            let received = admin.call(&member, method.clone(), &path, &body).await;
            let expected = if may { 200 } else { 403 };
            assert_eq!(received.status, expected, "{method} {path} {permissions} {}", received.text());
        }
        if !may {
            assert_eq!(admin.get(secret.expose(), "/v1/models").await.status, 200, "its secret still works");
        }
        assert_eq!(admin.get(&member, &path("")).await.status, 200);
        assert_eq!(admin.call(&member, Method::POST, &path("/disable"), &Value::Null).await.status, 200);
    }
    let made = admin.call(&member, Method::POST, "/admin/v1/keys", &json!({"name": "mine"})).await.json();
    let ends = |key: &Value| key["expires_at"].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert_eq!(ends(&made).as_millisecond(), end.as_millisecond(), "{made}");
    let path = format!("/admin/v1/keys/{}", made["id"].as_str().unwrap());
    for (method, path, body) in [
        (Method::POST, "/admin/v1/keys", json!({"name": "x", "expires_at": later})),
        (Method::PATCH, &*path, json!({"expires_at": later})),
    ] {
        let received = admin.call(&member, method, path, &body).await;
        assert!(received.status == 403 && received.text().contains("expires_at"), "{}", received.text());
    }
    let unended = admin.call(&member, Method::PATCH, &path, &json!({"expires_at": null})).await.json();
    assert_eq!(ends(&unended).as_millisecond(), end.as_millisecond(), "{unended}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disabled_organization_shuts_out_everybody_but_owners() {
    let admin = Admin::start().await;
    let owner = admin.role(Role::Owner).await;
    let others =
        [admin.role(Role::Admin).await, admin.role(Role::Auditor).await, admin.role(Role::Member).await];
    let organization = "/admin/v1/organizations/org_default";
    let disabled = admin.call(&others[0], Method::PATCH, organization, &json!({"disabled": true})).await;
    assert_eq!(disabled.status, 200, "{}", disabled.text());
    for other in &others {
        assert_eq!(admin.get(other, "/admin/v1/keys").await.status, 401);
    }
    let enabled = admin.call(&owner, Method::PATCH, organization, &json!({"disabled": false})).await;
    assert_eq!(enabled.status, 200, "{}", enabled.text());
    assert_eq!(admin.get(&others[0], "/admin/v1/keys").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_makes_no_administrators_and_the_last_owner_stays() {
    let admin = Admin::start().await;
    let owner = admin.role(Role::Owner).await;
    let deputy = admin.role(Role::Admin).await;
    for role in ["owner", "admin", "auditor"] {
        let body = json!({"name": "x", "role": role});
        assert_eq!(admin.call(&deputy, Method::POST, "/admin/v1/keys", &body).await.status, 403, "{role}");
        assert_eq!(admin.call(&owner, Method::POST, "/admin/v1/keys", &body).await.status, 201, "{role}");
    }
    let owners = admin.get(&deputy, "/admin/v1/keys?role=owner").await.json();
    let ids: Vec<String> =
        owners["data"].as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap().to_owned()).collect();
    for id in &ids {
        for act in ["disable", "rotate"] {
            let path = format!("/admin/v1/keys/{id}/{act}");
            assert_eq!(admin.call(&deputy, Method::POST, &path, &Value::Null).await.status, 403);
        }
    }
    // The newest first; the one who asks is the last.
    let mut statuses = Vec::new();
    for id in &ids {
        let path = format!("/admin/v1/keys/{id}/disable");
        statuses.push(admin.call(&owner, Method::POST, &path, &Value::Null).await.status.as_u16());
    }
    assert_eq!(statuses, [200, 409]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_named_with_a_way_out() {
    let admin = Admin::start().await;
    let owner = admin.role(Role::Owner).await;
    for (method, path, body, status, param, said) in [
        (Method::POST, "/admin/v1/keys", json!({"nmae": "x"}), 400, "nmae", "Did you mean `name`?"),
        (Method::POST, "/admin/v1/keys", json!({}), 400, "name", "empty"),
        (
            Method::POST,
            "/admin/v1/keys",
            json!({"name": "x", "limits": {"requests": [{"max": 0, "per": "minute"}]}}),
            400,
            "limits.requests[0].max",
            "disable",
        ),
        (
            Method::POST,
            "/admin/v1/keys",
            json!({"name": "x", "team_id": "team_x"}),
            400,
            "team_id",
            "no team",
        ),
        (Method::POST, "/admin/v1/keys", json!({"name": "x", "tags": {"1": "x"}}), 400, "tags.1", "letters"),
        (
            Method::POST,
            "/admin/v1/keys",
            json!({"name": "x", "permissions": {"models": ["!luxm", "*"]}}),
            400,
            "permissions.models[0]",
            "list what is allowed",
        ),
        (
            Method::POST,
            "/admin/v1/keys",
            json!({"name": "x", "permissions": {"providers": ["openai", "opneai"]}}),
            400,
            "permissions.providers[1]",
            "`openai` was meant",
        ),
        (
            Method::PATCH,
            "/admin/v1/organizations/org_default",
            json!({"permissions": {"providers": ["house"]}}),
            400,
            "permissions.providers[0]",
            "there are `openai`",
        ),
        (
            Method::POST,
            "/admin/v1/teams",
            json!({"name": "y", "permissions": {"providers": ["house"]}}),
            400,
            "permissions.providers[0]",
            "there are `openai`",
        ),
        (
            Method::POST,
            "/admin/v1/credentials",
            json!({"provider": "opneai", "secret": "sk-1234567890123456"}),
            400,
            "provider",
            "`openai` was meant",
        ),
        (
            Method::POST,
            "/admin/v1/credentials",
            json!({"provider": "openai", "secret": "sk-1234567890\n123456"}),
            400,
            "secret",
            "copy it again",
        ),
        (Method::POST, "/admin/v1/teams", json!({"name": "core"}), 409, "name", "another name"),
        (
            Method::POST,
            "/admin/v1/teams",
            json!({"name": "x", "margin_percent": 9999}),
            400,
            "margin_percent",
            "5000",
        ),
        (Method::GET, "/admin/v1/keys?tema_id=x", Value::Null, 400, "tema_id", "`team_id`"),
        (Method::GET, "/admin/v1/keys?limit=many", Value::Null, 400, "limit", "many"),
        (Method::GET, "/admin/v1/calls?limit=0", Value::Null, 400, "limit", "from 1 on"),
        (Method::GET, "/admin/v1/keys?after=7", Value::Null, 400, "after", "`next`"),
        (Method::GET, "/admin/v1/keys?name=a&name=b", Value::Null, 400, "name", "twice"),
        (Method::GET, "/admin/v1/usage?group_by=team,team", Value::Null, 400, "group_by", "twice"),
        (Method::GET, "/admin/v1/usage?outcome=timeuot", Value::Null, 400, "outcome", "rate_limited"),
        (Method::GET, "/admin/v1/keys?role=boss", Value::Null, 400, "role", "auditor"),
        (Method::GET, "/admin/v1/audit?since=yesterday", Value::Null, 400, "since", "yesterday"),
        (Method::GET, "/admin/v1/usage?group_by=moon", Value::Null, 400, "group_by", "moon"),
        (Method::PUT, "/admin/v1/tags/a%3Db/c", json!({}), 400, "name", "character"),
        (Method::PUT, "/admin/v1/end-users/org_x/ann", json!({}), 400, "organization_id", "no organization"),
    ] {
        let received = admin.call(&owner, method.clone(), path, &body).await;
        let error = received.json();
        assert_eq!(received.status, status, "{method} {path} {error}");
        assert_eq!(error["error"]["param"], param, "{method} {path} {error}");
        assert!(error["error"]["message"].as_str().unwrap().contains(said), "{method} {path} {error}");
    }
    // A list is not taken for the fields in their order, a secret in the wrong place is not repeated, and all errors are JSON.
    for (path, body) in [
        ("/admin/v1/keys", "[\"sk-live-abcdefghijklmnop\"]"),
        ("/admin/v1/credentials", "\"sk-live-abcdefghijklmnop\""),
        ("/admin/v1/keys", "{\"limits\": \"sk-live-abcdefghijklmnop\"}"),
        ("/admin/v1/keys/%ff/disable", "{}"),
    ] {
        let client =
            Client::new(admin.gateway.address()).with_header("authorization", &format!("Bearer {owner}"));
        let received = client.call(Method::POST, path, body.into()).await;
        assert_eq!(received.status, 400, "{path} {body}");
        assert!(
            received.json()["error"]["message"].is_string() && !received.text().contains("abcdefgh"),
            "{body}"
        );
    }
    for path in ["/admin/v1/keys/key_x", "/admin/v1/teams/team_x", "/admin/v1/calls/x", "/admin/v1/tags/a/b"]
    {
        assert_eq!(admin.get(&owner, path).await.status, 404, "{path}");
    }
    assert_eq!(admin.call(&owner, Method::DELETE, "/admin/v1/keys", &Value::Null).await.status, 405);
    let huge = json!({"name": "x".repeat(2 << 20)});
    assert_eq!(admin.call(&owner, Method::POST, "/admin/v1/keys", &huge).await.status, 413);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_made_over_http_calls_models_until_it_is_disabled() {
    let admin = Admin::start().await;
    let owner = admin.role(Role::Owner).await;
    let made = admin.call(&owner, Method::POST, "/admin/v1/keys", &json!({"name": "mine"})).await.json();
    let secret = made["secret"].as_str().unwrap();
    assert_eq!(admin.get(secret, "/v1/models").await.status, 200);
    let path = format!("/admin/v1/keys/{}/disable", made["id"].as_str().unwrap());
    assert_eq!(admin.call(&owner, Method::POST, &path, &Value::Null).await.json()["state"], "disabled");
    assert_eq!(admin.get(secret, "/v1/models").await.status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_is_in_force_here_when_it_is_answered() {
    let admin = Admin::start().await;
    let owner = admin.role(Role::Owner).await;
    let post = async |path: &str, body: Value| admin.call(&owner, Method::POST, path, &body).await.json();
    let models =
        async |secret: &Value| admin.get(secret.as_str().unwrap(), "/v1/models").await.status.as_u16();
    for number in 0..10 {
        let made = post("/admin/v1/keys", json!({"name": format!("key {number}")})).await;
        assert_eq!(models(&made["secret"]).await, 200);
        let path = format!("/admin/v1/keys/{}", made["id"].as_str().unwrap());
        let rotated = post(&format!("{path}/rotate"), json!({"grace": "0s"})).await;
        assert_eq!((models(&made["secret"]).await, models(&rotated["secret"]).await), (401, 200));
        let only_chat = json!({"permissions": {"endpoints": ["chat"]}});
        assert_eq!(admin.call(&owner, Method::PATCH, &path, &only_chat).await.status, 200);
        assert_eq!(models(&rotated["secret"]).await, 403);
        let open = json!({"permissions": {}});
        assert_eq!(admin.call(&owner, Method::PATCH, &path, &open).await.status, 200);
        assert_eq!(models(&rotated["secret"]).await, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_secret_can_work_for_ninety_days_and_no_longer() {
    let admin = Admin::start().await;
    let owner = admin.role(Role::Owner).await;
    let made = admin.call(&owner, Method::POST, "/admin/v1/keys", &json!({"name": "mine"})).await.json();
    let path = format!("/admin/v1/keys/{}/rotate", made["id"].as_str().unwrap());
    for (grace, hours) in [("25h", Some(25)), ("7d", Some(7 * 24)), ("90d", Some(90 * 24)), ("91d", None)] {
        let received = admin.call(&owner, Method::POST, &path, &json!({"grace": grace})).await;
        let Some(hours) = hours else {
            assert!(received.status == 400 && received.text().contains("90 days"), "{}", received.text());
            continue;
        };
        assert_eq!(received.status, 200, "{grace}: {}", received.text());
        let until: Timestamp = received.json()["previous_secret_until"].as_str().unwrap().parse().unwrap();
        let expected = Timestamp::now() + hours.hours();
        assert!((until - expected).total(jiff::Unit::Second).unwrap().abs() < 600.0, "{grace}: {until}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_shown_again_anywhere() {
    let admin = Admin::start().await;
    let owner = admin.role(Role::Owner).await;
    let made = admin.call(&owner, Method::POST, "/admin/v1/keys", &json!({"name": "mine"})).await.json();
    let path = format!("/admin/v1/keys/{}/rotate", made["id"].as_str().unwrap());
    let rotated = admin.call(&owner, Method::POST, &path, &Value::Null).await.json();
    let credential = json!({"provider": "openai", "secret": "sk-live-abcdefghijklmnop"});
    assert_eq!(admin.call(&owner, Method::POST, "/admin/v1/credentials", &credential).await.status, 201);
    // A mistake right beside a secret.
    let wrong = json!({"provider": "openai", "secret": "sk-live-abcdefghijklmnop", "secrte": "x"});
    let refused = admin.call(&owner, Method::POST, "/admin/v1/credentials", &wrong).await.text();
    let mut seen = refused;
    for route in ADMIN_ROUTES.iter().filter(|route| route.method == Method::GET) {
        let (path, _) = admin.case(route, 0).await;
        seen.push_str(&admin.get(&owner, &path).await.text());
    }
    for secret in [&made["secret"], &rotated["secret"], &credential["secret"], &json!(owner)] {
        let secret = secret.as_str().unwrap();
        assert!(!seen.contains(&secret[8..secret.len() - 4]));
    }
    assert!(seen.contains("…mnop"), "the hint is there");
}

#[tokio::test]
async fn a_stored_credential_that_cannot_be_sent_is_left_out_and_the_others_are_used() {
    let gateway = TestGateway::start(YAML).await;
    let stored = |label: &str, secret: &str| StoredCredential {
        provider: "openai".into(),
        label: label.into(),
        secret: Secret::new(secret),
    };
    let credentials = vec![stored("broken", "a\nb"), stored("whole", "sk-1234567890123456")];
    gateway.gateway().put_credentials(credentials).unwrap();
    let targets = gateway.gateway().targets();
    assert!(!targets.is_empty());
    for target in targets {
        assert_eq!(target.keys.len(), 2, "the configured one and the whole one: {target:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn margins_are_taken_as_text_a_call_shows_its_prices_and_a_large_body_is_answered_without_a_setting() {
    let admin = Admin::start().await;
    let owner = admin.role(Role::Owner).await;
    for (number, margin) in [json!("12.5"), json!(12.5)].into_iter().enumerate() {
        let body = json!({"name": format!("team {number}"), "margin_percent": margin});
        let made = admin.call(&owner, Method::POST, "/admin/v1/teams", &body).await;
        assert_eq!((made.status.as_u16(), made.json()["margin_percent"].clone()), (201, json!(12.5)));
    }
    for wrong in ["a lot", "NaN", "9999"] {
        let body = json!({"name": "wrong", "margin_percent": wrong});
        assert_eq!(admin.call(&owner, Method::POST, "/admin/v1/teams", &body).await.status, 400, "{wrong}");
    }

    let entry = LedgerEntry {
        prices: Some(r#"{"input":250000000,"output":2000000000,"discount":"10%"}"#.to_owned().into()),
        ..LedgerEntry::new(CallId::now(), "openai-chat", "chat")
    };
    let path = format!("/admin/v1/calls/{}", entry.id);
    admin.gateway.record(entry).await;
    let shown = admin.get(&owner, &path).await.json()["prices_usd_per_million"].clone();
    assert_eq!(shown, json!({"input": "0.25", "output": "2", "discount": "10%"}));

    let large = json!({"name": "x".repeat(2 << 20)});
    let refused = admin.call(&owner, Method::POST, "/admin/v1/keys", &large).await;
    assert_eq!(refused.status, 413);
    assert!(!refused.text().contains("max_body"), "{}", refused.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_no_header_can_carry_is_refused_and_a_line_break_at_its_end_is_left_away() {
    let admin = Admin::start().await;
    let owner = admin.role(Role::Owner).await;
    let path = "/admin/v1/credentials";
    for wrong in ["sk-live-abcdefgh\nijklmnop", "sk-live\u{0}abcdefghijklmn", "\n"] {
        let body = json!({"provider": "openai", "secret": wrong});
        let refused = admin.call(&owner, Method::POST, path, &body).await;
        let said = (refused.status.as_u16(), refused.json()["error"]["param"].clone());
        assert_eq!(said, (400, json!("secret")), "{wrong:?}");
    }
    let body = json!({"provider": "openai", "secret": "sk-live-abcdefghijklmnop\r\n"});
    let made = admin.call(&owner, Method::POST, path, &body).await;
    assert_eq!((made.status.as_u16(), made.json()["hint"].clone()), (201, json!("…mnop")));
    let path = format!("{path}/{}/rotate", made.json()["id"].as_str().unwrap());
    let rotate =
        async |secret: &str| admin.call(&owner, Method::POST, &path, &json!({"secret": secret})).await;
    assert_eq!(rotate("sk-live-abcdefgh\nijklmnop").await.status, 400);
    let rotated = rotate("sk-live-1234567890qrst\n").await;
    assert_eq!((rotated.status.as_u16(), rotated.json()["hint"].clone()), (200, json!("…qrst")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_an_admin_nor_the_last_owner_can_lock_the_owners_out() {
    let admin = Admin::start().await;
    let owner = admin.role(Role::Owner).await;
    let (an_admin, member) = (admin.role(Role::Admin).await, admin.role(Role::Member).await);
    let keys = admin.get(&owner, "/admin/v1/keys?role=owner").await.json();
    let own = format!("/admin/v1/keys/{}", keys["data"][0]["id"].as_str().unwrap());
    for path in [&format!("/admin/v1/teams/{}", admin.team), "/admin/v1/organizations/org_default"] {
        let stopped = admin.call(&an_admin, Method::PATCH, path, &json!({"disabled": true})).await;
        assert_eq!(stopped.status, 200, "{}", stopped.text());
        assert_eq!(admin.get(&member, "/admin/v1/keys").await.status, 401, "{path}");
        let again = admin.call(&owner, Method::PATCH, path, &json!({"disabled": false})).await;
        assert_eq!(again.status, 200, "{path}");
        assert_eq!(admin.get(&member, "/admin/v1/keys").await.status, 200, "{path}");
    }
    let elsewhere = json!({"permissions": {"addresses": ["203.0.113.0/24"]}});
    for (method, path, body, field) in [
        (Method::PATCH, own.clone(), elsewhere, "permissions.addresses"),
        (Method::PATCH, own.clone(), json!({"expires_at": "2100-01-01T00:00:00Z"}), "expires_at"),
        (Method::POST, format!("{own}/disable"), Value::Null, "disabled"),
    ] {
        assert_eq!(admin.call(&an_admin, method.clone(), &path, &body).await.status, 403, "{body}");
        let refused = admin.call(&owner, method, &path, &body).await;
        let error = refused.json()["error"].clone();
        assert_eq!((refused.status.as_u16(), &error["param"]), (409, &json!(field)), "{body} {error}");
        assert!(error["message"].as_str().unwrap().contains("tidegate keys"), "{error}");
        assert_eq!(admin.get(&owner, "/admin/v1/keys").await.status, 200, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_walked_by_their_cursor() {
    let admin = Admin::start().await;
    let owner = admin.role(Role::Owner).await;
    for number in 0..5 {
        let body = json!({"limits": {"in_flight": number + 1}});
        let path = format!("/admin/v1/end-users/org_default/ann%2F{number}");
        assert_eq!(admin.call(&owner, Method::PUT, &path, &body).await.status, 200);
        admin.key(None, NewKey::default()).await;
    }
    for (path, expected) in [("/admin/v1/keys", 6), ("/admin/v1/end-users", 5), ("/admin/v1/audit", 12)] {
        let (mut count, mut after) = (0, String::new());
        loop {
            let page = admin.get(&owner, &format!("{path}?limit=2{after}")).await.json();
            count += page["data"].as_array().unwrap().len();
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={}", next.replace('/', "%2F").replace(':', "%3A"));
        }
        assert_eq!(count, expected, "{path}");
    }
    let one = admin.get(&owner, "/admin/v1/end-users/org_default/ann%2F3").await.json();
    assert_eq!((&one["name"], &one["limits"]["in_flight"]), (&json!("ann/3"), &json!(4)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_adds_up_billionths_of_a_dollar_and_names_whom_it_is_about() {
    let admin = Admin::start().await;
    let owner = admin.role(Role::Owner).await;
    // Of very different sizes, in whole days and in the hours at their ends.
    for (id, cost) in [
        ("019d4000-0000-7000-8000-000000000001", 60_000_000_000_001),
        ("019d4000-0000-7000-8000-000000000002", 2),
        ("019d9000-0000-7000-8000-000000000003", 1_000_000_000),
    ] {
        let entry = LedgerEntry {
            team_id: Some(admin.team.to_string().into()),
            model: Some("=fast".to_owned().into()),
            outcome: tidegate_store::Outcome::Answered,
            cost_nanodollars: Some(cost),
            charge_nanodollars: Some(cost + 1),
            ..LedgerEntry::new(id.parse::<CallId>().unwrap(), "openai-chat", "chat")
        };
        admin.gateway.record(entry).await;
    }
    let report = admin.get(&owner, "/admin/v1/usage?group_by=team,model&since=2026-01-01").await.json();
    let row = &report["data"][0];
    assert_eq!(
        (&row["calls"], &row["cost_usd"], &row["charge_usd"]),
        (&json!(3), &json!("60001.000000003"), &json!("60001.000000006"))
    );
    assert_eq!((&row["labels"], &row["group"]["model"]), (&json!({"team": "core"}), &json!("=fast")));
    let by_day = admin.get(&owner, "/admin/v1/usage?group_by=day&order=name&until=2030-01-01").await.json();
    let costs: Vec<&str> =
        by_day["data"].as_array().unwrap().iter().map(|row| row["cost_usd"].as_str().unwrap()).collect();
    assert_eq!(costs, ["60000.000000003", "1"]);
    let csv = admin.get(&owner, "/admin/v1/usage?group_by=team,model&format=csv").await.text();
    let mut lines = csv.lines();
    assert!(lines.next().unwrap().starts_with("team,model,team_label,calls,answered,"), "{csv}");
    let line = lines.next().unwrap();
    assert!(line.starts_with(&format!("{},'=fast,core,3,3,", admin.team)), "{csv}");
    assert!(line.contains(",60001.000000003,60001.000000006,"), "{csv}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_shown_with_how_far_they_are_used() {
    let admin = Admin::start().await;
    let owner = admin.role(Role::Owner).await;
    let limits = json!({"requests": [{"max": 60, "per": "minute"}], "in_flight": 7,
        "budgets": [{"usd": "2.5", "per": "day"}, {"usd": 100, "per": "lifetime", "kind": "soft"}]});
    let body = json!({"name": "limited", "limits": limits});
    let made = admin.call(&owner, Method::POST, "/admin/v1/keys", &body).await.json();
    let id = made["id"].as_str().unwrap();
    let level = Level::new(Scope::Key(id.into()), Arc::new(serde_json::from_value(limits.clone()).unwrap()));
    let limiter = admin.gateway.gateway().limiter();
    let amounts = |dollars| Amounts { tokens: 10, cost: NanoDollars(dollars) };
    let spend = async |dollars| {
        limiter.reserve(CallId::now(), std::slice::from_ref(&level), amounts(dollars)).await.unwrap()
    };
    spend(300_000_000).await.settle(amounts(123_456_789));
    let _in_flight = spend(700_000_001).await;
    let used = admin.get(&owner, &format!("/admin/v1/keys/{id}/limits")).await.json();
    assert_eq!(used["scope"], format!("key:{id}"));
    assert_eq!(used["in_flight"], json!({"used": 1, "max": 7}));
    let requests = &used["requests"][0];
    assert_eq!(
        (&requests["max"], &requests["used"], &requests["remaining"]),
        (&json!(60), &json!(2), &json!(58))
    );
    assert!(requests["full_again_in_ms"].as_u64().unwrap() <= 61_000);
    let day = &used["budgets"][0];
    assert_eq!(
        (&day["usd"], &day["used_usd"], &day["held_usd"], &day["remaining_usd"]),
        (&json!("2.5"), &json!("0.123456789"), &json!("0.700000001"), &json!("1.67654321"))
    );
    let resets: Timestamp = day["resets_at"].as_str().unwrap().parse().unwrap();
    assert!(resets > Timestamp::now() && resets.as_second() % 86_400 == 0);
    let ever = &used["budgets"][1];
    assert_eq!((&ever["kind"], &ever["resets_at"]), (&json!("soft"), &Value::Null));

    // An end user without limits of its own has those that its organization sets for each.
    let body = json!({"end_user_limits": {"budgets": [{"usd": 1, "per": "month"}]}});
    admin.call(&owner, Method::PATCH, "/admin/v1/organizations/org_default", &body).await;
    let used = admin.get(&owner, "/admin/v1/end-users/org_default/a%2Fb/limits").await.json();
    assert_eq!((&used["scope"], &used["budgets"][0]["usd"]), (&json!("user:org_default/a/b"), &json!("1")));

    let member = admin.role(Role::Member).await;
    let own = admin.call(&member, Method::POST, "/admin/v1/keys", &json!({"name": "mine"})).await.json();
    let path = format!("/admin/v1/keys/{}/limits", own["id"].as_str().unwrap());
    assert_eq!(admin.get(&member, &path).await.status, 200);
    for path in [&*format!("/admin/v1/keys/{id}/limits"), "/admin/v1/keys/key_x/limits"] {
        assert_eq!(admin.get(&member, path).await.status, 404, "{path}");
    }
    for path in [
        "/admin/v1/organizations/org_x/limits",
        "/admin/v1/teams/team_x/limits",
        "/admin/v1/end-users/org_x/ann/limits",
        "/admin/v1/tags/a/b/limits",
    ] {
        assert_eq!(admin.get(&owner, path).await.status, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_is_served_to_everybody_and_is_the_one_that_is_committed() {
    let gateway = TestGateway::start(YAML).await;
    let client = Client::new(gateway.address());
    let served = client.get("/openapi.json").await;
    assert_eq!(served.status, 200);
    assert_eq!(served.body, client.get("/admin/v1/openapi.json").await.body);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(file, &served.body).unwrap();
    }
    let committed = std::fs::read_to_string(file).unwrap_or_default();
    assert!(
        served.text() == committed,
        "the API has changed: look at it, and set UPDATE_OPENAPI=1 to write {file}"
    );
    let document = served.json();
    let count: usize =
        document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
    assert_eq!(count, ADMIN_ROUTES.len());
    for reference in committed.split("\"$ref\": \"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference} leads nowhere");
    }
}
