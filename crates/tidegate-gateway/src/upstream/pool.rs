//! Connections that wait for their next call. Filled by `http1` when an answer has been read to its end, emptied by
//! `client`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::http1::Connection;

/// Idle connections kept per endpoint and worker; a burst beyond it pays for new ones.
const MAX_IDLE_PER_ENDPOINT: usize = 256;

/// Idle connections kept per worker, over all endpoints.
const MAX_IDLE: usize = 1024;

/// Servers close idle connections too, often after a minute; closing first spares calls that meet a closing one.
const IDLE_LIFETIME: Duration = Duration::from_secs(45);

/// How often connections whose time is over are closed.
const SWEEP_EVERY: Duration = Duration::from_secs(15);

/// The idle connections of one worker. Cheap to clone; the lock is never contended, since one thread uses it.
#[derive(Clone, Default)]
pub(super) struct Pool {
    shared: Arc<Mutex<Idle>>,
}

#[derive(Default)]
struct Idle {
    by_endpoint: HashMap<Arc<str>, VecDeque<Waiting>>,
    total: usize,
    swept: bool,
}

struct Waiting {
    since: Instant,
    connection: Connection,
}

impl Pool {
    /// The connection that was used last, which is the likeliest to be still open. Those found closed are dropped.
    pub(super) fn take(&self, key: &str) -> Option<Connection> {
        let mut idle = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = &mut *idle;
        let waiting = idle.by_endpoint.get_mut(key)?;
        while let Some(Waiting { since, mut connection }) = waiting.pop_back() {
            idle.total = idle.total.saturating_sub(1);
            if since.elapsed() < IDLE_LIFETIME && connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection for the next call; the oldest one makes room where the limit is reached.
    pub(super) fn put(&self, key: &Arc<str>, connection: Connection) {
        let mut idle = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if !idle.swept && tokio::runtime::Handle::try_current().is_ok() {
            idle.swept = true;
            tokio::spawn(sweep(Arc::downgrade(&self.shared)));
        }
        let idle = &mut *idle;
        if !idle.by_endpoint.contains_key(key) {
            idle.by_endpoint.insert(Arc::clone(key), VecDeque::new());
        }
        let Some(waiting) = idle.by_endpoint.get_mut(key) else { return };
        if waiting.len() >= MAX_IDLE_PER_ENDPOINT && waiting.pop_front().is_some() {
            idle.total = idle.total.saturating_sub(1);
        }
        if idle.total < MAX_IDLE {
            waiting.push_back(Waiting { since: Instant::now(), connection });
            idle.total += 1;
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).total
    }
}

/// Closes what has waited too long, for as long as the pool lives.
async fn sweep(shared: Weak<Mutex<Idle>>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let Some(shared) = shared.upgrade() else { return };
        let mut idle = shared.lock().unwrap_or_else(PoisonError::into_inner);
        for waiting in idle.by_endpoint.values_mut() {
            waiting.retain_mut(|waiting| {
                waiting.since.elapsed() < IDLE_LIFETIME && waiting.connection.is_quiet()
            });
        }
        // Endpoints come and go with the configuration.
        idle.by_endpoint.retain(|_, waiting| !waiting.is_empty());
        idle.total = idle.by_endpoint.values().map(VecDeque::len).sum();
    }
}
