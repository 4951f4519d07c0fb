//! The table `subjects`: limits of end users and tags.

use jiff::Timestamp;

use super::connection::{Conditions, Connection, wrong};
use crate::access::{Scope, SubjectLimits, as_json};
use crate::database::{Row, query, query_text};
use crate::error::StoreError;

const COLUMNS: &str = "scope, limits, disabled, created_at_ms";

/// Those whose scope begins so, in order.
pub(crate) async fn page(
    on: impl Into<Connection<'_>>,
    prefix: &str,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<SubjectLimits>, StoreError> {
    // Up to the highest character there is: the index serves, and `_` and `%` mean themselves.
    let end = format!("{prefix}{}", char::MAX);
    let sql = Conditions::of(format!("SELECT {COLUMNS} FROM subjects WHERE TRUE"))
        .and("scope >=", Some(prefix))
        .and("scope <", Some(end))
        .and("scope >", after);
    on.into().all(sql.order("scope", limit), read).await
}

pub(crate) async fn find(
    on: impl Into<Connection<'_>>,
    scope: &Scope,
) -> Result<Option<SubjectLimits>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM subjects WHERE scope = $1");
    on.into().first(query_text(sql).bind(scope.to_string()), read).await
}

pub(crate) async fn put(
    on: impl Into<Connection<'_>>,
    it: &SubjectLimits,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO subjects ({COLUMNS}) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (scope) DO UPDATE SET limits = excluded.limits, disabled = excluded.disabled"
    );
    let query =
        query_text(sql).bind(it.scope.to_string()).bind(as_json(&it.limits)).bind(it.disabled).bind(now);
    on.into().execute(query).await.map(drop)
}

pub(crate) async fn remove(on: impl Into<Connection<'_>>, scope: &Scope) -> Result<(), StoreError> {
    let query = query("DELETE FROM subjects WHERE scope = $1").bind(scope.to_string());
    on.into().execute(query).await.map(drop)
}

fn read(row: &Row) -> Result<SubjectLimits, StoreError> {
    let scope =
        row.get::<String>("scope")?.parse().map_err(|error: crate::ScopeError| wrong("scope", error))?;
    Ok(SubjectLimits { scope, limits: row.json("limits")?, disabled: row.get("disabled")? })
}
