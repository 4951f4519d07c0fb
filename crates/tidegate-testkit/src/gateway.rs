//! The gateway under test.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tempfile::TempDir;
use tidegate_api::admin::Administration;
use tidegate_api::serve::ServeOptions;
use tidegate_api::{App, Metrics};
use tidegate_catalog::Catalog;
use tidegate_config::{Environment, Settings, Sources};
use tidegate_gateway::experiments::{self, Pace};
use tidegate_gateway::{Follower, Gateway, GatewayOptions};
use tidegate_store::{
    Actor, AuditWriter, CallsQuery, KeyId, KeySecret, LedgerEntry, LedgerOptions, LedgerWriter, Limiter,
    LocalOptions, MasterKey, NewKey, Store,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How soon decisions about experiments are made and followed.
const SOON: Duration = Duration::from_millis(100);

/// How long calls in flight may go on when a test ends, whatever the configuration says.
const LONGEST_DRAIN: Duration = Duration::from_secs(5);

/// A running gateway with a data directory of its own. Dropped, it stops.
#[derive(Debug)]
pub struct TestGateway {
    address: SocketAddr,
    gateway: Arc<Gateway>,
    store: Store,
    ledger: LedgerWriter,
    audit: AuditWriter,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<()>>,
    following: JoinHandle<()>,
    trying_out: JoinHandle<()>,
    checking: JoinHandle<()>,
    directory: TempDir,
}

impl TestGateway {
    /// Starts a gateway with this `tidegate.yaml`.
    pub async fn start(yaml: &str) -> Self {
        Self::start_with(yaml, LedgerOptions::default()).await
    }

    /// Starts a gateway with a ledger that behaves as said.
    pub async fn start_with(yaml: &str, ledger: LedgerOptions) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let settings = settings(&directory, yaml);
        let drain = settings.server.drain.min(LONGEST_DRAIN);
        let store = Store::open(&directory.path().join("data")).await.expect("the store opens");
        let ledger = store.ledger(ledger).await.expect("the ledger opens");
        let follower = Follower::load(store.access()).await.expect("the store tells who there is");
        let metrics = metrics();
        let audit = AuditWriter::start(store.access());
        let options = GatewayOptions {
            settings: Arc::new(settings),
            catalog: Catalog::builtin(),
            ledger: ledger.clone(),
            directory: follower.directory(),
            limiter: Limiter::local(LocalOptions::default()),
            audit: Some(audit.clone()),
            spoken: None,
            credentials: Vec::new(),
        };
        let gateway = Arc::new(Gateway::new(options).expect("the configuration can be used"));
        let following = tokio::spawn(follower.run(async || {}));
        // Soon, so that tests need not wait.
        let pace = Pace { follow: SOON, look: SOON, shift: SOON };
        let trying_out = tokio::spawn(experiments::run(Arc::clone(&gateway), store.access(), pace));
        let checking = tokio::spawn(tidegate_gateway::check_providers(Arc::clone(&gateway)));
        let listen = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listen.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let access = store.access().with_master_key(Some(master_key()));
        let administration = Administration { store: store.clone(), access, audit: audit.clone() };
        let app = App::new(Arc::clone(&gateway), metrics).with_administration(administration);
        let options = ServeOptions { workers: 2, drain, ..ServeOptions::default() };
        let running = tokio::spawn(async move {
            let shutdown = async {
                // A dropped sender stops it as well.
                stopped.await.ok();
            };
            app.serve(listen, options, shutdown).await.expect("the server runs");
        });
        Self {
            address,
            gateway,
            store,
            ledger,
            audit,
            stop: Some(stop),
            running: Some(running),
            following,
            trying_out,
            checking,
            directory,
        }
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The gateway itself.
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// Puts another `tidegate.yaml` in force.
    pub fn reload(&self, yaml: &str) {
        let settings = settings(&self.directory, yaml);
        self.gateway.reload(Arc::new(settings)).expect("the configuration can be used");
    }

    /// Makes a key, which is in force at once.
    pub async fn key(&self, new: NewKey) -> KeySecret {
        self.key_with_id(new).await.1
    }

    /// Makes a key, and tells its id as well.
    pub async fn key_with_id(&self, new: NewKey) -> (KeyId, KeySecret) {
        let new = NewKey { name: if new.name.is_empty() { "test".into() } else { new.name.clone() }, ..new };
        let (record, secret) =
            self.store.access().create_key(new, &Actor::system()).await.expect("a key can be made");
        let id = record.id.clone();
        self.gateway.directory().put_key(record);
        (id, secret)
    }

    /// Records a call that was never made.
    pub async fn record(&self, entry: LedgerEntry) {
        self.ledger.reserve().expect("a seat").record(entry);
        self.ledger.flush().await.expect("the ledger writes");
    }

    /// What writes refusals into the audit log.
    pub fn audit(&self) -> &AuditWriter {
        &self.audit
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Makes a key and disables it.
    pub async fn disabled_key(&self) -> KeySecret {
        let (id, secret) = self.key_with_id(NewKey::default()).await;
        let record =
            self.store.access().disable_key(&id, &Actor::system()).await.expect("it can be disabled");
        self.gateway.directory().put_key(record);
        secret
    }

    /// All calls in the ledger, the oldest first, once everything recorded so far is written.
    pub async fn calls(&self) -> Vec<LedgerEntry> {
        self.ledger.flush().await.expect("the ledger writes");
        let mut calls =
            self.store.calls(&CallsQuery::latest(1_000_000)).await.expect("the ledger can be read");
        calls.reverse();
        calls
    }

    /// All calls in the ledger, once there are so many; what a dropped connection leaves behind comes a moment later.
    pub async fn calls_when(&self, count: usize) -> Vec<LedgerEntry> {
        let mut calls = self.calls().await;
        for _ in 0..200 {
            if calls.len() >= count {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            calls = self.calls().await;
        }
        calls
    }

    /// Takes no more calls and waits for those in flight, as long as `server.drain` says.
    pub async fn drain(&mut self) {
        drop(self.stop.take());
        if let Some(running) = self.running.take() {
            running.await.expect("the server ends in order");
        }
    }

    /// Stops it: drains calls in flight and closes the ledger.
    pub async fn stop(mut self) {
        self.drain().await;
        self.following.abort();
        self.trying_out.abort();
        self.checking.abort();
        self.ledger.close(Duration::from_secs(5)).await;
    }
}

/// The master key of all gateways under test.
fn master_key() -> MasterKey {
    MasterKey::parse(&"5e".repeat(32)).expect("a master key")
}

fn settings(directory: &TempDir, yaml: &str) -> Settings {
    let file = directory.path().join("tidegate.yaml");
    std::fs::write(&file, yaml).expect("the file can be written");
    let sources = Sources {
        config: Some(file),
        listen: None,
        directory: directory.path().to_path_buf(),
        environment: Environment::of_pairs([]),
        keys_exist: false,
    };
    tidegate_config::load(&sources)
        .map_err(|errors| errors.render(false))
        .expect("the configuration is right")
}

/// One recorder for the whole process: tests share it.
fn metrics() -> Metrics {
    static METRICS: OnceLock<Metrics> = OnceLock::new();
    METRICS.get_or_init(|| Metrics::install().expect("the recorder installs")).clone()
}
