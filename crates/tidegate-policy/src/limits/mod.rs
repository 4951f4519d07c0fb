//! Limits and budgets: what may be spent by whom in how much time. Values that the store keeps, the admin API takes and
//! the limiter holds calls against.
//!
//! One mechanism for all: before a call, room for it is reserved on every level that applies; after it, the room is
//! settled to the real figures.

mod account;
mod calendar;
mod counters;
mod room;
mod spending;
mod window;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_catalog::NanoDollars;

pub use calendar::{BudgetPeriod, PeriodStart};
pub use counters::{Counters, IN_FLIGHT_RETRY_AFTER, Stamp, TakenWindows};
pub use room::{
    Amounts, BudgetRoom, BudgetUsage, LimitsUsage, Measure, RateUsage, Remaining, Room, Shortage,
};
pub use spending::{RecentCalls, Spending};
pub use window::SLICES_PER_WINDOW;

/// Everything that limits one level: an organisation, a team, a key, an end user or a tag. Empty: no limit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Requests in a sliding window.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<RateLimit>,
    /// Tokens, input and output together, in a sliding window.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<RateLimit>,
    /// Calls in flight at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u32>,
    /// US dollars in a calendar period.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
}

/// So many, in any stretch of time of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// How many at most.
    pub max: u64,
    /// The length of the window.
    pub per: RatePeriod,
}

/// The length of a sliding window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RatePeriod {
    /// One second.
    Second,
    /// Sixty seconds.
    Minute,
    /// Sixty minutes.
    Hour,
    /// Twenty-four hours.
    Day,
}

impl RateLimit {
    /// The limits that have a window of their own: of several over the same length, the lowest.
    pub fn windows(limits: &[Self]) -> impl Iterator<Item = Self> {
        let is_lowest = |place: usize, limit: &Self| {
            limits.iter().enumerate().all(|(other_place, other)| {
                other.per != limit.per || (limit.max, place) <= (other.max, other_place)
            })
        };
        limits
            .iter()
            .enumerate()
            .filter(move |(place, limit)| is_lowest(*place, limit))
            .map(|(_, limit)| *limit)
    }

    /// A reservation of more tokens than the whole limit is cut to it: the call may run when nothing else does. Not
    /// where the limit is zero: there no call may run.
    pub fn cut(self, tokens: u64) -> u64 {
        if self.max == 0 { tokens } else { tokens.min(self.max) }
    }
}

impl RatePeriod {
    /// Its length in milliseconds.
    pub const fn milliseconds(self) -> u64 {
        match self {
            Self::Second => 1_000,
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }

    /// The word for messages and keys.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

/// So many US dollars in a calendar period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// How much, in US dollars: a decimal number or text, `100` or `"0.25"`.
    #[serde(with = "dollars")]
    #[schemars(with = "dollars::Dollars")]
    pub usd: NanoDollars,
    /// The period, in UTC.
    pub per: BudgetPeriod,
    /// Whether calls are refused once it is used up (`hard`), or somebody is told (`soft`).
    #[serde(default)]
    pub kind: BudgetKind,
}

/// What happens when a budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BudgetKind {
    /// Calls are refused.
    #[default]
    Hard,
    /// The operator is told: in the log, in the metrics and in the audit log.
    Soft,
}

impl Limits {
    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
            && self.tokens.is_empty()
            && self.in_flight.is_none()
            && self.budgets.is_empty()
    }
}

/// Money in JSON: written as decimal text, read as text or number.
pub(crate) mod dollars {
    use schemars::JsonSchema;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
    use tidegate_catalog::NanoDollars;

    /// US dollars, as a decimal number or text.
    #[derive(Deserialize, Serialize, JsonSchema)]
    #[serde(untagged)]
    pub(crate) enum Dollars {
        /// `"0.25"`.
        Text(String),
        /// `0.25`.
        Number(serde_json::Number),
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(amount: &NanoDollars, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(amount)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NanoDollars, D::Error> {
        parse(Dollars::deserialize(deserializer)?)
    }

    fn parse<E: de::Error>(dollars: Dollars) -> Result<NanoDollars, E> {
        let text = match dollars {
            Dollars::Text(text) => text,
            Dollars::Number(number) => number.to_string(),
        };
        let amount = text.parse::<NanoDollars>().map_err(E::custom)?;
        if amount < NanoDollars::ZERO {
            return Err(E::custom("an amount of money is not negative"));
        }
        Ok(amount)
    }

    pub(crate) mod optional {
        use serde::{Deserialize as _, Deserializer, Serializer};
        use tidegate_catalog::NanoDollars;

        use super::{Dollars, parse};

        #[expect(clippy::ref_option, reason = "serde calls it so")]
        pub(crate) fn serialize<S: Serializer>(
            amount: &Option<NanoDollars>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match amount {
                Some(amount) => super::serialize(amount, serializer),
                None => serializer.serialize_none(),
            }
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<NanoDollars>, D::Error> {
            Option::<Dollars>::deserialize(deserializer)?.map(parse).transpose()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_people_write_them_and_written_as_they_are_read() {
        let text = r#"{"requests":[{"max":60,"per":"minute"}],"in_flight":10,
            "budgets":[{"usd":0.25,"per":"month"},{"usd":"100","per":"lifetime","kind":"soft"}]}"#;
        let limits: Limits = serde_json::from_str(text).unwrap();
        assert_eq!(limits.budgets[0].usd, NanoDollars(250_000_000));
        assert_eq!(limits.budgets[0].kind, BudgetKind::Hard);
        let again: Limits = serde_json::from_str(&serde_json::to_string(&limits).unwrap()).unwrap();
        assert_eq!(again, limits);
        for wrong in [
            r#"{"budgets":[{"usd":"-1","per":"day"}]}"#,
            r#"{"rpm":60}"#,
            r#"{"budgets":[{"usd":"x","per":"day"}]}"#,
        ] {
            assert!(serde_json::from_str::<Limits>(wrong).is_err(), "{wrong}");
        }
    }
}
