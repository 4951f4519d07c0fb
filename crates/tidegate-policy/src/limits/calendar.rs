//! Calendar periods of budgets, in UTC. Called where a budget is held against and where spending is summed up again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// 1 January 1970 was a Thursday; weeks begin on Monday.
const FIRST_MONDAY: i64 = 4 * DAY;
const WEEK: i64 = 7 * DAY;

/// A calendar period, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BudgetPeriod {
    /// From the full hour.
    Hour,
    /// From midnight.
    Day,
    /// From Monday, midnight.
    Week,
    /// From the first of the month.
    Month,
    /// For ever.
    Lifetime,
}

/// When a period began, in seconds since 1970; 0 for a lifetime.
pub type PeriodStart = i64;

impl BudgetPeriod {
    /// All of them, the shortest first.
    pub const ALL: [Self; 5] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Lifetime];

    /// The word for messages and keys.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Lifetime => "lifetime",
        }
    }

    /// When the period that holds this moment (in seconds since 1970) began.
    pub fn start(self, now: i64) -> PeriodStart {
        match self {
            Self::Hour => now - now.rem_euclid(HOUR),
            Self::Day => now - now.rem_euclid(DAY),
            Self::Week => now - (now - FIRST_MONDAY).rem_euclid(WEEK),
            Self::Month => month_start(now, 0),
            Self::Lifetime => 0,
        }
    }

    /// When the next period begins; `None` for a lifetime.
    pub fn next_start(self, now: i64) -> Option<PeriodStart> {
        match self {
            Self::Hour => Some(self.start(now) + HOUR),
            Self::Day => Some(self.start(now) + DAY),
            Self::Week => Some(self.start(now) + WEEK),
            Self::Month => Some(month_start(now, 1)),
            Self::Lifetime => None,
        }
    }
}

/// The first second of the month that holds this moment, or of one so many months later.
fn month_start(now: i64, later: i64) -> i64 {
    let (year, month) = year_and_month(now.div_euclid(DAY));
    let months = year * 12 + (month - 1) + later;
    days_before(months.div_euclid(12), months.rem_euclid(12) + 1) * DAY
}

/// The proleptic Gregorian calendar, counted from 1 March, so that the leap day is the last of its year.
fn year_and_month(day: i64) -> (i64, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month)
}

/// Days from 1 January 1970 to the first of this month.
fn days_before(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * march_month + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_begin_where_the_calendar_says() {
        // From `date -u -d … +%s`.
        for (now, hour, day, week, month, next_month) in [
            // Sunday 2026-11-22T21:32:29Z
            (1_795_383_149, 1_795_381_200, 1_795_305_600, 1_794_787_200, 1_793_491_200, 1_796_083_200),
            // Leap day: Thursday 2024-02-29T23:59:59Z
            (1_709_251_199, 1_709_247_600, 1_709_164_800, 1_708_905_600, 1_706_745_600, 1_709_251_200),
            // Friday 2027-01-01T00:00:00Z
            (1_798_761_600, 1_798_761_600, 1_798_761_600, 1_798_416_000, 1_798_761_600, 1_801_440_000),
        ] {
            assert_eq!(BudgetPeriod::Hour.start(now), hour, "{now}");
            assert_eq!(BudgetPeriod::Day.start(now), day, "{now}");
            assert_eq!(BudgetPeriod::Week.start(now), week, "{now}");
            assert_eq!(BudgetPeriod::Month.start(now), month, "{now}");
            assert_eq!(BudgetPeriod::Month.next_start(now), Some(next_month), "{now}");
        }
        assert_eq!(BudgetPeriod::Lifetime.start(5), 0);
        assert_eq!(BudgetPeriod::Lifetime.next_start(5), None);
    }
}
