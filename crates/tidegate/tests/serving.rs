//! `tidegate serve` as a process: what it answers, what the ledger knows of it afterwards, how it reloads and how it ends.

#![expect(clippy::expect_used, clippy::panic, reason = "a test may fail loudly")]

mod common;

use std::fmt::Write as _;
use std::time::Duration;

use common::{PATIENCE, Running, Workplace};
use http::Method;
use serde_json::{Value, json};
use tidegate_testkit::{Client, Received, ScriptedProvider, Step, json_answer};

fn answer() -> Vec<Step> {
    json_answer(
        200,
        &[],
        &json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-5-mini",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
        }),
    )
}

fn configuration(providers: &[(&str, &ScriptedProvider)]) -> String {
    let mut text = "server: { listen: 127.0.0.1:0, drain: 10s }\nproviders:\n".to_owned();
    for (name, provider) in providers {
        writeln!(text, "  {name}: {{ kind: openai, base_url: {}/v1, api_key: k }}", provider.url())
            .expect("a string takes it");
    }
    text
}

fn ask(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "hi"}]})
}

async fn call(gateway: &mut Running, model: &str) -> Received {
    let client = Client::new(gateway.address()).with_header("x-tidegate-tags", "team=red");
    client.post("/v1/chat/completions", &ask(model)).await
}

/// Asks until it is answered so: a reload takes effect a moment after the file was written.
async fn wait_for_status(client: &Client, model: &str, status: u16) {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let received = client.post("/v1/chat/completions", &ask(model)).await;
        if received.status == status {
            return;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "{model} is answered {}: {}",
            received.status,
            received.text()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn calls_are_in_the_ledger_after_a_term_signal_and_the_commands_show_them() {
    let provider = ScriptedProvider::start([answer()]).await;
    let workplace = Workplace::new();
    workplace.write("tidegate.yaml", &configuration(&[("openai", &provider)]));
    let mut gateway = workplace.start(&["serve"]);
    let received = call(&mut gateway, "openai/gpt-5-mini").await;
    assert_eq!(received.status, 200, "{}", received.text());
    let id = received.header("x-request-id").to_owned();
    gateway.signal("TERM");
    let (code, said) = gateway.end();
    assert_eq!(code, Some(0), "{said}");

    let usage = workplace.run(&["usage", "--by", "tag:team", "--since", "1h", "--json"]);
    let rows: Value = serde_json::from_str(&usage.output).expect("JSON");
    let row = &rows[0];
    assert_eq!(
        (&row["name"], &row["calls"], &row["answered"]),
        (&json!("red"), &json!(1), &json!(1)),
        "{rows}"
    );
    assert_eq!((&row["input_tokens"], &row["output_tokens"]), (&json!(1000), &json!(100)));
    // 1,000 tokens at 0.25 and 100 at 2 dollars a million.
    assert_eq!(row["cost_usd"], "0.00045");

    let table = workplace.run(&["usage", "--by", "provider"]);
    let line = table.output.lines().nth(1).expect("a row");
    assert!(line.starts_with("openai ") && line.contains("1,000") && line.contains("0.00045"), "{line}");
    let csv = workplace.run(&["usage", "--csv"]);
    let mut lines = csv.output.lines();
    let columns = lines.next().map(|line| line.split(',').count());
    assert_eq!(lines.next().map(|line| line.split(',').count()), columns, "{}", csv.output);

    let list = workplace.run(&["calls"]);
    assert!(list.output.contains(&id) && list.output.contains("answered"), "{}", list.output);
    let one = workplace.run(&["calls", &id, "--json"]);
    let one: Value = serde_json::from_str(&one.output).expect("JSON");
    assert_eq!((&one["target"], &one["tags"]["team"]), (&json!("openai/gpt-5-mini"), &json!("red")), "{one}");
    let none = workplace.run(&["calls", "01a204d4-0c17-70ed-87d5-c4613859f63c"]);
    assert_eq!(none.code, Some(1));
}

#[tokio::test]
async fn a_term_signal_lets_the_call_in_flight_finish_and_takes_no_more() {
    let mut slow = vec![Step::Wait(Duration::from_millis(1_500))];
    slow.extend(answer());
    let provider = ScriptedProvider::start([slow]).await;
    let workplace = Workplace::new();
    workplace.write("tidegate.yaml", &configuration(&[("openai", &provider)]));
    let mut gateway = workplace.start(&["serve"]);
    let address = gateway.address();
    let in_flight = tokio::spawn(async move {
        Client::new(address).post("/v1/chat/completions", &ask("openai/gpt-5-mini")).await
    });
    while provider.arrived().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    gateway.signal("TERM");
    gateway.wait_for("stopping");
    // The line is written a moment before the socket is closed.
    while std::net::TcpStream::connect(address).is_ok() {
        assert!(!in_flight.is_finished(), "new connections are taken while calls drain");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let received = in_flight.await.expect("the call ends");
    assert!(received.status == 200 && received.is_complete, "{}", received.text());
    let (code, said) = gateway.end();
    assert_eq!(code, Some(0), "{said}");
    let usage = workplace.run(&["usage", "--by", "outcome"]);
    assert!(usage.output.contains("answered"), "{}", usage.output);
}

#[tokio::test]
async fn a_second_signal_does_not_wait_for_calls_in_flight() {
    let provider = ScriptedProvider::start([vec![Step::Hang]]).await;
    let workplace = Workplace::new();
    workplace.write("tidegate.yaml", &configuration(&[("openai", &provider)]));
    let mut gateway = workplace.start(&["serve"]);
    let address = gateway.address();
    let in_flight = tokio::spawn(async move {
        let body = ask("openai/gpt-5-mini").to_string().into();
        Client::new(address).send(Method::POST, "/v1/chat/completions", body).await
    });
    while provider.arrived().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    gateway.signal("INT");
    gateway.wait_for("stopping");
    gateway.signal("INT");
    let (code, said) = gateway.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(in_flight.await.is_err(), "its answer never came");
}

#[tokio::test]
async fn a_file_that_is_being_written_takes_nothing_away() {
    let provider = ScriptedProvider::start([answer()]).await;
    let workplace = Workplace::new();
    let both = configuration(&[("first", &provider), ("second", &provider)]);
    workplace.write("tidegate.yaml", &both);
    let mut gateway = workplace.start(&["serve"]);
    let client = Client::new(gateway.address());
    wait_for_status(&client, "second/gpt-5-mini", 200).await;

    // Emptied to be written anew, by an editor or a full disk.
    workplace.write("tidegate.yaml", "");
    gateway.wait_for("the old one stays in force");
    wait_for_status(&client, "first/gpt-5-mini", 200).await;
    gateway.signal("HUP");
    gateway.wait_for("the old one stays in force");

    // Half of it is right by itself.
    workplace.write("tidegate.yaml", &configuration(&[("first", &provider)]));
    tokio::time::sleep(Duration::from_millis(600)).await;
    let received = client.post("/v1/chat/completions", &ask("second/gpt-5-mini")).await;
    assert_eq!(received.status, 200, "{}", received.text());
    workplace.write(
        "tidegate.yaml",
        &configuration(&[("first", &provider), ("second", &provider), ("third", &provider)]),
    );
    wait_for_status(&client, "third/gpt-5-mini", 200).await;
}

#[tokio::test]
async fn a_changed_file_is_in_force_soon_and_a_wrong_one_never() {
    let (first, second) =
        (ScriptedProvider::start([answer()]).await, ScriptedProvider::start([answer()]).await);
    let workplace = Workplace::new();
    workplace.write("tidegate.yaml", &configuration(&[("first", &first)]));
    let mut gateway = workplace.start(&["serve"]);
    let client = Client::new(gateway.address());
    wait_for_status(&client, "first/gpt-5-mini", 200).await;
    wait_for_status(&client, "second/gpt-5-mini", 404).await;

    workplace.write("tidegate.yaml", &configuration(&[("first", &first), ("second", &second)]));
    gateway.wait_for("the new configuration is in force");
    wait_for_status(&client, "second/gpt-5-mini", 200).await;

    let wrong = configuration(&[("first", &first)]) + "  second: { base_ulr: x }\n";
    workplace.write("tidegate.yaml", &wrong);
    let line = gateway.wait_for("the old one stays in force");
    assert!(line.contains("tidegate.yaml:4:"), "{line}");
    wait_for_status(&client, "second/gpt-5-mini", 200).await;

    // As editors do: another file is put in its place.
    let next = workplace.write("tidegate.yaml.next", &configuration(&[("second", &second)]));
    std::fs::rename(next, workplace.path().join("tidegate.yaml")).expect("the file is replaced");
    gateway.wait_for("the new configuration is in force");
    wait_for_status(&client, "first/gpt-5-mini", 404).await;

    // A reload that is asked for happens although nothing has changed.
    gateway.signal("HUP");
    gateway.wait_for("the new configuration is in force");
}

#[tokio::test]
async fn the_log_is_json_without_a_terminal_and_standard_output_stays_empty() {
    let provider = ScriptedProvider::start([answer()]).await;
    let workplace = Workplace::new();
    workplace.write("tidegate.yaml", &configuration(&[("openai", &provider)]));
    let mut gateway = workplace.start(&["serve"]);
    let line = gateway.wait_for("listening");
    let line: Value = serde_json::from_str(&line).expect("a log line is JSON");
    assert_eq!((&line["message"], &line["providers"]), (&json!("listening"), &json!("openai")), "{line}");
    gateway.signal("TERM");
    let (_, said) = gateway.end();
    for line in said.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "not JSON: {line}");
    }
    assert!(!said.contains("api_key") && !said.contains("\"k\""), "{said}");
}

#[tokio::test]
async fn a_providers_key_can_be_in_the_store_alone() {
    let provider = ScriptedProvider::start([answer()]).await;
    let workplace = Workplace::new().with("TIDEGATE_MASTER_KEY", &"0a".repeat(32));
    let configured = format!(
        "server: {{ listen: 127.0.0.1:0 }}\nproviders: {{ openai: {{ base_url: {}/v1 }} }}\n",
        provider.url()
    );
    workplace.write("tidegate.yaml", &configured);
    let checked = workplace.run(&["check"]);
    assert!(checked.code == Some(0) && checked.output.contains("/admin/v1/credentials"), "{checked:?}");

    let mut gateway = workplace.start(&["serve"]);
    let line: Value =
        serde_json::from_str(&gateway.wait_for("first administrator's key")).expect("a log line is JSON");
    let owner = format!("Bearer {}", line["key"].as_str().expect("a key"));
    gateway.wait_for("a provider has no key");
    let address = gateway.address();
    let client = Client::new(address);
    let refused = client.post("/v1/chat/completions", &ask("openai/gpt-5-mini")).await;
    let error = refused.json()["error"].clone();
    assert_eq!((refused.status.as_u16(), &error["code"]), (503, &json!("provider_without_key")), "{error}");
    assert!(error["message"].as_str().is_some_and(|said| said.contains("/admin/v1/credentials")), "{error}");
    assert!(provider.arrived().is_empty(), "nothing is sent without a key");

    let admin = Client::new(address).with_header("authorization", &owner);
    let credential = json!({"provider": "openai", "label": "main", "secret": "sk-live-1234567890"});
    let made = admin.post("/admin/v1/credentials", &credential).await;
    assert_eq!(made.status, 201, "{}", made.text());
    wait_for_status(&client, "openai/gpt-5-mini", 200).await;
    let sent = provider.arrived();
    let key = ("authorization".to_owned(), "Bearer sk-live-1234567890".to_owned());
    assert!(sent.first().is_some_and(|sent| sent.headers.contains(&key)), "{sent:?}");
    assert_eq!(workplace.run(&["credentials", "remove", "openai/main"]).code, Some(0));
    wait_for_status(&client, "openai/gpt-5-mini", 503).await;
}

#[test]
fn libraries_are_heard_when_they_are_named_alone_and_no_line_says_where_it_was_built() {
    let configured = "server: { listen: 127.0.0.1:0 }\nproviders: { openai: { api_key: k } }\n";
    let is_of_a_library = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("a log line is JSON");
        line["target"].as_str().is_some_and(|target| !target.starts_with("tidegate"))
    };
    for (wanted, heard) in [("trace", false), ("info,notify=trace", true)] {
        let workplace = Workplace::new().with("TIDEGATE_LOG", wanted);
        workplace.write("tidegate.yaml", configured);
        let mut gateway = workplace.start(&["serve"]);
        gateway.address();
        workplace.write("beside", "a change in the directory that is watched");
        workplace.write("tidegate.yaml", &format!("{configured}strict: true\n"));
        gateway.wait_for("the new configuration is in force");
        gateway.signal("TERM");
        let (_, said) = gateway.end();
        assert_eq!(said.lines().any(is_of_a_library), heard, "{wanted}: {said}");
        assert!(!said.contains("log.file") && !said.contains("/registry/"), "{wanted}: {said}");
    }
}

#[test]
fn a_changed_file_is_in_force_also_where_something_is_written_beside_it_all_the_time() {
    let configured = "server: { listen: 127.0.0.1:0 }\nproviders: { openai: { api_key: k } }\n";
    let workplace = Workplace::new();
    workplace.write("tidegate.yaml", configured);
    let mut gateway = workplace.start(&["serve"]);
    gateway.address();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let deadline = std::time::Instant::now() + 2 * PATIENCE;
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) && std::time::Instant::now() < deadline
            {
                workplace.write("a.log", "a line");
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        workplace.write("tidegate.yaml", &format!("{configured}strict: true\n"));
        gateway.wait_for("the new configuration is in force");
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn an_address_that_is_taken_is_a_failure_that_says_so() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let workplace = Workplace::new().with("OPENAI_API_KEY", "k");
    let ended = workplace.run(&["serve", "--listen", &address]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.errors.contains(&address) && ended.errors.contains("--listen"), "{}", ended.errors);
}
