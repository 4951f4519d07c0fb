//! Takes in many keys at once: a migration from another gateway, the benchmark's million.

use std::collections::HashMap;

use serde_json::json;

use super::keys::owner;
use crate::access::changes::Changed;
use crate::access::session::{Writing, milliseconds};
use crate::access::{
    Access, AccessError, Actor, KeyId, KeyRecord, KeySecret, NewKey, OrganizationId, validate,
};
use crate::audit::Event;
use crate::queries;

/// Keys in one transaction: enough that its own cost is none, few enough that other writers wait for a moment only.
const BATCH: usize = 5_000;

impl Access {
    /// Makes callers' keys with secrets that are there already, thousands in a transaction. The audit log gets one line for
    /// each transaction, which names the first and the last key; those between have ids between theirs. Says how many
    /// were made. An error undoes the transaction that it happens in; those before it stay.
    pub async fn import_keys(
        &self,
        keys: impl IntoIterator<Item = (NewKey, KeySecret)>,
        actor: &Actor,
    ) -> Result<usize, AccessError> {
        let mut keys = keys.into_iter();
        let mut made = 0;
        loop {
            let batch: Vec<(NewKey, KeySecret)> = keys.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return Ok(made);
            }
            made += batch.len();
            self.write(actor, async |writing| import(writing, batch).await).await?;
        }
    }
}

async fn import(writing: &mut Writing<'_>, batch: Vec<(NewKey, KeySecret)>) -> Result<(), AccessError> {
    let mut owners = HashMap::new();
    let mut records = Vec::with_capacity(batch.len());
    for (new, secret) in batch {
        let asked = (new.organization_id.clone(), new.team_id.clone());
        let organization_id = if let Some(known) = owners.get(&asked) {
            OrganizationId::clone(known)
        } else {
            let found = owner(writing, asked.0.clone(), asked.1.as_ref()).await?;
            owners.entry(asked).or_insert(found).clone()
        };
        records.push(record(writing, new, &secret, organization_id)?);
    }
    let ids = |record: &KeyRecord| record.id.clone();
    queries::keys::insert(&mut writing.transaction, &records).await?;
    let changed: Vec<Changed> = records.iter().map(|record| Changed::Key(ids(record))).collect();
    queries::changes::add_many(&mut writing.transaction, &changed).await?;
    let after = json!({
        "count": records.len(), "first": records.first().map(ids), "last": records.last().map(ids),
    });
    let event =
        Event { action: "key.import".into(), object: "keys".into(), before: None, after: Some(after) };
    Ok(writing.append(event).await?)
}

fn record(
    writing: &Writing<'_>,
    new: NewKey,
    secret: &KeySecret,
    organization_id: OrganizationId,
) -> Result<KeyRecord, AccessError> {
    if new.role.is_some() {
        return Err(AccessError::invalid("role", "administrators' keys are made one by one"));
    }
    let expires_at = new.expires_at.map(milliseconds);
    validate::expiry(expires_at, writing.now())?;
    validate::limits("limits", &new.limits)?;
    validate::permissions(None, &new.permissions)?;
    validate::tags(&new.tags)?;
    Ok(KeyRecord {
        id: KeyId::new(),
        organization_id,
        team_id: new.team_id,
        name: validate::name("name", &new.name)?,
        hint: secret.hint(),
        hash: secret.hash(),
        previous: None,
        role: None,
        limits: new.limits,
        permissions: new.permissions,
        tags: new.tags,
        disabled: false,
        expires_at,
        created_at: writing.now(),
    })
}
