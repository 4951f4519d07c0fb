//! `/admin/v1/experiments`: what experiments show, and what an administrator decides about them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_gateway::GatewayError;
use tidegate_gateway::experiments::{
    ByHand, ByHandError, ExperimentReport, ShadowFate, by_hand, report_experiment, report_experiments,
};
use tidegate_wire::ErrorClass;

use super::context::{Context, Reply};
use super::refusal::{invalid, not_found, of_access, of_store};

/// All experiments.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Experiments")]
pub(super) struct ExperimentsView {
    data: Vec<ExperimentView>,
}

/// An experiment, and what became of its shadows.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ExperimentWithShadows")]
pub(super) struct ExperimentView {
    #[serde(flatten)]
    report: ExperimentReport,
    /// What became of shadows in the process that answers, since it began: sent, or why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    shadows_here: Option<BTreeMap<&'static str, u64>>,
}

/// Which arm is to get all calls.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PromoteArm {
    /// The arm; may be left out where there are two.
    #[serde(default)]
    arm: Option<String>,
}

pub(super) async fn list(context: Context) -> Result<Reply, GatewayError> {
    let settings = context.gateway.settings();
    let reports = report_experiments(&settings, context.access()).await.map_err(|error| of_store(&error))?;
    Reply::json(&ExperimentsView { data: reports.into_iter().map(|report| view(&context, report)).collect() })
}

pub(super) async fn get(context: Context) -> Result<Reply, GatewayError> {
    show(&context).await
}

pub(super) async fn stop(context: Context) -> Result<Reply, GatewayError> {
    change(&context, ByHand::Stop, None).await
}

pub(super) async fn resume(context: Context) -> Result<Reply, GatewayError> {
    change(&context, ByHand::Resume, None).await
}

pub(super) async fn promote(context: Context) -> Result<Reply, GatewayError> {
    let PromoteArm { arm } = context.body()?;
    change(&context, ByHand::Promote, arm.as_deref()).await
}

async fn change(context: &Context, what: ByHand, arm: Option<&str>) -> Result<Reply, GatewayError> {
    let name = context.parameters.get("name");
    let done = by_hand(&context.gateway, context.access(), name, what, arm, context.actor()).await;
    done.map_err(|error| match error {
        ByHandError::NotFound => not_found("test or canary", name),
        ByHandError::WhichArm(_) => invalid("arm", &error.to_string()),
        ByHandError::Conflict => GatewayError {
            status: 409,
            class: ErrorClass::InvalidRequest,
            code: Some("conflict".to_owned()),
            ..GatewayError::bad_request(format!("{error}."))
        },
        ByHandError::Access(error) => of_access(error),
    })?;
    show(context).await
}

async fn show(context: &Context) -> Result<Reply, GatewayError> {
    let name = context.parameters.get("name");
    let settings = context.gateway.settings();
    let found =
        report_experiment(&settings, context.access(), name).await.map_err(|error| of_store(&error))?;
    let report = found.ok_or_else(|| not_found("experiment", name))?;
    Reply::json(&view(context, report))
}

fn view(context: &Context, report: ExperimentReport) -> ExperimentView {
    let counts = context.gateway.shadow_counts(&report.name);
    let shadows_here = counts
        .map(|counts| ShadowFate::ALL.into_iter().map(|fate| (fate.as_str(), counts.of(fate))).collect());
    ExperimentView { report, shadows_here }
}
