//! `tidegate keys`, `teams` and `audit` as a person types them: what goes where, and that it works beside a running
//! gateway.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail loudly")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use common::{PATIENCE, Workplace};
use serde_json::Value;

fn workplace() -> Workplace {
    Workplace::new().with("OPENAI_API_KEY", "sk-test").with("USER", "tester")
}

/// The status that `GET /v1/models` answers with.
fn status(address: SocketAddr, key: &str) -> u16 {
    call(address, key, "GET /v1/models", "").0
}

/// Status and body of a call.
fn call(address: SocketAddr, key: &str, what: &str, body: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(address).unwrap();
    let request = format!(
        "{what} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Makes an owner's key on the command line.
fn owner(workplace: &Workplace) -> String {
    let made = workplace.run(&["keys", "create", "--name", "me", "--role", "owner"]);
    assert_eq!(made.code, Some(0), "{}", made.errors);
    made.output.trim_end().to_owned()
}

fn wait_for(address: SocketAddr, key: &str, expected: u16) {
    let deadline = Instant::now() + PATIENCE;
    while status(address, key) != expected {
        assert!(Instant::now() < deadline, "never {expected}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_secret_is_alone_on_standard_output_and_shown_once() {
    let workplace = workplace();
    let team = workplace.run(&["teams", "create", "--name", "core", "--budget", "100/month"]);
    assert!(team.code == Some(0) && team.output.starts_with("team_"), "{team:?}");
    let made = workplace.run(&[
        "keys",
        "create",
        "--name",
        "alice",
        "--team",
        "core",
        "--requests",
        "60/minute",
        "--model",
        "openai/*",
        "--tag",
        "app=shop",
        "--expires",
        "30d",
    ]);
    assert_eq!(made.code, Some(0), "{}", made.errors);
    let secret = made.output.trim_end();
    assert!(secret.starts_with("tg-") && secret.len() == 52 && !secret.contains('\n'), "{secret}");
    assert!(made.errors.contains("key_") && made.errors.contains("alice"), "{}", made.errors);
    let listed = workplace.run(&["keys", "list", "--json"]);
    let keys: Value = serde_json::from_str(&listed.output).unwrap();
    let id = keys[0]["id"].as_str().unwrap();
    let shown: Value = serde_json::from_str(&workplace.run(&["keys", "show", id]).output).unwrap();
    assert_eq!(shown["permissions"]["models"][0], "openai/*");
    assert_eq!(shown["tags"]["app"], "shop");
    assert_eq!(shown["team_id"], team.output.trim_end());

    let updated =
        workplace.run(&["keys", "update", id, "--requests", "none", "--budget", "5/day/soft", "--json"]);
    let updated: Value = serde_json::from_str(&updated.output).unwrap();
    assert_eq!(updated["limits"].to_string(), r#"{"budgets":[{"usd":"5","per":"day","kind":"soft"}]}"#);
    assert_eq!(updated["permissions"], shown["permissions"], "what is not named stays");
    let rotated = workplace.run(&["keys", "rotate", id, "--grace", "30d"]);
    assert!(rotated.output.starts_with("tg-") && rotated.output != made.output, "{rotated:?}");

    let mut seen = String::new();
    for command in [
        &["keys", "list"][..],
        &["keys", "list", "--json"],
        &["keys", "show", id],
        &["audit", "list"],
        &["audit", "list", "--json"],
    ] {
        let ended = workplace.run(command);
        assert_eq!(ended.code, Some(0), "{command:?} {}", ended.errors);
        seen.push_str(&ended.output);
        seen.push_str(&ended.errors);
    }
    assert!(seen.contains("cli:tester") && seen.contains("key.rotate"), "{seen}");
    for secret in [secret, rotated.output.trim_end()] {
        assert!(!seen.contains(&secret[8..secret.len() - 4]));
    }
}

#[test]
fn organizations_and_the_limits_of_end_users_and_tags_are_administered_by_name() {
    let workplace = workplace();
    let json = |command: &[&str]| -> Value {
        let ended = workplace.run(command);
        assert_eq!(ended.code, Some(0), "{command:?} {}", ended.errors);
        serde_json::from_str(&ended.output).unwrap()
    };
    let done = |command: &[&str]| {
        let ended = workplace.run(command);
        assert_eq!(ended.code, Some(0), "{command:?} {}", ended.errors);
        ended.output
    };
    let end_users = r#"{"budgets": [{"usd": 5, "per": "day"}]}"#;
    let made = done(&["orgs", "create", "--name", "Acme", "--budget", "900/month", "--end-users", end_users]);
    let id = made.trim_end();
    assert!(id.starts_with("org_"), "{made}");
    let team = done(&["teams", "create", "--name", "core", "--org", "Acme", "--margin", "12.5"]);
    assert!(done(&["teams", "list"]).contains("Acme"));
    assert!(done(&["orgs", "list"]).contains("Acme"));
    let shown = json(&["orgs", "show", "Acme"]);
    assert_eq!(
        (shown["id"].as_str(), shown["limits_usage"]["budgets"][0]["usd"].as_str()),
        (Some(id), Some("900"))
    );
    assert_eq!(shown["limits_usage"]["budgets"][0]["used_usd"], "0");
    let changed = json(&["orgs", "update", "Acme", "--name", "ACME", "--end-users", "{}", "--json"]);
    assert_eq!((&changed["name"], changed["end_user_limits"].to_string()), (&"ACME".into(), "{}".to_owned()));
    assert_eq!(changed["limits"]["budgets"][0]["usd"], "900", "what is not named stays");
    let shown = json(&["teams", "show", "core"]);
    assert_eq!((&shown["margin_percent"], &shown["organization_id"]), (&12.5.into(), &id.into()));
    assert_eq!(shown["id"], team.trim_end());

    done(&["limits", "set", "user:ACME/ann/b", "--budget", "3/week", "--in-flight", "2"]);
    let set =
        json(&["limits", "set", "user:ACME/ann/b", "--requests", "9/hour", "--disabled", "true", "--json"]);
    assert_eq!(set["scope"], format!("user:{id}/ann/b"));
    assert_eq!(set["limits"]["in_flight"], 2, "what is not named stays");
    assert_eq!(set["disabled"], true);
    done(&["limits", "set", "tag:app=shop", "--tokens", "1000/minute"]);
    let listed = json(&["limits", "list", "--json"]);
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let used = json(&["limits", "show", "user:ACME/ann/b", "--json"]);
    assert_eq!(
        (&used["requests"][0]["remaining"], &used["budgets"][0]["remaining_usd"]),
        (&9.into(), &"3".into())
    );
    let table = done(&["limits", "show", "tag:app=shop"]);
    assert!(table.contains("1000 tokens per minute"), "{table}");
    done(&["limits", "remove", "tag:app=shop"]);
    assert_eq!(json(&["limits", "list", "--json"]).as_array().unwrap().len(), 1);
    for (command, hint) in [
        (&["orgs", "show", "Nobody"][..], "orgs list"),
        (&["limits", "show", "tag:app=shop"], "no limits of tag:app=shop"),
        (&["limits", "set", "team:core"], "teams update"),
        (&["limits", "show", "core"], "tag:NAME=VALUE"),
        (&["limits", "set", "user:Nobody/ann"], "no organization `Nobody`"),
        (&["teams", "update", "core", "--margin", "9999"], "5000"),
    ] {
        let ended = workplace.run(command);
        assert!(ended.code != Some(0) && ended.errors.contains(hint), "{command:?} {}", ended.errors);
    }
    let audit = done(&["audit", "list"]);
    assert!(audit.contains("organization.update") && audit.contains("limits."), "{audit}");
}

#[test]
fn what_is_changed_beside_a_running_gateway_is_in_force_within_moments() {
    let workplace = workplace();
    let mut running = workplace.start(&["serve", "--listen", "127.0.0.1:0"]);
    let address = running.address();
    assert_eq!(status(address, "anything"), 200, "everybody on loopback until there is a key");
    let made = workplace.run(&["keys", "create", "--name", "alice", "--json"]);
    let made: Value = serde_json::from_str(&made.output).unwrap();
    let (id, key) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    assert_eq!(status(address, key), 200, "a key that was just made works at once");
    assert_eq!(status(address, "anything"), 401);
    assert_eq!(workplace.run(&["keys", "disable", id]).code, Some(0));
    wait_for(address, key, 401);
    assert_eq!(workplace.run(&["keys", "enable", id]).code, Some(0));
    wait_for(address, key, 200);
    assert_eq!(workplace.run(&["audit", "verify"]).code, Some(0));
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
}

#[test]
fn an_owners_key_is_shown_also_where_a_callers_key_was_made_before_the_first_start() {
    let workplace = workplace();
    let made = workplace.run(&["keys", "create", "--name", "alice"]);
    let mut running = workplace.start(&["serve", "--listen", "127.0.0.1:0"]);
    let line: Value = serde_json::from_str(&running.wait_for("first administrator's key")).unwrap();
    let owner = line["key"].as_str().unwrap();
    let address = running.address();
    assert_eq!(status(address, made.output.trim_end()), 200);
    assert_eq!(status(address, owner), 403, "an administrator's key calls no models");
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
    let running = workplace.start(&["serve", "--listen", "127.0.0.1:0"]);
    running.signal("TERM");
    assert!(!running.end().1.contains("first administrator's key"), "it is shown once");
}

#[test]
fn a_changed_line_of_the_audit_log_is_found_and_named() {
    let workplace = workplace();
    for name in ["first", "second", "third"] {
        assert_eq!(workplace.run(&["teams", "create", "--name", name]).code, Some(0));
    }
    let whole = workplace.run(&["audit", "verify"]);
    assert!(whole.code == Some(0) && whole.output.contains("3 lines"), "{whole:?}");
    // Behind the database's back, in its file: the name of the team in the second line's state.
    let file = workplace.path().join("tidegate-data/tidegate.db");
    let mut bytes = std::fs::read(&file).unwrap();
    let needle = b"\"name\":\"second\"";
    let places: Vec<usize> = bytes
        .windows(needle.len())
        .enumerate()
        .filter(|(_, window)| window == needle)
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at + 8] = b'S';
    }
    std::fs::write(&file, bytes).unwrap();
    let broken = workplace.run(&["audit", "verify"]);
    assert!(broken.code == Some(1) && broken.output.contains("line 2 was altered"), "{broken:?}");
    let broken: Value = serde_json::from_str(&workplace.run(&["audit", "verify", "--json"]).output).unwrap();
    assert_eq!(broken["whole"], false);
}

#[test]
fn wrong_usage_says_what_is_right() {
    let workplace = workplace();
    for (command, code, said) in [
        (&["keys", "create", "--name", "x", "--team", "nobody"][..], 1, "tidegate teams create"),
        (&["keys", "create", "--name", "x", "--requests", "60/min"], 2, "minute"),
        (&["keys", "create", "--name", "x", "--budget", "5"], 2, "100/month"),
        (&["keys", "create", "--name", "x", "--model", "*,!gpt-5"], 1, "list what is allowed"),
        (&["keys", "rotate", "key_x", "--grace", "91d"], 1, "90 days"),
        (&["keys", "create", "--name", "x", "--expires", "soon"], 2, "30d"),
        (&["keys", "create", "--name", "x", "--role", "boss"], 2, "auditor"),
        (&["keys", "create", "--name", " "], 1, "name"),
        (&["keys", "show", "key_x"], 1, "tidegate keys list"),
        (&["keys", "disable", "key_x"], 1, "no key key_x"),
    ] {
        let ended = workplace.run(command);
        assert_eq!(ended.code, Some(code), "{command:?} {}", ended.errors);
        assert!(ended.errors.contains(said) && ended.output.is_empty(), "{command:?} {}", ended.errors);
    }
    let wrong = workplace.with("TIDEGATE_MASTER_KEY", "short").run(&["keys", "list"]);
    assert!(wrong.code == Some(2) && wrong.errors.contains("openssl rand"), "{wrong:?}");
}

#[test]
fn a_master_key_is_replaced_and_seals_the_log_from_then_on() {
    let (old, new) = ("0a".repeat(32), "0b".repeat(32));
    let workplace = workplace().with("TIDEGATE_MASTER_KEY", &old);
    assert_eq!(workplace.run(&["teams", "create", "--name", "core"]).code, Some(0));
    let file = workplace.write("new.key", &new);
    let rotated =
        workplace.run(&["credentials", "rotate-master-key", "--new-key-file", file.to_str().unwrap()]);
    assert!(rotated.code == Some(0) && rotated.output.is_empty(), "{rotated:?}");
    let with_the_old = workplace.run(&["audit", "verify"]);
    assert!(
        with_the_old.code == Some(1) && with_the_old.output.contains("another master key"),
        "{with_the_old:?}"
    );
    std::fs::write(workplace.path().join("key"), new).unwrap();
    let workplace = workplace.with("TIDEGATE_MASTER_KEY", "").with("TIDEGATE_MASTER_KEY_FILE", "key");
    let with_the_new = workplace.run(&["audit", "verify"]);
    assert!(with_the_new.code == Some(0) && with_the_new.output.contains("sealed"), "{with_the_new:?}");
    assert!(workplace.run(&["credentials", "list"]).output.contains("no credentials"));
}

#[test]
fn a_credential_is_removed_on_the_command_line_by_its_name_and_without_the_master_key() {
    let workplace = workplace().with("TIDEGATE_MASTER_KEY", &"0a".repeat(32));
    let owner = owner(&workplace);
    let mut running = workplace.start(&["serve", "--listen", "127.0.0.1:0"]);
    let address = running.address();
    for label in ["main", "second"] {
        let body = format!(r#"{{"provider": "openai", "label": "{label}", "secret": "sk-live-1234567890"}}"#);
        let (status, said) = call(address, &owner, "POST /admin/v1/credentials", &body);
        assert_eq!(status, 201, "{said}");
    }
    let workplace = workplace.with("TIDEGATE_MASTER_KEY", "");
    let removed = workplace.run(&["credentials", "remove", "openai/second"]);
    assert!(removed.code == Some(0) && removed.errors.contains("second"), "{removed:?}");
    let listed = workplace.run(&["credentials", "list", "--json"]);
    let listed: Value = serde_json::from_str(&listed.output).unwrap();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["label"]), (1, &Value::from("main")));
    let removed = workplace.run(&["credentials", "delete", listed[0]["id"].as_str().unwrap()]);
    assert_eq!(removed.code, Some(0), "{removed:?}");
    let again = workplace.run(&["credentials", "remove", "openai/main"]);
    assert!(again.code == Some(1) && again.errors.contains("credentials list"), "{again:?}");
}

#[test]
fn help_of_every_command_below_fits_a_screen() {
    let workplace = workplace();
    for command in [
        &["keys", "create"][..],
        &["keys", "list"],
        &["keys", "show"],
        &["keys", "update"],
        &["keys", "rotate"],
        &["keys", "disable"],
        &["teams", "create"],
        &["teams", "update"],
        &["credentials", "list"],
        &["credentials", "remove"],
        &["credentials", "rotate-master-key"],
        &["audit", "list"],
        &["audit", "verify"],
    ] {
        let help = workplace.run(&[command, &["--help"]].concat());
        assert_eq!(help.code, Some(0));
        assert!(help.output.lines().count() <= 24, "{command:?}:\n{}", help.output);
        let longest = help.output.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(100), "{command:?}:\n{}", help.output);
    }
}
