//! A provider that does exactly what a test says, byte by byte: for what a well-behaved simulator would never do.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// One step of an answer.
#[derive(Debug, Clone)]
pub enum Step {
    /// Sends these bytes, in one write.
    Send(Vec<u8>),
    /// Waits.
    Wait(Duration),
    /// Waits until the test says go on.
    Await(Arc<Notify>),
    /// Closes the connection.
    Close,
    /// Keeps the connection open and says nothing more, until the other side closes it.
    Hang,
}

/// A request that arrived.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// When its body was complete.
    pub at: Instant,
    /// Method, path and query: `POST /v1/messages`.
    pub line: String,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Arrived {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    /// A header; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

/// A provider that follows a script: each request takes the next answer, the last one is repeated.
#[derive(Debug)]
pub struct ScriptedProvider {
    address: SocketAddr,
    state: Arc<State>,
    running: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    script: Mutex<VecDeque<Vec<Step>>>,
    arrived: Mutex<Vec<Arrived>>,
    hung_up: Mutex<Vec<Instant>>,
    /// Requests that are being answered, and the most that ever were at once.
    open: Mutex<(usize, usize)>,
}

/// A request that is being answered.
struct Open<'a>(&'a State);

impl<'a> Open<'a> {
    fn begin(state: &'a State) -> Self {
        let mut open = state.open.lock().expect("no panic");
        open.0 += 1;
        open.1 = open.1.max(open.0);
        drop(open);
        Self(state)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.lock().expect("no panic").0 -= 1;
    }
}

impl ScriptedProvider {
    /// Starts a provider with these answers.
    pub async fn start(script: impl IntoIterator<Item = Vec<Step>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State::default());
        state.script.lock().expect("no panic").extend(script);
        let shared = Arc::clone(&state);
        let running = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { address, state, running }
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Gives these answers from the next request on.
    pub fn follow(&self, script: impl IntoIterator<Item = Vec<Step>>) {
        *self.state.script.lock().expect("no panic") = script.into_iter().collect();
    }

    /// The requests that arrived so far.
    pub fn arrived(&self) -> Vec<Arrived> {
        self.state.arrived.lock().expect("no panic").clone()
    }

    /// The most requests that were being answered at once.
    pub fn most_at_once(&self) -> usize {
        self.state.open.lock().expect("no panic").1
    }

    /// Waits until so many connections were closed from the other side while an answer was being given.
    pub async fn hung_up(&self, count: usize) -> bool {
        for _ in 0..200 {
            if self.state.hung_up.lock().expect("no panic").len() >= count {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }
}

impl Drop for ScriptedProvider {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// A whole answer in JSON.
pub fn json_answer(status: u16, headers: &[(&str, &str)], body: &Value) -> Vec<Step> {
    let body = body.to_string();
    vec![Step::Send(
        format!("{}content-length: {}\r\n\r\n{body}", head(status, "application/json", headers), body.len())
            .into_bytes(),
    )]
}

/// A stream of these events, each in a write of its own, ended in order.
pub fn event_stream(events: &[&str]) -> Vec<Step> {
    let mut steps = open_stream(events);
    steps.push(Step::Send(b"0\r\n\r\n".to_vec()));
    steps
}

/// The same without its end: add what comes instead.
pub fn open_stream(events: &[&str]) -> Vec<Step> {
    let head = head(200, "text/event-stream", &[]);
    let mut steps = vec![Step::Send(format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes())];
    steps.extend(
        events.iter().map(|event| Step::Send(format!("{:x}\r\n{event}\r\n", event.len()).into_bytes())),
    );
    steps
}

fn head(status: u16, content_type: &str, headers: &[(&str, &str)]) -> String {
    let mut head = format!("HTTP/1.1 {status} Scripted\r\ncontent-type: {content_type}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head
}

async fn serve(mut stream: TcpStream, state: Arc<State>) {
    stream.set_nodelay(true).expect("a socket option");
    let mut buffer = Vec::new();
    while let Some(arrived) = read_request(&mut stream, &mut buffer).await {
        let mut open = Some(Open::begin(&state));
        state.arrived.lock().expect("no panic").push(arrived);
        let steps = {
            let mut script = state.script.lock().expect("no panic");
            if script.len() > 1 { script.pop_front() } else { script.front().cloned() }
        };
        let mut steps = steps.unwrap_or_else(|| vec![Step::Close]).into_iter().peekable();
        while let Some(step) = steps.next() {
            if steps.peek().is_none() && matches!(step, Step::Send(_)) {
                // Whoever reads the end of the answer may ask again before this task goes on.
                open.take();
            }
            let is_open = match step {
                Step::Send(bytes) => stream.write_all(&bytes).await.is_ok(),
                Step::Wait(time) => tokio::select! {
                    () = tokio::time::sleep(time) => true,
                    () = closed(&stream) => false,
                },
                Step::Await(sign) => tokio::select! {
                    () = sign.notified() => true,
                    () = closed(&stream) => false,
                },
                Step::Close => return,
                Step::Hang => {
                    closed(&stream).await;
                    false
                }
            };
            if !is_open {
                state.hung_up.lock().expect("no panic").push(Instant::now());
                return;
            }
        }
    }
}

/// Resolves when the other side closes.
async fn closed(stream: &TcpStream) {
    let mut byte = [0];
    loop {
        match stream.peek(&mut byte).await {
            Ok(0) | Err(_) => return,
            Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Arrived> {
    let mut piece = vec![0; 64 * 1024];
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let mut lines = head.lines();
            let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
            let headers: Vec<(String, String)> = lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
                .collect();
            let length = headers
                .iter()
                .find(|(name, _)| name == "content-length")
                .map_or(0, |(_, value)| value.parse().expect("a number"));
            if buffer.len() >= end + 4 + length {
                let body = buffer[end + 4..end + 4 + length].to_vec();
                buffer.drain(..end + 4 + length);
                return Some(Arrived { at: Instant::now(), line, headers, body });
            }
        }
        let read = stream.read(&mut piece).await.ok()?;
        if read == 0 {
            return None;
        }
        buffer.extend_from_slice(&piece[..read]);
    }
}
