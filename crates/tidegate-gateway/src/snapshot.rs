//! Everything that a reload replaces as one unit: settings and the providers and models built from them.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_catalog::Catalog;
use tidegate_config::Settings;

use crate::provider::{Provider, ProviderError};

/// The configuration in force, made ready.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) settings: Arc<Settings>,
    pub(crate) catalog: &'static Catalog,
    providers: HashMap<Arc<str>, Arc<Provider>>,
    /// In the configuration's order, which decides between providers that serve the same bare name.
    in_order: Vec<Arc<Provider>>,
}

impl Snapshot {
    /// Makes settings ready, taking over what is known of keys that stayed.
    pub(crate) fn build(
        settings: Arc<Settings>,
        catalog: &'static Catalog,
        before: Option<&Snapshot>,
    ) -> Result<Self, ProviderError> {
        let mut providers = HashMap::with_capacity(settings.providers.len());
        let mut in_order = Vec::with_capacity(settings.providers.len());
        for configured in settings.providers.values() {
            let known = before.and_then(|before| before.provider(&configured.name)).map(Arc::as_ref);
            let provider = Arc::new(Provider::build(configured, catalog, known)?);
            providers.insert(Arc::clone(&provider.name), Arc::clone(&provider));
            in_order.push(provider);
        }
        Ok(Self { settings, catalog, providers, in_order })
    }

    pub(crate) fn provider(&self, name: &str) -> Option<&Arc<Provider>> {
        self.providers.get(name)
    }

    pub(crate) fn providers(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.in_order.iter()
    }
}
