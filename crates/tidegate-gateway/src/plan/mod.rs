//! Station 3: which targets, in which order, under which deadlines?

mod conditions;
mod difficulty;
#[allow(dead_code, reason = "read by the explanation, which comes next")]
pub(crate) mod entries;
pub(crate) mod names;
mod order;
#[allow(dead_code, reason = "read by the explanation, which comes next")]
mod passed_over;
mod ranking;
mod requirements;
mod steering;
#[allow(dead_code, reason = "read by the explanation, which comes next")]
mod trace;

pub use names::{ListedModel, models_of, target_facts};
pub(crate) use order::{Plan, Planned, plan};
pub(crate) use passed_over::nobody_left;
pub(crate) use steering::{MEMBERS as STEERING_MEMBERS, Steering, read as read_steering};
