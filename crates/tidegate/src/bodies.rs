//! Keeps what was said in calls, where the configuration wants that: redacted on a blocking thread, then into the store.
//! Runs beside the server, so that no call waits for it.

use futures_util::FutureExt as _;
use tidegate_gateway::keep::{KeptBody, SpokenCall};
use tidegate_store::{CallBodies, KeptText, Store};
use tokio::sync::{mpsc, oneshot};

/// Calls that wait to be kept. Each may hold a body of some megabytes; further ones are left out and counted.
pub(crate) const QUEUE: usize = 256;

/// Keeps what comes; once it is told to stop, what has come by then.
pub(crate) async fn keep(mut spoken: mpsc::Receiver<SpokenCall>, store: Store, stop: oneshot::Receiver<()>) {
    let mut stop = std::pin::pin!(stop.fuse());
    loop {
        let call = tokio::select! {
            _stopped = &mut stop => {
                spoken.close();
                continue;
            }
            call = spoken.recv() => call,
        };
        let Some(call) = call else { return };
        let id = call.call();
        let Ok((request, response)) = tokio::task::spawn_blocking(move || call.finish()).await else {
            tracing::error!(call = %id, "what was said in a call could not be made fit to be kept");
            continue;
        };
        let bodies = CallBodies { request: Some(kept(request)), response: response.map(kept) };
        if let Err(error) = store.keep_bodies(id, &bodies).await {
            tracing::warn!(%error, call = %id, "what was said in a call could not be kept");
        }
    }
}

fn kept(body: KeptBody) -> KeptText {
    KeptText { text: body.text, is_cut: body.is_cut }
}
