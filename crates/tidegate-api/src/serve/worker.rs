//! A thread, its runtime and its connections. Started and fed by `accept`.

use std::net::TcpStream as StdStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Bytes;
use hyper::service::Service;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

use super::connection::{Protocols, serve_connection};
use super::error::ServeError;
use super::linger::RequestBody;
use super::options::ServeOptions;
use super::phase::Phase;

/// Connections on their way to a worker; the accepting task waits when a worker is that far behind.
const HANDED_AT_ONCE: usize = 128;

/// Threads per worker for what blocks: resolving names, reading certificates. More would only take memory.
const BLOCKING_THREADS: usize = 16;

/// How long a worker waits for blocking work when it ends; such work is a look-up that nobody waits for any more.
const BLOCKING_GRACE: Duration = Duration::from_millis(100);

/// How long calls that are still in flight when the time for draining is over may take to tell their callers so.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Which worker: 0 up to the number of workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WorkerId(pub usize);

/// A connection on its way to a worker.
pub(super) struct Handed {
    pub(super) socket: StdStream,
    pub(super) place: OwnedSemaphorePermit,
}

/// A running worker, seen from the accepting task.
pub(super) struct Worker {
    connections: mpsc::Sender<Handed>,
    open: Arc<AtomicUsize>,
    ended: oneshot::Receiver<()>,
}

impl Worker {
    pub(super) fn start<F, S, B>(
        id: WorkerId,
        options: &ServeOptions,
        make_service: Arc<F>,
    ) -> Result<Self, ServeError>
    where
        F: Fn(WorkerId) -> S + Send + Sync + 'static,
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let problem = |source| ServeError::Worker { worker: id.0, source };
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .build()
            .map_err(problem)?;
        let (connections, incoming) = mpsc::channel(HANDED_AT_ONCE);
        let (end, ended) = oneshot::channel();
        let open = Arc::new(AtomicUsize::new(0));
        let (protocols, drain) = (Protocols::new(options), options.drain);
        let counted = Arc::clone(&open);
        std::thread::Builder::new()
            .name(format!("worker-{}", id.0))
            .spawn(move || {
                run(&runtime, incoming, &counted, &protocols, drain, || make_service(id));
                runtime.shutdown_timeout(BLOCKING_GRACE);
                // Nobody waits for it when serving has failed elsewhere.
                let _ = end.send(());
            })
            .map_err(problem)?;
        Ok(Self { connections, open, ended })
    }

    pub(super) fn open_connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) async fn hand(&self, connection: Handed) -> Result<(), ServeError> {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.connections.send(connection).await.map_err(|_ended| ServeError::WorkerEnded)
    }

    /// Takes no more connections; resolves when the worker has drained and ended.
    pub(super) fn drain(self) -> oneshot::Receiver<()> {
        self.ended
    }
}

fn run<S, B>(
    runtime: &Runtime,
    mut incoming: mpsc::Receiver<Handed>,
    open: &Arc<AtomicUsize>,
    protocols: &Protocols,
    drain: Duration,
    make_service: impl FnOnce() -> S,
) where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    runtime.block_on(async {
        let service = make_service();
        let (phase, phases) = watch::channel(Phase::Serving);
        // Each connection holds a sender: the channel closes with the last of them.
        let (alive, mut all_closed) = mpsc::channel::<()>(1);
        while let Some(Handed { socket, place }) = incoming.recv().await {
            let counted = Counted { open: Arc::clone(open), _place: place, _alive: alive.clone() };
            // A socket that cannot be registered is closed here, like any connection that fails.
            let Ok(socket) = TcpStream::from_std(socket) else { continue };
            let serving = serve_connection(socket, service.clone(), protocols.clone(), phases.clone());
            tokio::spawn(async move {
                serving.await;
                drop(counted);
            });
        }
        drop(alive);
        phase.send_replace(Phase::Draining);
        if tokio::time::timeout(drain, all_closed.recv()).await.is_ok() {
            return;
        }
        let late = open.load(Ordering::Relaxed);
        tracing::warn!(late, ?drain, "connections were still open at the end of the time for draining");
        phase.send_replace(Phase::Ending);
        if tokio::time::timeout(LAST_WORDS, all_closed.recv()).await.is_err() {
            let cut_off = open.load(Ordering::Relaxed);
            tracing::warn!(cut_off, "connections were cut off whose callers did not take the last word");
        }
    });
}

/// Counts a connection for as long as it is open.
struct Counted {
    open: Arc<AtomicUsize>,
    _place: OwnedSemaphorePermit,
    _alive: mpsc::Sender<()>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}
