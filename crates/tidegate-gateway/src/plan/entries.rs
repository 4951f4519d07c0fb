//! The entries of `models:` made ready, once for each configuration: so that a call looks nothing up by name but its model.

use std::sync::Arc;

use tidegate_catalog::Catalog;
use tidegate_config::{Condition, Settings};

use super::order::{Planned, PlannedTarget};
use crate::provider::Provider;

/// An entry of `models:`, ready to be planned with.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its targets, each with its place in the configuration.
    pub(crate) targets: Box<[EntryTarget]>,
}

/// One target of an entry.
#[derive(Debug)]
pub(crate) struct EntryTarget {
    /// Its place in the configuration's list.
    pub(crate) place: usize,
    pub(crate) weight: u32,
    /// A call for which it does not hold does not go there.
    pub(crate) when: Option<Condition>,
    pub(crate) planned: Planned,
}

/// The target of an experiment's arm: it takes the place of its model's own targets.
#[derive(Debug)]
pub(crate) struct ArmTarget {
    /// The entry of `models:`.
    pub(crate) model: Box<str>,
    pub(crate) target: EntryTarget,
}

impl EntryTarget {
    /// A target that stands alone.
    pub(crate) fn alone(
        provider: Arc<Provider>,
        configured: &tidegate_config::Target,
        settings: &Settings,
        catalog: &Catalog,
    ) -> Self {
        let target = provider.target(&configured.model, catalog, settings);
        let (timeouts, retry) = (configured.timeouts, configured.retry);
        let planned = Planned::new(PlannedTarget { provider, target, timeouts, retry });
        Self { place: 0, weight: 1, when: None, planned }
    }
}

/// Makes all entries ready, in the configuration's order.
pub(crate) fn prepare<'a>(
    settings: &Settings,
    catalog: &Catalog,
    provider: impl Fn(&str) -> Option<&'a Arc<Provider>>,
) -> Vec<Entry> {
    settings
        .models
        .values()
        .map(|model| {
            let targets = model.targets.iter().enumerate().filter_map(|(place, configured)| {
                let provider = Arc::clone(provider(&configured.provider)?);
                let (weight, when) = (configured.weight, configured.when.clone());
                Some(EntryTarget {
                    place,
                    weight,
                    when,
                    ..EntryTarget::alone(provider, configured, settings, catalog)
                })
            });
            Entry { targets: targets.collect() }
        })
        .collect()
}
