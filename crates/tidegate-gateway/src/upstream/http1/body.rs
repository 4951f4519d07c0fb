//! The body of an answer. Read by `relay`; dropping it before its end closes the connection at once, reading it to its
//! end brings the connection back to the pool.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::connection::Connection;
use super::framing::Framing;
use crate::upstream::error::BodyError;
use crate::upstream::pool::Pool;

/// Where a connection goes when its answer has been read to the end.
pub(in crate::upstream) struct Returning {
    pub(in crate::upstream) pool: Pool,
    pub(in crate::upstream) key: Arc<str>,
}

/// The body of a provider's answer, as it comes.
pub struct ResponseBody {
    /// Gone when the body has ended or broken off.
    source: Option<Source>,
    framing: Framing,
}

struct Source {
    connection: Connection,
    reusable: bool,
    returning: Returning,
}

impl ResponseBody {
    pub(super) fn new(
        connection: Connection,
        framing: Framing,
        reusable: bool,
        returning: Returning,
    ) -> Self {
        let mut body = Self { source: Some(Source { connection, reusable, returning }), framing };
        if framing.has_ended() {
            body.finish();
        }
        body
    }

    /// Brings the connection back, unless the server has said more than it should.
    fn finish(&mut self) {
        if let Some(Source { mut connection, reusable: true, returning }) = self.source.take()
            && connection.buffer().is_empty()
        {
            returning.pool.put(&returning.key, connection.at_rest());
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            let Some(source) = &mut self.source else { return Poll::Ready(None) };
            if let Some(data) = self.framing.take(source.connection.buffer())? {
                if self.framing.has_ended() {
                    self.finish();
                }
                return Poll::Ready(Some(Ok(data)));
            }
            if self.framing.has_ended() {
                self.finish();
                return Poll::Ready(None);
            }
            match ready!(source.connection.poll_fill(cx)) {
                Ok(0) if self.framing.ends_with_connection() => {
                    self.framing = Framing::ended();
                    self.source = None;
                }
                Ok(0) => return Poll::Ready(Some(Err(BodyError::Truncated))),
                Ok(_) => {}
                Err(problem) => return Poll::Ready(Some(Err(BodyError::Reset(problem)))),
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = ready!(self.poll_data(cx));
        if matches!(polled, Some(Err(_))) {
            self.source = None;
        }
        Poll::Ready(polled.map(|outcome| outcome.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.framing.remaining().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
