//! Whether the process runs, and whether it can take calls.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;

use crate::app::Worker;

/// The process runs.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// It can take calls: the ledger takes entries, and not all places are taken with the queue for them full as well.
pub(crate) async fn ready(State(worker): State<Arc<Worker>>) -> Response {
    let status = worker.gateway.status();
    let ledger = status.ledger;
    let places = status.places;
    let is_ready = ledger.free_seats > 0 && !places.is_full;
    let body = serde_json::json!({
        "ready": is_ready,
        "calls_in_flight": status.calls_in_flight,
        "places": {
            "most": places.most,
            "taken": places.taken,
            "waiting": { "interactive": places.interactive, "batch": places.batch },
            "full": places.is_full,
        },
        "ledger": {
            "written": ledger.written,
            "pending": ledger.pending,
            "failing": ledger.failing,
            "free_seats": ledger.free_seats,
            "journal_bytes": ledger.journal_bytes,
        },
    });
    let code = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
