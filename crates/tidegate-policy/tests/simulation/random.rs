//! Seeded randomness: the same seed gives the same night.

/// SplitMix64: small, and good enough for arrivals and noise.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// Randomness of its own for one thing in one world, whatever else was drawn before: so that every strategy meets the
    /// same luck.
    pub(crate) fn of(seed: u64, parts: [u64; 3]) -> Self {
        let mut random = Self(seed);
        for part in parts {
            random.0 ^= random.next().wrapping_add(part.wrapping_mul(0x2545_f491_4f6c_dd1d));
        }
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// In `0.0..1.0`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Around 1.0, with a long tail upwards.
    pub(crate) fn lognormal(&mut self, spread: f64) -> f64 {
        (spread * self.normal()).exp()
    }
}
