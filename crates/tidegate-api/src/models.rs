//! The lists of models, in the shape that the caller's SDK reads.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde_json::{Value, json};
use tidegate_gateway::{GatewayError, ListedModel};
use tidegate_store::CallId;
use tidegate_wire::Dialect;

use crate::app::Worker;
use crate::caller::{authenticate, dialect_of};
use crate::error;

/// Models have no date of their own here; the SDKs want one.
const CREATED: i64 = 0;
const CREATED_AT: &str = "1970-01-01T00:00:00Z";

/// What permissions call these routes.
const ENDPOINT: &str = "models";

/// All models.
pub(crate) async fn list(State(worker): State<Arc<Worker>>, head: Parts) -> Response {
    let dialect = dialect_of(&head.headers, &head.uri);
    let principal = match authenticate(&worker.gateway, &head, ENDPOINT).await {
        Ok(principal) => principal,
        Err(error) => return respond_error(dialect, error),
    };
    let models = worker.gateway.models_for(&principal);
    let data: Vec<Value> = models.iter().map(|model| shape(dialect, model)).collect();
    json_response(&match dialect {
        Dialect::OpenAiChat => json!({"object": "list", "data": data}),
        Dialect::AnthropicMessages => {
            let first = models.first().map(|model| &model.name);
            let last = models.last().map(|model| &model.name);
            json!({"data": data, "has_more": false, "first_id": first, "last_id": last})
        }
        Dialect::Gemini => json!({"models": data}),
    })
}

/// One model.
pub(crate) async fn one(
    State(worker): State<Arc<Worker>>,
    Path(name): Path<String>,
    head: Parts,
) -> Response {
    let dialect = dialect_of(&head.headers, &head.uri);
    let principal = match authenticate(&worker.gateway, &head, ENDPOINT).await {
        Ok(principal) => principal,
        Err(error) => return respond_error(dialect, error),
    };
    match worker.gateway.model_for(&principal, &name) {
        Ok(model) => json_response(&shape(dialect, &model)),
        Err(error) => respond_error(dialect, error),
    }
}

fn shape(dialect: Dialect, model: &ListedModel) -> Value {
    match dialect {
        Dialect::OpenAiChat => openai(model),
        Dialect::AnthropicMessages => anthropic(model),
        Dialect::Gemini => gemini(model),
    }
}

fn respond_error(dialect: Dialect, error: GatewayError) -> Response {
    error::respond(dialect, CallId::now(), &error.into())
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
