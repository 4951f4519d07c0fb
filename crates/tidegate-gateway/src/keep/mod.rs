//! What is kept of requests and answers, for looking into them later. Called by `settle` for the calls that the configuration names.
//!
//! | module | for |
//! |---|---|
//! | `gathering` | the bodies of one call, while it is under way and when it has ended |
//! | `rules` | finding what must not be kept: built-in rules, and the user's own expressions |
//! | `text` | a body as text: strings taken out of their JSON escapes and put back, cut where it becomes too long |

mod gathering;
mod rules;
mod text;

use tidegate_config::{Bodies, KeepBodies};

use rules::Rules;

pub use gathering::SpokenCall;
pub(crate) use gathering::{Gathering, reply_of_stream};
pub use rules::KeepError;

/// How far beyond its end a kept body is looked at, so that what is cut in half there is still recognised.
const LOOK_AHEAD: usize = 4 * 1024;

/// Makes bodies fit to be kept. Made once for a configuration, shared by all workers.
#[derive(Debug)]
pub struct BodyKeeper {
    keep: KeepBodies,
    max: usize,
    rules: Rules,
}

/// A body as it may be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptBody {
    /// Its text, with what was found replaced by `[email]` and the like. Never longer than the configured `max`.
    pub text: String,
    /// Whether the rest of it was left out.
    pub is_cut: bool,
}

impl BodyKeeper {
    /// A keeper for these settings.
    pub fn new(settings: &Bodies) -> Result<Self, KeepError> {
        Ok(Self { keep: settings.keep, max: settings.max, rules: Rules::compile(&settings.redact)? })
    }

    /// Whether bodies of such a call are kept.
    pub fn keeps(&self, has_failed: bool) -> bool {
        match self.keep {
            KeepBodies::None => false,
            KeepBodies::Errors => has_failed,
            KeepBodies::All => true,
        }
    }

    /// The body as it may be kept. Takes time in proportion to what is kept, about a millisecond for 64 KiB, whatever the body's length.
    ///
    /// A stream's events must be put together before: what is spread over two of them is found in neither.
    pub fn redact(&self, body: &[u8]) -> KeptBody {
        let seen = body.get(..self.max.saturating_add(LOOK_AHEAD)).unwrap_or(body);
        let seen = String::from_utf8_lossy(seen);
        let mut text = text::redact(&seen, self.max, &self.rules);
        let is_cut = body.len() > self.max || text.len() > self.max;
        text::cut(&mut text, self.max);
        KeptBody { text, is_cut }
    }
}

#[cfg(test)]
mod tests;
