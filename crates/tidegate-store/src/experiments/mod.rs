//! Experiments as they last: what was seen of their arms, what was decided, what callers said of answers.
//!
//! Sums are written in the transaction that writes the calls they are made of. So they follow the ledger exactly, through
//! crashes and over replicas, and nothing is counted on the way of a request.

mod feedback;
mod states;
mod sums;

pub use feedback::Feedback;
pub(crate) use feedback::RunScore;
pub use states::{Decision, StoredState};
pub use sums::{CONTROL_ARM, Example, RunSums};
