//! The table `bodies`: what was said in calls, where the operator wants it kept.

use std::sync::Arc;

use crate::{
    database::{Database, query},
    error::StoreError,
    ledger::{CallBodies, CallId, KeptText},
};

/// Keeps them, unless there are some for this call.
pub(crate) async fn insert(database: &Database, call: CallId, bodies: &CallBodies) -> Result<(), StoreError> {
    let insert = "INSERT INTO bodies (call_id, started_at_ms, request, request_is_cut, response, response_is_cut) \
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
    let (request, request_is_cut) = parts(bodies.request.as_ref());
    let (response, response_is_cut) = parts(bodies.response.as_ref());
    let insert = query(insert).bind(call.uuid()).bind(call.started_at_ms());
    let insert = insert.bind(request).bind(request_is_cut).bind(response).bind(response_is_cut);
    database.execute(insert).await.map(drop)
}

/// What was kept of this call.
pub(crate) async fn find(database: &Database, call: CallId) -> Result<Option<CallBodies>, StoreError> {
    let select = "SELECT request, request_is_cut, response, response_is_cut FROM bodies \
        WHERE call_id = $1 AND started_at_ms = $2";
    let Some(row) =
        database.fetch_optional(query(select).bind(call.uuid()).bind(call.started_at_ms())).await?
    else {
        return Ok(None);
    };
    let text = |text: &str, is_cut: &str| -> Result<Option<KeptText>, StoreError> {
        let is_cut = row.get(is_cut)?;
        Ok(row.get::<Option<String>>(text)?.map(|text| KeptText { text, is_cut }))
    };
    Ok(Some(CallBodies {
        request: text("request", "request_is_cut")?,
        response: text("response", "response_is_cut")?,
    }))
}

/// Forgets them. Says whether there were any.
pub(crate) async fn delete(database: &Database, call: CallId) -> Result<bool, StoreError> {
    let delete = "DELETE FROM bodies WHERE call_id = $1 AND started_at_ms = $2";
    let deleted = database.execute(query(delete).bind(call.uuid()).bind(call.started_at_ms())).await?;
    Ok(deleted > 0)
}

/// PostgreSQL cannot store a NUL in a text; it is shown as what it is.
fn parts(kept: Option<&KeptText>) -> (Option<Arc<str>>, bool) {
    let text = kept.map(|kept| {
        if kept.text.contains('\0') {
            kept.text.replace('\0', "\u{2400}").into()
        } else {
            kept.text.as_str().into()
        }
    });
    (text, kept.is_some_and(|kept| kept.is_cut))
}
