//! The body of an answer, as the HTTP server reads it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::stream::StreamRelay;
use crate::error::GatewayError;

/// The body of an answer. Dropped before its end, it cancels what is going on upstream.
#[derive(Debug)]
pub struct AnswerBody(Inner);

#[derive(Debug)]
enum Inner {
    Whole(Option<Bytes>),
    Stream(Box<StreamRelay>),
}

impl AnswerBody {
    /// A body that is known already.
    pub fn whole(bytes: Bytes) -> Self {
        Self(Inner::Whole(Some(bytes)))
    }

    /// Whether it comes piece by piece.
    pub fn is_stream(&self) -> bool {
        matches!(self.0, Inner::Stream(_))
    }

    /// Ends a stream that is not complete with this error, in the caller's own dialect. What was used is billed as for a
    /// caller who hung up.
    pub fn cut_off(&mut self, error: &GatewayError) {
        if let Inner::Stream(relay) = &mut self.0 {
            relay.cut_off(error);
        }
    }

    pub(crate) fn stream(relay: Box<StreamRelay>) -> Self {
        Self(Inner::Stream(relay))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Inner::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Inner::Stream(relay) => {
                relay.poll_bytes(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Inner::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            Inner::Stream(_) => SizeHint::default(),
        }
    }
}
