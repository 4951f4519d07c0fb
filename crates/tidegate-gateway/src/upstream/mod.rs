//! The HTTP client towards providers. `attempt` sends through it, `relay` reads the answer's body from it.
//!
//! One [`UpstreamClient`] per worker thread: its connections belong to that thread's runtime, so nothing here is shared
//! between cores. No task and no channel stands between a provider's socket and the answer's body: whoever polls the
//! body reads the socket. That costs the least per event, and dropping the body, or the future of
//! [`UpstreamClient::send`], closes the connection at once, which is how a caller who hangs up cancels upstream.
//!
//! HTTP/1.1 is spoken by `http1`, written here rather than taken from hyper: hyper's connection keeps two 8 KiB buffers
//! and a task for each call, which at 5,000 open streams doubles the memory of the whole process, and hides which
//! bytes had arrived when a connection broke, which decides whether a call may be sent again.

mod client;
mod connect;
mod endpoint;
mod error;
mod http1;
mod pool;
mod request;
mod tls;

pub use client::{SendOptions, UpstreamClient};
pub use endpoint::{Endpoint, EndpointError};
pub use error::{BodyError, InvalidResponse, SendError, SendFailure};
pub use http1::ResponseBody;
pub use request::UpstreamBody;
pub use tls::default_tls;

#[cfg(test)]
mod tests;
