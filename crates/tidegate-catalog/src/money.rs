//! Money in integers: amounts in nano-dollars, prices in nano-dollars a million. Used by the cost of every call, the ledger and budgets.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Nano-dollars in a dollar.
const NANO: u64 = 1_000_000_000;
/// Decimals of a dollar that a nano-dollar can hold.
const NANO_DECIMALS: usize = 9;
/// Decimals that a price for a single unit can hold: nano-dollars, a million times finer.
const UNIT_DECIMALS: usize = 15;

/// An amount of US dollars in billionths. Arithmetic saturates: a total that no longer fits stops at the end, it never wraps into credit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NanoDollars(pub i64);

impl NanoDollars {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount.
    pub const MAX: Self = Self(i64::MAX);

    /// As it is displayed, for where formatting would take too long.
    pub fn in_digits(self) -> Digits {
        Digits::of(self.0.unsigned_abs(), self.0 < 0)
    }

    /// The sum, or `None` where it does not fit.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, or `None` where it does not fit.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }
}

impl Add for NanoDollars {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for NanoDollars {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for NanoDollars {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl SubAssign for NanoDollars {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Sum for NanoDollars {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

/// Decimal US dollars without a sign for the currency and without zeros at the end: `0.000123`, `12.5`, `0`.
impl fmt::Display for NanoDollars {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad_integral(self.0 >= 0, "", Digits::of(self.0.unsigned_abs(), false).as_str())
    }
}

impl FromStr for NanoDollars {
    type Err = RateError;

    /// Reads decimal US dollars, such as a budget in the configuration. More than nine decimals are refused.
    fn from_str(text: &str) -> Result<Self, RateError> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
        let amount =
            i64::try_from(scaled(digits, NANO_DECIMALS)?).map_err(|_too_large| RateError::TooLarge)?;
        Ok(Self(if negative { -amount } else { amount }))
    }
}

/// A price: nano-dollars for a million tokens, or for a million of whatever else is counted. Published prices fit without rounding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rate(pub u64);

impl Rate {
    /// Free of charge, which is something else than a price that is not known.
    pub const FREE: Self = Self(0);

    /// Reads US dollars for a million, as providers publish token prices: `0.25`.
    pub fn from_dollars_per_million(text: &str) -> Result<Self, RateError> {
        scaled(text, NANO_DECIMALS).map(Self)
    }

    /// Reads US dollars for one, as providers publish prices of images, seconds and searches: `0.01`.
    pub fn from_dollars_each(text: &str) -> Result<Self, RateError> {
        scaled(text, UNIT_DECIMALS).map(Self)
    }

    /// What so many cost, in millionths of a nano-dollar: exact.
    pub fn times(self, quantity: u64) -> u128 {
        u128::from(self.0) * u128::from(quantity)
    }

    /// This price changed as another price changes `from` … `to`, rounded half up. A free `from` says nothing about the change.
    pub(crate) fn in_proportion(self, from: Self, to: Self) -> Self {
        if from.0 == 0 {
            return self;
        }
        let product = u128::from(self.0) * u128::from(to.0);
        let from = u128::from(from.0);
        Self(u64::try_from((product + from / 2) / from).unwrap_or(u64::MAX))
    }
}

/// US dollars for a million.
impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(Digits::of(self.0, false).as_str())
    }
}

/// Why a text is not a price or an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// Not digits with at most one point.
    #[error("not a decimal number of US dollars; write it like 0.25")]
    NotANumber,
    /// Finer than what is kept.
    #[error("more than {0} decimals; round it")]
    TooFine(usize),
    /// Does not fit.
    #[error("larger than any price")]
    TooLarge,
}

/// Rounds millionths of a nano-dollar half up, once, at the end of a sum.
pub(crate) fn round(millionths: u128) -> NanoDollars {
    const MILLION: u128 = 1_000_000;
    let nano = millionths / MILLION + u128::from(millionths % MILLION >= MILLION / 2);
    NanoDollars(i64::try_from(nano).unwrap_or(i64::MAX))
}

/// Reads `12.5` as an integer in units of ten to the minus `decimals`.
fn scaled(text: &str, decimals: usize) -> Result<u64, RateError> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if (whole.is_empty() && fraction.is_empty())
        || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit())
    {
        return Err(RateError::NotANumber);
    }
    if fraction.len() > decimals {
        return Err(RateError::TooFine(decimals));
    }
    let padding = decimals - fraction.len();
    whole
        .bytes()
        .chain(fraction.bytes())
        .map(|byte| u64::from(byte - b'0'))
        .chain(std::iter::repeat_n(0, padding))
        .try_fold(0_u64, |number, digit| number.checked_mul(10)?.checked_add(digit))
        .ok_or(RateError::TooLarge)
}

/// Decimal US dollars without zeros at the end, written without an allocation.
#[derive(Debug, Clone, Copy)]
pub struct Digits {
    /// Written from the end on.
    bytes: [u8; MOST_DIGITS],
    start: usize,
}

/// More than the largest number of 64 bits has, with a point and a sign.
const MOST_DIGITS: usize = 24;

impl Digits {
    fn of(nano: u64, is_negative: bool) -> Self {
        let mut digits = Self { bytes: [0; MOST_DIGITS], start: MOST_DIGITS };
        let (mut whole, mut fraction) = (nano / NANO, nano % NANO);
        if fraction > 0 {
            let mut decimals = NANO_DECIMALS;
            while fraction % 10 == 0 {
                fraction /= 10;
                decimals -= 1;
            }
            for _ in 0..decimals {
                digits.put(fraction % 10);
                fraction /= 10;
            }
            digits.put_byte(b'.');
        }
        loop {
            digits.put(whole % 10);
            whole /= 10;
            if whole == 0 {
                break;
            }
        }
        if is_negative {
            digits.put_byte(b'-');
        }
        digits
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.bytes.get(self.start..).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    fn put(&mut self, digit: u64) {
        self.put_byte(b'0' + u8::try_from(digit).unwrap_or_default());
    }

    fn put_byte(&mut self, byte: u8) {
        self.start = self.start.saturating_sub(1);
        if let Some(place) = self.bytes.get_mut(self.start) {
            *place = byte;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_shown_as_dollars_without_noise() {
        for (nano, shown) in [
            (0, "0"),
            (1, "0.000000001"),
            (123_000, "0.000123"),
            (12_500_000_000, "12.5"),
            (3_000_000_000, "3"),
            (-50_000_000, "-0.05"),
            (i64::MAX, "9223372036.854775807"),
            (i64::MIN, "-9223372036.854775808"),
        ] {
            assert_eq!(NanoDollars(nano).to_string(), shown);
            assert_eq!(NanoDollars(nano).in_digits().as_str(), shown);
        }
        assert_eq!(format!("{:>8}", NanoDollars(500_000_000)), "     0.5");
    }

    #[test]
    fn an_amount_is_read_back_as_it_was_shown() {
        for nano in [0, 1, 123_000, 12_500_000_000, -50_000_000, i64::MAX] {
            assert_eq!(NanoDollars(nano).to_string().parse(), Ok(NanoDollars(nano)));
        }
    }

    #[test]
    fn what_is_not_an_exact_price_is_refused() {
        assert_eq!(Rate::from_dollars_per_million("0.25"), Ok(Rate(250_000_000)));
        assert_eq!(Rate::from_dollars_each("0.01"), Ok(Rate(10_000_000_000_000)));
        for (text, error) in [
            ("", RateError::NotANumber),
            (".", RateError::NotANumber),
            ("-1", RateError::NotANumber),
            ("1e3", RateError::NotANumber),
            ("1.2.3", RateError::NotANumber),
            ("0.0000000001", RateError::TooFine(9)),
            ("99999999999999999999", RateError::TooLarge),
        ] {
            assert_eq!(Rate::from_dollars_per_million(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn arithmetic_stops_at_the_ends() {
        assert_eq!(NanoDollars::MAX + NanoDollars(1), NanoDollars::MAX);
        assert_eq!(NanoDollars::MAX.checked_add(NanoDollars(1)), None);
        assert_eq!(NanoDollars(i64::MIN).checked_sub(NanoDollars(1)), None);
        assert_eq!(round(u128::MAX), NanoDollars::MAX);
    }

    #[test]
    fn half_a_nano_dollar_rounds_up() {
        assert_eq!(round(499_999), NanoDollars(0));
        assert_eq!(round(500_000), NanoDollars(1));
        assert_eq!(round(1_499_999), NanoDollars(1));
    }
}
