//! The table `keys`. Called by administrative operations, by authentication under `/admin/v1`, and by the gateway's
//! directory, which reads all of it at the start.

use jiff::Timestamp;
use tidegate_policy::Role;

use super::connection::{Conditions, Connection, count, hash, wrong};
use super::many::ManyRows;
use crate::access::{
    KeyHash, KeyId, KeyRecord, KeysQuery, OrganizationId, RoleFilter, TeamId, as_json, tags_as_json,
};
use crate::database::{Query, Row, Transaction, Value, query, query_text};
use crate::error::StoreError;

const COLUMNS: &str = "id, organization_id, team_id, name, hint, hash, previous_hash, previous_until_ms, role, limits, \
    permissions, tags, disabled, expires_at_ms, created_at_ms";

/// The same for a statement of many rows, in the order in which [`values`] gives them.
const EACH_COLUMN: [&str; 15] = [
    "id",
    "organization_id",
    "team_id",
    "name",
    "hint",
    "hash",
    "previous_hash",
    "previous_until_ms",
    "role",
    "limits",
    "permissions",
    "tags",
    "disabled",
    "expires_at_ms",
    "created_at_ms",
];

pub(crate) async fn find(on: impl Into<Connection<'_>>, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM keys WHERE id = $1");
    on.into().first(query_text(sql).bind(id.as_str()), read).await
}

/// The key with this hash, or with this hash before its last rotation.
pub(crate) async fn find_by_hash(
    on: impl Into<Connection<'_>>,
    hash: &KeyHash,
) -> Result<Option<KeyRecord>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM keys WHERE hash = $1 OR previous_hash = $1");
    on.into().first(query_text(sql).bind(&hash.0[..]), read).await
}

/// The keys after this one, by id.
pub(crate) async fn following(
    on: impl Into<Connection<'_>>,
    after: &str,
    limit: u32,
) -> Result<Vec<KeyRecord>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM keys WHERE id > $1 ORDER BY id LIMIT $2");
    on.into().all(query_text(sql).bind(after).bind(limit), read).await
}

/// The newest first.
pub(crate) async fn list(
    on: impl Into<Connection<'_>>,
    query: &KeysQuery,
    limit: u32,
) -> Result<Vec<KeyRecord>, StoreError> {
    // Escaped, so that a `%` in what is looked for is one.
    let name = query.name.as_ref().map(|name| {
        let name = name.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        format!("%{name}%")
    });
    let (role, words) = match query.role {
        RoleFilter::Any => (None, ""),
        RoleFilter::Callers => (None, " AND role IS NULL"),
        RoleFilter::Administrators => (None, " AND role IS NOT NULL"),
        RoleFilter::Only(role) => (Some(role.as_str()), ""),
    };
    let escape = if name.is_some() { " ESCAPE '\\'" } else { "" };
    let sql = Conditions::of(format!("SELECT {COLUMNS} FROM keys WHERE TRUE"))
        .and("LOWER(name) LIKE", name)
        .then(escape)
        .and("id <", query.after.as_ref().map(KeyId::as_str))
        .and("organization_id =", query.organization_id.as_ref().map(OrganizationId::as_str))
        .and("team_id =", query.team_id.as_ref().map(TeamId::as_str))
        .and("disabled =", query.disabled)
        .and("role =", role)
        .then(words);
    on.into().all(sql.order("id DESC", limit), read).await
}

/// Whether an owner's key exists, or has ever existed: keys are never deleted.
pub(crate) async fn is_any_owner(on: impl Into<Connection<'_>>) -> Result<bool, StoreError> {
    let query = query("SELECT id FROM keys WHERE role = 'owner' LIMIT 1");
    Ok(on.into().first(query, |_| Ok(())).await?.is_some())
}

pub(crate) async fn is_any_caller(on: impl Into<Connection<'_>>) -> Result<bool, StoreError> {
    let query = query("SELECT id FROM keys WHERE role IS NULL LIMIT 1");
    Ok(on.into().first(query, |_| Ok(())).await?.is_some())
}

/// Owners' keys that work at this moment: neither they nor those whom they belong to are disabled.
pub(crate) async fn working_owners(on: impl Into<Connection<'_>>, now: Timestamp) -> Result<u64, StoreError> {
    let query = query(
        "SELECT COUNT(*) AS owners FROM keys WHERE role = 'owner' AND NOT disabled \
         AND (expires_at_ms IS NULL OR expires_at_ms > $1) \
         AND NOT EXISTS (SELECT 1 FROM organizations WHERE id = keys.organization_id AND organizations.disabled) \
         AND NOT EXISTS (SELECT 1 FROM teams WHERE id = keys.team_id AND teams.disabled)",
    );
    Ok(on.into().first(query.bind(now), |row| count(row, "owners")).await?.unwrap_or(0))
}

pub(crate) async fn put(on: impl Into<Connection<'_>>, it: &KeyRecord) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO keys ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
         ON CONFLICT (id) DO UPDATE SET team_id = excluded.team_id, name = excluded.name, hint = excluded.hint, \
         hash = excluded.hash, previous_hash = excluded.previous_hash, \
         previous_until_ms = excluded.previous_until_ms, limits = excluded.limits, \
         permissions = excluded.permissions, tags = excluded.tags, disabled = excluded.disabled, \
         expires_at_ms = excluded.expires_at_ms"
    );
    let query = values(it).into_iter().fold(query_text(sql), Query::bind);
    on.into().execute(query).await.map(drop)
}

/// Inserts keys that are all new.
pub(crate) async fn insert(on: &mut Transaction, keys: &[KeyRecord]) -> Result<(), StoreError> {
    static INSERTS: ManyRows = ManyRows::new("keys", &EACH_COLUMN, |_| String::new());
    INSERTS.run(on, keys, |all, key| all.extend(values(key))).await.map(drop)
}

/// In the order of [`COLUMNS`].
fn values(it: &KeyRecord) -> [Value; 15] {
    [
        it.id.as_str().into(),
        it.organization_id.as_str().into(),
        it.team_id.as_ref().map(TeamId::as_str).into(),
        (&it.name).into(),
        (&it.hint).into(),
        it.hash.0[..].into(),
        it.previous.map(|(hash, _)| hash.0.to_vec()).into(),
        it.previous.map(|(_, until)| until).into(),
        it.role.map(Role::as_str).into(),
        as_json(&it.limits).into(),
        as_json(&it.permissions).into(),
        tags_as_json(&it.tags).into(),
        it.disabled.into(),
        it.expires_at.into(),
        it.created_at.into(),
    ]
}

fn read(row: &Row) -> Result<KeyRecord, StoreError> {
    Ok(KeyRecord {
        id: KeyId::from(&*row.get::<String>("id")?),
        organization_id: OrganizationId::from(&*row.get::<String>("organization_id")?),
        team_id: row.get::<Option<String>>("team_id")?.as_deref().map(TeamId::from),
        name: row.get("name")?,
        hint: row.get("hint")?,
        hash: KeyHash(hash(row, "hash")?),
        previous: previous(row)?,
        role: role(row)?,
        limits: row.json("limits")?,
        permissions: row.json("permissions")?,
        tags: tags(row)?,
        disabled: row.get("disabled")?,
        expires_at: row.optional_time("expires_at_ms")?,
        created_at: row.time("created_at_ms")?,
    })
}

fn tags(row: &Row) -> Result<Vec<(String, String)>, StoreError> {
    let tags: serde_json::Map<String, serde_json::Value> = row.json("tags")?;
    let text = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => Ok(text),
        _ => Err(wrong("tags", "the value of a tag is text")),
    };
    tags.into_iter().map(|(name, value)| Ok((name, text(value)?))).collect()
}

fn previous(row: &Row) -> Result<Option<(KeyHash, Timestamp)>, StoreError> {
    let Some(until) = row.optional_time("previous_until_ms")? else { return Ok(None) };
    Ok(Some((KeyHash(hash(row, "previous_hash")?), until)))
}

/// A role that a newer version has made is an error: taken for none, its key would call models.
fn role(row: &Row) -> Result<Option<Role>, StoreError> {
    let Some(word) = row.get::<Option<String>>("role")? else { return Ok(None) };
    Role::from_word(&word).map(Some).ok_or_else(|| wrong("role", format!("`{word}` is no role")))
}
