//! From paths to what serves them.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tidegate_wire::Dialect;

use crate::body::{Move, Record, SimBody};
use crate::call::{Asking, Cut, count, json_response, serve};
use crate::connection::Reset;
use crate::dialects::{anthropic, gemini, openai};
use crate::scenario::scenarios;
use crate::served::Outcome;
use crate::simulator::State;

/// Models of the list that are no scenarios.
const ORDINARY: [&str; 6] = [
    "gpt-5-mini",
    "gpt-4o",
    "claude-sonnet-4-5",
    "claude-haiku-4-5",
    "gemini-2.5-flash",
    "gemini-3-flash-preview",
];

pub(crate) async fn route(
    state: Arc<State>,
    reset: Reset,
    request: Request<Incoming>,
) -> Result<Response<SimBody>, Cut> {
    let path = request.uri().path().to_owned();
    if let Some(page) = path.strip_prefix("/sim/") {
        return Ok(own_page(&state, &reset, request.method(), page, request.uri().query()));
    }
    state.ledger.count_request();
    let post = request.method() == Method::POST;
    let asking = |dialect, model: String, stream| Asking { dialect, model, stream };
    match path.as_str() {
        "/v1/chat/completions" if post => {
            serve(state, reset, asking(Dialect::OpenAiChat, String::new(), false), request).await
        }
        "/v1/messages" if post => {
            serve(state, reset, asking(Dialect::AnthropicMessages, String::new(), false), request).await
        }
        "/v1/messages/count_tokens" if post => {
            count(state, reset, asking(Dialect::AnthropicMessages, String::new(), false), request).await
        }
        _ => match gemini_call(&path) {
            Some((model, "generateContent")) if post => {
                serve(state, reset, asking(Dialect::Gemini, model, false), request).await
            }
            Some((model, "streamGenerateContent")) if post => {
                serve(state, reset, asking(Dialect::Gemini, model, true), request).await
            }
            Some((model, "countTokens")) if post => {
                count(state, reset, asking(Dialect::Gemini, model, false), request).await
            }
            _ => Ok(models_or_nothing(&reset, &request, &path)),
        },
    }
}

/// Model and method of `/v1beta/models/{model}:{method}`; the model may have slashes and colons in it.
fn gemini_call(path: &str) -> Option<(String, &str)> {
    let rest = path.strip_prefix("/v1beta/models/").or_else(|| path.strip_prefix("/v1/models/"))?;
    let (model, method) = rest.rsplit_once(':')?;
    Some((percent_decode_str(model).decode_utf8_lossy().into_owned(), method))
}

fn models_or_nothing(reset: &Reset, request: &Request<Incoming>, path: &str) -> Response<SimBody> {
    let examples = scenarios();
    let names: Vec<&str> = ORDINARY.into_iter().chain(examples.iter().map(|facts| facts.example)).collect();
    let for_anthropic = request.headers().contains_key("anthropic-version");
    let get = request.method() == Method::GET;
    let one = |name: &str| percent_decode_str(name).decode_utf8_lossy().into_owned();
    let page = match path {
        "/v1/models" if get && for_anthropic => anthropic::list(&names),
        "/v1/models" if get => openai::list(&names),
        "/v1beta/models" if get => gemini::list(&names),
        _ => match (path.strip_prefix("/v1/models/"), path.strip_prefix("/v1beta/models/")) {
            (Some(name), _) if get && for_anthropic => anthropic::one(&one(name)),
            (Some(name), _) if get => openai::one(&one(name)),
            (_, Some(name)) if get => gemini::one(&one(name)),
            _ => return json_response(reset, StatusCode::NOT_FOUND, &no_such_path(request.method(), path)),
        },
    };
    json_response(reset, StatusCode::OK, &page)
}

fn no_such_path(method: &Method, path: &str) -> Value {
    if path.starts_with("/v1/messages") {
        return anthropic::error::refused(404, "not_found_error", "Not Found").body;
    }
    if path.starts_with("/v1beta") {
        return gemini::error::refused(404, "NOT_FOUND", "Method not found.", &[]).body;
    }
    let message = format!("Invalid URL ({method} {path})");
    openai::error::refused(404, &message, "invalid_request_error", None, None).body
}

/// The simulator's own pages, which are no provider's.
fn own_page(
    state: &State,
    reset: &Reset,
    method: &Method,
    page: &str,
    query: Option<&str>,
) -> Response<SimBody> {
    let body = match (method, page) {
        (&Method::GET, "totals") => json!(state.ledger.totals()),
        (&Method::GET, "served") => json!(last(state.ledger.served(), query)),
        (&Method::GET, "scenarios") => json!(scenarios()),
        (&Method::POST, "reset") => {
            state.ledger.reset();
            state.memory.reset();
            json!({"reset": true})
        }
        _ => {
            let pages =
                ["GET /sim/served?limit=100", "GET /sim/totals", "GET /sim/scenarios", "POST /sim/reset"];
            let body = json!({"error": format!("there is no {method} /sim/{page}"), "pages": pages});
            return json_response(reset, StatusCode::NOT_FOUND, &body);
        }
    };
    json_response(reset, StatusCode::OK, &body)
}

/// The newest `?limit=` lines.
fn last<T>(mut lines: Vec<T>, query: Option<&str>) -> Vec<T> {
    let pairs = query.unwrap_or_default().split('&');
    let limit =
        pairs.filter_map(|pair| pair.strip_prefix("limit=")).find_map(|limit| limit.parse::<usize>().ok());
    let limit = limit.unwrap_or(usize::MAX).min(lines.len());
    lines.split_off(lines.len() - limit)
}

/// A response that is not in the ledger.
pub(crate) fn plain(reset: &Reset, status: StatusCode, kind: &'static str, body: Bytes) -> Response<SimBody> {
    let moves = vec![Move::Send { bytes: body, tokens: 0 }, Move::End(Outcome::Answered)];
    let mut response = Response::new(SimBody::of_moves(moves, Record::of_nothing(), reset.clone()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}
