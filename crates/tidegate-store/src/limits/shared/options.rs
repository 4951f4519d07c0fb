//! How counters are shared.

use std::sync::Arc;
use std::time::Duration;

use super::super::spending::{LedgerProgress, SpendingSource};

/// What takes longer is taken for an outage, in which limits hold less exactly; with few calls under way, a fifth of it is enough
/// (see the dispatch). A busy machine, or a fork of Redis, can take most of it without being one. When Redis goes away, calls
/// wait for it once; from then on none does.
const PATIENCE: Duration = Duration::from_millis(250);

/// Where the shared counters are, and what is done without them.
#[derive(Clone)]
pub struct SharedOptions {
    /// `redis://…`, `rediss://…` with TLS, `redis-cluster://…`, `redis-sentinel://…`. May hold a password. With
    /// `?sslrootcert=FILE` the certificates in that file are trusted in place of the machine's.
    pub url: String,
    /// What all keys begin with, so that several gateways can share one Redis.
    pub prefix: String,
    /// What happens while Redis cannot be reached.
    pub unreachable: Unreachable,
    /// What this replica is known by. Must be the same after a restart, and no other's.
    pub replica: String,
    /// Whom to ask for what a level has spent that Redis does not know. Without it levels begin at zero.
    pub source: Option<Arc<dyn SpendingSource>>,
    /// Whom to ask which calls the source does not count yet. Without it, it is taken to count all.
    pub ledger: Option<Arc<dyn LedgerProgress>>,
    /// How long Redis may take for an answer before it is taken to be away.
    pub patience: Duration,
    /// How long after its last sign of life a replica's calls in flight are taken for ended. The longer, the longer is
    /// their room lost; the shorter, the sooner does a replica that was only cut off lose the room of calls that go on.
    pub dead_after: Duration,
}

/// What happens to calls while Redis cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unreachable {
    /// Each replica goes on with its share of every limit.
    #[default]
    Local,
    /// Calls that have limits are refused.
    Deny,
}

impl SharedOptions {
    /// With the usual patience.
    pub fn new(url: impl Into<String>, replica: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            prefix: "tidegate".to_owned(),
            unreachable: Unreachable::default(),
            replica: replica.into(),
            source: None,
            ledger: None,
            patience: PATIENCE,
            dead_after: Duration::from_secs(600),
        }
    }
}

/// Why a limiter with shared counters cannot be made. That Redis is not there yet is no reason.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    /// The URL is none that can be used.
    #[error("the URL of the shared counters cannot be used; write redis://HOST:PORT")]
    Url(#[source] fred::error::Error),
    /// The prefix would put keys on several nodes of a cluster.
    #[error("`{0}` cannot be the prefix of the shared counters; use letters, digits and hyphens")]
    Prefix(String),
    /// The certificates to be trusted cannot be read.
    #[error("`sslrootcert={file}` in the URL of the shared counters cannot be used: {reason}")]
    Roots {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("TLS to the shared counters cannot be set up: {0}")]
    Tls(String),
    /// The limiter is made outside of a runtime.
    #[error("shared counters need a runtime")]
    Runtime(#[source] tokio::runtime::TryCurrentError),
}
