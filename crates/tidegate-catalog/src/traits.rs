//! What a target takes and refuses, put together from its provider's quirks and its model's facts. The gateway asks once per target and
//! hands the answer to the renderer of requests.

use tidegate_wire::{CacheMarkers, Continuation, Dialect, ReasoningBack, TargetTraits, ThinkingStyle};

use crate::capabilities::Capability;
use crate::catalog::Catalog;
use crate::model::ModelFacts;
use crate::provider::Provider;
use crate::quirk::Quirk;

/// How the models of a family think, by the start of their names; the first that fits counts.
struct Family {
    provider: &'static str,
    start: &'static str,
    thinking: ThinkingStyle,
    sampling: bool,
}

const fn family(
    provider: &'static str,
    start: &'static str,
    thinking: ThinkingStyle,
    sampling: bool,
) -> Family {
    Family { provider, start, thinking, sampling }
}

/// From the providers' pages on thinking. Anthropic: adaptive thinking since 4.6, sampling parameters refused since Opus 4.7. Gemini:
/// levels since 3, budgets in 2.5. OpenAI: models that reason unless told otherwise refuse sampling parameters.
const FAMILIES: &[Family] = &[
    family("anthropic", "claude-opus-4-6", ThinkingStyle::Level, true),
    family("anthropic", "claude-sonnet-4-6", ThinkingStyle::Level, true),
    family("anthropic", "claude-mythos-preview", ThinkingStyle::Level, true),
    family("anthropic", "claude-opus-4-7", ThinkingStyle::Level, false),
    family("anthropic", "claude-opus-4-8", ThinkingStyle::Level, false),
    family("anthropic", "claude-opus-5", ThinkingStyle::Level, false),
    family("anthropic", "claude-sonnet-5", ThinkingStyle::Level, false),
    family("anthropic", "claude-haiku-5", ThinkingStyle::Level, false),
    family("anthropic", "claude-fable-5", ThinkingStyle::Level, false),
    family("anthropic", "claude-mythos-5", ThinkingStyle::Level, false),
    family("gemini", "gemini-2.5-flash-image", ThinkingStyle::None, true),
    family("gemini", "gemini-2.5", ThinkingStyle::Budget, true),
    family("gemini", "gemini-1", ThinkingStyle::None, true),
    family("gemini", "gemini-2.", ThinkingStyle::None, true),
    family("gemini", "gemma", ThinkingStyle::None, true),
    family("gemini", "gemini-", ThinkingStyle::Level, true),
    family("openai", "gpt-5-chat", ThinkingStyle::None, true),
    family("openai", "gpt-5.1-chat", ThinkingStyle::Level, false),
    family("openai", "gpt-5.2-chat", ThinkingStyle::Level, false),
    family("openai", "gpt-5.3-chat", ThinkingStyle::Level, false),
    family("openai", "gpt-5.1-codex", ThinkingStyle::Level, false),
    family("openai", "gpt-5.2-pro", ThinkingStyle::Level, false),
    family("openai", "gpt-5.4-pro", ThinkingStyle::Level, false),
    family("openai", "gpt-5.1", ThinkingStyle::Level, true),
    family("openai", "gpt-5.2", ThinkingStyle::Level, true),
    family("openai", "gpt-5.3", ThinkingStyle::Level, true),
    family("openai", "gpt-5.4", ThinkingStyle::Level, true),
    family("openai", "gpt-5", ThinkingStyle::Level, false),
    family("openai", "gpt-6", ThinkingStyle::Level, false),
    family("openai", "o1", ThinkingStyle::Level, false),
    family("openai", "o3", ThinkingStyle::Level, false),
    family("openai", "o4", ThinkingStyle::Level, false),
];

impl Catalog {
    /// What this model at this provider takes and refuses. A provider or model that is not known gets the liberal reading.
    pub fn target_traits(&self, provider: &str, upstream_model: &str) -> TargetTraits {
        let facts = self.model(provider, upstream_model);
        let Some(provider) = self.provider(provider) else { return TargetTraits::default() };
        let has = |quirk| provider.quirks.has(quirk);
        let can = |capability| facts.is_none_or(|facts| facts.capabilities.has(capability));
        let family = find_family(provider, upstream_model);
        let speaks_openai = provider.dialects().next() == Some(Dialect::OpenAiChat);
        TargetTraits {
            max_output_tokens: facts.and_then(|facts| facts.max_output).map(u64::from),
            max_completion_tokens_field: has(Quirk::MaxCompletionTokens),
            developer_role: has(Quirk::DeveloperRole),
            stream_options: !has(Quirk::NoStreamOptions),
            parallel_tool_calls: !has(Quirk::NoParallelToolCalls),
            json_schema: !has(Quirk::NoJsonSchema),
            seed: !has(Quirk::NoSeed) && !has(Quirk::RandomSeed),
            top_k: has(Quirk::TopK),
            reasoning_effort: has(Quirk::ReasoningEffort) && can(Capability::Reasoning),
            reasoning_object: has(Quirk::ReasoningDetails),
            cache_markers: cache_markers(provider),
            google_signatures: &*provider.id == "gemini",
            text_parts: true,
            reasoning_back: reasoning_back(provider),
            thinking: family.map_or_else(|| thinking(facts), |family| family.thinking),
            sampling: family.is_none_or(|family| family.sampling),
            prefill: !speaks_openai && can(Capability::Prefill),
            continuation: continuation(provider, facts, upstream_model),
            media_urls: !has(Quirk::NoImageUrls),
        }
    }
}

fn find_family(provider: &Provider, model: &str) -> Option<&'static Family> {
    // Azure serves OpenAI's models, and Gemini's names come with a path before them at times.
    let provider = if &*provider.id == "azure" { "openai" } else { &*provider.id };
    let model = model.strip_prefix("models/").unwrap_or(model);
    FAMILIES.iter().find(|family| family.provider == provider && model.starts_with(family.start))
}

fn thinking(facts: Option<&ModelFacts>) -> ThinkingStyle {
    match facts {
        Some(facts) if !facts.capabilities.has(Capability::Reasoning) => ThinkingStyle::None,
        _ => ThinkingStyle::Budget,
    }
}

/// OpenAI's own breakpoints are known only from gpt-5.6 on, and it caches well without them.
fn cache_markers(provider: &Provider) -> CacheMarkers {
    match &*provider.id {
        "openrouter" | "alibaba" => CacheMarkers::CacheControl,
        _ => CacheMarkers::No,
    }
}

/// Only models of which it is published. DeepSeek's do it at another address only; of Google's those before Gemini 3,
/// while newer ones begin to refuse it; OpenAI's begin anew.
fn continuation(provider: &Provider, facts: Option<&ModelFacts>, model: &str) -> Continuation {
    let is_published = facts.is_some_and(|facts| facts.capabilities.has(Capability::Prefill));
    let speaks_openai = provider.dialects().next() == Some(Dialect::OpenAiChat);
    let model = model.strip_prefix("models/").unwrap_or(model);
    let is_older_gemini =
        &*provider.id == "gemini" && model.starts_with("gemini-2.") && !model.contains("image");
    match (is_published, provider.quirks.has(Quirk::Prefix)) {
        (true, true) => Continuation::Prefix,
        (true, false) if !speaks_openai => Continuation::LastTurn,
        _ if is_older_gemini => Continuation::LastTurn,
        _ => Continuation::None,
    }
}

fn reasoning_back(provider: &Provider) -> ReasoningBack {
    let has = |quirk| provider.quirks.has(quirk);
    if has(Quirk::ReasoningDetails) {
        ReasoningBack::ReasoningDetails
    } else if has(Quirk::ReasoningContent) {
        ReasoningBack::ReasoningContent
    } else if has(Quirk::Reasoning) {
        ReasoningBack::Reasoning
    } else if has(Quirk::ThinkingChunks) {
        ReasoningBack::ThinkingParts
    } else {
        ReasoningBack::No
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traits(provider: &str, model: &str) -> TargetTraits {
        Catalog::builtin().target_traits(provider, model)
    }

    #[test]
    fn models_are_asked_to_think_as_they_understand_it() {
        for (provider, model, thinking, sampling) in [
            ("anthropic", "claude-haiku-4-5", ThinkingStyle::Budget, true),
            ("anthropic", "claude-opus-4-6-20260205", ThinkingStyle::Level, true),
            ("anthropic", "claude-opus-5-5", ThinkingStyle::Level, false),
            ("gemini", "gemini-2.5-pro", ThinkingStyle::Budget, true),
            ("gemini", "models/gemini-3.8-flash", ThinkingStyle::Level, true),
            ("openai", "gpt-5-mini", ThinkingStyle::Level, false),
            ("azure", "o3", ThinkingStyle::Level, false),
            ("openai", "gpt-4o", ThinkingStyle::None, true),
        ] {
            let traits = traits(provider, model);
            assert_eq!((traits.thinking, traits.sampling), (thinking, sampling), "{provider}/{model}");
        }
    }

    #[test]
    fn a_compatible_server_is_spared_what_only_openai_knows() {
        let openai = traits("openai", "gpt-5-mini");
        assert!(openai.max_completion_tokens_field && openai.developer_role && openai.reasoning_effort);
        assert_eq!(openai.max_output_tokens, Some(128_000));
        assert!(!traits("openai", "gpt-4o").reasoning_effort);
        let plain = traits("openai-compatible", "anything");
        assert!(!plain.max_completion_tokens_field && !plain.developer_role && plain.stream_options);
        let mistral = traits("mistral", "mistral-large-latest");
        assert!(!mistral.stream_options && !mistral.seed && mistral.json_schema);
        assert_eq!(traits("deepseek", "deepseek-chat").reasoning_back, ReasoningBack::ReasoningContent);
        assert_eq!(traits("openrouter", "x").reasoning_back, ReasoningBack::ReasoningDetails);
        assert_eq!(traits("nobody", "x"), TargetTraits::default());
    }

    #[test]
    fn only_models_that_continue_an_answer_are_asked_to() {
        assert!(traits("anthropic", "claude-haiku-4-5").prefill);
        assert!(!traits("anthropic", "claude-opus-4-8").prefill);
        for (provider, model, continuation) in [
            ("anthropic", "claude-haiku-4-5", Continuation::LastTurn),
            ("anthropic", "claude-opus-4-6", Continuation::None),
            ("anthropic", "claude-unheard-of", Continuation::None),
            ("gemini", "gemini-2.5-flash", Continuation::LastTurn),
            ("gemini", "gemini-3.8-flash", Continuation::None),
            ("mistral", "mistral-large-latest", Continuation::Prefix),
            ("openai", "gpt-4o", Continuation::None),
            ("openai-compatible", "mistral-large-latest", Continuation::None),
            ("deepseek", "deepseek-chat", Continuation::None),
        ] {
            assert_eq!(traits(provider, model).continuation, continuation, "{provider}/{model}");
        }
    }
}
