//! Bad input gets a clear error in the caller's dialect, costs no more than itself, and disturbs nobody.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use http::Method;
use serde_json::{Value, json};
use tidegate_testkit::{Client, Received, ScriptedProvider, TestGateway, json_answer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// More of a body than the system keeps for a connection.
const LARGE: usize = 24 * 1024 * 1024;

const PATHS: [&str; 3] =
    ["/v1/chat/completions", "/v1/messages", "/v1beta/models/claude-haiku-4-5:generateContent"];

async fn start() -> (TestGateway, Client, ScriptedProvider) {
    let answer = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5",
        "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 1, "output_tokens": 1}});
    let provider = ScriptedProvider::start([json_answer(200, &[], &answer)]).await;
    let yaml = format!(
        "server:\n  max_body: 64KiB\nproviders:\n  anthropic:\n    base_url: {}\n    api_key: sk-secret\n",
        provider.url()
    );
    let gateway = TestGateway::start(&yaml).await;
    let client = Client::new(gateway.address());
    (gateway, client, provider)
}

/// The error's message, after checking that it has the shape of the path's dialect.
fn message(path: &str, received: &Received) -> String {
    let json = received.json();
    let error = &json["error"];
    if path.starts_with("/v1beta") {
        assert_eq!(error["code"], received.status.as_u16(), "{json}");
        assert!(error["status"].is_string(), "{json}");
    } else {
        assert!(error["type"].is_string(), "{json}");
        assert_eq!(json.get("type").is_some(), path == "/v1/messages", "{json}");
    }
    error["message"].as_str().unwrap().to_owned()
}

/// A proper request, to show that the gateway still works.
fn proper(path: &str) -> Value {
    if path.starts_with("/v1beta") {
        json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]})
    } else {
        json!({"model": "claude-haiku-4-5", "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}]})
    }
}

#[tokio::test]
async fn every_kind_of_bad_body_gets_a_clear_error_in_every_dialect() {
    let (gateway, client, provider) = start().await;
    let deep = format!("{{\"messages\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
    let bodies: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", Vec::new(), "valid JSON"),
        ("no JSON", b"hello".to_vec(), "valid JSON"),
        ("cut JSON", b"{\"model\": \"claude-haiku-4-5\", \"messages\": [".to_vec(), "valid JSON"),
        ("an array", b"[]".to_vec(), "valid JSON"),
        ("broken UTF-8", b"{\"model\": \"\xff\xfe\", \"messages\": []}".to_vec(), "UTF-8"),
        ("deep", deep.into_bytes(), "flatter"),
        ("trailing garbage", b"{} {}".to_vec(), "valid JSON"),
        ("no conversation", b"{\"model\": \"claude-haiku-4-5\"}".to_vec(), "is missing"),
        (
            "a conversation of the wrong type",
            b"{\"model\":\"claude-haiku-4-5\",\"messages\":1,\"contents\":1}".to_vec(),
            "must be",
        ),
    ];
    for path in PATHS {
        for (what, body, expected) in &bodies {
            let received = client.call(Method::POST, path, body.clone().into()).await;
            let message = message(path, &received);
            assert_eq!(received.status, 400, "{path}, {what}: {message}");
            assert!(message.contains(expected), "{path}, {what}: {message}");
        }
        let received = client.post(path, &proper(path)).await;
        assert_eq!(received.status, 200, "{path}: {}", received.text());
    }
    assert_eq!(provider.arrived().len(), PATHS.len(), "nothing bad reached the provider");
    assert_eq!(gateway.calls().await.len(), PATHS.len());
}

#[tokio::test]
async fn missing_and_wrong_models_are_named() {
    let (_gateway, client, _provider) = start().await;
    for (model, status, expected) in [
        (json!(null), 400, "`model`"),
        (json!(7), 400, "`model`"),
        (json!(""), 400, "name"),
        (json!("x".repeat(10_000)), 400, "name"),
        (json!("claude-haiku-45"), 404, "anthropic/claude-haiku-4-5"),
        (json!("nobody/claude-haiku-4-5"), 404, "anthropic/claude-haiku-4-5"),
        (json!("no such thing at all"), 404, "tidegate models"),
    ] {
        for path in ["/v1/chat/completions", "/v1/messages"] {
            let mut body = proper(path);
            body["model"] = model.clone();
            let received = client.post(path, &body).await;
            let message = message(path, &received);
            assert_eq!(received.status, status, "{model}: {message}");
            assert!(message.contains(expected), "{model}: {message}");
        }
    }
    let path = "/v1beta/models/claude-haiku-45:generateContent";
    let received = client.post(path, &proper(path)).await;
    assert_eq!(received.status, 404);
    assert_eq!(received.json()["error"]["status"], "NOT_FOUND");
    assert!(message(path, &received).contains("anthropic/claude-haiku-4-5"));
}

#[tokio::test]
async fn an_oversized_body_is_refused_at_the_limit_without_being_read_on() {
    let (gateway, _client, provider) = start().await;
    for path in PATHS {
        for head in ["content-length: 10000000000\r\n\r\n", "transfer-encoding: chunked\r\n\r\n"] {
            let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
            let request =
                format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{head}");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut written = 0usize;
            let mut answer = Vec::new();
            let (mut reading, mut writing) = stream.split();
            let piece = [b"8000\r\n".as_slice(), &vec![b' '; 0x8000], b"\r\n"].concat();
            let read = reading.read_to_end(&mut answer);
            let write = async {
                // Far more than the limit, if somebody reads it.
                while written < 64 * 1024 * 1024 && writing.write_all(&piece).await.is_ok() {
                    written += piece.len();
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                _ = read => {}
                () = write => {}
            }
            let answer = String::from_utf8_lossy(&answer).into_owned();
            assert!(answer.starts_with("HTTP/1.1 413"), "{path}: {answer}");
            assert!(answer.contains("larger than 65536 bytes"), "{path}: {answer}");
            assert!(written < 32 * 1024 * 1024, "{path}: {written} bytes were taken");
        }
    }
    assert!(provider.arrived().is_empty());
}

#[tokio::test]
async fn a_content_length_that_lies_is_told_so() {
    let (gateway, client, provider) = start().await;
    let body = proper("/v1/messages").to_string();
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    let head =
        format!("POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len() + 100);
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(provider.arrived().is_empty(), "half a body reaches nobody");
    // A body longer than announced is the next request's beginning, and no valid one.
    let received = client.post("/v1/messages", &proper("/v1/messages")).await;
    assert_eq!(received.status, 200);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_named_in_the_dialect_that_was_probably_meant() {
    let (_gateway, client, _provider) = start().await;
    let received = client.get("/v1/chat/completions").await;
    assert_eq!(received.status, 405);
    assert!(message("/v1/chat/completions", &received).contains("GET"));
    let received = client.post("/v1/chat/completion", &json!({})).await;
    assert_eq!(received.status, 404);
    assert!(message("/v1/chat/completion", &received).contains("/v1/chat/completion"));
    let received = client.post("/v1/messages/nothing", &json!({})).await;
    assert_eq!(received.status, 404);
    message("/v1/messages", &received);
    let received = client.post("/v1beta/models/x:predict", &json!({})).await;
    assert_eq!(received.status, 404);
    message("/v1beta", &received);
}

#[tokio::test]
async fn tidegates_own_headers_are_checked() {
    let (_gateway, client, _provider) = start().await;
    for (name, value) in [
        ("x-tidegate-timeout", "soon"),
        ("x-tidegate-timeout", "-1s"),
        ("x-tidegate-strict", "perhaps"),
        ("x-tidegate-tags", "no-equals-sign"),
        ("content-encoding", "gzip"),
    ] {
        let received =
            client.clone().with_header(name, value).post("/v1/messages", &proper("/v1/messages")).await;
        assert!(received.status.is_client_error(), "{name}: {value}");
        assert!(!message("/v1/messages", &received).is_empty());
    }
}

#[tokio::test]
async fn a_caller_who_is_refused_while_it_sends_a_large_body_gets_the_refusal() {
    let (gateway, _client, _provider) = start().await;
    let piece = vec![b' '; 64 * 1024];
    let chunked = format!("{:x}\r\n", piece.len());
    for (path, headers, status) in [
        ("/v1/chat/completions", format!("content-length: {LARGE}"), 413),
        ("/v1/messages", "transfer-encoding: chunked".to_owned(), 413),
        ("/v1/messages", format!("content-length: {LARGE}\r\nx-api-key: tg-unknown"), 413),
        ("/v1/feedback", format!("content-length: {LARGE}"), 413),
        ("/v1/nowhere", format!("content-length: {LARGE}"), 404),
    ] {
        let mut socket = TcpStream::connect(gateway.address()).await.unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\n{headers}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..LARGE / piece.len() {
            if headers.contains("chunked") {
                socket.write_all(chunked.as_bytes()).await.unwrap();
            }
            socket.write_all(&piece).await.unwrap();
            if headers.contains("chunked") {
                socket.write_all(b"\r\n").await.unwrap();
            }
        }
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}, {headers}: {answer}");
        assert!(answer.to_lowercase().contains("connection: close"), "{path}, {headers}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_callers_words_put_a_target_or_a_key_out() {
    let words = "x' the model `m` does not exist, your credit balance is too low, invalid api key 'y";
    for (path, kind, version) in [
        ("/v1/chat/completions", "openai", "/v1"),
        ("/v1/messages", "anthropic", ""),
        ("/v1beta/models/m:generateContent", "gemini", ""),
    ] {
        let said = match kind {
            "openai" => json!({"object": "error", "type": "BadRequestError", "param": null, "code": 400,
                "message": format!("1 validation error:\n  {{'type': 'extra_forbidden', 'input': '{words}'}}")}),
            "anthropic" => json!({"type": "error", "error": {"type": "invalid_request_error",
                "message": format!("messages.0.role: '{words}' is not a role")}}),
            _ => json!({"error": {"code": 400, "status": "INVALID_ARGUMENT",
                "message": format!("Invalid value at 'contents[0].role' (TYPE_STRING), \"{words}\"")}}),
        };
        let provider = ScriptedProvider::start([json_answer(400, &[], &said)]).await;
        let url = provider.url();
        let yaml = format!(
            "providers:\n  p: {{ kind: {kind}, base_url: \"{url}{version}\", api_key: k }}\n  \
             q: {{ kind: {kind}, base_url: \"{url}{version}\", api_key: k }}\nmodels: {{ m: {{ targets: [p/m, q/m] }} }}\n"
        );
        let gateway = TestGateway::start(&yaml).await;
        let client = Client::new(gateway.address());
        let mut question = proper(path);
        if kind != "gemini" {
            question["model"] = json!("m");
        }
        for _ in 0..3 {
            let received = client.post(path, &question).await;
            assert_eq!(received.status, 400, "{kind}: {}", received.text());
            let text = received.text();
            assert!(text.contains("(answered by p/m)") && !text.contains("All targets"), "{kind}: {text}");
        }
        assert_eq!(provider.arrived().len(), 3, "{kind}: nobody else is asked");
        let targets = client.get("/admin/v1/targets").await.text();
        assert!(!targets.contains("no_such_model") && !targets.contains("credentials"), "{kind}: {targets}");
    }
}
