//! That a call takes part in an experiment: kept with the call, counted into the experiment's sums when it is written.

use serde::{Deserialize, Serialize};
use tidegate_policy::experiments::{Likeness, Seen};

use super::{CallId, Text};

/// What kind of call a shadow is: its `operation` in the ledger. Such an entry belongs to no caller, is charged to nobody and
/// stands in no usage report that does not ask for shadows.
pub const SHADOW: &str = "shadow";

/// A call's part in an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exposure {
    /// The experiment.
    pub experiment: Text,
    /// Which run of it: a definition with other arms or targets is another experiment of the same name.
    pub run: Text,
    /// The arm; empty where the call takes no part.
    pub arm: Text,
    /// A hash of what stays in an arm together (a session, a user, a key); `None` where every call is for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<u64>,
    /// Of a shadow: what it was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<Pair>,
    /// Why the call takes no part, though its model's calls do: the kind of reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<Text>,
}

impl Exposure {
    /// Whether the call is in one of the arms.
    pub fn takes_part(&self) -> bool {
        self.left_out.is_none()
    }
}

/// A shadow beside the call that it follows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// The caller's own call.
    pub of: CallId,
    /// What was seen of that call.
    pub control: Seen,
    /// How much the answers have in common, where there are two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likeness: Option<Likeness>,
}
