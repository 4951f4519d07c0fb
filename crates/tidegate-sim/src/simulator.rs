//! Starts a simulator, and what a running one can be asked.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tidegate_wire::Dialect;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::connection::{Reset, Socket};
use crate::options::{OptionsError, SimOptions};
use crate::routes::route;
use crate::scenario::Memory;
use crate::served::{Ledger, Served, Totals};

/// So many connections at a time; more wait in the listener's queue.
const MOST_CONNECTIONS: usize = 20_000;

/// Why a simulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The options make no sense.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another address, or port 0 for a free one")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
}

/// What all calls share.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) options: SimOptions,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) memory: Memory,
}

/// The way to a running simulator.
#[derive(Debug)]
pub struct Simulator;

impl Simulator {
    /// Listens and serves on the caller's tokio runtime, until [`RunningSim::stop`] or drop.
    pub async fn start(options: SimOptions) -> Result<RunningSim, SimError> {
        options.check()?;
        let wanted = options.listen;
        let failed = |source| SimError::Listen { address: wanted, source };
        let listener = TcpListener::bind(wanted).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let state = Arc::new(State { options, ledger: Arc::new(Ledger::new()), memory: Memory::default() });
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(accept(listener, Arc::clone(&state), stopped));
        Ok(RunningSim { address, state, stop, task })
    }
}

/// A running simulator. Dropping it stops it.
#[derive(Debug)]
pub struct RunningSim {
    address: SocketAddr,
    state: Arc<State>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl RunningSim {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What that dialect's own SDK takes as its base URL: with `/v1` for OpenAI, without for Anthropic and Gemini.
    pub fn base_url(&self, dialect: Dialect) -> String {
        match dialect {
            Dialect::OpenAiChat => format!("http://{}/v1", self.address),
            Dialect::AnthropicMessages | Dialect::Gemini => format!("http://{}", self.address),
        }
    }

    /// The calls that have ended, oldest first; the oldest fall out after 20,000.
    pub fn served(&self) -> Vec<Served> {
        self.state.ledger.served()
    }

    /// The sums over everything that has ended.
    pub fn totals(&self) -> Totals {
        self.state.ledger.totals()
    }

    /// Forgets all calls, and what names with a history remember.
    pub fn reset(&self) {
        self.state.ledger.reset();
        self.state.memory.reset();
    }

    /// Stops: closes the listener and every connection.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        // The task ends by itself; that it was cancelled or died is the same to who stops it.
        let _ = (&mut self.task).await;
    }
}

impl Drop for RunningSim {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

async fn accept(listener: TcpListener, state: Arc<State>, mut stopped: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let permit = Arc::clone(&room).acquire_owned();
        let (permit, accepted) = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return,
            both = async { (permit.await, listener.accept().await) } => both,
        };
        match (permit, accepted) {
            (Ok(permit), Ok((stream, _))) => {
                let (state, stopped) = (Arc::clone(&state), stopped.clone());
                tokio::spawn(async move {
                    serve_connection(stream, state, stopped).await;
                    drop(permit);
                });
            }
            (_, Err(error)) => {
                // Too many open files, most likely: going round at once would only burn the processor.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            (Err(_), _) => return,
        }
    }
}

async fn serve_connection(stream: TcpStream, state: Arc<State>, mut stopped: watch::Receiver<bool>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let reset = Reset::default();
    let socket = Socket::new(stream, reset.clone());
    let service = service_fn(move |request| {
        let (state, reset) = (Arc::clone(&state), reset.clone());
        async move { route(state, reset, request).await }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new());
    let connection = builder.serve_connection(TokioIo::new(socket), service);
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        },
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
}
