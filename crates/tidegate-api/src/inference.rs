//! The inference routes: a request comes in as HTTP, walks through the gateway, and goes back as HTTP.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use tidegate_gateway::accept::PathParts;
use tidegate_gateway::{Answer, Arrival, GatewayError, Operation, walk};
use tidegate_store::CallId;
use tidegate_wire::Dialect;

use crate::app::Worker;
use crate::place::{self, PlacedBody};
use crate::serve::CutOff;
use crate::{caller, error};

/// A request whose model and stream flag are in the body.
pub(crate) async fn handle(
    State(worker): State<Arc<Worker>>,
    request: Request,
    dialect: Dialect,
    operation: Operation,
) -> Response {
    serve(worker, request, dialect, operation, None).await
}

/// A request to one of Gemini's methods: `models/{model}:{method}`.
pub(crate) async fn handle_gemini(
    State(worker): State<Arc<Worker>>,
    model_and_method: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let dialect = Dialect::Gemini;
    let Ok(Path(model_and_method)) = model_and_method else {
        let error = GatewayError::bad_request("The model's name in the path is not valid UTF-8.");
        return error::respond(dialect, CallId::now(), &error.into());
    };
    let query = request.uri().query().unwrap_or_default();
    let Some((operation, path)) = gemini_method(&model_and_method, query) else {
        let error = GatewayError::no_such_route("POST", request.uri().path());
        return error::respond(dialect, CallId::now(), &error.into());
    };
    serve(worker, request, dialect, operation, Some(path)).await
}

/// What is asked by one of Gemini's paths, behind `models/`.
pub(crate) fn gemini_method(model_and_method: &str, query: &str) -> Option<(Operation, PathParts)> {
    let (model, method) = model_and_method.rsplit_once(':')?;
    let (operation, stream) = match method {
        "generateContent" => (Operation::Chat, false),
        "streamGenerateContent" => (Operation::Chat, true),
        "countTokens" => (Operation::CountTokens, false),
        _ => return None,
    };
    let asks_for_events = query.split('&').any(|pair| pair == "alt=sse");
    Some((operation, PathParts { model: model.to_owned(), stream, json_array: stream && !asks_for_events }))
}

async fn serve(
    worker: Arc<Worker>,
    request: Request,
    dialect: Dialect,
    operation: Operation,
    path: Option<PathParts>,
) -> Response {
    let at = Instant::now();
    let id = CallId::now();
    let (mut head, body) = request.into_parts();
    let mut ending = CutOff::of(&mut head.extensions);
    let outcome = async {
        // Before the body is read: strangers cannot make Tidegate hold theirs.
        let principal = caller::authenticate(&worker.gateway, &head, operation.as_str()).await?;
        // After it is known whose turn it would be, and as well before the body is read, when too many call at once.
        let (place, body) = place::enter(&worker.gateway, &head, body, &principal, dialect).await?;
        let end_user = caller::end_user_of(&worker.gateway, &head);
        let arrival =
            Arrival { at, operation, dialect, path, principal, end_user, headers: head.headers, body };
        Ok((place, walk(&worker.gateway, &worker.upstream, id, arrival).await?))
    };
    let outcome = tokio::select! {
        biased;
        outcome = outcome => outcome,
        // What is under way ends here, as if its caller had hung up.
        () = &mut ending => Err(GatewayError::ending().into()),
    };
    match outcome {
        Ok((place, Answer { headers, is_event_stream, body })) => {
            respond(dialect, id, headers, is_event_stream, PlacedBody::new(body, place, ending))
        }
        Err(refusal) => error::respond(dialect, id, &refusal),
    }
}

fn respond(
    dialect: Dialect,
    id: CallId,
    said: HeaderMap,
    is_event_stream: bool,
    body: PlacedBody,
) -> Response {
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    *headers = said;
    if is_event_stream {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    } else {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    request_id_headers(headers, dialect, &id.to_string());
    response
}

/// The call's id, where the caller's SDK looks for it.
pub(crate) fn request_id_headers(headers: &mut HeaderMap, dialect: Dialect, id: &str) {
    let Ok(value) = HeaderValue::from_str(id) else { return };
    if dialect == Dialect::AnthropicMessages {
        headers.insert("request-id", value.clone());
    }
    headers.insert("x-request-id", value);
}
