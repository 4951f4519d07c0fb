//! Which target to ask first: what was measured of each, and the strategies that put them in order.
//!
//! Pure: `now` and randomness are arguments. The gateway keeps one [`Figures`] a target, writes to it from `attempt` and
//! `relay`, and has `plan` call [`rank`].

mod affinity;
mod decay;
mod figures;
mod headroom;
mod hedging;
mod keys;
mod rank;
mod score;
mod sketch;
#[cfg(test)]
mod tests;

pub use affinity::{AffinityKey, affinity};
pub use figures::{Answering, Asked, Figures, Measured, Slowest};
pub use headroom::{Allowance, ProviderLimits};
pub(crate) use headroom::{DRY_HEADROOM, TIGHT_HEADROOM};
pub use hedging::{HedgeBudget, Hedging};
pub use rank::{Choice, Ranking, Standing, Strategy, rank};
pub use score::Mix;
