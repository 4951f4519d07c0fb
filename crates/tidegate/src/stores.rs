//! From the configuration to the store: where it is, and how its ledger behaves. Used by the commands that open it.

use tidegate_config::{Environment, Settings, Store as Configured};
use tidegate_store::{
    Access, DatabaseUrl, LedgerOptions, LedgerWriter, MasterKey, RetentionOptions, Store, StoreOptions,
};

use crate::failure::{Failure, chain};

/// Where the store is.
pub(crate) fn options(settings: &Settings) -> Result<StoreOptions, Failure> {
    let database = match &settings.store {
        Configured::Embedded => None,
        Configured::Postgres(url) => Some(url.expose().parse::<DatabaseUrl>().map_err(|error| {
            Failure::wrong(
                "`store:` is not the address of a PostgreSQL database",
                format!("The reason is that {error}."),
            )
        })?),
    };
    Ok(StoreOptions { data: settings.data.clone(), database })
}

/// The administration of a store, with the master key where one is given.
pub(crate) fn access(store: &Store, environment: &Environment) -> Result<Access, Failure> {
    let key = environment.master_key().map_err(|error| {
        Failure::wrong(chain(&error), "make the file readable for the user that Tidegate runs as")
    })?;
    let key = key.map(|text| MasterKey::parse(text.expose())).transpose().map_err(|error| {
        Failure::wrong(
            "TIDEGATE_MASTER_KEY, or the file that TIDEGATE_MASTER_KEY_FILE names, holds no master key",
            error.to_string(),
        )
    })?;
    Ok(store.access().with_master_key(key))
}

/// The ledger that the configuration asks for.
pub(crate) async fn ledger(store: &Store, settings: &Settings) -> Result<LedgerWriter, Failure> {
    if !settings.ledger.enabled {
        tracing::warn!("no ledger is kept: calls leave no trace, and no report can show them");
        return Ok(LedgerWriter::disabled());
    }
    let options = LedgerOptions { journal_bytes: settings.ledger.journal_bytes, ..LedgerOptions::default() };
    Ok(store.ledger(options).await?)
}

/// How long calls are kept.
pub(crate) fn retention(settings: &Settings) -> RetentionOptions {
    let retention = &settings.ledger.retention;
    RetentionOptions { age: retention.age, size_bytes: retention.size_bytes }
}
