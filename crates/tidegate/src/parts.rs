//! What a running gateway is made of, opened as the settings say: the store, the ledger, who may call, what holds calls
//! against limits. Used by `serve` and `demo`, and by the commands that work on the store beside them.

use std::sync::Arc;

use tidegate_config::{Environment, Secret, Settings};
use tidegate_gateway::{Follower, Gateway, StoredCredential};
use tidegate_store::{Access, AuditWriter, KeySecret, LedgerWriter, Limiter, Store};

use crate::failure::{Failure, chain};
use crate::{limits, stores};

/// Everything that lasts or is shared.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) access: Access,
    pub(crate) ledger: LedgerWriter,
    pub(crate) follower: Follower,
    pub(crate) limiter: Limiter,
    pub(crate) audit: AuditWriter,
    pub(crate) credentials: Vec<StoredCredential>,
    /// The first administrator's key, where the store is new.
    pub(crate) first_key: Option<KeySecret>,
}

impl Parts {
    /// Opens everything.
    pub(crate) async fn open(settings: &Settings, environment: &Environment) -> Result<Self, Failure> {
        let store = Store::open(stores::options(settings)?).await?;
        let access = stores::access(&store, environment)?;
        let first_key = access.bootstrap().await?.map(|(_, secret)| secret);
        let ledger = stores::ledger(&store, settings).await?;
        let follower = Follower::load(access.clone()).await?;
        let limiter = limits::limiter(settings, &store, &ledger).await?;
        let credentials = credentials(&access).await?;
        let audit = AuditWriter::start(access.clone());
        Ok(Self { store, access, ledger, follower, limiter, audit, credentials, first_key })
    }
}

/// The providers' credentials that the store keeps. One that cannot be opened is told in the log and left out.
async fn credentials(access: &Access) -> Result<Vec<StoredCredential>, Failure> {
    let opened = access.open_credentials().await?;
    let mut usable = Vec::with_capacity(opened.len());
    for (credential, secret) in opened {
        match secret {
            Ok(secret) => usable.push(StoredCredential {
                provider: credential.provider,
                label: credential.label,
                secret: Secret::new(secret.expose()),
            }),
            Err(error) => tracing::error!(
                provider = credential.provider,
                label = credential.label,
                error = chain(&error),
                "a provider's credential in the store cannot be used"
            ),
        }
    }
    Ok(usable)
}

/// Keeps the directory and the credentials as the store has them, for ever.
pub(crate) async fn follow(follower: Follower, access: Access, gateway: Arc<Gateway>) {
    follower
        .run(async || {
            let new = match credentials(&access).await {
                Ok(new) => new,
                Err(error) => {
                    tracing::error!(?error, "changed credentials of providers could not be read");
                    return;
                }
            };
            let count = new.len();
            match gateway.put_credentials(new) {
                Ok(()) => tracing::info!(count, "changed credentials of providers are in force"),
                Err(error) => {
                    tracing::error!(error = chain(&error), "changed credentials of providers cannot be used");
                }
            }
        })
        .await;
}
