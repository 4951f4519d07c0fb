//! The tables `usage_hours`, `usage_days`, `scope_hours` and `scope_days`: sums kept beside the calls.
//!
//! The first two answer reports by organisation, team, model, provider and target, the other two whatever is asked about
//! one level that can have limits. All four have the same sums. `scope_fresh` has what is not in these two yet.

mod fresh;
mod spending;
mod sums;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use fresh::{BY_BATCH, FoldPlan, FreshBatch, STEP_ROWS, waiting};
pub(crate) use spending::{of_all, of_scopes};
pub(crate) use sums::LONGEST;
pub(crate) use sums::{SUMS, Sums};
pub(crate) use write::{DAY_MS, HOUR_MS, add, bucket};
