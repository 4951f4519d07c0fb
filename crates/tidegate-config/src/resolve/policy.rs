//! Deadlines, retries, what goes on to the next target, and prices: what applies generally and what narrows it.

use indexmap::IndexMap;
use tidegate_wire::FailureKind;

use super::Resolver;
use crate::diagnostic::Mistake;
use crate::file::{
    File, ModelSection, Named, PriceSection, RecoveryKind, RetrySection, StreamSection, TimeoutSection,
};
use crate::read::Located;
use crate::settings::{
    Backoff, EVERY_MODEL, FallbackOn, Policy, PriceOverride, Provider, Recovery, Retry, Timeouts,
};
use crate::suggest;

/// More tries than this at one target only multiply an outage.
const MOST_ATTEMPTS: u32 = 10;

impl Resolver<'_> {
    /// The policy that holds where nothing narrower is said.
    pub(super) fn general_policy(&mut self, file: &File) -> Policy {
        let mut policy = Policy::default();
        policy.timeouts = narrowed(policy.timeouts, file.timeout);
        policy.retry = self.retry(policy.retry, file.retry.as_ref());
        policy.strict = file.strict.unwrap_or(policy.strict);
        policy.recovery = recovery(policy.recovery, file.stream.as_ref());
        if let Some(kinds) = &file.fallback_on {
            policy.fallback_on = self.fallback_on(kinds);
        }
        policy
    }

    /// The general policy with what a model says differently.
    pub(super) fn model_policy(&mut self, general: &Policy, section: &ModelSection) -> Policy {
        Policy {
            timeouts: narrowed(general.timeouts, section.timeout),
            retry: self.retry(general.retry, section.retry.as_ref()),
            fallback_on: match &section.fallback_on {
                Some(kinds) => self.fallback_on(kinds),
                None => general.fallback_on.clone(),
            },
            recovery: recovery(general.recovery, section.stream.as_ref()),
            strict: section.strict.unwrap_or(general.strict),
        }
    }

    pub(super) fn retry(&mut self, mut retry: Retry, section: Option<&RetrySection>) -> Retry {
        let Some(section) = section else { return retry };
        if let Some(attempts) = &section.attempts {
            if !(1..=MOST_ATTEMPTS).contains(&attempts.value) {
                let mistake = Mistake::new(format!(
                    "`attempts` is between 1 and {MOST_ATTEMPTS}, not {}",
                    attempts.value
                ));
                self.report(mistake.help("the first try counts: `attempts: 1` means no retry"), attempts);
            }
            retry.attempts = attempts.value;
        }
        if let Some(range) = section.backoff {
            retry.backoff = Backoff { shortest: range.shortest, longest: range.longest };
        }
        retry
    }

    fn fallback_on(&mut self, written: &[Located<String>]) -> Vec<FallbackOn> {
        let mut chosen = Vec::new();
        for name in written {
            let text = name.value.trim();
            let why = match FailureKind::ALL.into_iter().find(|kind| kind.as_str() == text) {
                Some(FailureKind::ContentPolicy) => {
                    chosen = vec![FallbackOn::ContentPolicy];
                    continue;
                }
                Some(FailureKind::BadRequest) => {
                    "a request that is wrong at one target is wrong at all of them"
                }
                Some(FailureKind::Cancelled) => "nobody is waiting for the answer any more",
                Some(FailureKind::Truncated | FailureKind::Stalled) => {
                    "a stream that has begun is the business of `stream: { recovery: … }`"
                }
                Some(_) => "these calls go on to the next target in any case; leave it out",
                None => "no failure is called that",
            };
            let mistake = Mistake::new(format!("`{text}` cannot be chosen here, only `content_policy` can"));
            self.report(mistake.help(why), name);
        }
        chosen
    }

    pub(super) fn prices(
        &mut self,
        sections: &Named<PriceSection>,
        providers: &IndexMap<String, Provider>,
    ) -> IndexMap<String, PriceOverride> {
        let mut prices = IndexMap::new();
        for (name, section) in &sections.0 {
            let provider =
                name.split_once('/').filter(|(_, model)| !model.is_empty()).map(|(provider, _)| provider);
            let is_pattern = name.contains(EVERY_MODEL) && !name.ends_with(&format!("/{EVERY_MODEL}"));
            if is_pattern || name.matches(EVERY_MODEL).count() > 1 {
                self.mistakes.push(
                    Mistake::new(format!("`{name}` is no pattern that is understood"))
                        .help("`provider/*` stands for all models of a provider that have no entry of their own")
                        .at(section.key_place.clone()),
                );
            }
            match provider {
                None => self.mistakes.push(
                    Mistake::new(format!("`{name}` does not name a provider's model"))
                        .help("prices are set by `provider/upstream-model`, or `provider/*` for all others of a provider")
                        .at(section.key_place.clone()),
                ),
                Some(provider) if !self.has_provider(provider, providers) => {
                    let mut mistake = Mistake::new(format!("the provider `{provider}` is not configured"));
                    mistake.help = suggest::hint(provider, providers.keys().map(String::as_str));
                    self.mistakes.push(mistake.at(section.key_place.clone()));
                }
                Some(_) => {}
            }
            let price = section.value;
            let override_ = PriceOverride {
                input: price.input.map(|dollars| dollars.0.0),
                output: price.output.map(|dollars| dollars.0.0),
                cache_read: price.cache_read.map(|dollars| dollars.0.0),
                cache_write: price.cache_write.map(|dollars| dollars.0.0),
                reasoning: price.reasoning.map(|dollars| dollars.0.0),
                input_audio: price.input_audio.map(|dollars| dollars.0.0),
                output_audio: price.output_audio.map(|dollars| dollars.0.0),
            };
            prices.insert(name.clone(), override_);
        }
        prices
    }
}

fn recovery(general: Recovery, section: Option<&StreamSection>) -> Recovery {
    match section.and_then(|section| section.recovery) {
        Some(RecoveryKind::Error) => Recovery::Error,
        Some(RecoveryKind::Continue) => Recovery::Continue,
        None => general,
    }
}

/// Deadlines with those replaced that a section sets.
pub(super) fn narrowed(general: Timeouts, section: Option<TimeoutSection>) -> Timeouts {
    let Some(section) = section else { return general };
    Timeouts {
        connect: section.connect.map_or(general.connect, |duration| duration.0),
        first_token: section.first_token.map_or(general.first_token, |duration| duration.0),
        // Whoever sets the patience for a first token means silence, and a whole answer is silent until it is there.
        answer: section.answer.or(section.first_token).map_or(general.answer, |duration| duration.0),
        idle: section.idle.map_or(general.idle, |duration| duration.0),
        total: section.total.map_or(general.total, |duration| duration.0),
    }
}
