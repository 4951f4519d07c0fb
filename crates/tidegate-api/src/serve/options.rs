//! The limits of the server. Filled from the configuration by the binary.

use std::io;
use std::num::NonZero;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files that are needed for other things than calls: the store, logs, idle upstream connections.
const OPEN_FILES_KEPT_BACK: u64 = 128;

/// Even where the system sets no limit, a number of connections beyond this needs more machines, not more files.
const MOST_CONNECTIONS: u64 = 100_000;

/// With fewer than this, nothing would work at all.
const FEWEST_CONNECTIONS: u64 = 16;

/// How the server behaves.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Threads; at least one.
    pub workers: usize,
    /// How long calls in flight may go on after the shutdown has been asked for.
    pub drain: Duration,
    /// How long a connection may take for a request's head, idle time before it included. Clients keep connections
    /// for reuse, load balancers often for 60 seconds; a connection that trickles its head is closed after it.
    pub head_timeout: Duration,
    /// How long a caller may take nothing of its answer before its connection is broken. What the system keeps for it
    /// comes on top, so that it is a long pause indeed.
    pub stall_timeout: Duration,
    /// How long a caller is read on who was answered before its request had come whole, so that it can finish sending
    /// and finds the answer. Several megabytes take that long over a slow line.
    pub linger: Duration,
    /// Connections open at once; further ones wait unaccepted.
    pub max_connections: usize,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, NonZero::get),
            drain: Duration::from_secs(30),
            head_timeout: Duration::from_secs(75),
            stall_timeout: Duration::from_secs(120),
            linger: Duration::from_secs(30),
            max_connections: connections_that_fit(),
        }
    }
}

/// A call takes two files, the caller's connection and the provider's.
fn connections_that_fit() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let fit = files.saturating_sub(OPEN_FILES_KEPT_BACK) / 2;
    usize::try_from(fit.clamp(FEWEST_CONNECTIONS, MOST_CONNECTIONS)).unwrap_or(usize::MAX)
}

/// Lifts the limit on open files as far as the system allows. The usual 1,024 would end at some 400 calls at once. Called
/// by the binary before the default options are made.
pub fn raise_open_file_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    Ok(())
}
