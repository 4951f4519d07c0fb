//! Whether there is room for a call, looked at without taking any: for explanations.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use tidegate_catalog::NanoDollars;
use tidegate_policy::{Amounts, BudgetKind, LimitsUsage, RateUsage};
use tidegate_store::{LevelUsage, Refused};

use super::asked::asked_output;
use super::estimate::{Estimate, likely_tokens};
use super::levels::levels_of;
use super::refusal::{NotHeld, to_error, whose};
use super::{ceiling, charged, has_hard_budget};
use crate::accept::Call;
use crate::error::GatewayError;
use crate::gateway::Gateway;
use crate::plan::Plan;

/// What room the caller's limits and budgets have for a request.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ExplainedRoom {
    /// Whether all of them have room; null where the counters cannot be asked at the moment.
    pub has_room: Option<bool>,
    /// The level that would refuse the request: `key `shop``.
    pub refused_by: Option<String>,
    /// Tokens that would be reserved on limits on tokens.
    pub tokens: u64,
    /// What would be reserved on budgets, in US dollars: the most that it may cost wherever it would go, with the team's margin.
    pub cost_usd: String,
    /// Each limit and budget, from the organisation down to the tags.
    pub limits: Vec<ExplainedLimit>,
}

/// What is left of one limit or budget.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ExplainedLimit {
    /// Whose: `organisation `Acme``, `key `shop``.
    pub level: String,
    /// Of what: requests, tokens, calls in flight, budget or soft budget.
    pub of: String,
    /// Over which time; null for calls in flight.
    pub per: Option<String>,
    /// The limit; of budgets in US dollars.
    pub limit: String,
    /// What is left of it now, with what calls in flight hold taken off.
    pub left: String,
    /// Whether that is enough for the request. A soft budget refuses nothing.
    pub has_room: bool,
    /// When all of it is there again, unless something else happens; null where that is not known.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub resets_at: Option<Timestamp>,
}

/// What was seen of the room for a call.
#[derive(Debug)]
pub(crate) struct RoomLeft {
    pub(crate) room: ExplainedRoom,
    refused: Option<NotHeld>,
}

impl RoomLeft {
    /// Whether it would have room if it cost less.
    pub(crate) fn is_short_of_money(&self) -> bool {
        self.refused.as_ref().is_some_and(NotHeld::is_for_money)
    }

    /// What the caller would be told, where there is no room.
    pub(crate) fn refusal(&self, call: &Call) -> Option<GatewayError> {
        match self.refused.as_ref()? {
            NotHeld::Refused(refused) => Some(to_error(call, refused)),
            NotHeld::TooDear(error) => Some(error.clone()),
        }
    }
}

/// Looks whether there is room for this plan of the call. `None` where nothing is counted: nobody in particular is calling.
pub(crate) async fn room_left(gateway: &Gateway, call: &Call, plan: &Plan) -> Option<RoomLeft> {
    let levels = levels_of(gateway, call);
    let levels = levels.all();
    if levels.is_empty() {
        return None;
    }
    let asked = asked_output(call);
    let mut estimate = Estimate::of_size(call, asked);
    let tokens = likely_tokens(call, asked);
    let amounts = |estimate: &Estimate<'_>| Amounts {
        tokens,
        cost: charged(call, ceiling(estimate, plan).unwrap_or(NanoDollars::ZERO)),
    };
    let usage = match gateway.limiter().usage(&levels).await {
        Ok(usage) => usage,
        Err(refused) => {
            let cost_usd = amounts(&estimate).cost.to_string();
            let room =
                ExplainedRoom { has_room: None, refused_by: None, tokens, cost_usd, limits: Vec::new() };
            return Some(RoomLeft { room, refused: Some(NotHeld::Refused(refused)) });
        }
    };
    let has_budget = levels.iter().any(|level| has_hard_budget(&level.limits));
    let refused_by = |amounts| usage.iter().find_map(|level: &LevelUsage| level.refused(amounts));
    let mut refused = refused_by(amounts(&estimate));
    // As when room is taken: by its size it may not fit, and by its tokens it may.
    if has_budget
        && matches!(refused, Some(Refused::Budget { .. }))
        && let Some(counted) = estimate.counted().await
    {
        estimate = counted;
        refused = refused_by(amounts(&estimate));
    }
    let amounts = amounts(&estimate);
    let limits =
        usage.iter().flat_map(|level| explained(&whose(&level.scope, call), &level.usage, amounts)).collect();
    let level_that_refuses = refused.as_ref().and_then(|refused| match refused {
        Refused::Limit { scope, .. } | Refused::Budget { scope, .. } => Some(whose(scope, call)),
        Refused::Unavailable { .. } => None,
    });
    let room = ExplainedRoom {
        has_room: Some(refused.is_none()),
        refused_by: level_that_refuses,
        tokens,
        cost_usd: amounts.cost.to_string(),
        limits,
    };
    Some(RoomLeft { room, refused: refused.map(NotHeld::Refused) })
}

fn explained(level: &str, usage: &LimitsUsage, amounts: Amounts) -> Vec<ExplainedLimit> {
    let now = Timestamp::now();
    let rate = |of: &str, usage: &RateUsage, amount: u64| ExplainedLimit {
        level: level.to_owned(),
        of: of.to_owned(),
        per: Some(usage.limit.per.as_str().to_owned()),
        limit: usage.limit.max.to_string(),
        left: usage.remaining.to_string(),
        has_room: usage.remaining >= amount,
        resets_at: now.checked_add(usage.reset_after).ok(),
    };
    let requests = usage.requests.iter().map(|usage| rate("requests", usage, 1));
    let tokens = usage.tokens.iter().map(|usage| rate("tokens", usage, usage.limit.cut(amounts.tokens)));
    let budgets = usage.budgets.iter().map(|usage| {
        let is_hard = usage.budget.kind == BudgetKind::Hard;
        ExplainedLimit {
            level: level.to_owned(),
            of: if is_hard { "budget" } else { "soft budget" }.to_owned(),
            per: Some(usage.budget.per.as_str().to_owned()),
            limit: usage.budget.usd.to_string(),
            left: usage.remaining.to_string(),
            has_room: !is_hard || usage.used + usage.held + amounts.cost <= usage.budget.usd,
            resets_at: usage.resets_at.and_then(|at| Timestamp::from_second(at).ok()),
        }
    });
    let in_flight = usage.in_flight_limit.map(|limit| ExplainedLimit {
        level: level.to_owned(),
        of: "calls in flight".to_owned(),
        per: None,
        limit: limit.to_string(),
        left: u64::from(limit).saturating_sub(usage.in_flight).to_string(),
        has_room: usage.in_flight < u64::from(limit),
        resets_at: None,
    });
    budgets.chain(requests).chain(tokens).chain(in_flight).collect()
}
