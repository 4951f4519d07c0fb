//! Experiments: calls that are split over arms (A/B), move over to a candidate step by step (canary), or have a shadow at one.
//!
//! On the way of a request only two things happen: `walk` asks [`choose`] for the call's arm, and `settle` hands over calls
//! that have a [`shadow`]. All else is done beside it, by what [`run()`] does in the background: what was seen comes from the
//! store, where the ledger's writer sums it up, and what is decided goes back there, for all replicas.

mod assign;
mod decide;
mod prepared;
mod report;
mod run;
pub(crate) mod shadow;
mod state;

pub(crate) use assign::{Part, choose};
pub(crate) use prepared::{Experiments, Means, Shadow};
pub use report::{
    ArmReport, CanaryReport, ComparisonReport, ExampleReport, ExperimentReport, MetricReport, Range,
    ShadowReport, report_experiment, report_experiments,
};
pub use run::{ByHand, ByHandError, Pace, by_hand, run};
pub use shadow::{ShadowCounts, ShadowFate};
pub(crate) use state::States;
