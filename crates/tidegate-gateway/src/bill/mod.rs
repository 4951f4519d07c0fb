//! What an answer used, and what that costs at its target. `relay` and `attempt` say what was used, `settle` pays for it,
//! `hold` reckons beforehand with the same prices.

mod asked;

use serde_json::{Map, Value};
use tidegate_catalog::{PriceKind, PriceTier, Prices, ServiceTier, cost};
use tidegate_config::Discount;
use tidegate_store::Text;
use tidegate_wire::{ServedTier, Usage};

pub(crate) use asked::AskedTier;

/// What an answer used, and the tier that the provider says it was served in: by that it is billed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Consumed {
    pub(crate) usage: Usage,
    pub(crate) tier: Option<ServedTier>,
}

impl From<Usage> for Consumed {
    fn from(usage: Usage) -> Self {
        Self { usage, tier: None }
    }
}

/// What a target costs, after discounts, and the same as the ledger keeps it.
#[derive(Debug)]
pub(crate) struct Priced {
    list: Prices,
    /// For each column that a call can be billed by.
    kept: Vec<(ServiceTier, Option<PriceTier>, Text)>,
}

/// What an answer costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bill<'a> {
    /// As far as prices are known.
    pub(crate) known_nanodollars: u64,
    /// Whether all that was used has a known price.
    pub(crate) is_complete: bool,
    /// The prices that applied, as compact JSON.
    pub(crate) prices: &'a Text,
    /// Whether the tier that served the answer has prices. If not, those of the usual tier were taken, which are not known
    /// to be right.
    pub(crate) is_certain: bool,
}

/// The long-context columns, and none of them.
const CONTEXTS: [Option<PriceTier>; 4] =
    [None, Some(PriceTier::Above128k), Some(PriceTier::Above200k), Some(PriceTier::Above272k)];

impl Priced {
    /// A price list from which this discount has been taken already.
    pub(crate) fn new(list: Prices, discount: Discount) -> Self {
        let has = |column: PriceTier| list.iter().any(|(tier, ..)| tier == column);
        let tiers = ServiceTier::ALL.iter().copied().filter(|tier| list.has_tier(*tier));
        let kept = tiers.flat_map(|tier| {
            let contexts = CONTEXTS.into_iter().filter(|context| context.is_none_or(has));
            contexts.map(move |context| (tier, context))
        });
        let kept =
            kept.map(|(tier, context)| (tier, context, keep(&list, tier, context, discount))).collect();
        Self { list, kept }
    }

    /// The list.
    pub(crate) fn list(&self) -> &Prices {
        &self.list
    }

    /// What was used, priced.
    pub(crate) fn bill(&self, consumed: &Consumed) -> Bill<'_> {
        static NOTHING: Text = Text::Fixed("{}");
        let (tier, is_certain) = self.list.tier_for(consumed.tier);
        let cost = cost(&consumed.usage, &self.list, tier);
        let kept = self.kept.iter().find(|(of, context, _)| (*of, *context) == (tier, cost.long_context));
        Bill {
            known_nanodollars: u64::try_from(cost.total.0).unwrap_or(0),
            is_complete: cost.is_complete(),
            prices: kept.map_or(&NOTHING, |(.., text)| text),
            is_certain,
        }
    }
}

/// The prices of one column. The figures are those after the discount; that there was one tells why they are not the list's.
fn keep(list: &Prices, tier: ServiceTier, context: Option<PriceTier>, discount: Discount) -> Text {
    let mut kept = Map::new();
    if tier != ServiceTier::Standard {
        kept.insert("tier".to_owned(), tier.name().into());
    }
    if let Some(context) = context {
        kept.insert("context".to_owned(), context.name().into());
    }
    let input_tokens = context.and_then(PriceTier::input_tokens_above).map_or(0, |above| above + 1);
    let is_listed = |kind: PriceKind| list.iter().any(|(_, of, _)| of == kind);
    for kind in PriceKind::ALL.iter().copied().filter(|kind| is_listed(*kind)) {
        if let Some(rate) = list.rate(kind, tier, input_tokens) {
            kept.insert(kind.name().to_owned(), rate.0.into());
        }
    }
    if let Some(rate) = list.web_search() {
        kept.insert("web_search".to_owned(), rate.0.into());
    }
    if !discount.is_none() {
        kept.insert("discount".to_owned(), discount.to_string().into());
    }
    Text::from(Value::Object(kept).to_string())
}

#[cfg(test)]
mod tests {
    use tidegate_catalog::Rate;

    use super::*;

    fn dollars(text: &str) -> Rate {
        Rate::from_dollars_per_million(text).unwrap()
    }

    fn priced() -> Priced {
        use {PriceKind as Kind, PriceTier as Tier};
        let list = Prices::simple(dollars("2"), dollars("8"))
            .set(Tier::Standard, Kind::CacheRead, dollars("0.5"))
            .set(Tier::Priority, Kind::Input, dollars("3.5"))
            .set(Tier::Priority, Kind::Output, dollars("14"))
            .set(Tier::Priority, Kind::CacheRead, dollars("0.875"))
            .set(Tier::Above200k, Kind::Input, dollars("4"))
            .set(Tier::Above200k, Kind::Output, dollars("12"));
        Priced::new(list, Discount::NONE)
    }

    fn bill(consumed: Consumed) -> (Option<u64>, Value, bool) {
        let priced = priced();
        let bill = priced.bill(&consumed);
        let cost = bill.is_complete.then_some(bill.known_nanodollars);
        (cost, serde_json::from_str(bill.prices).unwrap(), bill.is_certain)
    }

    #[test]
    fn the_tier_that_the_answer_names_decides_and_its_prices_are_kept() {
        let usage = Usage { input: 1_000, cache_read: 400, output: 100, ..Usage::default() };
        // 600 × $2 + 400 × $0.50 + 100 × $8 a million
        let usual = (
            Some(2_200_000),
            serde_json::json!({"input": 2_000_000_000_u64, "output": 8_000_000_000_u64, "cache_read": 500_000_000}),
            true,
        );
        assert_eq!(bill(usage.into()), usual);
        assert_eq!(bill(Consumed { usage, tier: Some(ServedTier::Standard) }), usual);
        // 600 × $3.50 + 400 × $0.875 + 100 × $14 a million
        let (cost, prices, is_certain) = bill(Consumed { usage, tier: Some(ServedTier::Priority) });
        assert_eq!((cost, is_certain), (Some(3_850_000), true));
        assert_eq!(prices["tier"], "priority");
        assert_eq!(prices["cache_read"], 875_000_000);
    }

    #[test]
    fn a_tier_without_prices_costs_as_much_as_usual_and_is_not_certain() {
        let usage = Usage { input: 1_000, output: 100, ..Usage::default() };
        for tier in [ServedTier::Flex, ServedTier::Scale, ServedTier::Fast, ServedTier::Other] {
            let (cost, prices, is_certain) = bill(Consumed { usage, tier: Some(tier) });
            assert_eq!((cost, is_certain), (Some(2_800_000), false), "{tier:?}");
            assert_eq!(prices.get("tier"), None);
        }
    }

    #[test]
    fn a_long_prompt_keeps_the_prices_that_it_was_billed_by() {
        let usage = Usage { input: 200_001, output: 1_000, ..Usage::default() };
        // 200,001 × $4 + 1,000 × $12 a million
        let (cost, prices, _) = bill(usage.into());
        assert_eq!(cost, Some(812_004_000));
        assert_eq!(prices["context"], "above_200k");
        assert_eq!(prices["input"], 4_000_000_000_u64);
        // First, on top of it: 3.5 ÷ 2 of 4 is 7, 14 ÷ 8 of 12 is 21
        let (cost, prices, _) = bill(Consumed { usage, tier: Some(ServedTier::Priority) });
        assert_eq!(cost, Some(200_001 * 7_000 + 1_000 * 21_000));
        assert_eq!((&prices["tier"], &prices["context"]), (&"priority".into(), &"above_200k".into()));
    }

    #[test]
    fn prices_as_they_are_kept_fit_where_they_are_kept() {
        const ROOM_FOR_DISCOUNT: usize = r#","discount":"12.3456%""#.len();
        let most =
            PriceTier::ALL.iter().flat_map(|tier| PriceKind::ALL.iter().map(move |kind| (*tier, *kind)));
        let list =
            most.fold(Prices::new(), |list, (tier, kind)| list.set(tier, kind, Rate(1_234_567_890_123)));
        let priced = Priced::new(list.set_web_search(Rate(10_000_000_000_000)), Discount::NONE);
        for (.., text) in &priced.kept {
            assert!(text.len() + ROOM_FOR_DISCOUNT <= 512, "{} bytes", text.len());
        }
    }
}
