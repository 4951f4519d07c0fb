//! Everything that a reload replaces as one unit: settings and the providers and models built from them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use tidegate_catalog::Catalog;
use tidegate_config::{Key, KeySource, Model, Settings, Variable};

use crate::clock::Clock;
use crate::experiments::{Experiments, Means};
use crate::gateway::StoredCredential;
use crate::jwt::JwtVerifier;
use crate::keep::BodyKeeper;
use crate::plan::{self, entries::Entry};
use crate::provider::{Provider, ProviderError};

/// The configuration in force, made ready.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) settings: Arc<Settings>,
    pub(crate) catalog: &'static Catalog,
    /// Makes bodies fit to be kept.
    pub(crate) keeper: Arc<BodyKeeper>,
    /// What verifies tokens.
    pub(crate) jwt: Arc<JwtVerifier>,
    providers: HashMap<Arc<str>, Arc<Provider>>,
    /// In the configuration's order, which decides between providers that serve the same bare name.
    in_order: Vec<Arc<Provider>>,
    /// What is tried out.
    pub(crate) experiments: Experiments,
    /// The entries of `models:`, in the order of the settings.
    entries: Vec<Entry>,
    /// Whether some condition looks at the budget, which has to be asked for before a plan is made.
    pub(crate) looks_at_budget: bool,
}

impl Snapshot {
    /// Makes settings ready, taking over what is known of keys that stayed.
    pub(crate) fn build(
        settings: Arc<Settings>,
        catalog: &'static Catalog,
        credentials: &[StoredCredential],
        before: Option<&Snapshot>,
        clock: Clock,
    ) -> Result<Self, ProviderError> {
        let mut providers = HashMap::with_capacity(settings.providers.len());
        let mut in_order = Vec::with_capacity(settings.providers.len());
        for configured in settings.providers.values() {
            let known = before.and_then(|before| before.provider(&configured.name)).map(Arc::as_ref);
            let configured = with_stored(configured, credentials);
            let provider = Arc::new(Provider::build(&configured, catalog, known, clock)?);
            if provider.lacks_key {
                tracing::warn!(
                    provider = %provider.name,
                    "a provider has no key, so calls to it are refused; set one under /admin/v1/credentials or in the \
                     configuration"
                );
            }
            providers.insert(Arc::clone(&provider.name), Arc::clone(&provider));
            in_order.push(provider);
        }
        let jwt = match before.filter(|before| before.settings.jwt == settings.jwt) {
            // With the keys that it has fetched.
            Some(before) => Arc::clone(&before.jwt),
            None => Arc::new(JwtVerifier::new(&settings.jwt)),
        };
        let keeper = Arc::new(BodyKeeper::new(&settings.ledger.bodies)?);
        let entries = plan::entries::prepare(&settings, catalog, |name| providers.get(name));
        let experiments = Experiments::build(
            &Means {
                settings: &settings,
                catalog,
                provider: &|name| providers.get(name).map(Arc::clone),
                second_provider: &|name| {
                    let configured = with_stored(settings.providers.get(name)?, credentials);
                    // The first one could be built, so this one can.
                    Provider::build(&configured, catalog, None, clock).map(Arc::new).ok()
                },
            },
            before.map(|before| &before.experiments),
        );
        let conditions = settings.models.values().flat_map(|model| {
            model.when.iter().chain(model.targets.iter().filter_map(|target| target.when.as_ref()))
        });
        let looks_at_budget =
            { conditions }.any(|condition| condition.variables().contains(&Variable::BudgetUsed));
        Ok(Self {
            settings,
            catalog,
            keeper,
            jwt,
            providers,
            in_order,
            experiments,
            entries,
            looks_at_budget,
        })
    }

    pub(crate) fn provider(&self, name: &str) -> Option<&Arc<Provider>> {
        self.providers.get(name)
    }

    /// An entry of `models:`, as it is configured and made ready.
    pub(crate) fn entry(&self, name: &str) -> Option<(&Model, &Entry)> {
        let (place, _, model) = self.settings.models.get_full(name)?;
        Some((model, self.entries.get(place)?))
    }

    /// All entries of `models:`.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&Model, &Entry)> {
        self.settings.models.values().zip(&self.entries)
    }

    pub(crate) fn providers(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.in_order.iter()
    }
}

/// A provider with the keys that the store has for it, beside those of the configuration.
fn with_stored<'a>(
    configured: &'a tidegate_config::Provider,
    credentials: &[StoredCredential],
) -> Cow<'a, tidegate_config::Provider> {
    let mut stored = credentials.iter().filter(|stored| stored.provider == configured.name).peekable();
    if stored.peek().is_none() {
        return Cow::Borrowed(configured);
    }
    let mut configured = configured.clone();
    configured.keys.extend(stored.map(|stored| Key {
        secret: stored.secret.clone(),
        weight: 1,
        source: KeySource::Stored(stored.label.clone()),
    }));
    Cow::Owned(configured)
}
