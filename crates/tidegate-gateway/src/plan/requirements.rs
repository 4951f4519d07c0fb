//! What a call needs of a target, and what a target lacks: looked at before any preference.
//!
//! What is needed is read from the request, and only as far as some target could lack it. What a target can do is known from
//! the catalog; what is not known there counts as there.

use std::cell::OnceCell;
use std::fmt;

use tidegate_catalog::Capability;
use tidegate_policy::Feature;

use crate::accept::{Call, Operation};
use crate::admit::{Uses, uses_of};
use crate::hold::asked_output;
use crate::provider::Target;

/// Roughly so many bytes of a request make one token.
const BYTES_PER_TOKEN: u64 = 4;
/// Hardly any request has more bytes for a token than this.
const MOST_BYTES_PER_TOKEN: u64 = 16;
/// What an image takes at a usual size.
const TOKENS_PER_IMAGE: u64 = 1_000;

/// What a call needs. Each is found out when it is first asked for.
#[derive(Debug)]
pub(crate) struct Needs<'a> {
    call: &'a Call,
    uses: OnceCell<Uses>,
    asked_output: OnceCell<Option<u64>>,
}

impl<'a> Needs<'a> {
    pub(crate) fn new(call: &'a Call) -> Self {
        Self { call, uses: OnceCell::new(), asked_output: OnceCell::new() }
    }

    /// What the request makes use of.
    pub(crate) fn uses(&self) -> &Uses {
        self.uses.get_or_init(|| uses_of(self.call))
    }

    /// How many tokens the answer may have, as far as the caller says.
    pub(crate) fn asked_output(&self) -> Option<u64> {
        *self.asked_output.get_or_init(|| asked_output(self.call).0)
    }

    /// Tokens of input, likely: by the size of the text, images at a usual size.
    pub(crate) fn likely_input(&self) -> u64 {
        let bytes = self.bytes();
        if bytes < LARGE {
            // Too small to hold media worth mentioning.
            return bytes / BYTES_PER_TOKEN;
        }
        let uses = self.uses();
        let text = bytes.saturating_sub(uses.media_bytes);
        (text / BYTES_PER_TOKEN).saturating_add(uses.media.saturating_mul(TOKENS_PER_IMAGE))
    }

    /// Tokens of input at the very least.
    fn least_input(&self) -> u64 {
        self.bytes().saturating_sub(self.uses().media_bytes) / MOST_BYTES_PER_TOKEN
    }

    fn bytes(&self) -> u64 {
        u64::try_from(self.call.body().len()).unwrap_or(u64::MAX)
    }
}

/// Smaller requests are not searched for images to say how many tokens they have.
const LARGE: u64 = 4_096;

/// What a target lacks for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lack {
    /// It calls no tools.
    Tools,
    /// It sees no images.
    Images,
    /// It hears no audio.
    Audio,
    /// It reads no documents, as far as is known.
    Documents,
    /// It keeps no answer to a schema, as far as is known.
    Schema,
    /// The input certainly does not fit.
    Window {
        /// Tokens that fit.
        window: u64,
        /// Tokens of input at the very least.
        needed: u64,
    },
    /// Input and answer likely do not fit.
    LikelyWindow {
        /// Tokens that fit.
        window: u64,
        /// Tokens of input and answer, likely.
        needed: u64,
    },
    /// It gives no answers that long.
    Output {
        /// The longest.
        most: u64,
        /// What was asked for.
        asked: u64,
    },
}

impl Lack {
    /// Whether it is certain that the target could not answer. Where it is not, it is asked when nobody else can be: what
    /// is published about it may be incomplete, the guess may be wrong, or it answers with something left out.
    pub(crate) fn is_certain(self) -> bool {
        matches!(self, Self::Tools | Self::Images | Self::Audio | Self::Window { .. })
    }

    /// Whether it is about the length of input and answer.
    pub(crate) fn is_length(self) -> bool {
        matches!(self, Self::Window { .. } | Self::LikelyWindow { .. } | Self::Output { .. })
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tools => formatter.write_str("calls no tools"),
            Self::Images => formatter.write_str("sees no images"),
            Self::Audio => formatter.write_str("takes no audio"),
            Self::Documents => formatter.write_str("is not known to read documents"),
            Self::Schema => formatter.write_str("is not known to keep to a JSON schema"),
            Self::Window { window, needed } => {
                write!(formatter, "takes {window} tokens, and this input has {needed} at the very least")
            }
            Self::LikelyWindow { window, needed } => {
                write!(formatter, "takes {window} tokens, and input and answer likely have {needed}")
            }
            Self::Output { most, asked } => {
                write!(formatter, "answers with {most} tokens at most, and {asked} are asked for")
            }
        }
    }
}

/// What a target lacks for this call, what is certain before what is not.
pub(crate) fn lack(target: &Target, needs: &Needs<'_>) -> Option<Lack> {
    if needs.call.operation != Operation::Chat {
        return None;
    }
    let mut doubt = None;
    if let Some(can) = target.capabilities {
        let lacks = |capability| !can.has(capability);
        for (capability, feature, lack) in [
            (Capability::Tools, Feature::Tools, Lack::Tools),
            (Capability::Vision, Feature::Images, Lack::Images),
            (Capability::AudioIn, Feature::Audio, Lack::Audio),
            (Capability::Pdf, Feature::Documents, Lack::Documents),
            (Capability::JsonSchema, Feature::StructuredOutput, Lack::Schema),
        ] {
            if lacks(capability) && needs.uses().features.contains(feature) {
                if lack.is_certain() {
                    return Some(lack);
                }
                doubt = doubt.or(Some(lack));
            }
        }
    }
    let has_schema = || needs.uses().features.contains(Feature::StructuredOutput);
    if doubt.is_none() && !target.traits.json_schema && has_schema() {
        doubt = Some(Lack::Schema);
    }
    length(target, needs).filter(|lack| lack.is_certain() || doubt.is_none()).or(doubt)
}

fn length(target: &Target, needs: &Needs<'_>) -> Option<Lack> {
    let window = target.window?;
    let most = target.traits.max_output_tokens;
    // No text has more tokens than bytes: most calls fit without a closer look.
    if needs.bytes() <= window / 2 && needs.asked_output().is_none_or(|asked| asked <= window / 2) {
        return too_long_an_answer(most, needs);
    }
    let least = needs.least_input();
    if least > window {
        return Some(Lack::Window { window, needed: least });
    }
    // The longest answer that is asked for is often far more than comes; and of those with a limit of their own no more can.
    let asked = needs.asked_output().unwrap_or(0).min(most.unwrap_or(u64::MAX));
    let needed = needs.likely_input().saturating_add(asked);
    if needed > window {
        return Some(Lack::LikelyWindow { window, needed });
    }
    too_long_an_answer(most, needs)
}

fn too_long_an_answer(most: Option<u64>, needs: &Needs<'_>) -> Option<Lack> {
    let (most, asked) = (most?, needs.asked_output()?);
    (asked > most).then_some(Lack::Output { most, asked })
}
