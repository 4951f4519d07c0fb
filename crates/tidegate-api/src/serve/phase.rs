//! How far a server's end has come, and how a call in flight hears of it. Sent by `worker`; `connection` gives every
//! request a [`CutOff`].

use std::pin::Pin;

use tokio::sync::watch;

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// It has not begun.
    Serving,
    /// Calls in flight may finish.
    Draining,
    /// Calls in flight must say their last word.
    Ending,
}

/// Resolves when the phase has come, and when the worker has gone, which amounts to the same.
pub(super) async fn wait_for(mut phases: watch::Receiver<Phase>, phase: Phase) {
    let _ = phases.wait_for(|now| *now >= phase).await.map(drop);
}

/// Tells a call that the time for draining is over. Among a request's extensions.
#[derive(Debug, Clone)]
pub(crate) struct CutOff(watch::Receiver<Phase>);

/// Resolves when the time is over.
pub(crate) type Ending = Pin<Box<dyn Future<Output = ()> + Send>>;

impl CutOff {
    pub(super) fn new(phases: watch::Receiver<Phase>) -> Self {
        Self(phases)
    }

    /// Of this request; one that came without a server is never cut off.
    pub(crate) fn of(extensions: &mut http::Extensions) -> Ending {
        match extensions.remove::<Self>() {
            Some(Self(phases)) => Box::pin(wait_for(phases, Phase::Ending)),
            None => Box::pin(std::future::pending()),
        }
    }
}
