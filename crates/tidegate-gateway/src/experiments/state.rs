//! What was decided of the experiments: as the store keeps it, and as every call reads it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use tidegate_policy::experiments::CanaryState;
use tidegate_store::{StoredState, Text};

use super::assign::staged;
use super::prepared::Split;

/// So many steps of an experiment's history are kept; the audit log has all.
const MAX_HISTORY: usize = 50;

/// The state of one run, as JSON in the store. What a newer version adds is left alone by an older one.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct State {
    /// Arms that are stopped, and why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) stopped: BTreeMap<String, String>,
    /// Shares by arm, where a bandit has shifted them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) shares: BTreeMap<String, f64>,
    /// When a bandit shifted them last, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shifted_ms: Option<u64>,
    /// Where a canary is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) canary: Option<CanaryState>,
    /// Somebody stopped all of it: every call goes where the model's calls go without it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_held: bool,
    /// The arm that somebody gave all calls to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) promoted: Option<String>,
    /// What happened, the latest last.
    pub(crate) history: Vec<Happened>,
}

/// Something that happened to an experiment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ExperimentStep")]
pub struct Happened {
    /// When.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: jiff::Timestamp,
    /// What: `haiku is stopped`, `5% of the calls`.
    pub what: String,
    /// Why.
    pub why: String,
}

impl State {
    pub(crate) fn happened(&mut self, at: jiff::Timestamp, what: impl Into<String>, why: impl Into<String>) {
        self.history.push(Happened { at, what: what.into(), why: why.into() });
        if self.history.len() > MAX_HISTORY {
            self.history.remove(0);
        }
    }
}

/// A state with what the store says of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Kept {
    pub(crate) run: String,
    pub(crate) version: u64,
    pub(crate) state: State,
}

impl Kept {
    pub(crate) fn read(stored: &StoredState) -> Option<Self> {
        let state = serde_json::from_str(&stored.state).ok()?;
        Some(Self { run: stored.run.clone(), version: stored.version, state })
    }
}

/// All states, as calls read them.
#[derive(Debug, Default)]
pub(crate) struct States(ArcSwap<HashMap<String, Arc<Kept>>>);

impl States {
    /// What was decided of this run; `None` where nothing was.
    pub(crate) fn get(&self, split: &Split) -> Option<Arc<Kept>> {
        self.0.load().get(split.name.as_str()).filter(|kept| kept.run == *split.run).map(Arc::clone)
    }

    /// The version of an experiment's state, whatever its run.
    pub(crate) fn version(&self, name: &str) -> u64 {
        self.0.load().get(name).map_or(0, |kept| kept.version)
    }

    pub(crate) fn put(&self, stored: &[StoredState]) {
        let states = stored
            .iter()
            .filter_map(|stored| Some((stored.experiment.clone(), Arc::new(Kept::read(stored)?))));
        self.0.store(Arc::new(states.collect()));
    }
}

/// The share of each arm, as it is now.
pub(crate) fn weights(split: &Split, kept: Option<&Kept>) -> SmallVec<[f64; 4]> {
    let state = kept.map(|kept| &kept.state);
    let all_to = |arm: usize| (0..split.arms.len()).map(|place| f64::from(u8::from(place == arm))).collect();
    if state.is_some_and(|state| state.is_held) {
        return all_to(split.control);
    }
    if let Some(settings) = &split.canary {
        let begin = CanaryState::new(0);
        let share = state.and_then(|state| state.canary).unwrap_or(begin).share(settings);
        return SmallVec::from_slice(&[1.0 - share, share]);
    }
    let promoted = state.and_then(|state| state.promoted.as_deref());
    if let Some(promoted) = promoted
        && let Some(place) = split.arms.iter().position(|arm| &*arm.name == promoted)
    {
        return all_to(place);
    }
    let mut freed = 0.0;
    let mut weights: SmallVec<[f64; 4]> = split
        .arms
        .iter()
        .map(|arm| {
            let share = state.and_then(|state| state.shares.get(&*arm.name)).copied().unwrap_or(arm.share);
            let is_stopped = state.is_some_and(|state| state.stopped.contains_key(&*arm.name));
            if is_stopped {
                freed += share;
                return 0.0;
            }
            share
        })
        .collect();
    if let Some(control) = weights.get_mut(split.control) {
        *control += freed;
    }
    weights
}

/// Under which run the calls of this moment are counted: a canary's stages one by one.
pub(crate) fn run_now(split: &Split, kept: Option<&Kept>) -> Text {
    if split.canary.is_none() {
        return split.run.clone();
    }
    let stage = kept.and_then(|kept| kept.state.canary).map_or(0, |canary| canary.stage);
    staged(&split.run, stage)
}
