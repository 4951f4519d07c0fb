//! `store.access()`: the handle by which all administration goes. This file holds what is read; the operations that
//! change something are in `operations`.

use std::collections::HashSet;

use super::changes::{Changed, Changes};
use super::error::AccessError;
use super::records::{Actor, KeyId, KeyRecord, Organization, OrganizationId, SubjectLimits, Team, TeamId};
use super::scope::Scope;
use super::secret::KeyHash;
use super::session::Writing;
use super::updates::{KeysQuery, Page};
use crate::credentials::MasterKey;
use crate::database::Database;
use crate::error::StoreError;
use crate::queries;

/// Rows that one statement brings where all of a table is read, a megabyte or two.
const LOAD_PAGE: u32 = 2_000;
/// Items on a page where nobody asked for a number.
const USUAL_PAGE: u32 = 50;
/// Items on a page at most.
const LARGEST_PAGE: u32 = 1_000;

/// All administration of a store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Access {
    pub(crate) database: Database,
    pub(crate) master_key: Option<MasterKey>,
}

/// What there is besides keys, as of one change.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// Ask for changes from here on.
    pub latest: u64,
    /// All organisations.
    pub organizations: Vec<Organization>,
    /// All teams.
    pub teams: Vec<Team>,
    /// All limits of end users and tags.
    pub subjects: Vec<SubjectLimits>,
}

impl Access {
    pub(crate) fn new(database: Database) -> Self {
        Self { database, master_key: None }
    }

    /// The same with a master key, without which no provider's credential can be read or kept.
    #[must_use]
    pub fn with_master_key(self, master_key: Option<MasterKey>) -> Self {
        Self { master_key, ..self }
    }

    /// Everything, for a directory in memory: keys one by one as they are read, the rest at the end. What changes
    /// meanwhile is told by [`changes_since`](Self::changes_since) the latest.
    pub async fn load_all(&self, mut each_key: impl FnMut(KeyRecord)) -> Result<Loaded, StoreError> {
        let database = &self.database;
        let latest = self.latest_change().await?;
        let organizations = queries::organizations::all(database).await?;
        let teams = queries::teams::all(database).await?;
        let mut subjects: Vec<SubjectLimits> = Vec::new();
        loop {
            let after = subjects.last().map(|last| last.scope.to_string());
            let page = queries::subjects::page(database, "", after.as_deref(), LOAD_PAGE).await?;
            if page.is_empty() {
                break;
            }
            subjects.extend(page);
        }
        let names = SharedNames::new(&organizations, &teams);
        let mut page = queries::keys::following(database, "", LOAD_PAGE).await?;
        while let Some(last) = page.last().map(|last| last.id.clone()) {
            // While one page is taken in, the next is read.
            let next = queries::keys::following(database, last.as_str(), LOAD_PAGE);
            let (next, ()) = tokio::join!(next, async {
                for mut key in page {
                    names.share(&mut key);
                    each_key(key);
                }
            });
            page = next?;
        }
        Ok(Loaded { latest, organizations, teams, subjects })
    }

    /// The number of the latest change.
    pub async fn latest_change(&self) -> Result<u64, StoreError> {
        queries::changes::latest(&self.database).await
    }

    /// What has changed since. Cheap where nothing has: one look at an index.
    pub async fn changes_since(&self, sequence: u64) -> Result<Changes, StoreError> {
        let latest = self.latest_change().await?;
        if latest == sequence {
            return Ok(Changes::These { changed: Vec::new(), latest });
        }
        // A store with fewer changes than were seen is another one: a backup was put in its place.
        if latest < sequence {
            return Ok(Changes::Everything);
        }
        let rows = queries::changes::since(&self.database, sequence).await?;
        // Asked after the rows were read: what was taken away by then may be missing from them.
        if queries::changes::earliest(&self.database).await? > sequence + 1 {
            return Ok(Changes::Everything);
        }
        let latest = rows.last().map_or(sequence, |(sequence, _, _)| *sequence);
        let mut seen = HashSet::new();
        let changed = rows.iter().filter_map(|(_, kind, id)| Changed::from_words(kind, id));
        let changed = changed.filter(|changed| seen.insert(changed.clone())).collect();
        Ok(Changes::These { changed, latest })
    }

    /// One organisation.
    pub async fn organization(&self, id: &OrganizationId) -> Result<Option<Organization>, StoreError> {
        queries::organizations::find(&self.database, id).await
    }

    /// Organisations after this one.
    pub async fn organizations(
        &self,
        after: Option<&OrganizationId>,
        limit: u32,
    ) -> Result<Page<Organization, OrganizationId>, StoreError> {
        let limit = page_size(limit);
        let items = queries::organizations::page(&self.database, after, limit + 1).await?;
        Ok(Page::of(items, limit, |last| last.id.clone()))
    }

    /// One team.
    pub async fn team(&self, id: &TeamId) -> Result<Option<Team>, StoreError> {
        queries::teams::find(&self.database, id).await
    }

    /// Teams after this one, of one organisation or of all.
    pub async fn teams(
        &self,
        organization: Option<&OrganizationId>,
        after: Option<&TeamId>,
        limit: u32,
    ) -> Result<Page<Team, TeamId>, StoreError> {
        let limit = page_size(limit);
        let items = queries::teams::page(&self.database, organization, after, limit + 1).await?;
        Ok(Page::of(items, limit, |last| last.id.clone()))
    }

    /// One key.
    pub async fn key(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        queries::keys::find(&self.database, id).await
    }

    /// The key whose secret has this hash, or had it before its last rotation. Whether it may be used (disabled, expired,
    /// grace ended) is for [`KeyRecord::standing`] to say.
    pub async fn key_by_hash(&self, hash: &KeyHash) -> Result<Option<KeyRecord>, StoreError> {
        queries::keys::find_by_hash(&self.database, hash).await
    }

    /// Keys, the newest first.
    pub async fn keys(&self, query: &KeysQuery) -> Result<Page<KeyRecord, KeyId>, StoreError> {
        let limit = page_size(query.limit);
        let items = queries::keys::list(&self.database, query, limit + 1).await?;
        Ok(Page::of(items, limit, |last| last.id.clone()))
    }

    /// How many keys there are, or were a moment ago.
    pub async fn key_count(&self) -> Result<u64, StoreError> {
        queries::keys::count_all(&self.database).await
    }

    /// Whether a caller's key exists, or has ever existed: keys are never deleted.
    pub async fn any_caller_key(&self) -> Result<bool, StoreError> {
        queries::keys::is_any_caller(&self.database).await
    }

    /// The limits of an end user or a tag.
    pub async fn subject(&self, scope: &Scope) -> Result<Option<SubjectLimits>, StoreError> {
        queries::subjects::find(&self.database, scope).await
    }

    /// The limits of end users or tags whose scope begins so (`user:`, `tag:team=`), after this one.
    pub async fn subjects(
        &self,
        prefix: &str,
        after: Option<&Scope>,
        limit: u32,
    ) -> Result<Page<SubjectLimits, Scope>, StoreError> {
        let limit = page_size(limit);
        let after = after.map(ToString::to_string);
        let items = queries::subjects::page(&self.database, prefix, after.as_deref(), limit + 1).await?;
        Ok(Page::of(items, limit, |last| last.scope.clone()))
    }

    /// Runs a change: all of it happens or, where it ends with an error, nothing.
    pub(crate) async fn write<T>(
        &self,
        actor: &Actor,
        change: impl AsyncFnOnce(&mut Writing<'_>) -> Result<T, AccessError>,
    ) -> Result<T, AccessError> {
        let mut writing = Writing::begin(&self.database, actor, self.master_key.as_ref()).await?;
        let done = change(&mut writing).await?;
        writing.commit().await?;
        Ok(done)
    }
}

fn page_size(limit: u32) -> u32 {
    if limit == 0 { USUAL_PAGE } else { limit.min(LARGEST_PAGE) }
}

/// Ids that a million keys have in common, kept once.
struct SharedNames {
    organizations: HashSet<OrganizationId>,
    teams: HashSet<TeamId>,
}

impl SharedNames {
    fn new(organizations: &[Organization], teams: &[Team]) -> Self {
        Self {
            organizations: organizations.iter().map(|it| it.id.clone()).collect(),
            teams: teams.iter().map(|it| it.id.clone()).collect(),
        }
    }

    fn share(&self, key: &mut KeyRecord) {
        if let Some(shared) = self.organizations.get(&key.organization_id) {
            key.organization_id = shared.clone();
        }
        if let Some(shared) = key.team_id.as_ref().and_then(|team| self.teams.get(team)) {
            key.team_id = Some(shared.clone());
        }
    }
}
