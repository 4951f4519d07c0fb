//! The catalog itself: providers and their models, and how they are found. Loaded once a process, then only read.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use crate::error::{CatalogError, LineError};
use crate::lookup;
use crate::model::ModelFacts;
use crate::provider::{Entry, Provider};

const PROVIDERS: &str = include_str!("../data/providers.toml");
const MODELS: &str = include_str!("../data/models.txt");

static BUILTIN: LazyLock<Catalog> = LazyLock::new(|| {
    // The shipped data is tested, so this cannot fail. Were it broken all the same, a catalog without any provider shows that at once.
    Catalog::parse(PROVIDERS, MODELS).unwrap_or_default()
});

/// Everything that is known about providers and models.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Sorted by id.
    providers: Vec<Provider>,
    /// The models of the provider at the same place, sorted by name.
    models: Vec<Vec<ModelFacts>>,
    /// Ids and aliases, with the place of their provider.
    names: HashMap<Box<str>, usize>,
}

impl Catalog {
    /// The catalog that is part of the program. Read on first use, which takes a few milliseconds.
    pub fn builtin() -> &'static Self {
        &BUILTIN
    }

    /// Reads a catalog from text in the form of the shipped `providers.toml` and `models.txt`.
    pub fn parse(providers: &str, models: &str) -> Result<Self, CatalogError> {
        let entries: BTreeMap<Box<str>, Entry> = toml::from_str(providers).map_err(Box::new)?;
        let providers: Vec<Provider> =
            entries.into_iter().map(|(id, entry)| entry.into_provider(id)).collect();
        let names = names(&providers)?;
        let mut catalog = Self { models: vec![Vec::new(); providers.len()], providers, names };
        catalog.read_models(models)?;
        Ok(catalog)
    }

    /// The provider with this id or alias.
    pub fn provider(&self, id: &str) -> Option<&Provider> {
        self.providers.get(*self.names.get(id)?)
    }

    /// Every provider, by id.
    pub fn providers(&self) -> impl Iterator<Item = &Provider> {
        self.providers.iter()
    }

    /// The model at the provider: under this name, or one that differs from a listed name by what cannot change the price (see
    /// `lookup::find`). `None`: nothing is known, and no price may be guessed.
    pub fn model(&self, provider: &str, upstream_model: &str) -> Option<&ModelFacts> {
        lookup::find(self.models(provider), upstream_model)
    }

    /// All models of the provider, by name; none for a provider that is not known.
    pub fn models(&self, provider: &str) -> &[ModelFacts] {
        let place = self.names.get(provider).copied();
        place.and_then(|place| self.models.get(place)).map_or(&[], Vec::as_slice)
    }

    /// The providers that serve the model under this bare name, with its facts there.
    pub fn providers_serving(&self, bare_model: &str) -> impl Iterator<Item = (&Provider, &ModelFacts)> {
        let places = self.providers.iter().zip(&self.models);
        places.filter_map(move |(provider, models)| Some((provider, lookup::find(models, bare_model)?)))
    }

    /// Model names like this one, the most alike first, for "did you mean". `provider/model` is compared with that provider's models only.
    pub fn closest(&self, name: &str, limit: usize) -> Vec<&str> {
        if let Some((provider, model)) = name.split_once('/')
            && self.provider(provider).is_some()
        {
            return lookup::closest(self.models(provider).iter().map(|facts| &*facts.name), model, limit);
        }
        let names = self.models.iter().flatten().map(|facts| &*facts.name);
        lookup::closest(names, name, limit)
    }

    /// Provider ids like this one, the most alike first.
    pub fn closest_providers(&self, id: &str, limit: usize) -> Vec<&str> {
        lookup::closest(self.providers.iter().map(|provider| &*provider.id), id, limit)
    }

    fn read_models(&mut self, text: &str) -> Result<(), CatalogError> {
        let mut section: Option<usize> = None;
        for (number, line) in (1..).zip(text.lines()) {
            let wrong = |source| CatalogError::Model { line: number, source };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(id) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                let place = self.providers.binary_search_by(|provider| (*provider.id).cmp(id));
                let place = place.map_err(|_absent| wrong(LineError::UnknownProvider(id.to_owned())))?;
                if self.models.get(place).is_some_and(|models| !models.is_empty()) {
                    return Err(wrong(LineError::SectionTwice(id.to_owned())));
                }
                section = Some(place);
                continue;
            }
            let models = section
                .and_then(|place| self.models.get_mut(place))
                .ok_or_else(|| wrong(LineError::NoProvider))?;
            models.push(ModelFacts::parse(line).map_err(wrong)?);
        }
        for models in &mut self.models {
            models.sort_by(|one, other| one.name.cmp(&other.name));
            models.shrink_to_fit();
            let twice = models.iter().zip(models.iter().skip(1)).find(|(one, next)| one.name == next.name);
            if let Some((twice, _)) = twice {
                let lines = (1..).zip(text.lines());
                let named =
                    lines.filter(|(_, line)| line.split_ascii_whitespace().next() == Some(&twice.name));
                let line = named.last().map_or(0, |(number, _)| number);
                return Err(CatalogError::Model {
                    line,
                    source: LineError::ModelTwice(twice.name.to_string()),
                });
            }
        }
        Ok(())
    }
}

fn names(providers: &[Provider]) -> Result<HashMap<Box<str>, usize>, CatalogError> {
    let mut names = HashMap::new();
    for (place, provider) in providers.iter().enumerate() {
        for name in std::iter::once(&provider.id).chain(&provider.aliases) {
            if let Some(taken) = names.insert(name.clone(), place) {
                let first = providers.get(taken).map_or_else(String::new, |provider| provider.id.to_string());
                return Err(CatalogError::NameTaken {
                    name: name.to_string(),
                    first,
                    second: provider.id.to_string(),
                });
            }
        }
    }
    Ok(names)
}
