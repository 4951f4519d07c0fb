//! The keys of one issuer: kept, renewed, fetched when a token names one that is not there. Called by `verify`.
//!
//! There is no task that runs for ever: whoever needs keys that are not there starts a fetch and waits for it with all others; whoever finds
//! them old starts one and does not wait. A fetch runs as a task of its own, so that a caller who hangs up does not end it for the others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidegate_config::{JwtAlgorithm, JwtIssuer};
use tokio::sync::watch;

use super::fetch::{self, Address};
use super::keys::{Candidates, KeySet};
use super::refused::JwtRefused;

/// How often keys are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JwtTiming {
    /// Keys older than this are renewed.
    pub renew_after: Duration,
    /// The least time between two fetches from one issuer, whatever tokens name.
    pub least_pause: Duration,
    /// How long a fetch may take, and so how long a caller may have to wait for one.
    pub fetch_within: Duration,
}

impl Default for JwtTiming {
    fn default() -> Self {
        Self {
            renew_after: Duration::from_secs(600),
            least_pause: Duration::from_secs(10),
            fetch_within: Duration::from_secs(5),
        }
    }
}

/// The keys of one issuer and where they come from.
#[derive(Debug)]
pub(super) struct KeySource {
    address: Address,
    timing: JwtTiming,
    state: Mutex<State>,
    /// Of the keys in `state`; 0 before the first. Beside it, so that a token known to be good takes no lock.
    generation: AtomicU64,
    /// Counts the fetches that have ended, however they did.
    ended: watch::Sender<u64>,
    started: Instant,
    /// When the keys have to be renewed, in milliseconds since `started`.
    due: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    keys: Option<Arc<KeySet>>,
    /// The text of which `keys` were made.
    published: Vec<u8>,
    /// When the last fetch was started.
    tried: Option<Instant>,
    is_fetching: bool,
    /// Whether the last fetch that ended failed.
    has_failed: bool,
}

/// What to do when no key fits.
enum Next {
    Wait(watch::Receiver<u64>),
    GiveUp(JwtRefused),
}

impl KeySource {
    pub(super) fn new(issuer: &JwtIssuer, timing: JwtTiming) -> Self {
        Self {
            address: Address::of(issuer),
            timing,
            state: Mutex::default(),
            generation: AtomicU64::new(0),
            ended: watch::Sender::new(0),
            started: Instant::now(),
            due: AtomicU64::new(u64::MAX),
        }
    }

    /// Changes whenever the keys do.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Starts a fetch, without waiting for it, when the keys are old.
    pub(super) fn refresh_if_old(self: &Arc<Self>) {
        if self.elapsed_ms() >= self.due.load(Ordering::Relaxed) {
            let mut state = self.lock();
            self.start_if_allowed(&mut state);
        }
    }

    /// The keys that such a token may be signed with. Waits for a fetch where there is none.
    pub(super) async fn keys_for(
        self: &Arc<Self>,
        id: Option<&str>,
        algorithm: JwtAlgorithm,
        issuer: &str,
    ) -> Result<Candidates, JwtRefused> {
        self.refresh_if_old();
        let mut has_waited = false;
        loop {
            let mut ended = match self.find_or_start(id, algorithm, has_waited) {
                Ok(candidates) => return Ok(candidates),
                Err(Next::GiveUp(refused)) => return Err(refused),
                Err(Next::Wait(ended)) => ended,
            };
            // The fetch has a limit of its own; this one is for a task that never gets to run.
            let limit = self.timing.fetch_within.saturating_add(Duration::from_secs(1));
            if tokio::time::timeout(limit, ended.changed()).await.is_err() {
                tracing::warn!(issuer, "fetching an issuer's keys took longer than it may");
                return Err(JwtRefused::KeysUnavailable);
            }
            has_waited = true;
        }
    }

    fn find_or_start(
        self: &Arc<Self>,
        id: Option<&str>,
        algorithm: JwtAlgorithm,
        has_waited: bool,
    ) -> Result<Candidates, Next> {
        let mut state = self.lock();
        if let Some(set) = &state.keys {
            let keys = set.candidates(id, algorithm);
            if !keys.is_empty() {
                return Ok(Candidates { generation: self.generation(), keys });
            }
        }
        // Subscribed under the lock: a fetch cannot end between here and the waiting without being noticed.
        let ended = self.ended.subscribe();
        if !has_waited && (state.is_fetching || self.start_if_allowed(&mut state)) {
            return Err(Next::Wait(ended));
        }
        let cannot_tell = state.keys.is_none() || state.has_failed;
        Err(Next::GiveUp(if cannot_tell { JwtRefused::KeysUnavailable } else { JwtRefused::UnknownKey }))
    }

    /// Starts a fetch unless one is under way or was a moment ago.
    fn start_if_allowed(self: &Arc<Self>, state: &mut MutexGuard<'_, State>) -> bool {
        let is_too_soon = state.tried.is_some_and(|tried| tried.elapsed() < self.timing.least_pause);
        if state.is_fetching || is_too_soon {
            return false;
        }
        state.tried = Some(Instant::now());
        state.is_fetching = true;
        let fetching = Fetching { source: Arc::clone(self), published: None };
        tokio::spawn(fetching.run());
        true
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fetch under way. Dropping it ends it, with whatever it has, so that nobody waits for a task that was stopped.
struct Fetching {
    source: Arc<KeySource>,
    published: Option<(KeySet, Vec<u8>)>,
}

impl Fetching {
    async fn run(mut self) {
        let limit = self.source.timing.fetch_within;
        let issuer = &self.source.address.issuer;
        match tokio::time::timeout(limit, fetch::published_keys(&self.source.address)).await {
            Ok(Ok(published)) => self.published = Some(published),
            Ok(Err(error)) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(issuer, error, "the keys of an issuer of tokens could not be fetched");
            }
            Err(_elapsed) => {
                tracing::warn!(issuer, ?limit, "the keys of an issuer of tokens did not come in time");
            }
        }
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        let source = &self.source;
        let mut state = source.lock();
        state.is_fetching = false;
        state.has_failed = self.published.is_none();
        if let Some((keys, published)) = self.published.take() {
            let renew_ms = u64::try_from(source.timing.renew_after.as_millis()).unwrap_or(u64::MAX);
            source.due.store(source.elapsed_ms().saturating_add(renew_ms), Ordering::Relaxed);
            if state.published != published {
                state.keys = Some(Arc::new(keys));
                state.published = published;
                source.generation.fetch_add(1, Ordering::AcqRel);
            }
        }
        source.ended.send_modify(|ended| *ended = ended.wrapping_add(1));
    }
}
