//! One model of one provider: limits, capabilities, prices. Read from a line of `data/models.txt`.

use crate::capabilities::{Capabilities, Capability, Mode};
use crate::error::LineError;
use crate::money::Rate;
use crate::prices::{PriceKind, PriceTier, Prices, UnitKind};

/// What is known about a model at a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFacts {
    /// The provider's own name for it.
    pub name: Box<str>,
    /// What it is for.
    pub mode: Mode,
    /// Input tokens that fit, where published.
    pub context_window: Option<u32>,
    /// Output tokens that it gives at most, where published.
    pub max_output: Option<u32>,
    /// Length of its embedding vectors.
    pub dimensions: Option<u32>,
    /// The day on which the provider takes it away: `2027-01-14`.
    pub retires: Option<Box<str>>,
    /// What it can do.
    pub capabilities: Capabilities,
    prices: Prices,
}

impl ModelFacts {
    /// Its prices, or `None` where they are not known: then nothing may be shown as its cost.
    pub fn prices(&self) -> Option<&Prices> {
        (!self.prices.is_empty()).then_some(&self.prices)
    }

    /// Reads a line, see `data/lay_out.py` for the format.
    pub(crate) fn parse(line: &str) -> Result<Self, LineError> {
        let mut words = line.split_ascii_whitespace();
        let name = words.next().unwrap_or_default();
        let mode = words.next().ok_or(LineError::NoMode)?;
        let mut facts = Self {
            name: name.into(),
            mode: mode_of(mode)?,
            context_window: None,
            max_output: None,
            dimensions: None,
            retires: None,
            capabilities: Capabilities::NONE,
            prices: Prices::new(),
        };
        for word in words {
            facts.read(word)?;
        }
        facts.prices.shrink();
        Ok(facts)
    }

    fn read(&mut self, word: &str) -> Result<(), LineError> {
        let unknown = || LineError::UnknownWord(word.to_owned());
        if let Some((column, entries)) = word.split_once(':') {
            for entry in entries.split(',') {
                let (kind, price) = entry.split_once('=').ok_or_else(unknown)?;
                let prices = std::mem::take(&mut self.prices);
                self.prices = if column == "unit" {
                    let unit = UnitKind::from_name(kind).ok_or_else(unknown)?;
                    prices.set_unit(unit, each(word, price)?)
                } else {
                    let tier = PriceTier::from_name(column).ok_or_else(unknown)?;
                    let kind = PriceKind::from_name(kind).ok_or_else(unknown)?;
                    let rate = Rate::from_dollars_per_million(price)
                        .map_err(|source| LineError::NotAPrice { word: word.to_owned(), source })?;
                    prices.set(tier, kind, rate)
                };
            }
            return Ok(());
        }
        let (field, value) = word.split_once('=').ok_or_else(unknown)?;
        let count = || value.parse().map(Some).map_err(|_not_a_number| LineError::NotACount(word.to_owned()));
        match field {
            "context" => self.context_window = count()?,
            "output" => self.max_output = count()?,
            "dimensions" => self.dimensions = count()?,
            "retires" => self.retires = Some(value.into()),
            "search" => self.prices = std::mem::take(&mut self.prices).set_web_search(each(word, value)?),
            "can" => {
                for name in value.split(',') {
                    let capability = Capability::from_name(name).ok_or_else(unknown)?;
                    self.capabilities = self.capabilities.with(capability);
                }
            }
            _ => return Err(unknown()),
        }
        Ok(())
    }
}

fn each(word: &str, price: &str) -> Result<Rate, LineError> {
    Rate::from_dollars_each(price).map_err(|source| LineError::NotAPrice { word: word.to_owned(), source })
}

/// Modes that Tidegate has no use for are read as `Other`; what is not a mode at all is a mistake.
fn mode_of(word: &str) -> Result<Mode, LineError> {
    const OF_NO_USE: [&str; 4] = ["evaluation", "extraction", "guardrail", "vector_store"];
    match Mode::from_name(word) {
        Some(mode) => Ok(mode),
        None if OF_NO_USE.contains(&word) => Ok(Mode::Other),
        None => Err(LineError::NoMode),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_in_full() {
        let facts = ModelFacts::parse(
            "m-1 chat context=200000 output=64000 retires=2027-01-14 can=tools,vision \
             standard:input=0.25,output=2 batch:input=0.125 unit:per_image_in=0.00001 search=0.01",
        )
        .unwrap();
        assert_eq!((&*facts.name, facts.mode), ("m-1", Mode::Chat));
        assert_eq!((facts.context_window, facts.max_output), (Some(200_000), Some(64_000)));
        assert_eq!(facts.retires.as_deref(), Some("2027-01-14"));
        assert!(facts.capabilities.has_all([Capability::Tools, Capability::Vision].into_iter().collect()));
        assert!(!facts.capabilities.has(Capability::Pdf));
        let prices = facts.prices().unwrap();
        assert_eq!(prices.listed(PriceTier::Batch, PriceKind::Input), Some(Rate(125_000_000)));
        assert_eq!(prices.unit(UnitKind::ImageIn), Some(Rate(10_000_000_000)));
        assert_eq!(prices.web_search(), Some(Rate(10_000_000_000_000)));
    }

    #[test]
    fn a_model_without_prices_says_so() {
        assert_eq!(ModelFacts::parse("m-1 chat").unwrap().prices(), None);
    }

    #[test]
    fn a_mistake_in_a_line_is_named() {
        for (line, message) in [
            ("m-1", "after the name comes the mode"),
            ("m-1 dance", "after the name comes the mode"),
            ("m-1 chat context=big", "context=big needs a whole number"),
            ("m-1 chat can=fly", "can=fly is not known"),
            ("m-1 chat nightly:input=1", "nightly:input=1 is not known"),
            ("m-1 chat standard:input=cheap", "standard:input=cheap has no price"),
            ("m-1 chat standard:input", "standard:input is not known"),
        ] {
            let error = ModelFacts::parse(line).unwrap_err().to_string();
            assert!(error.starts_with(message), "{line:?} gave {error:?}");
        }
    }
}
