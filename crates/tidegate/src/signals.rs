//! What ends the process: SIGTERM or Ctrl-C lets calls in flight finish, a second one does not wait for them. Used by the
//! commands that run until they are told to stop.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// Listens for the signals that ask the process to end. Each listener sees each signal.
#[derive(Debug)]
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Listens from now on: the signals no longer end the process by themselves.
    pub(crate) fn listen() -> Result<Self, Failure> {
        Ok(Self {
            terminate: listen_for(SignalKind::terminate())?,
            interrupt: listen_for(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next of them.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => (),
            _ = self.interrupt.recv() => (),
        }
    }

    /// Waits for the second of them.
    pub(crate) async fn second(&mut self) {
        self.next().await;
        self.next().await;
    }
}

/// Listens for one kind of signal.
pub(crate) fn listen_for(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).context("signals cannot be listened for").map_err(Failure::from)
}
