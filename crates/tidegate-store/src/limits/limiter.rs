//! The limiter as the gateway sees it, wherever its counters are.

use std::sync::Arc;

use tidegate_policy::{Amounts, Limits};

use super::answers::{LevelUsage, Refused};
use super::hold::Hold;
use super::local::{Local, LocalOptions};
use crate::{CallId, Scope};

/// A level that applies to a call, with its limits as they are now.
#[derive(Debug, Clone)]
pub struct Level {
    /// Whose limits.
    pub scope: Scope,
    /// The limits. Organisations, teams and keys are counted even without any.
    pub limits: Arc<Limits>,
}

/// Holds calls against limits and budgets. Cheap to clone; all clones count together.
#[derive(Debug, Clone)]
pub struct Limiter(Counting);

/// Where the counters are.
#[derive(Debug, Clone)]
enum Counting {
    Local(Arc<Local>),
}

impl Limiter {
    /// A limiter that counts in this process, for a gateway of one replica.
    pub fn local(options: LocalOptions) -> Self {
        Self(Counting::Local(Arc::new(Local::new(options))))
    }

    /// Takes room for a call on all levels or on none, if that can be done at once. `None`: ask
    /// [`reserve`](Self::reserve).
    pub fn try_reserve(
        &self,
        _call: CallId,
        levels: &[Level],
        amounts: Amounts,
    ) -> Option<Result<Hold, Refused>> {
        match &self.0 {
            Counting::Local(local) => local.try_reserve(levels, amounts),
        }
    }

    /// Takes room for a call on all levels or on none. A future that is dropped takes nothing.
    pub async fn reserve(&self, _call: CallId, levels: &[Level], amounts: Amounts) -> Result<Hold, Refused> {
        match &self.0 {
            Counting::Local(local) => local.reserve(levels, amounts).await,
        }
    }

    /// How far the limits of these levels are used, in their order.
    pub async fn usage(&self, levels: &[Level]) -> Result<Vec<LevelUsage>, Refused> {
        match &self.0 {
            Counting::Local(local) => Ok(local.usage(levels).await),
        }
    }
}
