//! What can go wrong between here and a provider, told apart as far as the policy needs it. `attempt` maps each to a
//! failure kind.

use std::io;
use std::time::Duration;

/// No answer's head came back.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct SendFailure {
    /// Why.
    pub error: SendError,
    /// Whether the request had already been sent twice: on an idle connection that turned out to be closed, and at once
    /// again on a fresh one. Whoever allows one more try on a fresh connection has had it.
    pub was_sent_again: bool,
}

/// Why no answer's head came back.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The host's name could not be resolved.
    #[error("the name `{host}` could not be resolved; check `base_url` and the DNS of this machine")]
    Dns {
        /// The name that was looked up.
        host: String,
        /// What the resolver says.
        source: io::Error,
    },
    /// No address of the host took the connection: refused, or no route to it.
    #[error("`{endpoint}` took no connection; is it running, and reachable from here?")]
    Refused {
        /// Scheme, host and port.
        endpoint: String,
        /// Of the address that was tried last.
        source: io::Error,
    },
    /// Name, connection and TLS were not done in time.
    #[error("no connection to `{endpoint}` within {after:?}")]
    ConnectTimeout {
        /// Scheme, host and port.
        endpoint: String,
        /// The limit that was set.
        after: Duration,
    },
    /// The TLS handshake failed: an unknown certificate, a wrong name, no common version.
    #[error("no TLS session with `{endpoint}`; check its certificate and that it speaks TLS on this port")]
    Tls {
        /// Scheme, host and port.
        endpoint: String,
        /// What the handshake says.
        source: io::Error,
    },
    /// The connection broke before the answer's head was complete.
    #[error("`{endpoint}` closed the connection before it answered")]
    Reset {
        /// Scheme, host and port.
        endpoint: String,
        /// Whether the connection had carried a call before. When it had, and not one byte of an answer had come, the
        /// call has already been sent once more on a fresh connection, so `true` means that an answer had begun.
        reused: bool,
        /// How it broke.
        source: io::Error,
    },
    /// What came back is not HTTP, or breaks its rules.
    #[error("`{endpoint}` did not answer in valid HTTP")]
    InvalidResponse {
        /// Scheme, host and port.
        endpoint: String,
        /// The rule that was broken.
        source: InvalidResponse,
    },
}

/// The rule of HTTP that an answer breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidResponse {
    /// The status line or a header cannot be parsed.
    #[error("its head cannot be parsed")]
    Head,
    /// The head is longer than 64 KiB or has too many headers.
    #[error("its head is too long")]
    HeadTooLong,
    /// `Content-Length` is not a number, or there are two different ones.
    #[error("its Content-Length makes no sense")]
    ContentLength,
    /// A transfer coding other than `chunked`.
    #[error("its Transfer-Encoding is not known")]
    TransferEncoding,
    /// A switch to another protocol that nobody asked for.
    #[error("it switches protocols unasked")]
    SwitchingProtocols,
}

/// Why an answer's body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection was closed in order, but before the body's end.
    #[error("the provider closed the connection before the answer's end")]
    Truncated,
    /// The connection broke.
    #[error("the connection to the provider broke within the answer")]
    Reset(#[source] io::Error),
    /// The chunks of the body are not what HTTP prescribes.
    #[error("the answer's chunks break HTTP's rules: {0}")]
    Chunks(&'static str),
}
