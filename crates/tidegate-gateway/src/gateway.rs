//! The gateway as a whole: what all workers share. Made by the binary, reloaded by it, walked by `tidegate-api`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use tidegate_catalog::Catalog;
use tidegate_config::Settings;
use tidegate_policy::{RetryBudget, is_retry_allowed};
use tidegate_store::{LedgerStatus, LedgerWriter};

use crate::clock::Clock;
use crate::error::GatewayError;
use crate::plan::names;
use crate::provider::ProviderError;
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
}

/// The gateway. One for the whole process, shared by all workers.
#[derive(Debug)]
pub struct Gateway {
    snapshot: ArcSwap<Snapshot>,
    catalog: &'static Catalog,
    ledger: LedgerWriter,
    pub(crate) clock: Clock,
    pub(crate) series: GatewaySeries,
    calls_in_flight: AtomicUsize,
    retries_in_flight: AtomicUsize,
}

/// How the gateway is doing, for `/health/ready`.
#[derive(Debug, Clone, Copy)]
pub struct Status {
    /// Calls in flight.
    pub calls_in_flight: usize,
    /// The ledger's state.
    pub ledger: LedgerStatus,
}

impl Gateway {
    /// Makes a gateway.
    pub fn new(options: GatewayOptions) -> Result<Self, ProviderError> {
        let snapshot = Snapshot::build(options.settings, options.catalog, None)?;
        Ok(Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            catalog: options.catalog,
            ledger: options.ledger,
            clock: Clock::new(),
            series: GatewaySeries::new(),
            calls_in_flight: AtomicUsize::new(0),
            retries_in_flight: AtomicUsize::new(0),
        })
    }

    /// Whether a gateway could be made of these settings; for `tidegate check`.
    pub fn check(settings: Arc<Settings>, catalog: &'static Catalog) -> Result<(), ProviderError> {
        Snapshot::build(settings, catalog, None).map(drop)
    }

    /// Puts a new configuration in force, whole or not at all. Calls in flight end under the old one.
    pub fn reload(&self, settings: Arc<Settings>) -> Result<(), ProviderError> {
        let before = self.snapshot.load();
        let snapshot = Snapshot::build(settings, self.catalog, Some(&before))?;
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

    /// The largest request body accepted, in bytes.
    pub fn max_body(&self) -> usize {
        self.snapshot.load().settings.server.max_body
    }

    /// How it is doing.
    pub fn status(&self) -> Status {
        Status { calls_in_flight: self.calls_in_flight.load(Ordering::Relaxed), ledger: self.ledger.status() }
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    pub(crate) fn ledger(&self) -> &LedgerWriter {
        &self.ledger
    }

    /// Counts one more call in flight.
    pub(crate) fn begin_call(self: &Arc<Self>) -> InFlight {
        InFlight::begin(self, |gateway| &gateway.calls_in_flight)
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
