//! Station 3: which targets, in which order, under which deadlines?

mod arms;
mod conditions;
mod difficulty;
pub(crate) mod entries;
mod explain;
pub(crate) mod names;
mod order;
mod passed_over;
mod ranking;
mod requirements;
mod steering;
mod trace;

pub use crate::hold::{ExplainedLimit, ExplainedRoom};
pub(crate) use arms::{LeftOut, targets_of_arms};
pub(crate) use difficulty::Route;
pub(crate) use entries::{ArmTarget, EntryTarget};
pub use explain::{
    ExplainError, ExplainedNeeds, ExplainedPassedOver, ExplainedRefusal, ExplainedTarget, Explanation,
    explain, explain_offline,
};
pub use names::{ListedModel, models_of, target_facts};
pub(crate) use order::{Plan, Planned, first_asked, plan, settle_names};
pub(crate) use passed_over::nobody_left;
pub(crate) use steering::{MEMBERS as STEERING_MEMBERS, Steering, read as read_steering};
