//! HTTP on one connection. Run as a task by `worker`.

use std::io;
use std::pin::pin;
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, Version};
use http_body::Body;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::linger::{RequestBody, Unread, is_large};
use super::options::ServeOptions;
use super::phase::{CutOff, Phase, wait_for};
use super::stall::StallGuard;
use crate::caller::Peer;

/// A request's head may have this many bytes; SDKs send one to three kilobytes, cookies and tags included.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// A request's head may have this many headers.
const MAX_HEADERS: usize = 128;

/// What is read and written at once at most. Large bodies gain nothing from more, and it is memory per connection.
const MAX_BUFFER_BYTES: usize = 128 * 1024;

/// Calls at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;

/// An HTTP/2 connection that is silent for this long is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(30);

/// The first bytes of HTTP/2 without TLS (RFC 9113, section 3.4). No method of HTTP/1.1 begins with `PRI`.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// As much of the preface as tells the two apart.
const PREFACE_BEGINNING: usize = 3;

/// How long to wait for the second byte of a connection's first three.
const WAIT_FOR_BYTES: Duration = Duration::from_millis(5);

/// How both versions of HTTP are spoken; made once a worker.
#[derive(Clone)]
pub(super) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    head_timeout: Duration,
    stall_timeout: Duration,
    linger: Duration,
}

impl Protocols {
    pub(super) fn new(options: &ServeOptions) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(options.head_timeout)
            .max_header_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_BUFFER_BYTES);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX))
            .keep_alive_interval(PING_EVERY);
        let &ServeOptions { head_timeout, stall_timeout, linger, .. } = options;
        Self { http1, http2, head_timeout, stall_timeout, linger }
    }
}

/// Serves one connection to its end, or, once draining has begun, to the end of the calls in flight.
pub(super) async fn serve_connection<S, B>(
    socket: TcpStream,
    service: S,
    protocols: Protocols,
    phases: watch::Receiver<Phase>,
) where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // Without this, an event may wait 40 ms for the acknowledgement of the one before it.
    if socket.set_nodelay(true).is_err() {
        return;
    }
    let mut draining = pin!(wait_for(phases.clone(), Phase::Draining));
    let spoken = tokio::select! {
        spoken = tokio::time::timeout(protocols.head_timeout, spoken(&socket)) => spoken,
        () = &mut draining => return,
    };
    let Ok(peer) = socket.peer_addr().map(Peer) else { return };
    let unread = Unread::default();
    let socket = StallGuard::new(socket, protocols.stall_timeout, protocols.linger, unread.clone());
    let socket = TokioIo::new(socket);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(CutOff::new(phases.clone()));
        let unread = (request.version() < Version::HTTP_2).then(|| unread.clone());
        let is_large = is_large(request.headers());
        let request = request.map(|body| match &unread {
            Some(unread) => RequestBody::watched(body, unread.clone()),
            None => RequestBody::unwatched(body),
        });
        let answering = service.call(request);
        async move {
            let mut response = answering.await?;
            if is_large && unread.is_some_and(|unread| unread.is_set()) {
                // What is left of the body is not read; the connection cannot be used for another request.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, S::Error>(response)
        }
    });
    let ended = match spoken {
        Ok(Ok(Spoken::Http1)) => {
            let mut connection = pin!(protocols.http1.serve_connection(socket, service));
            tokio::select! {
                biased;
                ended = connection.as_mut() => ended,
                () = &mut draining => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
        Ok(Ok(Spoken::Http2)) => {
            // Boxed, or every HTTP/1.1 connection would have room for this one in its task.
            let mut connection = Box::pin(protocols.http2.serve_connection(socket, service));
            tokio::select! {
                biased;
                ended = connection.as_mut() => ended,
                () = &mut draining => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
        // Nothing came in time, or the peer has gone.
        Ok(Err(_)) | Err(_) => return,
    };
    if let Err(problem) = ended {
        // Callers hang up all the time; what that did to a call stands in the ledger.
        tracing::debug!(%problem, "a connection ended early");
    }
}

enum Spoken {
    Http1,
    Http2,
}

/// Looks at the first bytes without taking them.
async fn spoken(socket: &TcpStream) -> io::Result<Spoken> {
    let mut beginning = [0; PREFACE_BEGINNING];
    loop {
        let seen = socket.peek(&mut beginning).await?;
        let seen_bytes = beginning.get(..seen).unwrap_or_default();
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !PREFACE.starts_with(seen_bytes) {
            return Ok(Spoken::Http1);
        }
        if seen == PREFACE_BEGINNING {
            return Ok(Spoken::Http2);
        }
        // A client that sends its request byte by byte: the socket is readable already, so only time helps.
        tokio::time::sleep(WAIT_FOR_BYTES).await;
    }
}
