//! OpenAI Chat Completions.

pub(crate) mod error;
mod models;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod stream;

pub(crate) use models::{list, one};
