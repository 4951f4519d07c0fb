//! What can change of a team or an organisation under the keys that hold it. Written where the directory is told of a
//! change, read by every call.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use tidegate_policy::{Limits, Permissions};
use tidegate_store::{Level, Scope};

use super::shared;

/// What can change of a team or an organisation.
#[derive(Debug)]
pub struct LevelState {
    /// Its name.
    pub name: String,
    /// What limits it.
    pub level: Level,
    /// What limits each end user that has no limits of its own; of an organisation.
    pub end_user_limits: Option<Arc<Limits>>,
    /// What it may do; `None` is everything.
    pub permissions: Option<Permissions>,
    /// What is added to costs, in millionths; of a team.
    pub margin_millionths: i32,
    /// Whether its keys are refused.
    pub is_disabled: bool,
}

/// The state as it is now.
#[derive(Debug)]
pub struct CurrentState {
    state: ArcSwap<LevelState>,
    /// Whether it forbids anything. Most do not, and each call asks half a dozen times.
    forbids: AtomicBool,
    /// One change after the other.
    changing: Mutex<()>,
}

impl CurrentState {
    /// Of a team or an organisation of which only the id is known yet.
    pub(super) fn not_known_yet(scope: Scope) -> Self {
        let state = LevelState {
            name: String::new(),
            level: Level::new(scope, shared(Limits::default())),
            end_user_limits: None,
            permissions: None,
            margin_millionths: 0,
            is_disabled: false,
        };
        Self {
            state: ArcSwap::from_pointee(state),
            forbids: AtomicBool::new(false),
            changing: Mutex::default(),
        }
    }

    /// All of it.
    pub fn load(&self) -> Guard<Arc<LevelState>> {
        self.state.load()
    }

    /// The same where it forbids something to somebody.
    pub fn prohibition(&self) -> Option<Guard<Arc<LevelState>>> {
        self.forbids.load(Ordering::Acquire).then(|| self.load())
    }

    pub(super) fn store(&self, state: LevelState) {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let forbids = state.is_disabled || state.permissions.is_some();
        // Whoever comes between the two looks at the state once too often, never too seldom.
        if forbids {
            self.forbids.store(true, Ordering::Release);
        }
        self.state.store(Arc::new(state));
        if !forbids {
            self.forbids.store(false, Ordering::Release);
        }
    }
}
