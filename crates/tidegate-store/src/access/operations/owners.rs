//! That nobody locks every owner out. Called where a key is changed: owners are refused for what their own keys say, never
//! for their team or organisation, so no other change can do it.

use jiff::Timestamp;
use tidegate_policy::Role;

use crate::access::session::Writing;
use crate::access::{AccessError, KeyRecord};
use crate::queries;

/// Refuses a change of an owner's key after which none would work. What comes over the network may besides not bring
/// nearer when the last one ends, nor leave none that works from where it comes from. The command line may: whoever has it
/// has the database, and can make another owner's key at any time.
pub(super) async fn remain(
    writing: &mut Writing<'_>,
    before: &KeyRecord,
    after: &KeyRecord,
) -> Result<(), AccessError> {
    if after.role != Some(Role::Owner) {
        return Ok(());
    }
    let mut others = queries::keys::enabled_owners(&mut writing.transaction).await?;
    others.retain(|key| key.id != after.id);
    let now = writing.now();
    let until = |changed: &KeyRecord, counts: &dyn Fn(&KeyRecord) -> bool| {
        let owners = others.iter().chain([changed]);
        let ends = owners.filter(|key| !key.disabled && counts(key));
        ends.map(|key| key.expires_at.unwrap_or(Timestamp::MAX)).filter(|end| *end > now).max()
    };
    let (was, is) = (until(before, &|_| true), until(after, &|_| true));
    if was.is_some() && is.is_none() {
        let message = "it is the last owner's key that works; make another one first \
                       (`tidegate keys create --role owner`)";
        return Err(AccessError::conflict("disabled", message));
    }
    let actor = writing.actor();
    if !actor.is_remote() {
        return Ok(());
    }
    if is < was {
        let field = if after.disabled { "disabled" } else { "expires_at" };
        let message = "the last owner's key that works would end earlier than now; make another one that lasts first, \
                       or do this on the command line (`tidegate keys update`)";
        return Err(AccessError::conflict(field, message));
    }
    let works_from_here = |key: &KeyRecord| key.permissions.allows_caller_at(actor.address);
    if until(after, &works_from_here) < until(before, &works_from_here) {
        let field = if after.disabled { "disabled" } else { "permissions.addresses" };
        let message = "no owner's key would work any more, or not for as long, from the address that this comes from; make \
                       another one first, or do this on the command line (`tidegate keys update`)";
        return Err(AccessError::conflict(field, message));
    }
    Ok(())
}
