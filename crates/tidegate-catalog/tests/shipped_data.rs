//! The data files that are part of the program: they can be read, they contradict nothing, and known models are found in them.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::HashSet;

use tidegate_catalog::{Auth, Capability, Catalog, CatalogError, Mode, PriceKind, PriceTier, Quirk, Rate};
use tidegate_wire::Dialect;

const PROVIDERS: &str = include_str!("../data/providers.toml");
const MODELS: &str = include_str!("../data/models.txt");

fn shipped() -> Catalog {
    Catalog::parse(PROVIDERS, MODELS).expect("the shipped data is readable")
}

fn standard_input(provider: &str, model: &str) -> Option<Rate> {
    shipped().model(provider, model)?.prices()?.listed(PriceTier::Standard, PriceKind::Input)
}

#[test]
fn every_line_of_the_model_table_is_in_the_catalog() {
    let lines = MODELS.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '[']));
    let catalog = shipped();
    let models: usize = catalog.providers().map(|provider| catalog.models(&provider.id).len()).sum();
    assert_eq!(models, lines.count());
    assert!(models > 2000);
    assert_eq!(Catalog::builtin().providers().count(), catalog.providers().count());
}

#[test]
fn there_are_thirty_openai_compatible_providers_beside_the_three_families() {
    let catalog = shipped();
    let compatible =
        catalog.providers().filter(|provider| provider.dialects().next() == Some(Dialect::OpenAiChat));
    assert!(
        compatible.filter(|provider| !["openai", "openai-compatible"].contains(&&*provider.id)).count() >= 30
    );
    for (id, dialect, auth) in [
        ("openai", Dialect::OpenAiChat, Auth::Bearer),
        ("anthropic", Dialect::AnthropicMessages, Auth::XApiKey),
        ("gemini", Dialect::Gemini, Auth::XGoogApiKey),
        ("azure", Dialect::OpenAiChat, Auth::ApiKey),
    ] {
        let provider = catalog.provider(id).expect(id);
        let endpoint = provider.endpoint(dialect).expect(id);
        assert_eq!(endpoint.auth, auth, "{id}");
        let version = endpoint.headers.iter().any(|(name, _)| &**name == "anthropic-version");
        assert_eq!(version, dialect == Dialect::AnthropicMessages, "{id}");
    }
}

#[test]
fn base_urls_are_what_sdks_take() {
    for provider in shipped().providers() {
        for endpoint in provider.endpoints() {
            let Some(url) = &endpoint.base_url else {
                assert_eq!(&*provider.id, "openai-compatible");
                continue;
            };
            let local = url.starts_with("http://127.0.0.1:");
            assert!(local || url.starts_with("https://") || url.starts_with("${"), "{url}");
            assert_eq!(local, !provider.needs_key, "{url}");
            assert!(!url.ends_with('/') && !url.contains("chat/completions"), "{url}");
            let versioned = url.ends_with("/v1") || url.ends_with("/v1beta");
            assert!(
                endpoint.dialect == Dialect::OpenAiChat || !versioned,
                "{url}: this SDK adds the version itself"
            );
            assert_eq!(url.matches("${").count(), endpoint.variables().count(), "{url}");
        }
        assert!(
            !provider.needs_key || !provider.key_variables.is_empty(),
            "{} has no variable for its key",
            provider.id
        );
    }
}

#[test]
fn a_variable_that_holds_a_key_belongs_to_one_provider() {
    let catalog = shipped();
    let mut seen = HashSet::new();
    for variable in catalog.providers().flat_map(|provider| &provider.key_variables) {
        assert!(seen.insert(variable), "{variable} would switch on two providers");
    }
}

#[test]
fn quirks_do_not_contradict_each_other() {
    use Quirk::{NoRequiredToolChoice, NoSeed, NoTools, RandomSeed, Reasoning, ReasoningContent};
    for provider in shipped().providers() {
        for (one, other) in
            [(NoSeed, RandomSeed), (Reasoning, ReasoningContent), (NoTools, NoRequiredToolChoice)]
        {
            let both = provider.quirks.has(one) && provider.quirks.has(other);
            assert!(!both, "{}: {} and {}", provider.id, one.name(), other.name());
        }
    }
}

#[test]
fn prices_in_the_shipped_data_are_plausible() {
    let most = Rate::from_dollars_per_million("1000").unwrap();
    let catalog = shipped();
    for provider in catalog.providers() {
        for model in catalog.models(&provider.id) {
            let Some(prices) = model.prices() else { continue };
            for (tier, kind, rate) in prices.iter() {
                assert!(rate <= most, "{}/{} {tier} {kind}: {rate}", provider.id, model.name);
                let long = [PriceTier::Above128k, PriceTier::Above200k, PriceTier::Above272k].contains(&tier);
                let short = prices.listed(PriceTier::Standard, kind).unwrap_or_default();
                assert!(!long || rate >= short, "{}/{}: long prompts are cheaper", provider.id, model.name);
            }
        }
    }
}

#[test]
fn a_model_is_found_under_the_names_that_answers_and_callers_use() {
    for (provider, asked, listed) in [
        ("openai", "gpt-5-mini", "gpt-5-mini"),
        ("openai", "gpt-5-mini-2025-08-07", "gpt-5-mini-2025-08-07"),
        ("openai", "gpt-5-mini-2026-12-31", "gpt-5-mini"),
        ("openai", "gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("openai", "ft:gpt-4o-2024-08-06:acme:support:9xYz", "ft:gpt-4o-2024-08-06"),
        ("anthropic", "claude-haiku-4-5-20251001", "claude-haiku-4-5-20251001"),
        ("anthropic", "claude-haiku-4-5-latest", "claude-haiku-4-5"),
        ("anthropic", "claude-haiku-5-5-20270101", "claude-haiku-5-5"),
        ("gemini", "models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("google", "gemini-2.5-pro", "gemini-2.5-pro"),
        (
            "fireworks_ai",
            "accounts/fireworks/models/code-llama-13b",
            "accounts/fireworks/models/code-llama-13b",
        ),
    ] {
        let found = shipped().model(provider, asked).map(|facts| facts.name.to_string());
        assert_eq!(found.as_deref(), Some(listed), "{provider}/{asked}");
    }
}

#[test]
fn what_is_not_known_has_no_facts_rather_than_those_of_a_neighbour() {
    for (provider, model) in [
        ("openai", "gpt-5-minimal"),
        ("openai", "gpt-99"),
        ("openai", "ft:gpt-99:acme::1"),
        ("openai", "ft:gpt-4o:acme::1"),
        ("openai", "claude-haiku-4-5"),
        ("anthropic", "claude-haiku"),
        ("anthropic", ""),
        ("nobody", "gpt-5-mini"),
    ] {
        assert!(shipped().model(provider, model).is_none(), "{provider}/{model}");
    }
}

#[test]
fn facts_arrive_as_published() {
    assert_eq!(standard_input("openai", "gpt-4o"), Some(Rate(2_500_000_000)));
    assert_eq!(standard_input("anthropic", "claude-haiku-4-5"), Some(Rate(1_000_000_000)));
    let catalog = shipped();
    let haiku = catalog.model("anthropic", "claude-haiku-4-5").unwrap();
    assert_eq!(
        (haiku.mode, haiku.context_window, haiku.max_output),
        (Mode::Chat, Some(200_000), Some(64_000))
    );
    assert!(haiku.capabilities.has(Capability::Vision));
}

#[test]
fn a_bare_name_finds_every_provider_that_serves_it() {
    let catalog = shipped();
    let serving: Vec<&str> =
        catalog.providers_serving("gpt-5-mini").map(|(provider, _)| &*provider.id).collect();
    assert!(serving.contains(&"openai") && serving.contains(&"azure"), "{serving:?}");
    assert!(!serving.contains(&"anthropic"));
    assert_eq!(catalog.providers_serving("no-such-model").count(), 0);
}

#[test]
fn a_mistyped_name_gets_suggestions_and_nonsense_gets_none() {
    let catalog = shipped();
    for (typed, meant) in [
        ("gpt5-mini", "gpt-5-mini"),
        ("claude-haiku-45", "claude-haiku-4-5"),
        ("anthropic/claude-haiku4-5", "claude-haiku-4-5"),
    ] {
        let suggestions = catalog.closest(typed, 3);
        assert!(suggestions.contains(&meant), "{typed} gave {suggestions:?}");
        assert_eq!(suggestions.iter().collect::<HashSet<_>>().len(), suggestions.len());
    }
    assert_eq!(catalog.closest_providers("antropic", 1), ["anthropic"]);
    for nonsense in ["", "%", &"gpt-5-mini".repeat(1000), &"\u{1F600}".repeat(3000)] {
        assert!(catalog.closest(nonsense, 3).is_empty());
    }
    assert!(catalog.closest("gpt-5-mini", 0).is_empty());
}

#[test]
fn a_new_compatible_provider_is_one_table_of_data() {
    let providers =
        "[acme]\nname = \"Acme\"\nbase_url = \"https://api.acme.example/v1\"\nkey_env = [\"ACME_API_KEY\"]\n";
    let catalog = Catalog::parse(providers, "[acme]\nacme-1 chat standard:input=1,output=2\n").unwrap();
    let acme = catalog.provider("acme").unwrap();
    assert_eq!(acme.base_url(), Some("https://api.acme.example/v1"));
    assert_eq!(acme.endpoints()[0].auth, Auth::Bearer);
    assert!(catalog.model("acme", "acme-1").unwrap().prices().is_some());
}

#[test]
fn dated_names_stand_in_for_their_family_only_when_their_prices_agree() {
    let find = |models: &str| {
        let catalog = Catalog::parse("[a]\nname = \"A\"\nkey_env = []\n", &format!("[a]\n{models}")).unwrap();
        catalog.model("a", "m").map(|facts| facts.name.to_string())
    };
    assert_eq!(
        find("m-2025-01-01 chat standard:input=1\nm-2025-06-01 chat standard:input=1\nm-x-2025-07-01 chat")
            .as_deref(),
        Some("m-2025-06-01")
    );
    assert_eq!(find("m-2025-01-01 chat standard:input=1\nm-2025-06-01 chat standard:input=2"), None);
}

#[test]
fn mistakes_in_data_are_named_with_their_place() {
    let provider = "[a]\nname = \"A\"\nkey_env = []\n";
    for (providers, models, message) in [
        ("[a]\nname = \"A\"\nkey_env = []\nquirk = []\n", "", "the provider table cannot be read"),
        ("[a]\nname = \"A\"\nkey_env = []\nquirks = [\"odd\"]\n", "", "the provider table cannot be read"),
        (
            "[a]\nname = \"A\"\nkey_env = []\naliases = [\"b\"]\n[b]\nname = \"B\"\nkey_env = []\n",
            "",
            "the name b belongs to two providers",
        ),
        (provider, "m chat\n", "line 1 of the model table"),
        (provider, "[b]\n", "line 1 of the model table"),
        (provider, "[a]\nm chat\n\nm chat\n", "line 4 of the model table"),
        (provider, "[a]\nm chat\n[a]\nn chat\n", "line 3 of the model table"),
        (provider, "[a]\n# fine\nm nothing\n", "line 3 of the model table"),
    ] {
        let error: CatalogError = Catalog::parse(providers, models).unwrap_err();
        assert!(error.to_string().starts_with(message), "{models:?} gave {error}");
    }
}
