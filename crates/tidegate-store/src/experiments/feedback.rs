//! What callers said of answers. Taken by `POST /v1/feedback`, counted into the arms of experiments when these are looked at.

use jiff::Timestamp;

use crate::access::Access;
use crate::error::StoreError;
use crate::ledger::{CallId, Exposure};
use crate::queries;

/// What a caller said of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Feedback {
    /// When.
    pub at: Timestamp,
    /// From 0 (bad) to 1 (good).
    pub score: Option<f64>,
    /// A word of the caller's own.
    pub label: Option<String>,
    /// Some sentences.
    pub comment: Option<String>,
}

/// A score of a call that took part in a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RunScore {
    pub(crate) arm: String,
    pub(crate) unit: Option<u64>,
    pub(crate) score: f64,
}

impl Access {
    /// Keeps what somebody said of a call, in the place of what the same caller said before. The experiment is the one of
    /// the call.
    pub async fn leave_feedback(
        &self,
        call: CallId,
        caller: &str,
        feedback: &Feedback,
        exposure: Option<&Exposure>,
    ) -> Result<(), StoreError> {
        let exposure = exposure.filter(|exposure| exposure.takes_part());
        queries::feedback::put(&self.database, call, caller, feedback, exposure).await
    }

    /// What was said of a call, by whom.
    pub async fn feedback(&self, call: CallId) -> Result<Vec<(String, Feedback)>, StoreError> {
        queries::feedback::of_call(&self.database, call).await
    }
}
