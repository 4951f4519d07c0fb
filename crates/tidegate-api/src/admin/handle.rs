//! The way of an administrative request: who asks, may it, read the body, do it. What is refused for want of permission
//! is written into the audit log.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::response::Response;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use tidegate_gateway::{GatewayError, Refusal};
use tidegate_store::{Actor, CallId, RefusedAct};
use tidegate_wire::Dialect;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::caller;
use super::context::{Administration, Context, Parameters, Query, Reply};
use super::openapi::openapi;
use super::routes::AdminRoute;
use crate::app::Worker;
use crate::caller::address_of;
use crate::{body, error};

/// Bodies of administrative requests: lists of five hundred models at their longest fit several times.
const MAX_BODY: usize = 1 << 20;

/// Administrative requests that are worked on at once, in the whole process: a few people and their scripts. Calls need
/// the same database and must not notice.
pub(crate) const AT_ONCE: usize = 16;

/// How long one waits for its turn. As many wait as there are connections.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Serves one row of the table.
pub(crate) async fn handle(
    State(worker): State<Arc<Worker>>,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    route: &'static AdminRoute,
) -> Response {
    let id = CallId::now();
    let served = match &parameters {
        Ok(parameters) => {
            let named = parameters.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
            serve(&worker, Parameters(named.collect()), request, route).await
        }
        Err(_no_text) => Err(GatewayError::bad_request("The path is not valid UTF-8.")),
    };
    match served {
        Ok(reply) => reply.into_response(),
        Err(refused) => error::respond(Dialect::OpenAiChat, id, &Refusal::from(refused)),
    }
}

async fn serve(
    worker: &Worker,
    parameters: Parameters,
    request: Request,
    route: &'static AdminRoute,
) -> Result<Reply, GatewayError> {
    let Some(administration) = &worker.administration else {
        return Err(GatewayError::no_such_route(route.method.as_str(), route.path));
    };
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let address = address_of(&worker.gateway, &head);
    // Who asks costs a look into the store, so strangers wait for it like everybody else.
    let place = place_at(&worker.admin_places).await?;
    let known = caller::authenticate(&administration.access, &head.headers, address).await;
    // The body comes as fast as it is sent.
    drop(place);
    let caller = known.map_err(|(actor, error)| {
        write_down(administration, &actor, route, &path, &error);
        error
    })?;
    let allowed = caller.may(route.area, route.writes);
    allowed.inspect_err(|error| write_down(administration, &caller.actor, route, &path, error))?;
    let query = Query::read(head.uri.query().unwrap_or_default(), route.query)?;
    let body = body::read(&head.headers, body, MAX_BODY, None).await?;
    let actor = caller.actor.clone();
    let context = Context {
        gateway: Arc::clone(&worker.gateway),
        administration: administration.clone(),
        caller,
        parameters,
        query,
        body,
    };
    let done = perform(context, place_at(&worker.admin_places).await?, route).await;
    if done.is_ok() && route.writes {
        // Whoever makes a key here and uses it here, at once, is known.
        worker.gateway.directory().take_over_changes().await;
    }
    done.inspect_err(|error| write_down(administration, &actor, route, &path, error))
}

/// A place among the administrative requests that are worked on.
async fn place_at(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, GatewayError> {
    match tokio::time::timeout(LONGEST_WAIT, Arc::clone(places).acquire_owned()).await {
        Ok(Ok(place)) => Ok(place),
        // It is never closed; the time is over.
        Ok(Err(_)) | Err(_) => Err(GatewayError {
            code: Some("overloaded".into()),
            ..GatewayError::unavailable(
                format!(
                    "Tidegate is working on as many administrative requests as it may ({AT_ONCE}). Try again later."
                ),
                LONGEST_WAIT,
            )
        }),
    }
}

/// In a task of its own: a caller that hangs up does not leave behind a change that is half made.
async fn perform(
    context: Context,
    place: OwnedSemaphorePermit,
    route: &'static AdminRoute,
) -> Result<Reply, GatewayError> {
    let task = async move {
        let _place = place;
        (route.handler)(context).await
    };
    let done = tokio::spawn(task).await;
    done.unwrap_or_else(|error| {
        tracing::error!(%error, route = ?route, "an administrative request broke off");
        Err(GatewayError::internal("The request broke off; the log says why."))
    })
}

/// Writes a refusal of permission into the audit log; other errors are the caller's own matter.
fn write_down(
    administration: &Administration,
    actor: &Actor,
    route: &AdminRoute,
    path: &str,
    error: &GatewayError,
) {
    if matches!(error.status, 401 | 403) {
        administration.audit.record(RefusedAct {
            actor: actor.clone(),
            act: route.name.into(),
            object: path.chars().take(200).collect::<String>().into(),
            reason: error.code.as_deref().unwrap_or("refused").into(),
        });
    }
}

/// The document that describes all of it, for everybody: it says nothing about this installation.
pub(crate) async fn document() -> Response {
    let mut response = Response::new(axum::body::Body::from(openapi()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
