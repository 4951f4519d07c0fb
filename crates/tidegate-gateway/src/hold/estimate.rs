//! What a call may cost at most, before it is made: reserved on budgets, so that they are not exceeded. And how many tokens
//! it will likely use: reserved on token limits.

use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use tidegate_catalog::{NanoDollars, PriceKind, Prices, Rate, ServiceTier};
use tidegate_wire::conversation::ReasoningRequest;

use super::asked::{asked_reasoning, asked_window, is_asked_to_search, predicted, searches_by_itself};
use super::marks::Marks;
use crate::accept::{Call, Operation};
use crate::admit::refers;
use crate::attempt::count_locally;
use crate::bill::AskedTier;
use crate::plan::Planned;

/// What providers lay around a conversation: roles, separators, the beginning of the answer, and some of them a preamble.
const TOKENS_AROUND: u64 = 72;
/// What providers add where tools are defined. Anthropic documents up to 700 tokens.
const TOKENS_AROUND_TOOLS: u64 = 1_024;
/// An image takes at most about so many tokens, at any provider's highest detail.
const TOKENS_PER_IMAGE: u64 = 6_000;
/// Tokens of a document or a sound of which the request holds only an address, where the model's window is not known.
const TOKENS_OF_REFERENCE: u64 = 200_000;
/// The longest answer of a model about which nothing is known.
const UNKNOWN_MAX_OUTPUT: u64 = 131_072;
/// OpenAI's tokenizer, by which is counted here, against the one that makes the most tokens of the same text. The recorded
/// traffic that the tests hold this against needs 135.
const TOKENIZERS_DIFFER_PERCENT: u64 = 140;
/// Searches that a provider makes by itself for one call.
const WEB_SEARCHES: u64 = 10;
/// Roughly so many bytes of a request make one token.
const BYTES_PER_TOKEN: u64 = 4;
/// Hardly any request has more bytes for a token than this.
const MOST_BYTES_PER_TOKEN: u64 = 16;
/// Larger requests are not counted: that takes a core for a tenth of a second and more, and callers whose budget is
/// nearly used up could keep all cores busy.
const MAX_COUNTED: usize = 1024 * 1024;
/// An answer's tokens where the caller sets no limit. Only for token limits, which are settled to the real figure: to
/// reserve what a model could say at most would let one call in at a time.
const USUAL_OUTPUT: u64 = 1_024;

/// What can be said about a call before it is made.
#[derive(Debug, Clone)]
pub(super) struct Estimate<'a> {
    call: &'a Call,
    /// Input tokens at most.
    input: u64,
    /// Output tokens at most, as far as the request says.
    requested_output: Option<u64>,
    /// How many answers are asked for.
    choices: u64,
    /// The reasoning that is asked for, where that is not in the limit of the output.
    reasoning: OnceLock<Option<ReasoningRequest>>,
    marks: Marks,
    has_tools: bool,
    /// Whether the provider may search the web, which some bill by the search.
    may_search: bool,
    /// By which prices it may be billed.
    tier: AskedTier,
}

impl<'a> Estimate<'a> {
    /// From the size of the request, with the output and the choices that it asks for: no text has more tokens than bytes. Far
    /// too high for most, and made in no time.
    pub(super) fn of_size(call: &'a Call, (requested_output, choices): (Option<u64>, u64)) -> Self {
        let bytes = u64::try_from(call.body().len()).unwrap_or(u64::MAX);
        let has_tools = call.document.get("tools").is_some() || call.document.get("functions").is_some();
        let marks = Marks::of(call.body());
        let requested_output = requested_output.map(|limit| limit.saturating_add(predicted(call)));
        // Read only where a target of another dialect asks for it.
        let reasoning = OnceLock::new();
        let searches = searches_by_itself(call);
        let tier = AskedTier::of(call.dialect, &call.document);
        let may_search = has_tools || searches;
        let mut estimate =
            Self { call, input: 0, requested_output, choices, reasoning, marks, has_tools, may_search, tier };
        estimate.input = estimate.with_surroundings(bytes);
        // Words may stand in a text, and parts are looked at only where there are some.
        let refers =
            marks.has_cache_of_providers || ((marks.has_references || marks.has_parts) && refers(call));
        estimate.marks.has_references = refers || searches;
        if refers || searches {
            estimate.input = estimate.input.saturating_add(TOKENS_OF_REFERENCE);
        }
        estimate
    }

    /// What text of so many tokens makes with all that providers and images add.
    fn with_surroundings(&self, text: u64) -> u64 {
        text.saturating_add(TOKENS_AROUND)
            .saturating_add(if self.has_tools { TOKENS_AROUND_TOOLS } else { 0 })
            .saturating_add(self.marks.images.saturating_mul(TOKENS_PER_IMAGE))
    }

    /// What the call costs at least, if counting were to say as little as it could.
    pub(super) fn floor(&self) -> Self {
        let bytes = u64::try_from(self.call.body().len()).unwrap_or(u64::MAX);
        Self { input: bytes / MOST_BYTES_PER_TOKEN, ..self.clone() }
    }

    /// Counts the input instead. `None` where that is not possible, would take too long, or says no less.
    pub(super) async fn counted(&self) -> Option<Self> {
        let call = self.call;
        if self.marks.is_uncountable || self.marks.has_references || call.body().len() > MAX_COUNTED {
            return None;
        }
        let conversation = call.dialect.codec().parse_request(call.body(), call.path_facts()).ok()?;
        let counted = count_locally(&conversation, &call.model).await.ok()?;
        let counted = counted.saturating_add(self.bytes_beside_conversation() / BYTES_PER_TOKEN);
        let input = self.with_surroundings(counted.saturating_mul(TOKENIZERS_DIFFER_PERCENT) / 100);
        (input < self.input).then(|| Self { input, ..self.clone() })
    }

    /// Schemas of the answer and the like, which are not counted with the conversation and yet become tokens.
    fn bytes_beside_conversation(&self) -> u64 {
        const COUNTED: [&str; 5] = ["messages", "contents", "system", "systemInstruction", "tools"];
        let members = self.call.document.members();
        let beside = members.filter(|(key, _)| !COUNTED.iter().any(|name| key.is(name)));
        u64::try_from(beside.map(|(_, value)| value.text().len()).sum::<usize>()).unwrap_or(u64::MAX)
    }

    /// What the call costs at most at this target; `None` where its price is not known.
    pub(super) fn ceiling(&self, planned: &Planned) -> Option<NanoDollars> {
        if self.call.operation == Operation::CountTokens {
            return Some(NanoDollars::ZERO);
        }
        let target = &planned.target;
        let prices = target.prices.as_ref()?.list();
        let window =
            target.window.map(|window| asked_window(self.call).map_or(window, |asked| asked.max(window)));
        let input = window.map_or(self.input, |window| self.input.min(window));
        let output = self.output_at(planned).saturating_mul(self.choices);
        let tiers = self.tier.columns(target.is_raised.load(Ordering::Relaxed));
        let dearest = |kinds: &[PriceKind]| self.dearest(prices, tiers, input, kinds);
        let dearest_input = dearest(&[PriceKind::Input, PriceKind::CacheWrite5m])?;
        let dearest_output = dearest(&[PriceKind::Output, PriceKind::Reasoning])?;
        let searches = match prices.web_search() {
            Some(rate) if self.may_search => rate,
            None if self.may_search && is_asked_to_search(self.call) => return None,
            _ => Rate::FREE,
        };
        let exact = dearest_input
            .times(input)
            .saturating_add(dearest_output.times(output))
            .saturating_add(searches.times(WEB_SEARCHES));
        // Upwards, so that rounding never makes a budget too small.
        Some(NanoDollars(i64::try_from(exact.div_ceil(MILLION)).unwrap_or(i64::MAX)))
    }

    /// Whether it is the searches that are asked for of which nobody knows the price.
    pub(super) fn lacks_search_price(&self, planned: &Planned) -> bool {
        let prices = planned.target.prices.as_ref().map(crate::bill::Priced::list);
        prices.is_some_and(|prices| prices.web_search().is_none()) && is_asked_to_search(self.call)
    }

    /// Input tokens at most.
    #[cfg(test)]
    pub(super) fn input(&self) -> u64 {
        self.input
    }

    /// Output tokens at most, as far as the request says.
    #[cfg(test)]
    pub(super) fn most_output(&self) -> Option<u64> {
        self.requested_output.map(|output| output.saturating_mul(self.choices))
    }

    fn output_at(&self, planned: &Planned) -> u64 {
        let (target, traits) = (&planned.target, &planned.target.traits);
        let most = traits.max_output_tokens.or(target.window).unwrap_or(UNKNOWN_MAX_OUTPUT);
        let Some(asked) = self.requested_output else { return most };
        // As it is sent: some models answer at more length than the catalog knows. Translated, the limit may be another one.
        if planned.dialect() == self.call.dialect {
            return asked;
        }
        match self.reasoning.get_or_init(|| asked_reasoning(self.call)) {
            Some(reasoning) => planned.dialect().codec().most_output(asked, reasoning, traits),
            None => asked,
        }
    }

    fn dearest(
        &self,
        prices: &Prices,
        tiers: &[ServiceTier],
        input: u64,
        kinds: &[PriceKind],
    ) -> Option<Rate> {
        let rate = |kind| tiers.iter().filter_map(|tier| prices.rate(kind, *tier, input)).max();
        let usual = kinds.iter().filter_map(|kind| rate(*kind)).max()?;
        let is_caching_long = kinds.contains(&PriceKind::Input) && self.marks.has_cache_control;
        let long = is_caching_long.then(|| rate(PriceKind::CacheWrite1h)).flatten().unwrap_or(Rate::FREE);
        let audio = [PriceKind::InputAudio, PriceKind::OutputAudio];
        let audio = audio.into_iter().filter(|kind| kind.is_output() == kinds.contains(&PriceKind::Output));
        let audio = audio.filter(|_| self.marks.has_audio).filter_map(rate).max().unwrap_or(Rate::FREE);
        Some(usual.max(long).max(audio))
    }
}

/// Rates are for a million.
const MILLION: u128 = 1_000_000;

/// Tokens that a call will likely use.
pub(super) fn likely_tokens(call: &Call, (requested, choices): (Option<u64>, u64)) -> u64 {
    if call.operation == Operation::CountTokens {
        return 0;
    }
    let output = requested.unwrap_or(USUAL_OUTPUT).saturating_mul(choices);
    (u64::try_from(call.body().len()).unwrap_or(u64::MAX) / BYTES_PER_TOKEN).saturating_add(output)
}
