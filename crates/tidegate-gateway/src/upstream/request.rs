//! A request's body, and its head as bytes. Called by `client`.

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::request;
use smallvec::SmallVec;

use super::endpoint::Endpoint;

/// Headers that belong to one connection, not to the call, or that are written here.
const OWN_HEADERS: [HeaderName; 9] =
    [CONNECTION, CONTENT_LENGTH, EXPECT, HOST, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// Headers of this name are old, but still sent.
const KEEP_ALIVE: &str = "keep-alive";

/// Room for an ordinary head, so that it is allocated once.
const USUAL_HEAD_BYTES: usize = 1024;

/// A request's body: pieces that follow each other, none of which is copied. A body with one field replaced is what
/// stood before it, the new value, and what stood behind it. Cloning is cheap, so a call can be sent again.
#[derive(Debug, Clone, Default)]
pub struct UpstreamBody {
    pieces: SmallVec<[Bytes; 3]>,
}

impl UpstreamBody {
    /// A request without a body.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The pieces of a body, in order.
    pub fn from_pieces(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        Self { pieces: pieces.into_iter().filter(|piece| !piece.is_empty()).collect() }
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(super) fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }
}

impl From<Bytes> for UpstreamBody {
    fn from(bytes: Bytes) -> Self {
        Self::from_pieces([bytes])
    }
}

/// The head of an HTTP/1.1 request. What belongs to the caller's connection is left out, `Host` and `Content-Length` are
/// written anew.
pub(super) fn encode_head(endpoint: &Endpoint, parts: &request::Parts, body: &UpstreamBody) -> Vec<u8> {
    let mut head = Vec::with_capacity(USUAL_HEAD_BYTES);
    head.extend_from_slice(parts.method.as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(parts.uri.path_and_query().map_or("/", |path| path.as_str()).as_bytes());
    head.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    head.extend_from_slice(endpoint.host_header().as_bytes());
    for (name, value) in &parts.headers {
        if OWN_HEADERS.contains(name) || name.as_str() == KEEP_ALIVE {
            continue;
        }
        head.extend_from_slice(b"\r\n");
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
    }
    if !body.is_empty() || !parts.method.is_safe() {
        head.extend_from_slice(b"\r\ncontent-length: ");
        head.extend_from_slice(itoa::Buffer::new().format(body.len()).as_bytes());
    }
    head.extend_from_slice(b"\r\n\r\n");
    head
}
