//! `/admin/v1/audit`.

use tidegate_gateway::GatewayError;
use tidegate_store::AuditQuery;

use super::context::{Context, Reply};
use super::refusal::of_store;
use super::views::{AuditLineView, List, VerificationView};

pub(super) async fn list(context: Context) -> Result<Reply, GatewayError> {
    let query = &context.query;
    let lines = AuditQuery {
        before: query.parsed("after")?,
        actor: query.get("actor").map(str::to_owned),
        action: query.get("action").map(str::to_owned),
        object: query.get("object").map(str::to_owned),
        since: query.moment("since")?,
        until: query.moment("until")?,
        limit: query.limit()?,
    };
    let page = context.access().audit(&lines).await.map_err(|error| of_store(&error))?;
    Reply::json(&List::of(page, AuditLineView::from))
}

pub(super) async fn verify(context: Context) -> Result<Reply, GatewayError> {
    let verification = context.access().verify_audit().await.map_err(|error| of_store(&error))?;
    Reply::json(&VerificationView::from(verification))
}
