//! `/admin/v1/calls`: single calls of the ledger. A member sees those of its own team.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tidegate_catalog::NanoDollars;
use tidegate_gateway::GatewayError;
use tidegate_store::{CallId, CallsQuery, Exposure, KeptText, LedgerEntry, Text};

use super::context::{Context, Reply};
use super::refusal::{forbidden, not_found, of_store};
use super::views::List;

/// Calls on a page where nobody asked for a number.
const USUAL_PAGE: u32 = 50;
/// Calls on a page at most.
const LARGEST_PAGE: u32 = 1_000;

/// A call in the ledger.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Call")]
pub(super) struct CallView {
    /// The `x-request-id` that its caller got.
    id: String,
    #[schemars(with = "String", extend("format" = "date-time"))]
    started_at: Timestamp,
    duration_us: u64,
    time_to_first_token_us: Option<u64>,
    organization_id: Option<String>,
    team_id: Option<String>,
    key_id: Option<String>,
    end_user: Option<String>,
    dialect: String,
    operation: String,
    /// The model by the name that the caller used.
    model: Option<String>,
    provider: Option<String>,
    upstream_model: Option<String>,
    streamed: bool,
    /// answered, failed, refused or cancelled
    outcome: String,
    /// The kind of failure.
    failure: Option<String>,
    status: Option<u16>,
    finish_reason: Option<String>,
    /// The tier of service that gave the answer, where the provider says that it was not the usual one: `priority`, `flex`, …
    service_tier: Option<String>,
    input_tokens: u64,
    cache_read_tokens: u64,
    cache_write_tokens: u64,
    output_tokens: u64,
    reasoning_tokens: u64,
    /// In US dollars; null where the price is not known.
    cost_usd: Option<String>,
    /// What is charged: the cost with the team's margin.
    charge_usd: Option<String>,
    /// The prices by which the cost was computed, in US dollars per million, and what says why they are not the list's; where a
    /// single call is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    prices_usd_per_million: Option<BTreeMap<String, String>>,
    /// Whether tokens or cost are an estimate: the provider did not tell the tokens, or served the answer in a tier whose
    /// prices are not known, so that the usual ones were taken.
    is_estimated: bool,
    tags: BTreeMap<String, String>,
    attempts: Vec<AttemptView>,
    /// What the target could not express.
    dropped: Vec<String>,
    /// The experiment of its model, and its part in it.
    experiment: Option<ExposureView>,
    /// What callers said of the answer, where a single call is asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    feedback: Vec<FeedbackView>,
    /// What the caller sent, where the configuration has it kept, and a single call is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<BodyView>,
    /// What the caller was answered, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<BodyView>,
}

/// A body, as far as it is kept.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Body")]
struct BodyView {
    text: String,
    /// Whether the rest was left out.
    is_cut: bool,
}

/// A call's part in an experiment.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "CallExperiment")]
struct ExposureView {
    name: String,
    run: String,
    /// Null where it takes no part.
    arm: Option<String>,
    /// Why it takes no part: steering, permission, condition, requirement, strict, price or budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<String>,
    /// Of a shadow: the call that it follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    shadow_of: Option<String>,
    /// Of a shadow: how similar the answers are, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    similarity: Option<f64>,
}

/// What a caller said of an answer.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Feedback")]
struct FeedbackView {
    /// Who: the id of a key, or the bearer of a token.
    caller: String,
    #[schemars(with = "String", extend("format" = "date-time"))]
    at: Timestamp,
    score: Option<f64>,
    label: Option<String>,
    comment: Option<String>,
}

/// An attempt of a call.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Attempt")]
struct AttemptView {
    target: String,
    failure: Option<String>,
    status: Option<u16>,
    duration_us: u64,
    /// What it used although it did not give the answer; part of the call's figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<AttemptUsageView>,
}

/// What an attempt used that did not give the answer.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AttemptUsage")]
struct AttemptUsageView {
    input_tokens: u64,
    output_tokens: u64,
    /// In US dollars; null where the price is not known.
    cost_usd: Option<String>,
    /// Whether the provider did not tell the tokens, so that they are estimated.
    is_estimated: bool,
}

pub(super) async fn list(context: Context) -> Result<Reply, GatewayError> {
    let query = &context.query;
    let limit = match query.limit()? {
        0 => USUAL_PAGE,
        asked => asked.min(LARGEST_PAGE),
    };
    let mut team = query.get("team_id").map(text);
    if let Some(own) = context.caller.confined_to() {
        if team.as_ref().is_some_and(|team| team != own.as_str()) {
            return Err(forbidden("A member sees the calls of its own team only. Leave `team_id` out."));
        }
        team = Some(text(own.as_str()));
    }
    let calls = CallsQuery {
        since: query.moment("since")?,
        until: query.moment("until")?,
        before: query.parsed::<CallId>("after")?,
        team,
        key: query.get("key_id").map(text),
        limit: limit + 1,
    };
    let mut found = context.administration.store.calls(&calls).await.map_err(|error| of_store(&error))?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| has_more).map(|last| last.id.to_string());
    Reply::json(&List { data: found.into_iter().map(CallView::from).collect(), next })
}

pub(super) async fn get(context: Context) -> Result<Reply, GatewayError> {
    let id = context.parameters.get("id");
    let missing = || not_found("call", id);
    let parsed: CallId = id.parse().map_err(|_error| missing())?;
    let found = context.administration.store.call(parsed).await.map_err(|error| of_store(&error))?;
    let call = found.ok_or_else(missing)?;
    if let Some(own) = context.caller.confined_to()
        && call.team_id.as_deref() != Some(own.as_str())
    {
        return Err(missing());
    }
    let bodies = context.administration.store.bodies(parsed).await.map_err(|error| of_store(&error))?;
    let prices = call.prices.as_deref().and_then(prices);
    let mut view = CallView { prices_usd_per_million: prices, ..CallView::from(call) };
    let said = context.access().feedback(parsed).await.map_err(|error| of_store(&error))?;
    view.feedback = said
        .into_iter()
        .map(|(caller, it)| FeedbackView {
            caller,
            at: it.at,
            score: it.score,
            label: it.label,
            comment: it.comment,
        })
        .collect();
    if let Some(bodies) = bodies {
        view.request = bodies.request.map(BodyView::from);
        view.response = bodies.response.map(BodyView::from);
    }
    Reply::json(&view)
}

fn text(word: &str) -> Text {
    Text::from(word.to_owned())
}

/// The ledger keeps prices as JSON: figures in nano-dollars, and words such as a discount.
fn prices(kept: &str) -> Option<BTreeMap<String, String>> {
    let kept: BTreeMap<String, Value> = serde_json::from_str(kept).ok()?;
    let in_words = |value: Value| match value {
        Value::String(word) => word,
        figure => figure.as_u64().map_or_else(|| figure.to_string(), dollars),
    };
    Some(kept.into_iter().map(|(name, value)| (name, in_words(value))).collect())
}

fn dollars(nano: u64) -> String {
    NanoDollars(i64::try_from(nano).unwrap_or(i64::MAX)).to_string()
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is mapped over options of an entry that is taken apart"
)]
fn word(text: Text) -> String {
    text.as_str().to_owned()
}

impl From<LedgerEntry> for CallView {
    fn from(it: LedgerEntry) -> Self {
        Self {
            id: it.id.to_string(),
            started_at: it.id.started_at(),
            duration_us: it.duration_us,
            time_to_first_token_us: it.time_to_first_token_us,
            organization_id: it.organization_id.map(word),
            team_id: it.team_id.map(word),
            key_id: it.key_id.map(word),
            end_user: it.end_user.map(word),
            dialect: word(it.dialect),
            operation: word(it.operation),
            model: it.model.map(word),
            provider: it.provider.map(word),
            upstream_model: it.upstream_model.map(word),
            streamed: it.streamed,
            outcome: it.outcome.as_str().to_owned(),
            failure: it.failure.map(word),
            status: it.status,
            finish_reason: it.finish_reason.map(word),
            service_tier: it.service_tier.map(word),
            input_tokens: it.usage.input,
            cache_read_tokens: it.usage.cache_read,
            cache_write_tokens: it.usage.cache_write_5m.saturating_add(it.usage.cache_write_1h),
            output_tokens: it.usage.output,
            reasoning_tokens: it.usage.reasoning,
            cost_usd: it.cost_nanodollars.map(dollars),
            charge_usd: it.charge_nanodollars.map(dollars),
            prices_usd_per_million: None,
            is_estimated: it.is_estimated,
            tags: it.tags.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            attempts: it.attempts.into_iter().map(AttemptView::from).collect(),
            dropped: it.dropped.into_iter().map(word).collect(),
            experiment: it.exposure.map(|exposure| ExposureView::from(*exposure)),
            feedback: Vec::new(),
            request: None,
            response: None,
        }
    }
}

impl From<Exposure> for ExposureView {
    fn from(it: Exposure) -> Self {
        let takes_part = it.takes_part();
        Self {
            name: word(it.experiment),
            run: word(it.run),
            arm: takes_part.then(|| word(it.arm)),
            left_out: it.left_out.map(word),
            shadow_of: it.pair.as_ref().map(|pair| pair.of.to_string()),
            similarity: it.pair.and_then(|pair| pair.likeness).map(|likeness| likeness.similarity),
        }
    }
}

impl From<KeptText> for BodyView {
    fn from(it: KeptText) -> Self {
        Self { text: it.text, is_cut: it.is_cut }
    }
}

impl From<tidegate_store::Attempt> for AttemptView {
    fn from(it: tidegate_store::Attempt) -> Self {
        Self {
            target: word(it.target),
            failure: it.failure.map(word),
            status: it.status,
            duration_us: it.duration_us,
            used: it.used.map(|used| AttemptUsageView {
                input_tokens: used.input_tokens,
                output_tokens: used.output_tokens,
                cost_usd: used.cost_nanodollars.map(dollars),
                is_estimated: used.is_estimated,
            }),
        }
    }
}
