//! What was decided about experiments: by whoever evaluates them, or by an administrator. One decision at a time, each in the
//! audit log.

use jiff::Timestamp;
use serde_json::Value;

use crate::access::{Access, AccessError, Actor};
use crate::audit::Event;
use crate::error::StoreError;
use crate::queries;

/// The state of an experiment as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredState {
    /// Which experiment.
    pub experiment: String,
    /// Which run it is about.
    pub run: String,
    /// Grows by one with each decision.
    pub version: u64,
    /// The state, as JSON.
    pub state: String,
    /// Since when.
    pub changed_at: Timestamp,
}

/// A decision about an experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision<'a> {
    /// Which experiment.
    pub experiment: &'a str,
    /// Which run it is about.
    pub run: &'a str,
    /// The version of the state that it was made on; 0 where there was none.
    pub version: u64,
    /// The new state, as JSON.
    pub state: String,
    /// What the audit log calls it: `experiment.step`.
    pub action: &'static str,
    /// How it was, for the audit log.
    pub before: Option<Value>,
    /// How it is now and why, for the audit log.
    pub after: Option<Value>,
}

impl Access {
    /// All states.
    pub async fn experiment_states(&self) -> Result<Vec<StoredState>, StoreError> {
        queries::experiments::states(&self.database).await
    }

    /// Puts a decision in force, unless another was made since. Says whether it is.
    pub async fn decide_experiment(
        &self,
        decision: &Decision<'_>,
        actor: &Actor,
    ) -> Result<bool, AccessError> {
        self.write(actor, async |writing| {
            let found = queries::experiments::version(&mut writing.transaction, decision.experiment).await?;
            if found != decision.version {
                return Ok(false);
            }
            let now = writing.now();
            let of = (decision.experiment, decision.run);
            queries::experiments::put_state(&mut writing.transaction, of, found + 1, &decision.state, now)
                .await?;
            let event = Event {
                action: decision.action.to_owned(),
                object: format!("experiment:{}", decision.experiment),
                before: decision.before.clone(),
                after: decision.after.clone(),
            };
            writing.append(event).await?;
            Ok(true)
        })
        .await
    }
}
