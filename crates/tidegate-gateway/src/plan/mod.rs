//! Station 3: which targets, in which order, under which deadlines?

pub(crate) mod names;
mod order;

pub use names::{ListedModel, models_of, target_facts};
pub(crate) use order::{Plan, Planned, plan};
