//! The table `organizations`.

use super::connection::{Conditions, Connection};
use crate::access::{Organization, OrganizationId, as_json};
use crate::database::{Row, query, query_text};
use crate::error::StoreError;

const COLUMNS: &str = "id, name, limits, end_user_limits, permissions, disabled, created_at_ms";

pub(crate) async fn all(on: impl Into<Connection<'_>>) -> Result<Vec<Organization>, StoreError> {
    on.into().all(query_text(format!("SELECT {COLUMNS} FROM organizations ORDER BY id")), read).await
}

pub(crate) async fn page(
    on: impl Into<Connection<'_>>,
    after: Option<&OrganizationId>,
    limit: u32,
) -> Result<Vec<Organization>, StoreError> {
    let sql = Conditions::of(format!("SELECT {COLUMNS} FROM organizations WHERE TRUE"))
        .and("id >", after.map(OrganizationId::as_str));
    on.into().all(sql.order("id", limit), read).await
}

pub(crate) async fn find(
    on: impl Into<Connection<'_>>,
    id: &OrganizationId,
) -> Result<Option<Organization>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM organizations WHERE id = $1");
    on.into().first(query_text(sql).bind(id.as_str()), read).await
}

pub(crate) async fn id_of_name(
    on: impl Into<Connection<'_>>,
    name: &str,
) -> Result<Option<String>, StoreError> {
    let query = query("SELECT id FROM organizations WHERE name = $1").bind(name);
    on.into().first(query, |row| row.get("id")).await
}

pub(crate) async fn put(on: impl Into<Connection<'_>>, it: &Organization) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO organizations ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO UPDATE SET \
         name = excluded.name, limits = excluded.limits, end_user_limits = excluded.end_user_limits, \
         permissions = excluded.permissions, disabled = excluded.disabled"
    );
    let query = query_text(sql)
        .bind(it.id.as_str())
        .bind(&it.name)
        .bind(as_json(&it.limits))
        .bind(as_json(&it.end_user_limits))
        .bind(as_json(&it.permissions))
        .bind(it.disabled)
        .bind(it.created_at);
    on.into().execute(query).await.map(drop)
}

fn read(row: &Row) -> Result<Organization, StoreError> {
    Ok(Organization {
        id: OrganizationId::from(&*row.get::<String>("id")?),
        name: row.get("name")?,
        limits: row.json("limits")?,
        end_user_limits: row.json("end_user_limits")?,
        permissions: row.json("permissions")?,
        disabled: row.get("disabled")?,
        created_at: row.time("created_at_ms")?,
    })
}
