//! Keeps the directory as the store has it: whole at the start, then change by change. The store's changes may come from
//! this process, from another replica or from the command line. Run by the binary beside the server.

use std::sync::Arc;

use tidegate_store::{Access, Changed, Changes, StoreError};

use super::Directory;

/// After so many failed questions the log says it again.
const TELL_EVERY: u32 = 60;

/// Follows a store's changes.
#[derive(Debug)]
pub struct Follower {
    access: Access,
    directory: Arc<Directory>,
    seen: u64,
}

impl Follower {
    /// Reads everybody there is.
    pub async fn load(access: Access) -> Result<Self, StoreError> {
        let directory = Arc::new(Directory::default());
        let seen = fill(&directory, &access).await?;
        Ok(Self { access, directory, seen })
    }

    /// The directory that is kept.
    pub fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.directory)
    }

    /// Takes over what has changed by now. Says whether providers' credentials are among it.
    pub async fn refresh(&mut self) -> Result<bool, StoreError> {
        match self.access.changes_since(self.seen).await? {
            Changes::These { changed, latest } => {
                let mut credentials = false;
                for change in changed {
                    credentials |= matches!(change, Changed::Credential(_));
                    self.take(change).await?;
                }
                self.seen = latest;
                Ok(credentials)
            }
            Changes::Everything => {
                self.seen = fill(&self.directory, &self.access).await?;
                Ok(true)
            }
        }
    }

    /// Follows for ever. While the store is away, everybody who was known stays known.
    pub async fn run(mut self, on_credentials: impl AsyncFn()) {
        let mut failures: u32 = 0;
        self.directory.following.looked(0, false);
        loop {
            let up_to = self.directory.following.next_look(failures > 0).await;
            match self.refresh().await {
                Ok(credentials) => {
                    if failures > 0 {
                        tracing::info!("changes of keys and limits are followed again");
                    }
                    failures = 0;
                    if credentials {
                        on_credentials().await;
                    }
                }
                Err(error) => {
                    if failures.is_multiple_of(TELL_EVERY) {
                        tracing::warn!(%error, "changes of keys and limits cannot be read; those that are known stay in force");
                    }
                    failures = failures.saturating_add(1);
                }
            }
            self.directory.following.looked(up_to, failures > 0);
        }
    }

    async fn take(&self, change: Changed) -> Result<(), StoreError> {
        let (access, directory) = (&self.access, &self.directory);
        match change {
            Changed::Organization(id) => {
                if let Some(organization) = access.organization(&id).await? {
                    directory.put_organization(organization);
                }
            }
            Changed::Team(id) => {
                if let Some(team) = access.team(&id).await? {
                    directory.put_team(team);
                }
            }
            Changed::Key(id) => {
                if let Some(key) = access.key(&id).await? {
                    directory.put_key(key);
                }
            }
            Changed::Subject(scope) => match access.subject(&scope).await? {
                Some(subject) => directory.put_subject(subject),
                None => directory.remove_subject(&scope),
            },
            Changed::Credential(_) => {}
        }
        Ok(())
    }
}

/// Takes over everything that the store has. What it has no more stays: nothing is ever deleted but limits of end users
/// and tags, whose removal is among the changes.
async fn fill(directory: &Directory, access: &Access) -> Result<u64, StoreError> {
    directory.expect_keys(access.key_count().await?);
    let loaded = access.load_all(|key| directory.put_key(key)).await?;
    for organization in loaded.organizations {
        directory.put_organization(organization);
    }
    for team in loaded.teams {
        directory.put_team(team);
    }
    for subject in loaded.subjects {
        directory.put_subject(subject);
    }
    Ok(loaded.latest)
}
