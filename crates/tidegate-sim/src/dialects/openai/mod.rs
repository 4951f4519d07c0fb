//! OpenAI Chat Completions.

pub(crate) mod error;
mod models;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod stream;
mod turns;

pub(crate) use models::{list, one};
