//! The table `keys`. Called by administrative operations, by authentication under `/admin/v1`, and by the gateway's
//! directory, which reads all of it at the start.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;
use tidegate_policy::{Limits, Permissions, Role};

use super::connection::{Conditions, Connection, hash, wrong};
use super::many::ManyRows;
use crate::access::{
    KeyHash, KeyId, KeyRecord, KeysQuery, OrganizationId, RoleFilter, TeamId, as_json, tags_as_json,
};
use crate::database::{Database, Kind, Query, Row, Transaction, Value, query, query_text};
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

/// How many keys there are.
pub(crate) async fn count_all(database: &Database) -> Result<u64, StoreError> {
    database.fetch_one(query("SELECT COUNT(*) AS keys FROM keys")).await?.number("keys")
}

/// The keys after this one, by id, for whoever reads all of them.
///
/// All of them come as one text: to be handed row by row and value by value takes longer than everything else together.
pub(crate) async fn following(
    database: &Database,
    after: &str,
    limit: u32,
) -> Result<Vec<KeyRecord>, StoreError> {
    let (gather, array, hex) = match database.kind() {
        Kind::Sqlite => ("json_group_array", "json_array", ["lower(hex(hash))", "lower(hex(previous_hash))"]),
        Kind::Postgres => {
            ("json_agg", "json_build_array", ["encode(hash, 'hex')", "encode(previous_hash, 'hex')"])
        }
    };
    let columns = EACH_COLUMN.map(|column| match column {
        "hash" => hex[0],
        "previous_hash" => hex[1],
        // SQLite has no booleans in JSON.
        "disabled" => "CASE WHEN disabled THEN 1 ELSE 0 END",
        column => column,
    });
    let sql = format!(
        "SELECT CAST({gather}({array}({})) AS TEXT) AS keys \
         FROM (SELECT * FROM keys WHERE id > $1 ORDER BY id LIMIT $2) AS page",
        columns.join(", ")
    );
    let row = database.fetch_one(query_text(sql).bind(after).bind(limit)).await?;
    let Some(text) = row.get::<Option<String>>("keys")? else { return Ok(Vec::new()) };
    let keys: Vec<KeyText<'_>> = from_json("keys", &text)?;
    // Of many keys few have limits that no key before them has.
    let mut limits = (String::new(), Limits::default());
    let mut keys: Vec<KeyRecord> =
        keys.into_iter().map(|key| key.into_record(&mut limits)).collect::<Result<_, _>>()?;
    // No database promises in which order it gathers.
    keys.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    Ok(keys)
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

/// Owners' keys that are not disabled. Only owners make more of them, so they are few.
pub(crate) async fn enabled_owners(on: impl Into<Connection<'_>>) -> Result<Vec<KeyRecord>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM keys WHERE role = 'owner' AND NOT disabled");
    on.into().all(query_text(sql), read).await
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

/// A key as [`following`] gets it, in the order of [`EACH_COLUMN`].
#[derive(Deserialize)]
struct KeyText<'text>(
    #[serde(borrow)] Cow<'text, str>,
    #[serde(borrow)] Cow<'text, str>,
    #[serde(borrow)] Option<Cow<'text, str>>,
    String,
    String,
    #[serde(borrow)] Cow<'text, str>,
    #[serde(borrow)] Option<Cow<'text, str>>,
    Option<i64>,
    #[serde(borrow)] Option<Cow<'text, str>>,
    #[serde(borrow)] Cow<'text, str>,
    #[serde(borrow)] Cow<'text, str>,
    #[serde(borrow)] Cow<'text, str>,
    u8,
    Option<i64>,
    i64,
);

impl KeyText<'_> {
    /// `known`: the text of some limits, and what it says.
    fn into_record(self, known: &mut (String, Limits)) -> Result<KeyRecord, StoreError> {
        let KeyText(
            id,
            organization_id,
            team_id,
            name,
            hint,
            hash,
            previous_hash,
            previous_until_ms,
            role,
            limits,
            permissions,
            tags,
            disabled,
            expires_at_ms,
            created_at_ms,
        ) = self;
        if known.0 != limits {
            *known = (limits.clone().into_owned(), from_json("limits", &limits)?);
        }
        let previous = match (previous_hash, previous_until_ms) {
            (Some(hash), Some(until)) => {
                Some((from_hex("previous_hash", &hash)?, moment("previous_until_ms", until)?))
            }
            _ => None,
        };
        Ok(KeyRecord {
            id: KeyId::from(&*id),
            organization_id: OrganizationId::from(&*organization_id),
            team_id: team_id.as_deref().map(TeamId::from),
            name,
            hint,
            hash: from_hex("hash", &hash)?,
            previous,
            role: role.as_deref().map(role_of).transpose()?,
            limits: known.1.clone(),
            permissions: if permissions == "{}" {
                Permissions::default()
            } else {
                from_json("permissions", &permissions)?
            },
            tags: if tags == "{}" { Vec::new() } else { tags_of(from_json("tags", &tags)?)? },
            disabled: disabled != 0,
            expires_at: expires_at_ms
                .map(|milliseconds| moment("expires_at_ms", milliseconds))
                .transpose()?,
            created_at: moment("created_at_ms", created_at_ms)?,
        })
    }
}

fn from_json<'text, T: Deserialize<'text>>(column: &str, text: &'text str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| wrong(column, error.to_string()))
}

fn from_hex(column: &str, text: &str) -> Result<KeyHash, StoreError> {
    let mut hash = [0; 32];
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != hash.len() || !rest.is_empty() {
        return Err(wrong(column, "a hash has 32 bytes"));
    }
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        let value = digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low);
        *byte = value.ok_or_else(|| wrong(column, "this is not hexadecimal"))?;
    }
    Ok(KeyHash(hash))
}

fn moment(column: &str, milliseconds: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(milliseconds).map_err(|error| wrong(column, error.to_string()))
}

fn tags(row: &Row) -> Result<Vec<(String, String)>, StoreError> {
    tags_of(row.json("tags")?)
}

fn tags_of(tags: serde_json::Map<String, serde_json::Value>) -> Result<Vec<(String, String)>, StoreError> {
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
    row.get::<Option<String>>("role")?.as_deref().map(role_of).transpose()
}

fn role_of(word: &str) -> Result<Role, StoreError> {
    Role::from_word(word).ok_or_else(|| wrong("role", format!("`{word}` is no role")))
}
