//! Making and changing teams.

use crate::access::changes::Changed;
use crate::access::{
    Access, AccessError, Actor, NewTeam, OrganizationId, Team, TeamId, TeamUpdate, describe,
    session::Writing, validate,
};
use crate::queries;

impl Access {
    /// Makes a team.
    pub async fn create_team(&self, new: NewTeam, actor: &Actor) -> Result<Team, AccessError> {
        let name = validate::name("name", &new.name)?;
        self.write(actor, async |writing| {
            let organization_id = new.organization_id.unwrap_or_else(OrganizationId::default_organization);
            if queries::organizations::find(&mut writing.transaction, &organization_id).await?.is_none() {
                return Err(AccessError::invalid(
                    "organization_id",
                    format!("there is no organization {organization_id}"),
                ));
            }
            let team = Team {
                id: TeamId::new(),
                organization_id,
                name,
                limits: new.limits,
                permissions: new.permissions,
                margin_millionths: new.margin_millionths,
                disabled: false,
                created_at: writing.now(),
            };
            put(writing, None, &team).await?;
            Ok(team)
        })
        .await
    }

    /// Changes a team.
    pub async fn update_team(
        &self,
        id: &TeamId,
        update: TeamUpdate,
        actor: &Actor,
    ) -> Result<Team, AccessError> {
        self.write(actor, async |writing| {
            let before = queries::teams::find(&mut writing.transaction, id)
                .await?
                .ok_or_else(|| AccessError::not_found("team", id.as_str()))?;
            let mut after = before.clone();
            if let Some(name) = update.name {
                after.name = validate::name("name", &name)?;
            }
            after.limits = update.limits.unwrap_or(after.limits);
            after.permissions = update.permissions.unwrap_or(after.permissions);
            after.margin_millionths = update.margin_millionths.unwrap_or(after.margin_millionths);
            after.disabled = update.disabled.unwrap_or(after.disabled);
            if after != before {
                put(writing, Some(&before), &after).await?;
            }
            Ok(after)
        })
        .await
    }
}

async fn put(writing: &mut Writing<'_>, before: Option<&Team>, after: &Team) -> Result<(), AccessError> {
    validate::limits("limits", &after.limits)?;
    validate::permissions(before.map(|it| &it.permissions), &after.permissions)?;
    validate::margin(after.margin_millionths)?;
    let taken =
        queries::teams::id_of_name(&mut writing.transaction, &after.organization_id, &after.name).await?;
    if taken.is_some_and(|other| other != after.id.as_str()) {
        let message = format!("the organization has a team `{}` already; choose another name", after.name);
        return Err(AccessError::conflict("name", message));
    }
    queries::teams::put(&mut writing.transaction, after).await?;
    let action = if before.is_some() { "team.update" } else { "team.create" };
    let before = before.map(describe::team);
    let changed = Changed::Team(after.id.clone());
    Ok(writing.record(&changed, action, before, Some(describe::team(after))).await?)
}
