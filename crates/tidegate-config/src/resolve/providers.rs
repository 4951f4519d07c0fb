//! The `providers` section, and the providers that the environment alone makes.

use std::net::IpAddr;

use http::{HeaderName, HeaderValue, Uri};
use indexmap::IndexMap;

use super::{Resolver, policy::narrowed};
use crate::diagnostic::Mistake;
use crate::env::Environment;
use crate::file::{KeyEntry, Named, ProviderSection};
use crate::known::{self, Kind};
use crate::read::Located;
use crate::secret::Secret;
use crate::settings::{Discount, Key, KeySource, Policy, Provider, Settings, Timeouts};
use crate::suggest;
use crate::yaml::Node;

/// Headers that belong to the connection and the body, not to the configuration.
const OWN_HEADERS: [&str; 7] =
    ["host", "content-length", "content-type", "transfer-encoding", "connection", "upgrade", "te"];

/// The providers whose usual key variable is set: what runs without a `providers` section.
pub(super) fn from_environment(environment: &Environment, timeouts: Timeouts) -> IndexMap<String, Provider> {
    let mut providers = IndexMap::new();
    for kind in known::kinds() {
        let Some(key) = key_of(kind, environment) else { continue };
        // An address that lacks its account or region, or that only the user knows, takes a file.
        let Ok(Some(base_url)) = kind.base_url(environment) else { continue };
        let provider = Provider {
            name: kind.id().to_owned(),
            kind: kind.id().to_owned(),
            base_url,
            keys: vec![key],
            headers: IndexMap::new(),
            discount: Discount::NONE,
            timeouts,
            health_check: None,
        };
        providers.insert(provider.name.clone(), provider);
    }
    providers
}

/// The key that the environment holds for a kind of provider.
fn key_of(kind: Kind, environment: &Environment) -> Option<Key> {
    kind.key_variables().find_map(|name| {
        let value = environment.get(name)?;
        // A line break at the end is left behind by `$(cat file)` in some shells, and no header can carry it.
        let secret = Secret::new(value.trim());
        Some(Key { secret, weight: 1, source: KeySource::Variable(name.to_owned()) })
    })
}

impl Resolver<'_> {
    /// Whether the file has that provider, even one that could not be read: that was reported where it stands.
    pub(super) fn has_provider(&self, name: &str, providers: &IndexMap<String, Provider>) -> bool {
        providers.contains_key(name)
            || self.tree.get("providers").is_some_and(|tree| tree.get(name).is_some())
    }

    pub(super) fn providers(
        &mut self,
        sections: &Named<Option<ProviderSection>>,
        general: &Policy,
        notices: &mut Vec<String>,
    ) -> IndexMap<String, Provider> {
        let mut providers = IndexMap::new();
        let nothing = ProviderSection::default();
        for (name, section) in &sections.0 {
            self.check_name("provider", name, &section.key_place, false);
            let at = section;
            let section = section.value.as_ref().unwrap_or(&nothing);
            let Some(kind) = self.kind(name, at, section) else { continue };
            let base_url = self.base_url(name, kind, at, section);
            if kind.adds_version() && base_url.rsplit('/').next().is_some_and(|last| last.starts_with("v1")) {
                notices.push(format!(
                    "providers.{name}.base_url ends in its version, which {}'s SDK adds itself: is `{base_url}` meant?",
                    kind.id()
                ));
            }
            let provider = Provider {
                name: name.clone(),
                kind: kind.id().to_owned(),
                base_url,
                keys: self.keys(name, kind, at, section),
                headers: self.headers(&section.headers),
                discount: section.discount.map_or(Discount::NONE, |discount| discount.0),
                timeouts: narrowed(general.timeouts, section.timeout),
                health_check: self.health_check(section.health_check.as_ref()),
            };
            providers.insert(name.clone(), provider);
        }
        providers
    }

    /// A provider at the gateway's own address would have it call itself until something gives way.
    pub(super) fn refuse_self_calls(
        &mut self,
        sections: &Named<Option<ProviderSection>>,
        settings: &Settings,
    ) {
        let listen = settings.server.listen;
        for (name, section) in &sections.0 {
            let Some(provider) = settings.providers.get(name) else { continue };
            let Ok(uri) = provider.base_url.parse::<Uri>() else { continue };
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
            let is_here =
                host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
            if is_here && listen.port() != 0 && uri.port_u16() == Some(listen.port()) {
                let mistake =
                    Mistake::new(format!("the provider `{name}` is at the address where Tidegate listens"));
                let place = section.value.as_ref().and_then(|section| section.base_url.as_ref());
                let place = place.map_or(&section.key_place, |base_url| &base_url.place);
                self.mistakes.push(mistake.help("give one of them another port").at(place.clone()));
            }
        }
    }

    fn kind(
        &mut self,
        name: &str,
        at: &Located<Option<ProviderSection>>,
        section: &ProviderSection,
    ) -> Option<Kind> {
        let (id, place) = match &section.kind {
            Some(kind) => (kind.value.as_str(), &kind.place),
            None => (name, &at.key_place),
        };
        let found = known::find_kind(id);
        // A kind that was written and could not be read has been reported.
        if found.is_none() && (section.kind.is_some() || !self.was_written(name, &["kind"])) {
            let help = match suggest::most_alike(id, known::kinds().map(Kind::id)) {
                Some(close) if section.kind.is_some() => format!("did you mean `{close}`?"),
                Some(close) => format!("did you mean `{close}`? Else say what it is, with `kind`"),
                None => {
                    "for a server that speaks the OpenAI API: `kind: openai-compatible` with its `base_url`"
                        .to_owned()
                }
            };
            self.mistakes
                .push(Mistake::new(format!("no provider is known as `{id}`")).help(help).at(place.clone()));
        }
        found
    }

    /// A provider's section as it was written.
    fn section(&self, provider: &str) -> Option<&Node> {
        self.tree.get("providers").and_then(|tree| tree.get(provider))
    }

    /// Whether one of those keys stands in a provider's section, readable or not.
    fn was_written(&self, provider: &str, keys: &[&str]) -> bool {
        self.section(provider).is_some_and(|section| keys.iter().any(|key| section.get(key).is_some()))
    }

    fn base_url(
        &mut self,
        name: &str,
        kind: Kind,
        at: &Located<Option<ProviderSection>>,
        section: &ProviderSection,
    ) -> String {
        let Some(written) = &section.base_url else {
            let wrong = match kind.base_url(self.environment) {
                Ok(Some(base_url)) => return base_url,
                Ok(None) => Mistake::new(format!("the provider `{name}` has no `base_url`")).help(format!(
                    "only you know where your `{}` server is: `base_url: http://…/v1`",
                    kind.id()
                )),
                Err(error) => {
                    let missing = format!(
                        "the base URL of `{name}` needs the environment variable `{}`",
                        error.variable
                    );
                    Mistake::new(missing).help("set it, or write `base_url` here")
                }
            };
            // An address that was written and could not be read has been reported.
            if !self.was_written(name, &["base_url"]) {
                self.mistakes.push(wrong.at(at.key_place.clone()));
            }
            return String::new();
        };
        let url = written.value.trim().trim_end_matches('/');
        if let Err(why) = check_base_url(url) {
            self.report(
                Mistake::new(format!("`base_url` {why}")).help("write it as `https://host/path`"),
                written,
            );
        }
        url.to_owned()
    }

    fn keys(
        &mut self,
        name: &str,
        kind: Kind,
        at: &Located<Option<ProviderSection>>,
        section: &ProviderSection,
    ) -> Vec<Key> {
        if let (Some(_), Some(keys)) = (&section.api_key, &section.keys) {
            let mistake = Mistake::new(format!("the provider `{name}` has both `api_key` and `keys`"));
            self.mistakes.push(mistake.help("put all of them under `keys`").at(keys.key_place.clone()));
        }
        let mut keys = Vec::new();
        if let Some(api_key) = &section.api_key {
            keys.push(self.key(&api_key.value, api_key, 1));
        }
        if let Some(list) = &section.keys {
            if self.section(name).and_then(|section| section.get("keys")).is_some_and(Node::is_empty_list) {
                self.report(Mistake::new(format!("`keys` of the provider `{name}` is empty")), list);
            }
            for entry in &list.value {
                let key = match &entry.value {
                    KeyEntry::Text(text) => self.key(text, entry, 1),
                    KeyEntry::Mapping(mapping) => {
                        let weight = self.weight(mapping.weight.as_ref());
                        self.key(&mapping.key.value, &mapping.key, weight)
                    }
                };
                keys.push(key);
            }
        }
        if keys.is_empty() && !self.was_written(name, &["api_key", "keys"]) {
            keys.extend(key_of(kind, self.environment));
            // With a master key the store may have its key, now or later. It is opened after the configuration is read.
            if keys.is_empty()
                && kind.needs_key()
                && !self.environment.has_master_key()
                && let Some(variable) = kind.key_variables().next()
            {
                let mistake = Mistake::new(format!("the provider `{name}` has no key"));
                let help = format!(
                    "set the environment variable `{variable}`, write `api_key` here, or set TIDEGATE_MASTER_KEY and keep it in \
                     the store"
                );
                self.mistakes.push(mistake.help(help).at(at.key_place.clone()));
            }
        }
        keys
    }

    fn key<T>(&mut self, text: &str, at: &Located<T>, weight: u32) -> Key {
        let text = text.trim();
        if text.is_empty() {
            self.report(Mistake::new("the key is empty"), at);
        } else if HeaderValue::from_str(text).is_err() {
            self.report(Mistake::new("the key holds a character that no HTTP header can carry"), at);
        }
        let source = self.sources.get(&at.place.start).cloned().unwrap_or(KeySource::Inline);
        Key { secret: Secret::new(text), weight, source }
    }

    fn headers(&mut self, headers: &Named<String>) -> IndexMap<String, Secret> {
        let mut resolved = IndexMap::new();
        for (name, value) in &headers.0 {
            let lower = name.to_ascii_lowercase();
            let wrong = if OWN_HEADERS.contains(&lower.as_str()) {
                Some(format!("the header `{name}` is set by Tidegate itself"))
            } else if HeaderName::from_bytes(lower.as_bytes()).is_err() {
                Some(format!("`{name}` cannot be the name of an HTTP header"))
            } else if HeaderValue::from_str(&value.value).is_err() {
                Some(format!("the value of `{name}` holds a character that no HTTP header can carry"))
            } else if resolved.contains_key(&lower) {
                Some(format!("the header `{name}` stands here twice"))
            } else {
                None
            };
            if let Some(wrong) = wrong {
                self.mistakes.push(Mistake::new(wrong).at(value.key_place.clone()));
            }
            resolved.insert(lower, Secret::new(value.value.as_str()));
        }
        resolved
    }
}

/// Why a URL cannot be a base URL. It is not quoted: some people put passwords into URLs.
fn check_base_url(url: &str) -> Result<(), &'static str> {
    let uri: Uri = url.parse().map_err(|_not_a_url| "is not a URL")?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        _ => return Err("must begin with `https://` or `http://`"),
    }
    let authority = uri.authority().ok_or("has no host")?;
    if authority.as_str().contains('@') {
        return Err("holds a user name or password; credentials belong into `api_key` or `headers`");
    }
    if authority.host().is_empty() {
        return Err("has no host");
    }
    if uri.query().is_some() || url.contains('#') {
        return Err("has a query or fragment, which would not survive the path that is added");
    }
    Ok(())
}
