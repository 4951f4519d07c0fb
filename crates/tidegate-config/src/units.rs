//! Values with a unit as people write them: `200ms`, `200ms..5s`, `32MiB`, `0.25` dollars. Read by the file types.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error};
use tidegate_catalog::{NanoDollars, Rate};

use crate::settings::{Discount, Share};

/// Longer waits are taken for a mistake in the unit: no provider keeps a request open for a day.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// How long records are kept at most: a century, which no disk will see.
const LONGEST_KEPT: Duration = Duration::from_secs(36_525 * 24 * 60 * 60);

/// A length of time: `200ms`, `5s`, `1m30s`, `2h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DurationText(pub(crate) Duration);

/// A length of time for which something is kept: `400d`, `12h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LongDurationText(pub(crate) Duration);

/// A part of a price that is not paid: `10%`, `12.5%`, `0.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiscountText(pub(crate) Discount);

/// A part of a whole: `5%`, `12.5%`, `0.05`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShareText(pub(crate) Share);

/// A number that is not negative: `0.35`, `2`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Number(pub(crate) f64);

/// An amount of US dollars, in billionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PositiveDollars(pub(crate) u64);

/// Two lengths of time, the shorter one first: `200ms..5s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DurationRange {
    pub(crate) shortest: Duration,
    pub(crate) longest: Duration,
}

/// A number of bytes: `32MiB`, `500kB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

/// US dollars for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dollars(pub(crate) Rate);

/// A text is not a duration. Says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DurationError(String);

/// Splits `15ms` into its digits and its letters.
fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// Reads a length of time as it is written in the configuration, and by callers in `x-tidegate-timeout`.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    read_duration(text).map_err(DurationError)
}

/// Reads a length of time for which something is kept or goes on: also days and weeks, `7d`.
pub fn parse_long_duration(text: &str) -> Result<Duration, DurationError> {
    read_long_duration(text).map_err(DurationError)
}

fn read_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a duration such as `200ms`, `5s`, `2m` or `1h`, found `{text}`");
    match sum_of_parts(text, wrong)? {
        total if total > LONGEST => Err(format!("the duration `{text}` is longer than a day (`24h`)")),
        total => Ok(total),
    }
}

fn read_long_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a duration such as `30d`, `52w` or `12h`, found `{text}`");
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("the duration `{text}` has no unit: `{text}d` or `{text}h`?"));
    }
    match sum_of_parts(text, wrong)? {
        total if total > LONGEST_KEPT => {
            Err(format!("the duration `{text}` is longer than a hundred years; leave it out to keep all"))
        }
        total => Ok(total),
    }
}

fn sum_of_parts(text: &str, wrong: impl Fn() -> String) -> Result<Duration, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("the duration `{text}` has no unit: `{text}s` or `{text}ms`?"));
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (digits, after) = split_unit(rest);
        let (unit, after) =
            after.split_at(after.find(|letter: char| !letter.is_alphabetic()).unwrap_or(after.len()));
        let millis_per_unit = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            _ => return Err(wrong()),
        };
        let number: u64 = digits.parse().map_err(|_not_a_number| wrong())?;
        let part = Duration::from_millis(number.saturating_mul(millis_per_unit));
        total = total.saturating_add(part);
        rest = after;
    }
    match total {
        Duration::ZERO if text.is_empty() => Err(wrong()),
        Duration::ZERO => Err(format!("the duration `{text}` must be longer than nothing")),
        total => Ok(total),
    }
}

fn parse_range(text: &str) -> Result<DurationRange, String> {
    let Some((shortest, longest)) = text.split_once("..") else {
        return Err(format!("expected two durations such as `200ms..5s`, found `{text}`"));
    };
    let (shortest, longest) = (read_duration(shortest.trim())?, read_duration(longest.trim())?);
    if shortest > longest {
        return Err(format!("`{text}` begins with the longer duration"));
    }
    Ok(DurationRange { shortest, longest })
}

fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("expected a size such as `32MiB` or `500kB`, found `{text}`");
    let (digits, unit) = split_unit(text);
    let factor: u64 = match unit.trim_start() {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "" if !digits.is_empty() => {
            return Err(format!("the size `{text}` has no unit: `{text}MiB` or `{text}B`?"));
        }
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_not_a_number| wrong())?;
    number.checked_mul(factor).ok_or_else(|| format!("the size `{text}` is too large"))
}

fn parse_discount(text: &str) -> Result<DiscountText, String> {
    if text.starts_with('-') {
        return Err(format!("a discount of `{text}` would be a surcharge; set `prices` instead"));
    }
    let millionths = parse_millionths(text, "discount")?;
    Discount::from_millionths(millionths)
        .map(DiscountText)
        .ok_or_else(|| format!("a discount of `{text}` is more than the whole price"))
}

fn parse_share(text: &str) -> Result<ShareText, String> {
    parse_millionths(text, "part").map(|millionths| ShareText(Share::from_millionths(millionths)))
}

/// Whole millionths, so that no price is computed with a number that is only nearly right.
fn parse_millionths(text: &str, what: &str) -> Result<u32, String> {
    let wrong = || format!("expected a {what} such as `10%`, `12.5%` or `0.1`, found `{text}`");
    let (number, decimals) = match text.strip_suffix('%') {
        Some(percent) => (percent.trim_end(), 4_u32),
        None => (text, 6),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let are_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let length = u32::try_from(fraction.len()).unwrap_or(u32::MAX);
    if whole.is_empty() || !are_digits(whole) || !are_digits(fraction) || number.ends_with('.') {
        return Err(wrong());
    }
    if length > decimals {
        return Err(format!("the {what} `{text}` is finer than a ten-thousandth of a percent"));
    }
    let Ok(units) = format!("{whole}{fraction}").parse::<u32>() else { return Err(wrong()) };
    let millionths = units.saturating_mul(10_u32.saturating_pow(decimals - length));
    // `1` would be the whole and is meant as a percentage more often than not.
    if decimals == 6 && millionths >= Share::WHOLE.millionths() {
        return Err(format!("the {what} `{text}` has no unit: `{text}%`?"));
    }
    Ok(millionths)
}

fn parse_number(text: &str) -> Result<Number, String> {
    let wrong = || format!("expected a number such as `0.5` or `2`, found `{text}`");
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match text.parse::<f64>() {
        Ok(number) if is_plain && number.is_finite() => Ok(Number(number)),
        _ => Err(wrong()),
    }
}

fn parse_positive_dollars(text: &str) -> Result<PositiveDollars, String> {
    let wrong = || format!("expected US dollars such as `5` or `0.25`, found `{text}`");
    let amount: NanoDollars = text.parse().map_err(|_not_an_amount| wrong())?;
    match u64::try_from(amount.0) {
        Ok(amount @ 1..) => Ok(PositiveDollars(amount)),
        _ => Err(wrong()),
    }
}

fn parse_dollars(text: &str) -> Result<Dollars, String> {
    let wrong = |error| format!("expected US dollars such as `0.25`, found `{text}`: {error}");
    Rate::from_dollars_per_million(text).map(Dollars).map_err(wrong)
}

/// Serde and schema of a value that is written as one scalar. The pattern is a help in editors; the parser decides.
macro_rules! written_as_text {
    ($type:ty, $name:literal, $parse:expr, $schema:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                $parse(&text).map_err(D::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

written_as_text!(
    DurationText,
    "Duration",
    |text: &str| read_duration(text.trim()).map(DurationText),
    json_schema!({"type": "string", "description": "A length of time: 200ms, 5s, 2m, 1h.", "examples": ["200ms", "5s", "2m"]})
);
written_as_text!(
    LongDurationText,
    "LongDuration",
    |text: &str| read_long_duration(text.trim()).map(LongDurationText),
    json_schema!({"type": "string", "description": "A length of time: 400d, 52w, 12h.", "examples": ["400d", "12h"]})
);
written_as_text!(
    DiscountText,
    "Discount",
    |text: &str| parse_discount(text.trim()),
    json_schema!({"type": ["number", "string"], "minimum": 0, "exclusiveMaximum": 1, "description": "A part of a price: 10%, 12.5%, 0.1.", "examples": ["10%"]})
);
written_as_text!(
    ShareText,
    "Share",
    |text: &str| parse_share(text.trim()),
    json_schema!({"type": ["number", "string"], "description": "A part of a whole: 5%, 12.5%, 0.05.", "examples": ["5%"]})
);
written_as_text!(
    Number,
    "PositiveNumber",
    |text: &str| parse_number(text.trim()),
    json_schema!({"type": "number", "minimum": 0})
);
written_as_text!(
    PositiveDollars,
    "Amount",
    |text: &str| parse_positive_dollars(text.trim()),
    json_schema!({"type": ["number", "string"], "exclusiveMinimum": 0, "description": "US dollars, with at most nine decimals."})
);
written_as_text!(
    DurationRange,
    "DurationRange",
    |text: &str| parse_range(text.trim()),
    json_schema!({"type": "string", "description": "Two lengths of time, the shorter one first.", "examples": ["200ms..5s"]})
);
written_as_text!(
    Size,
    "Size",
    |text: &str| parse_size(text.trim()).map(Size),
    json_schema!({"type": "string", "description": "A number of bytes.", "examples": ["32MiB", "500kB"]})
);
written_as_text!(
    Dollars,
    "Dollars",
    |text: &str| parse_dollars(text.trim()),
    json_schema!({"type": ["number", "string"], "minimum": 0, "description": "US dollars, with at most nine decimals."})
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, millis) in
            [("200ms", 200), ("5s", 5_000), ("2m", 120_000), ("1m30s", 90_000), ("24h", 86_400_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "5sec",
            "-5s",
            "1.5s",
            "0s",
            "25h",
            "99999999999999999999h",
            "5s5",
            "٥s",
            "5ſ",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_are_two_durations_in_order() {
        assert_eq!(parse_range("200ms..5s").unwrap().longest, Duration::from_secs(5));
        for text in ["5s", "5s..200ms", "..5s", "1s..", "1s...2s"] {
            assert!(parse_range(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_of_keeping_are_written_in_days_too() {
        for (text, hours) in [("400d", 9_600), ("2w", 336), ("1d12h", 36), ("12h", 12)] {
            assert_eq!(read_long_duration(text), Ok(Duration::from_secs(hours * 3_600)), "{text}");
        }
        for text in ["", "400", "1y", "0d", "40000d", "-1d"] {
            assert!(read_long_duration(text).is_err(), "{text}");
        }
        assert!(parse_duration("2d").unwrap_err().to_string().contains("longer than a day"));
    }

    #[test]
    fn discounts_are_percentages_or_fractions_and_exact() {
        for (text, millionths, shown) in [
            ("10%", 100_000, "10%"),
            ("12.5 %", 125_000, "12.5%"),
            ("0.1", 100_000, "10%"),
            ("0.0001%", 1, "0.0001%"),
            ("0", 0, "0%"),
            ("100%", 1_000_000, "100%"),
            ("0.333333", 333_333, "33.3333%"),
        ] {
            let discount = parse_discount(text).unwrap().0;
            assert_eq!(discount.millionths(), millionths, "{text}");
            assert_eq!(discount.to_string(), shown, "{text}");
        }
        for text in
            ["", "%", "10", "1", "1.0", "101%", "-5%", "0.0000001", "1e-1", ".5", "5.%", "99999999999%", "٥%"]
        {
            assert!(parse_discount(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_tell_decimal_and_binary_units_apart() {
        for (text, bytes) in [("32MiB", 33_554_432), ("500kB", 500_000), ("1 GiB", 1_073_741_824), ("7B", 7)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["32", "32M", "MiB", "", "-1B", "99999999999GiB", "1.5MiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
