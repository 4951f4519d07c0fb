//! Experiments as arithmetic: who is in which arm, what was seen of each arm, what may be concluded from it at any time,
//! and what follows (stop an arm, shift traffic, go a step on or back). The gateway's `experiments` feeds and asks it;
//! the store keeps its sums and states.
//!
//! One thought for all: every conclusion holds however often one looks. Sums are small and can be added up over
//! replicas, and all that is concluded is a function of sums.

mod assignment;
mod bandit;
mod canary;
mod compare;
mod evidence;
mod guard;
mod metric;
mod numbers;
mod pairs;
mod sums;

pub use assignment::{assign, takes_part};
pub use bandit::{BanditSettings, bandit_weights};
pub use canary::{CanaryPhase, CanarySettings, CanaryState, Transition, TransitionReason};
pub use compare::{Comparison, Verdict, compare, compare_all, interval, verdict};
pub use evidence::Interval;
pub use guard::{Breach, GuardSettings, GuardVerdict, Guarded, guard};
pub use metric::{Direction, Metric, Scale};
pub use pairs::{Likeness, PairSums, Seen};
pub use sums::{ArmSums, Cluster, Observation, Sums};
