//! From an endpoint to a socket that speaks: name, address, TCP, TLS. Called by `client` when the pool has nothing.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::endpoint::Endpoint;
use super::error::SendError;
use super::tls;

/// An address that has not taken the connection by then gets company from the next one (RFC 8305 recommends this value).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// Names stay resolved this long: enough to spare a burst of connections one look-up each, too short to miss a change.
const NAME_LIFETIME: Duration = Duration::from_secs(5);

/// More names than this are not remembered; a configuration has a few dozen.
const MAX_NAMES: usize = 256;

/// A connection to a provider.
pub(super) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Makes connections; remembers names for a moment.
#[derive(Default)]
pub(super) struct Connector {
    tls: Option<Arc<ClientConfig>>,
    names: Mutex<HashMap<Arc<str>, Resolved>>,
}

struct Resolved {
    at: Instant,
    addresses: Arc<[SocketAddr]>,
}

impl Connector {
    pub(super) fn with_tls(tls: Arc<ClientConfig>) -> Self {
        Self { tls: Some(tls), names: Mutex::default() }
    }

    /// Connects within the limit, which covers the name, the connection and TLS together.
    pub(super) async fn connect(&self, endpoint: &Endpoint, limit: Duration) -> Result<Wire, SendError> {
        tokio::time::timeout(limit, self.connect_unlimited(endpoint)).await.unwrap_or_else(|_elapsed| {
            self.forget(endpoint);
            Err(SendError::ConnectTimeout { endpoint: endpoint.key().to_string(), after: limit })
        })
    }

    async fn connect_unlimited(&self, endpoint: &Endpoint) -> Result<Wire, SendError> {
        let addresses = self
            .resolve(endpoint)
            .await
            .map_err(|source| SendError::Dns { host: endpoint.host().to_owned(), source })?;
        let socket = first_to_connect(&addresses).await.map_err(|source| {
            self.forget(endpoint);
            SendError::Refused { endpoint: endpoint.key().to_string(), source }
        })?;
        // Without this, an event may wait 40 ms for the acknowledgement of the one before it.
        socket
            .set_nodelay(true)
            .map_err(|source| SendError::Refused { endpoint: endpoint.key().to_string(), source })?;
        let Some(name) = endpoint.server_name() else { return Ok(Wire::Plain(socket)) };
        let stream = tls::handshake(self.tls.as_ref(), name, socket)
            .await
            .map_err(|source| SendError::Tls { endpoint: endpoint.key().to_string(), source })?;
        Ok(Wire::Tls(Box::new(stream)))
    }

    async fn resolve(&self, endpoint: &Endpoint) -> io::Result<Arc<[SocketAddr]>> {
        if let Ok(address) = endpoint.host().parse::<IpAddr>() {
            return Ok(Arc::new([SocketAddr::new(address, endpoint.port())]));
        }
        if let Some(known) = self.names.lock().unwrap_or_else(PoisonError::into_inner).get(endpoint.key())
            && known.at.elapsed() < NAME_LIFETIME
        {
            return Ok(Arc::clone(&known.addresses));
        }
        let found: Vec<SocketAddr> =
            tokio::net::lookup_host((endpoint.host(), endpoint.port())).await?.collect();
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        let addresses: Arc<[SocketAddr]> = families_alternating(found).into();
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= MAX_NAMES {
            names.clear();
        }
        names.insert(
            Arc::clone(endpoint.key()),
            Resolved { at: Instant::now(), addresses: Arc::clone(&addresses) },
        );
        Ok(addresses)
    }

    /// An address that does not work may be an old one.
    fn forget(&self, endpoint: &Endpoint) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).remove(endpoint.key());
    }
}

/// The resolver's order, but with IPv4 and IPv6 in turn, so that one broken family costs one wait and not many.
fn families_alternating(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v4 = found.first().is_some_and(SocketAddr::is_ipv4);
    let (leading, other): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|address| address.is_ipv4() == first_is_v4);
    let mut other = other.into_iter();
    let mut ordered: Vec<SocketAddr> =
        leading.into_iter().flat_map(|address| [Some(address), other.next()]).flatten().collect();
    ordered.extend(other);
    ordered
}

async fn first_to_connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut waiting = addresses.iter();
    let mut attempts = FuturesUnordered::new();
    let mut problem = io::Error::from(io::ErrorKind::NotFound);
    loop {
        if let Some(address) = waiting.next() {
            attempts.push(TcpStream::connect(*address));
        }
        let more = waiting.len() > 0;
        tokio::select! {
            outcome = attempts.next() => match outcome {
                Some(Ok(socket)) => return Ok(socket),
                Some(Err(failed)) => problem = failed,
                None => return Err(problem),
            },
            () = tokio::time::sleep(NEXT_ADDRESS_AFTER), if more => {}
        }
    }
}

impl Wire {
    /// Waits until there may be something to read. TLS keeps bytes of its own, so only its reading can tell.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_read_ready(cx),
            Self::Tls(_) => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
