//! The one task that speaks with Redis. It runs on the runtime that made the limiter; workers hand it their questions
//! through a bounded channel and get their answers through one each.
//!
//! One command is on its way at a time, with everything that has gathered meanwhile: under load that makes large batches
//! of themselves, and what is settled always arrives before what is asked after it. What commands say is
//! [`Dispatch`]'s.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fred::error::{Error, ErrorKind};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};

use super::connection::Connection;
use super::dispatch::{Dispatch, Failed, reply};
use super::link::{Job, Link, Reply};
use super::options::SharedOptions;

/// Questions that travel together. A script of so many takes Redis a few milliseconds.
const BATCH: usize = 128;

/// How long an ended call waits for a question to travel with.
const SETTLE_DELAY: Duration = Duration::from_millis(5);

/// How often a replica says that it lives, and hears how many others do: when Redis goes away, each must know its share. So
/// long it takes, too, until a replica without calls notices that Redis has lost what it knew, and others wait for it.
const BEAT_EVERY: Duration = Duration::from_millis(500);

/// How often is looked whether Redis is back.
const PROBE_EVERY: Duration = Duration::from_millis(50);

/// How often is asked whether all replicas have come into an era.
const JOIN_EVERY: Duration = Duration::from_millis(25);

/// How long calls wait for a Redis that has lost what it knew; a little longer than the script lets replicas gather. After that
/// it counts as away.
const JOIN_PATIENCE: Duration = Duration::from_millis(2_500);

pub(super) struct Courier {
    jobs: mpsc::Receiver<Job>,
    link: Arc<Link>,
    dispatch: Dispatch,
    /// Questions that Redis did not hear because it had lost what it knew.
    postponed: Vec<Job>,
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
        options: &SharedOptions,
    ) -> Self {
        let dispatch = Dispatch::new(connection, link.clone(), options);
        Self { jobs, link, dispatch, postponed: Vec::new() }
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
            for job in mem::take(&mut self.postponed) {
                reply(job, Reply::Away);
            }
        }
        self.dispatch.close().await;
    }

    /// Answers that Redis is away until it is back and knows all that happened meanwhile. False: nobody asks any more.
    async fn wait_until_back(&mut self) -> bool {
        let mut told = String::new();
        loop {
            let Some(answer) = self.come_in_without_calls().await else { return false };
            match answer {
                Ok(true) => {
                    self.link.set_away(false);
                    return true;
                }
                Ok(false) => tracing::debug!("Redis is back; other replicas say what their calls hold"),
                Err(failed) => self.tell_why(&failed, &mut told),
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
    fn tell_why(&self, error: &Failed, told: &mut String) {
        let Some(problem) = self.dispatch.problem() else {
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

    /// One step into the era, while calls go on without Redis. `None`: nobody asks any more.
    async fn come_in_without_calls(&mut self) -> Option<Result<bool, Failed>> {
        let Self { jobs, dispatch, .. } = self;
        let step = dispatch.come_in();
        tokio::pin!(step);
        loop {
            tokio::select! {
                answer = &mut step => return Some(answer),
                job = jobs.recv() => reply(job?, Reply::Away),
            }
        }
    }

    async fn serve(&mut self, beat: &mut Interval) -> Stopped {
        loop {
            let mut batch = mem::take(&mut self.postponed);
            let mut is_ended = false;
            let mut is_beat = false;
            if batch.is_empty() {
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
            }
            while batch.len() < BATCH
                && let Ok(job) = self.jobs.try_recv()
            {
                batch.push(job);
            }
            match self.dispatch.exchange(&mut batch, is_beat).await {
                Ok(()) => {}
                Err(Failed::Redis(error)) => return Stopped::Lost(error),
                Err(Failed::Emptied) => {
                    self.postponed = batch;
                    if let Err(error) = self.come_in_again().await {
                        return Stopped::Lost(error);
                    }
                }
            }
            if is_ended {
                return Stopped::Ended;
            }
        }
    }

    /// Calls wait meanwhile: nobody knows what others hold.
    async fn come_in_again(&mut self) -> Result<(), Error> {
        tracing::warn!(
            "Redis has lost what it knew; it is told what calls hold, and the rest is read from the ledger"
        );
        let deadline = Instant::now() + JOIN_PATIENCE;
        // Never cut short: what a command was to say would be lost with it.
        while Instant::now() < deadline {
            match self.dispatch.come_in().await {
                Ok(true) => return Ok(()),
                Ok(false) | Err(Failed::Emptied) => sleep(JOIN_EVERY).await,
                Err(Failed::Redis(error)) => return Err(error),
            }
        }
        Err(Error::new(ErrorKind::Timeout, "replicas have not come together in time"))
    }
}
