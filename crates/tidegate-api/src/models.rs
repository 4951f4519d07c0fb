//! The lists of models, in the shape that the caller's SDK reads.

use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};
use tidegate_gateway::{GatewayError, ListedModel, Refusal};
use tidegate_store::CallId;
use tidegate_wire::Dialect;

use crate::app::Worker;
use crate::error;

/// Models have no date of their own here; the SDKs want one.
const CREATED: i64 = 0;
const CREATED_AT: &str = "1970-01-01T00:00:00Z";

/// All models, in OpenAI's or Anthropic's shape.
pub(crate) async fn list(State(worker): State<Worker>, headers: HeaderMap) -> Response {
    let models = worker.gateway.models();
    if error::speaks_anthropic(&headers) {
        let data: Vec<Value> = models.iter().map(anthropic).collect();
        let first = models.first().map(|model| &model.name);
        let last = models.last().map(|model| &model.name);
        json_response(&json!({"data": data, "has_more": false, "first_id": first, "last_id": last}))
    } else {
        let data: Vec<Value> = models.iter().map(openai).collect();
        json_response(&json!({"object": "list", "data": data}))
    }
}

/// All models, in Gemini's shape.
pub(crate) async fn list_gemini(State(worker): State<Worker>) -> Response {
    let models: Vec<Value> = worker.gateway.models().iter().map(gemini).collect();
    json_response(&json!({"models": models}))
}

/// One model, in OpenAI's or Anthropic's shape.
pub(crate) async fn one(
    State(worker): State<Worker>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let is_anthropic = error::speaks_anthropic(&headers);
    let dialect = if is_anthropic { Dialect::AnthropicMessages } else { Dialect::OpenAiChat };
    find(&worker, &name, dialect, if is_anthropic { anthropic } else { openai })
}

/// One model, in Gemini's shape.
pub(crate) async fn one_gemini(State(worker): State<Worker>, Path(name): Path<String>) -> Response {
    find(&worker, &name, Dialect::Gemini, gemini)
}

fn find(worker: &Worker, name: &str, dialect: Dialect, shape: fn(&ListedModel) -> Value) -> Response {
    match worker.gateway.model(name) {
        Ok(model) => json_response(&shape(&model)),
        Err(error) => respond_error(dialect, error),
    }
}

fn respond_error(dialect: Dialect, error: GatewayError) -> Response {
    error::respond(dialect, CallId::now(), &Refusal { error, attempts: 0 })
}

fn openai(model: &ListedModel) -> Value {
    json!({"id": model.name, "object": "model", "created": CREATED, "owned_by": owner(model)})
}

fn anthropic(model: &ListedModel) -> Value {
    json!({"type": "model", "id": model.name, "display_name": model.name, "created_at": CREATED_AT})
}

fn gemini(model: &ListedModel) -> Value {
    json!({
        "name": format!("models/{}", model.name),
        "displayName": model.name,
        "inputTokenLimit": model.context_window,
        "outputTokenLimit": model.max_output,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    })
}

fn owner(model: &ListedModel) -> &str {
    if model.is_entry {
        return "tidegate";
    }
    model.name.split_once('/').map_or("tidegate", |(provider, _)| provider)
}

fn json_response(value: &Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}
