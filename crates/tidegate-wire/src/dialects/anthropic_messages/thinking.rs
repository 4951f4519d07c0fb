//! Whether and how a target is asked to think, and how many tokens it gets. Called by `render`.
//!
//! The API ties thinking to much else, and refuses the request where it does not fit. Here thinking gives way, so that
//! a conversation never breaks over it:
//!
//! - with a token budget, a forced tool choice excludes it (adaptive thinking bears one: the model then does not think);
//! - with a token budget, the model's turn that is still going on (its calls and their results at the end of the
//!   conversation) must begin with a thinking block of Anthropic's own; adaptive thinking has no such rule;
//! - an answer that is to be continued cannot be thought about;
//! - the budget is at least 1,024 tokens and less than `max_tokens`.

use super::blocks::HERE;
use super::types::{Block, Message, Thinking};
use crate::conversation::{Conversation, Effort, ReasoningRequest, ToolChoice};
use crate::loss::{Field, Losses};
use crate::target::{TargetTraits, ThinkingStyle};

/// `max_tokens` is required. Where neither caller nor catalog know a limit: what every model of this dialect can give.
pub(super) const DEFAULT_MAX_TOKENS: u64 = 4_096;

/// The least that the API takes as a budget.
const MIN_BUDGET_TOKENS: u64 = 1_024;

/// What is asked for.
#[derive(Debug, Default)]
pub(super) struct ThinkingPlan<'a> {
    pub(super) thinking: Option<Thinking<'a>>,
    pub(super) effort: Option<&'static str>,
    pub(super) max_tokens: u64,
    /// Whether it thinks, which excludes most sampling parameters.
    pub(super) is_on: bool,
}

pub(super) fn plan_thinking<'a>(
    conversation: &'a Conversation,
    messages: &[Message<'_>],
    traits: &TargetTraits,
    losses: &mut Losses,
) -> ThinkingPlan<'a> {
    let limit = traits.max_output_tokens;
    let wanted_tokens = conversation.max_output_tokens;
    let max_tokens = wanted_tokens.or(limit).unwrap_or(DEFAULT_MAX_TOKENS);
    let mut plan = ThinkingPlan {
        max_tokens: limit.map_or(max_tokens, |limit| max_tokens.min(limit)),
        ..ThinkingPlan::default()
    };
    let is_own = conversation.origin == HERE;
    if is_own {
        let rest = conversation.rest.get("thinking").and_then(|rest| rest.as_object());
        plan.thinking = rest.map(|rest| Thinking { rest: Some(rest), ..Thinking::default() });
    }
    let Some(wanted) = &conversation.reasoning else { return plan };
    if is_own {
        plan.effort = wanted.effort.map(Effort::as_str);
    }
    let lost = Field::Reasoning.name(conversation.origin);
    match intent(wanted, is_own, traits.thinking) {
        Intent::Unsaid => {}
        Intent::Off => {
            if is_own || traits.thinking == ThinkingStyle::Level {
                plan.thinking.get_or_insert_default().kind = Some("disabled");
            }
        }
        Intent::On if traits.thinking == ThinkingStyle::None => losses.push(lost),
        Intent::On if must_give_way(conversation, messages, traits.thinking) => {
            losses.push(lost);
            if traits.thinking == ThinkingStyle::Level {
                plan.thinking = Some(Thinking { kind: Some("disabled"), ..Thinking::default() });
            } else {
                plan.thinking = None;
            }
        }
        Intent::On => {
            plan.is_on = true;
            let thinking = plan.thinking.get_or_insert_default();
            thinking.display = wanted.include_text.map(|text| if text { "summarized" } else { "omitted" });
            if traits.thinking == ThinkingStyle::Level {
                thinking.kind = Some("adaptive");
                let asked = wanted.effort.or(wanted.budget_tokens.map(Effort::from_budget_tokens));
                let effort = asked.map(|effort| if is_own { effort } else { common_effort(effort) });
                if !is_own && asked > Some(Effort::High) {
                    losses.push(lost);
                }
                plan.effort = effort.map(Effort::as_str);
            } else {
                thinking.kind = Some("enabled");
                let (budget, max_tokens) = budget_of(wanted, wanted_tokens, plan.max_tokens, limit);
                thinking.budget_tokens = Some(budget);
                plan.max_tokens = max_tokens;
            }
        }
    }
    plan
}

/// The `max_tokens` of a request from another dialect that asks for so many and for this reasoning, whatever the rest of it
/// says: thinking that gives way takes nothing on top.
pub(super) fn most_tokens(asked: u64, wanted: &ReasoningRequest, traits: &TargetTraits) -> u64 {
    let limit = traits.max_output_tokens;
    let max_tokens = limit.map_or(asked, |limit| asked.min(limit));
    if traits.thinking != ThinkingStyle::Budget || intent(wanted, false, traits.thinking) != Intent::On {
        return max_tokens;
    }
    let (_, max_tokens) = budget_of(wanted, Some(asked), max_tokens, limit);
    max_tokens
}

#[derive(Debug, PartialEq, Eq)]
enum Intent {
    Unsaid,
    Off,
    On,
}

fn intent(wanted: &ReasoningRequest, is_own: bool, style: ThinkingStyle) -> Intent {
    match wanted {
        ReasoningRequest { enabled: Some(false), .. } => Intent::Off,
        ReasoningRequest { enabled: Some(true), .. } => Intent::On,
        // On its own wire an effort without `thinking` is about the answer as a whole.
        _ if is_own => Intent::Unsaid,
        ReasoningRequest { effort: Some(Effort::None), .. }
        | ReasoningRequest { budget_tokens: Some(0), .. } => Intent::Off,
        ReasoningRequest { effort: Some(_), .. } | ReasoningRequest { budget_tokens: Some(_), .. } => {
            Intent::On
        }
        // Who wants to see the reasoning wants some; with adaptive thinking that costs nothing on simple questions.
        ReasoningRequest { include_text: Some(true), .. } if style == ThinkingStyle::Level => Intent::On,
        _ => Intent::Unsaid,
    }
}

/// The efforts that every model with adaptive thinking knows.
fn common_effort(effort: Effort) -> Effort {
    effort.clamp(Effort::Low, Effort::High)
}

fn must_give_way(conversation: &Conversation, messages: &[Message<'_>], style: ThinkingStyle) -> bool {
    let is_forced = matches!(
        conversation.tool_choice,
        Some(ToolChoice::Required | ToolChoice::Function(_) | ToolChoice::Allowed { required: true, .. })
    );
    let is_prefilled = messages.last().is_some_and(|last| last.role == "assistant" && !has_calls(last));
    is_prefilled || (style == ThinkingStyle::Budget && (is_forced || lacks_thinking(messages)))
}

/// Whether the model's turn that is still going on does not begin with thinking. It reaches back over calls and results
/// to the last message in which the user said something new.
fn lacks_thinking(messages: &[Message<'_>]) -> bool {
    let going_on =
        messages.iter().rev().take_while(|message| message.role == "assistant" || has_results(message));
    let first = going_on.filter(|message| message.role == "assistant").last();
    first.is_some_and(|first| {
        !matches!(first.content.first(), Some(Block::Thinking { .. } | Block::RedactedThinking { .. }))
    })
}

fn has_calls(message: &Message<'_>) -> bool {
    message.content.iter().any(|block| matches!(block, Block::ToolUse { .. }))
}

fn has_results(message: &Message<'_>) -> bool {
    message.content.iter().any(|block| matches!(block, Block::ToolResult { .. }))
}

/// A budget and a `max_tokens` above it. A budget that the caller named stands, and `max_tokens` grows around it; one
/// that was only made out of an effort takes at most half of what the caller wants to spend.
fn budget_of(
    wanted: &ReasoningRequest,
    wanted_tokens: Option<u64>,
    max_tokens: u64,
    limit: Option<u64>,
) -> (u64, u64) {
    let from_effort = wanted.effort.unwrap_or(Effort::Medium).to_budget_tokens();
    let mut budget = match (wanted.budget_tokens, wanted_tokens) {
        (Some(budget), _) => budget,
        (None, Some(_)) => from_effort.min(max_tokens / 2),
        (None, None) => from_effort,
    }
    .max(MIN_BUDGET_TOKENS);
    let mut max_tokens = max_tokens;
    if max_tokens <= budget {
        max_tokens = budget.saturating_add(max_tokens);
    }
    if let Some(limit) = limit.filter(|limit| max_tokens > *limit) {
        max_tokens = limit.max(MIN_BUDGET_TOKENS + 1);
        budget = budget.min((max_tokens - 1).max(MIN_BUDGET_TOKENS));
    }
    (budget, max_tokens)
}
