//! Making and changing organisations.

use crate::access::changes::Changed;
use crate::access::{
    Access, AccessError, Actor, NewOrganization, Organization, OrganizationId, OrganizationUpdate, describe,
    session::Writing, validate,
};
use crate::queries;

impl Access {
    /// Makes an organisation.
    pub async fn create_organization(
        &self,
        new: NewOrganization,
        actor: &Actor,
    ) -> Result<Organization, AccessError> {
        let name = validate::name("name", &new.name)?;
        self.write(actor, async |writing| {
            let organization = Organization {
                id: OrganizationId::new(),
                name,
                limits: new.limits,
                end_user_limits: new.end_user_limits,
                permissions: new.permissions,
                disabled: false,
                created_at: writing.now(),
            };
            put(writing, None, &organization).await?;
            Ok(organization)
        })
        .await
    }

    /// Changes an organisation.
    pub async fn update_organization(
        &self,
        id: &OrganizationId,
        update: OrganizationUpdate,
        actor: &Actor,
    ) -> Result<Organization, AccessError> {
        self.write(actor, async |writing| {
            let before = queries::organizations::find(&mut writing.transaction, id)
                .await?
                .ok_or_else(|| AccessError::not_found("organization", id.as_str()))?;
            let mut after = before.clone();
            if let Some(name) = update.name {
                after.name = validate::name("name", &name)?;
            }
            after.limits = update.limits.unwrap_or(after.limits);
            after.end_user_limits = update.end_user_limits.unwrap_or(after.end_user_limits);
            after.permissions = update.permissions.unwrap_or(after.permissions);
            after.disabled = update.disabled.unwrap_or(after.disabled);
            if after != before {
                put(writing, Some(&before), &after).await?;
            }
            Ok(after)
        })
        .await
    }
}

async fn put(
    writing: &mut Writing<'_>,
    before: Option<&Organization>,
    after: &Organization,
) -> Result<(), AccessError> {
    validate::limits("limits", &after.limits)?;
    validate::limits("end_user_limits", &after.end_user_limits)?;
    validate::permissions(before.map(|it| &it.permissions), &after.permissions)?;
    let taken = queries::organizations::id_of_name(&mut writing.transaction, &after.name).await?;
    if taken.is_some_and(|other| other != after.id.as_str()) {
        let message = format!("there is an organization `{}` already; choose another name", after.name);
        return Err(AccessError::conflict("name", message));
    }
    queries::organizations::put(&mut writing.transaction, after).await?;
    let action = if before.is_some() { "organization.update" } else { "organization.create" };
    let before = before.map(describe::organization);
    let changed = Changed::Organization(after.id.clone());
    Ok(writing.record(&changed, action, before, Some(describe::organization(after))).await?)
}
