//! Who there is, in memory: every key, team and organisation, so that no call waits for the database. Filled from the
//! store at the start and kept fresh by whoever follows its changes; asked by `admit`.

mod follow;
mod following;
mod index;
mod level;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock};

use jiff::Timestamp;
use tidegate_policy::{Limits, Permissions, Role};
use tidegate_store::{
    KeyHash, KeyId, KeyRecord, Level, Organization, OrganizationId, Scope, SubjectLimits, Team, TeamId, Text,
};

pub use follow::Follower;
use following::Following;
use index::{KeyIndex, read, write};
pub use level::{CurrentState, LevelState};

/// Different limits of keys that are looked through for each key that is put: a few plans, as a rule.
const RECENT_LIMITS: usize = 16;

/// Everybody who may call.
#[derive(Debug, Default)]
pub struct Directory {
    keys: KeyIndex,
    organizations: RwLock<HashMap<OrganizationId, Arc<ActiveOrganization>>>,
    teams: RwLock<HashMap<TeamId, Arc<ActiveTeam>>>,
    /// The end users and tags that have limits.
    subjects: RwLock<HashMap<Scope, Arc<ActiveSubject>>>,
    tag_subjects: AtomicUsize,
    end_user_subjects: AtomicUsize,
    has_caller_keys: AtomicBool,
    /// Limits that keys were given lately: of a million keys most have the same as others, and need none of their own.
    recent_limits: Mutex<VecDeque<Arc<Limits>>>,
    following: Following,
}

/// A key as calls see it. Replaced as a whole when it changes.
#[derive(Debug)]
pub struct ActiveKey {
    /// Its id.
    pub id: KeyId,
    /// What it is for.
    pub name: Box<str>,
    /// The hash of its secret.
    pub hash: KeyHash,
    /// The hash before the last rotation, and until when it works.
    pub previous: Option<Box<(KeyHash, Timestamp)>>,
    /// An administrator's role.
    pub role: Option<Role>,
    /// What limits it.
    pub level: Level,
    /// What it may do; `None` is everything.
    pub permissions: Option<Box<Permissions>>,
    /// Tags that all its calls carry.
    pub tags: Box<[(String, String)]>,
    /// Whether it is refused.
    pub is_disabled: bool,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// The team it belongs to.
    pub team: Option<Arc<ActiveTeam>>,
    /// The organisation it belongs to.
    pub organization: Arc<ActiveOrganization>,
}

/// A team as calls see it; its state is swapped under the keys that hold it.
#[derive(Debug)]
pub struct ActiveTeam {
    /// Its id, for the ledger.
    pub id: TeamId,
    /// The organisation it belongs to.
    pub organization: Arc<ActiveOrganization>,
    /// What can change.
    pub state: CurrentState,
}

/// An organisation as calls see it.
#[derive(Debug)]
pub struct ActiveOrganization {
    /// Its id, for the ledger.
    pub id: OrganizationId,
    /// What can change.
    pub state: CurrentState,
}

/// The limits of an end user or a tag.
#[derive(Debug)]
pub struct ActiveSubject {
    /// What limits it.
    pub limits: Arc<Limits>,
    /// Whether its calls are refused.
    pub is_disabled: bool,
}

impl Directory {
    /// The key with this secret, whatever its state.
    pub fn find(&self, hash: &KeyHash) -> Option<Arc<ActiveKey>> {
        self.keys.find(hash)
    }

    /// The key with this secret. Where it is not known, the store is first asked for what has changed: the key may have
    /// been made a moment ago, at another replica. Who is known waits for nothing.
    pub(crate) async fn find_or_hear_of(&self, hash: &KeyHash) -> Option<Arc<ActiveKey>> {
        if let Some(known) = self.find(hash) {
            return Some(known);
        }
        if self.following.unknown_key().await { self.find(hash) } else { None }
    }

    /// Waits, within limits, until what this process has changed in the store is in force here.
    pub async fn take_over_changes(&self) {
        self.following.own_change().await;
    }

    /// The key with this id.
    pub fn key(&self, id: &KeyId) -> Option<Arc<ActiveKey>> {
        self.keys.with_id(id)
    }

    /// The team with this id, or the only one of this name in the organisation.
    pub fn team(&self, organization: &OrganizationId, id_or_name: &str) -> Option<Arc<ActiveTeam>> {
        let teams = read(&self.teams);
        if let Some(team) = teams.get(&TeamId::from(id_or_name)) {
            return (team.organization.id == *organization).then(|| Arc::clone(team));
        }
        teams
            .values()
            .find(|team| team.organization.id == *organization && team.state.load().name == id_or_name)
            .map(Arc::clone)
    }

    /// The same. Where it is not known, the store is first asked for what has changed.
    pub(crate) async fn team_or_hear_of(
        &self,
        organization: &OrganizationId,
        id_or_name: &str,
    ) -> Option<Arc<ActiveTeam>> {
        if let Some(known) = self.team(organization, id_or_name) {
            return Some(known);
        }
        if self.following.unknown_key().await { self.team(organization, id_or_name) } else { None }
    }

    /// The organisation with this id.
    pub fn organization(&self, id: &OrganizationId) -> Option<Arc<ActiveOrganization>> {
        read(&self.organizations).get(id).map(Arc::clone)
    }

    /// The organisation with this id or this name.
    pub fn organization_named(&self, id_or_name: &str) -> Option<Arc<ActiveOrganization>> {
        let organizations = read(&self.organizations);
        organizations
            .get(&OrganizationId::from(id_or_name))
            .map(Arc::clone)
            .or_else(|| organizations.values().find(|it| it.state.load().name == id_or_name).map(Arc::clone))
    }

    /// The limits of an end user or a tag.
    pub fn subject(&self, scope: &Scope) -> Option<Arc<ActiveSubject>> {
        read(&self.subjects).get(scope).map(Arc::clone)
    }

    /// Whether any tag has limits: else nobody needs to look.
    pub fn has_tag_limits(&self) -> bool {
        self.tag_subjects.load(Ordering::Relaxed) > 0
    }

    /// Whether any end user has limits of its own.
    pub fn has_end_user_limits(&self) -> bool {
        self.end_user_subjects.load(Ordering::Relaxed) > 0
    }

    /// Whether a key for calls exists or has ever existed: from then on callers need one.
    pub fn has_caller_keys(&self) -> bool {
        self.has_caller_keys.load(Ordering::Relaxed)
    }

    /// An organisation is new or has changed.
    pub fn put_organization(&self, organization: Organization) {
        let scope = Scope::Organization(organization.id.clone());
        let state = LevelState {
            name: organization.name,
            level: Level::new(scope, shared(organization.limits)),
            end_user_limits: (!organization.end_user_limits.is_empty())
                .then(|| Arc::new(organization.end_user_limits)),
            permissions: some(organization.permissions),
            margin_millionths: 0,
            is_disabled: organization.disabled,
        };
        self.organization_or_new(&organization.id).state.store(state);
    }

    /// A team is new or has changed.
    pub fn put_team(&self, team: Team) {
        let organization = self.organization_or_new(&team.organization_id);
        let state = LevelState {
            name: team.name,
            level: Level::new(Scope::Team(team.id.clone()), shared(team.limits)),
            end_user_limits: None,
            permissions: some(team.permissions),
            margin_millionths: team.margin_millionths,
            is_disabled: team.disabled,
        };
        self.team_or_new(&team.id, &organization).state.store(state);
    }

    /// So many keys are about to be put.
    pub fn expect_keys(&self, count: u64) {
        self.keys.expect(usize::try_from(count).unwrap_or(usize::MAX));
    }

    /// A key is new or has changed.
    pub fn put_key(&self, record: KeyRecord) {
        let organization = self.organization_or_new(&record.organization_id);
        let team = record.team_id.as_ref().map(|id| self.team_or_new(id, &organization));
        if record.role.is_none() {
            self.has_caller_keys.store(true, Ordering::Relaxed);
        }
        self.keys.put(&Arc::new(ActiveKey {
            level: Level::new(Scope::Key(record.id.clone()), self.limits_of_key(record.limits)),
            id: record.id,
            name: record.name.into(),
            hash: record.hash,
            previous: record.previous.map(Box::new),
            role: record.role,
            permissions: some(record.permissions).map(Box::new),
            tags: record.tags.into(),
            is_disabled: record.disabled,
            expires_at: record.expires_at,
            team,
            organization,
        }));
    }

    /// The limits of an end user or a tag are new or have changed.
    pub fn put_subject(&self, subject: SubjectLimits) {
        let active = ActiveSubject { limits: Arc::new(subject.limits), is_disabled: subject.disabled };
        let counter = self.subjects_like(&subject.scope);
        if write(&self.subjects).insert(subject.scope, Arc::new(active)).is_none() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// An end user or a tag has no limits any more.
    pub fn remove_subject(&self, scope: &Scope) {
        if write(&self.subjects).remove(scope).is_some() {
            self.subjects_like(scope).fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The limits, one value for keys that have the same.
    fn limits_of_key(&self, limits: Limits) -> Arc<Limits> {
        let mut recent = self.recent_limits.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = recent.iter().find(|known| ***known == limits) {
            return Arc::clone(known);
        }
        let new = shared(limits);
        recent.truncate(RECENT_LIMITS - 1);
        recent.push_front(Arc::clone(&new));
        new
    }

    fn subjects_like(&self, scope: &Scope) -> &AtomicUsize {
        if matches!(scope, Scope::Tag(..)) { &self.tag_subjects } else { &self.end_user_subjects }
    }

    fn organization_or_new(&self, id: &OrganizationId) -> Arc<ActiveOrganization> {
        if let Some(known) = self.organization(id) {
            return known;
        }
        // A change of a key may come before that of its organisation; what limits it is put in a moment later.
        let new = || ActiveOrganization {
            id: id.clone(),
            state: CurrentState::not_known_yet(Scope::Organization(id.clone())),
        };
        Arc::clone(write(&self.organizations).entry(id.clone()).or_insert_with(|| Arc::new(new())))
    }

    fn team_or_new(&self, id: &TeamId, organization: &Arc<ActiveOrganization>) -> Arc<ActiveTeam> {
        if let Some(known) = read(&self.teams).get(id) {
            return Arc::clone(known);
        }
        let new = || ActiveTeam {
            id: id.clone(),
            organization: Arc::clone(organization),
            state: CurrentState::not_known_yet(Scope::Team(id.clone())),
        };
        Arc::clone(write(&self.teams).entry(id.clone()).or_insert_with(|| Arc::new(new())))
    }
}

impl ActiveKey {
    /// Its id, as the ledger keeps it.
    pub fn ledger_id(&self) -> Text {
        Text::from(self.id.shared())
    }
}

/// Limits to be shared by calls; one value for all that limit nothing, which most do.
fn shared(limits: Limits) -> Arc<Limits> {
    static NONE: LazyLock<Arc<Limits>> = LazyLock::new(Arc::default);
    if limits.is_empty() { Arc::clone(&NONE) } else { Arc::new(limits) }
}

/// Nothing where there is no restriction, so that calls have nothing to check.
fn some(permissions: Permissions) -> Option<Permissions> {
    (!permissions.is_empty()).then_some(permissions)
}

#[cfg(test)]
mod tests {
    use tidegate_store::KeySecret;

    use super::*;

    fn record(secret: &KeySecret) -> KeyRecord {
        KeyRecord {
            id: KeyId::from("key_1"),
            organization_id: OrganizationId::default_organization(),
            team_id: Some(TeamId::from("team_1")),
            name: "one".into(),
            hint: secret.hint(),
            hash: secret.hash(),
            previous: None,
            role: None,
            limits: Limits::default(),
            permissions: Permissions::default(),
            tags: Vec::new(),
            disabled: false,
            expires_at: None,
            created_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_rotated_key_is_found_under_both_secrets_and_in_the_end_under_the_new_one() {
        let directory = Directory::default();
        assert!(!directory.has_caller_keys());
        let [first, second, third] = [(); 3].map(|()| KeySecret::generate().unwrap());
        directory.put_key(record(&first));
        assert!(directory.has_caller_keys() && directory.find(&first.hash()).is_some());
        let rotated = KeyRecord { previous: Some((first.hash(), Timestamp::MAX)), ..record(&second) };
        directory.put_key(rotated);
        assert!(directory.find(&first.hash()).is_some() && directory.find(&second.hash()).is_some());
        directory.put_key(record(&third));
        assert!(directory.find(&first.hash()).is_none() && directory.find(&second.hash()).is_none());
        assert_eq!(directory.find(&third.hash()).unwrap().id, KeyId::from("key_1"));
        assert_eq!(directory.key(&KeyId::from("key_1")).unwrap().hash, third.hash());
    }

    #[test]
    fn a_change_of_a_team_reaches_the_keys_that_are_there() {
        let directory = Directory::default();
        let secret = KeySecret::generate().unwrap();
        directory.put_key(record(&secret));
        let key = directory.find(&secret.hash()).unwrap();
        let blue = |disabled| Team {
            id: TeamId::from("team_1"),
            organization_id: OrganizationId::default_organization(),
            name: "Blue".into(),
            limits: Limits::default(),
            permissions: Permissions::default(),
            margin_millionths: 0,
            disabled,
            created_at: Timestamp::UNIX_EPOCH,
        };
        let state = &key.team.as_ref().unwrap().state;
        for disabled in [false, true, false, true] {
            directory.put_team(blue(disabled));
            assert_eq!(state.load().is_disabled, disabled);
            assert_eq!(state.prohibition().is_some(), disabled, "only who forbids something is asked");
        }
        let organization = OrganizationId::default_organization();
        assert!(directory.team(&organization, "Blue").is_some());
        assert!(directory.team(&organization, "team_1").is_some());
        assert!(directory.team(&OrganizationId::from("org_2"), "team_1").is_none());
    }
}
