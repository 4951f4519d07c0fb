//! The one task that speaks with Redis. It runs on the runtime that made the limiter; workers hand it their questions
//! through a bounded channel and get their answers through one each.
//!
//! One command is on its way at a time, with everything that has gathered meanwhile: under load that makes large batches
//! of themselves, and what is settled always arrives before what is asked after it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use fred::error::Error;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};
use uuid::Uuid;

use super::connection::Connection;
use super::link::{About, Job, Link, Reply, Settle};
use super::question;
use crate::CallId;

/// Questions that travel together. A script of so many takes Redis a few milliseconds.
const BATCH: usize = 128;

/// Ended calls that travel together.
const SETTLES: usize = 256;

/// Amounts spent during an outage that travel together.
const ADDED_AT_A_TIME: usize = 512;

/// How long an ended call waits for a question to travel with.
const SETTLE_DELAY: Duration = Duration::from_millis(5);

/// How often a replica says that it lives, and hears how many others do: when Redis goes away, each must know its share.
const BEAT_EVERY: Duration = Duration::from_secs(1);

/// Each so many signs of life it is checked that Redis holds nothing for calls that are over.
const BEATS_PER_CHECK: u64 = 60;

/// A replica that was not heard of for so long has no share in limits any more.
const UNCOUNTED_AFTER: Duration = Duration::from_secs(30);

/// How long is waited to see whether Redis is back, and how often.
const PROBE_PATIENCE: Duration = Duration::from_millis(250);
/// With so few calls under way nothing but Redis itself can be slow.
const QUIET_CALLS: usize = 8;
/// How long Redis is waited for then. With many calls under way the machine may be the slow one, and to take that for an
/// outage would hold limits less exactly: then the longer patience counts.
const QUIET_PATIENCE: Duration = Duration::from_millis(50);
const PROBE_EVERY: Duration = Duration::from_millis(50);

pub(super) struct Courier {
    connection: Connection,
    jobs: mpsc::Receiver<Job>,
    link: Arc<Link>,
    replica: String,
    patience: Duration,
    dead_after: Duration,
    /// Calls that Redis may have a hold of.
    outstanding: HashSet<CallId>,
    /// An addition that Redis may have heard of; said again until it is acknowledged.
    addition: Option<String>,
    beats: u64,
}

/// Why the courier stops serving.
enum Stopped {
    /// Nobody can ask any more.
    Ended,
    /// Redis does not answer.
    Lost(Error),
}

impl Courier {
    pub(super) fn new(
        connection: Connection,
        jobs: mpsc::Receiver<Job>,
        link: Arc<Link>,
        replica: String,
        patience: Duration,
        dead_after: Duration,
    ) -> Self {
        let outstanding = HashSet::new();
        Self { connection, jobs, link, replica, patience, dead_after, outstanding, addition: None, beats: 0 }
    }

    pub(super) async fn run(mut self) {
        let mut beat = interval(BEAT_EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.wait_until_back().await {
            tracing::info!("limits and budgets are counted in Redis");
            match self.serve(&mut beat).await {
                Stopped::Ended => break,
                Stopped::Lost(error) => {
                    self.link.set_away(true);
                    tracing::warn!(error = %error, "Redis does not answer; limits are held without it until it does");
                }
            }
        }
        self.connection.close().await;
    }

    /// Answers that Redis is away until it is back and knows all that happened meanwhile. False: nobody asks any more.
    async fn wait_until_back(&mut self) -> bool {
        let mut told = String::new();
        loop {
            let Some(answer) = self.probe().await else { return false };
            match answer {
                Ok(answers) => {
                    self.hear_beat(answers.first());
                    if self.catch_up().await {
                        self.link.set_away(false);
                        return true;
                    }
                }
                Err(error) => self.tell_why(&error, &mut told),
            }
            let pause = sleep(PROBE_EVERY);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    job = self.jobs.recv() => match job {
                        Some(job) => reply(job, Reply::Away),
                        None => return false,
                    },
                }
            }
        }
    }

    /// Says once why the connection cannot be made: a wrong address or certificate mends itself never.
    fn tell_why(&self, error: &Error, told: &mut String) {
        let Some(problem) = self.connection.problem() else {
            tracing::debug!(error = %error, "Redis is still away");
            return;
        };
        let problem = problem.to_string();
        if problem == *told {
            return;
        }
        if problem.contains("Certificate") || problem.contains("certificate") {
            tracing::error!(
                error = problem,
                "the certificate of Redis is not trusted: name the file of who signed it in the URL, \
                 `?sslrootcert=/path/ca.pem`, and see that it is for the host in the URL"
            );
        } else {
            tracing::warn!(error = problem, "Redis cannot be reached; it is tried again and again");
        }
        *told = problem;
    }

    /// Says that this replica lives, and answers questions meanwhile. `None`: nobody asks any more.
    async fn probe(&mut self) -> Option<Result<Vec<Vec<String>>, Error>> {
        let beat = self.beat();
        let text = question::join(&self.replica, std::iter::once(&*beat));
        let probe = self.connection.run(&text, PROBE_PATIENCE);
        tokio::pin!(probe);
        loop {
            tokio::select! {
                answer = &mut probe => return Some(answer),
                job = self.jobs.recv() => reply(job?, Reply::Away),
            }
        }
    }

    /// Tells Redis what happened while it was away.
    async fn catch_up(&mut self) -> bool {
        while self.addition.is_some() || !self.link.owes_nothing() {
            if self.exchange(Vec::new(), false).await.is_err() {
                return false;
            }
        }
        true
    }

    async fn serve(&mut self, beat: &mut Interval) -> Stopped {
        loop {
            let mut batch = Vec::new();
            let mut is_ended = false;
            let mut is_beat = false;
            tokio::select! {
                job = self.jobs.recv() => match job {
                    Some(job) => batch.push(job),
                    None => is_ended = true,
                },
                () = self.link.wait_for_settles() => match timeout(SETTLE_DELAY, self.jobs.recv()).await {
                    Ok(Some(job)) => batch.push(job),
                    Ok(None) => is_ended = true,
                    Err(_) => {}
                },
                _ = beat.tick() => is_beat = true,
            }
            while batch.len() < BATCH
                && let Ok(job) = self.jobs.try_recv()
            {
                batch.push(job);
            }
            if let Err(error) = self.exchange(batch, is_beat).await {
                return Stopped::Lost(error);
            }
            if is_ended {
                return Stopped::Ended;
            }
        }
    }

    /// Sends everything in one command and gives each the answer to its question.
    async fn exchange(&mut self, jobs: Vec<Job>, is_beat: bool) -> Result<(), Error> {
        let settles = self.link.take_settles(SETTLES);
        self.prepare_addition();
        let mut texts: Vec<String> = settles.iter().map(question::settle).collect();
        texts.extend(self.addition.clone());
        let is_check = is_beat && self.is_time_to_check();
        if is_beat {
            texts.push(self.beat());
        }
        if is_check {
            texts.push(question::list());
        }
        for job in &jobs {
            if let About::Room(call) = job.about {
                self.outstanding.insert(call);
            }
        }
        texts.extend(jobs.iter().filter(|job| !job.text.is_empty()).map(|job| job.text.clone()));
        if texts.is_empty() {
            for job in jobs {
                reply(job, Reply::Words(Vec::new()));
            }
            return Ok(());
        }
        let text = question::join(&self.replica, texts.iter().map(String::as_str));
        let is_quiet = jobs.len().max(self.outstanding.len()) <= QUIET_CALLS;
        let patience = if is_quiet { self.patience.min(QUIET_PATIENCE) } else { self.patience };
        match self.connection.run(&text, patience).await {
            Ok(answers) if answers.len() == texts.len() => {
                self.hear(settles, jobs, is_beat, is_check, answers);
                Ok(())
            }
            Ok(_) => {
                self.unheard(settles, jobs);
                Err(Error::new(fred::error::ErrorKind::Protocol, "the script gave too few answers"))
            }
            Err(error) => {
                self.unheard(settles, jobs);
                Err(error)
            }
        }
    }

    /// Nobody knows how much of it Redis has heard, so all of it is said again; saying it twice does no harm. Of calls
    /// that were to be admitted nobody waits any more, so what they may have taken is given back.
    fn unheard(&mut self, mut settles: Vec<Settle>, jobs: Vec<Job>) {
        for settle in &mut settles {
            settle.is_first = false;
        }
        for job in jobs {
            if let About::Room(call) = job.about {
                settles.push(Settle::release(call));
            }
            reply(job, Reply::Away);
        }
        self.link.settle_again(settles);
    }

    fn hear(
        &mut self,
        settles: Vec<Settle>,
        jobs: Vec<Job>,
        is_beat: bool,
        is_check: bool,
        answers: Vec<Vec<String>>,
    ) {
        let mut answers = answers.into_iter();
        for settle in settles {
            self.outstanding.remove(&settle.call);
            if let Some(reason) = failure(answers.next().as_deref()) {
                tracing::error!(call = %settle.call, reason, "Redis could not settle a call; what it holds is released later");
            }
        }
        if self.addition.take().is_some()
            && let Some(reason) = failure(answers.next().as_deref())
        {
            tracing::error!(reason, "Redis could not add what was spent while it was away");
        }
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
            self.hear_job(job, words);
        }
    }

    fn hear_job(&mut self, job: Job, mut words: Vec<String>) {
        if let Some(reason) = failure(Some(&words)) {
            tracing::error!(reason, "Redis could not answer a question about limits");
            if let About::Room(call) = job.about {
                self.link.settle(Settle::release(call));
            }
            return reply(job, Reply::Away);
        }
        match job.about {
            About::Room(call) => {
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
                words.retain(|word| word.parse().is_ok_and(|call| !self.outstanding.contains(&call)));
                reply(job, Reply::Words(words));
            }
            About::Usage | About::Nothing => reply(job, Reply::Words(words)),
        }
    }

    /// Releases what Redis holds for calls that this process knows nothing of: questions that it answered after nobody
    /// waited any more, over a connection that was given up.
    fn check(&self, calls: Option<Vec<String>>) {
        let calls = calls.into_iter().flatten().filter_map(|word| word.parse::<CallId>().ok());
        for call in calls.filter(|call| !self.outstanding.contains(call)) {
            self.link.settle(Settle::release(call));
        }
    }

    fn is_time_to_check(&mut self) -> bool {
        self.beats += 1;
        self.beats.is_multiple_of(BEATS_PER_CHECK) && self.link.is_recovered()
    }

    fn beat(&self) -> String {
        question::beat(&self.replica, UNCOUNTED_AFTER.as_secs(), self.dead_after.as_secs())
    }

    fn hear_beat(&self, words: Option<&Vec<String>>) {
        let Some(words) = words else { return };
        if let Some(replicas) = words.get(1).and_then(|word| word.parse().ok())
            && self.link.set_replicas(replicas)
        {
            tracing::info!(replicas, "so many replicas count their limits together");
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

/// Whoever asked may have given up.
fn reply(job: Job, words: Reply) {
    drop(job.answer.send(words));
}
