//! What a call cost. Called once a call when it is settled, and by estimates before it.

use tidegate_wire::Usage;

use crate::capabilities::names;
use crate::money::{NanoDollars, Rate, round};
use crate::prices::{PriceKind, PriceTier, Prices, ServiceTier};

names! {
    /// A part of what a call cost.
    CostKind {
        /// Input that was nothing special.
        Input = "input",
        /// Input from the prompt cache.
        CacheRead = "cache_read",
        /// Input written to the prompt cache for five minutes.
        CacheWrite5m = "cache_write_5m",
        /// Input written to the prompt cache for an hour.
        CacheWrite1h = "cache_write_1h",
        /// Audio input.
        InputAudio = "input_audio",
        /// Output that was nothing special.
        Output = "output",
        /// Reasoning.
        Reasoning = "reasoning",
        /// Audio output.
        OutputAudio = "output_audio",
        /// Web searches on the provider's side.
        WebSearch = "web_search",
    }
}

/// How many parts a cost has.
const PARTS: usize = CostKind::ALL.len();

/// One part: how many, at which price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CostPart {
    /// Of what.
    pub kind: CostKind,
    /// Tokens, or searches. No token is in two parts.
    pub quantity: u64,
    /// The price that applied, if there is one.
    pub rate: Option<Rate>,
}

impl CostPart {
    /// The part's cost in millionths of a nano-dollar: exact, so that parts can be added up before anything is rounded.
    pub fn exact(&self) -> u128 {
        self.rate.map_or(0, |rate| rate.times(self.quantity))
    }

    /// The part's cost, rounded by itself. Rounded parts may add up to a nano-dollar more or less than the total: show them, add `exact`.
    pub fn amount(&self) -> NanoDollars {
        round(self.exact())
    }
}

/// What a call cost, and how that came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// All parts together, rounded once, half up.
    pub total: NanoDollars,
    /// The long-context prices that applied, if they did.
    pub long_context: Option<PriceTier>,
    parts: [CostPart; PARTS],
}

impl Cost {
    /// The parts of which there was any.
    pub fn parts(&self) -> impl Iterator<Item = &CostPart> {
        self.parts.iter().filter(|part| part.quantity > 0)
    }

    /// Whether everything that was used has a known price. If not, the total is too low, and whoever shows it must say so.
    pub fn is_complete(&self) -> bool {
        self.parts().all(|part| part.rate.is_some())
    }
}

/// Prices what a call used.
///
/// The parts of `Usage` overlap at some providers (audio may come from the cache), so each token is billed once: cached input as such,
/// audio as far as input remains, and the rest as plain input; output likewise.
pub fn cost(usage: &Usage, prices: &Prices, tier: ServiceTier) -> Cost {
    let mut input = usage.input;
    let cache_read = take(&mut input, usage.cache_read);
    let cache_write_1h = take(&mut input, usage.cache_write_1h);
    let cache_write_5m = take(&mut input, usage.cache_write_5m);
    let input_audio = take(&mut input, usage.input_audio);
    let mut output = usage.output;
    let output_audio = take(&mut output, usage.output_audio);
    let reasoning = take(&mut output, usage.reasoning);

    let tokens =
        |kind, quantity, price| CostPart { kind, quantity, rate: prices.rate(price, tier, usage.input) };
    let parts = [
        tokens(CostKind::Input, input, PriceKind::Input),
        tokens(CostKind::CacheRead, cache_read, PriceKind::CacheRead),
        tokens(CostKind::CacheWrite5m, cache_write_5m, PriceKind::CacheWrite5m),
        tokens(CostKind::CacheWrite1h, cache_write_1h, PriceKind::CacheWrite1h),
        tokens(CostKind::InputAudio, input_audio, PriceKind::InputAudio),
        tokens(CostKind::Output, output, PriceKind::Output),
        tokens(CostKind::Reasoning, reasoning, PriceKind::Reasoning),
        tokens(CostKind::OutputAudio, output_audio, PriceKind::OutputAudio),
        CostPart { kind: CostKind::WebSearch, quantity: usage.web_searches, rate: prices.web_search() },
    ];
    Cost {
        total: round(parts.iter().fold(0, |sum, part| sum.saturating_add(part.exact()))),
        long_context: prices.long_context(usage.input),
        parts,
    }
}

/// Takes up to `wanted` out of what is left.
fn take(left: &mut u64, wanted: u64) -> u64 {
    let taken = wanted.min(*left);
    *left -= taken;
    taken
}
