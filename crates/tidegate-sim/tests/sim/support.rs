//! A caller that sees everything: a plain socket, so that cuts, resets and silences are told apart.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_sim::{Dialect, RunningSim, SimOptions, Simulator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// So long nothing may happen before it counts as silence.
pub(crate) const SILENCE: Duration = Duration::from_millis(400);

/// How the connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The answer is complete by HTTP's own rules.
    Complete,
    /// Closed before that.
    Closed,
    Reset,
    Silent,
}

#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) end: End,
}

impl Seen {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The data of the events, `[DONE]` left out.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = self.text();
        let lines =
            text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
        lines
            .map(|data| serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}")))
            .collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    }
}

pub(crate) async fn start() -> RunningSim {
    Simulator::start(SimOptions::default()).await.unwrap()
}

/// A request that says `text` to a model.
pub(crate) fn saying(dialect: Dialect, model: &str, text: &str, stream: bool) -> (String, Value) {
    match dialect {
        Dialect::OpenAiChat => (
            "/v1/chat/completions".to_owned(),
            json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": text}]}),
        ),
        Dialect::AnthropicMessages => (
            "/v1/messages".to_owned(),
            json!({"model": model, "stream": stream, "max_tokens": 4096, "messages": [{"role": "user", "content": text}]}),
        ),
        Dialect::Gemini => {
            (gemini_path(model, stream), json!({"contents": [{"role": "user", "parts": [{"text": text}]}]}))
        }
    }
}

pub(crate) fn gemini_path(model: &str, stream: bool) -> String {
    let method = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
    format!("/v1beta/models/{model}:{method}")
}

pub(crate) async fn ask(sim: &RunningSim, dialect: Dialect, model: &str, text: &str, stream: bool) -> Seen {
    let (path, body) = saying(dialect, model, text, stream);
    post(sim.address(), &path, &body).await
}

pub(crate) async fn post(address: SocketAddr, path: &str, body: &Value) -> Seen {
    let body = body.to_string();
    let version = if path.starts_with("/v1/messages") { "anthropic-version: 2023-06-01\r\n" } else { "" };
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: sim\r\ncontent-type: application/json\r\n{version}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    exchange(address, &request).await
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Seen {
    exchange(address, &format!("GET {path} HTTP/1.1\r\nhost: sim\r\n\r\n")).await
}

/// Sends, and reads until the answer is complete, the connection ends or nothing comes any more.
pub(crate) async fn exchange(address: SocketAddr, request: &str) -> Seen {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut raw = Vec::new();
    let mut buffer = vec![0; 256 * 1024];
    let end = loop {
        if complete(&raw) {
            break End::Complete;
        }
        match tokio::time::timeout(SILENCE, stream.read(&mut buffer)).await {
            Err(_) => break End::Silent,
            Ok(Ok(0)) => break End::Closed,
            Ok(Ok(count)) => raw.extend_from_slice(&buffer[..count]),
            Ok(Err(_)) => break End::Reset,
        }
    };
    let (head, body) = split(&raw);
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    let body = if is_chunked(&head) { dechunk(body).0 } else { body.to_vec() };
    Seen { status, head, body, end }
}

fn split(raw: &[u8]) -> (String, &[u8]) {
    match raw.windows(4).position(|window| window == b"\r\n\r\n") {
        Some(at) => (String::from_utf8_lossy(&raw[..at]).into_owned(), &raw[at + 4..]),
        None => (String::new(), raw),
    }
}

fn is_chunked(head: &str) -> bool {
    head.to_lowercase().contains("transfer-encoding: chunked")
}

fn complete(raw: &[u8]) -> bool {
    let (head, body) = split(raw);
    if head.is_empty() {
        return false;
    }
    if is_chunked(&head) {
        // Only the end can complete it: unwrapping everything at every read would take long for long bodies.
        return body.ends_with(b"0\r\n\r\n") && dechunk(body).1;
    }
    let length =
        head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ").map(str::to_owned));
    length.and_then(|length| length.parse::<usize>().ok()).is_some_and(|length| body.len() >= length)
}

/// The content, and whether the last chunk has come.
fn dechunk(mut body: &[u8]) -> (Vec<u8>, bool) {
    let mut out = Vec::new();
    while let Some(line) = body.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&body[..line]).unwrap_or("x"), 16);
        let Ok(size) = size else { break };
        if size == 0 {
            return (out, true);
        }
        let start = line + 2;
        let end = (start + size).min(body.len());
        out.extend_from_slice(&body[start..end]);
        if body.len() < end + 2 {
            break;
        }
        body = &body[end + 2..];
    }
    (out, false)
}

/// The text of an answer, whole or streamed.
pub(crate) fn said(dialect: Dialect, seen: &Seen, stream: bool) -> String {
    let objects = if stream { seen.events() } else { vec![seen.json()] };
    let mut text = String::new();
    for object in objects {
        let found = match (dialect, stream) {
            (Dialect::OpenAiChat, false) => object["choices"][0]["message"]["content"].as_str(),
            (Dialect::OpenAiChat, true) => object["choices"][0]["delta"]["content"].as_str(),
            (Dialect::AnthropicMessages, true) => object["delta"]["text"].as_str(),
            (Dialect::AnthropicMessages, false) => {
                let blocks = object["content"].as_array().unwrap();
                blocks.iter().find_map(|block| block["text"].as_str())
            }
            (Dialect::Gemini, _) => {
                let parts = object["candidates"][0]["content"]["parts"].as_array().unwrap();
                parts
                    .iter()
                    .filter(|part| part["thought"].as_bool() != Some(true))
                    .find_map(|part| part["text"].as_str())
            }
        };
        text.push_str(found.unwrap_or_default());
    }
    text
}
