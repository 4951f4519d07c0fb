//! A socket with its read buffer. Made by `client`, kept by `pool`, read by `body`.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};

use bytes::BytesMut;
use http::Response;
use smallvec::SmallVec;
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, ReadBuf};

use super::body::{ResponseBody, Returning};
use super::head::{self, Head};
use crate::upstream::connect::Wire;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::error::{InvalidResponse, SendError};
use crate::upstream::request::UpstreamBody;

/// What is read at once to begin with. An event of a stream has a few hundred bytes, and thousands of streams may be
/// open, so this decides how much memory they take.
const SMALLEST_READ: usize = 4 * 1024;

/// What is read at once from an answer that keeps filling the buffer.
const LARGEST_READ: usize = 64 * 1024;

/// With less room than this left in the buffer, it is renewed before the next read.
const LEAST_ROOM: usize = 1024;

/// An HTTP/1.1 connection between two messages, or in the middle of one.
pub(in crate::upstream) struct Connection {
    wire: Wire,
    buffer: BytesMut,
    read_size: usize,
}

/// Why no head of an answer came.
pub(in crate::upstream) struct Broken {
    cause: Cause,
    /// Whether at least one byte of an answer had come.
    answered: bool,
}

enum Cause {
    Connection(io::Error),
    Invalid(InvalidResponse),
}

impl Connection {
    pub(in crate::upstream) fn new(wire: Wire) -> Self {
        Self { wire, buffer: BytesMut::new(), read_size: SMALLEST_READ }
    }

    /// Whether the server has neither closed the connection nor said anything on it unasked.
    pub(in crate::upstream) fn is_quiet(&mut self) -> bool {
        let mut byte = [0_u8; 1];
        let mut unasked = ReadBuf::new(&mut byte);
        let mut cx = Context::from_waker(Waker::noop());
        self.buffer.is_empty() && Pin::new(&mut self.wire).poll_read(&mut cx, &mut unasked).is_pending()
    }

    /// Sends a request and reads the answer's head. The answer is read from the start, since a server may refuse a
    /// request whose body it has not read.
    pub(in crate::upstream) async fn exchange(
        mut self,
        head: &[u8],
        body: &UpstreamBody,
        no_body_expected: bool,
        returning: Returning,
        whole_sent: Option<&AtomicBool>,
    ) -> Result<Response<ResponseBody>, Broken> {
        let pieces = std::iter::once(head).chain(body.pieces().iter().map(|piece| &**piece));
        let mut pieces: SmallVec<[IoSlice<'_>; 4]> = pieces.map(IoSlice::new).collect();
        let mut sending = Sending { unsent: &mut pieces, flushed: false, problem: None };
        let received = poll_fn(|cx| {
            let polled = self.poll_exchange(cx, &mut sending, no_body_expected);
            if let Some(whole_sent) = whole_sent
                && sending.flushed
            {
                whole_sent.store(true, Ordering::Relaxed);
            }
            polled
        })
        .await?;
        let sent = sending.flushed && sending.problem.is_none();
        let Head { parts, framing, keep_alive } = received;
        let body = ResponseBody::new(self, framing, keep_alive && sent, returning);
        Ok(Response::from_parts(parts, body))
    }

    fn poll_exchange(
        &mut self,
        cx: &mut Context<'_>,
        sending: &mut Sending<'_, '_>,
        no_body_expected: bool,
    ) -> Poll<Result<Head, Broken>> {
        let _ = sending.poll(&mut self.wire, cx);
        loop {
            let searched = self.buffer.len();
            let read = match self.poll_fill(cx) {
                Poll::Ready(read) => read,
                Poll::Pending => return Poll::Pending,
            };
            let cause = match read {
                Ok(0) => {
                    Cause::Connection(sending.problem.take().unwrap_or(io::ErrorKind::UnexpectedEof.into()))
                }
                Err(problem) => Cause::Connection(problem),
                Ok(_) => match head::parse(&mut self.buffer, searched, no_body_expected) {
                    Ok(Some(head)) => return Poll::Ready(Ok(head)),
                    Ok(None) => continue,
                    Err(invalid) => Cause::Invalid(invalid),
                },
            };
            let answered = searched > 0 || matches!(cause, Cause::Invalid(_));
            return Poll::Ready(Err(Broken { cause, answered }));
        }
    }

    /// Reads once into the buffer; `Ok(0)` is the end of the connection.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.is_empty() {
            // A stream waits for most of its life, and needs no buffer while it does.
            self.buffer = BytesMut::new();
            ready!(self.wire.poll_readable(cx))?;
        }
        if self.buffer.capacity() - self.buffer.len() < LEAST_ROOM {
            self.buffer.reserve(self.read_size);
        }
        let room = self.buffer.capacity() - self.buffer.len();
        // The future keeps nothing between polls, so it may be made anew for each.
        let reading = pin!(self.wire.read_buf(&mut self.buffer));
        let read = ready!(reading.poll(cx))?;
        // Grows with a body that arrives faster than it is read, shrinks again with one that trickles.
        if read == room {
            self.read_size = (self.read_size * 2).min(LARGEST_READ);
        } else if read < self.read_size / 4 {
            self.read_size = (self.read_size / 2).max(SMALLEST_READ);
        }
        Poll::Ready(Ok(read))
    }

    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Gives the buffer back: an idle connection needs none.
    pub(super) fn at_rest(mut self) -> Self {
        self.buffer = BytesMut::new();
        self.read_size = SMALLEST_READ;
        self
    }
}

/// What is still to be sent of a request.
struct Sending<'list, 'bytes> {
    unsent: &'list mut [IoSlice<'bytes>],
    flushed: bool,
    /// A server may answer and close before it has read the whole request: the answer counts, this only if none comes.
    problem: Option<io::Error>,
}

impl Sending<'_, '_> {
    fn poll(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<()> {
        if self.flushed || self.problem.is_some() {
            return Poll::Ready(());
        }
        let outcome = ready!(self.poll_send(wire, cx));
        match outcome {
            Ok(()) => self.flushed = true,
            Err(problem) => self.problem = Some(problem),
        }
        Poll::Ready(())
    }

    fn poll_send(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = Pin::new(wire);
        while !self.unsent.is_empty() {
            let sent = ready!(wire.as_mut().poll_write_vectored(cx, self.unsent))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            IoSlice::advance_slices(&mut self.unsent, sent);
        }
        wire.poll_flush(cx)
    }
}

impl Broken {
    /// Whether this looks like an idle connection that the server had closed: no byte of an answer had come.
    pub(in crate::upstream) fn may_be_sent_again(&self) -> bool {
        !self.answered && matches!(self.cause, Cause::Connection(_))
    }

    pub(in crate::upstream) fn into_send_error(self, endpoint: &Endpoint, reused: bool) -> SendError {
        let endpoint = endpoint.key().to_string();
        match self.cause {
            Cause::Connection(source) => SendError::Reset { endpoint, reused, source },
            Cause::Invalid(source) => SendError::InvalidResponse { endpoint, source },
        }
    }
}
