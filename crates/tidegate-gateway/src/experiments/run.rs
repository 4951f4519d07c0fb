//! What is done in the background, once in each process: decisions are followed, what was seen is looked at, and shadows are
//! sent. Started by the binary beside the server.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tidegate_policy::experiments::{CanaryPhase, CanaryState};
use tidegate_store::{Access, AccessError, Actor, Decision, StoreError};

use super::decide::{Decided, decide, milliseconds, stepped};
use super::prepared::Split;
use super::shadow;
use super::state::{Kept, State, run_now};
use crate::gateway::Gateway;

/// After so many failures the log says it again.
const TELL_EVERY: u32 = 60;

/// How often things are done.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// What others decided is followed.
    pub follow: Duration,
    /// What was seen is looked at.
    pub look: Duration,
    /// A bandit shifts traffic at most.
    pub shift: Duration,
}

impl Default for Pace {
    /// A decision is in force everywhere within a second; an arm that fails is stopped within five seconds of when that is
    /// certain; traffic shifts slowly, so that sessions stay where they are.
    fn default() -> Self {
        Self { follow: Duration::from_secs(1), look: Duration::from_secs(5), shift: Duration::from_secs(600) }
    }
}

/// Runs the experiments, for ever.
pub async fn run(gateway: Arc<Gateway>, access: Access, pace: Pace) {
    let shadows = shadow::run(Arc::clone(&gateway));
    let decisions = follow_and_look(gateway, access, pace);
    tokio::join!(shadows, decisions);
}

async fn follow_and_look(gateway: Arc<Gateway>, access: Access, pace: Pace) {
    let mut failures: u32 = 0;
    let mut next_look = tokio::time::Instant::now();
    loop {
        let snapshot = gateway.snapshot();
        if snapshot.experiments.splits().next().is_some() {
            let is_due = next_look <= tokio::time::Instant::now();
            let done = async {
                gateway.experiments.put(&access.experiment_states().await?);
                if is_due {
                    for split in snapshot.experiments.splits() {
                        look(&gateway, &access, split, pace.shift).await?;
                    }
                }
                Ok::<(), AccessError>(())
            };
            match done.await {
                Ok(()) => failures = 0,
                Err(error) => {
                    if failures.is_multiple_of(TELL_EVERY) {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "experiments cannot be looked at; what was decided stays in force"
                        );
                    }
                    failures = failures.saturating_add(1);
                }
            }
            if is_due {
                next_look = tokio::time::Instant::now() + pace.look;
            }
        }
        tokio::time::sleep(pace.follow).await;
    }
}

/// Looks at what was seen of a split and decides what follows. Each replica does; of two that decide at once one does.
async fn look(gateway: &Gateway, access: &Access, split: &Split, shift: Duration) -> Result<(), AccessError> {
    // The version first: where another decision comes in between, this one is not made.
    let version = gateway.experiments.version(&split.name);
    let kept = gateway.experiments.get(split);
    let run = run_now(split, kept.as_deref());
    let sums = access.experiment_sums(&split.name, &run).await?;
    let now = Timestamp::now();
    let since_shift = kept
        .as_ref()
        .and_then(|kept| kept.state.shifted_ms)
        .map(|at| Duration::from_millis(milliseconds(now).saturating_sub(at)));
    let may_shift = since_shift.is_none_or(|since| since >= shift);
    let Some(decided) = decide(split, kept.as_deref(), &sums, now, may_shift) else { return Ok(()) };
    put(gateway, access, split, version, decided, &Actor::system()).await.map(drop)
}

/// Puts a decision in force, here at once. False where another was made meanwhile.
async fn put(
    gateway: &Gateway,
    access: &Access,
    split: &Split,
    version: u64,
    decided: Decided,
    actor: &Actor,
) -> Result<bool, AccessError> {
    let Decided { state, action, before, after } = decided;
    let decision = Decision {
        experiment: &split.name,
        run: &split.run,
        version,
        state: serde_json::to_string(&state).unwrap_or_default(),
        action,
        before,
        after: after.clone(),
    };
    let is_made = access.decide_experiment(&decision, actor).await?;
    if is_made {
        let after = after.unwrap_or_default();
        tracing::info!(experiment = %split.name, action, %after, "an experiment goes on");
    }
    gateway.experiments.put(&access.experiment_states().await?);
    Ok(is_made)
}

/// What somebody wants done with an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByHand {
    /// No call is in it any more: all go where the model's calls go without it.
    Stop,
    /// It goes on; arms that were stopped are tried again, a canary begins anew.
    Resume,
    /// All calls go to the candidate.
    Promote,
}

/// Why an experiment was not changed by hand.
#[derive(Debug, thiserror::Error)]
pub enum ByHandError {
    /// There is none of that name that could be.
    #[error("there is no test or canary of this name")]
    NotFound,
    /// Something else was decided in the same moment, twice.
    #[error("something else was decided in the same moment; look at it and try again")]
    Conflict,
    /// It has several arms and nobody said which.
    #[error("say which arm is to get all calls: one of {0}")]
    WhichArm(String),
    /// The store failed.
    #[error(transparent)]
    Access(#[from] AccessError),
}

impl From<StoreError> for ByHandError {
    fn from(error: StoreError) -> Self {
        Self::Access(error.into())
    }
}

/// Stops, resumes or promotes a test or a canary because somebody wants it.
pub async fn by_hand(
    gateway: &Gateway,
    access: &Access,
    name: &str,
    what: ByHand,
    arm: Option<&str>,
    actor: &Actor,
) -> Result<(), ByHandError> {
    let snapshot = gateway.snapshot();
    let split =
        snapshot.experiments.splits().find(|split| &*split.name == name).ok_or(ByHandError::NotFound)?;
    // Another decision may come in between; once is likely enough, twice is not chance.
    for _ in 0..2 {
        gateway.experiments.put(&access.experiment_states().await?);
        let version = gateway.experiments.version(&split.name);
        let kept = gateway.experiments.get(split);
        let decided = decided_by_hand(split, kept.as_deref(), what, arm)?;
        if put(gateway, access, split, version, decided, actor).await? {
            return Ok(());
        }
    }
    Err(ByHandError::Conflict)
}

fn decided_by_hand(
    split: &Split,
    kept: Option<&Kept>,
    what: ByHand,
    arm: Option<&str>,
) -> Result<Decided, ByHandError> {
    let mut state = kept.map(|kept| kept.state.clone()).unwrap_or_default();
    let now = Timestamp::now();
    if let Some(settings) = &split.canary {
        let canary = state.canary.unwrap_or(CanaryState::new(milliseconds(now)));
        let phase = match what {
            ByHand::Stop => CanaryPhase::Back,
            ByHand::Resume => CanaryPhase::Step(0),
            ByHand::Promote => CanaryPhase::Done,
        };
        let transition = canary.by_hand(settings, phase, milliseconds(now));
        return Ok(stepped(state, &transition, now));
    }
    let (action, words, after) = match what {
        ByHand::Stop => {
            state.is_held = true;
            ("experiment.stop", "all calls go without it".to_owned(), json!({"stopped": true}))
        }
        ByHand::Resume => {
            state = State { history: state.history, ..State::default() };
            ("experiment.resume", "it goes on as it is configured".to_owned(), json!({"stopped": false}))
        }
        ByHand::Promote => {
            let arm = promoted(split, arm)?;
            state.promoted = Some(arm.clone());
            state.is_held = false;
            ("experiment.promote", format!("all calls go to {arm}"), json!({"arm": arm}))
        }
    };
    state.happened(now, words, "by hand");
    Ok(Decided { state, action, before: None, after: Some(after) })
}

fn promoted(split: &Split, arm: Option<&str>) -> Result<String, ByHandError> {
    let others: Vec<&str> = split.arms.iter().map(|arm| &*arm.name).collect();
    let which = || ByHandError::WhichArm(others.join(", "));
    match arm {
        Some(arm) if others.contains(&arm) => Ok(arm.to_owned()),
        Some(_) => Err(which()),
        None => {
            let mut candidates = others.iter().filter(|name| **name != split.control_name());
            match (candidates.next(), candidates.next()) {
                (Some(only), None) => Ok((*only).to_owned()),
                _ => Err(which()),
            }
        }
    }
}
