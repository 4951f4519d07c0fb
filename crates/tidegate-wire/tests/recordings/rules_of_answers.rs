//! The closed list of what of an answer cannot survive, and why. See `reasons`.

use tidegate_wire::Dialect::{AnthropicMessages as ANTHROPIC, Gemini as GEMINI, OpenAiChat as OPENAI};

use crate::reasons::Fate::{Changed, Lost, Own};
use crate::reasons::{Fate, Rule};

const fn answer(
    from: Option<tidegate_wire::Dialect>,
    to: Option<tidegate_wire::Dialect>,
    fate: Fate,
    things: &'static [&'static str],
    reason: &'static str,
) -> Rule {
    Rule { from, to, things, fate, reason }
}

pub(crate) const ANSWERS: &[Rule] = &[
    answer(Some(ANTHROPIC), None, Lost, &["block *"], "a block of Anthropic's own server tools or betas"),
    answer(
        Some(ANTHROPIC),
        None,
        Lost,
        &["tool call.caller"],
        "who called, the model or its code, is told by Anthropic only",
    ),
    answer(
        Some(ANTHROPIC),
        None,
        Lost,
        &["text.citations"],
        "of a citation its address, title and words are told, not Anthropic's index into its own search",
    ),
    answer(
        Some(ANTHROPIC),
        Some(OPENAI),
        Changed,
        &["text: joined with another"],
        "a message has one text, which stands before its calls",
    ),
    answer(Some(GEMINI), None, Lost, &["block *"], "a part of Google's own tools"),
    answer(
        Some(GEMINI),
        Some(ANTHROPIC),
        Lost,
        &["text.signature"],
        "a text block has no field for a signature",
    ),
    answer(Some(OPENAI), None, Lost, &["message.executed_tools", "message.channel"], "a field of Groq's own"),
    answer(
        Some(OPENAI),
        Some(ANTHROPIC),
        Lost,
        &["message.annotations"],
        "of an annotation its address, title and words are told, not where it applies, and no files",
    ),
    answer(
        Some(OPENAI),
        Some(GEMINI),
        Lost,
        &["message.annotations"],
        "of an annotation its address, title and place are told, not the source's words, and no files",
    ),
    answer(None, Some(ANTHROPIC), Lost, &["choices"], "an answer of Anthropic's has one choice"),
    answer(None, Some(ANTHROPIC), Lost, &["logprobs"], "Anthropic has no log probabilities"),
    answer(
        None,
        Some(ANTHROPIC),
        Lost,
        &["usage.audio_in", "usage.audio_out"],
        "Anthropic counts no sound apart",
    ),
    answer(None, Some(GEMINI), Lost, &["usage.written"], "Gemini counts no writing to its cache"),
    answer(
        None,
        None,
        Changed,
        &["finish without a word"],
        "the other dialect has no word of its own for it, and the nearest is taken",
    ),
    answer(None, None, Own, &["answer.*", "choice.*"], "a field of one provider's answers"),
];
