//! `…/limits`: how far the limits and budgets of one organisation, team, key, end user or tag are used.

use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use tidegate_gateway::GatewayError;
use tidegate_policy::{
    Budget, BudgetKind, BudgetPeriod, BudgetUsage, Limits, RateLimit, RatePeriod, RateUsage,
};
use tidegate_store::{EndUser, Level, LevelUsage, Refused, Scope};

use super::context::{Context, Reply};
use super::refusal::{not_found, of_store};
use super::{keys, limits};

/// How far the limits of one level are used, at this moment.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "LimitsUsage")]
pub struct LimitsUsageView {
    /// Whose: `org:…`, `team:…`, `key:…`, `user:<organization's id>/<name>` or `tag:<name>=<value>`.
    scope: String,
    /// Calls at the same time.
    in_flight: InFlightView,
    /// Each limit on requests.
    requests: Vec<RateUsageView>,
    /// Each limit on tokens.
    tokens: Vec<RateUsageView>,
    /// Each budget.
    budgets: Vec<BudgetUsageView>,
}

/// Calls at the same time.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "InFlightUsage")]
struct InFlightView {
    used: u64,
    /// Null where there is no limit.
    max: Option<u32>,
}

/// How far a limit in a sliding window is used.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RateUsage")]
struct RateUsageView {
    max: u64,
    per: RatePeriod,
    /// What counts against it now, estimates of calls in flight included.
    used: u64,
    /// How many more now.
    remaining: u64,
    /// How long until all are there again, when nothing else happens.
    full_again_in_ms: u64,
}

/// How far a budget is used. Amounts are US dollars.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "BudgetUsage")]
struct BudgetUsageView {
    usd: String,
    per: BudgetPeriod,
    kind: BudgetKind,
    /// What is spent for certain.
    used_usd: String,
    /// What calls in flight may still spend.
    held_usd: String,
    /// How much more now.
    remaining_usd: String,
    /// When the next period begins; null for a lifetime.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    resets_at: Option<Timestamp>,
}

impl From<LevelUsage> for LimitsUsageView {
    fn from(LevelUsage { scope, usage }: LevelUsage) -> Self {
        Self {
            scope: scope.to_string(),
            in_flight: InFlightView { used: usage.in_flight, max: usage.in_flight_limit },
            requests: usage.requests.into_iter().map(RateUsageView::from).collect(),
            tokens: usage.tokens.into_iter().map(RateUsageView::from).collect(),
            budgets: usage.budgets.into_iter().map(BudgetUsageView::from).collect(),
        }
    }
}

impl From<RateUsage> for RateUsageView {
    fn from(it: RateUsage) -> Self {
        let RateLimit { max, per } = it.limit;
        let full_again_in_ms = u64::try_from(it.reset_after.as_millis()).unwrap_or(u64::MAX);
        Self { max, per, used: it.used, remaining: it.remaining, full_again_in_ms }
    }
}

impl From<BudgetUsage> for BudgetUsageView {
    fn from(it: BudgetUsage) -> Self {
        let Budget { usd, per, kind } = it.budget;
        Self {
            usd: usd.to_string(),
            per,
            kind,
            used_usd: it.used.to_string(),
            held_usd: it.held.to_string(),
            remaining_usd: it.remaining.to_string(),
            resets_at: it.resets_at.and_then(|seconds| Timestamp::from_second(seconds).ok()),
        }
    }
}

pub(super) async fn of_organization(context: Context) -> Result<Reply, GatewayError> {
    let id = context.parameters.get("id");
    let found = context.access().organization(&id.into()).await.map_err(|error| of_store(&error))?;
    let it = found.ok_or_else(|| not_found("organization", id))?;
    show(&context, Scope::Organization(it.id), it.limits).await
}

pub(super) async fn of_team(context: Context) -> Result<Reply, GatewayError> {
    let id = context.parameters.get("id");
    let found = context.access().team(&id.into()).await.map_err(|error| of_store(&error))?;
    let it = found.ok_or_else(|| not_found("team", id))?;
    show(&context, Scope::Team(it.id), it.limits).await
}

pub(super) async fn of_key(context: Context) -> Result<Reply, GatewayError> {
    let it = keys::find(&context, false).await?;
    show(&context, Scope::Key(it.id), it.limits).await
}

/// Of an end user without limits of its own: those that its organisation sets for each.
pub(super) async fn of_end_user(context: Context) -> Result<Reply, GatewayError> {
    let scope = limits::scope(&context)?;
    let own = context.access().subject(&scope).await.map_err(|error| of_store(&error))?;
    let limits = match (own, &scope) {
        (Some(own), _) => own.limits,
        (None, Scope::EndUser(EndUser { organization_id, .. })) => {
            let found = context.access().organization(organization_id).await;
            let found = found.map_err(|error| of_store(&error))?;
            found.ok_or_else(|| not_found("organization", organization_id.as_str()))?.end_user_limits
        }
        (None, _) => return Err(not_found("limit of", &scope.to_string())),
    };
    show(&context, scope, limits).await
}

pub(super) async fn of_tag(context: Context) -> Result<Reply, GatewayError> {
    let scope = limits::scope(&context)?;
    let found = context.access().subject(&scope).await.map_err(|error| of_store(&error))?;
    let it = found.ok_or_else(|| not_found("limit of", &scope.to_string()))?;
    show(&context, scope, it.limits).await
}

async fn show(context: &Context, scope: Scope, limits: Limits) -> Result<Reply, GatewayError> {
    let level = Level::new(scope, Arc::new(limits));
    let usage = context.gateway.limiter().usage(&[level]).await.map_err(|refused| unavailable(&refused))?;
    let one = usage.into_iter().next();
    let one = one.ok_or_else(|| GatewayError::internal("The limiter gave no answer."))?;
    Reply::json(&LimitsUsageView::from(one))
}

fn unavailable(refused: &Refused) -> GatewayError {
    let retry_after = match refused {
        Refused::Unavailable { retry_after, .. } | Refused::Limit { retry_after, .. } => *retry_after,
        Refused::Budget { .. } => std::time::Duration::from_secs(1),
    };
    GatewayError::unavailable(
        "The counters of limits cannot be reached at the moment; the log says why.",
        retry_after,
    )
}
