//! Who calls where keys, limits and budgets are on: an organisation, teams and keys, made by the store's own operations
//! before a gateway starts on them. Used by `contender`; `load` shows the keys.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use tidegate_store::{
    Actor, KeySecret, NewKey, NewTeam, OrganizationId, OrganizationUpdate, Store, StoreOptions,
};

/// Teams that the keys belong to, in turn.
const TEAMS: usize = 10;

/// Limits of every kind on every level, none of which any load here reaches.
const LIMITS: &str = r#"{
    "requests": [{"max": 1000000000, "per": "minute"}],
    "tokens": [{"max": 1000000000000, "per": "minute"}],
    "in_flight": 1000000,
    "budgets": [{"usd": 1000000, "per": "month", "kind": "hard"}]
}"#;

/// The length of a key's secret.
pub(crate) const SECRET_BYTES: usize = 52;

/// A data directory with keys in it, and their secrets.
pub(crate) struct Accounts {
    directory: tempfile::TempDir,
    secrets: Arc<Secrets>,
}

/// Secrets of keys, one after the other.
#[derive(Debug)]
pub(crate) struct Secrets(Vec<u8>);

impl Accounts {
    /// Makes so many keys.
    pub(crate) async fn prepare(count: usize) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let store = Store::open(StoreOptions::embedded(data(directory.path()))).await?;
        let access = store.access();
        let actor = Actor::command_line("bench");
        let limits: tidegate_policy::Limits = serde_json::from_str(LIMITS)?;
        let organization = OrganizationId::default_organization();
        let update = OrganizationUpdate { limits: Some(limits.clone()), ..OrganizationUpdate::default() };
        access.update_organization(&organization, update, &actor).await?;
        let mut teams = Vec::new();
        for number in 0..TEAMS {
            let new =
                NewTeam { name: format!("team {number}"), limits: limits.clone(), ..NewTeam::default() };
            teams.push(access.create_team(new, &actor).await?.id);
        }
        let mut secrets = Vec::with_capacity(count * SECRET_BYTES);
        let mut failed = None;
        let keys = teams.iter().cycle().take(count).zip(0_usize..).map_while(|(team, number)| {
            let secret = KeySecret::generate().inspect_err(|error| failed = Some(*error)).ok()?;
            secrets.extend_from_slice(secret.expose().as_bytes());
            let new = NewKey {
                name: format!("key {number}"),
                team_id: Some(team.clone()),
                limits: limits.clone(),
                ..NewKey::default()
            };
            Some((new, secret))
        });
        access.import_keys(keys, &actor).await.context("making keys")?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        store.close().await;
        Ok(Self { directory, secrets: Arc::new(Secrets(secrets)) })
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        data(self.directory.path())
    }

    /// What their bearers show.
    pub(crate) fn secrets(&self) -> Arc<Secrets> {
        Arc::clone(&self.secrets)
    }
}

impl Secrets {
    /// One of them, chosen by a random number.
    pub(crate) fn choose(&self, random: u64) -> &[u8] {
        let count = (self.0.len() / SECRET_BYTES).max(1);
        let place = usize::try_from(random % count as u64).unwrap_or(0);
        self.0.get(place * SECRET_BYTES..(place + 1) * SECRET_BYTES).unwrap_or_default()
    }
}

fn data(directory: &Path) -> PathBuf {
    directory.join("data")
}
