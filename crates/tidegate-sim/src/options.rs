//! How a simulator is to behave where the model's name does not say: what `tidegate sim`'s flags map onto.

use std::net::SocketAddr;
use std::time::Duration;

/// Set the fields that matter, leave the rest to [`SimOptions::default`].
#[derive(Debug, Clone)]
pub struct SimOptions {
    /// Where to listen (`--listen`). Port 0 takes a free one.
    pub listen: SocketAddr,
    /// How long the first token takes (`--latency`).
    pub latency: Duration,
    /// How fast tokens follow (`--tokens-per-second`); 0: as fast as possible.
    pub tokens_per_second: f64,
    /// How many tokens an ordinary answer has (`--tokens`).
    pub tokens: u32,
    /// The key that callers must send where the dialect wants it (`--api-key`). Without one every key is taken, and
    /// none is needed; a key in another dialect's place is refused all the same.
    pub api_key: Option<String>,
    /// The share of calls, 0 to 1, that fail with a 500 (`--error-rate`).
    pub error_rate: f64,
    /// The share of calls, 0 to 1, that are answered with 429 (`--rate-limit-rate`).
    pub rate_limit_rate: f64,
    /// The share of streams, 0 to 1, that break off in the middle (`--cut-rate`).
    pub cut_rate: f64,
    /// Anthropic refuses two turns of the same role in a row. Today's API joins such turns; earlier versions and other
    /// hosts refused them, and a gateway that relies on the joining breaks there.
    pub strict_roles: bool,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            latency: Duration::ZERO,
            tokens_per_second: 0.0,
            tokens: 24,
            api_key: None,
            error_rate: 0.0,
            rate_limit_rate: 0.0,
            cut_rate: 0.0,
            strict_roles: true,
        }
    }
}

/// Options that make no sense.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OptionsError {
    /// A share outside 0 to 1.
    #[error("{name} is {value}: give a share between 0 and 1")]
    Share { name: &'static str, value: f64 },
    /// A speed that is negative or not a number.
    #[error("tokens per second is {value}: give 0 (as fast as possible) or more")]
    Speed { value: f64 },
    /// More tokens than the simulator writes.
    #[error("{tokens} tokens an answer are too many: give at most {most}")]
    Tokens { tokens: u32, most: u32 },
}

/// An answer has at most so many tokens, so that a name with a long number in it does not fill the memory.
pub(crate) const MOST_TOKENS: u32 = 100_000;

impl SimOptions {
    pub(crate) fn check(&self) -> Result<(), OptionsError> {
        let shares = [
            ("error rate", self.error_rate),
            ("rate limit rate", self.rate_limit_rate),
            ("cut rate", self.cut_rate),
        ];
        for (name, value) in shares {
            if !(0.0..=1.0).contains(&value) {
                return Err(OptionsError::Share { name, value });
            }
        }
        if !self.tokens_per_second.is_finite() || self.tokens_per_second < 0.0 {
            return Err(OptionsError::Speed { value: self.tokens_per_second });
        }
        if self.tokens > MOST_TOKENS {
            return Err(OptionsError::Tokens { tokens: self.tokens, most: MOST_TOKENS });
        }
        Ok(())
    }
}
