//! Going on with an answer that broke off: what the caller has been told of it, and how another target's answer is laid
//! over that so that the caller sees one answer without a seam. Called by the gateway's `relay`.
//!
//! | file | for |
//! |---|---|
//! | `said` | what was told, in the canonical model |
//! | `sent` | the same of a stream that passes through, filled by the tap |
//! | `stretch` | one piece of it, compared with what another target says |
//! | `following` | the other target's events: passed over, let through, or found to depart |

mod following;
mod said;
mod sent;
mod stretch;
#[cfg(test)]
mod tests;

pub use following::{Asked, Departed, Following};
pub use said::{MAX_SAID_BYTES, Obstacle, Said};
pub use sent::Sent;
