//! Why something cannot survive: the closed list. What is lost without standing here fails the test.

use tidegate_wire::Dialect;

use crate::report::Direction;
use crate::rules_of_answers::ANSWERS;
use crate::rules_of_requests::REQUESTS;

/// What becomes of a thing that does not come back as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is lost. In a request the renderer must have reported it.
    Lost,
    /// It is said in another way, or says nothing where it goes.
    Changed,
    /// The other dialect demands something that was not there. Counted, not listed.
    Added,
    /// A field of one provider's answers beside what the model said. Counted, not listed.
    Own,
}

pub(crate) struct Rule {
    pub(crate) from: Option<Dialect>,
    pub(crate) to: Option<Dialect>,
    /// What it is about; `*` stands for anything.
    pub(crate) things: &'static [&'static str],
    pub(crate) fate: Fate,
    pub(crate) reason: &'static str,
}

/// The first rule about a thing.
pub(crate) fn of(direction: Direction, thing: &str) -> Option<&'static Rule> {
    let rules = if direction.kind == "request" { REQUESTS } else { ANSWERS };
    rules.iter().find(|rule| {
        rule.from.is_none_or(|from| from == direction.from)
            && rule.to.is_none_or(|to| to == direction.to)
            && rule.things.iter().any(|pattern| fits(pattern, thing))
    })
}

fn fits(pattern: &str, thing: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == thing,
        Some((start, "")) => thing.starts_with(start),
        Some((start, rest)) => thing
            .strip_prefix(start)
            .is_some_and(|tail| tail.char_indices().any(|(at, _)| fits(rest, &tail[at..]))),
    }
}

pub(crate) fn must_be_reported(direction: Direction, thing: &str) -> bool {
    of(direction, thing).is_none_or(|rule| rule.fate == Fate::Lost)
}

/// By what other names renderers report the loss of a thing: a part by its message's content.
pub(crate) fn names_in_reports(thing: &str) -> Vec<&str> {
    let last = thing.rsplit('.').next().unwrap();
    match thing {
        "text: told as user" => vec!["role"],
        _ if thing.contains("effort") || thing.contains("thinking") || thing.starts_with("reasoning.") => {
            vec!["thinking", "reasoning_effort", "thinkingConfig"]
        }
        _ if thing.starts_with("generationConfig.") && thing.contains("ogprobs") => vec!["responseLogprobs"],
        "generationConfig.responseMimeType" => vec!["responseSchema"],
        _ if thing.ends_with("prompt_cache_breakpoint") => vec!["cache_control"],
        _ if thing.contains('.') || thing == "cache_control" => vec![last],
        _ => vec!["content", "parts"],
    }
}

/// What a provider's word for the finish means, read plainly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FinishClass {
    Stop,
    StopSequence,
    Length,
    Calls,
    Filter,
    Refusal,
    Pause,
    Window,
    MalformedCall,
    Other,
}

pub(crate) fn finish_class(dialect: Dialect, word: &str, has_calls: bool) -> FinishClass {
    let stop = if has_calls { FinishClass::Calls } else { FinishClass::Stop };
    match (dialect, word) {
        (_, "stop" | "end_turn" | "STOP" | "eos" | "") => stop,
        (_, "length" | "max_tokens" | "MAX_TOKENS") => FinishClass::Length,
        (_, "tool_calls" | "tool_use" | "function_call") => FinishClass::Calls,
        (Dialect::AnthropicMessages, "stop_sequence") => FinishClass::StopSequence,
        (Dialect::AnthropicMessages, "refusal") => FinishClass::Refusal,
        (Dialect::AnthropicMessages, "pause_turn") => FinishClass::Pause,
        (Dialect::AnthropicMessages, "model_context_window_exceeded") => FinishClass::Window,
        (_, "content_filter" | "SAFETY" | "RECITATION" | "PROHIBITED_CONTENT" | "IMAGE_SAFETY") => {
            FinishClass::Filter
        }
        (_, "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL") => FinishClass::MalformedCall,
        _ => FinishClass::Other,
    }
}

/// Whether a dialect has a word of its own for it.
pub(crate) fn finish_survives(dialect: Dialect, class: FinishClass) -> bool {
    match class {
        FinishClass::Stop | FinishClass::Length | FinishClass::Calls => true,
        FinishClass::Filter => dialect != Dialect::AnthropicMessages,
        FinishClass::StopSequence | FinishClass::Refusal | FinishClass::Pause | FinishClass::Window => {
            dialect == Dialect::AnthropicMessages
        }
        FinishClass::MalformedCall => dialect == Dialect::Gemini,
        FinishClass::Other => false,
    }
}
