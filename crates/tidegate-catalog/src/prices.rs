//! What a model costs: a rate for each kind of token in each tier. Comes from the catalog, or is built from the configuration.
//!
//! Not every tier lists every kind. `Prices::rate` decides what then applies, after what providers say about their bills:
//!
//! - Cached input without a price of its own is billed as input (OpenAI gives no cache discount on batches whose price list names none).
//! - Other kinds that the standard tier prices apart keep their proportion in a tier that does not list them: audio and cache writes
//!   follow batch, flex and priority rates (Anthropic: cache multipliers stack with the batch discount; Gemini: half of standard).
//! - An hour's cache write without a price is billed as a five-minute write, that as input; reasoning and audio as output or input.
//! - An answer served in a tier for which a model has no column is billed as usual, and `Prices::tier_for` says that this is a guess.
//! - A long prompt moves the whole request, output included, to the long-context rates, and these are discounted or raised in the other
//!   tiers as the short ones are (OpenAI, Anthropic and Gemini alike).

use tidegate_wire::ServedTier;

use crate::capabilities::names;
use crate::money::Rate;

names! {
    /// A kind of token with a price.
    PriceKind {
        /// Input that is nothing special.
        Input = "input",
        /// Output that is nothing special.
        Output = "output",
        /// Input read from the prompt cache.
        CacheRead = "cache_read",
        /// Audio input read from the prompt cache.
        CacheReadAudio = "cache_read_audio",
        /// Input written to the prompt cache for five minutes.
        CacheWrite5m = "cache_write_5m",
        /// Input written to the prompt cache for an hour.
        CacheWrite1h = "cache_write_1h",
        /// Audio input.
        InputAudio = "input_audio",
        /// Image input, where it is priced apart.
        InputImage = "input_image_token",
        /// Audio output.
        OutputAudio = "output_audio",
        /// Image output.
        OutputImage = "output_image_token",
        /// Reasoning, where it is priced apart from output.
        Reasoning = "reasoning",
    }
}

impl PriceKind {
    /// Whether it is a part of the output.
    pub fn is_output(self) -> bool {
        matches!(self, Self::Output | Self::OutputAudio | Self::OutputImage | Self::Reasoning)
    }

    /// The kind that it is a part of.
    fn total(self) -> Self {
        if self.is_output() { Self::Output } else { Self::Input }
    }

    /// The kind it is billed as when it has no price of its own.
    fn fallback(self) -> Option<Self> {
        match self {
            Self::Input | Self::Output => None,
            Self::CacheWrite1h => Some(Self::CacheWrite5m),
            Self::CacheReadAudio => Some(Self::CacheRead),
            other => Some(other.total()),
        }
    }
}

names! {
    /// A column of a price list.
    PriceTier {
        /// The usual prices.
        Standard = "standard",
        /// Answered within a day.
        Batch = "batch",
        /// Answered when there is room.
        Flex = "flex",
        /// Answered first.
        Priority = "priority",
        /// Usual prices of a request with more than 128,000 input tokens.
        Above128k = "above_128k",
        /// Usual prices of a request with more than 200,000 input tokens.
        Above200k = "above_200k",
        /// Usual prices of a request with more than 272,000 input tokens.
        Above272k = "above_272k",
    }
}

/// Long-context columns with the number of input tokens that must be exceeded, the longest first.
const LONG_CONTEXT: [(PriceTier, u64); 3] =
    [(PriceTier::Above272k, 272_000), (PriceTier::Above200k, 200_000), (PriceTier::Above128k, 128_000)];

impl PriceTier {
    /// Of a long-context column: the number of input tokens that must be exceeded.
    pub fn input_tokens_above(self) -> Option<u64> {
        LONG_CONTEXT.iter().find(|(tier, _)| *tier == self).map(|(_, above)| *above)
    }
}

names! {
    /// How urgently a call was served, as the provider's answer says (it may differ from what was asked).
    ServiceTier {
        /// As usual.
        Standard = "standard",
        /// In a batch.
        Batch = "batch",
        /// When there was room.
        Flex = "flex",
        /// First.
        Priority = "priority",
    }
}

impl ServiceTier {
    fn column(self) -> PriceTier {
        match self {
            Self::Standard => PriceTier::Standard,
            Self::Batch => PriceTier::Batch,
            Self::Flex => PriceTier::Flex,
            Self::Priority => PriceTier::Priority,
        }
    }
}

names! {
    /// Something other than tokens that is billed by the piece.
    UnitKind {
        /// An image sent.
        ImageIn = "per_image_in",
        /// An image made.
        ImageOut = "per_image_out",
        /// A pixel sent.
        PixelIn = "per_pixel_in",
        /// A pixel made.
        PixelOut = "per_pixel_out",
        /// A second of audio or video sent.
        SecondIn = "per_second_in",
        /// A second of audio or video made.
        SecondOut = "per_second_out",
        /// A character of text sent.
        CharacterIn = "per_character_in",
        /// A query.
        Query = "per_query",
    }
}

/// A model's price list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prices {
    tokens: Vec<(PriceTier, PriceKind, Rate)>,
    units: Vec<(UnitKind, Rate)>,
    web_search: Option<Rate>,
}

impl Prices {
    /// A list without prices, to be filled with `set`.
    pub fn new() -> Self {
        Self::default()
    }

    /// The usual list: a price for input and one for output.
    pub fn simple(input: Rate, output: Rate) -> Self {
        Self::new().set(PriceTier::Standard, PriceKind::Input, input).set(
            PriceTier::Standard,
            PriceKind::Output,
            output,
        )
    }

    /// The list with this price put in, or replaced.
    #[must_use]
    pub fn set(mut self, tier: PriceTier, kind: PriceKind, rate: Rate) -> Self {
        match self.tokens.iter_mut().find(|(at, of, _)| (*at, *of) == (tier, kind)) {
            Some(entry) => entry.2 = rate,
            None => self.tokens.push((tier, kind, rate)),
        }
        self
    }

    /// The list with this price by the piece put in, or replaced.
    #[must_use]
    pub fn set_unit(mut self, unit: UnitKind, rate: Rate) -> Self {
        self.units.retain(|(of, _)| *of != unit);
        self.units.push((unit, rate));
        self
    }

    /// The list with every price replaced by what `change` makes of it: a discount, a margin.
    #[must_use]
    pub fn changed_by(mut self, change: impl Fn(Rate) -> Rate) -> Self {
        let tokens = self.tokens.iter_mut().map(|(.., rate)| rate);
        let units = self.units.iter_mut().map(|(_, rate)| rate);
        for rate in tokens.chain(units).chain(self.web_search.as_mut()) {
            *rate = change(*rate);
        }
        self
    }

    /// The list with this price for a web search on the provider's side.
    #[must_use]
    pub fn set_web_search(mut self, rate: Rate) -> Self {
        self.web_search = Some(rate);
        self
    }

    /// The list where prices of the other list stand in place of its own. The configuration's overrides go over the catalog's prices
    /// like this; a tier that the override does not name keeps its prices.
    #[must_use]
    pub fn overridden_by(self, other: &Self) -> Self {
        let mut prices =
            other.tokens.iter().fold(self, |prices, (tier, kind, rate)| prices.set(*tier, *kind, *rate));
        prices = other.units.iter().fold(prices, |prices, (unit, rate)| prices.set_unit(*unit, *rate));
        prices.web_search = other.web_search.or(prices.web_search);
        prices
    }

    /// Whether nothing has a price.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.units.is_empty() && self.web_search.is_none()
    }

    /// The price exactly as listed.
    pub fn listed(&self, tier: PriceTier, kind: PriceKind) -> Option<Rate> {
        self.tokens.iter().find(|(at, of, _)| (*at, *of) == (tier, kind)).map(|(_, _, rate)| *rate)
    }

    /// All token prices as listed.
    pub fn iter(&self) -> impl Iterator<Item = (PriceTier, PriceKind, Rate)> {
        self.tokens.iter().copied()
    }

    /// The price of one piece of something.
    pub fn unit(&self, unit: UnitKind) -> Option<Rate> {
        self.units.iter().find(|(of, _)| *of == unit).map(|(_, rate)| *rate)
    }

    /// The price of a web search.
    pub fn web_search(&self) -> Option<Rate> {
        self.web_search
    }

    /// The price that applies to tokens of this kind in a request with so many input tokens, served in this tier.
    pub fn rate(&self, kind: PriceKind, tier: ServiceTier, input_tokens: u64) -> Option<Rate> {
        let usual = self.long_context(input_tokens).unwrap_or(PriceTier::Standard);
        let rate = self.within(usual, kind)?;
        let column = tier.column();
        if column == PriceTier::Standard {
            return Some(rate);
        }
        if usual == PriceTier::Standard {
            return self.within(column, kind);
        }
        let short = self.within(PriceTier::Standard, kind)?;
        let served = self.within(column, kind)?;
        Some(rate.in_proportion(short, served))
    }

    /// Whether a tier has prices of its own.
    pub fn has_tier(&self, tier: ServiceTier) -> bool {
        let column = tier.column();
        self.tokens.iter().any(|(at, ..)| *at == column)
    }

    /// The tier by whose prices an answer is billed, and whether that is known to be right: a tier without prices is billed
    /// as usual, although the provider may take more for it, or less.
    pub fn tier_for(&self, served: Option<ServedTier>) -> (ServiceTier, bool) {
        let tier = match served {
            None | Some(ServedTier::Standard) => return (ServiceTier::Standard, true),
            Some(ServedTier::Flex) => ServiceTier::Flex,
            Some(ServedTier::Batch) => ServiceTier::Batch,
            Some(ServedTier::Priority) => ServiceTier::Priority,
            Some(_) => return (ServiceTier::Standard, false),
        };
        if self.has_tier(tier) { (tier, true) } else { (ServiceTier::Standard, false) }
    }

    /// The long-context column that applies, if the model has one.
    pub fn long_context(&self, input_tokens: u64) -> Option<PriceTier> {
        LONG_CONTEXT
            .into_iter()
            .find(|(tier, above)| input_tokens > *above && self.tokens.iter().any(|(at, _, _)| at == tier))
            .map(|(tier, _)| tier)
    }

    /// Gives spare room back: thousands of lists are kept for as long as the process runs.
    pub(crate) fn shrink(&mut self) {
        self.tokens.shrink_to_fit();
        self.units.shrink_to_fit();
    }

    /// The price in one column, by the rules at the top of this file where it lists none.
    fn within(&self, tier: PriceTier, kind: PriceKind) -> Option<Rate> {
        if let Some(rate) = self.listed(tier, kind) {
            return Some(rate);
        }
        let Some(fallback) = kind.fallback() else {
            return if tier == PriceTier::Standard { None } else { self.listed(PriceTier::Standard, kind) };
        };
        let cached = matches!(kind, PriceKind::CacheRead | PriceKind::CacheReadAudio);
        if tier != PriceTier::Standard
            && !cached
            && let Some(standard) = self.listed(PriceTier::Standard, kind)
            && let Some(from) = self.listed(PriceTier::Standard, kind.total())
        {
            return self.within(tier, kind.total()).map(|to| standard.in_proportion(from, to));
        }
        self.within(tier, fallback)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDARD: PriceTier = PriceTier::Standard;

    fn dollars(text: &str) -> Rate {
        Rate::from_dollars_per_million(text).unwrap()
    }

    #[test]
    fn a_kind_without_a_price_is_billed_as_what_it_is_part_of() {
        let prices = Prices::simple(dollars("2"), dollars("8"));
        for kind in PriceKind::ALL {
            let expected = if kind.is_output() { "8" } else { "2" };
            assert_eq!(prices.rate(*kind, ServiceTier::Standard, 0), Some(dollars(expected)), "{kind}");
        }
        let prices = prices.set(STANDARD, PriceKind::CacheWrite5m, dollars("2.5"));
        assert_eq!(prices.rate(PriceKind::CacheWrite1h, ServiceTier::Standard, 0), Some(dollars("2.5")));
    }

    #[test]
    fn a_tier_without_prices_is_billed_as_usual() {
        let prices = Prices::simple(dollars("2"), dollars("8"));
        assert_eq!(prices.rate(PriceKind::Output, ServiceTier::Flex, 0), Some(dollars("8")));
    }

    #[test]
    fn a_model_without_prices_has_no_rate() {
        assert_eq!(Prices::new().rate(PriceKind::Reasoning, ServiceTier::Batch, 300_000), None);
    }

    #[test]
    fn audio_and_cache_writes_keep_their_proportion_in_a_tier_that_does_not_list_them_and_cache_reads_do_not()
    {
        let prices = Prices::simple(dollars("0.3"), dollars("2.5"))
            .set(STANDARD, PriceKind::InputAudio, dollars("1"))
            .set(STANDARD, PriceKind::CacheRead, dollars("0.03"))
            .set(STANDARD, PriceKind::CacheWrite1h, dollars("0.6"))
            .set(PriceTier::Batch, PriceKind::Input, dollars("0.15"));
        assert_eq!(prices.rate(PriceKind::InputAudio, ServiceTier::Batch, 0), Some(dollars("0.5")));
        assert_eq!(prices.rate(PriceKind::CacheWrite1h, ServiceTier::Batch, 0), Some(dollars("0.3")));
        assert_eq!(prices.rate(PriceKind::CacheRead, ServiceTier::Batch, 0), Some(dollars("0.15")));
    }

    #[test]
    fn an_override_replaces_what_it_names_and_leaves_the_rest() {
        let listed = Prices::simple(dollars("2"), dollars("8")).set_web_search(Rate(7));
        let over = Prices::new().set(STANDARD, PriceKind::Output, dollars("1"));
        let prices = listed.overridden_by(&over);
        assert_eq!(prices.listed(STANDARD, PriceKind::Input), Some(dollars("2")));
        assert_eq!(prices.listed(STANDARD, PriceKind::Output), Some(dollars("1")));
        assert_eq!(prices.web_search(), Some(Rate(7)));
    }
}
