//! Names that users of OpenRouter bring along: of providers, in their spelling, and of models with a suffix.

use std::sync::Arc;

use super::{Sort, UNDERSTANDS};
use crate::provider::Provider;
use crate::snapshot::Snapshot;

/// Names of providers for which the catalog has another one.
const OTHER_NAMES: [(&str, &str); 3] =
    [("googleaistudio", "gemini"), ("amazonbedrock", "bedrock"), ("moonshotai", "moonshot")];

/// The suffixes of models' names, and what they ask for.
const SUFFIXES: [(&str, Sort); 2] = [(":floor", Sort::Price), (":nitro", Sort::Throughput)];

/// The configured providers that a name means: the one of that name, else all of that kind. Case, blanks and dashes do not count, and
/// neither does what follows a slash (`deepinfra/turbo` is one of a provider's offers).
pub(super) fn configured(snapshot: &Snapshot, written: &str) -> Vec<Arc<str>> {
    let whole = plain(written);
    let of_name: Vec<Arc<str>> = snapshot
        .providers()
        .filter(|provider| plain(&provider.name) == whole)
        .map(|provider| Arc::clone(&provider.name))
        .collect();
    if !of_name.is_empty() {
        return of_name;
    }
    let base = plain(written.split('/').next().unwrap_or_default());
    let kind = OTHER_NAMES.iter().find(|(other, _)| *other == base).map_or(&*base, |(_, kind)| kind);
    let is_meant = |provider: &&Arc<Provider>| {
        let facts = snapshot.catalog.provider(&provider.kind);
        plain(&provider.kind) == kind
            || facts.is_some_and(|facts| {
                plain(&facts.name) == kind || facts.aliases.iter().any(|alias| plain(alias) == kind)
            })
    };
    snapshot.providers().filter(is_meant).map(|provider| Arc::clone(&provider.name)).collect()
}

/// A model's name without its suffix, and what that asks for. The whole name where it is known with it, or goes to somebody who
/// understands suffixes.
pub(crate) fn without_suffix<'n>(snapshot: &Snapshot, name: &'n str) -> (&'n str, Option<Sort>) {
    let Some((bare, sort)) =
        SUFFIXES.iter().find_map(|(suffix, sort)| Some((name.strip_suffix(suffix)?, *sort)))
    else {
        return (name, None);
    };
    let is_known = match name.split_once('/') {
        _ if snapshot.settings.models.contains_key(name) => true,
        Some((provider, model)) => snapshot.provider(provider).is_some_and(|provider| {
            &*provider.kind == UNDERSTANDS || snapshot.catalog.model(&provider.kind, model).is_some()
        }),
        None => snapshot.providers().any(|provider| snapshot.catalog.model(&provider.kind, name).is_some()),
    };
    if is_known || bare.is_empty() { (name, None) } else { (bare, Some(sort)) }
}

fn plain(name: &str) -> String {
    name.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn spellings_of_a_provider_are_the_same_name() {
        for (one, other) in
            [("Google AI Studio", "google-ai-studio"), ("xAI", "x-ai"), ("DeepInfra", "deepinfra")]
        {
            assert_eq!(plain(one), plain(other));
        }
        assert_ne!(plain("openai"), plain("openai-eu"));
    }
}
