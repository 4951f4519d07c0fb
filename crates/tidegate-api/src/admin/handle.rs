//! The way of an administrative request: who asks, may it, read the body, do it. What is refused for want of permission
//! is written into the audit log.

use std::sync::Arc;

use axum::extract::{RawPathParams, Request, State};
use axum::response::Response;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use tidegate_gateway::{GatewayError, Refusal};
use tidegate_store::{Actor, CallId, RefusedAct};
use tidegate_wire::Dialect;

use super::caller;
use super::context::{Administration, Context, Parameters, Query, Reply};
use super::openapi::openapi;
use super::routes::AdminRoute;
use crate::app::Worker;
use crate::caller::address_of;
use crate::{body, error};

/// Bodies of administrative requests: lists of five hundred models at their longest fit several times.
const MAX_BODY: usize = 1 << 20;

/// Serves one row of the table.
pub(crate) async fn handle(
    State(worker): State<Worker>,
    parameters: RawPathParams,
    request: Request,
    route: &'static AdminRoute,
) -> Response {
    let parameters = parameters.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let id = CallId::now();
    match serve(&worker, Parameters(parameters), request, route).await {
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
    let known = caller::authenticate(&administration.access, &head.headers, address).await;
    let caller = known.map_err(|(actor, error)| {
        write_down(administration, &actor, route, &path, &error);
        error
    })?;
    let allowed = caller.may(route.area, route.writes);
    allowed.inspect_err(|error| write_down(administration, &caller.actor, route, &path, error))?;
    let query = Query::read(head.uri.query().unwrap_or_default(), route.query)?;
    let body = body::read(&head.headers, body, MAX_BODY).await?;
    let actor = caller.actor.clone();
    let context = Context {
        gateway: Arc::clone(&worker.gateway),
        administration: administration.clone(),
        caller,
        parameters,
        query,
        body,
    };
    let done = perform(context, route).await;
    done.inspect_err(|error| write_down(administration, &actor, route, &path, error))
}

/// In a task of its own: a caller that hangs up does not leave behind a change that is half made.
async fn perform(context: Context, route: &'static AdminRoute) -> Result<Reply, GatewayError> {
    let done = tokio::spawn((route.handler)(context)).await;
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
