//! Reading on, for a moment, what a caller still sends when it has its answer already. Used by `stall` when a connection
//! ends.
//!
//! A request may be refused before its body was read. Closing the socket then makes the system answer the rest of the
//! body with a reset, which overtakes the answer: the caller sees a broken connection instead of a 413 and sends
//! everything again. So only our side is closed, and what comes is thrown away until the caller closes its own, within
//! bounds, so that nobody can keep the gateway busy.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};
use hyper::body::{Bytes, Incoming};
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// The most that is thrown away: several times the largest body that is usually allowed. Reading it costs some ten
/// milliseconds of a processor.
const MOST_BYTES: usize = 256 * 1024 * 1024;

/// The longest pause between two pieces; nobody is sending any more.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How much is read at once.
const PIECE: usize = 32 * 1024;

/// Bodies up to this size are read to their end by hyper, mostly, as they have come with the head.
const SMALL_BODY: u64 = 64 * 1024;

/// Whether a connection's caller may still be sending its request.
#[derive(Debug, Clone, Default)]
pub(super) struct Unread(Arc<AtomicBool>);

impl Unread {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A request's body, which remembers whether it was read to its end.
#[derive(Debug)]
pub struct RequestBody {
    body: Incoming,
    unread: Option<Unread>,
}

impl RequestBody {
    /// A body of HTTP/1.1, where requests share their connection one after the other.
    pub(super) fn watched(body: Incoming, unread: Unread) -> Self {
        unread.0.store(!body.is_end_stream(), Ordering::Relaxed);
        Self { body, unread: Some(unread) }
    }

    /// A body of HTTP/2, where each has a stream of its own.
    pub(super) fn unwatched(body: Incoming) -> Self {
        Self { body, unread: None }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(unread) = self.unread.as_ref().filter(|_| frame.is_none() || self.body.is_end_stream()) {
            unread.0.store(false, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Whether a body that is not read ends its connection, going by its head.
pub(super) fn is_large(headers: &HeaderMap) -> bool {
    let declared = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    declared.is_none_or(|length| length > SMALL_BODY)
}

/// The end of a connection whose caller may still be sending.
pub(super) struct Lingering {
    until: Instant,
    heard_at: Instant,
    taken: usize,
    piece: Vec<u8>,
    timer: Pin<Box<Sleep>>,
}

impl Lingering {
    /// For so long at most.
    pub(super) fn begin(limit: Duration) -> Self {
        let now = Instant::now();
        Self {
            until: now + limit,
            heard_at: now,
            taken: 0,
            piece: vec![0; PIECE],
            timer: Box::pin(tokio::time::sleep(limit.min(LONGEST_PAUSE))),
        }
    }

    /// Throws away what comes. Ready when the caller has closed, and when it has had enough of everything.
    pub(super) fn poll(&mut self, socket: &mut TcpStream, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut piece = ReadBuf::new(&mut self.piece);
            match Pin::new(&mut *socket).poll_read(cx, &mut piece) {
                Poll::Ready(Ok(())) if !piece.filled().is_empty() => {
                    self.heard_at = Instant::now();
                    self.taken += piece.filled().len();
                    if self.taken > MOST_BYTES || self.heard_at >= self.until {
                        return Poll::Ready(());
                    }
                }
                // It has closed its side, or the connection is broken.
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => {
                    ready!(self.timer.as_mut().poll(cx));
                    let until = self.until.min(self.heard_at + LONGEST_PAUSE);
                    if Instant::now() >= until {
                        return Poll::Ready(());
                    }
                    self.timer.as_mut().reset(until.into());
                }
            }
        }
    }
}
