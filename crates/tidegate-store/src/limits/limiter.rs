//! The limiter as the gateway sees it, wherever its counters are.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::sync::Arc;

use tidegate_catalog::NanoDollars;
use tidegate_policy::{Amounts, Limits};

use super::answers::{LevelUsage, Refused};
use super::counter_map::KnownCounter;
use super::hold::Hold;
use super::local::{Local, LocalOptions};
use super::shared::{Shared, SharedError, SharedOptions};
use crate::{CallId, Scope};

/// A level that applies to a call, with its limits as they are now.
#[derive(Debug, Clone)]
pub struct Level {
    /// Whose limits.
    pub scope: Scope,
    /// The limits. Organisations, teams and keys are counted even without any.
    pub limits: Arc<Limits>,
    /// Where it is counted in memory, once that was looked up.
    pub(super) counter: KnownCounter,
}

impl Level {
    /// This level. Whoever keeps it for calls to come saves them the way to its counters.
    pub fn new(scope: Scope, limits: Arc<Limits>) -> Self {
        Self { scope, limits, counter: KnownCounter::default() }
    }

    /// The same level with other limits.
    #[must_use]
    pub fn with_limits(&self, limits: Limits) -> Self {
        Self { limits: Arc::new(limits), ..self.clone() }
    }
}

/// Holds calls against limits and budgets. Cheap to clone; all clones count together.
#[derive(Debug, Clone)]
pub struct Limiter(Counting);

/// Where the counters are.
#[derive(Debug, Clone)]
enum Counting {
    Local(Arc<Local>),
    Shared(Arc<Shared>),
}

impl Limiter {
    /// A limiter that counts in this process, for a gateway of one replica.
    pub fn local(options: LocalOptions) -> Self {
        Self(Counting::Local(Arc::new(Local::new(options))))
    }

    /// A limiter that counts in Redis or Valkey together with other replicas. Made on the runtime on which the connection
    /// is to live; calls may come from any other. When Redis is not there yet, that is no error.
    pub async fn shared(options: SharedOptions) -> Result<Self, SharedError> {
        Ok(Self(Counting::Shared(Arc::new(Shared::connect(options).await?))))
    }

    /// Takes room for a call on all levels or on none, if that can be done at once. `None`: ask
    /// [`reserve`](Self::reserve).
    pub fn try_reserve(
        &self,
        call: CallId,
        levels: &[impl Borrow<Level>],
        amounts: Amounts,
    ) -> Option<Result<Hold, Refused>> {
        let amounts = not_negative(amounts);
        match &self.0 {
            Counting::Local(local) => local.try_reserve(levels, amounts),
            Counting::Shared(shared) => shared.try_reserve(call, levels, amounts),
        }
    }

    /// Takes room for a call on all levels or on none. A future that is dropped takes nothing.
    pub async fn reserve(
        &self,
        call: CallId,
        levels: &[impl Borrow<Level>],
        amounts: Amounts,
    ) -> Result<Hold, Refused> {
        let amounts = not_negative(amounts);
        match &self.0 {
            Counting::Local(local) => local.reserve(levels, amounts).await,
            Counting::Shared(shared) => shared.reserve(call, levels, amounts).await,
        }
    }

    /// How far the limits of these levels are used, in their order.
    pub async fn usage(&self, levels: &[impl Borrow<Level>]) -> Result<Vec<LevelUsage>, Refused> {
        match &self.0 {
            Counting::Local(local) => Ok(local.usage(levels).await),
            Counting::Shared(shared) => shared.usage(levels).await,
        }
    }

    /// Settles what calls of an earlier process of this replica left behind in the shared counters: those that the ledger
    /// knows with what it says they used, the others are released. To be called once after the start, in the background:
    /// it waits until Redis is there.
    ///
    /// `settled`: says of calls what they used, as far as the ledger knows them.
    pub async fn recover<Settled, Answer>(&self, settled: Settled)
    where
        Settled: Fn(Vec<CallId>) -> Answer,
        Answer: Future<Output = HashMap<CallId, Amounts>>,
    {
        match &self.0 {
            Counting::Local(_) => {}
            Counting::Shared(shared) => shared.recover(settled).await,
        }
    }

    /// Waits, a second at most, until the shared counters know of every call that has ended. Before the program ends.
    pub async fn flush(&self) {
        match &self.0 {
            Counting::Local(_) => {}
            Counting::Shared(shared) => shared.flush().await,
        }
    }
}

/// A negative cost would give budget to others.
pub(super) fn not_negative(amounts: Amounts) -> Amounts {
    Amounts { cost: amounts.cost.max(NanoDollars::ZERO), ..amounts }
}
