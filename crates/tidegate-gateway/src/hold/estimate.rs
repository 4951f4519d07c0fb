//! What a call may cost at most, before it is made. Reserved on budgets, so that they are not exceeded; and how many
//! tokens it will likely use, reserved on token limits.

use std::sync::OnceLock;

use memchr::memmem;
use tidegate_catalog::{NanoDollars, PriceKind, Prices, Rate, ServiceTier};
use tidegate_wire::Dialect;
use tidegate_wire::json::Value;

use crate::accept::{Call, Operation};
use crate::attempt::count_locally;
use crate::plan::Planned;
use crate::provider::Target;

/// What providers lay around a conversation: roles, separators, the beginning of the answer.
const TOKENS_AROUND: u64 = 64;
/// What providers add where tools are defined. Anthropic documents up to 700 tokens.
const TOKENS_AROUND_TOOLS: u64 = 1_024;
/// An image takes at most about so many tokens, at any provider's highest detail.
const TOKENS_PER_IMAGE: u64 = 6_000;
/// Tokens of a document or a sound of which the request holds only an address, where the model's window is not known.
const TOKENS_OF_REFERENCE: u64 = 200_000;
/// The longest answer of a model about which nothing is known.
const UNKNOWN_MAX_OUTPUT: u64 = 65_536;
/// OpenAI's tokenizer, by which is counted here, against the one that makes the most tokens of the same text: a half
/// more, and a little.
const TOKENIZERS_DIFFER_PERCENT: u64 = 160;
/// Searches that a provider makes by itself for one call.
const WEB_SEARCHES: u64 = 10;
/// Roughly so many bytes of a request make one token.
const BYTES_PER_TOKEN: u64 = 4;
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
    has_audio: bool,
    has_tools: bool,
}

impl<'a> Estimate<'a> {
    /// From the size of the request: no text has more tokens than bytes. Far too high for most, and made in no time.
    pub(super) fn of_size(call: &'a Call) -> Self {
        let body = call.body();
        let bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let has = |word: &'static [u8]| memmem::find(body, word).is_some();
        let has_tools = call.document.get("tools").is_some() || call.document.get("functions").is_some();
        let references = if is_reference(body) { TOKENS_OF_REFERENCE } else { 0 };
        let input = bytes
            .saturating_add(TOKENS_AROUND)
            .saturating_add(if has_tools { TOKENS_AROUND_TOOLS } else { 0 })
            .saturating_add(images(body).saturating_mul(TOKENS_PER_IMAGE))
            .saturating_add(references);
        let (requested_output, choices) = asked_output(call);
        Self { call, input, requested_output, choices, has_audio: has(b"audio"), has_tools }
    }

    /// Counts the input instead. `None` where that is not possible or says no less.
    pub(super) async fn counted(&self) -> Option<Self> {
        let call = self.call;
        if is_reference(call.body()) {
            return None;
        }
        let conversation = call.dialect.codec().parse_request(call.body(), call.path_facts()).ok()?;
        let counted = count_locally(&conversation, &call.model).await.ok()?;
        let input = (counted.saturating_mul(TOKENIZERS_DIFFER_PERCENT) / 100)
            .saturating_add(TOKENS_AROUND)
            .saturating_add(if self.has_tools { TOKENS_AROUND_TOOLS } else { 0 })
            .saturating_add(images(call.body()).saturating_mul(TOKENS_PER_IMAGE));
        (input < self.input).then_some(Self { input, ..*self })
    }

    /// Tokens that the call will likely use.
    pub(super) fn likely_tokens(&self) -> u64 {
        if self.call.operation == Operation::CountTokens {
            return 0;
        }
        let output = self.requested_output.unwrap_or(USUAL_OUTPUT).saturating_mul(self.choices);
        (u64::try_from(self.call.body().len()).unwrap_or(u64::MAX) / BYTES_PER_TOKEN).saturating_add(output)
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
        let is_caching_long =
            kinds.contains(&PriceKind::Input) && memmem::find(self.call.body(), b"cache_control").is_some();
        let long = is_caching_long.then(|| rate(PriceKind::CacheWrite1h)).flatten().unwrap_or(Rate::FREE);
        let audio = [PriceKind::InputAudio, PriceKind::OutputAudio];
        let audio = audio.into_iter().filter(|kind| kind.is_output() == kinds.contains(&PriceKind::Output));
        let audio = audio.filter(|_| self.has_audio).filter_map(rate).max().unwrap_or(Rate::FREE);
        Some(usual.max(long).max(audio))
    }
}

/// Rates are for a million.
const MILLION: u128 = 1_000_000;

/// What the request says about the answer: tokens at most, and how many answers.
fn asked_output(call: &Call) -> (Option<u64>, u64) {
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

/// How many images there are at most, by the words that dialects use for one.
fn images(body: &[u8]) -> u64 {
    static WORDS: OnceLock<[memmem::Finder<'static>; 3]> = OnceLock::new();
    let words = WORDS.get_or_init(|| ["\"image", "\"input_image", "image/"].map(memmem::Finder::new));
    let counts = words.iter().map(|word| word.find_iter(body).count());
    u64::try_from(counts.sum::<usize>()).unwrap_or(u64::MAX)
}

/// Whether the request refers to documents or sounds that are not in it.
fn is_reference(body: &[u8]) -> bool {
    [
        "\"file_id\"",
        "\"fileData\"",
        "\"file_data\"",
        "\"fileUri\"",
        "\"document\"",
        "\"file_url\"",
        "\"cachedContent\"",
    ]
    .iter()
    .any(|word| memmem::find(body, word.as_bytes()).is_some())
}
