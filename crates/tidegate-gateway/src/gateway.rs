//! The gateway as a whole: what all workers share. Made by the binary, reloaded by it, walked by `tidegate-api`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tidegate_catalog::Catalog;
use tidegate_config::{Hedge, Secret, Settings};
use tidegate_policy::routing::{Answering, HedgeBudget, Hedging};
use tidegate_policy::{RetryBudget, is_retry_allowed};
use tidegate_store::{AuditWriter, LedgerStatus, LedgerWriter, Limiter, RefusedAct};
use tokio::sync::mpsc;

use crate::admit::{Principal, allows_target};
use crate::clock::Clock;
use crate::directory::Directory;
use crate::error::GatewayError;
use crate::experiments::States;
use crate::experiments::shadow::{ShadowCounts, ShadowQueue};
use crate::health_check::CheckResults;
use crate::jwt::JwtVerifier;
use crate::keep::SpokenCall;
use crate::plan::names;
use crate::provider::ProviderError;
use crate::queue::{Places, PlacesStatus};
use crate::report::{self, TargetReport};
use crate::series::GatewaySeries;
use crate::snapshot::Snapshot;

/// What a gateway is made of.
#[derive(Debug)]
pub struct GatewayOptions {
    /// The configuration.
    pub settings: Arc<Settings>,
    /// What exists.
    pub catalog: &'static Catalog,
    /// Where calls are recorded.
    pub ledger: LedgerWriter,
    /// Who may call.
    pub directory: Arc<Directory>,
    /// What holds calls against limits and budgets.
    pub limiter: Limiter,
    /// Where refusals of permission are recorded.
    pub audit: Option<AuditWriter>,
    /// Where calls go whose bodies are to be kept.
    pub spoken: Option<mpsc::Sender<SpokenCall>>,
    /// The providers' credentials that are kept in the store.
    pub credentials: Vec<StoredCredential>,
}

/// A provider's credential from the store.
#[derive(Debug, Clone)]
pub struct StoredCredential {
    /// The configured provider that it is for.
    pub provider: String,
    /// What it is called.
    pub label: String,
    /// The credential itself.
    pub secret: Secret,
}

/// The gateway. One for the whole process, shared by all workers.
#[derive(Debug)]
pub struct Gateway {
    snapshot: ArcSwap<Snapshot>,
    catalog: &'static Catalog,
    ledger: LedgerWriter,
    directory: Arc<Directory>,
    limiter: Limiter,
    audit: Option<AuditWriter>,
    spoken: Option<mpsc::Sender<SpokenCall>>,
    /// Taken to build each snapshot; whoever changes them builds one.
    credentials: Mutex<Vec<StoredCredential>>,
    pub(crate) clock: Clock,
    pub(crate) series: GatewaySeries,
    places: Arc<Places>,
    /// What was decided of experiments.
    pub(crate) experiments: States,
    /// Calls that wait for their shadows.
    pub(crate) shadows: ShadowQueue,
    calls_in_flight: AtomicUsize,
    retries_in_flight: AtomicUsize,
    hedges: Mutex<HedgeBudget>,
    pub(crate) checks: CheckResults,
}

/// How the gateway is doing, for `/health/ready`.
#[derive(Debug, Clone, Copy)]
pub struct Status {
    /// Calls in flight.
    pub calls_in_flight: usize,
    /// How full it is.
    pub places: PlacesStatus,
    /// The ledger's state.
    pub ledger: LedgerStatus,
}

impl Gateway {
    /// Makes a gateway.
    pub fn new(options: GatewayOptions) -> Result<Self, ProviderError> {
        let clock = Clock::new();
        let options = GatewayOptions { credentials: usable(options.credentials), ..options };
        let snapshot = Snapshot::build(options.settings, options.catalog, &options.credentials, None, clock)?;
        let places = Places::new(&snapshot.settings);
        Ok(Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            catalog: options.catalog,
            ledger: options.ledger,
            directory: options.directory,
            limiter: options.limiter,
            audit: options.audit,
            spoken: options.spoken,
            credentials: Mutex::new(options.credentials),
            clock,
            series: GatewaySeries::new(),
            places,
            experiments: States::default(),
            shadows: ShadowQueue::default(),
            calls_in_flight: AtomicUsize::new(0),
            retries_in_flight: AtomicUsize::new(0),
            hedges: Mutex::new(HedgeBudget::new()),
            checks: CheckResults::default(),
        })
    }

    /// Whether a gateway could be made of these settings; for `tidegate check`.
    pub fn check(settings: Arc<Settings>, catalog: &'static Catalog) -> Result<(), ProviderError> {
        Snapshot::build(settings, catalog, &[], None, Clock::new()).map(drop)
    }

    /// Puts a new configuration in force, whole or not at all. Calls in flight end under the old one.
    pub fn reload(&self, settings: Arc<Settings>) -> Result<(), ProviderError> {
        let credentials = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        self.rebuild(settings, &credentials)
    }

    /// Puts other credentials from the store in force.
    pub fn put_credentials(&self, new: Vec<StoredCredential>) -> Result<(), ProviderError> {
        let new = usable(new);
        let mut credentials = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        self.rebuild(self.settings(), &new)?;
        *credentials = new;
        Ok(())
    }

    /// The caller holds the credentials' lock, so that no two are built from different halves of what is new.
    fn rebuild(
        &self,
        settings: Arc<Settings>,
        credentials: &[StoredCredential],
    ) -> Result<(), ProviderError> {
        let before = self.snapshot.load();
        let snapshot = Snapshot::build(settings, self.catalog, credentials, Some(&before), self.clock)?;
        self.places.resize(&snapshot.settings);
        self.snapshot.store(Arc::new(snapshot));
        Ok(())
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.snapshot.load().settings)
    }

    /// The models one can ask for.
    pub fn models(&self) -> Vec<names::ListedModel> {
        names::list(&self.snapshot.load())
    }

    /// The model that a name means.
    pub fn model(&self, name: &str) -> Result<names::ListedModel, GatewayError> {
        names::find(&self.snapshot.load(), name)
    }

    /// The models that this principal can ask for.
    pub fn models_for(&self, principal: &Principal) -> Vec<names::ListedModel> {
        let mut models = self.models();
        models.retain(|model| is_open_to(principal, model));
        models
    }

    /// The model that a name means, if this principal can ask for it. One that it cannot ask for is not there.
    pub fn model_for(&self, principal: &Principal, name: &str) -> Result<names::ListedModel, GatewayError> {
        let model = self.model(name)?;
        if is_open_to(principal, &model) { Ok(model) } else { Err(GatewayError::no_such_model(name, &[])) }
    }

    /// How every target is doing.
    pub fn targets(&self) -> Vec<TargetReport> {
        report::of_all(&self.snapshot.load(), &self.checks, self.clock)
    }

    /// The largest request body accepted, in bytes.
    pub fn max_body(&self) -> usize {
        self.snapshot.load().settings.server.max_body
    }

    /// How it is doing.
    pub fn status(&self) -> Status {
        Status {
            calls_in_flight: self.calls_in_flight.load(Ordering::Relaxed),
            places: self.places.status(),
            ledger: self.ledger.status(),
        }
    }

    /// The places for calls, and the queue for them.
    pub fn places(&self) -> &Arc<Places> {
        &self.places
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Who may call.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// What holds calls against limits and budgets.
    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// What verifies tokens.
    pub(crate) fn jwt(&self) -> Arc<JwtVerifier> {
        Arc::clone(&self.snapshot.load().jwt)
    }

    /// Hands over what was said in a call. When more comes than can be kept, it is left out and counted: no call waits.
    pub(crate) fn keep(&self, spoken: SpokenCall) {
        if self.spoken.as_ref().is_some_and(|spoken_calls| spoken_calls.try_send(spoken).is_err()) {
            self.series.bodies_left_out();
        }
    }

    /// Somebody was refused a permission.
    pub(crate) fn audit(&self, refused: RefusedAct) {
        if let Some(audit) = &self.audit {
            audit.record(refused);
        }
    }

    /// Waits until what was recorded so far is written, or it cannot be.
    pub async fn flush_ledger(&self) {
        if let Err(error) = self.ledger.flush().await {
            tracing::debug!(%error, "the ledger was not flushed");
        }
    }

    /// What became of the shadows of this experiment in this process; `None` where it has none.
    pub fn shadow_counts(&self, experiment: &str) -> Option<Arc<ShadowCounts>> {
        let snapshot = self.snapshot.load();
        let mut shadows = snapshot.experiments.shadows();
        shadows.find(|shadow| &*shadow.name == experiment).map(|shadow| Arc::clone(&shadow.counts))
    }

    pub(crate) fn ledger(&self) -> &LedgerWriter {
        &self.ledger
    }

    /// Counts one more call in flight.
    pub(crate) fn begin_call(self: &Arc<Self>) -> InFlight {
        InFlight::begin(self, |gateway| &gateway.calls_in_flight)
    }

    /// A call begins for which a second target may be asked.
    pub(crate) fn note_hedgeable(&self, hedge: Hedge) {
        let hedging = Hedging { share: hedge.share.fraction() };
        self.hedges.lock().unwrap_or_else(PoisonError::into_inner).call(hedging);
    }

    /// After which time a second target may be asked: as configured, else by when the target is late, and later than that
    /// while few hedges are saved up; else after a time that is presumed.
    pub(crate) fn hedge_delay(
        &self,
        configured: Option<Duration>,
        late: Option<Duration>,
        answering: Answering,
    ) -> Duration {
        self.hedges.lock().unwrap_or_else(PoisonError::into_inner).delay(configured, late, answering)
    }

    /// Takes one hedge of what the calls so far allow.
    pub(crate) fn take_hedge(&self) -> bool {
        self.hedges.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Counts one more retry in flight, if the retry budget has room.
    pub(crate) fn begin_retry(self: &Arc<Self>) -> Option<InFlight> {
        let calls = self.calls_in_flight.load(Ordering::Relaxed);
        self.retries_in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |retries| {
                is_retry_allowed(RetryBudget { calls, retries }).then_some(retries + 1)
            })
            .ok()
            .map(|_| InFlight { gateway: Arc::clone(self), counter: |gateway| &gateway.retries_in_flight })
    }
}

/// Without credentials that no request could carry: one bad row in the store must not keep a gateway from starting, nor the
/// other credentials from being used.
fn usable(mut credentials: Vec<StoredCredential>) -> Vec<StoredCredential> {
    credentials.retain(|stored| {
        let is_usable = http::HeaderValue::from_str(stored.secret.expose()).is_ok();
        if !is_usable {
            tracing::error!(
                provider = stored.provider,
                label = stored.label,
                "a provider's credential in the store has characters that a header cannot carry and is left out; set it anew"
            );
        }
        is_usable
    });
    credentials
}

/// Whether any target of the model is open to the principal.
fn is_open_to(principal: &Principal, model: &names::ListedModel) -> bool {
    model.targets.iter().any(|target| {
        let provider = target.split_once('/').map_or(target.as_str(), |(provider, _)| provider);
        allows_target(principal, &model.name, provider, target)
    })
}

/// Something in flight; counted until it is dropped.
pub(crate) struct InFlight {
    gateway: Arc<Gateway>,
    counter: fn(&Gateway) -> &AtomicUsize,
}

impl InFlight {
    fn begin(gateway: &Arc<Gateway>, counter: fn(&Gateway) -> &AtomicUsize) -> Self {
        counter(gateway).fetch_add(1, Ordering::Relaxed);
        Self { gateway: Arc::clone(gateway), counter }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        (self.counter)(&self.gateway).fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for InFlight {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("InFlight")
    }
}
