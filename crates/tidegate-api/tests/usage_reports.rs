//! `/admin/v1/usage` over real sockets: what a report leaves out it says, and what could never match is refused.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use serde_json::{Value, json};
use tidegate_policy::Role;
use tidegate_store::{CallId, LedgerEntry, NewKey, Outcome};
use tidegate_testkit::{Client, TestGateway};

const YAML: &str = "providers: { openai: { base_url: 'http://127.0.0.1:9', api_key: sk-1234567890 } }";

const TRUNCATED: &str = "x-tidegate-truncated";

async fn start() -> (TestGateway, Client) {
    let gateway = TestGateway::start(YAML).await;
    let admin = gateway.key(NewKey { role: Some(Role::Admin), ..NewKey::default() }).await;
    let client =
        Client::new(gateway.address()).with_header("authorization", &format!("Bearer {}", admin.expose()));
    (gateway, client)
}

async fn record(gateway: &TestGateway, model: &str, outcome: Outcome, failure: Option<&str>) {
    let entry = LedgerEntry {
        model: Some(model.to_owned().into()),
        outcome,
        failure: failure.map(|kind| kind.to_owned().into()),
        ..LedgerEntry::new(CallId::now(), "openai-chat", "chat")
    };
    gateway.record(entry).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_says_that_rows_are_left_out() {
    let (gateway, admin) = start().await;
    for model in ["a", "b", "c"] {
        record(&gateway, model, Outcome::Answered, None).await;
    }
    for (limit, rows, truncated) in [("", 3, false), ("&limit=3", 3, false), ("&limit=2", 2, true)] {
        let report = admin.get(&format!("/admin/v1/usage?order=name{limit}")).await;
        let mark = report.headers.get(TRUNCATED).map(|value| value.to_str().unwrap());
        assert_eq!(mark, truncated.then_some("true"), "{limit}");
        let report = report.json();
        assert_eq!(
            (report["data"].as_array().unwrap().len(), &report["truncated"]),
            (rows, &json!(truncated)),
            "{limit}"
        );
        let csv = admin.get(&format!("/admin/v1/usage?order=name&format=csv{limit}")).await;
        let mark = csv.headers.get(TRUNCATED).map(|value| value.to_str().unwrap());
        assert_eq!(mark, truncated.then_some("true"), "{limit}");
        assert_eq!(csv.text().lines().count(), rows + 1, "{limit}: {}", csv.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_by_which_no_row_goes_is_refused_with_those_that_there_are() {
    let (gateway, admin) = start().await;
    record(&gateway, "a", Outcome::Failed, Some("timeout")).await;
    record(&gateway, "a", Outcome::Answered, None).await;
    for word in ["failed", "timeuot", "Timeout"] {
        let refused = admin.get(&format!("/admin/v1/usage?outcome={word}")).await;
        let error = &refused.json()["error"];
        assert_eq!((refused.status.as_u16(), &error["param"]), (400, &json!("outcome")), "{error}");
        let message = error["message"].as_str().unwrap();
        for part in [word, "answered", "refused", "cancelled", "timeout", "kind of their failure"] {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
    }
    for (word, calls) in [("timeout", json!(1)), ("answered", json!(1)), ("stalled", Value::Null)] {
        let report = admin.get(&format!("/admin/v1/usage?outcome={word}")).await.json();
        assert_eq!(report["data"][0]["calls"], calls, "{word}: {report}");
    }
}
