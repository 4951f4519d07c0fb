//! The side of the workers: what is asked, how long is waited for an answer, what is done without one.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use tidegate_catalog::NanoDollars;
use tidegate_policy::{Amounts, LimitsUsage, Room, Spending};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::super::answers::{LevelUsage, Refused};
use super::super::hold::{Hold, Taken};
use super::super::limiter::Level;
use super::super::spending::SpendingSource;
use super::answer::{self, Answer};
use super::connection::Connection;
use super::courier::Courier;
use super::held::Held;
use super::link::{About, Job, Link, Reply, Settle};
use super::options::{SharedError, SharedOptions, Unreachable};
use super::outage::Outages;
use super::question::{self, Filling};
use crate::{CallId, Scope};

const SCRIPT: &str = include_str!("limiter.lua");

/// Questions that wait for the courier. Far more than can be answered in the patience that a call has.
const QUEUE: usize = 4_096;

/// How long a call waits for its answer at most. The courier gives one as soon as Redis has, or is found to be away; while
/// questions stand in line before it and Redis answers them, there is no reason to count without it.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// How long the first connection is waited for at the start, and at the end that Redis hears of all that has ended.
const START_PATIENCE: Duration = Duration::from_secs(1);

/// How long the start waits beyond that for a Redis that is empty: other replicas may live, and say what they hold.
const GATHERING_PATIENCE: Duration = Duration::from_secs(3);

/// How long a call waits for what a level has spent before. A database that takes longer is not well.
const SPENDING_PATIENCE: Duration = Duration::from_secs(2);

/// How long a call waits for its turn to ask that. Once one has asked in vain nobody waits any more.
const TURN_PATIENCE: Duration = Duration::from_secs(5);

/// So many questions to the ledger at a time. When many ask for the same, as after Redis was emptied, the first answer serves
/// all of them.
const LEDGER_QUESTIONS: usize = 4;

/// How many times is asked before the ledger is, as long as others tell Redis about their levels meanwhile.
const FILL_TRIES: usize = 3;

/// After the ledger could not say in time what was spent, it is left alone for so long, and calls do not wait for it.
const LEDGER_REST: Duration = Duration::from_secs(5);

/// When a caller may try again who was refused because Redis is away.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How often is looked whether Redis is there, where that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How many times the calls left over are asked for; the script tells some thousands at a time.
const RECOVERY_ROUNDS: usize = 100;

pub(in super::super) struct Shared {
    jobs: mpsc::Sender<Job>,
    link: Arc<Link>,
    outages: Outages,
    unreachable: Unreachable,
    source: Option<Arc<dyn SpendingSource>>,
    patience: Duration,
    ledger_questions: Semaphore,
    /// Counts how many times Redis was told what was spent.
    told: AtomicU64,
    ledger_rests_until: Mutex<Option<Instant>>,
    /// Where the ledger is asked: its connections belong to that runtime, not to a worker's.
    runtime: Handle,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").field("link", &self.link).finish_non_exhaustive()
    }
}

/// The levels that limit a call, each once.
type Limited<'a> = SmallVec<[&'a Level; 4]>;

impl Shared {
    /// Begins to connect, and waits a little for it.
    pub(in super::super) async fn connect(options: SharedOptions) -> Result<Self, SharedError> {
        let runtime = Handle::try_current().map_err(SharedError::Runtime)?;
        let connection = Connection::open(&options, SCRIPT)?;
        let link = Arc::new(Link::new(options.ledger.is_some()));
        let (jobs, receiver) = mpsc::channel(QUEUE);
        let courier = Courier::new(connection, receiver, link.clone(), &options);
        drop(runtime.spawn(courier.run()));
        let SharedOptions { patience, unreachable, source, .. } = options;
        let shared = Self {
            jobs,
            link,
            outages: Outages::default(),
            unreachable,
            source,
            patience,
            ledger_questions: Semaphore::new(LEDGER_QUESTIONS),
            told: AtomicU64::new(0),
            ledger_rests_until: Mutex::default(),
            runtime,
        };
        let mut is_there = timeout(START_PATIENCE, shared.wait_until_there()).await.is_ok();
        if !is_there && shared.link.has_answered() {
            is_there = timeout(GATHERING_PATIENCE, shared.wait_until_there()).await.is_ok();
        }
        if !is_there {
            tracing::warn!("Redis is not there yet; limits are held without it until it is");
        }
        Ok(shared)
    }

    pub(in super::super) fn try_reserve(
        &self,
        call: CallId,
        levels: &[impl Borrow<Level>],
        amounts: Amounts,
    ) -> Option<Result<Hold, Refused>> {
        let limited = limited(levels);
        if limited.is_empty() {
            return Some(Ok(Hold::new(Taken::Nothing, Room::default(), Vec::new())));
        }
        if !self.link.is_away() {
            return None;
        }
        match self.unreachable {
            Unreachable::Deny => Some(Err(unavailable())),
            Unreachable::Local if self.knows_all(&limited) => {
                Some(self.outages.reserve(&self.link, call, &limited, amounts))
            }
            Unreachable::Local => None,
        }
    }

    pub(in super::super) async fn reserve(
        self: &Arc<Self>,
        call: CallId,
        levels: &[impl Borrow<Level>],
        amounts: Amounts,
    ) -> Result<Hold, Refused> {
        if let Some(answer) = self.try_reserve(call, levels, amounts) {
            return answer;
        }
        let limited = limited(levels);
        let held = Arc::new(Held::new(&limited, amounts.cost));
        let ask = |seeds: &[Filling]| question::reserve(call, &limited, amounts, seeds);
        match self.ask(&About::Room(call, held.clone()), &limited, amounts, ask).await {
            Some(Answer::Taken(taken)) => {
                self.outages.remember(&taken);
                let room = answer::room(&taken);
                let crossed = taken.into_iter().flat_map(|level| level.crossed).collect();
                let hold = SharedHold { shared: self.clone(), call, held };
                Ok(Hold::new(Taken::Shared(hold), room, crossed))
            }
            Some(Answer::Refused(refused)) => Err(refused),
            Some(Answer::Fill(_)) | None => self.reserve_without(call, &limited, amounts).await,
        }
    }

    pub(in super::super) async fn usage(
        &self,
        levels: &[impl Borrow<Level>],
    ) -> Result<Vec<LevelUsage>, Refused> {
        let limited = limited(levels);
        let nothing =
            |level: &Level| LevelUsage { scope: level.scope.clone(), usage: LimitsUsage::default() };
        if limited.is_empty() {
            return Ok(levels.iter().map(|level| nothing(level.borrow())).collect());
        }
        let ask = |seeds: &[Filling]| question::look(&limited, seeds);
        match self.ask(&About::Usage, &limited, Amounts::default(), ask).await {
            Some(Answer::Taken(found)) => {
                self.outages.remember(&found);
                let find = |level: &Level| found.iter().find(|found| found.usage.scope == level.scope);
                let usage =
                    |level: &Level| find(level).map_or_else(|| nothing(level), |found| found.usage.clone());
                Ok(levels.iter().map(|level| usage(level.borrow())).collect())
            }
            Some(Answer::Refused(refused)) => Err(refused),
            Some(Answer::Fill(_)) | None => Err(unavailable()),
        }
    }

    /// Settles what calls of an earlier process of this replica have left behind.
    pub(in super::super) async fn recover<Settled, Answer>(&self, settled: Settled)
    where
        Settled: Fn(Vec<CallId>) -> Answer,
        Answer: Future<Output = HashMap<CallId, Amounts>>,
    {
        for _ in 0..RECOVERY_ROUNDS {
            self.wait_until_there().await;
            let Reply::Words(words) = self.send(About::LeftOver, question::list()).await else { continue };
            let calls: Vec<CallId> = words.iter().filter_map(|word| word.parse().ok()).collect();
            if calls.is_empty() {
                break;
            }
            tracing::info!(calls = calls.len(), "calls of an earlier run are settled");
            let amounts = settled(calls.clone()).await;
            for call in calls {
                let actual = amounts.get(&call).copied();
                self.link.settle(Settle { actual, ..Settle::release(call) });
            }
            self.flush().await;
        }
        self.link.set_recovered();
    }

    /// Waits, a little, until Redis knows of every call that has ended.
    pub(in super::super) async fn flush(&self) {
        let flushed = async {
            while !self.link.owes_nothing() {
                self.send(About::Nothing, String::new()).await;
                sleep(LOOK_EVERY).await;
            }
            self.send(About::Nothing, String::new()).await;
        };
        if timeout(START_PATIENCE, flushed).await.is_err() {
            tracing::warn!("Redis could not be told of all calls that have ended");
        }
    }

    /// Asks about levels; and again with what they have spent, when Redis does not know. `None`: it cannot be reached.
    async fn ask(
        &self,
        about: &About,
        levels: &Limited<'_>,
        amounts: Amounts,
        text: impl Fn(&[Filling]) -> String,
    ) -> Option<Answer> {
        let mut tries_left = FILL_TRIES;
        loop {
            let told_before = self.told.load(Ordering::Relaxed);
            let answer = self.ask_once(about, levels, amounts, text(&[])).await?;
            let Answer::Fill(places) = answer else { return Some(answer) };
            let turn = timeout(TURN_PATIENCE, self.ledger_questions.acquire()).await;
            let _turn = turn.ok()?.ok()?;
            // While this one waited for its turn, another may have told Redis about the same level.
            tries_left -= 1;
            if tries_left > 0 && self.told.load(Ordering::Relaxed) != told_before {
                continue;
            }
            let scopes =
                places.iter().filter_map(|place| levels.get(*place)).map(|level| level.scope.clone());
            let asked_at = self.link.now();
            let spending = self.spending(scopes.collect(), SPENDING_PATIENCE).await?;
            let fill = |(place, spending)| Filling { place, spending, asked_at };
            let seeds: Vec<_> = places.into_iter().zip(spending).map(fill).collect();
            let answer = self.ask_once(about, levels, amounts, text(&seeds)).await;
            self.told.fetch_add(1, Ordering::Relaxed);
            return answer;
        }
    }

    async fn ask_once(
        &self,
        about: &About,
        levels: &Limited<'_>,
        amounts: Amounts,
        text: String,
    ) -> Option<Answer> {
        match self.send(about.clone(), text).await {
            Reply::Words(words) => answer::read(&words, levels, amounts.cost),
            Reply::Away => None,
        }
    }

    async fn send(&self, about: About, text: String) -> Reply {
        let (answer, reply) = oneshot::channel();
        if self.jobs.try_send(Job { about, text, answer }).is_err() {
            return Reply::Away;
        }
        match timeout(ANSWER_PATIENCE, reply).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => Reply::Away,
            Err(_) => {
                tracing::debug!("a question about limits was not answered in time");
                Reply::Away
            }
        }
    }

    async fn reserve_without(
        &self,
        call: CallId,
        levels: &Limited<'_>,
        amounts: Amounts,
    ) -> Result<Hold, Refused> {
        if self.unreachable == Unreachable::Deny {
            return Err(unavailable());
        }
        let unknown = levels.iter().filter(|level| !self.outages.knows(&self.link, level));
        let unknown: Vec<Scope> = unknown.map(|level| level.scope.clone()).collect();
        if !unknown.is_empty() {
            let spending = self.spending(unknown.clone(), self.patience).await;
            for (place, scope) in unknown.iter().enumerate() {
                let spent = spending.as_ref().and_then(|all| all.get(place));
                self.outages.learn(&self.link, scope, spent);
            }
        }
        self.outages.reserve(&self.link, call, levels, amounts)
    }

    fn knows_all(&self, levels: &Limited<'_>) -> bool {
        self.source.is_none() || levels.iter().all(|level| self.outages.knows(&self.link, level))
    }

    /// What levels have spent, as the ledger knows; `None`, when it cannot say.
    async fn spending(&self, scopes: Vec<Scope>, patience: Duration) -> Option<Vec<Spending>> {
        let Some(source) = &self.source else {
            return Some(vec![Spending::default(); scopes.len()]);
        };
        if self.ledger_rest().is_some_and(|until| Instant::now() < until) {
            return None;
        }
        match timeout(patience, self.runtime.spawn(source.spending(scopes))).await {
            Ok(Ok(Ok(spending))) => return Some(spending),
            Ok(Ok(Err(error))) => {
                tracing::warn!(error = %error, "what was spent could not be read from the ledger");
            }
            Ok(Err(error)) => {
                tracing::error!(error = %error, "reading what was spent ended abruptly");
            }
            Err(_) => {
                tracing::warn!("what was spent could not be read from the ledger in time");
            }
        }
        *self.ledger_rest() = Some(Instant::now() + LEDGER_REST);
        None
    }

    fn ledger_rest(&self) -> MutexGuard<'_, Option<Instant>> {
        self.ledger_rests_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait_until_there(&self) {
        while self.link.is_away() {
            sleep(LOOK_EVERY).await;
        }
    }
}

/// Organisations, teams and keys without limits cost no round trip: when they get a budget, the ledger knows what they
/// have spent.
fn limited(levels: &[impl Borrow<Level>]) -> Limited<'_> {
    let mut limited = Limited::new();
    for level in levels.iter().map(Borrow::borrow).filter(|level| !level.limits.is_empty()) {
        if limited.iter().all(|other| other.scope != level.scope) {
            limited.push(level);
        }
    }
    limited
}

fn unavailable() -> Refused {
    Refused::Unavailable {
        reason: "the shared counters in Redis cannot be reached".to_owned(),
        retry_after: RETRY_AFTER,
    }
}

/// Room taken in Redis.
pub(in super::super) struct SharedHold {
    shared: Arc<Shared>,
    call: CallId,
    held: Arc<Held>,
}

impl SharedHold {
    pub(in super::super) fn end(self, actual: Option<Amounts>) {
        let Self { shared, call, held } = self;
        shared.link.note_spent(&held, actual.map_or(NanoDollars::ZERO, |actual| actual.cost));
        let ended = shared.link.now();
        shared.link.settle(Settle { call, actual, is_first: true, held: Some(held), ended });
    }
}

impl fmt::Debug for SharedHold {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SharedHold").field("call", &self.call).finish_non_exhaustive()
    }
}
