//! Takes connections and hands each to the worker with the fewest; ends with the shutdown.

use std::io;
use std::net::TcpListener as StdListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Bytes;
use hyper::service::Service;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::error::ServeError;
use super::linger::RequestBody;
use super::options::ServeOptions;
use super::worker::{Handed, Worker, WorkerId};

/// How long to wait when the system has no file or memory left for another connection.
const WAIT_FOR_RESOURCES: Duration = Duration::from_millis(50);

/// Serves until the shutdown resolves, then finishes the calls in flight, up to the limit for draining, and returns.
///
/// `make_service` is called once on each worker's thread, within its runtime: what it makes, an upstream client above
/// all, belongs to that thread. Each connection gets a clone. This future itself only accepts, so any runtime will do.
pub async fn serve<F, S, B>(
    listen: StdListener,
    options: ServeOptions,
    make_service: F,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError>
where
    F: Fn(WorkerId) -> S + Send + Sync + 'static,
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    listen.set_nonblocking(true).map_err(ServeError::Listener)?;
    let listener = TcpListener::from_std(listen).map_err(ServeError::Listener)?;
    let make_service = Arc::new(make_service);
    let workers: Vec<Worker> = (0..options.workers.max(1))
        .map(|number| Worker::start(WorkerId(number), &options, Arc::clone(&make_service)))
        .collect::<Result<_, _>>()?;
    let mut shutdown = pin!(shutdown);
    let accepted = tokio::select! {
        ended = accept(&listener, &workers, options.max_connections) => ended,
        () = &mut shutdown => Ok(()),
    };
    // New connections are refused from here on, so that a load balancer turns elsewhere at once.
    drop(listener);
    let draining: Vec<_> = workers.into_iter().map(Worker::drain).collect();
    let mut outcome = accepted;
    for drained in draining {
        outcome = outcome.and(drained.await.map_err(|_dropped| ServeError::WorkerEnded));
    }
    outcome
}

async fn accept(
    listener: &TcpListener,
    workers: &[Worker],
    max_connections: usize,
) -> Result<(), ServeError> {
    let room = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
    loop {
        // Never closed, so this is never an error.
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return Ok(()) };
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(problem) if concerns_one_connection(&problem) => continue,
            Err(problem) => {
                tracing::warn!(%problem, "no connection can be accepted at the moment");
                tokio::time::sleep(WAIT_FOR_RESOURCES).await;
                continue;
            }
        };
        // The socket leaves this runtime for the worker's.
        let Ok(socket) = socket.into_std() else { continue };
        let Some(worker) = workers.iter().min_by_key(|worker| worker.open_connections()) else {
            return Ok(());
        };
        worker.hand(Handed { socket, place }).await?;
    }
}

/// The peer has gone again before it was accepted; everything else is a lack of files or memory.
fn concerns_one_connection(problem: &io::Error) -> bool {
    matches!(
        problem.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
