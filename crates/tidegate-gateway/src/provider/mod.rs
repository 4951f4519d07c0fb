//! A configured provider made ready: where it is, how one signs in, how its keys and targets are doing. Built by
//! [`crate::snapshot`], read by `plan` and `attempt`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tidegate_catalog::{Capabilities, Catalog};
use tidegate_config::{Discount, Settings};
use tidegate_policy::{Moment, Readiness, WhyOut, pick_key};
use tidegate_store::Text;
use tidegate_wire::{Continuation, Dialect, TargetTraits};

use crate::bill::Priced;
use crate::clock::Clock;
use crate::health::{KeyHealth, TargetHealth};
use crate::plan;
use crate::series::TargetSeries;
use crate::upstream::Endpoint;

/// The most targets of one provider that are remembered, and the most model names that get figures of their own. Names
/// come from callers: made-up ones make room, and figures of further ones are counted together.
const MAX_TARGETS: usize = 2_048;

/// For so long a provider without a key is said to be out, whenever somebody looks.
const NO_KEY: Duration = Duration::from_secs(60);

/// Shorter than this, what stands in the place of a secret is none, and may be part of any word.
const LEAST_SECRET: usize = 8;

/// Why a provider cannot be made ready.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// Its base URL is no URL that can be called.
    #[error("provider `{provider}`: the base URL cannot be used; write it like https://host/path")]
    BaseUrl {
        /// The provider.
        provider: String,
        /// What is wrong with it.
        #[source]
        source: crate::upstream::EndpointError,
    },
    /// A key or header has bytes that HTTP does not allow.
    #[error(
        "provider `{provider}`: {what} has characters that a header cannot carry; is there a line break in it?"
    )]
    Header {
        /// The provider.
        provider: String,
        /// Which.
        what: String,
    },
    /// Bodies cannot be kept as the configuration wants.
    #[error("`ledger.bodies` cannot be used")]
    Bodies(#[from] crate::keep::KeepError),
    /// The catalog does not know its kind.
    #[error("provider `{provider}`: the kind `{kind}` is not in the catalog")]
    Kind {
        /// The provider.
        provider: String,
        /// Its kind.
        kind: String,
    },
}

/// A provider, ready to be called.
#[derive(Debug)]
pub(crate) struct Provider {
    /// Its configured name.
    pub(crate) name: Arc<str>,
    /// Its kind in the catalog.
    pub(crate) kind: Arc<str>,
    /// Where it speaks which dialect, its main one first. Never empty.
    pub(crate) doors: Vec<Door>,
    /// Its keys; one without a secret where there is none.
    pub(crate) keys: Vec<Key>,
    /// Whether it takes a key and has none yet: nothing is sent there.
    pub(crate) lacks_key: bool,
    targets: RwLock<HashMap<Arc<str>, Arc<Target>>>,
    /// How targets were doing before the last reload.
    health_before: HashMap<Arc<str>, Arc<TargetHealth>>,
    /// How many names have got series of their own in the metrics.
    named: AtomicUsize,
    clock: Clock,
}

/// One dialect of a provider.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) dialect: Dialect,
    pub(crate) endpoint: Endpoint,
    /// The headers of every request: fixed ones, content type, user agent.
    pub(crate) headers: HeaderMap,
    /// Which header carries the key.
    pub(crate) auth: HeaderName,
    auth_prefix: &'static str,
}

/// One key of a provider.
#[derive(Debug)]
pub(crate) struct Key {
    /// What the ledger calls it; never the secret.
    pub(crate) label: Text,
    weight: u32,
    /// The key as header value, for each door.
    values: Vec<Option<HeaderValue>>,
    fingerprint: u64,
    pub(crate) health: Arc<KeyHealth>,
}

impl Key {
    /// Tells it from other keys as long as this process runs.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Whether it can be used for a target, and if not, when.
    pub(crate) fn readiness_at(&self, target: &TargetHealth, now: Moment) -> Readiness {
        let everywhere = self.health.readiness(now);
        match target.troubled_keys().find(self.fingerprint) {
            Some(here) => Readiness::of(everywhere, here.readiness(now)),
            None => everywhere,
        }
    }

    fn is_ready_at(&self, target: &TargetHealth, now: Moment) -> bool {
        self.readiness_at(target, now) == Readiness::Ready
    }

    /// The header value for this door.
    pub(crate) fn value(&self, door: usize) -> Option<&HeaderValue> {
        self.values.get(door).and_then(Option::as_ref)
    }
}

/// A provider's model: what `plan` chooses among, whatever the key.
#[derive(Debug)]
pub(crate) struct Target {
    /// `provider/upstream-model`.
    pub(crate) label: Arc<str>,
    /// The model's name at the provider.
    pub(crate) model: Arc<str>,
    /// Input tokens that fit, where known.
    pub(crate) window: Option<u64>,
    /// What it can do, where known.
    pub(crate) capabilities: Option<Capabilities>,
    /// What it takes and refuses.
    pub(crate) traits: TargetTraits,
    /// What it costs, where known.
    pub(crate) prices: Option<Priced>,
    /// Whether it has served in a dearer tier without being asked to: the provider's own settings say so.
    pub(crate) is_raised: AtomicBool,
    pub(crate) health: Arc<TargetHealth>,
    pub(crate) series: TargetSeries,
    /// Whether it has refused to go on with an answer that was begun elsewhere. Targets are built anew at a reload, and
    /// may then be given the beginning once more.
    refuses_beginnings: AtomicBool,
}

impl Target {
    /// Whether it goes on with an answer that was begun elsewhere, when it is given the beginning.
    pub(crate) fn takes_beginnings(&self) -> bool {
        self.traits.continuation != Continuation::None && !self.refuses_beginnings.load(Ordering::Relaxed)
    }

    /// It has refused one, or was found to have minded something else.
    pub(crate) fn refuses_beginnings(&self, does_so: bool) {
        self.refuses_beginnings.store(does_so, Ordering::Relaxed);
    }
}

impl Provider {
    /// Makes a configured provider ready. Health is taken over from the provider of the same name before a reload, for
    /// keys that stayed and, at the same address, for targets.
    pub(crate) fn build(
        configured: &tidegate_config::Provider,
        catalog: &Catalog,
        before: Option<&Provider>,
        clock: Clock,
    ) -> Result<Self, ProviderError> {
        let name = configured.name.clone();
        let facts = catalog
            .provider(&configured.kind)
            .ok_or_else(|| ProviderError::Kind { provider: name.clone(), kind: configured.kind.clone() })?;
        let is_moved = facts.base_url() != Some(configured.base_url.as_str());
        let mut doors = Vec::new();
        for (place, door) in facts.endpoints().iter().enumerate() {
            let base_url = match &door.base_url {
                _ if place == 0 => configured.base_url.as_str(),
                // A provider that was moved elsewhere speaks its main dialect there; whether others too, nobody said.
                Some(url) if !is_moved && !url.contains("${") => url,
                _ => continue,
            };
            let endpoint = Endpoint::parse(base_url)
                .map_err(|source| ProviderError::BaseUrl { provider: name.clone(), source })?;
            let mut headers = HeaderMap::new();
            headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(
                http::header::USER_AGENT,
                HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION"))),
            );
            let fixed = door.headers.iter().map(|(header, value)| (&**header, &**value));
            let own = configured.headers.iter().map(|(header, value)| (header.as_str(), value.expose()));
            let fixed = fixed.map(|(header, value)| (header, value, false));
            for (header, value, is_secret) in fixed.chain(own.map(|(header, value)| (header, value, true))) {
                let wrong = || ProviderError::Header {
                    provider: name.clone(),
                    what: format!("the header `{header}`"),
                };
                let header = HeaderName::try_from(header).map_err(|_error| wrong())?;
                let mut value = HeaderValue::from_str(value).map_err(|_error| wrong())?;
                value.set_sensitive(is_secret);
                headers.insert(header, value);
            }
            doors.push(Door {
                dialect: door.dialect,
                endpoint,
                headers,
                auth: HeaderName::from_static(door.auth.header()),
                auth_prefix: door.auth.prefix(),
            });
        }
        let keys = build_keys(configured, &doors, before)?;
        let mut provider = Self {
            name: configured.name.as_str().into(),
            kind: configured.kind.as_str().into(),
            doors,
            keys,
            lacks_key: facts.needs_key && configured.keys.is_empty(),
            targets: RwLock::default(),
            health_before: HashMap::new(),
            named: AtomicUsize::new(0),
            clock,
        };
        if let Some(before) = before {
            provider.take_over(before);
        }
        Ok(provider)
    }

    fn take_over(&mut self, before: &Self) {
        self.named = AtomicUsize::new(before.named.load(Ordering::Relaxed));
        let address =
            |provider: &Self| provider.doors.first().map(|door| (door.dialect, door.endpoint.to_string()));
        if address(self) != address(before) {
            return;
        }
        let targets = before.targets.read().unwrap_or_else(PoisonError::into_inner);
        let used = targets.iter().map(|(model, target)| (model, &target.health));
        let unused = before.health_before.iter().filter(|(model, _)| !targets.contains_key(*model));
        self.health_before = used
            .chain(unused)
            .take(MAX_TARGETS)
            .map(|(model, health)| (Arc::clone(model), Arc::clone(health)))
            .collect();
        for health in self.health_before.values() {
            health.readmit();
        }
    }

    /// Takes the provider's secrets out of a text that a caller will see: providers quote what they refuse.
    pub(crate) fn conceal(&self, text: &mut String) {
        let own_headers = self.doors.iter().flat_map(|door| door.headers.values());
        let own_headers = own_headers.filter(|value| value.is_sensitive()).map(HeaderValue::as_bytes);
        let keys = self.keys.iter().flat_map(|key| key.values.iter().flatten().zip(&self.doors));
        let keys = keys.map(|(value, door)| {
            let value = value.as_bytes();
            value.strip_prefix(door.auth_prefix.as_bytes()).unwrap_or(value)
        });
        for secret in keys.chain(own_headers).filter_map(|secret| std::str::from_utf8(secret).ok()) {
            if secret.len() >= LEAST_SECRET && text.contains(secret) {
                *text = text.replace(secret, "***");
            }
        }
    }

    /// The door for a caller of this dialect: the one that speaks it, else the main one.
    pub(crate) fn door_for(&self, dialect: Dialect) -> usize {
        self.doors.iter().position(|door| door.dialect == dialect).unwrap_or(0)
    }

    /// The target for a model of this provider.
    pub(crate) fn target(&self, model: &str, catalog: &Catalog, settings: &Settings) -> Arc<Target> {
        let targets = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(target) = targets.get(model) {
            return Arc::clone(target);
        }
        drop(targets);
        let health = self.health_before.get(model).cloned();
        let health = health.unwrap_or_else(|| Arc::new(TargetHealth::new(self.clock.now())));
        let has_series = health.has_series() || {
            let named = &self.named;
            let one_more = |named| (named < MAX_TARGETS).then_some(named + 1);
            named.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
        };
        if has_series {
            health.gets_series();
        }
        let series_model = if has_series { model } else { "other" };
        let target = Arc::new(self.build_target(model, catalog, settings, health, series_model));
        let mut targets = self.targets.write().unwrap_or_else(PoisonError::into_inner);
        if targets.len() >= MAX_TARGETS {
            targets.retain(|_, known| known.health.has_answered() || Arc::strong_count(known) > 1);
        }
        if targets.len() >= MAX_TARGETS {
            return target;
        }
        Arc::clone(targets.entry(model.into()).or_insert(target))
    }

    /// All targets that were asked for or are configured.
    pub(crate) fn known_targets(&self) -> Vec<Arc<Target>> {
        self.targets.read().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect()
    }

    /// Whether any key can be used for a target, and if not, when.
    pub(crate) fn key_readiness(&self, target: &TargetHealth, now: Moment) -> Readiness {
        if self.lacks_key {
            // Until a key is set, which makes this provider anew.
            return Readiness::Out { why: WhyOut::KeysRefused, probe_at: now.saturating_add(NO_KEY) };
        }
        let mut cooling: Option<Moment> = None;
        let mut out: Option<(WhyOut, Moment)> = None;
        for key in &self.keys {
            match key.readiness_at(target, now) {
                Readiness::Ready => return Readiness::Ready,
                Readiness::Cooling { until } => {
                    cooling = Some(cooling.map_or(until, |least| least.min(until)));
                }
                Readiness::Out { why, probe_at } => {
                    out = Some(out.map_or((why, probe_at), |least| least.min((why, probe_at))));
                }
            }
        }
        match (cooling, out) {
            (Some(until), _) => Readiness::Cooling { until },
            (None, Some((why, probe_at))) => Readiness::Out { why, probe_at },
            (None, None) => Readiness::Ready,
        }
    }

    /// Whether it has a key that it takes, and none of them rests anywhere.
    pub(crate) fn is_at_ease(&self, now: Moment) -> bool {
        let rests = |key: &Key, target: &Target| {
            matches!(key.readiness_at(&target.health, now), Readiness::Cooling { .. })
        };
        let is_limited = |target: &Arc<Target>| self.keys.iter().any(|key| rests(key, target));
        !self.lacks_key
            && self.keys.iter().any(|key| key.health.is_ready(now))
            && !self.known_targets().iter().any(is_limited)
    }

    /// What the ledger calls a key.
    pub(crate) fn key_label(&self, key: usize) -> &Text {
        self.keys.get(key).map_or(&Text::Fixed(""), |key| &key.label)
    }

    /// Whether a key other than these is ready for a target.
    pub(crate) fn has_other_ready_key(&self, tried: &[usize], target: &TargetHealth, now: Moment) -> bool {
        self.keys
            .iter()
            .enumerate()
            .any(|(place, key)| !tried.contains(&place) && key.is_ready_at(target, now))
    }

    /// The key for the next attempt at one of its targets: by weight among the ready ones that the call has not tried, those about
    /// to run dry last; else the one that is ready soonest.
    pub(crate) fn choose_key(
        &self,
        target: &TargetHealth,
        now: Moment,
        input_tokens: u64,
        tried: &[usize],
        random: f64,
    ) -> usize {
        if self.keys.len() == 1 {
            return 0;
        }
        let limits = target.limits();
        let headroom = |key: &Key| limits.headroom(key.fingerprint, now, input_tokens);
        let keys = self.keys.iter().enumerate().map(|(place, key)| {
            let may_be_asked = !tried.contains(&place) && key.is_ready_at(target, now);
            (key.weight, may_be_asked, headroom(key))
        });
        pick_key(keys, random).unwrap_or_else(|| {
            let wait = |key: &Key| match key.readiness_at(target, now) {
                Readiness::Ready => Moment::ZERO,
                Readiness::Cooling { until } => until,
                Readiness::Out { probe_at, .. } => probe_at.saturating_add(Moment::from_secs(3600)),
            };
            self.keys.iter().enumerate().min_by_key(|(_, key)| wait(key)).map_or(0, |(place, _)| place)
        })
    }

    /// The share of the provider's own limits that a call would leave, with the key that has the most; 1 where nothing is
    /// known.
    pub(crate) fn headroom(&self, target: &TargetHealth, now: Moment, input_tokens: u64) -> f64 {
        let limits = target.limits();
        if !limits.is_known() {
            return 1.0;
        }
        let ready = self.keys.iter().filter(|key| key.is_ready_at(target, now));
        ready.map(|key| limits.headroom(key.fingerprint, now, input_tokens)).fold(0.0, f64::max)
    }

    fn build_target(
        &self,
        model: &str,
        catalog: &Catalog,
        settings: &Settings,
        health: Arc<TargetHealth>,
        series_model: &str,
    ) -> Target {
        let label: Arc<str> = format!("{}/{model}", self.name).into();
        let facts = catalog.model(&self.kind, model);
        let prices = plan::names::prices(settings, &label, facts);
        let configured = settings.providers.get(&*self.name);
        let discount = configured.map_or(Discount::NONE, |provider| provider.discount);
        let prices = prices.map(|prices| Priced::new(prices, discount));
        Target {
            window: facts.and_then(|facts| facts.context_window).map(u64::from),
            traits: catalog.target_traits(&self.kind, model),
            prices,
            is_raised: AtomicBool::new(false),
            capabilities: facts.map(|facts| facts.capabilities).filter(|can| *can != Capabilities::NONE),
            health,
            series: TargetSeries::new(&self.name, series_model),
            refuses_beginnings: AtomicBool::new(false),
            model: model.into(),
            label,
        }
    }
}

fn build_keys(
    configured: &tidegate_config::Provider,
    doors: &[Door],
    before: Option<&Provider>,
) -> Result<Vec<Key>, ProviderError> {
    if configured.keys.is_empty() {
        return Ok(vec![Key {
            label: Text::default(),
            weight: 1,
            values: vec![None; doors.len()],
            fingerprint: 0,
            health: Arc::default(),
        }]);
    }
    let mut keys = Vec::with_capacity(configured.keys.len());
    for (number, key) in (1..).zip(&configured.keys) {
        let secret = key.secret.expose();
        let mut values = Vec::with_capacity(doors.len());
        for door in doors {
            let mut value =
                HeaderValue::from_str(&format!("{}{secret}", door.auth_prefix)).map_err(|_error| {
                    ProviderError::Header { provider: configured.name.clone(), what: format!("key {number}") }
                })?;
            value.set_sensitive(true);
            values.push(Some(value));
        }
        let fingerprint = fingerprint(secret);
        let health = before
            .and_then(|before| before.keys.iter().find(|known| known.fingerprint == fingerprint))
            .map(|known| Arc::clone(&known.health))
            .unwrap_or_default();
        // A reload is the operator's word that the credentials are fine now and the limits raised.
        health.reset();
        keys.push(Key {
            label: Text::from(format!("{}#{number}", configured.name)),
            weight: key.weight,
            values,
            fingerprint,
            health,
        });
    }
    Ok(keys)
}

/// Tells keys apart across a reload without keeping them.
fn fingerprint(secret: &str) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    use std::sync::LazyLock;
    static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    STATE.hash_one(secret)
}

#[cfg(test)]
mod tests;
