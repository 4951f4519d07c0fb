//! The table `teams`.

use super::connection::{Conditions, Connection, wrong};
use crate::access::{OrganizationId, Team, TeamId, as_json};
use crate::database::{Row, query, query_text};
use crate::error::StoreError;

const COLUMNS: &str =
    "id, organization_id, name, limits, permissions, margin_millionths, disabled, created_at_ms";

pub(crate) async fn all(on: impl Into<Connection<'_>>) -> Result<Vec<Team>, StoreError> {
    on.into().all(query_text(format!("SELECT {COLUMNS} FROM teams ORDER BY id")), read).await
}

pub(crate) async fn page(
    on: impl Into<Connection<'_>>,
    organization: Option<&OrganizationId>,
    after: Option<&TeamId>,
    limit: u32,
) -> Result<Vec<Team>, StoreError> {
    let sql = Conditions::of(format!("SELECT {COLUMNS} FROM teams WHERE TRUE"))
        .and("organization_id =", organization.map(OrganizationId::as_str))
        .and("id >", after.map(TeamId::as_str));
    on.into().all(sql.order("id", limit), read).await
}

pub(crate) async fn find(on: impl Into<Connection<'_>>, id: &TeamId) -> Result<Option<Team>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM teams WHERE id = $1");
    on.into().first(query_text(sql).bind(id.as_str()), read).await
}

pub(crate) async fn id_of_name(
    on: impl Into<Connection<'_>>,
    organization: &OrganizationId,
    name: &str,
) -> Result<Option<String>, StoreError> {
    let query = query("SELECT id FROM teams WHERE organization_id = $1 AND name = $2");
    on.into().first(query.bind(organization.as_str()).bind(name), |row| row.get("id")).await
}

pub(crate) async fn put(on: impl Into<Connection<'_>>, it: &Team) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO teams ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO UPDATE SET \
         name = excluded.name, limits = excluded.limits, permissions = excluded.permissions, \
         margin_millionths = excluded.margin_millionths, disabled = excluded.disabled"
    );
    let query = query_text(sql)
        .bind(it.id.as_str())
        .bind(it.organization_id.as_str())
        .bind(&it.name)
        .bind(as_json(&it.limits))
        .bind(as_json(&it.permissions))
        .bind(it.margin_millionths)
        .bind(it.disabled)
        .bind(it.created_at);
    on.into().execute(query).await.map(drop)
}

fn read(row: &Row) -> Result<Team, StoreError> {
    let margin = row.get::<i64>("margin_millionths")?;
    Ok(Team {
        id: TeamId::from(&*row.get::<String>("id")?),
        organization_id: OrganizationId::from(&*row.get::<String>("organization_id")?),
        name: row.get("name")?,
        limits: row.json("limits")?,
        permissions: row.json("permissions")?,
        margin_millionths: i32::try_from(margin).map_err(|error| wrong("margin_millionths", error))?,
        disabled: row.get("disabled")?,
        created_at: row.time("created_at_ms")?,
    })
}
