//! How a model's name says what is to happen.
//!
//! [`behaviour`] what a name can ask for; [`catalogue`] the one table of names, which documents and implements them;
//! [`memory`] what names with a history remember between calls.

mod behaviour;
mod catalogue;
mod memory;

pub(crate) use behaviour::{Behaviour, Failure, Fault};
pub(crate) use catalogue::behaviour_of;
pub use catalogue::{ScenarioFacts, scenarios};
pub(crate) use memory::Memory;
