//! Recorded before it is over: when a caller sees the end of its answer, the call is in the ledger's journal, and no crash
//! can lose it. With providers that keep the connection open behind the end, so that there is time to look.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use serde_json::{Value, json};
use tidegate_store::Outcome;
use tidegate_testkit::{ScriptedProvider, Step, TestGateway, json_answer, open_stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const OPENAI: [&str; 4] = [
    "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Hello\"},\"finish_reason\":null}]}\n\n",
    "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"total_tokens\":10}}\n\n",
    "data: [DONE]\n\n",
];
const ANTHROPIC: [&str; 6] = [
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":7,\"output_tokens\":1}}}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":3}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
];

/// Sends a call and reads until this text has come; gives how many calls are recorded at that moment.
async fn recorded_at(gateway: &TestGateway, path: &str, body: &Value, end: &str) -> u64 {
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut answer, mut buffer) = (Vec::new(), [0; 4_096]);
    while !String::from_utf8_lossy(&answer).contains(end) {
        let read = stream.read(&mut buffer).await.unwrap();
        assert_ne!(read, 0, "`{end}` did not come, but {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..read]);
    }
    gateway.gateway().status().ledger.recorded
}

async fn check(provider: &str, steps: Vec<Step>, path: &str, body: Value, end: &str) {
    let scripted = ScriptedProvider::start([steps]).await;
    let base = if provider == "openai" { format!("{}/v1", scripted.url()) } else { scripted.url() };
    let yaml = format!("providers:\n  {provider}: {{ base_url: \"{base}\", api_key: k }}\n");
    let gateway = TestGateway::start(&yaml).await;
    assert_eq!(recorded_at(&gateway, path, &body, end).await, 1, "{provider} to {path}");
    let calls = gateway.calls().await;
    assert_eq!(calls[0].outcome, Outcome::Answered);
    assert_eq!((calls[0].usage.input, calls[0].usage.output), (7, 3), "{provider} to {path}");
    assert!(calls[0].finish_reason.is_some() && calls[0].bytes_out > 0);
}

#[tokio::test]
async fn a_call_is_recorded_before_the_bytes_that_end_its_answer_are_handed_out() {
    let kept_open = |events: &[&str]| {
        let mut steps = open_stream(events);
        steps.push(Step::Hang);
        steps
    };
    // The frames come in one piece as well as each by itself.
    let joined = [OPENAI.concat()];
    let joined: Vec<&str> = joined.iter().map(String::as_str).collect();
    let chat = |model: &str| json!({"model": model, "stream": true, "messages": [{"role": "user", "content": "Hi"}]});
    let chats = "/v1/chat/completions";
    for openai in [&OPENAI[..], &joined] {
        check("openai", kept_open(openai), chats, chat("openai/m"), "data: [DONE]").await;
    }
    let mut message = chat("anthropic/m");
    message["max_tokens"] = json!(100);
    check("anthropic", kept_open(&ANTHROPIC), "/v1/messages", message.clone(), "\"message_stop\"").await;
    check("anthropic", kept_open(&ANTHROPIC), chats, chat("anthropic/m"), "data: [DONE]").await;
    message["model"] = json!("openai/m");
    check("openai", kept_open(&OPENAI), "/v1/messages", message, "\"message_stop\"").await;
    // Gemini's stream to a caller who takes it as one array: the bracket ends it.
    let contents = json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]});
    let path = "/v1beta/models/openai%2Fm:streamGenerateContent";
    check("openai", kept_open(&OPENAI), path, contents, "]\r\n").await;
}

#[tokio::test]
async fn a_whole_answer_is_recorded_before_its_first_byte() {
    let answer = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}});
    let body = json!({"model": "openai/m", "messages": [{"role": "user", "content": "Hi"}]});
    check("openai", json_answer(200, &[], &answer), "/v1/chat/completions", body, "HTTP/1.1 200").await;
}
