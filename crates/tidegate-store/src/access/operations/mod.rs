//! The operations that change something, one file for what is changed. Each is one transaction.

mod import;
mod keys;
mod organizations;
mod subjects;
mod teams;

use super::error::AccessError;
use super::session::Writing;
use crate::queries;

/// Whether there was an owner's key that works, before a change that could leave none.
struct Owners {
    were_there: bool,
}

impl Owners {
    async fn before(writing: &mut Writing<'_>) -> Result<Self, AccessError> {
        Ok(Self { were_there: count(writing).await? > 0 })
    }

    /// Refuses the change where nobody could take it back over HTTP.
    async fn are_left(self, writing: &mut Writing<'_>) -> Result<(), AccessError> {
        if self.were_there && count(writing).await? == 0 {
            let message = "the last owner's key would no longer work; make another one first \
                           (`tidegate keys create --role owner`)";
            return Err(AccessError::conflict("disabled", message));
        }
        Ok(())
    }
}

async fn count(writing: &mut Writing<'_>) -> Result<u64, AccessError> {
    let now = writing.now();
    Ok(queries::keys::working_owners(&mut writing.transaction, now).await?)
}
