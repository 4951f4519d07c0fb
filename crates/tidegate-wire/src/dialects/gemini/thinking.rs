//! `thinkingConfig` for the target's model. Called by `render.rs`.

use super::HERE;
use super::types::ThinkingConfig;
use crate::conversation::{Conversation, Effort, ReasoningRequest, Rest};
use crate::{Dialect, Field, Losses, RequestOptions, ThinkingStyle};

/// What Gemini 2.5 takes as budgets: Flash up to 24,576, Pro from 128 (it cannot be switched off) up to 32,768, the
/// smallest other than none for Flash-Lite 512.
const MAX_BUDGET: i64 = 24_576;
const MAX_BUDGET_PRO: i64 = 32_768;
const MIN_BUDGET: i64 = 512;
const MIN_BUDGET_PRO: i64 = 128;

pub(super) fn write(
    conversation: &Conversation,
    options: &RequestOptions<'_>,
    rest: Rest,
    losses: &mut Losses,
) -> Option<ThinkingConfig> {
    let Some(reasoning) = &conversation.reasoning else {
        return (!rest.is_empty()).then(|| ThinkingConfig { rest, ..ThinkingConfig::default() });
    };
    if conversation.origin == HERE {
        return Some(as_it_was(reasoning, rest));
    }
    let is_pro = options.model.contains("pro");
    let mut lost = || losses.push(Field::Reasoning.name(conversation.origin));
    let is_off = reasoning.enabled == Some(false) || reasoning.effort == Some(Effort::None);
    let mut config = ThinkingConfig {
        include_thoughts: include_thoughts(reasoning, is_off, conversation.origin),
        ..ThinkingConfig::default()
    };
    match options.traits.thinking {
        ThinkingStyle::None => {
            if !is_off {
                lost();
            }
            return None;
        }
        ThinkingStyle::Level => {
            let effort = match (reasoning.effort, reasoning.budget_tokens) {
                _ if is_off => Some(Effort::None),
                (Some(effort), _) => Some(effort),
                (None, Some(budget)) => Some(Effort::from_budget_tokens(budget)),
                (None, None) => None,
            };
            // These models always think; Pro knows no `MINIMAL`.
            let least = if is_pro { "LOW" } else { "MINIMAL" };
            config.thinking_level = effort.map(|effort| match effort {
                Effort::None | Effort::Minimal => least.to_owned(),
                Effort::Low | Effort::Medium | Effort::High => effort.as_str().to_ascii_uppercase(),
                Effort::XHigh | Effort::Max => "HIGH".to_owned(),
            });
            if matches!(effort, Some(Effort::None | Effort::XHigh | Effort::Max)) {
                lost();
            }
        }
        ThinkingStyle::Budget => {
            let (least, most) =
                if is_pro { (MIN_BUDGET_PRO, MAX_BUDGET_PRO) } else { (MIN_BUDGET, MAX_BUDGET) };
            let budget = match (reasoning.budget_tokens, reasoning.effort) {
                _ if is_off => Some(0),
                (Some(budget), _) => Some(budget),
                (None, Some(effort)) => Some(effort.to_budget_tokens()),
                (None, None) => None,
            };
            let budget = budget.map(|budget| i64::try_from(budget).unwrap_or(i64::MAX));
            config.thinking_budget = match budget {
                Some(0) if !is_pro => Some(0),
                Some(0) => {
                    lost();
                    Some(least)
                }
                Some(budget) => Some(budget.clamp(least, most)),
                // On, as it likes.
                None => (reasoning.enabled == Some(true)).then_some(-1),
            };
        }
    }
    (config != ThinkingConfig::default()).then_some(config)
}

fn as_it_was(reasoning: &ReasoningRequest, rest: Rest) -> ThinkingConfig {
    let thinking_budget = match (reasoning.enabled, reasoning.budget_tokens) {
        (_, Some(budget)) => i64::try_from(budget).ok(),
        (Some(false), None) => Some(0),
        (Some(true), None) => Some(-1),
        (None, None) => None,
    };
    ThinkingConfig {
        thinking_budget,
        thinking_level: reasoning.effort.map(|effort| effort.as_str().to_ascii_uppercase()),
        include_thoughts: reasoning.include_text,
        rest,
    }
}

/// Callers of the other dialects get the text of the reasoning that they ask for without asking for that too (Anthropic's
/// own way, and what OpenAI-compatible servers do with `reasoning_content`); here it has to be asked for.
fn include_thoughts(reasoning: &ReasoningRequest, is_off: bool, origin: Dialect) -> Option<bool> {
    let wants_by_habit = origin != Dialect::Gemini && !is_off;
    reasoning.include_text.or(wants_by_habit.then_some(true)).filter(|wants| *wants || !is_off)
}
