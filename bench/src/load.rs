//! The load generator: keep-alive HTTP/1.1 connections, each asking again as soon as it has been answered. Every answer
//! is read to its end and checked, so that a broken proxy cannot look fast. Called by `measure`.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::scenario::{Exchange, Expected};

/// One answer may take this long before the round counts as broken.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// What one read may bring.
const READ_BYTES: usize = 32 * 1024;

/// What was seen of one answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) whole: Duration,
    pub(crate) first_byte: Duration,
    pub(crate) reads: u32,
}

/// A connection to a contender, with what was read beyond the last answer.
pub(crate) struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
    body: Vec<u8>,
    /// A request with a key of its own.
    keyed: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(address).await.context("connecting")?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, buffer: Vec::new(), body: Vec::new(), keyed: Vec::new() })
    }

    /// Asks once and checks the answer.
    pub(crate) async fn ask(&mut self, exchange: &Exchange) -> anyhow::Result<Sample> {
        tokio::time::timeout(ANSWER_TIMEOUT, async {
            let request = match &exchange.keys {
                None => &exchange.request,
                Some((place, secrets)) => {
                    self.keyed.clone_from(&exchange.request);
                    let secret = secrets.choose(random());
                    if let Some(room) = self.keyed.get_mut(*place..place + secret.len()) {
                        room.copy_from_slice(secret);
                    }
                    &self.keyed
                }
            };
            let asked = Instant::now();
            self.socket.write_all(request).await.context("sending the request")?;
            self.read_answer(asked, &exchange.expected).await
        })
        .await
        .context("no whole answer in time")?
    }

    /// The JSON at a path.
    pub(crate) async fn look(&mut self, path: &str) -> anyhow::Result<serde_json::Value> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").into_bytes();
        self.ask(&Exchange { request, keys: None, expected: Expected::Containing("{") }).await?;
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// Asks for a stream and returns when its first event is there; [`Connection::finish`] reads the rest.
    pub(crate) async fn begin(&mut self, exchange: &Exchange) -> anyhow::Result<()> {
        tokio::time::timeout(ANSWER_TIMEOUT, async {
            self.socket.write_all(&exchange.request).await.context("sending the request")?;
            while memmem::find(&self.buffer, b"data: ").is_none() {
                self.read().await?;
            }
            Ok(())
        })
        .await
        .context("no first event in time")?
    }

    /// Reads an answer that [`Connection::begin`] has begun to its end.
    pub(crate) async fn finish(&mut self, exchange: &Exchange) -> anyhow::Result<Sample> {
        tokio::time::timeout(ANSWER_TIMEOUT, self.read_answer(Instant::now(), &exchange.expected))
            .await
            .context("no whole answer in time")?
    }

    async fn read_answer(&mut self, asked: Instant, expected: &Expected) -> anyhow::Result<Sample> {
        let mut reads = 0;
        let head_length = loop {
            if let Some(end) = memmem::find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            self.read().await?;
            reads += 1;
        };
        let framing = framing(self.buffer.get(..head_length).unwrap_or_default())?;
        let mut position = head_length;
        self.body.clear();
        let mut first_byte = None;
        match framing.length {
            Some(length) => {
                while self.buffer.len() < position + length {
                    self.read().await?;
                    reads += 1;
                }
                self.body.extend_from_slice(self.buffer.get(position..position + length).unwrap_or_default());
                position += length;
            }
            None => loop {
                let Some(Chunk { data, total }) = chunk(self.buffer.get(position..).unwrap_or_default())?
                else {
                    self.buffer.drain(..position);
                    position = 0;
                    self.read().await?;
                    reads += 1;
                    continue;
                };
                let start = position + total - data - 2;
                self.body.extend_from_slice(self.buffer.get(start..start + data).unwrap_or_default());
                position += total;
                first_byte.get_or_insert_with(|| asked.elapsed());
                if data == 0 {
                    break;
                }
            },
        }
        self.buffer.drain(..position);
        let whole = asked.elapsed();
        if framing.status != 200 {
            bail!("status {}: {}", framing.status, String::from_utf8_lossy(&self.body));
        }
        expected.check(&self.body).map_err(|wrong| anyhow!(wrong))?;
        if !self.buffer.is_empty() {
            bail!("{} bytes after the end of the answer", self.buffer.len());
        }
        Ok(Sample { whole, first_byte: first_byte.unwrap_or(whole), reads })
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        self.buffer.reserve(READ_BYTES);
        if self.socket.read_buf(&mut self.buffer).await.context("reading the answer")? == 0 {
            bail!("the connection was closed before the end of the answer");
        }
        Ok(())
    }
}

/// The next of a row of numbers that looks random: SplitMix64, the same row in every run.
fn random() -> u64 {
    static STATE: AtomicU64 = AtomicU64::new(0);
    let mut number = STATE.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
    number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// Opens this many connections and asks once on each, so that pools are filled before anything is measured.
pub(crate) async fn warm_up(
    address: SocketAddr,
    exchange: &Exchange,
    count: usize,
) -> anyhow::Result<Vec<Connection>> {
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let exchange = exchange.clone();
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await?;
            for _ in 0..2 {
                connection.ask(&exchange).await?;
            }
            anyhow::Ok(connection)
        });
    }
    tasks.join_all().await.into_iter().collect()
}

/// Asks on every connection, over and over, until the time is up; the last answers are awaited and counted. With a pace,
/// each asks so often and no sooner, the connections one after the other.
pub(crate) async fn closed_loop(
    connections: Vec<Connection>,
    exchange: &Exchange,
    pace: Option<Duration>,
    length: Duration,
) -> anyhow::Result<(Vec<Connection>, Vec<Sample>)> {
    let end = Instant::now() + length;
    let mut tasks = JoinSet::new();
    let count = u32::try_from(connections.len().max(1))?;
    for (place, mut connection) in (0..).zip(connections) {
        let exchange = exchange.clone();
        let mut ticks = pace.map(|pace| {
            let mut ticks = tokio::time::interval_at((Instant::now() + pace / count * place).into(), pace);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            ticks
        });
        tasks.spawn(async move {
            let mut samples = Vec::new();
            while Instant::now() < end {
                if let Some(ticks) = &mut ticks {
                    ticks.tick().await;
                }
                samples.push(connection.ask(&exchange).await?);
            }
            anyhow::Ok((connection, samples))
        });
    }
    let mut kept = Vec::new();
    let mut all = Vec::new();
    for outcome in tasks.join_all().await {
        let (connection, samples) = outcome?;
        kept.push(connection);
        all.extend(samples);
    }
    Ok((kept, all))
}

struct Framing {
    status: u16,
    /// `None` means chunks.
    length: Option<usize>,
}

fn framing(head: &[u8]) -> anyhow::Result<Framing> {
    let head = std::str::from_utf8(head).context("a head that is not text")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
    let field = |wanted: &str| {
        head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    };
    if let Some(length) = field("content-length") {
        return Ok(Framing { status, length: Some(length.parse().context("content-length")?) });
    }
    if field("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return Ok(Framing { status, length: None });
    }
    bail!("an answer with neither a length nor chunks: {head}")
}

struct Chunk {
    data: usize,
    /// Bytes of the chunk with its size line and its closing line break.
    total: usize,
}

fn chunk(bytes: &[u8]) -> anyhow::Result<Option<Chunk>> {
    let Some(line) = memmem::find(bytes, b"\r\n") else { return Ok(None) };
    let size = std::str::from_utf8(bytes.get(..line).unwrap_or_default()).context("a chunk size")?;
    let size = size.split(';').next().unwrap_or_default().trim();
    let data = usize::from_str_radix(size, 16).context("a chunk size")?;
    let total = line + 2 + data + 2;
    Ok((bytes.len() >= total).then_some(Chunk { data, total }))
}
