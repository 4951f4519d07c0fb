//! What the wishes do to the targets of a model: who is left out, and who comes first.

use std::fmt;

use tidegate_catalog::{PriceKind, Prices, Rate, ServiceTier};

use super::{Name, Steering};

/// Why the caller's wishes leave a target out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unwanted {
    /// It is not among `only`.
    NotOnly,
    /// It is among `ignore`.
    Ignored,
    /// It is not the first choice, and the caller wants no other.
    Fallback,
    /// It costs more than `max_price`.
    TooDear,
    /// What it costs is not known, and so may be more than `max_price`.
    Unpriced,
}

impl fmt::Display for Unwanted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotOnly => "is not among `provider.only`",
            Self::Ignored => "is among `provider.ignore`",
            Self::Fallback => "is a fallback, which `provider.allow_fallbacks` excludes",
            Self::TooDear => "costs more than `provider.max_price`",
            Self::Unpriced => "has no known price to hold against `provider.max_price`",
        })
    }
}

/// Whether the wishes leave a target out.
pub(crate) fn unwanted(
    steering: &Steering,
    provider: &str,
    kind: &str,
    prices: Option<&Prices>,
) -> Option<Unwanted> {
    let Steering { order, only, ignore, max_price, .. } = steering;
    if !only.is_empty() && place_among(only, provider, kind).is_none() {
        return Some(Unwanted::NotOnly);
    }
    // Somebody who is meant by a provider that passes the wishes on is left out there.
    if ignore.iter().any(|name| is_meant(name, provider)) {
        return Some(Unwanted::Ignored);
    }
    if !steering.allow_fallbacks && !order.is_empty() && place_among(order, provider, kind).is_none() {
        return Some(Unwanted::Fallback);
    }
    for (most, kind) in [(max_price.prompt, PriceKind::Input), (max_price.completion, PriceKind::Output)] {
        let Some(most) = most else { continue };
        match prices.and_then(|prices| usual_rate(prices, kind)) {
            None => return Some(Unwanted::Unpriced),
            Some(rate) if rate > most => return Some(Unwanted::TooDear),
            Some(_) => {}
        }
    }
    None
}

/// The place of a provider in `provider.order`. Those that are not named come after those that are, in the order that they have.
pub(crate) fn wished_place(steering: &Steering, provider: &str, kind: &str) -> Option<usize> {
    if steering.order.is_empty() { None } else { place_among(&steering.order, provider, kind) }
}

/// The place of a provider in a list. Names of providers that are not configured are those behind one that passes the wishes on, if
/// there is nobody else in the list.
fn place_among(names: &[Name], provider: &str, kind: &str) -> Option<usize> {
    names.iter().position(|name| is_meant(name, provider)).or_else(|| {
        let passes_on = kind == super::UNDERSTANDS && names.iter().all(|name| name.configured.is_empty());
        passes_on.then_some(0)
    })
}

fn is_meant(name: &Name, provider: &str) -> bool {
    name.configured.iter().any(|configured| **configured == *provider)
}

fn usual_rate(prices: &Prices, kind: PriceKind) -> Option<Rate> {
    prices.rate(kind, ServiceTier::Standard, 0)
}

#[cfg(test)]
mod tests {
    use tidegate_catalog::PriceTier;

    use super::*;

    fn name(written: &str, configured: &[&str]) -> Name {
        let configured = configured.iter().map(|name| (*name).into()).collect();
        Name { written: written.to_owned(), configured }
    }

    fn wishes() -> Steering {
        Steering { allow_fallbacks: true, ..Steering::default() }
    }

    #[test]
    fn providers_are_left_out_as_the_caller_wishes() {
        let only = Steering { only: vec![name("Anthropic", &["anthropic", "anthropic-eu"])], ..wishes() };
        assert_eq!(unwanted(&only, "anthropic-eu", "anthropic", None), None);
        assert_eq!(unwanted(&only, "openai", "openai", None), Some(Unwanted::NotOnly));
        assert_eq!(unwanted(&only, "openrouter", "openrouter", None), Some(Unwanted::NotOnly));
        let behind = Steering { only: vec![name("deepinfra", &[])], ..wishes() };
        assert_eq!(unwanted(&behind, "openrouter", "openrouter", None), None);
        assert_eq!(unwanted(&behind, "openai", "openai", None), Some(Unwanted::NotOnly));
        let ignore = Steering { ignore: vec![name("OpenAI", &["openai"]), name("x", &[])], ..wishes() };
        assert_eq!(unwanted(&ignore, "openai", "openai", None), Some(Unwanted::Ignored));
        assert_eq!(unwanted(&ignore, "openrouter", "openrouter", None), None);
        let strict =
            Steering { order: vec![name("openai", &["openai"])], allow_fallbacks: false, ..wishes() };
        assert_eq!(unwanted(&strict, "openai", "openai", None), None);
        assert_eq!(unwanted(&strict, "gemini", "gemini", None), Some(Unwanted::Fallback));
    }

    #[test]
    fn a_price_is_held_against_what_is_known() {
        let mut steering = wishes();
        steering.max_price.prompt = Some(Rate(1_000));
        let prices = |rate| Prices::new().set(PriceTier::Standard, PriceKind::Input, Rate(rate));
        assert_eq!(unwanted(&steering, "a", "a", Some(&prices(1_000))), None);
        assert_eq!(unwanted(&steering, "a", "a", Some(&prices(1_001))), Some(Unwanted::TooDear));
        assert_eq!(unwanted(&steering, "a", "a", None), Some(Unwanted::Unpriced));
        steering.max_price.completion = Some(Rate(5));
        assert_eq!(unwanted(&steering, "a", "a", Some(&prices(1))), Some(Unwanted::Unpriced));
    }

    #[test]
    fn an_order_puts_those_first_that_it_names_and_leaves_the_others() {
        let order = vec![name("b", &["b"]), name("nobody", &[]), name("a", &["a"])];
        let steering = Steering { order, ..wishes() };
        let mut targets = ["c", "a", "d", "b"];
        targets.sort_by_key(|target| wished_place(&steering, target, "").unwrap_or(usize::MAX));
        assert_eq!(targets, ["b", "a", "c", "d"]);
        assert_eq!(wished_place(&wishes(), "openrouter", "openrouter"), None);
    }
}
