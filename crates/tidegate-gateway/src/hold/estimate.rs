//! What a call may cost at most, before it is made: reserved on budgets, so that they are not exceeded. And how many tokens
//! it will likely use: reserved on token limits.

use std::sync::OnceLock;

use memchr::memmem::Finder;
use tidegate_catalog::{NanoDollars, PriceKind, Prices, Rate, ServiceTier};
use tidegate_wire::Dialect;
use tidegate_wire::json::Value;

use crate::accept::{Call, Operation};
use crate::attempt::count_locally;
use crate::plan::Planned;
use crate::provider::Target;

/// What providers lay around a conversation: roles, separators, the beginning of the answer, and some of them a preamble.
const TOKENS_AROUND: u64 = 72;
/// What providers add where tools are defined. Anthropic documents up to 700 tokens.
const TOKENS_AROUND_TOOLS: u64 = 1_024;
/// An image takes at most about so many tokens, at any provider's highest detail.
const TOKENS_PER_IMAGE: u64 = 6_000;
/// Tokens of a document or a sound of which the request holds only an address, where the model's window is not known.
const TOKENS_OF_REFERENCE: u64 = 200_000;
/// The longest answer of a model about which nothing is known.
const UNKNOWN_MAX_OUTPUT: u64 = 65_536;
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
#[derive(Debug)]
pub(super) struct Estimate<'a> {
    call: &'a Call,
    /// Input tokens at most.
    input: u64,
    /// Output tokens at most, as far as the request says.
    requested_output: Option<u64>,
    /// How many answers are asked for.
    choices: u64,
    marks: Marks,
    has_tools: bool,
}

impl<'a> Estimate<'a> {
    /// From the size of the request: no text has more tokens than bytes. Far too high for most, and made in no time.
    pub(super) fn of_size(call: &'a Call) -> Self {
        let bytes = u64::try_from(call.body().len()).unwrap_or(u64::MAX);
        let has_tools = call.document.get("tools").is_some() || call.document.get("functions").is_some();
        let marks = Marks::of(call.body());
        let (requested_output, choices) = asked_output(call);
        let mut estimate = Self { call, input: 0, requested_output, choices, marks, has_tools };
        estimate.input = estimate.with_surroundings(bytes);
        if marks.has_references || searches_by_itself(call) {
            estimate.marks.has_references = true;
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
        Self { input: bytes / MOST_BYTES_PER_TOKEN, ..*self }
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
        (input < self.input).then_some(Self { input, ..*self })
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
        let (prices, _) = target.prices.as_ref()?;
        let input = target.window.map_or(self.input, |window| self.input.min(window));
        let output = self.output_at(target).saturating_mul(self.choices);
        let dearest_input = self.dearest(prices, input, &[PriceKind::Input, PriceKind::CacheWrite5m])?;
        let dearest_output = self.dearest(prices, input, &[PriceKind::Output, PriceKind::Reasoning])?;
        let searches = if self.has_tools { prices.web_search().unwrap_or(Rate::FREE) } else { Rate::FREE };
        let exact = dearest_input
            .times(input)
            .saturating_add(dearest_output.times(output))
            .saturating_add(searches.times(WEB_SEARCHES));
        // Upwards, so that rounding never makes a budget too small.
        Some(NanoDollars(i64::try_from(exact.div_ceil(MILLION)).unwrap_or(i64::MAX)))
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

    fn output_at(&self, target: &Target) -> u64 {
        let most = target.traits.max_output_tokens.or(target.window).unwrap_or(UNKNOWN_MAX_OUTPUT);
        self.requested_output.map_or(most, |asked| match target.traits.max_output_tokens {
            Some(limit) => asked.min(limit),
            None => asked,
        })
    }

    fn dearest(&self, prices: &Prices, input: u64, kinds: &[PriceKind]) -> Option<Rate> {
        let rate = |kind| prices.rate(kind, ServiceTier::Standard, input);
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

/// What the request says about the answer: tokens at most, and how many answers.
pub(crate) fn asked_output(call: &Call) -> (Option<u64>, u64) {
    let document = &call.document;
    let number = |value: Option<Value<'_>>| value.and_then(Value::as_u64);
    match call.dialect {
        Dialect::OpenAiChat => {
            let named = ["max_completion_tokens", "max_tokens"];
            (
                named.iter().find_map(|name| number(document.get(name))),
                number(document.get("n")).unwrap_or(1).max(1),
            )
        }
        Dialect::AnthropicMessages => (number(document.get("max_tokens")), 1),
        Dialect::Gemini => {
            let nested = |names: [&str; 2]| {
                ["generationConfig", "generation_config"].iter().find_map(|outer| {
                    names.iter().find_map(|inner| number(document.get_nested(outer, inner)))
                })
            };
            let choices = nested(["candidateCount", "candidate_count"]).unwrap_or(1).max(1);
            (nested(["maxOutputTokens", "max_output_tokens"]), choices)
        }
    }
}

/// Whether the provider is asked to fetch or run things by itself, of which the results are input, too.
fn searches_by_itself(call: &Call) -> bool {
    let document = &call.document;
    let own = ["plugins", "web_search_options", "search_settings", "mcp_servers"];
    if own.iter().any(|name| document.get(name).is_some_and(|value| !value.is_null())) {
        return true;
    }
    let Some(tools) = document.get("tools") else { return false };
    tools.elements().any(|tool| match call.dialect {
        Dialect::OpenAiChat | Dialect::AnthropicMessages => tool
            .get("type")
            .and_then(Value::as_string)
            .is_some_and(|kind| !matches!(&*kind, "function" | "custom")),
        Dialect::Gemini => {
            tool.members().any(|(key, _)| !key.is("functionDeclarations") && !key.is("function_declarations"))
        }
    })
}

/// What the body mentions, found by words that all dialects use for it. A word may stand in a text, too: then the estimate
/// is too high.
#[derive(Debug, Clone, Copy)]
struct Marks {
    /// Images at most.
    images: u64,
    /// Documents or sounds of which the body may hold only an address.
    has_references: bool,
    /// Documents and sounds in the body, reasoning of earlier turns behind its signature: nobody here can count those.
    is_uncountable: bool,
    has_audio: bool,
    has_cache_control: bool,
}

impl Marks {
    fn of(body: &[u8]) -> Self {
        static WORDS: OnceLock<[Finder<'static>; 8]> = OnceLock::new();
        let [image, file, document, cached, audio, cache_control, inline, signature] =
            WORDS.get_or_init(|| {
                [
                    "image",
                    "\"file",
                    "\"document\"",
                    "cachedContent",
                    "audio",
                    "cache_control",
                    "\"inline",
                    "ignature\"",
                ]
                .map(Finder::new)
            });
        let has = |word: &Finder<'_>| word.find(body).is_some();
        Self {
            images: u64::try_from(image.find_iter(body).count()).unwrap_or(u64::MAX),
            has_references: has(file) || has(document) || has(cached),
            is_uncountable: has(inline) || has(signature) || has(audio),
            has_audio: has(audio),
            has_cache_control: has(cache_control),
        }
    }
}

/// Tokens that a call will likely use.
pub(super) fn likely_tokens(call: &Call) -> u64 {
    if call.operation == Operation::CountTokens {
        return 0;
    }
    let (requested, choices) = asked_output(call);
    let output = requested.unwrap_or(USUAL_OUTPUT).saturating_mul(choices);
    (u64::try_from(call.body().len()).unwrap_or(u64::MAX) / BYTES_PER_TOKEN).saturating_add(output)
}
