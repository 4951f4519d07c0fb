//! What the courier says to Redis, and what it makes of the answers.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use fred::error::{Error, ErrorKind};
use uuid::Uuid;

use super::connection::Connection;
use super::held::Held;
use super::link::{About, Job, Link, Reply, Settle};
use super::on_time::on_time;
use super::options::{SharedOptions, Unreachable};
use super::question;
use super::unwritten::Unwritten;
use crate::CallId;

/// Ended calls that travel together.
const SETTLES: usize = 256;

/// Amounts spent during an outage that travel together.
const ADDED_AT_A_TIME: usize = 512;

/// Each so many signs of life it is checked that Redis holds nothing for calls that are over.
const BEATS_PER_CHECK: u64 = 120;

/// A replica that was not heard of for so long has no share in limits any more.
const UNCOUNTED_AFTER: Duration = Duration::from_secs(30);

/// How long an answer is waited for that no call waits for.
pub(super) const PROBE_PATIENCE: Duration = Duration::from_millis(250);

/// With so few calls under way nothing but Redis itself can be slow, and it is waited for less long: for this part of the
/// patience. With many calls the machine may be the slow one, and to take that for an outage would hold limits less exactly.
/// Where calls are refused without Redis nothing is held less exactly, so nobody waits longer.
const QUIET_CALLS: usize = 8;
const QUIET_PART: u32 = 5;

/// What begins the errors of a Redis that takes nothing at the moment: it has no memory left, follows another, may not be
/// written to by this user, cannot save, is loading. What it was to be told is kept for as long as that lasts.
const PASSING: [&str; 13] = [
    "OOM",
    "READONLY",
    "NOPERM",
    "NOAUTH",
    "MISCONF",
    "NOREPLICAS",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "LOADING",
    "BUSY",
    "read only replica",
    "The user executing the script",
];

/// So many times in a row is said what fails for any other reason. Something in Redis that is none of the limiter's own must not
/// keep it away for ever.
const MOST_TRIES: u32 = 20;

/// Why a command did nothing, or nobody knows whether it did.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// Redis does not answer, or refuses.
    #[error(transparent)]
    Redis(Error),
    /// Redis has lost what it knew since this replica came in, and did nothing.
    #[error("Redis has lost what it knew")]
    Emptied,
}

/// The commands of one replica, one after the other.
pub(super) struct Dispatch {
    connection: Connection,
    pub(super) link: Arc<Link>,
    pub(super) replica: String,
    patience: Duration,
    dead_after: Duration,
    unreachable: Unreachable,
    /// The era that this replica has come into; empty before the first.
    pub(super) era: String,
    /// Calls that Redis may have a hold of.
    pub(super) outstanding: HashMap<CallId, Arc<Held>>,
    /// Those of them that it has to be told of.
    pub(super) to_bring: Vec<(CallId, Arc<Held>)>,
    /// An addition that Redis may have heard of; said again until it is acknowledged.
    pub(super) addition: Option<String>,
    pub(super) unwritten: Unwritten,
    /// Whether Redis is told what the ledger may lack: since it was empty, until the ledger has that.
    pub(super) is_telling: bool,
    /// Whether it was ever heard how many replicas there are.
    pub(super) has_counted: bool,
    /// Commands in a row of which a part failed that was to be kept.
    failures: u32,
    beats: u64,
}

impl Dispatch {
    pub(super) fn new(connection: Connection, link: Arc<Link>, options: &SharedOptions) -> Self {
        Self {
            connection,
            link,
            replica: options.replica.clone(),
            patience: options.patience,
            dead_after: options.dead_after,
            unreachable: options.unreachable,
            era: String::new(),
            outstanding: HashMap::new(),
            to_bring: Vec::new(),
            addition: None,
            unwritten: Unwritten::new(options.ledger.clone()),
            is_telling: false,
            has_counted: false,
            failures: 0,
            beats: 0,
        }
    }

    pub(super) async fn close(&self) {
        self.connection.close().await;
    }

    /// Why the connection cannot be made, where it cannot.
    pub(super) fn problem(&self) -> Option<Error> {
        self.connection.problem()
    }

    /// Sends everything in one command and gives each the answer to its question. Jobs that are left over were not heard,
    /// because Redis has lost what it knew.
    pub(super) async fn exchange(&mut self, jobs: &mut Vec<Job>, is_beat: bool) -> Result<(), Failed> {
        if is_beat {
            self.look_at_ledger();
            self.bring().await?;
        }
        self.prepare_addition();
        // What is added to a level that is not there is lost, unless it is told before.
        if self.addition.is_some() || is_beat && self.is_telling {
            self.tell().await?;
        }
        let settles = self.link.take_settles(SETTLES);
        let mut texts: Vec<String> = settles.iter().map(question::settle).collect();
        texts.extend(self.addition.clone());
        let is_check = is_beat && self.is_time_to_check();
        if is_beat {
            texts.push(self.beat());
        }
        if is_check {
            texts.push(question::list());
        }
        texts.extend(jobs.iter().filter(|job| !job.text.is_empty()).map(|job| job.text.clone()));
        if texts.is_empty() {
            for job in jobs.drain(..) {
                reply(job, Reply::Words(Vec::new()));
            }
            return Ok(());
        }
        for job in &*jobs {
            if let About::Room(call, held) = &job.about {
                self.outstanding.insert(*call, held.clone());
            }
        }
        let is_quiet = jobs.len().max(self.outstanding.len()) <= QUIET_CALLS;
        let answer = self.run(&texts, self.patience);
        let answer = if is_quiet || self.unreachable == Unreachable::Deny {
            on_time(self.patience / QUIET_PART, answer).await.unwrap_or_else(|| {
                Err(Failed::Redis(Error::new(ErrorKind::Timeout, "there was no answer in time")))
            })
        } else {
            answer.await
        };
        match answer {
            Ok(answers) => self.hear(settles, mem::take(jobs), is_beat, is_check, answers),
            Err(Failed::Redis(error)) => {
                self.unheard(settles, mem::take(jobs));
                Err(Failed::Redis(error))
            }
            Err(Failed::Emptied) => {
                for job in &*jobs {
                    if let About::Room(call, _) = &job.about {
                        self.outstanding.remove(call);
                    }
                }
                self.link.settle_again(settles);
                Err(Failed::Emptied)
            }
        }
    }

    /// Runs these operations; one answer for each.
    pub(super) async fn run(&self, texts: &[String], patience: Duration) -> Result<Vec<Vec<String>>, Failed> {
        self.run_in(&self.era, texts, patience).await
    }

    /// The same for this era.
    pub(super) async fn run_in(
        &self,
        era: &str,
        texts: &[String],
        patience: Duration,
    ) -> Result<Vec<Vec<String>>, Failed> {
        let text = question::join(&self.replica, era, texts.iter().map(String::as_str));
        let answers = self.connection.run(&text, patience).await.map_err(Failed::Redis)?;
        if answers.first().and_then(|words| words.first()).is_some_and(|word| word == "lost") {
            return Err(Failed::Emptied);
        }
        if answers.len() != texts.len() {
            return Err(Failed::Redis(Error::new(ErrorKind::Protocol, "the script gave too few answers")));
        }
        Ok(answers)
    }

    /// Runs one operation that has to succeed.
    pub(super) async fn run_done(&mut self, text: String) -> Result<(), Failed> {
        let answers = self.run(&[text], self.patience.max(PROBE_PATIENCE)).await?;
        match answers.first().and_then(|words| failure(Some(words))) {
            Some(reason) if self.is_kept(reason) => Err(refuses(reason)),
            Some(reason) => {
                tracing::error!(reason, "Redis could not be told what calls hold or have spent");
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Whether what failed for this reason is said again.
    fn is_kept(&mut self, reason: &str) -> bool {
        if is_passing(reason) {
            return true;
        }
        self.failures += 1;
        self.failures < MOST_TRIES
    }

    /// Whether there is something left that Redis has to hear.
    pub(super) fn owes(&self) -> bool {
        self.addition.is_some() || !self.link.owes_nothing()
    }

    /// Nobody knows how much of it Redis has heard, so all of it is said again; saying it twice does no harm. Of calls
    /// that were to be admitted nobody waits any more, so what they may have taken is given back.
    fn unheard(&mut self, mut settles: Vec<Settle>, jobs: Vec<Job>) {
        for settle in &mut settles {
            settle.is_first = false;
        }
        for job in jobs {
            if let About::Room(call, _) = &job.about {
                settles.push(Settle::release(*call));
            }
            reply(job, Reply::Away);
        }
        self.link.settle_again(settles);
    }

    /// An error when Redis refuses something that has to be said again: then it is as good as away.
    fn hear(
        &mut self,
        settles: Vec<Settle>,
        jobs: Vec<Job>,
        is_beat: bool,
        is_check: bool,
        answers: Vec<Vec<String>>,
    ) -> Result<(), Failed> {
        let mut answers = answers.into_iter();
        let mut refused = None;
        let mut again = Vec::new();
        let failures = self.failures;
        for settle in settles {
            let answer = answers.next();
            match failure(answer.as_deref()) {
                Some(reason) if self.is_kept(reason) => {
                    refused = Some(reason.to_owned());
                    again.push(settle);
                    continue;
                }
                Some(reason) => {
                    tracing::error!(call = %settle.call, reason, "Redis could not settle a call; what it holds is released later");
                }
                None => {}
            }
            self.outstanding.remove(&settle.call);
        }
        self.link.settle_again(again);
        if self.addition.is_some() {
            let answer = answers.next();
            match failure(answer.as_deref()) {
                Some(reason) if self.is_kept(reason) => refused = Some(reason.to_owned()),
                Some(reason) => {
                    tracing::error!(reason, "Redis could not add what was spent while it was away");
                    self.addition = None;
                }
                None => self.addition = None,
            }
        }
        // Counted once for a command, however much of it failed.
        self.failures = if refused.is_some() { self.failures.min(failures + 1) } else { 0 };
        if is_beat {
            self.hear_beat(answers.next().as_ref());
        }
        if is_check {
            self.check(answers.next());
        }
        for job in jobs {
            if job.text.is_empty() {
                reply(job, Reply::Words(Vec::new()));
                continue;
            }
            let words = answers.next().unwrap_or_default();
            if let Some(reason) = failure(Some(&words)).filter(|reason| is_passing(reason)) {
                refused = Some(reason.to_owned());
            }
            self.hear_job(job, words);
        }
        refused.map_or(Ok(()), |reason| Err(refuses(&reason)))
    }

    fn hear_job(&mut self, job: Job, mut words: Vec<String>) {
        if let Some(reason) = failure(Some(&words)) {
            if !is_passing(reason) {
                tracing::error!(reason, "Redis could not answer a question about limits");
            }
            if let About::Room(call, _) = &job.about {
                self.link.settle(Settle::release(*call));
            }
            return reply(job, Reply::Away);
        }
        match &job.about {
            About::Room(call, _) => {
                let call = *call;
                let is_taken = words.first().is_some_and(|word| word == "taken");
                if !is_taken {
                    self.outstanding.remove(&call);
                }
                if job.answer.send(Reply::Words(words)).is_err() && is_taken {
                    // Whoever asked has given up meanwhile.
                    self.link.settle(Settle::release(call));
                }
            }
            About::LeftOver => {
                let is_left = |call| !self.outstanding.contains_key(&call);
                words.retain(|word| word.parse().is_ok_and(is_left));
                reply(job, Reply::Words(words));
            }
            About::Usage | About::Nothing => reply(job, Reply::Words(words)),
        }
    }

    /// Releases what Redis holds for calls that this process knows nothing of: questions that it answered after nobody
    /// waited any more, over a connection that was given up.
    fn check(&self, calls: Option<Vec<String>>) {
        let calls = calls.into_iter().flatten().filter_map(|word| word.parse::<CallId>().ok());
        for call in calls.filter(|call| !self.outstanding.contains_key(call)) {
            self.link.settle(Settle::release(call));
        }
    }

    fn is_time_to_check(&mut self) -> bool {
        self.beats += 1;
        self.beats.is_multiple_of(BEATS_PER_CHECK) && self.link.is_recovered()
    }

    pub(super) fn beat(&self) -> String {
        question::beat(&self.replica, UNCOUNTED_AFTER.as_secs(), self.dead_after.as_secs())
    }

    pub(super) fn hear_beat(&mut self, words: Option<&Vec<String>>) {
        let Some(words) = words else { return };
        if let Some(replicas) = words.get(1).and_then(|word| word.parse().ok()) {
            self.has_counted = true;
            if self.link.set_replicas(replicas) {
                tracing::info!(replicas, "so many replicas count their limits together");
            }
        }
        if let Some(now) = words.get(3).and_then(|word| word.parse().ok()) {
            self.link.set_now(now);
        }
        if let Some(released) = words.get(2).filter(|word| *word != "0") {
            tracing::warn!(released, "what calls of a vanished replica held was released");
        }
    }

    fn prepare_addition(&mut self) {
        if self.addition.is_some() {
            return;
        }
        let owed = self.link.take_owed(ADDED_AT_A_TIME);
        if owed.is_empty() {
            return;
        }
        self.addition = Some(question::add(&Uuid::now_v7().to_string(), owed));
    }
}

/// Why an operation failed, if it did.
fn failure(words: Option<&[String]>) -> Option<&str> {
    match words {
        None | Some([]) => Some("there is no answer"),
        Some([first, rest @ ..]) if first == "failed" => Some(rest.first().map_or("", String::as_str)),
        Some(_) => None,
    }
}

/// Whether Redis may take tomorrow what it does not take now. The code stands first, or behind the place in the script.
fn is_passing(reason: &str) -> bool {
    PASSING.iter().any(|words| reason.contains(words))
}

fn refuses(reason: &str) -> Failed {
    Failed::Redis(Error::new(ErrorKind::Unknown, reason.to_owned()))
}

/// Whoever asked may have given up.
pub(super) fn reply(job: Job, words: Reply) {
    drop(job.answer.send(words));
}
