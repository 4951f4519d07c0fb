//! Station 4: is there room? Reserves what the call may take on every limit and budget that applies, all of them or none.
//!
//! It stands after `plan`, since what a call may cost depends on where it can go, and before `attempt`, since nothing
//! may cost money that has no room.

mod asked;
mod estimate;
mod headers;
mod levels;
mod marks;
mod refusal;
mod room_left;

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;
use tidegate_catalog::NanoDollars;
use tidegate_policy::{Amounts, BudgetKind, Limits};
use tidegate_store::{Actor, CallId, Crossed, Hold, Level, Refused, RefusedAct};

pub(crate) use headers::put_room;
pub(crate) use refusal::NotHeld;
pub use room_left::{ExplainedLimit, ExplainedRoom};
pub(crate) use room_left::{RoomLeft, room_left};

use crate::accept::Call;
use crate::admit::{RefusalReason, refuse_permission};
use crate::error::GatewayError;
use crate::experiments::ShadowFate;
use crate::gateway::Gateway;
use crate::plan::{Plan, Planned};
pub(crate) use asked::asked_output;
use estimate::{Estimate, likely_tokens};
use levels::levels_of;

/// Margins are in millionths.
const WHOLE: i128 = 1_000_000;

/// Reserves room for a call. `None` where nothing is counted: nobody in particular is calling.
pub(crate) async fn hold(
    gateway: &Gateway,
    call: &Call,
    plan: &mut Plan,
) -> Result<Option<Hold>, Box<NotHeld>> {
    let levels = levels_of(gateway, call);
    let levels = levels.all();
    let most = most_per_call(call);
    if levels.is_empty() && most.is_none() {
        return Ok(None);
    }
    let asked = asked_output(call);
    let has_token_limit = levels.iter().any(|level| !level.limits.tokens.is_empty());
    let tokens = if has_token_limit { likely_tokens(call, asked) } else { 0 };
    if most.is_none() && !levels.iter().any(|level| has_hard_budget(&level.limits)) {
        // What it costs is counted when it is known; nothing is refused for it.
        let amounts = Amounts { tokens, cost: NanoDollars::ZERO };
        let reserved = reserve(gateway, call, &levels, amounts).await;
        return reserved.map(Some).map_err(|refused| Box::new(NotHeld::Refused(refused)));
    }
    let mut estimate = Estimate::of_size(call, asked);
    if let Some(most) = most
        && ceiling(&estimate, plan) > Some(most)
        && ceiling(&estimate.floor(), plan) <= Some(most)
        && let Some(counted) = estimate.counted().await
    {
        estimate = counted;
    }
    let highest = keep_affordable(gateway, call, plan, &estimate, most)
        .map_err(|error| Box::new(NotHeld::TooDear(error)))?;
    let highest = charged(call, highest);
    if plan.falls_back_on_content_policy && plan.targets.len() > 1 {
        // Each may be paid for a refusal before the next is asked. Where there is no room for that, one has to do.
        let all = plan.targets.iter().filter_map(|planned| estimate.ceiling(planned));
        let beside = if plan.hedge.is_some() { highest } else { NanoDollars::ZERO };
        let all = all.map(|ceiling| charged(call, ceiling)).fold(beside, |sum, ceiling| sum + ceiling);
        if most.is_none_or(|most| all <= most)
            && let Ok(hold) = reserve(gateway, call, &levels, Amounts { tokens, cost: all }).await
        {
            return Ok(Some(hold));
        }
        plan.falls_back_on_content_policy = false;
    }
    if plan.hedge.is_some() {
        // Two targets may be paid for it. Where there is no room for both, one of them has to do.
        let both = NanoDollars(highest.0.saturating_mul(2));
        if most.is_none_or(|most| both <= most)
            && let Ok(hold) = reserve(gateway, call, &levels, Amounts { tokens, cost: both }).await
        {
            return Ok(Some(hold));
        }
    }
    let amounts = |estimate: &Estimate<'_>| {
        let cost = charged(call, ceiling(estimate, plan).unwrap_or_default());
        Amounts { tokens, cost }
    };
    let mut reserved = reserve(gateway, call, &levels, Amounts { tokens, cost: highest }).await;
    if let Err(Refused::Budget { usd, used, held, .. }) = reserved
        // By its size the call does not fit. Its text may have a fourth of that in tokens: worth counting, unless even far
        // less would not fit.
        && amounts(&estimate.floor()).cost <= usd - used - held
        && let Some(counted) = estimate.counted().await
    {
        reserved = reserve(gateway, call, &levels, amounts(&counted)).await;
    }
    plan.hedge = None;
    reserved.map(Some).map_err(|refused| Box::new(NotHeld::Refused(refused)))
}

/// The part that is spent of the tightest budget of a call, what calls in flight may spend included; 0 where none applies, and
/// `None` where nobody can say.
pub(crate) async fn budget_used(gateway: &Gateway, call: &Call) -> Option<f64> {
    let levels = levels_of(gateway, call);
    let mut levels = levels.all();
    levels.retain(|level| !level.limits.budgets.is_empty());
    if levels.is_empty() {
        return Some(0.0);
    }
    let usage = gateway.limiter().usage(&levels).await.ok()?;
    let budgets = usage.iter().flat_map(|level| &level.usage.budgets);
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share of money, exact to more digits than anybody compares"
    )]
    let part = |spent: i64, limit: i64| if limit > 0 { spent as f64 / limit as f64 } else { 1.0 };
    Some(
        budgets
            .map(|usage| part(usage.used.0.saturating_add(usage.held.0), usage.budget.usd.0))
            .fold(0.0, f64::max),
    )
}

/// Reserves room for one more answer to a call whose stream broke, of which so much was spent. Only what costs money is
/// asked: to its limits it is the same call still. `Err` where there is no room.
pub(crate) async fn hold_again(
    gateway: &Gateway,
    call: &Call,
    plan: &Plan,
    spent: NanoDollars,
) -> Result<Option<Hold>, NoRoom> {
    let levels = levels_of(gateway, call);
    let levels = levels.all();
    let with_budget = levels.into_iter().filter(|level| has_hard_budget(&level.limits));
    let levels: Vec<Level> = with_budget
        .map(|level| {
            let budgets = level.limits.budgets.clone();
            level.with_limits(Limits { budgets, ..Limits::default() })
        })
        .collect();
    let most = most_per_call(call);
    if levels.is_empty() && most.is_none() {
        return Ok(None);
    }
    let by_size = Estimate::of_size(call, asked_output(call));
    let cost = |estimate: &Estimate<'_>| charged(call, ceiling(estimate, plan).unwrap_or_default());
    let fits =
        |cost: NanoDollars| most.is_none_or(|most| charged(call, spent).0.saturating_add(cost.0) <= most.0);
    // Another hold than the call's own, which keeps what it has.
    let id = CallId::now();
    let take = async |cost: NanoDollars| {
        if !fits(cost) {
            return Err(NoRoom);
        }
        let amounts = Amounts { tokens: 0, cost };
        let limiter = gateway.limiter();
        let answer = match limiter.try_reserve(id, &levels, amounts) {
            Some(answer) => answer,
            None => limiter.reserve(id, &levels, amounts).await,
        };
        answer.map(Some).map_err(|_refused| NoRoom)
    };
    if levels.is_empty() {
        return if fits(cost(&by_size)) { Ok(None) } else { Err(NoRoom) };
    }
    match take(cost(&by_size)).await {
        Err(NoRoom) => match by_size.counted().await {
            Some(counted) => take(cost(&counted)).await,
            None => Err(NoRoom),
        },
        taken => taken,
    }
}

/// A budget has no room for another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom;

async fn reserve(
    gateway: &Gateway,
    call: &Call,
    levels: &[&Level],
    amounts: Amounts,
) -> Result<Hold, Refused> {
    let limiter = gateway.limiter();
    match limiter.try_reserve(call.id, levels, amounts) {
        Some(answer) => answer,
        None => limiter.reserve(call.id, levels, amounts).await,
    }
}

/// Room for a shadow on its experiment's own budget, which is no caller's.
pub(crate) async fn hold_shadow(
    gateway: &Gateway,
    call: &Call,
    planned: &Planned,
    level: &Level,
) -> Result<Hold, ShadowFate> {
    let cost = Estimate::of_size(call, asked_output(call)).ceiling(planned).ok_or(ShadowFate::NoPrice)?;
    let levels = [level.clone()];
    let amounts = Amounts { tokens: 0, cost };
    let limiter = gateway.limiter();
    let reserved = match limiter.try_reserve(call.id, &levels, amounts) {
        Some(answer) => answer,
        None => limiter.reserve(call.id, &levels, amounts).await,
    };
    reserved.map_err(|_refused| ShadowFate::NoBudget)
}

/// What the call is charged with: its cost and the team's margin, rounded up.
pub(crate) fn with_margin(cost: NanoDollars, margin_millionths: i32) -> NanoDollars {
    if margin_millionths == 0 {
        return cost;
    }
    let exact = i128::from(cost.0) * (WHOLE + i128::from(margin_millionths)).max(0);
    let rounded = exact.div_euclid(WHOLE) + i128::from(exact.rem_euclid(WHOLE) > 0);
    NanoDollars(i64::try_from(rounded).unwrap_or(i64::MAX))
}

fn charged(call: &Call, cost: NanoDollars) -> NanoDollars {
    with_margin(cost, call.principal.margin_millionths())
}

fn has_hard_budget(limits: &Limits) -> bool {
    limits.budgets.iter().any(|budget| budget.kind == BudgetKind::Hard)
}

/// The lowest limit for a single call of all levels.
fn most_per_call(call: &Call) -> Option<NanoDollars> {
    let mut most: Option<NanoDollars> = None;
    let asked: Result<(), ()> = call.principal.check(|permissions, _| {
        if let Some(limit) = permissions.max_usd_per_call {
            most = Some(most.map_or(limit, |most| most.min(limit)));
        }
        Ok(())
    });
    asked.ok().and(most)
}

/// What the call costs at most, wherever it goes; targets without a price do not count.
fn ceiling(estimate: &Estimate<'_>, plan: &Plan) -> Option<NanoDollars> {
    plan.targets.iter().chain(&plan.other_arms).filter_map(|planned| estimate.ceiling(planned)).max()
}

/// Leaves only targets of which is known that the call may go there: with a price, and within the limit for one call. Gives
/// what it costs at most, there or in another arm of its experiment.
fn keep_affordable(
    gateway: &Gateway,
    call: &Call,
    plan: &mut Plan,
    estimate: &Estimate<'_>,
    most: Option<NanoDollars>,
) -> Result<NanoDollars, GatewayError> {
    let in_other_arms = plan.other_arms.iter().filter_map(|planned| estimate.ceiling(planned)).max();
    let mut highest = in_other_arms.unwrap_or_default();
    let mut too_dear_ones: SmallVec<[TooDear; 2]> = SmallVec::new();
    plan.targets.retain(|planned| match within(estimate, planned, most) {
        Ok(ceiling) => {
            highest = highest.max(ceiling);
            true
        }
        Err(dear) => {
            too_dear_ones.push(dear);
            false
        }
    });
    if !plan.targets.is_empty() {
        return Ok(highest);
    }
    // The cheapest of those that are too dear says more than one without a price.
    let least = too_dear_ones.into_iter().min();
    let message =
        least.map_or_else(|| "No target is left for this call.".to_owned(), |dear| dear.to_string());
    Err(refuse_permission(gateway, &call.principal, RefusalReason::Price, &call.model, message))
}

/// Why a target is not asked for its price.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TooDear {
    /// The call may cost more than one call may.
    OverLimit {
        /// What it may cost there at most.
        ceiling: NanoDollars,
        /// What one call may cost at most.
        most: NanoDollars,
    },
    /// Nobody knows what it costs.
    Unpriced(Arc<str>),
    /// Nobody knows what the searches cost that it asks for.
    UnpricedSearch(Arc<str>),
}

impl fmt::Display for TooDear {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OverLimit { ceiling, most } => write!(
                formatter,
                "This call may cost {ceiling} US dollars, and one call may cost {most} at most. Send less, or set a \
                 lower limit for the answer's tokens."
            ),
            Self::Unpriced(label) => write!(
                formatter,
                "The price of `{label}` is not known, and calls under a budget go only where it is. Set it under \
                 `prices` in the configuration; 0 is a price too."
            ),
            Self::UnpricedSearch(label) => write!(
                formatter,
                "What `{label}` charges for searches is not known, and calls under a budget go only where it is. Ask without \
                 a search, or a target whose provider publishes that price."
            ),
        }
    }
}

/// What the call costs at most at this target, where it may go there.
fn within(
    estimate: &Estimate<'_>,
    planned: &Planned,
    most: Option<NanoDollars>,
) -> Result<NanoDollars, TooDear> {
    let ceiling = estimate.ceiling(planned).ok_or_else(|| {
        let label = Arc::clone(&planned.target.label);
        if estimate.lacks_search_price(planned) {
            TooDear::UnpricedSearch(label)
        } else {
            TooDear::Unpriced(label)
        }
    })?;
    match most.filter(|most| ceiling > *most) {
        Some(most) => Err(TooDear::OverLimit { ceiling, most }),
        None => Ok(ceiling),
    }
}

/// Tells why a target would be left out for its price, as far as the size of the request tells: for explanations and experiments.
pub(crate) fn too_dear_for<'a>(
    gateway: &Gateway,
    call: &'a Call,
) -> impl Fn(&Planned) -> Option<TooDear> + use<'a> {
    let most = most_per_call(call);
    let has_budget = || levels_of(gateway, call).all().iter().any(|level| has_hard_budget(&level.limits));
    let estimate = (most.is_some() || has_budget()).then(|| Estimate::of_size(call, asked_output(call)));
    move |planned| within(estimate.as_ref()?, planned, most).err()
}

/// Tells the operator of soft budgets that are used up: in the log, in the metrics and in the audit log.
pub(crate) fn tell_crossed(gateway: &Gateway, crossed: &[Crossed]) {
    for Crossed { scope, budget } in crossed {
        let (usd, per) = (budget.usd, budget.per.as_str());
        tracing::warn!(%scope, %usd, per, "a soft budget is used up");
        gateway.series.soft_budget();
        gateway.audit(RefusedAct {
            actor: Actor::system(),
            act: "budget.soft".into(),
            object: scope.to_string().into(),
            reason: format!("the soft budget of {usd} US dollars per {per} is used up").into(),
        });
    }
}

#[cfg(test)]
mod tests;
