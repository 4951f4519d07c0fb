//! Where things are kept, what is kept of a call, and what a provider takes off its prices.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::Share;
use crate::secret::Secret;

/// Where keys, budgets and the ledger are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Store {
    /// SQLite in the directory `data`.
    #[default]
    Embedded,
    /// PostgreSQL, by its URL. [`Secret::address`] tells which one without the password.
    Postgres(Secret),
}

/// The Redis or Valkey in which replicas count limits and budgets together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shared {
    /// Its URL. [`Secret::address`] tells which one without the password.
    pub url: Secret,
    /// What happens to calls while it cannot be reached.
    pub unreachable: Unreachable,
    /// How the names of all its entries begin.
    pub prefix: String,
}

/// What happens to calls while the shared counters cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unreachable {
    /// Each replica enforces its part of every limit by itself.
    #[default]
    Local,
    /// Calls to which a limit or budget applies are refused.
    Deny,
}

/// The durable list of calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Whether calls are recorded.
    pub enabled: bool,
    /// How many bytes of calls may wait on disk while the database is away.
    pub journal_bytes: u64,
    /// How long calls are kept.
    pub retention: Retention,
    /// What is kept of requests and answers.
    pub bodies: Bodies,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            enabled: true,
            journal_bytes: 1024 * 1024 * 1024, // holds a few million calls: hours of a busy gateway
            retention: Retention::default(),
            bodies: Bodies::default(),
        }
    }
}

/// How long single calls are kept: until the first of the bounds is reached, for ever where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Retention {
    /// The age at which a call is deleted.
    pub age: Option<Duration>,
    /// The size of the ledger, in bytes, from which on its oldest calls are deleted.
    pub size_bytes: Option<u64>,
}

/// What is kept of requests and answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bodies {
    /// Of which calls.
    pub keep: KeepBodies,
    /// The longest piece of a body that is kept, in bytes.
    pub max: usize,
    /// What is replaced before that, in this order.
    pub redact: Vec<Redaction>,
}

impl Default for Bodies {
    fn default() -> Self {
        Self { keep: KeepBodies::None, max: 64 * 1024, redact: Redaction::BUILTIN.to_vec() }
    }
}

/// The calls whose bodies are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeepBodies {
    /// None.
    #[default]
    None,
    /// Those that failed.
    Errors,
    /// All.
    All,
}

/// Something that is replaced in a body before it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Redaction {
    /// API keys and tokens of well-known forms.
    Secret,
    /// E-mail addresses.
    Email,
    /// Bank account numbers, by their check digits.
    Iban,
    /// Payment card numbers, by their check digit.
    Card,
    /// Telephone numbers in international notation.
    Phone,
    /// What a regular expression of the user's matches. It has been compiled once, so it is one.
    Pattern {
        /// The regular expression.
        pattern: String,
        /// What stands in its place, in brackets.
        name: String,
    },
}

impl Redaction {
    /// Those that go by a name. The more exact come first: a card number is no telephone number.
    pub const BUILTIN: [Self; 5] = [Self::Secret, Self::Email, Self::Iban, Self::Card, Self::Phone];
    /// A compiled expression may take as many bytes of memory; `\w{1000}` and the like take more.
    pub const LARGEST_COMPILED: usize = 1024 * 1024;

    /// Its name in the file, which is also what stands, in brackets, in the place of what it found.
    pub fn name(&self) -> &str {
        match self {
            Self::Secret => "secret",
            Self::Email => "email",
            Self::Iban => "iban",
            Self::Card => "card",
            Self::Phone => "phone",
            Self::Pattern { name, .. } => name,
        }
    }
}

/// A part of a price that is not paid, in whole millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Discount(u32);

impl Discount {
    /// The whole price, in millionths.
    pub const WHOLE: u32 = 1_000_000;
    /// No discount.
    pub const NONE: Self = Self(0);

    /// A discount of so many millionths of the price; none for more than the whole.
    pub fn from_millionths(millionths: u32) -> Option<Self> {
        (millionths <= Self::WHOLE).then_some(Self(millionths))
    }

    /// The part that is not paid.
    pub fn millionths(self) -> u32 {
        self.0
    }

    /// Whether the whole price is paid.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// What is left of a price. Rounded up: a budget must not be overrun by what was rounded away.
    pub fn apply(self, price: u64) -> u64 {
        let paid = u128::from(Self::WHOLE.saturating_sub(self.0));
        let left = (u128::from(price) * paid).div_ceil(u128::from(Self::WHOLE));
        u64::try_from(left).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Discount {
    /// As a percentage: `12.5%`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        Share::from_millionths(self.0).fmt(formatter)
    }
}

impl Serialize for Discount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_discount_leaves_the_exact_rest_rounded_up() {
        for (millionths, price, left) in [
            (100_000, 1_000, 900),
            (125_000, 10, 9),
            (0, 7, 7),
            (1_000_000, 7, 0),
            (1, u64::MAX, u64::MAX - 18_446_744_073_709),
        ] {
            assert_eq!(
                Discount::from_millionths(millionths).unwrap().apply(price),
                left,
                "{millionths} {price}"
            );
        }
        assert!(Discount::from_millionths(1_000_001).is_none());
    }
}
