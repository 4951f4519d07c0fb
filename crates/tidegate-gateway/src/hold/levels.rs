//! Whose limits apply to a call. Used wherever room is asked for.

use std::sync::Arc;

use arc_swap::Guard;
use smallvec::SmallVec;
use tidegate_store::{EndUser, Level, Scope};

use crate::accept::Call;
use crate::directory::LevelState;
use crate::gateway::Gateway;

/// Organisation, team, key, end user and tags of a call, as far as they can have limits. Lent by the directory as they are at
/// this moment: nothing is counted up or down for a call.
pub(super) struct Levels<'call> {
    organization: Option<Guard<Arc<LevelState>>>,
    team: Option<Guard<Arc<LevelState>>>,
    key: Option<&'call Level>,
    named_by_caller: SmallVec<[Level; 1]>,
}

/// A call seldom has more.
pub(super) type All<'levels> = SmallVec<[&'levels Level; 4]>;

/// Those of a call; none where nobody in particular is calling.
pub(super) fn levels_of<'call>(gateway: &Gateway, call: &'call Call) -> Levels<'call> {
    let principal = &call.principal;
    let Some(owner) = principal.organization() else { return Levels::none() };
    let organization = owner.state.load();
    let mut named_by_caller = SmallVec::new();
    let directory = gateway.directory();
    if let Some(user) = &call.end_user
        && (directory.has_end_user_limits() || organization.end_user_limits.is_some())
    {
        let user = EndUser { organization_id: owner.id.clone(), name: user.as_str().into() };
        let scope = Scope::EndUser(user);
        let own = directory.subject(&scope).map(|subject| Arc::clone(&subject.limits));
        if let Some(limits) = own.or_else(|| organization.end_user_limits.clone()) {
            named_by_caller.push(Level::new(scope, limits));
        }
    }
    if directory.has_tag_limits() {
        for (name, value) in call.wishes.tags.iter() {
            let scope = Scope::tag(name, value);
            if let Some(subject) = directory.subject(&scope) {
                named_by_caller.push(Level::new(scope, Arc::clone(&subject.limits)));
            }
        }
    }
    Levels {
        organization: Some(organization),
        team: principal.team().map(|team| team.state.load()),
        key: principal.key().map(|key| &key.level),
        named_by_caller,
    }
}

impl Levels<'_> {
    fn none() -> Self {
        Self { organization: None, team: None, key: None, named_by_caller: SmallVec::new() }
    }

    /// All of them, from the organisation down.
    pub(super) fn all(&self) -> All<'_> {
        let wide = [&self.organization, &self.team].into_iter().flatten().map(|state| &state.level);
        wide.chain(self.key).chain(&self.named_by_caller).collect()
    }
}
