//! What was said in calls is kept only where the configuration wants it, and without what must not be kept.

#![expect(clippy::expect_used, clippy::panic, reason = "a test may fail loudly")]

mod common;

use common::Workplace;
use serde_json::{Value, json};
use tidegate_sim::{Dialect, SimOptions, Simulator};
use tidegate_testkit::Client;

const PROMPT: &str = "Write to ada@example.com and pay with 4242 4242 4242 4242";

/// The calls that were made, whole and streamed in each dialect: the ids by which they are in the ledger.
async fn calls(keep: &str) -> (Workplace, Vec<String>) {
    let simulator = Simulator::start(SimOptions::default()).await.expect("the simulator starts");
    let workplace = Workplace::new();
    workplace.write(
        "tidegate.yaml",
        &format!(
            "server: {{ listen: 127.0.0.1:0 }}\nledger: {{ bodies: {{ keep: {keep} }} }}\nproviders:\n  openai: {{ base_url: \"{}\", api_key: k }}\n",
            simulator.base_url(Dialect::OpenAiChat)
        ),
    );
    let mut gateway = workplace.start(&["serve"]);
    let client = Client::new(gateway.address());
    let messages = json!([{"role": "user", "content": PROMPT}]);
    let contents = json!({"contents": [{"role": "user", "parts": [{"text": PROMPT}]}]});
    let chat = |stream| json!({"model": "openai/gpt-4o-mini", "max_tokens": 50, "messages": messages, "stream": stream});
    let gemini = "/v1beta/models/openai/gpt-4o-mini";
    let mut ids = Vec::new();
    for (path, body) in [
        ("/v1/chat/completions".to_owned(), chat(false)),
        ("/v1/chat/completions".to_owned(), chat(true)),
        ("/v1/messages".to_owned(), chat(false)),
        ("/v1/messages".to_owned(), chat(true)),
        (format!("{gemini}:generateContent"), contents.clone()),
        (format!("{gemini}:streamGenerateContent?alt=sse"), contents.clone()),
        (format!("{gemini}:streamGenerateContent"), contents),
    ] {
        let received = client.post(&path, &body).await;
        assert_eq!(received.status, 200, "{path}: {}", received.text());
        ids.push(received.header("x-request-id").to_owned());
    }
    gateway.signal("TERM");
    let (code, said) = gateway.end();
    assert_eq!(code, Some(0), "{said}");
    (workplace, ids)
}

fn shown(workplace: &Workplace, id: &str) -> Value {
    serde_json::from_str(&workplace.run(&["calls", id, "--json"]).output).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_are_kept_redacted_where_the_configuration_wants_it() {
    let (workplace, ids) = calls("all").await;
    for id in ids {
        let call = shown(&workplace, &id);
        let request = call["request"].as_str().unwrap_or_else(|| panic!("no request: {call}"));
        assert!(request.contains("Write to [email] and pay with [card]"), "{request}");
        assert!(!call.to_string().contains("ada@") && !call.to_string().contains("4242"), "{call}");
        let response = call["response"].as_str().unwrap_or_else(|| panic!("no response: {call}"));
        let response: Value = serde_json::from_str(response).expect("a whole answer, also of a stream");
        let said = [
            &response["choices"][0]["message"]["content"],
            &response["content"][0]["text"],
            &response["candidates"][0]["content"]["parts"][0]["text"],
        ];
        let said =
            said.into_iter().find_map(Value::as_str).unwrap_or_else(|| panic!("it says nothing: {call}"));
        let words = said.split_whitespace().count();
        assert!(words > 5, "all pieces of it are there: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_kept_of_answered_calls_unless_all_are_wanted() {
    for keep in ["none", "errors"] {
        let (workplace, ids) = calls(keep).await;
        for id in ids {
            let call = shown(&workplace, &id);
            assert_eq!((call.get("request"), call.get("response")), (None, None), "{keep}: {call}");
        }
    }
}
