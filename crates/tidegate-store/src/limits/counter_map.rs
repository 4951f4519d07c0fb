//! The counters in memory, by scope.

use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;
use tidegate_policy::{Counters, Moment, Spending, Stamp};

use super::limiter::Level;
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
///
/// The lock and what every call changes come first, beside the count of those who hold it: threads that count for the same
/// level take these lines of memory from each other with every call, and should find all they need in few.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Counter {
    state: Mutex<CounterState>,
    id: u64,
    /// Of which map.
    map: u64,
    scope: Scope,
}

/// The counters of a level that callers do not name, kept with it: they are never forgotten, so that nobody needs to look
/// for them twice.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownCounter(OnceLock<Arc<Counter>>);

/// What its lock guards.
#[derive(Debug)]
#[repr(C)]
pub(super) struct CounterState {
    /// Forgotten meanwhile: who found it before that must look again.
    pub(super) is_retired: bool,
    pub(super) last_used: Moment,
    pub(super) counters: Counters,
    /// When to ask for its spending again, after that failed.
    pub(super) ask_again_at: Option<Moment>,
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
    /// Tells it from others of this process.
    id: u64,
    shards: Vec<Mutex<Shard>>,
    next_id: AtomicU64,
}

type Shard = HashTable<Known>;

/// A counter with the hash of its scope: a table that grows need not look at every scope again. Of keys there may be a
/// million. Whoever names users so that their hashes are alike gains no more than a look through those of one shard.
#[derive(Debug)]
struct Known {
    hash: u64,
    counter: Arc<Counter>,
}

impl Known {
    fn is_of(&self, hash: u64, scope: &Scope) -> bool {
        self.hash == hash && self.counter.scope == *scope
    }
}

impl CounterMap {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            next_id: AtomicU64::new(0),
        }
    }

    /// The counter of a level, if there is one.
    pub(super) fn find_of(&self, level: &Level) -> Option<Arc<Counter>> {
        if let Some(known) = level.counter.0.get()
            && known.map == self.id
        {
            return Some(Arc::clone(known));
        }
        let found = self.find(&level.scope)?;
        if !is_named_by_caller(&level.scope) {
            level.counter.0.get_or_init(|| Arc::clone(&found));
        }
        Some(found)
    }

    pub(super) fn find(&self, scope: &Scope) -> Option<Arc<Counter>> {
        let hash = hash_of(scope);
        let shard = self.lock(shard_of(hash));
        shard.find(hash, |known| known.is_of(hash, scope)).map(|known| Arc::clone(&known.counter))
    }

    /// The counter of a scope; a new one, if there is none, that begins with this spending.
    pub(super) fn find_or_insert(
        &self,
        scope: &Scope,
        spending: Option<&Spending>,
        now: &Stamp,
        ask_again_at: Option<Moment>,
    ) -> Arc<Counter> {
        let hash = hash_of(scope);
        let mut shard = self.lock(shard_of(hash));
        if let Some(known) = shard.find(hash, |known| known.is_of(hash, scope)) {
            return Arc::clone(&known.counter);
        }
        if is_named_by_caller(scope) && shard.len() >= MOST_NAMED_BY_CALLERS / SHARDS {
            forget_the_least_recent(&mut shard);
        }
        let mut counters = Counters::default();
        if let Some(spending) = spending {
            counters.restore(spending, now);
        }
        let state = CounterState { counters, is_retired: false, ask_again_at, last_used: now.moment() };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let counter = Arc::new(Counter { id, map: self.id, scope: scope.clone(), state: Mutex::new(state) });
        shard.insert_unique(hash, Known { hash, counter: Arc::clone(&counter) }, |known| known.hash);
        counter
    }

    /// Forgets what is idle, in one shard; in all of them, when it is called with every number.
    ///
    /// `can_ask`: whether what a caller's counters knew can be asked for again.
    pub(super) fn tidy(&self, number: usize, now: &Stamp, can_ask: bool) {
        self.lock(number % SHARDS).retain(|Known { counter, .. }| {
            let mut state = counter.lock();
            state.counters.tidy(now);
            let is_old = state.last_used + FORGOTTEN_AFTER < now.moment();
            let forget =
                can_ask && is_old && is_named_by_caller(&counter.scope) && state.counters.is_at_rest();
            state.is_retired |= forget;
            !forget
        });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        (0..SHARDS).map(|number| self.lock(number).len()).sum()
    }

    fn lock(&self, number: usize) -> MutexGuard<'_, Shard> {
        self.shards[number].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether callers choose the name, and with it how many there are.
pub(super) fn is_named_by_caller(scope: &Scope) -> bool {
    matches!(scope, Scope::EndUser(_) | Scope::Tag(..))
}

/// Calls in flight are spared: somebody will come to settle them. They are fewer than the ledger has seats.
fn forget_the_least_recent(shard: &mut Shard) {
    let mut idle: Vec<Moment> = shard
        .iter()
        .filter(|known| is_named_by_caller(&known.counter.scope))
        .map(|known| known.counter.lock())
        .filter(|state| state.counters.is_at_rest())
        .map(|state| state.last_used)
        .collect();
    if idle.is_empty() {
        return;
    }
    let place = idle.len() / FORGOTTEN_AT_A_TIME;
    let (_, until, _) = idle.select_nth_unstable(place);
    let until = *until;
    let mut left = place + 1;
    shard.retain(|Known { counter, .. }| {
        let mut state = counter.lock();
        let forget = left > 0
            && is_named_by_caller(&counter.scope)
            && state.last_used <= until
            && state.counters.is_at_rest();
        state.is_retired |= forget;
        left -= usize::from(forget);
        !forget
    });
}

fn hash_of(scope: &Scope) -> u64 {
    FxBuildHasher.hash_one(scope)
}

/// By digits that the tables themselves do not go by.
fn shard_of(hash: u64) -> usize {
    usize::try_from(hash >> 40).unwrap_or(0) % SHARDS
}
