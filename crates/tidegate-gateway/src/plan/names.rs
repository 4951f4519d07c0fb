//! What a model's name means: an entry of `models:`, `provider/upstream-model`, or a bare upstream name.

use std::sync::Arc;

use tidegate_catalog::{Catalog, Mode, ModelFacts, PriceTier, Prices, Rate};
use tidegate_config::{AUTO, Auto, Discount, PriceOverride, Settings};

use super::entries::Entry;
use crate::clock::Clock;
use crate::error::GatewayError;
use crate::provider::{Provider, ProviderError};
use crate::snapshot::Snapshot;

/// How many names are suggested for one that is not known.
const SUGGESTIONS: usize = 3;

/// What a name means.
#[derive(Debug)]
pub(crate) enum Meaning<'a> {
    /// An entry of `models:`.
    Entry(&'a tidegate_config::Model, &'a Entry),
    /// These providers serve it, under this name.
    Direct(Vec<(Arc<Provider>, &'a str)>),
}

/// A model that one can ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedModel {
    /// The name to ask for.
    pub name: String,
    /// Who serves it: `provider/upstream-model`, in order.
    pub targets: Vec<String>,
    /// Whether it is an entry of `models:`.
    pub is_entry: bool,
    /// Input tokens that fit, where known; of an entry, what fits into its first target.
    pub context_window: Option<u32>,
    /// Output tokens that it gives at most, where known.
    pub max_output: Option<u32>,
}

/// Finds out what a name means.
pub(crate) fn resolve<'a>(snapshot: &'a Snapshot, name: &'a str) -> Result<Meaning<'a>, GatewayError> {
    if let Some((model, entry)) = snapshot.entry(name) {
        return Ok(Meaning::Entry(model, entry));
    }
    // Gemini's SDKs write `models/gemini-…`.
    let name = name.strip_prefix("models/").unwrap_or(name);
    if let Some((model, entry)) = snapshot.entry(name) {
        return Ok(Meaning::Entry(model, entry));
    }
    if let Some((provider, model)) = name.split_once('/')
        && let Some(provider) = snapshot.provider(provider).filter(|_| !model.is_empty())
    {
        return Ok(Meaning::Direct(vec![(Arc::clone(provider), model)]));
    }
    let serving: Vec<_> = snapshot
        .providers()
        .filter(|provider| snapshot.catalog.model(&provider.kind, name).is_some())
        .map(|provider| (Arc::clone(provider), name))
        .collect();
    if serving.is_empty() { Err(unknown(snapshot, name)) } else { Ok(Meaning::Direct(serving)) }
}

/// Every model that one can ask for by name: the entries, then what the catalog knows of each configured provider that
/// converses.
pub(crate) fn list(snapshot: &Snapshot) -> Vec<ListedModel> {
    let auto = snapshot.settings.auto.as_ref().map(|auto| listed_auto(snapshot, auto));
    let entries = snapshot.settings.models.values().map(|entry| listed_entry(snapshot, entry));
    let direct = snapshot.providers().flat_map(|provider| {
        let models = snapshot.catalog.models(&provider.kind).iter();
        models
            .filter(|facts| facts.mode == Mode::Chat)
            .map(|facts| listed_direct(snapshot, provider, &facts.name))
    });
    auto.into_iter().chain(entries).chain(direct).collect()
}

/// The one model that a name means.
pub(crate) fn find(snapshot: &Snapshot, name: &str) -> Result<ListedModel, GatewayError> {
    if let Some(auto) = snapshot.settings.auto.as_ref().filter(|_| name == AUTO) {
        return Ok(listed_auto(snapshot, auto));
    }
    Ok(match resolve(snapshot, name)? {
        Meaning::Entry(entry, _) => listed_entry(snapshot, entry),
        Meaning::Direct(serving) => {
            let mut models = serving.iter().map(|(provider, model)| listed_direct(snapshot, provider, model));
            let mut first = models.next().ok_or_else(|| unknown(snapshot, name))?;
            first.targets.extend(models.flat_map(|model| model.targets));
            name.clone_into(&mut first.name);
            first
        }
    })
}

/// Every model that one could ask for under these settings, without a gateway that runs.
pub fn models_of(
    settings: Arc<Settings>,
    catalog: &'static Catalog,
) -> Result<Vec<ListedModel>, ProviderError> {
    Ok(list(&Snapshot::build(settings, catalog, &[], None, Clock::new())?))
}

/// What is known of a target, `provider/upstream-model`: the catalog's facts, and the prices that hold under these settings.
pub fn target_facts<'a>(
    settings: &Settings,
    catalog: &'a Catalog,
    target: &str,
) -> (Option<&'a ModelFacts>, Option<Prices>) {
    let facts = target.split_once('/').and_then(|(provider, model)| {
        let provider = settings.providers.get(provider)?;
        catalog.model(&provider.kind, model)
    });
    (facts, prices(settings, target, facts))
}

/// The catalog's prices, overridden by the configuration's, less the provider's discount: what is paid in the end.
pub(crate) fn prices(settings: &Settings, target: &str, facts: Option<&ModelFacts>) -> Option<Prices> {
    let (provider, model) = target.split_once('/')?;
    let own = settings.price_override(provider, model).map(prices_of);
    let listed = match (facts.and_then(ModelFacts::prices), own) {
        (Some(listed), Some(own)) => Some(listed.clone().overridden_by(&own)),
        (Some(listed), None) => Some(listed.clone()),
        (None, own) => own,
    };
    let discount = settings.providers.get(provider).map_or(Discount::NONE, |provider| provider.discount);
    if discount.is_none() {
        return listed;
    }
    listed.map(|prices| prices.changed_by(|rate| Rate(discount.apply(rate.0))))
}

fn prices_of(own: &PriceOverride) -> Prices {
    use tidegate_catalog::PriceKind as Kind;
    [
        (Kind::Input, own.input),
        (Kind::Output, own.output),
        (Kind::CacheRead, own.cache_read),
        (Kind::CacheWrite5m, own.cache_write),
        (Kind::Reasoning, own.reasoning),
        (Kind::InputAudio, own.input_audio),
        (Kind::OutputAudio, own.output_audio),
    ]
    .into_iter()
    .filter_map(|(kind, rate)| Some((kind, rate?)))
    .fold(Prices::new(), |prices, (kind, rate)| prices.set(PriceTier::Standard, kind, Rate(rate)))
}

fn listed_entry(snapshot: &Snapshot, entry: &tidegate_config::Model) -> ListedModel {
    let facts = entry.targets.first().and_then(|target| {
        snapshot
            .provider(&target.provider)
            .and_then(|provider| snapshot.catalog.model(&provider.kind, &target.model))
    });
    ListedModel {
        name: entry.name.clone(),
        targets: entry.targets.iter().map(|target| format!("{}/{}", target.provider, target.model)).collect(),
        is_entry: true,
        context_window: facts.and_then(|facts| facts.context_window),
        max_output: facts.and_then(|facts| facts.max_output),
    }
}

/// What stands behind `auto`: the targets of all its models, and of their windows what is sure to fit.
fn listed_auto(snapshot: &Snapshot, auto: &Auto) -> ListedModel {
    let names = [Some(&auto.small), auto.medium.as_ref(), Some(&auto.large)];
    let models: Vec<ListedModel> =
        names.into_iter().flatten().filter_map(|name| find(snapshot, name).ok()).collect();
    let least = |figure: fn(&ListedModel) -> Option<u32>| {
        models.iter().map(figure).min_by_key(|figure| figure.unwrap_or(0)).flatten()
    };
    let mut targets: Vec<String> = Vec::new();
    for target in models.iter().flat_map(|model| &model.targets) {
        if !targets.contains(target) {
            targets.push(target.clone());
        }
    }
    ListedModel {
        name: AUTO.to_owned(),
        targets,
        is_entry: true,
        context_window: least(|model| model.context_window),
        max_output: least(|model| model.max_output),
    }
}

fn listed_direct(snapshot: &Snapshot, provider: &Provider, model: &str) -> ListedModel {
    let facts = snapshot.catalog.model(&provider.kind, model);
    let name = format!("{}/{model}", provider.name);
    ListedModel {
        targets: vec![name.clone()],
        name,
        is_entry: false,
        context_window: facts.and_then(|facts| facts.context_window),
        max_output: facts.and_then(|facts| facts.max_output),
    }
}

fn unknown(snapshot: &Snapshot, name: &str) -> GatewayError {
    let entries = snapshot.settings.models.keys().map(String::as_str);
    let mut closest: Vec<String> = tidegate_config::closest(name, entries, SUGGESTIONS);
    let bare = name.split_once('/').map_or(name, |(_, model)| model);
    for suggestion in snapshot.catalog.closest(bare, SUGGESTIONS * 4) {
        let mut serving = snapshot
            .providers()
            .filter(|provider| snapshot.catalog.model(&provider.kind, suggestion).is_some())
            .map(|provider| format!("{}/{suggestion}", provider.name));
        if let Some(served) = serving.next()
            && closest.len() < SUGGESTIONS
            && !closest.contains(&served)
        {
            closest.push(served);
        }
    }
    GatewayError::no_such_model(name, &closest)
}
