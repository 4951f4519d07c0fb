//! The `models` section: targets that exist, strategies that work, fallbacks that end.

use std::collections::HashSet;

use indexmap::IndexMap;

use super::Resolver;
use crate::diagnostic::Mistake;
use crate::file::{ModelSection, Named, TargetEntry, TargetSection};
use crate::known;
use crate::read::Located;
use crate::settings::{Model, Policy, Provider, Target, Timeouts};
use crate::suggest;
use crate::yaml::Node;

type Providers = IndexMap<String, Provider>;

impl Resolver<'_> {
    pub(super) fn models(
        &mut self,
        sections: &Named<ModelSection>,
        general: &Policy,
        providers: &Providers,
    ) -> IndexMap<String, Model> {
        let mut models = IndexMap::new();
        for (name, section) in &sections.0 {
            self.check_name("model", name, &section.key_place, true);
            if let Some((provider, _)) = name.split_once('/')
                && providers.contains_key(provider)
            {
                self.mistakes.push(
                    Mistake::new(format!("`{name}` already means a model of the provider `{provider}`"))
                        .help("give the entry a name that does not begin with a provider's")
                        .at(section.key_place.clone()),
                );
            }
            let policy = self.model_policy(general, &section.value);
            let model = Model {
                name: name.clone(),
                targets: self.targets(name, section, general, &policy, providers),
                strategy: self.strategy(&section.value),
                when: self.condition(section.value.when.as_ref(), false),
                hedge: self.hedge(section.value.hedge.as_ref()),
                fallback: self.fallback(section.value.fallback.as_deref().unwrap_or_default(), providers),
                policy,
            };
            models.insert(name.clone(), model);
        }
        self.refuse_circles(sections);
        models
    }

    fn targets(
        &mut self,
        name: &str,
        section: &Located<ModelSection>,
        general: &Policy,
        policy: &Policy,
        providers: &Providers,
    ) -> Vec<Target> {
        let entries = section.value.targets.as_ref();
        let written = self.tree.get("models").and_then(|models| models.get(name)?.get("targets"));
        if written.is_none_or(Node::is_empty_list) {
            let place = entries.map_or(&section.key_place, |entries| &entries.place).clone();
            let mistake = Mistake::new(format!("the model `{name}` has no targets"));
            self.mistakes.push(mistake.help("list them: `targets: [provider/upstream-model]`").at(place));
        }
        let mut targets = Vec::new();
        for entry in entries.map(|entries| entries.value.as_slice()).unwrap_or_default() {
            let target = match &entry.value {
                TargetEntry::Text(text) => {
                    let text = Located {
                        value: text.clone(),
                        place: entry.place.clone(),
                        key_place: entry.key_place.clone(),
                    };
                    self.target(&text, None, &section.value, general, policy, providers)
                }
                TargetEntry::Mapping(mapping) => {
                    self.target(&mapping.model, Some(mapping), &section.value, general, policy, providers)
                }
            };
            targets.extend(target);
        }
        targets
    }

    pub(super) fn target(
        &mut self,
        written: &Located<String>,
        settings: Option<&TargetSection>,
        model: &ModelSection,
        general: &Policy,
        policy: &Policy,
        providers: &Providers,
    ) -> Option<Target> {
        let weight = self.weight_or_none(settings.and_then(|settings| settings.weight.as_ref()));
        let retry = self.retry(policy.retry, settings.and_then(|settings| settings.retry.as_ref()));
        let when = self.condition(settings.and_then(|settings| settings.when.as_ref()), true);
        let (provider, upstream) = self.provider_and_model(written, providers)?;
        // From the widest to the narrowest: all calls, this provider, this model, this target.
        let base = providers.get(&provider).map_or(general.timeouts, |provider| provider.timeouts);
        let own = settings.and_then(|settings| settings.timeout).unwrap_or_default();
        let of_model = model.timeout.unwrap_or_default();
        let timeouts = Timeouts {
            connect: own.connect.or(of_model.connect).map_or(base.connect, |duration| duration.0),
            first_token: own
                .first_token
                .or(of_model.first_token)
                .map_or(base.first_token, |duration| duration.0),
            answer: own
                .answer
                .or(own.first_token)
                .or(of_model.answer)
                .or(of_model.first_token)
                .map_or(base.answer, |duration| duration.0),
            idle: own.idle.or(of_model.idle).map_or(base.idle, |duration| duration.0),
            total: policy.timeouts.total,
        };
        Some(Target { provider, model: upstream, weight, when, timeouts, retry })
    }

    /// Splits `provider/upstream-model`, whose second part may hold further slashes, and makes sure of the provider.
    fn provider_and_model(
        &mut self,
        written: &Located<String>,
        providers: &Providers,
    ) -> Option<(String, String)> {
        let text = written.value.trim();
        let Some((provider, model)) =
            text.split_once('/').filter(|(provider, model)| !provider.is_empty() && !model.is_empty())
        else {
            let mistake = Mistake::new(format!("`{text}` does not say which provider to ask"));
            self.report(
                mistake.help("a target is `provider/upstream-model`, such as `openai/gpt-5-mini`"),
                written,
            );
            return None;
        };
        if !self.has_provider(provider, providers) {
            let mistake = Mistake::new(format!("the provider `{provider}` is not configured"));
            let help = self.provider_hint(provider, providers);
            let end = (written.place.start + provider.len()).min(written.place.end);
            self.mistakes.push(Mistake { help, ..mistake }.at(written.place.start..end));
            return None;
        }
        Some((provider.to_owned(), model.to_owned()))
    }

    fn provider_hint(&self, provider: &str, providers: &Providers) -> Option<String> {
        let written = self.tree.get("providers").map(Node::entries).unwrap_or_default();
        let names =
            providers.keys().map(String::as_str).chain(written.iter().map(|entry| entry.key.as_str()));
        if let Some(close) = suggest::most_alike(provider, names) {
            return Some(format!("did you mean `{close}`?"));
        }
        if let Some(kind) = known::find_kind(provider) {
            return Some(match (self.tree.get("providers"), kind.key_variables().next()) {
                (None, Some(variable)) => {
                    format!("set the environment variable `{variable}`, or add it under `providers`")
                }
                _ => format!("add `{provider}:` under `providers`"),
            });
        }
        suggest::hint(provider, providers.keys().map(String::as_str))
    }

    fn fallback(&mut self, written: &[Located<String>], providers: &Providers) -> Vec<String> {
        written.iter().filter_map(|name| self.model_name(name, providers)).collect()
    }

    /// A name that one can ask for: an entry of `models:`, or `provider/upstream-model`.
    pub(super) fn model_name(&mut self, name: &Located<String>, providers: &Providers) -> Option<String> {
        let text = name.value.trim();
        if self.tree.get("models").is_some_and(|models| models.get(text).is_some()) {
            return Some(text.to_owned());
        }
        if text.contains('/') {
            let (provider, model) = self.provider_and_model(name, providers)?;
            return Some(format!("{provider}/{model}"));
        }
        let models = self.tree.get("models").map(Node::entries).unwrap_or_default();
        let help = suggest::hint(text, models.iter().map(|entry| entry.key.as_str()));
        let mistake = Mistake::new(format!("no model is called `{text}`"));
        self.report(Mistake { help, ..mistake }, name);
        None
    }

    /// Every circle is reported once, at the fallback that closes it.
    fn refuse_circles(&mut self, sections: &Named<ModelSection>) {
        let fallbacks: IndexMap<&str, &[Located<String>]> = sections
            .0
            .iter()
            .map(|(name, section)| (name.as_str(), section.value.fallback.as_deref().unwrap_or_default()))
            .collect();
        let mut done: HashSet<&str> = HashSet::new();
        for start in fallbacks.keys().copied() {
            // The way from `start` to where we are, with the next fallback to look at in each model.
            let mut way: IndexMap<&str, usize> = IndexMap::from([(start, 0)]);
            while let Some((model, next)) = way.last_mut() {
                let model = *model;
                let step = fallbacks.get(model).and_then(|fallbacks| fallbacks.get(*next));
                *next += 1;
                let Some(step) = step.filter(|_| !done.contains(model)) else {
                    done.insert(model);
                    way.pop();
                    continue;
                };
                let target = step.value.trim();
                if let Some(begin) = way.get_index_of(target) {
                    let names = way.keys().skip(begin).copied().chain([target]);
                    let circle = names.collect::<Vec<_>>().join(" → ");
                    let mistake = Mistake::new(format!("this fallback goes round in a circle: {circle}"));
                    self.report(mistake.help("take one of these fallbacks out"), step);
                } else if let Some((target, _)) = fallbacks.get_key_value(target) {
                    way.insert(target, 0);
                }
            }
        }
    }
}
