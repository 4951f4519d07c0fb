//! `POST /v1/feedback`: what a caller says of an answer, by the `x-request-id` that came with it. It is kept beside the call,
//! and counted into the arm of the experiment that the call took part in.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_gateway::{GatewayError, Principal};
use tidegate_store::{CallId, Feedback, LedgerEntry};
use tidegate_wire::ErrorClass;
use tokio::sync::Semaphore;

use crate::app::Worker;
use crate::caller::{authenticate, dialect_of};
use crate::{body, error};

/// What permissions call this route.
const ENDPOINT: &str = "feedback";
/// The longest body: the longest comment fits, whatever its letters are.
const MAX_BODY: usize = 64 << 10;
/// The longest label, in bytes.
const MAX_LABEL: usize = 128;
/// The longest comment, in bytes.
const MAX_COMMENT: usize = 8 << 10;
/// How many are worked on at once: each is a few questions to the database, which callers' feedback must not fill.
const AT_ONCE: usize = 32;
/// How long the database may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// A call of so short a time ago may still be on its way into the database.
const JUST_NOW: SignedDuration = SignedDuration::from_mins(1);
/// When to come back where it is too much.
const COME_BACK: Duration = Duration::from_secs(1);

static PLACES: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(AT_ONCE));

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    request_id: String,
    #[serde(default)]
    score: Option<Value>,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    comment: Option<String>,
}

/// The route.
pub(crate) async fn handle(State(worker): State<Arc<Worker>>, request: Request) -> Response {
    let dialect = dialect_of(request.headers(), request.uri());
    match tokio::time::timeout(PATIENCE, take(&worker, request)).await {
        Ok(Ok(taken)) => ([(CONTENT_TYPE, "application/json")], taken.to_string()).into_response(),
        Ok(Err(refused)) => error::respond(dialect, CallId::now(), &refused.into()),
        Err(_elapsed) => error::respond(dialect, CallId::now(), &away().into()),
    }
}

async fn take(worker: &Worker, request: Request) -> Result<Value, GatewayError> {
    let (head, body) = request.into_parts();
    let principal = authenticate(&worker.gateway, &head, ENDPOINT).await?;
    let Some(administration) = &worker.administration else {
        return Err(GatewayError::no_such_route("POST", "/v1/feedback"));
    };
    let body = body::read(&head.headers, body, MAX_BODY, None).await?;
    let said: Said = serde_json::from_slice(&body)
        .map_err(|error| GatewayError::bad_request(format!("The feedback cannot be read: {error}.")))?;
    let feedback = check(&said)?;
    let id: CallId = said
        .request_id
        .trim()
        .parse()
        .map_err(|_error| wrong("request_id", "is not an `x-request-id` that Tidegate has given"))?;
    let _place = PLACES.try_acquire().map_err(|_full| away())?;
    let call = find(worker, administration, id).await?.filter(|call| is_theirs(&principal, call));
    let Some(call) = call else {
        return Err(GatewayError {
            status: 404,
            class: ErrorClass::NotFound,
            code: Some("call_not_found".to_owned()),
            param: Some("request_id".to_owned()),
            ..GatewayError::bad_request(format!(
                "There is no call {id} that this key may say something of. A call can be found when its answer has \
                 ended; calls of other teams cannot."
            ))
        });
    };
    let caller = principal.actor().name;
    let kept = administration.access.leave_feedback(id, &caller, &feedback, call.exposure.as_deref()).await;
    kept.map_err(|error| {
        tracing::warn!(%error, "feedback could not be kept");
        away()
    })?;
    let part = call.exposure.filter(|exposure| exposure.takes_part());
    let experiment = part.map(|it| json!({"name": &*it.experiment, "arm": &*it.arm}));
    Ok(
        json!({"object": "feedback", "request_id": id.to_string(), "score": feedback.score, "experiment": experiment}),
    )
}

/// The call, once it has got into the database.
async fn find(
    worker: &Worker,
    administration: &crate::admin::Administration,
    id: CallId,
) -> Result<Option<LedgerEntry>, GatewayError> {
    let store = &administration.store;
    let failed = |error: tidegate_store::StoreError| {
        tracing::warn!(%error, "a call that somebody says something of could not be looked up");
        away()
    };
    let found = store.call(id).await.map_err(failed)?;
    if found.is_some() || id.started_at() < Timestamp::now() - JUST_NOW {
        return Ok(found);
    }
    worker.gateway.flush_ledger().await;
    store.call(id).await.map_err(failed)
}

/// Whether the caller may say something of this call: its own, its team's, or where it has no team its organisation's.
fn is_theirs(principal: &Principal, call: &LedgerEntry) -> bool {
    if call.is_shadow() {
        return false;
    }
    let is = |mine: Option<&str>, its: Option<&tidegate_store::Text>| {
        mine.is_some() && mine == its.map(|it| &**it)
    };
    let key = principal.key().map(|key| key.id.as_str());
    let team = principal.team().map(|team| team.id.as_str());
    let Some(organization) = principal.organization() else {
        // Without keys, everybody is the same nobody.
        return call.organization_id.is_none();
    };
    is(key, call.key_id.as_ref())
        || is(team, call.team_id.as_ref())
        || team.is_none() && is(Some(organization.id.as_str()), call.organization_id.as_ref())
}

fn check(said: &Said) -> Result<Feedback, GatewayError> {
    let score = match &said.score {
        None | Some(Value::Null) => None,
        Some(Value::Bool(is_good)) => Some(f64::from(u8::from(*is_good))),
        Some(Value::Number(number)) => {
            let score = number.as_f64().filter(|score| (0.0..=1.0).contains(score));
            Some(score.ok_or_else(|| wrong("score", "must lie between 0 (bad) and 1 (good)"))?)
        }
        Some(_) => return Err(wrong("score", "must be a number from 0 to 1, or true or false")),
    };
    let short = |name: &'static str, text: &Option<String>, most: usize| match text {
        Some(text) if text.len() > most => Err(wrong(name, &format!("may have {most} bytes at most"))),
        text => Ok(text.clone().filter(|text| !text.trim().is_empty())),
    };
    let label = short("label", &said.label, MAX_LABEL)?;
    let comment = short("comment", &said.comment, MAX_COMMENT)?;
    if score.is_none() && label.is_none() && comment.is_none() {
        return Err(wrong("score", "is missing, and so are `label` and `comment`: say one of them"));
    }
    Ok(Feedback { at: Timestamp::now(), score, label, comment })
}

fn wrong(field: &str, what: &str) -> GatewayError {
    GatewayError {
        param: Some(field.to_owned()),
        ..GatewayError::bad_request(format!("The field `{field}` {what}."))
    }
}

fn away() -> GatewayError {
    GatewayError::unavailable("Feedback cannot be taken at the moment.", COME_BACK)
}
