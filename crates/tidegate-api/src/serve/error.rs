//! Why serving could not begin or go on. Shown by the binary.

use std::io;

/// Why the server stopped, or did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listening socket cannot be used.
    #[error("the listening socket cannot be used")]
    Listener(#[source] io::Error),
    /// A thread or its runtime could not be made.
    #[error("worker {worker} could not be started; the machine may be short of threads or open files")]
    Worker {
        /// Which one.
        worker: usize,
        /// What the system says.
        source: io::Error,
    },
    /// A thread ended while it was needed: a defect, reported on standard error by the thread itself.
    #[error("a worker ended unexpectedly; please report what it printed")]
    WorkerEnded,
}
