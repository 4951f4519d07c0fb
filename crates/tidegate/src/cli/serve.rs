//! `tidegate serve`: the gateway, until it is told to stop.

use std::io::{IsTerminal as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use serde_json::json;
use tidegate_api::admin::Administration;
use tidegate_api::serve::{ServeOptions, raise_open_file_limit};
use tidegate_api::{App, Metrics};
use tidegate_catalog::Catalog;
use tidegate_config::{Origin, Settings, Sources, load};
use tidegate_gateway::experiments::{self, Pace};
use tidegate_gateway::keep::SpokenCall;
use tidegate_gateway::{Follower, Gateway, GatewayOptions, check_providers, share_health};
use tidegate_store::{KeySecret, LedgerWriter, Store};
use tokio::sync::{mpsc, oneshot};

use crate::bodies;
use crate::failure::Failure;
use crate::limits::{health_board, recover};
use crate::logging;
use crate::parts::{Parts, follow};
use crate::reload::{Reloads, tell_notices};
use crate::signals::StopSignals;
use crate::stores;

/// How long the ledger may take for its last entries once all calls have ended.
const LEDGER_CLOSE: Duration = Duration::from_secs(5);
/// How long the last refusals may take to get into the audit log.
const AUDIT_CLOSE: Duration = Duration::from_secs(3);
/// How long what was said in the last calls may take to be kept.
const BODIES_CLOSE: Duration = Duration::from_secs(2);
/// Threads for what blocks on this runtime: reading a changed configuration.
const BLOCKING_THREADS: usize = 2;
/// Some of the variables by which providers are found, for a user who has configured none.
const USUAL_VARIABLES: &str = "OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY, OPENROUTER_API_KEY, GROQ_API_KEY, \
    MISTRAL_API_KEY, DEEPSEEK_API_KEY, …";

/// Run the gateway
#[derive(Debug, Args)]
#[command(
    after_help = "Without a file, providers are found by their usual environment variables: OPENAI_API_KEY, \
    ANTHROPIC_API_KEY, GEMINI_API_KEY and so on.\n\n\
    SIGHUP or a changed file reloads the configuration; SIGTERM or Ctrl-C lets calls in flight finish, a second one \
    ends at once. TIDEGATE_LOG sets what is logged."
)]
pub(crate) struct Options {
    /// The configuration file [default: $TIDEGATE_CONFIG, else tidegate.yaml where it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen, whatever the file says [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

pub(super) fn run(options: Options) -> Result<(), Failure> {
    let sources = Sources { config: options.config, listen: options.listen, ..Sources::of_process() };
    logging::start(&sources.environment)?;
    // Whether a key exists is only known once the store is open, which is where the settings say.
    let sources = Sources { keys_exist: true, ..sources };
    let settings = load(&sources)?;
    if settings.providers.is_empty() {
        return Err(no_provider(&settings));
    }
    run_to_end(async {
        let running = Running::start(sources, settings).await?;
        running.serve().await
    })
}

/// Runs a command's future on this thread. What is left when it ends is not waited for: a second Ctrl-C means at once.
pub(super) fn run_to_end(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .context("the runtime could not be started")?;
    let ended = runtime.block_on(work);
    runtime.shutdown_background();
    ended
}

/// A gateway with its socket bound and its ledger open. Connections that come before [`Running::serve`] wait.
pub(super) struct Running {
    app: App,
    gateway: Arc<Gateway>,
    ledger: LedgerWriter,
    administration: Administration,
    follower: Follower,
    spoken_calls: mpsc::Receiver<SpokenCall>,
    listener: TcpListener,
    address: SocketAddr,
    metrics: Metrics,
    reloads: Reloads,
}

impl Running {
    /// Opens everything that serving takes.
    pub(super) async fn start(sources: Sources, settings: Settings) -> Result<Self, Failure> {
        if let Err(error) = raise_open_file_limit() {
            tracing::warn!(%error, "the limit on open files could not be raised");
        }
        let settings = Arc::new(settings);
        // Before anything is opened: an address that is taken is the most frequent reason why nothing starts.
        let listener = TcpListener::bind(settings.server.listen)
            .with_context(|| format!("{} cannot be listened on", settings.server.listen))
            .map_err(|error| Failure::Failed {
                error,
                help: Some("end the program that listens there, or choose another address with --listen"),
            })?;
        let address = listener.local_addr().context("the listening socket has no address")?;
        let metrics = Metrics::install().context("the metrics could not be set up")?;
        let parts = Parts::open(&settings, &sources.environment).await?;
        let Parts { store, access, ledger, follower, limiter, audit, credentials, first_key } = parts;
        if !follower.directory().has_caller_keys() {
            // An address that others can reach is a mistake as long as nobody needs a key.
            load(&Sources { keys_exist: false, ..sources.clone() })?;
        }
        if let Some(key) = first_key {
            tell_first_key(&key);
        }
        let reloads = Reloads::watch(sources)?;
        tell_notices(&settings);
        let (spoken, spoken_calls) = mpsc::channel(bodies::QUEUE);
        let gateway = Arc::new(Gateway::new(GatewayOptions {
            settings,
            catalog: Catalog::builtin(),
            ledger: ledger.clone(),
            directory: follower.directory(),
            limiter,
            audit: Some(audit.clone()),
            spoken: Some(spoken),
            credentials,
        })?);
        let administration = Administration { store: store.clone(), access, audit };
        let app = App::new(Arc::clone(&gateway), metrics.clone()).with_administration(administration.clone());
        Ok(Self {
            app,
            gateway,
            ledger,
            administration,
            follower,
            spoken_calls,
            listener,
            address,
            metrics,
            reloads,
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has recorded.
    pub(super) fn store(&self) -> Store {
        self.administration.store.clone()
    }

    /// Where it records.
    pub(super) fn ledger(&self) -> LedgerWriter {
        self.ledger.clone()
    }

    /// Serves until the process is told to stop, lets calls in flight finish and completes the ledger.
    pub(super) async fn serve(self) -> Result<(), Failure> {
        let Self {
            app,
            gateway,
            ledger,
            administration,
            follower,
            spoken_calls,
            listener,
            address,
            metrics,
            reloads,
        } = self;
        let Administration { store, access, audit } = administration;
        let settings = gateway.settings();
        let mut stop = StopSignals::listen()?;
        let mut stop_at_once = StopSignals::listen()?;
        let usual = ServeOptions::default();
        let options = ServeOptions {
            workers: settings.server.workers.map_or(usual.workers, NonZero::get),
            drain: settings.server.drain,
            ..usual
        };
        let shutdown = async {
            stop.next().await;
            let calls = gateway.status().calls_in_flight;
            tracing::info!(calls, "stopping: no more connections, calls in flight may finish");
        };
        tell_start(address, &settings, &options);
        let (stop_keeping, stopped) = oneshot::channel();
        let keeping_bodies = tokio::spawn(bodies::keep(spoken_calls, store.clone(), stopped));
        let experimenting = access.clone();
        let background = async {
            let following = follow(follower, access, Arc::clone(&gateway));
            let recovering = recover(gateway.limiter().clone(), store.clone());
            let keeping = Box::pin(store.keep_house(stores::retention(&settings)));
            let trying_out = experiments::run(Arc::clone(&gateway), experimenting, Pace::default());
            let reloading = reloads.run(Arc::clone(&gateway));
            let checking = check_providers(Arc::clone(&gateway));
            let sharing = async {
                if let Some(board) = health_board(&settings, &store, &ledger) {
                    share_health(Arc::clone(&gateway), board).await;
                }
            };
            let watching = async { tokio::join!(metrics.upkeep(), checking, sharing) };
            tokio::join!(reloading, following, recovering, keeping, Box::pin(trying_out), Box::pin(watching))
        };
        tokio::select! {
            ended = app.serve(listener, options, shutdown) => ended.map_err(anyhow::Error::from)?,
            () = stop_at_once.second() => return Err(anyhow::anyhow!("stopped at once, calls in flight were cut off").into()),
            _never = background => {}
        }
        gateway.limiter().flush().await;
        // Without a receiver it has ended already.
        let _ = stop_keeping.send(());
        if tokio::time::timeout(BODIES_CLOSE, keeping_bodies).await.is_err() {
            tracing::warn!("what was said in the last calls could not be kept in time");
        }
        if tokio::time::timeout(AUDIT_CLOSE, audit.flush()).await.is_err() {
            tracing::warn!("the last refusals could not be written to the audit log in time");
        }
        let closed = ledger.close(LEDGER_CLOSE).await;
        store.close().await;
        if !closed.is_complete() {
            let lost = closed.unwritten + u64::try_from(closed.open_seats).unwrap_or(u64::MAX);
            return Err(anyhow::anyhow!("the ledger lacks the last {lost} calls").into());
        }
        if closed.waiting > 0 {
            tracing::warn!(
                calls = closed.written,
                waiting = closed.waiting,
                "stopped; the database did not take the last calls, which wait in the journal for the next start"
            );
        } else {
            tracing::info!(calls = closed.written, "stopped, the ledger is complete");
        }
        Ok(())
    }
}

/// Shows the first administrator's key, this once. Not through the log, which may be kept.
fn tell_first_key(key: &KeySecret) {
    let mut stderr = std::io::stderr();
    let text = if stderr.is_terminal() {
        format!(
            "\nThe first administrator's key, for /admin/v1; it is shown this once:\n\n  {}\n\n\
             Keys for callers are made with it, or with `tidegate keys create`.\n\n",
            key.expose()
        )
    } else {
        let message = "the first administrator's key, for /admin/v1; it is shown this once";
        format!(
            "{}\n",
            json!({"timestamp": Timestamp::now(), "level": "INFO", "message": message, "key": key.expose()})
        )
    };
    // Where standard error is closed, another one can be made with `tidegate keys create --role owner`.
    let _ = stderr.write_all(text.as_bytes());
}

/// One line that says where it listens.
fn tell_start(address: SocketAddr, settings: &Settings, options: &ServeOptions) {
    let config = match &settings.origin {
        Origin::File(file) => file.display().to_string(),
        Origin::Environment => "environment".to_owned(),
    };
    let providers = settings.providers.keys().map(String::as_str).collect::<Vec<_>>().join(" ");
    tracing::info!(
        url = %format_args!("http://{address}"),
        %config,
        %providers,
        data = %settings.data.display(),
        workers = options.workers,
        "listening"
    );
}

/// Nothing to serve: names the ways to change that.
pub(super) fn no_provider(settings: &Settings) -> Failure {
    match &settings.origin {
        Origin::File(file) => Failure::wrong(
            format!("{} configures no provider", file.display()),
            format!(
                "Add one under `providers:`, or leave `providers:` out and set the key of one in its usual variable:\n  {USUAL_VARIABLES}"
            ),
        ),
        Origin::Environment => Failure::wrong(
            "no provider is configured, so there is nothing to serve",
            format!(
                "Any one of these does:\n  \
                 - set a provider's usual key variable: {USUAL_VARIABLES}\n  \
                 - write a tidegate.yaml (`tidegate schema` describes it) and name it with --config\n  \
                 - `tidegate demo`: try everything with simulated providers, without any key"
            ),
        ),
    }
}
