//! A plain HTTP client for tests: sees status, headers and bytes as they come, and can hang up.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// What came back.
#[derive(Debug)]
pub struct Received {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as far as it came.
    pub body: Bytes,
    /// Whether the body ended in order.
    pub is_complete: bool,
    /// From sending to the body's end.
    pub took: Duration,
}

impl Received {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header as text; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The `data:` of each server-sent event.
    pub fn events(&self) -> Vec<String> {
        let text = self.text();
        text.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
    }
}

/// Calls one server, on a connection of its own for each call.
#[derive(Debug, Clone)]
pub struct Client {
    address: SocketAddr,
    headers: Vec<(String, String)>,
}

impl Client {
    /// A client of this server.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, headers: Vec::new() }
    }

    /// The same with one more header on every call.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Gets a path.
    pub async fn get(&self, path: &str) -> Received {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// Posts JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Received {
        self.call(Method::POST, path, body.to_string().into()).await
    }

    /// Sends these bytes and reads the answer to its end.
    pub async fn call(&self, method: Method, path: &str, body: Bytes) -> Received {
        let began = Instant::now();
        let response = self.send(method, path, body).await;
        let (head, mut incoming) = response.into_parts();
        let mut body = Vec::new();
        let mut is_complete = true;
        while let Some(frame) = incoming.frame().await {
            match frame {
                Ok(frame) => body.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
                Err(_broken) => {
                    is_complete = false;
                    break;
                }
            }
        }
        Received {
            status: head.status,
            headers: head.headers,
            body: body.into(),
            is_complete,
            took: began.elapsed(),
        }
    }

    /// Posts JSON, reads the body until it holds `pieces` reads or ends, and hangs up.
    pub async fn post_and_hang_up(&self, path: &str, body: &Value, pieces: usize) -> Vec<u8> {
        let mut response = self.send(Method::POST, path, body.to_string().into()).await;
        let mut read = Vec::new();
        for _ in 0..pieces {
            match response.body_mut().frame().await {
                Some(Ok(frame)) => read.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
                _ => break,
            }
        }
        read
    }

    /// Sends a request and waits for the answer's head; dropping the response hangs up.
    pub async fn send(&self, method: Method, path: &str, body: Bytes) -> http::Response<Incoming> {
        let stream = TcpStream::connect(self.address).await.expect("the server takes the connection");
        stream.set_nodelay(true).expect("a socket option");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a connection");
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .header("content-type", "application/json");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        sender.send_request(request.body(Full::new(body)).expect("a request")).await.expect("an answer")
    }
}
