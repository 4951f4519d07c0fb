//! `tidegate demo` and `tidegate sim` as a newcomer meets them: what is printed works when it is typed.

#![expect(clippy::expect_used, clippy::panic, reason = "a test may fail loudly")]

mod common;

use std::process::Command;

use common::Workplace;
use serde_json::{Value, json};
use tidegate_testkit::Client;

#[tokio::test]
async fn the_demo_prints_a_curl_that_works_and_leaves_nothing_behind() {
    let workplace = Workplace::new();
    let temporary = workplace.path().display().to_string();
    let workplace = workplace.with("TMPDIR", &temporary);
    let mut demo = workplace.start(&["demo", "--listen", "127.0.0.1:0"]);
    let address = demo.address();
    demo.wait_for("Ctrl-C ends it");
    let said = demo.said();

    let curl: Vec<&str> = said.lines().skip_while(|line| !line.starts_with("  curl ")).take(3).collect();
    let answer =
        Command::new("sh").args(["-c", &format!("{} --silent --show-error", curl.join("\n"))]).output();
    let answer = answer.expect("sh runs");
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    let answer: Value = serde_json::from_slice(&answer.stdout).expect("an answer in JSON");
    assert_eq!(answer["object"], "chat.completion", "{answer}");

    // The table of usage knows calls at every provider, all answered.
    for target in ["anthropic/claude-haiku-4-5", "openai/gpt-5-mini", "gemini/gemini-2.5-flash"] {
        let row = said.lines().find(|line| line.starts_with(target)).expect("a row of the table");
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(cells.get(1), cells.get(2), "{row}");
    }

    // The model that shows a fallback shows one.
    let body = json!({"model": "reliable", "messages": [{"role": "user", "content": "hi"}]});
    let received = Client::new(address).post("/v1/chat/completions", &body).await;
    assert_eq!(received.header("x-tidegate-target"), "anthropic/claude-haiku-4-5");

    demo.signal("INT");
    let (code, said) = demo.end();
    assert_eq!(code, Some(0), "{said}");
    let left: Vec<_> = std::fs::read_dir(workplace.path()).expect("a directory").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn the_simulator_says_where_it_listens_and_fails_on_request() {
    let workplace = Workplace::new();
    let mut simulator = workplace.start(&["sim", "--listen", "127.0.0.1:0", "--tokens", "3"]);
    let client = Client::new(simulator.address());
    let ask = |model: &str| json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
    let answered = client.post("/v1/chat/completions", &ask("any")).await;
    assert_eq!(answered.json()["usage"]["completion_tokens"], 3, "{}", answered.text());
    let limited = client.post("/v1/chat/completions", &ask("rate-limited-2s")).await;
    assert_eq!((limited.status.as_u16(), limited.header("retry-after")), (429, "2"));
    simulator.signal("TERM");
    assert_eq!(simulator.end().0, Some(0));

    let list = workplace.run(&["sim", "--scenarios"]);
    assert!(list.output.lines().count() > 40 && list.output.contains("cut-after-40"), "{}", list.output);
    let wrong = workplace.run(&["sim", "--error-rate", "2"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.errors);
}
