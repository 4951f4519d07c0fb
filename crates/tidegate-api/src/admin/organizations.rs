//! `/admin/v1/organizations`.

use tidegate_gateway::GatewayError;
use tidegate_store::{NewOrganization, OrganizationId, OrganizationUpdate};

use super::context::{Context, Reply};
use super::refusal::{not_found, of_access, of_store};
use super::requests::{CreateOrganization, UpdateOrganization};
use super::views::{List, OrganizationView};

pub(super) async fn list(context: Context) -> Result<Reply, GatewayError> {
    let after = context.query.after("org_")?.map(OrganizationId::from);
    let limit = context.query.limit()?;
    let page = context.access().organizations(after.as_ref(), limit).await;
    Reply::json(&List::of(page.map_err(|error| of_store(&error))?, OrganizationView::from))
}

pub(super) async fn create(context: Context) -> Result<Reply, GatewayError> {
    let new: NewOrganization = context.body::<CreateOrganization>()?.into();
    context.check_providers(&new.permissions, &[])?;
    let made = context.access().create_organization(new, context.actor()).await.map_err(of_access)?;
    Reply::created(&OrganizationView::from(made))
}

pub(super) async fn get(context: Context) -> Result<Reply, GatewayError> {
    let id = context.parameters.get("id");
    let found = context.access().organization(&id.into()).await.map_err(|error| of_store(&error))?;
    Reply::json(&OrganizationView::from(found.ok_or_else(|| not_found("organization", id))?))
}

pub(super) async fn update(context: Context) -> Result<Reply, GatewayError> {
    let id: OrganizationId = context.parameters.get("id").into();
    let update: OrganizationUpdate = context.body::<UpdateOrganization>()?.into();
    if let Some(permissions) = &update.permissions {
        let before = context.access().organization(&id).await.map_err(|error| of_store(&error))?;
        context
            .check_providers(permissions, &before.map(|it| it.permissions.providers).unwrap_or_default())?;
    }
    let done = context.access().update_organization(&id, update, context.actor()).await;
    Reply::json(&OrganizationView::from(done.map_err(of_access)?))
}
