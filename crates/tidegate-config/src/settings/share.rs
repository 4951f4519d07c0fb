//! A part of a whole, exact: of calls, of a price, of a rate.

use std::fmt;

use serde::{Serialize, Serializer};

/// A part in whole millionths: `5%` is 50,000. More than the whole where something may grow by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Share(u32);

impl Share {
    /// The whole.
    pub const WHOLE: Self = Self(1_000_000);
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// So many millionths.
    pub const fn from_millionths(millionths: u32) -> Self {
        Self(millionths)
    }

    /// So many hundredths.
    pub const fn from_percent(percent: u32) -> Self {
        Self(percent.saturating_mul(10_000))
    }

    /// In millionths.
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// As a number, 1 for the whole.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / f64::from(Self::WHOLE.0)
    }
}

impl fmt::Display for Share {
    /// As a percentage: `12.5%`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PER_PERCENT: u32 = 10_000;
        let (whole, fraction) = (self.0 / PER_PERCENT, self.0 % PER_PERCENT);
        if fraction == 0 {
            return write!(formatter, "{whole}%");
        }
        let digits = format!("{fraction:04}");
        write!(formatter, "{whole}.{}%", digits.trim_end_matches('0'))
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
