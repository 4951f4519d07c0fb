//! `/admin/v1/teams`.

use tidegate_gateway::GatewayError;
use tidegate_store::{NewTeam, OrganizationId, TeamId, TeamUpdate};

use super::context::{Context, Reply};
use super::refusal::{not_found, of_access, of_store};
use super::requests::{CreateTeam, UpdateTeam};
use super::views::{List, TeamView};

pub(super) async fn list(context: Context) -> Result<Reply, GatewayError> {
    let organization = context.query.get("organization_id").map(OrganizationId::from);
    let after = context.query.after("team_")?.map(TeamId::from);
    let limit = context.query.limit()?;
    let page = context.access().teams(organization.as_ref(), after.as_ref(), limit).await;
    Reply::json(&List::of(page.map_err(|error| of_store(&error))?, TeamView::from))
}

pub(super) async fn create(context: Context) -> Result<Reply, GatewayError> {
    let new: NewTeam = context.body::<CreateTeam>()?.try_into()?;
    context.check_providers(&new.permissions, &[])?;
    let made = context.access().create_team(new, context.actor()).await.map_err(of_access)?;
    Reply::created(&TeamView::from(made))
}

pub(super) async fn get(context: Context) -> Result<Reply, GatewayError> {
    let id = context.parameters.get("id");
    let found = context.access().team(&id.into()).await.map_err(|error| of_store(&error))?;
    Reply::json(&TeamView::from(found.ok_or_else(|| not_found("team", id))?))
}

pub(super) async fn update(context: Context) -> Result<Reply, GatewayError> {
    let id: TeamId = context.parameters.get("id").into();
    let update: TeamUpdate = context.body::<UpdateTeam>()?.try_into()?;
    if let Some(permissions) = &update.permissions {
        let before = context.access().team(&id).await.map_err(|error| of_store(&error))?;
        context
            .check_providers(permissions, &before.map(|it| it.permissions.providers).unwrap_or_default())?;
    }
    let done = context.access().update_team(&id, update, context.actor()).await;
    Reply::json(&TeamView::from(done.map_err(of_access)?))
}
