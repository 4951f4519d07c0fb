//! How many calls are worked on at once, and who waits when there is no place. `tidegate-api` asks here once it is known
//! who calls and before the body is read: what is turned away has cost nothing yet.
//!
//! - `places`: the places, shared by all workers; giving them to those who wait
//! - `waiting`: a call that waits; leaving the queue is dropping it
//! - `priority`: how urgent a call says it is
//! - `refusal`: what those are told who get no place

mod places;
mod priority;
mod refusal;
#[cfg(test)]
mod tests;
mod waiting;

pub use places::{Place, Places, PlacesStatus};
pub use priority::{PRIORITY_HEADER, is_for_later, priority_of};
pub use refusal::NoPlace;
pub use waiting::Waiting;
