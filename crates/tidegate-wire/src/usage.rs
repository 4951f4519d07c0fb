//! Token counts, in one meaning for all dialects. Parsed by every dialect, priced by the catalog, kept in the ledger.
//!
//! Providers disagree about what their totals include (Anthropic's `input_tokens` leaves cached tokens out, Gemini's
//! `candidatesTokenCount` leaves thoughts out). Here the totals include everything and the parts are subsets of them;
//! each dialect converts on its way in and out.

use serde::{Deserialize, Serialize};

/// Tokens that one call used. `input` and `output` are totals; the other counts are subsets of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// All input tokens, cached and cache-written ones included.
    pub input: u64,
    /// Input tokens read from the provider's prompt cache.
    pub cache_read: u64,
    /// Input tokens written to the provider's prompt cache for the short time (five minutes at Anthropic).
    pub cache_write_5m: u64,
    /// Input tokens written to the provider's prompt cache for an hour.
    pub cache_write_1h: u64,
    /// Input tokens that were audio.
    pub input_audio: u64,
    /// All output tokens, reasoning included.
    pub output: u64,
    /// Output tokens spent on reasoning.
    pub reasoning: u64,
    /// Output tokens that were audio.
    pub output_audio: u64,
    /// Server-side web searches, where the provider bills them one by one.
    pub web_searches: u64,
}

impl Usage {
    /// All tokens, in and out.
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }

    /// The sum: of several attempts of one call.
    #[must_use]
    pub fn plus(&self, more: &Self) -> Self {
        Self {
            input: self.input.saturating_add(more.input),
            cache_read: self.cache_read.saturating_add(more.cache_read),
            cache_write_5m: self.cache_write_5m.saturating_add(more.cache_write_5m),
            cache_write_1h: self.cache_write_1h.saturating_add(more.cache_write_1h),
            input_audio: self.input_audio.saturating_add(more.input_audio),
            output: self.output.saturating_add(more.output),
            reasoning: self.reasoning.saturating_add(more.reasoning),
            output_audio: self.output_audio.saturating_add(more.output_audio),
            web_searches: self.web_searches.saturating_add(more.web_searches),
        }
    }

    /// Whether nothing was counted at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
