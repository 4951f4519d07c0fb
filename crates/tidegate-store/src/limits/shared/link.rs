//! What workers and the courier share.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tidegate_catalog::NanoDollars;
use tidegate_policy::{Amounts, BudgetPeriod, PeriodStart};
use tokio::sync::{Notify, oneshot};

use super::held::Held;
use super::unwritten::Spent;
use crate::CallId;

/// A question for Redis.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) about: About,
    pub(super) text: String,
    pub(super) answer: oneshot::Sender<Reply>,
}

/// What a question is about.
#[derive(Debug, Clone)]
pub(super) enum About {
    /// Room for this call.
    Room(CallId, Arc<Held>),
    /// How far limits are used.
    Usage,
    /// Which calls in flight Redis has of this replica that this process did not begin.
    LeftOver,
    /// Nothing: the answer comes when all is settled that was there.
    Nothing,
}

/// What becomes of it.
#[derive(Debug)]
pub(super) enum Reply {
    /// The script's words.
    Words(Vec<String>),
    /// Redis cannot be reached.
    Away,
}

/// A call that has ended.
#[derive(Debug)]
pub(super) struct Settle {
    pub(super) call: CallId,
    /// What it used; nothing, when it is only released.
    pub(super) actual: Option<Amounts>,
    /// Whether nobody can have heard of it yet.
    pub(super) is_first: bool,
    pub(super) held: Option<Arc<Held>>,
    /// When, by the clock of Redis, in microseconds.
    pub(super) ended: i64,
}

impl Settle {
    /// Gives back what a call may hold that was never told that it holds anything.
    pub(super) fn release(call: CallId) -> Self {
        Self { call, actual: None, is_first: false, held: None, ended: 0 }
    }
}

/// Where spending is owed to: an account, and when, so that an account that was filled from the ledger later does not
/// get it twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct OwedKey {
    pub(super) scope: String,
    pub(super) period: BudgetPeriod,
    pub(super) start: PeriodStart,
    /// By the clock of Redis, in microseconds, rounded up to the millisecond.
    pub(super) ended: i64,
}

/// Amounts that are owed are kept apart by the millisecond in which they were spent, as long as they are not more than this.
const MOST_OWED: usize = 16_384;

/// State that is read by all and changed by few.
#[derive(Debug)]
pub(super) struct Link {
    is_away: AtomicBool,
    /// Counts the times that Redis went away.
    outages: AtomicU64,
    /// When it last did, in microseconds after the start.
    away_since: AtomicI64,
    /// How many replicas there are, this one included.
    replicas: AtomicU64,
    is_recovered: AtomicBool,
    /// Whether Redis has answered, though perhaps not yet given room.
    has_answered: AtomicBool,
    /// Bounded by the calls that are in flight, which the ledger's seats bound.
    settles: Mutex<VecDeque<Settle>>,
    /// What was spent while Redis was away; one amount for each account.
    owed: Mutex<HashMap<OwedKey, NanoDollars>>,
    /// What calls hold that were let in without Redis, until it is told.
    outage_holds: Mutex<HashMap<CallId, Arc<Held>>>,
    /// What was spent since the courier last looked, where it has to know. It looks twice a second.
    spent: Mutex<Vec<Spent>>,
    keeps_spent: bool,
    started: Instant,
    /// What Redis calls the moment of the start, in microseconds since 1970. Replicas' clocks may differ.
    started_in_redis: AtomicI64,
    has_settles: Notify,
}

impl Link {
    /// `keeps_spent`: whether somebody asks for what was spent.
    pub(super) fn new(keeps_spent: bool) -> Self {
        Self {
            is_away: AtomicBool::new(true),
            outages: AtomicU64::new(1),
            away_since: AtomicI64::new(0),
            replicas: AtomicU64::new(1),
            is_recovered: AtomicBool::new(false),
            has_answered: AtomicBool::new(false),
            settles: Mutex::default(),
            owed: Mutex::default(),
            outage_holds: Mutex::default(),
            spent: Mutex::default(),
            keeps_spent,
            started: Instant::now(),
            started_in_redis: AtomicI64::new(Timestamp::now().as_microsecond()),
            has_settles: Notify::new(),
        }
    }

    pub(super) fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Acquire)
    }

    pub(super) fn set_away(&self, is_away: bool) {
        if is_away && !self.is_away() {
            self.away_since.store(self.elapsed(), Ordering::Relaxed);
            self.outages.fetch_add(1, Ordering::Relaxed);
        }
        self.is_away.store(is_away, Ordering::Release);
    }

    pub(super) fn outages(&self) -> u64 {
        self.outages.load(Ordering::Relaxed)
    }

    /// When Redis last went away.
    pub(super) fn away_since(&self) -> Instant {
        let after = u64::try_from(self.away_since.load(Ordering::Relaxed)).unwrap_or(0);
        self.started + Duration::from_micros(after)
    }

    pub(super) fn replicas(&self) -> u64 {
        self.replicas.load(Ordering::Relaxed).max(1)
    }

    /// Hears how many replicas there are; says whether that is news.
    pub(super) fn set_replicas(&self, replicas: u64) -> bool {
        self.replicas.swap(replicas, Ordering::Relaxed) != replicas
    }

    pub(super) fn is_recovered(&self) -> bool {
        self.is_recovered.load(Ordering::Relaxed)
    }

    pub(super) fn set_recovered(&self) {
        self.is_recovered.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed)
    }

    pub(super) fn set_answered(&self) {
        self.has_answered.store(true, Ordering::Relaxed);
    }

    /// Notes what a call has cost. Before Redis is told: whoever forgets what Redis was to be told finds it here.
    pub(super) fn note_spent(&self, held: &Arc<Held>, cost: NanoDollars) {
        if self.keeps_spent && cost > NanoDollars::ZERO {
            let spent = Spent { held: held.clone(), cost, second: self.now().div_euclid(1_000_000) };
            lock(&self.spent).push(spent);
        }
    }

    pub(super) fn take_spent(&self) -> Vec<Spent> {
        std::mem::take(&mut *lock(&self.spent))
    }

    /// Notes that a call was let in without Redis.
    pub(super) fn hold_without(&self, call: CallId, held: &Arc<Held>) {
        lock(&self.outage_holds).insert(call, held.clone());
    }

    /// The call has ended; whether Redis was not told of it before.
    pub(super) fn end_without(&self, call: CallId) -> bool {
        lock(&self.outage_holds).remove(&call).is_some()
    }

    /// Those calls that go on, to be brought to Redis. Whoever takes them settles them like all others.
    pub(super) fn take_outage_holds(&self) -> Vec<(CallId, Arc<Held>)> {
        lock(&self.outage_holds).drain().collect()
    }

    pub(super) fn settle(&self, settle: Settle) {
        self.settles().push_back(settle);
        self.has_settles.notify_one();
    }

    /// Puts back, in front, what could not be said.
    pub(super) fn settle_again(&self, settles: Vec<Settle>) {
        let mut queue = self.settles();
        for settle in settles.into_iter().rev() {
            queue.push_front(settle);
        }
        self.has_settles.notify_one();
    }

    pub(super) fn take_settles(&self, at_most: usize) -> Vec<Settle> {
        let mut queue = self.settles();
        let count = queue.len().min(at_most);
        if queue.len() > count {
            self.has_settles.notify_one();
        }
        queue.drain(..count).collect()
    }

    /// Counts what was spent now, for the accounts of this call.
    pub(super) fn owe(&self, held: &Held, cost: NanoDollars) {
        let now = self.now();
        let ended = (now.div_euclid(1_000) + 1).saturating_mul(1_000);
        let mut owed = lock(&self.owed);
        for (scope, period, start) in held.accounts(now.div_euclid(1_000_000)) {
            let scope = scope.to_owned();
            // Without the time it is added in any case: rather too much is counted than too little.
            let ended = if owed.len() < MOST_OWED { ended } else { i64::MAX };
            *owed.entry(OwedKey { scope, period, start, ended }).or_default() += cost;
        }
        drop(owed);
        self.has_settles.notify_one();
    }

    pub(super) fn take_owed(&self, at_most: usize) -> HashMap<OwedKey, NanoDollars> {
        let mut owed = lock(&self.owed);
        if owed.len() <= at_most {
            return std::mem::take(&mut *owed);
        }
        self.has_settles.notify_one();
        let some: Vec<OwedKey> = owed.keys().take(at_most).cloned().collect();
        some.into_iter().filter_map(|key| owed.remove_entry(&key)).collect()
    }

    pub(super) fn owes_nothing(&self) -> bool {
        self.settles().is_empty() && lock(&self.owed).is_empty()
    }

    /// The time by the clock of Redis, in microseconds since 1970.
    pub(super) fn now(&self) -> i64 {
        self.started_in_redis.load(Ordering::Relaxed).saturating_add(self.elapsed())
    }

    /// Hears what time it is.
    pub(super) fn set_now(&self, now: i64) {
        self.started_in_redis.store(now.saturating_sub(self.elapsed()), Ordering::Relaxed);
    }

    fn elapsed(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    /// Waits until there is something to settle.
    pub(super) async fn wait_for_settles(&self) {
        self.has_settles.notified().await;
    }

    fn settles(&self) -> MutexGuard<'_, VecDeque<Settle>> {
        lock(&self.settles)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
