//! `/admin/v1/explain`: who would be asked for a request, and why not the others. Nobody is asked, and nothing is counted.

use tidegate_gateway::admit::principal_of;
use tidegate_gateway::plan::explain;
use tidegate_gateway::{GatewayError, Principal};
use tidegate_store::KeyId;

use super::context::{Context, Reply};
use crate::request_to_explain::RequestToExplain;

pub(super) async fn explain_request(context: Context) -> Result<Reply, GatewayError> {
    let request: RequestToExplain = context.body()?;
    let asked = request.asked()?;
    let gateway = &context.gateway;
    let principal = match &request.key_id {
        None => Principal::anonymous(None),
        Some(id) => principal_of(gateway, &KeyId::from(id.as_str()), asked.operation.as_str())?,
    };
    Reply::json(&explain(gateway, request.arrival(asked, principal)?).await?)
}
