//! `/admin/v1/targets`: how every target is doing.

use schemars::JsonSchema;
use serde::Serialize;
use tidegate_gateway::GatewayError;
use tidegate_gateway::report::TargetReport;

use super::context::{Context, Reply};

/// All targets.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct TargetList {
    /// Those that the configuration names or that have answered, in the configuration's order.
    data: Vec<TargetReport>,
}

pub(super) async fn list(context: Context) -> Result<Reply, GatewayError> {
    Reply::json(&TargetList { data: context.gateway.targets() })
}
