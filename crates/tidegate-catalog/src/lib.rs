//! What exists: providers, models, prices and capabilities as data files, and what a call costs.
//!
//! It does no I/O: the data is part of the program, `Catalog::parse` takes text, and prices come out as values. The configuration names
//! providers and overrides prices, the gateway looks up targets and settles costs, `tidegate models` lists what is here.

#![warn(missing_docs)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail loudly")
)]

mod capabilities;
mod catalog;
mod cost;
mod error;
mod lookup;
mod model;
mod money;
mod prices;
mod provider;
mod quirk;
mod traits;

pub use capabilities::{Capabilities, Capability, Mode};
pub use catalog::Catalog;
pub use cost::{Cost, CostKind, CostPart, cost};
pub use error::{CatalogError, LineError};
pub use model::ModelFacts;
pub use money::{Digits, NanoDollars, Rate, RateError};
pub use prices::{PriceKind, PriceTier, Prices, ServiceTier, UnitKind};
pub use provider::{Auth, BaseUrlError, Endpoint, Provider};
pub use quirk::{Quirk, Quirks};
