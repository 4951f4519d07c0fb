//! What was seen of a run: sums by arm, and of pairs where it has shadows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate_policy::experiments::{ArmSums, Cluster, Observation, PairSums};

use crate::access::Access;
use crate::error::StoreError;
use crate::ledger::{CallId, Exposure, LedgerEntry, Outcome};
use crate::queries;

/// The arm of the caller's own calls where shadows are compared with them.
pub const CONTROL_ARM: &str = "control";
/// The least similar pairs that are remembered.
const MAX_EXAMPLES: usize = 10;
/// A definition cannot have as many arms; a journal that was tampered with could.
const MAX_ARMS: usize = 64;
/// The same of reasons to take no part.
const MAX_REASONS: usize = 16;

/// The sums of one run of an experiment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunSums {
    /// By arm.
    pub arms: BTreeMap<String, ArmSums>,
    /// Calls that took no part, by the kind of reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<String, u64>,
    /// Of calls and their shadows.
    pub pairs: PairSums,
    /// The pairs with the least in common, the least first.
    pub examples: Vec<Example>,
}

/// A call whose shadow answered something else.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// The caller's call.
    pub call: CallId,
    /// The shadow, a call of the ledger as well.
    pub shadow: CallId,
    /// How similar they are.
    pub similarity: f64,
}

impl RunSums {
    /// Adds a call. What a caller broke off or Tidegate refused says nothing about an arm.
    pub(crate) fn observe(&mut self, entry: &LedgerEntry, exposure: &Exposure) {
        let cluster = cluster(exposure.unit);
        if let Some(pair) = &exposure.pair {
            self.arm(CONTROL_ARM).observe(&pair.control.observation(), cluster);
            self.pairs.add(pair.likeness.as_ref());
            if let Some(likeness) = &pair.likeness {
                self.remember([Example { call: pair.of, shadow: entry.id, similarity: likeness.similarity }]);
            }
        }
        let has_failed = match entry.outcome {
            Outcome::Answered => false,
            Outcome::Failed => true,
            Outcome::Refused | Outcome::Cancelled => return,
        };
        if let Some(reason) = &exposure.left_out {
            self.leave_out(reason, 1);
            return;
        }
        let answered = |time: Option<u64>| time.filter(|_| !has_failed).map(std::time::Duration::from_micros);
        let observation = Observation {
            failed: has_failed,
            cost_nanos: entry.cost_nanodollars.filter(|cost| !has_failed || *cost > 0),
            first_token: answered(entry.time_to_first_token_us),
            latency: answered(Some(entry.duration_us)),
            output_tokens: (!has_failed).then_some(entry.usage.output),
        };
        self.arm(&exposure.arm).observe(&observation, cluster);
    }

    /// Adds the sums of another replica.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (name, sums) in &other.arms {
            self.arm(name).merge(sums);
        }
        for (reason, calls) in &other.left_out {
            self.leave_out(reason, *calls);
        }
        self.pairs.merge(&other.pairs);
        self.remember(other.examples.iter().copied());
    }

    fn arm(&mut self, name: &str) -> &mut ArmSums {
        let is_known = self.arms.contains_key(name) || self.arms.len() < MAX_ARMS;
        self.arms.entry(if is_known { name.to_owned() } else { String::new() }).or_default()
    }

    fn leave_out(&mut self, reason: &str, calls: u64) {
        let is_known = self.left_out.contains_key(reason) || self.left_out.len() < MAX_REASONS;
        let sum = self.left_out.entry(if is_known { reason.to_owned() } else { String::new() }).or_default();
        *sum = sum.saturating_add(calls);
    }

    fn remember(&mut self, examples: impl IntoIterator<Item = Example>) {
        self.examples.extend(examples);
        self.examples.sort_by(|one, other| one.similarity.total_cmp(&other.similarity));
        self.examples.truncate(MAX_EXAMPLES);
    }
}

impl Access {
    /// What all replicas have seen of a run, feedback included.
    pub async fn experiment_sums(&self, experiment: &str, run: &str) -> Result<RunSums, StoreError> {
        let mut sums = queries::experiments::sums(&self.database, experiment, run).await?;
        for said in queries::feedback::of_run(&self.database, experiment, run).await? {
            sums.arm(&said.arm).feedback(said.score, cluster(said.unit));
        }
        Ok(sums)
    }
}

/// Units are known by a hash already; which of the clusters it is follows from that.
fn cluster(unit: Option<u64>) -> Option<Cluster> {
    unit.map(|unit| Cluster::of(&unit.to_le_bytes()))
}
