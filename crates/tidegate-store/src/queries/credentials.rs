//! The table `credentials`: providers' credentials, encrypted.

use super::connection::Connection;
use crate::access::CredentialId;
use crate::credentials::Credential;
use crate::database::{Row, query, query_text};
use crate::error::StoreError;

const COLUMNS: &str = "id, provider, label, hint, master_key, created_at_ms, rotated_at_ms, sealed";

/// A credential with what opens to its secret.
pub(crate) type Sealed = (Credential, Vec<u8>);

pub(crate) async fn all(on: impl Into<Connection<'_>>) -> Result<Vec<Sealed>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM credentials ORDER BY provider, label");
    on.into().all(query_text(sql), read).await
}

pub(crate) async fn find(
    on: impl Into<Connection<'_>>,
    id: &CredentialId,
) -> Result<Option<Sealed>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM credentials WHERE id = $1");
    on.into().first(query_text(sql).bind(id.as_str()), read).await
}

pub(crate) async fn is_label_taken(
    on: impl Into<Connection<'_>>,
    provider: &str,
    label: &str,
) -> Result<bool, StoreError> {
    let query = query("SELECT id FROM credentials WHERE provider = $1 AND label = $2");
    Ok(on.into().first(query.bind(provider).bind(label), |_| Ok(())).await?.is_some())
}

pub(crate) async fn put(
    on: impl Into<Connection<'_>>,
    it: &Credential,
    sealed: &[u8],
) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO credentials ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO UPDATE SET \
         hint = excluded.hint, master_key = excluded.master_key, rotated_at_ms = excluded.rotated_at_ms, \
         sealed = excluded.sealed"
    );
    let query = query_text(sql)
        .bind(it.id.as_str())
        .bind(&it.provider)
        .bind(&it.label)
        .bind(&it.hint)
        .bind(&it.master_key)
        .bind(it.created_at)
        .bind(it.rotated_at)
        .bind(sealed);
    on.into().execute(query).await.map(drop)
}

pub(crate) async fn remove(on: impl Into<Connection<'_>>, id: &CredentialId) -> Result<(), StoreError> {
    on.into().execute(query("DELETE FROM credentials WHERE id = $1").bind(id.as_str())).await.map(drop)
}

fn read(row: &Row) -> Result<Sealed, StoreError> {
    let credential = Credential {
        id: CredentialId::from(&*row.get::<String>("id")?),
        provider: row.get("provider")?,
        label: row.get("label")?,
        hint: row.get("hint")?,
        master_key: row.get("master_key")?,
        created_at: row.time("created_at_ms")?,
        rotated_at: row.time("rotated_at_ms")?,
    };
    Ok((credential, row.get("sealed")?))
}
