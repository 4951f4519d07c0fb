//! What holds for every bill, whatever was used and whatever it costs.

use proptest::prelude::*;
use tidegate_catalog::{NanoDollars, PriceKind, PriceTier, Prices, Rate, ServiceTier, cost};
use tidegate_wire::Usage;

/// More tokens and dearer prices than any real call has.
const TOKENS: u64 = 50_000_000;
const DEAREST: u64 = 10_000_000_000_000;

fn usages() -> impl Strategy<Value = Usage> {
    (prop::array::uniform8(0..TOKENS), 0_u64..1000).prop_map(|(tokens, web_searches)| {
        let [input, cache_read, cache_write_5m, cache_write_1h, input_audio, output, reasoning, output_audio] = tokens;
        Usage {
            input,
            cache_read,
            cache_write_5m,
            cache_write_1h,
            input_audio,
            output,
            reasoning,
            output_audio,
            web_searches,
        }
    })
}

fn price_lists() -> impl Strategy<Value = Prices> {
    let entry = (prop::sample::select(PriceTier::ALL), prop::sample::select(PriceKind::ALL), 0..DEAREST);
    (prop::collection::vec(entry, 0..20), prop::option::of(0..DEAREST)).prop_map(|(entries, search)| {
        let prices = entries
            .into_iter()
            .fold(Prices::new(), |prices, (tier, kind, rate)| prices.set(tier, kind, Rate(rate)));
        search.map(Rate).into_iter().fold(prices, Prices::set_web_search)
    })
}

fn service_tiers() -> impl Strategy<Value = ServiceTier> {
    prop::sample::select(ServiceTier::ALL)
}

proptest! {
    #[test]
    fn a_bill_is_never_negative_and_its_parts_are_the_whole(
        usage in usages(), prices in price_lists(), tier in service_tiers()
    ) {
        let bill = cost(&usage, &prices, tier);
        prop_assert!(bill.total >= NanoDollars::ZERO);
        let exact: u128 = bill.parts().map(tidegate_catalog::CostPart::exact).sum();
        let floor = i64::try_from(exact / 1_000_000).unwrap_or(i64::MAX);
        prop_assert!(bill.total.0 == floor || (bill.total.0 == floor + 1 && exact % 1_000_000 >= 500_000));
        let tokens: u64 = bill.parts().map(|part| part.quantity).sum();
        prop_assert_eq!(tokens, usage.input + usage.output + usage.web_searches, "every token is billed once");
    }

    #[test]
    fn more_of_a_total_never_costs_less(
        usage in usages(), prices in price_lists(), tier in service_tiers(), more in 0..TOKENS
    ) {
        let before = cost(&usage, &prices, tier).total;
        let more_output = Usage { output: usage.output + more, ..usage };
        prop_assert!(cost(&more_output, &prices, tier).total >= before);
        let more_searches = Usage { web_searches: usage.web_searches + more, ..usage };
        prop_assert!(cost(&more_searches, &prices, tier).total >= before);
        let more_input = Usage { input: usage.input + more, ..usage };
        let same_prices = prices.long_context(usage.input) == prices.long_context(more_input.input);
        prop_assert!(!same_prices || cost(&more_input, &prices, tier).total >= before);
    }

    #[test]
    fn no_count_and_no_price_is_too_large(count: u64, price: u64, tier in service_tiers()) {
        let prices = Prices::simple(Rate(price), Rate(price)).set(PriceTier::Batch, PriceKind::Input, Rate(u64::MAX));
        let usage = Usage { input: count, output: count, cache_read: count, reasoning: count, web_searches: count, ..Usage::default() };
        prop_assert!(cost(&usage, &prices, tier).total >= NanoDollars::ZERO);
    }

    #[test]
    fn an_amount_reads_back_as_it_was_shown(nano in -i64::MAX..) {
        prop_assert_eq!(NanoDollars(nano).to_string().parse(), Ok(NanoDollars(nano)));
    }
}
