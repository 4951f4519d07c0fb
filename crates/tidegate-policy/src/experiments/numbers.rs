//! The few functions that the standard library lacks, and the only conversions between counts and real numbers.

/// A count as a real number. Counts stay far below 2^53, up to which this is exact.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 calls")]
pub(super) fn real(count: u64) -> f64 {
    count as f64
}

/// The logarithm of the gamma function for positive arguments: Stirling's series, after the argument was lifted to where
/// the series is exact to a few units in the last place.
pub(super) fn ln_gamma(argument: f64) -> f64 {
    /// From here on the first terms of the series leave less than 1e-15.
    const FAR_ENOUGH: f64 = 10.0;
    let mut lifted = argument;
    let mut product = 1.0;
    while lifted < FAR_ENOUGH {
        product *= lifted;
        lifted += 1.0;
    }
    let inverse = 1.0 / lifted;
    let square = inverse * inverse;
    let series = inverse
        * (1.0 / 12.0
            - square
                * (1.0 / 360.0
                    - square
                        * (1.0 / 1260.0
                            - square
                                * (1.0 / 1680.0 - square * (1.0 / 1188.0 - square * (691.0 / 360_360.0))))));
    let half_ln_two_pi = 0.5 * (2.0 * std::f64::consts::PI).ln();
    (lifted - 0.5) * lifted.ln() - lifted + half_ln_two_pi + series - product.ln()
}

/// The logarithm of the beta function.
pub(super) fn ln_beta(first: f64, second: f64) -> f64 {
    ln_gamma(first) + ln_gamma(second) - ln_gamma(first + second)
}

/// `ln(exp(first) + exp(second))` without leaving the range of numbers.
pub(super) fn ln_add(first: f64, second: f64) -> f64 {
    let (small, large) = if first < second { (first, second) } else { (second, first) };
    if small == f64::NEG_INFINITY { large } else { large + (small - large).exp().ln_1p() }
}

/// A stable hash of parts: FNV-1a over their bytes, each part with its length before it, and a final mixing (that of
/// MurmurHash3), because FNV leaves the high bits of short inputs alike. The same on every machine and in every release:
/// who is in which arm depends on it.
pub(super) fn stable_hash(parts: &[&[u8]]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut hash = OFFSET;
    for part in parts {
        let length = part.len() as u64;
        for byte in length.to_le_bytes().iter().chain(part.iter()) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }
    mix(hash)
}

/// Spreads every bit of the input over all bits of the result.
pub(super) fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    value = (value ^ (value >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ (value >> 33)
}

/// A number in `0.0..1.0`, never 0 itself, from the upper 53 bits.
pub(super) fn unit_interval(hash: u64) -> f64 {
    (real(hash >> 11) + 0.5) / real(1 << 53)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_of_gamma_is_that_of_factorials() {
        let mut factorial = 1.0_f64;
        for number in 1..60_u32 {
            let value = ln_gamma(f64::from(number));
            assert!((value - factorial.ln()).abs() < 1e-11 * (1.0 + value.abs()), "{number}: {value}");
            factorial *= f64::from(number);
        }
        let half = 0.5 * std::f64::consts::PI.ln();
        assert!((ln_gamma(0.5) - half).abs() < 1e-13);
    }

    #[test]
    fn the_hash_stays_what_it_was() {
        assert_eq!(
            stable_hash(&[b"session-1", b"greeting"]),
            0xb760_ab80_3758_b9e3,
            "whoever changes it moves everybody to another arm"
        );
    }
}
