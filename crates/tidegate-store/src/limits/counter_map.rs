//! The counters in memory, by scope.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_policy::{Counters, Moment, Spending, Stamp};

use crate::Scope;

/// Enough that threads seldom meet in one.
const SHARDS: usize = 64;

/// Callers can name as many end users and tags as they like. One takes about a kilobyte, so these take 64 MiB; beyond,
/// those that were used least recently are forgotten, and the ledger is asked when they come back.
const MOST_NAMED_BY_CALLERS: usize = 65_536;

/// Which part of a full shard is forgotten at a time, so that not every newcomer costs a search.
const FORGOTTEN_AT_A_TIME: usize = 8;

/// What callers name is forgotten after a day without calls, when no window remembers it any more.
const FORGOTTEN_AFTER: Moment = Moment::from_secs(25 * 60 * 60);

/// The counters of one level.
#[derive(Debug)]
pub(super) struct Counter {
    id: u64,
    state: Mutex<CounterState>,
}

/// What its lock guards.
#[derive(Debug)]
pub(super) struct CounterState {
    pub(super) counters: Counters,
    /// Forgotten meanwhile: who found it before that must look again.
    pub(super) is_retired: bool,
    /// When to ask for its spending again, after that failed.
    pub(super) ask_again_at: Option<Moment>,
    pub(super) last_used: Moment,
}

impl Counter {
    /// Places it in the one order in which locks of several are taken.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, CounterState> {
        // What a panicking thread leaves behind are numbers, whole ones.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(super) struct CounterMap {
    shards: Vec<Mutex<HashMap<Scope, Arc<Counter>>>>,
    next_id: AtomicU64,
}

impl CounterMap {
    pub(super) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), next_id: AtomicU64::new(0) }
    }

    pub(super) fn find(&self, scope: &Scope) -> Option<Arc<Counter>> {
        self.lock(shard_of(scope)).get(scope).cloned()
    }

    /// The counter of a scope; a new one, if there is none, that begins with this spending.
    pub(super) fn find_or_insert(
        &self,
        scope: &Scope,
        spending: Option<&Spending>,
        now: &Stamp,
        ask_again_at: Option<Moment>,
    ) -> Arc<Counter> {
        let mut shard = self.lock(shard_of(scope));
        if is_named_by_caller(scope)
            && shard.len() >= MOST_NAMED_BY_CALLERS / SHARDS
            && !shard.contains_key(scope)
        {
            forget_the_least_recent(&mut shard);
        }
        match shard.entry(scope.clone()) {
            Entry::Occupied(entry) => entry.get().clone(),
            Entry::Vacant(entry) => {
                let mut counters = Counters::default();
                if let Some(spending) = spending {
                    counters.restore(spending, now);
                }
                let state =
                    CounterState { counters, is_retired: false, ask_again_at, last_used: now.moment() };
                let id = self.next_id.fetch_add(1, Ordering::Relaxed);
                entry.insert(Arc::new(Counter { id, state: Mutex::new(state) })).clone()
            }
        }
    }

    /// Forgets what is idle, in one shard; in all of them, when it is called with every number.
    ///
    /// `can_ask`: whether what a caller's counters knew can be asked for again.
    pub(super) fn tidy(&self, number: usize, now: &Stamp, can_ask: bool) {
        self.lock(number % SHARDS).retain(|scope, counter| {
            let mut state = counter.lock();
            state.counters.tidy(now);
            let is_old = state.last_used + FORGOTTEN_AFTER < now.moment();
            let forget = can_ask && is_old && is_named_by_caller(scope) && state.counters.is_at_rest();
            state.is_retired |= forget;
            !forget
        });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        (0..SHARDS).map(|number| self.lock(number).len()).sum()
    }

    fn lock(&self, number: usize) -> MutexGuard<'_, HashMap<Scope, Arc<Counter>>> {
        self.shards[number].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether callers choose the name, and with it how many there are.
pub(super) fn is_named_by_caller(scope: &Scope) -> bool {
    matches!(scope, Scope::EndUser(_) | Scope::Tag(..))
}

/// Calls in flight are spared: somebody will come to settle them. They are fewer than the ledger has seats.
fn forget_the_least_recent(shard: &mut HashMap<Scope, Arc<Counter>>) {
    let mut idle: Vec<Moment> = shard
        .iter()
        .filter(|(scope, counter)| is_named_by_caller(scope) && counter.lock().counters.is_at_rest())
        .map(|(_, counter)| counter.lock().last_used)
        .collect();
    if idle.is_empty() {
        return;
    }
    let place = idle.len() / FORGOTTEN_AT_A_TIME;
    let (_, until, _) = idle.select_nth_unstable(place);
    let until = *until;
    let mut left = place + 1;
    shard.retain(|scope, counter| {
        let mut state = counter.lock();
        let forget =
            left > 0 && is_named_by_caller(scope) && state.last_used <= until && state.counters.is_at_rest();
        state.is_retired |= forget;
        left -= usize::from(forget);
        !forget
    });
}

/// The last bytes of an id are random, and those of a name good enough.
fn shard_of(scope: &Scope) -> usize {
    let name = match scope {
        Scope::Organization(id) => id.as_str(),
        Scope::Team(id) => id.as_str(),
        Scope::Key(id) => id.as_str(),
        Scope::EndUser(user) => &user.name,
        Scope::Tag(_, value) => value,
        Scope::Experiment(name) => name,
    };
    let folded = name.bytes().rev().take(4).fold(0usize, |folded, byte| folded * 31 + usize::from(byte));
    folded % SHARDS
}
