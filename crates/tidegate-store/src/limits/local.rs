//! The limiter in memory: answers at once, and waits only to learn what a level that is new to it has spent before.

use std::borrow::Borrow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use smallvec::SmallVec;
use tidegate_catalog::NanoDollars;
use tidegate_policy::{Amounts, Moment, Room, Spending, Stamp, TakenWindows};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::answers::{Crossed, LevelUsage, Refused};
use super::clock::Clock;
use super::counter_map::{Counter, CounterMap, is_named_by_caller};
use super::hold::{Hold, Taken};
use super::limiter::Level;
use super::spending::SpendingSource;
use crate::Scope;

/// How long a call waits for what a level has spent before. A database that takes longer is not well.
const SPENDING_PATIENCE: Duration = Duration::from_secs(1);

/// How long after a failure the spending of a level is asked for again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// One shard is tidied this often, by the call that comes first; all of them about once a minute.
const TIDY_EVERY: Duration = Duration::from_secs(1);

/// A call seldom has more: organisation, team, key, end user.
type PerLevel<T> = SmallVec<[T; 4]>;

/// What the limiter in memory begins with.
#[derive(Default)]
pub struct LocalOptions {
    /// What organisations, teams and keys have spent. One that is not here has spent nothing.
    pub restored: Vec<(Scope, Spending)>,
    /// Whom to ask for what end users and tags have spent. Without it they begin at zero.
    pub source: Option<Arc<dyn SpendingSource>>,
}

pub(super) struct Local {
    clock: Clock,
    map: CounterMap,
    source: Option<Arc<dyn SpendingSource>>,
    /// Where the source is asked: its connections belong to the runtime that made the limiter, not to a worker's.
    runtime: Option<Handle>,
    /// Nanoseconds on the clock, and the shard whose turn it is.
    tidy_at: AtomicU64,
    tidy_next: AtomicU64,
}

impl std::fmt::Debug for Local {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Local").finish_non_exhaustive()
    }
}

impl Local {
    pub(super) fn new(options: LocalOptions) -> Self {
        let clock = Clock::new();
        let map = CounterMap::new();
        let now = clock.now();
        for (scope, spending) in &options.restored {
            map.find_or_insert(scope, Some(spending), &now, None);
        }
        Self {
            clock,
            map,
            source: options.source,
            runtime: Handle::try_current().ok(),
            tidy_at: AtomicU64::new(0),
            tidy_next: AtomicU64::new(0),
        }
    }

    pub(super) fn try_reserve(
        self: &Arc<Self>,
        levels: &[impl Borrow<Level>],
        amounts: Amounts,
    ) -> Option<Result<Hold, Refused>> {
        let now = self.clock.now();
        self.tidy(&now);
        loop {
            let slots = self.slots(levels, &now)?;
            if let Some(answer) = self.take(slots, amounts, &now) {
                return Some(answer);
            }
        }
    }

    pub(super) async fn reserve(
        self: &Arc<Self>,
        levels: &[impl Borrow<Level>],
        amounts: Amounts,
    ) -> Result<Hold, Refused> {
        loop {
            if let Some(answer) = self.try_reserve(levels, amounts) {
                return answer;
            }
            self.learn(levels).await;
        }
    }

    pub(super) async fn usage(self: &Arc<Self>, levels: &[impl Borrow<Level>]) -> Vec<LevelUsage> {
        self.learn(levels).await;
        let now = self.clock.now();
        let usage = |level: &Level| {
            let usage = match self.map.find_of(level) {
                Some(counter) => counter.lock().counters.usage(&level.limits, &now),
                None => tidegate_policy::Counters::default().usage(&level.limits, &now),
            };
            LevelUsage { scope: level.scope.clone(), usage }
        };
        levels.iter().map(|level| usage(level.borrow())).collect()
    }

    /// The counters of the levels that are counted, in the order in which they are locked: from the organisation down.
    /// `None`, where one is not known yet and somebody can be asked.
    fn slots<'a>(&self, levels: &'a [impl Borrow<Level>], now: &Stamp) -> Option<PerLevel<Slot<'a>>> {
        let mut slots = PerLevel::<Slot<'a>>::new();
        for level in levels.iter().map(Borrow::borrow).filter(|level| is_counted(level)) {
            let counter = match self.map.find_of(level) {
                Some(counter) => counter,
                None if self.must_ask(&level.scope) => return None,
                None => self.map.find_or_insert(&level.scope, None, now, None),
            };
            // The same level twice would wait for its own lock.
            if slots.iter().all(|slot| slot.counter.id() != counter.id()) {
                slots.push(Slot { counter, level });
            }
        }
        slots.sort_unstable_by_key(|slot| (rank(&slot.level.scope), slot.counter.id()));
        Some(slots)
    }

    /// Takes room on all or none. `None`, when a counter was forgotten meanwhile.
    fn take(
        self: &Arc<Self>,
        slots: PerLevel<Slot<'_>>,
        amounts: Amounts,
        now: &Stamp,
    ) -> Option<Result<Hold, Refused>> {
        let mut states: PerLevel<_> = slots.iter().map(|slot| slot.counter.lock()).collect();
        if states.iter().any(|state| state.is_retired) {
            return None;
        }
        for (Slot { level, .. }, state) in slots.iter().zip(&mut states) {
            if let Err(shortage) = state.counters.check(&level.limits, amounts, now) {
                return Some(Err(Refused::new(&level.scope, shortage)));
            }
        }
        let mut room = Room::default();
        let mut crossed = Vec::new();
        for (Slot { level, .. }, state) in slots.iter().zip(&mut states) {
            state.last_used = now.moment();
            if state.ask_again_at.is_some_and(|at| at <= now.moment()) {
                state.ask_again_at = Some(now.moment() + ASK_AGAIN_AFTER);
                self.learn_later(level.scope.clone());
            }
            state.counters.take(&level.limits, amounts, now, &mut room, |budget| {
                crossed.push(Crossed { scope: level.scope.clone(), budget: *budget });
            });
        }
        drop(states);
        let held = |Slot { counter, level }| {
            let windows = TakenWindows::of(&level.limits, amounts);
            HeldSlot { counter, windows }
        };
        let slots = slots.into_iter().map(held).collect();
        let hold = LocalHold { slots, cost: amounts.cost, at: *now };
        Some(Ok(Hold::new(Taken::Local(Box::new(hold)), room, crossed)))
    }

    #[cfg(test)]
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    fn must_ask(&self, scope: &Scope) -> bool {
        self.source.is_some() && is_named_by_caller(scope)
    }

    /// Asks what the levels have spent that are not known yet, and begins to count them.
    async fn learn(&self, levels: &[impl Borrow<Level>]) {
        let is_unknown = |level: &&Level| {
            is_counted(level) && self.must_ask(&level.scope) && self.map.find(&level.scope).is_none()
        };
        let unknown = levels.iter().map(Borrow::borrow).filter(is_unknown);
        let scopes: Vec<Scope> = unknown.map(|level| level.scope.clone()).collect();
        if scopes.is_empty() {
            return;
        }
        let spending = self.ask(scopes.clone()).await;
        let now = self.clock.now();
        let ask_again_at = spending.is_none().then(|| now.moment() + ASK_AGAIN_AFTER);
        for (place, scope) in scopes.iter().enumerate() {
            let spending = spending.as_ref().and_then(|all| all.get(place));
            self.map.find_or_insert(scope, spending, &now, ask_again_at);
        }
    }

    /// Asks again in the background, after it failed.
    fn learn_later(self: &Arc<Self>, scope: Scope) {
        let Some(runtime) = self.runtime.clone().or_else(|| Handle::try_current().ok()) else { return };
        let local = self.clone();
        runtime.spawn(async move {
            let Some(spending) = local.ask(vec![scope.clone()]).await else { return };
            if let (Some(spending), Some(counter)) = (spending.first(), local.map.find(&scope)) {
                let mut state = counter.lock();
                state.ask_again_at = None;
                state.counters.restore(spending, &local.clock.now());
            }
        });
    }

    async fn ask(&self, scopes: Vec<Scope>) -> Option<Vec<Spending>> {
        let runtime = self.runtime.clone().unwrap_or_else(Handle::current);
        let question = runtime.spawn(self.source.as_ref()?.spending(scopes));
        match timeout(SPENDING_PATIENCE, question).await {
            Ok(Ok(Ok(spending))) => Some(spending),
            Ok(Ok(Err(error))) => {
                tracing::warn!(error = %error, "what an end user or a tag has spent could not be read; it is counted from zero until it can");
                None
            }
            Ok(Err(error)) => {
                tracing::error!(error = %error, "reading what an end user or a tag has spent ended abruptly");
                None
            }
            Err(_) => {
                tracing::warn!(
                    "what an end user or a tag has spent could not be read in time; it is counted from zero until it can"
                );
                None
            }
        }
    }

    fn tidy(&self, now: &Stamp) {
        let at = self.tidy_at.load(Ordering::Relaxed);
        let moment = nanoseconds(now.moment());
        if moment < at {
            return;
        }
        let next = moment.saturating_add(nanoseconds(TIDY_EVERY));
        if self.tidy_at.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let number = self.tidy_next.fetch_add(1, Ordering::Relaxed);
            self.map.tidy(usize::try_from(number).unwrap_or(0), now, self.source.is_some());
        }
    }
}

/// Counters in which a call takes room, under the limits of this level.
struct Slot<'a> {
    counter: Arc<Counter>,
    level: &'a Level,
}

/// Counters in which a call has taken room.
#[derive(Debug)]
struct HeldSlot {
    counter: Arc<Counter>,
    windows: TakenWindows,
}

/// Room taken in memory.
#[derive(Debug)]
pub(super) struct LocalHold {
    slots: PerLevel<HeldSlot>,
    cost: NanoDollars,
    at: Stamp,
}

impl LocalHold {
    pub(super) fn end(self, actual: Option<Amounts>) {
        for HeldSlot { counter, windows } in &self.slots {
            counter.lock().counters.settle(windows, self.cost, &self.at, actual);
        }
    }
}

/// Organisations, teams and keys are counted always, so that a budget that comes later knows what was spent. What callers
/// name is counted where it is limited.
fn is_counted(level: &Level) -> bool {
    !is_named_by_caller(&level.scope) || !level.limits.is_empty()
}

/// From the organisation down, so that the message names the level with the widest reach.
fn rank(scope: &Scope) -> u8 {
    match scope {
        Scope::Organization(_) => 0,
        Scope::Team(_) => 1,
        Scope::Key(_) => 2,
        Scope::EndUser(_) => 3,
        Scope::Tag(..) => 4,
        Scope::Experiment(_) => 5,
    }
}

fn nanoseconds(duration: Moment) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
