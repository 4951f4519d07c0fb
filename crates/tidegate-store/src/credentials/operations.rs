//! Keeping providers' credentials: every secret goes in and out encrypted.

use serde_json::{Value, json};

use super::{Credential, CredentialError, CredentialId, CredentialSecret, MasterKey};
use crate::access::{Access, AccessError, Actor, Changed, checked_name};
use crate::error::StoreError;
use crate::queries;

impl Access {
    /// Keeps a provider's credential.
    pub async fn create_credential(
        &self,
        provider: &str,
        label: &str,
        secret: &CredentialSecret,
        actor: &Actor,
    ) -> Result<Credential, AccessError> {
        let master_key = self.needed_master_key()?;
        let provider = checked_name("provider", provider)?;
        let label = checked_name("label", label)?;
        let secret = &secret.checked()?;
        self.write(actor, async |writing| {
            if queries::credentials::is_label_taken(&mut writing.transaction, &provider, &label).await? {
                let message = format!(
                    "{provider} has a credential `{label}` already; rotate it, or choose another label"
                );
                return Err(AccessError::conflict("label", message));
            }
            let id = CredentialId::new();
            let sealed = master_key.encrypt(&provider, &id, secret)?;
            let credential = Credential {
                id,
                provider,
                label,
                hint: secret.hint(),
                master_key: master_key.fingerprint().to_owned(),
                created_at: writing.now(),
                rotated_at: writing.now(),
            };
            queries::credentials::put(&mut writing.transaction, &credential, &sealed).await?;
            let changed = Changed::Credential(credential.id.clone());
            writing.record(&changed, "credential.create", None, Some(describe(&credential))).await?;
            Ok(credential)
        })
        .await
    }

    /// Replaces the secret of a provider's credential.
    pub async fn rotate_credential(
        &self,
        id: &CredentialId,
        secret: &CredentialSecret,
        actor: &Actor,
    ) -> Result<Credential, AccessError> {
        let master_key = self.needed_master_key()?;
        let secret = &secret.checked()?;
        self.write(actor, async |writing| {
            let (before, _) = queries::credentials::find(&mut writing.transaction, id)
                .await?
                .ok_or_else(|| AccessError::not_found("credential", id.as_str()))?;
            let sealed = master_key.encrypt(&before.provider, id, secret)?;
            let after = Credential {
                hint: secret.hint(),
                master_key: master_key.fingerprint().to_owned(),
                rotated_at: writing.now(),
                ..before.clone()
            };
            queries::credentials::put(&mut writing.transaction, &after, &sealed).await?;
            let changed = Changed::Credential(id.clone());
            let (was, became) = (describe(&before), describe(&after));
            writing.record(&changed, "credential.rotate", Some(was), Some(became)).await?;
            Ok(after)
        })
        .await
    }

    /// Removes a provider's credential.
    pub async fn remove_credential(&self, id: &CredentialId, actor: &Actor) -> Result<(), AccessError> {
        self.write(actor, async |writing| {
            let (before, _) = queries::credentials::find(&mut writing.transaction, id)
                .await?
                .ok_or_else(|| AccessError::not_found("credential", id.as_str()))?;
            queries::credentials::remove(&mut writing.transaction, id).await?;
            let changed = Changed::Credential(id.clone());
            Ok(writing.record(&changed, "credential.remove", Some(describe(&before)), None).await?)
        })
        .await
    }

    /// All credentials, without their secrets, by provider and label.
    pub async fn credentials(&self) -> Result<Vec<Credential>, StoreError> {
        let all = queries::credentials::all(&self.database).await?;
        Ok(all.into_iter().map(|(credential, _)| credential).collect())
    }

    /// All credentials with their secrets, for the gateway alone. One that does not open comes with the reason, so that it
    /// does not take the others with it.
    pub async fn open_credentials(
        &self,
    ) -> Result<Vec<(Credential, Result<CredentialSecret, CredentialError>)>, StoreError> {
        let all = queries::credentials::all(&self.database).await?;
        Ok(all
            .into_iter()
            .map(|(credential, sealed)| {
                let secret = match &self.master_key {
                    Some(master_key) => open(master_key, &credential, &sealed),
                    None => Err(CredentialError::NoMasterKey),
                };
                (credential, secret)
            })
            .collect())
    }

    /// Encrypts all credentials with another master key and seals the audit log with it. From then on that one must be
    /// configured.
    pub async fn rotate_master_key(&self, new: &MasterKey, actor: &Actor) -> Result<u64, AccessError> {
        let old = self.needed_master_key()?;
        let renewed = self.clone().with_master_key(Some(new.clone()));
        renewed
            .write(actor, async |writing| {
                let mut count = 0;
                for (before, sealed) in queries::credentials::all(&mut writing.transaction).await? {
                    let secret = open(old, &before, &sealed)?;
                    let sealed = new.encrypt(&before.provider, &before.id, &secret)?;
                    let after = Credential { master_key: new.fingerprint().to_owned(), ..before };
                    queries::credentials::put(&mut writing.transaction, &after, &sealed).await?;
                    queries::changes::add(&mut writing.transaction, &Changed::Credential(after.id)).await?;
                    count += 1;
                }
                let state =
                    |key: &MasterKey| Some(json!({"master_key": key.fingerprint(), "credentials": count}));
                writing
                    .append(crate::audit::Event {
                        action: "master_key.rotate".to_owned(),
                        object: "credentials".to_owned(),
                        before: state(old),
                        after: state(new),
                    })
                    .await?;
                Ok(count)
            })
            .await
    }

    fn needed_master_key(&self) -> Result<&MasterKey, CredentialError> {
        self.master_key.as_ref().ok_or(CredentialError::NoMasterKey)
    }
}

fn open(
    master_key: &MasterKey,
    credential: &Credential,
    sealed: &[u8],
) -> Result<CredentialSecret, CredentialError> {
    let (id, provider) = (credential.id.clone(), credential.provider.clone());
    if credential.master_key != master_key.fingerprint() {
        return Err(CredentialError::OtherMasterKey {
            id,
            provider,
            found: credential.master_key.clone(),
            configured: master_key.fingerprint().to_owned(),
        });
    }
    let opened = master_key.decrypt(&provider, &id, sealed);
    opened.ok_or(CredentialError::Altered { id, provider })
}

fn describe(it: &Credential) -> Value {
    json!({
        "id": it.id, "provider": it.provider, "label": it.label, "hint": it.hint, "master_key": it.master_key,
        "rotated_at": it.rotated_at,
    })
}
