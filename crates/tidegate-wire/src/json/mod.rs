//! Looking into a JSON text without building a tree: what `accept` reads of a request (model, stream flag), what
//! `splice` edits, and what the relay's tap reads of an answer.
//!
//! `Document::parse` checks a whole text in one pass and notes where its top-level members lie. From there `Value` is a
//! view of one value's bytes, from which strings, numbers, nested members and elements are read when somebody asks.

mod document;
mod error;
mod scan;
#[cfg(test)]
pub(crate) mod tests;
mod text;
mod value;

pub(crate) use document::read_members;
pub use document::{Document, MAX_MEMBERS, Member};
pub use error::{JsonError, Problem};
pub use scan::{Kind, MAX_DEPTH, Span, validate};
pub use text::JsonText;
pub use value::{Elements, Key, Members, Value};
