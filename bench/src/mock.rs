//! The mock provider: answers at once, from memory, over HTTP/1.1 with keep-alive. Started by `main` on a thread of its
//! own, with as little work per request as a provider can do, so that the differences seen are the proxies'.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::answers;

/// The pause between two events of a stream: each is read, and forwarded, by itself.
const PAUSE_BETWEEN_EVENTS: Duration = Duration::from_millis(5);

/// The pause between the events of a held stream once it has been let go; thousands of them run at once.
const PAUSE_BETWEEN_HELD_EVENTS: Duration = Duration::from_millis(250);

/// How many events end a held stream; those before them come as one write when it is let go.
const HELD_TAIL: usize = 12;

/// Longer request heads than this are no part of the benchmark.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// How many events of a held stream come at once: up to the first with text in it, since a gateway may wait for that
/// before it says that all is well.
const HELD_OPENING: usize = 2;

/// The first path segment that asks for a held stream: its opening at once, the rest when [`Mock::release`] is called.
pub(crate) const HELD_PREFIX: &str = "/held";

/// A running mock provider.
pub(crate) struct Mock {
    pub(crate) address: SocketAddr,
    released: watch::Sender<bool>,
    connections: Arc<AtomicUsize>,
}

impl Mock {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let (released, release) = watch::channel(false);
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let (report, started) = mpsc::channel();
        thread::Builder::new().name("mock".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            tokio::task::LocalSet::new().block_on(&runtime, async move {
                let listener = listen()?;
                // The receiver lives until the address has arrived.
                drop(report.send(listener.local_addr()));
                accept(listener, release, counter).await
            })
        })?;
        Ok(Self { address: started.recv()??, released, connections })
    }

    /// Holds back the rest of every stream under [`HELD_PREFIX`].
    pub(crate) fn hold(&self) {
        self.released.send_replace(false);
    }

    /// Lets every held stream run on to its end.
    pub(crate) fn release(&self) {
        self.released.send_replace(true);
    }

    /// Connections accepted since the start: shows whether a proxy keeps its own alive.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

struct Answers {
    openai_whole: Vec<u8>,
    openai_stream: Vec<Vec<u8>>,
    anthropic_whole: Vec<u8>,
    anthropic_stream: Vec<Vec<u8>>,
}

fn listen() -> io::Result<TcpListener> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    socket.listen(8_192)
}

async fn accept(
    listener: TcpListener,
    release: watch::Receiver<bool>,
    connections: Arc<AtomicUsize>,
) -> io::Result<()> {
    let answers = Rc::new(Answers {
        openai_whole: whole(&answers::openai_whole()),
        openai_stream: answers::openai_events().iter().map(|event| chunked(event)).collect(),
        anthropic_whole: whole(&answers::anthropic_whole()),
        anthropic_stream: answers::anthropic_events().iter().map(|event| chunked(event)).collect(),
    });
    loop {
        let (socket, _) = listener.accept().await?;
        connections.fetch_add(1, Ordering::Relaxed);
        socket.set_nodelay(true)?;
        let answers = Rc::clone(&answers);
        let release = release.clone();
        tokio::task::spawn_local(async move {
            // A proxy may close its connections whenever it likes; what it does to an answer shows at the other end.
            drop(serve(socket, &answers, release).await);
        });
    }
}

async fn serve(
    mut socket: TcpStream,
    answers: &Answers,
    mut release: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(8 * 1024);
    let mut served = 0_u64;
    while let Some(asked) = read_request(&mut socket, &mut buffer).await? {
        served += 1;
        let stream = if asked.anthropic { &answers.anthropic_stream } else { &answers.openai_stream };
        match asked.answer {
            Form::Whole if asked.anthropic => socket.write_all(&answers.anthropic_whole).await?,
            Form::Whole => socket.write_all(&answers.openai_whole).await?,
            Form::Stream => {
                // Streams that began together would otherwise stay in step, and a proxy could serve them in batches.
                let offset = Duration::from_micros(served * 1_700 % 5_000);
                tokio::time::sleep(offset).await;
                write_stream(&mut socket, stream, PAUSE_BETWEEN_EVENTS).await?;
            }
            Form::Held => {
                let (first, rest) = stream.split_at(HELD_OPENING.min(stream.len()));
                let (middle, tail) = rest.split_at(rest.len().saturating_sub(HELD_TAIL));
                let mut opening = STREAM_HEAD.as_bytes().to_vec();
                opening.extend(first.concat());
                socket.write_all(&opening).await?;
                if release.wait_for(|released| *released).await.is_err() {
                    return Ok(());
                }
                socket.write_all(&middle.concat()).await?;
                for event in tail {
                    tokio::time::sleep(PAUSE_BETWEEN_HELD_EVENTS).await;
                    socket.write_all(event).await?;
                }
                socket.write_all(b"0\r\n\r\n").await?;
            }
        }
    }
    Ok(())
}

async fn write_stream(socket: &mut TcpStream, events: &[Vec<u8>], pause: Duration) -> io::Result<()> {
    let Some((first, rest)) = events.split_first() else { return Ok(()) };
    let mut opening = STREAM_HEAD.as_bytes().to_vec();
    opening.extend_from_slice(first);
    socket.write_all(&opening).await?;
    let last = rest.len().saturating_sub(1);
    for (number, event) in rest.iter().enumerate() {
        tokio::time::sleep(pause).await;
        if number == last {
            // Providers send the closing chunk along with `[DONE]`.
            let mut closing = event.clone();
            closing.extend_from_slice(b"0\r\n\r\n");
            socket.write_all(&closing).await?;
        } else {
            socket.write_all(event).await?;
        }
    }
    Ok(())
}

struct Asked {
    anthropic: bool,
    answer: Form,
}

enum Form {
    Whole,
    Stream,
    Held,
}

/// Reads one request to its end; `None` when the peer has closed between two requests.
async fn read_request(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Asked>> {
    buffer.clear();
    let head_length = loop {
        if let Some(end) = memmem::find(buffer, b"\r\n\r\n") {
            break end + 4;
        }
        if buffer.len() > MAX_HEAD_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if socket.read_buf(buffer).await? == 0 {
            return if buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
    };
    let (anthropic, held, body_length) = {
        let head = String::from_utf8_lossy(buffer.get(..head_length).unwrap_or_default());
        let path = head.split(' ').nth(1).unwrap_or_default();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            if name.eq_ignore_ascii_case("content-length") {
                value.trim().parse::<usize>().ok()
            } else {
                None
            }
        });
        (
            path.ends_with("/messages"),
            path.starts_with(HELD_PREFIX),
            length.ok_or(io::ErrorKind::InvalidData)?,
        )
    };
    while buffer.len() < head_length + body_length {
        if socket.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let body = buffer.get(head_length..).unwrap_or_default();
    if body.len() != body_length || body.last() != Some(&b'}') {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let streamed = memmem::find(body, b"\"stream\":true").is_some();
    let answer = match (streamed, held) {
        (false, _) => Form::Whole,
        (true, false) => Form::Stream,
        (true, true) => Form::Held,
    };
    Ok(Some(Asked { anthropic, answer }))
}

const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
    cache-control: no-cache\r\ntransfer-encoding: chunked\r\nx-request-id: req_bench\r\n\r\n";

fn whole(body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nx-request-id: req_bench\r\n\r\n"
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer
}

fn chunked(event: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", event.len()).into_bytes();
    chunk.extend_from_slice(event);
    chunk.extend_from_slice(b"\r\n");
    chunk
}
