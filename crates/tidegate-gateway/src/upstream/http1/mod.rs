//! HTTP/1.1 from the client's side.
//!
//! - `connection`: a socket with its read buffer; sends a request and reads the head of the answer
//! - `head`: the answer's status line and headers, and how its body is framed
//! - `framing`: from bytes to the body's data, by length, by chunks or until the end of the connection
//! - `body`: the answer's body as `http_body::Body`, which brings its connection back to the pool

mod body;
mod connection;
mod framing;
mod head;

pub use body::ResponseBody;
pub(super) use body::Returning;
pub(super) use connection::{Broken, Connection};
