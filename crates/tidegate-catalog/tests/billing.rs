//! Bills worked out by hand, some of them published in price lists, against the shipped prices.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

use tidegate_catalog::{Catalog, CostKind, NanoDollars, PriceTier, Prices, Rate, ServiceTier, cost};
use tidegate_wire::Usage;

const NONE: Usage = Usage {
    input: 0,
    cache_read: 0,
    cache_write_5m: 0,
    cache_write_1h: 0,
    input_audio: 0,
    output: 0,
    reasoning: 0,
    output_audio: 0,
    web_searches: 0,
};

#[track_caller]
fn check(model: &str, tier: ServiceTier, usage: Usage, dollars: &str) {
    let (provider, name) = model.split_once('/').expect("provider/model");
    let facts = Catalog::builtin().model(provider, name).expect(model);
    let bill = cost(&usage, facts.prices().expect(model), tier);
    assert_eq!(bill.total.to_string(), dollars, "{model} {tier}: {:?}", bill.parts().collect::<Vec<_>>());
    assert!(bill.is_complete());
}

#[test]
fn input_and_output_are_billed_at_their_prices() {
    // 4,000 × $3 + 800 × $15 a million
    check(
        "anthropic/claude-sonnet-4-5",
        ServiceTier::Standard,
        Usage { input: 4_000, output: 800, ..NONE },
        "0.024",
    );
    // 1,000 × $2.50 + 100 × $10 a million
    check("openai/gpt-4o", ServiceTier::Standard, Usage { input: 1_000, output: 100, ..NONE }, "0.0035");
    // A coding session, worked out by hand: 50,000 × $5 + 15,000 × $25 a million
    check(
        "anthropic/claude-opus-4-8",
        ServiceTier::Standard,
        Usage { input: 50_000, output: 15_000, ..NONE },
        "0.625",
    );
    check("openai/gpt-5-mini", ServiceTier::Standard, NONE, "0");
}

#[test]
fn cached_input_is_billed_apart_and_once() {
    // The same session with 40,000 tokens read from the cache: 10,000 × $5 + 40,000 × $0.50 + 15,000 × $25
    let session = Usage { input: 50_000, cache_read: 40_000, output: 15_000, ..NONE };
    check("anthropic/claude-opus-4-8", ServiceTier::Standard, session, "0.445");
    // 1,000 × $1 + 2,000 × $0.10 + 3,000 × $1.25 + 4,000 × $2
    let writes =
        Usage { input: 10_000, cache_read: 2_000, cache_write_5m: 3_000, cache_write_1h: 4_000, ..NONE };
    check("anthropic/claude-haiku-4-5", ServiceTier::Standard, writes, "0.01295");
    // moonshot-v1-8k has no cache price: 1,000 × $0.20
    let read = Usage { input: 1_000, cache_read: 900, ..NONE };
    check("moonshot/moonshot-v1-8k", ServiceTier::Standard, read, "0.0002");
}

#[test]
fn a_tier_has_its_own_prices() {
    let million = Usage { input: 1_000_000, output: 1_000_000, ..NONE };
    check("openai/o3", ServiceTier::Standard, million, "10");
    check("openai/o3", ServiceTier::Flex, million, "5");
    check("openai/o3", ServiceTier::Priority, million, "17.5");
    // Cache multipliers stack with the batch discount: 1,000 × $0.50 + 1,000 × $0.05 + 8,000 × $1
    let writes = Usage { input: 10_000, cache_read: 1_000, cache_write_1h: 8_000, ..NONE };
    check("anthropic/claude-haiku-4-5", ServiceTier::Batch, writes, "0.00855");
    // GPT-4o's batch prices name no cached input: 1,000 × $1.25, cached or not
    let read = Usage { input: 1_000, cache_read: 800, ..NONE };
    check("openai/gpt-4o", ServiceTier::Batch, read, "0.00125");
}

#[test]
fn a_long_prompt_moves_the_whole_request() {
    // At the limit 200,000 × $1.25 + 1,000 × $10, one token over it 200,001 × $2.50 + 1,000 × $15
    check(
        "gemini/gemini-2.5-pro",
        ServiceTier::Standard,
        Usage { input: 200_000, output: 1_000, ..NONE },
        "0.26",
    );
    check(
        "gemini/gemini-2.5-pro",
        ServiceTier::Standard,
        Usage { input: 200_001, output: 1_000, ..NONE },
        "0.5150025",
    );
    // 300,000 × $4 + 1,000 × $12
    check("xai/grok-4.5", ServiceTier::Standard, Usage { input: 300_000, output: 1_000, ..NONE }, "1.212");
    // Twice the input price and one and a half times the output price of a batch: 300,000 × $2.50 + 1,000 × $11.25
    check("openai/gpt-5.4", ServiceTier::Batch, Usage { input: 300_000, output: 1_000, ..NONE }, "0.76125");
    // Cached tokens count towards the limit: 50,000 × $2.50 + 200,000 × $0.25
    check(
        "gemini/gemini-2.5-pro",
        ServiceTier::Standard,
        Usage { input: 250_000, cache_read: 200_000, ..NONE },
        "0.175",
    );
}

#[test]
fn audio_and_reasoning_are_billed_apart_where_they_are_priced_apart() {
    // 6,000 × $0.30 + 4,000 × $1 + 500 × $2.50
    let spoken = Usage { input: 10_000, input_audio: 4_000, output: 500, reasoning: 300, ..NONE };
    check("gemini/gemini-2.5-flash", ServiceTier::Standard, spoken, "0.00705");
    // Half of it all
    check("gemini/gemini-2.5-flash", ServiceTier::Flex, spoken, "0.003525");
    // 100 × $2.50 + 900 × $40 + 50 × $10 + 450 × $80
    let call = Usage { input: 1_000, input_audio: 900, output: 500, output_audio: 450, ..NONE };
    check("openai/gpt-4o-audio-preview-2024-12-17", ServiceTier::Standard, call, "0.07275");
    // 4,000 × $8 + 6,000 × $3
    check(
        "perplexity/sonar-deep-research",
        ServiceTier::Standard,
        Usage { output: 10_000, reasoning: 6_000, ..NONE },
        "0.05",
    );
    // Reasoning without a price of its own is output: 1,000 × $2
    check(
        "openai/gpt-5-mini",
        ServiceTier::Standard,
        Usage { output: 1_000, reasoning: 960, ..NONE },
        "0.002",
    );
}

#[test]
fn web_searches_are_billed_one_by_one() {
    // $10 for 1,000 searches
    check("anthropic/claude-opus-4-8", ServiceTier::Standard, Usage { web_searches: 3, ..NONE }, "0.03");
}

#[test]
fn cached_audio_is_not_billed_twice() {
    let prices = Prices::simple(Rate(4_000_000_000), Rate(0))
        .set(PriceTier::Standard, tidegate_catalog::PriceKind::CacheRead, Rate(400_000_000))
        .set(PriceTier::Standard, tidegate_catalog::PriceKind::InputAudio, Rate(32_000_000_000));
    // All 1,000 tokens are audio, 800 of them cached: 800 × $0.40 + 200 × $32
    let bill = cost(
        &Usage { input: 1_000, cache_read: 800, input_audio: 1_000, ..NONE },
        &prices,
        ServiceTier::Standard,
    );
    assert_eq!(bill.total.to_string(), "0.00672");
    let quantities: Vec<_> = bill.parts().map(|part| (part.kind, part.quantity)).collect();
    assert_eq!(quantities, [(CostKind::CacheRead, 800), (CostKind::InputAudio, 200)]);
}

#[test]
fn what_has_no_price_makes_the_bill_visibly_incomplete() {
    let usage = Usage { input: 10, output: 10, web_searches: 1, ..NONE };
    let bill = cost(&usage, &Prices::simple(Rate(1_000_000_000), Rate(2_000_000_000)), ServiceTier::Standard);
    assert_eq!(bill.total, NanoDollars(30_000));
    assert!(!bill.is_complete());
    assert!(!cost(&usage, &Prices::new(), ServiceTier::Standard).is_complete());
}
