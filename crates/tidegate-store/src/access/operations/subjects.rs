//! Setting and removing the limits of end users and tags.

use tidegate_policy::Limits;

use crate::access::changes::Changed;
use crate::access::{Access, AccessError, Actor, Scope, SubjectLimits, describe, validate};
use crate::queries;

impl Access {
    /// Sets the limits of an end user or a tag, whatever they were.
    pub async fn set_subject(
        &self,
        scope: &Scope,
        limits: Limits,
        disabled: bool,
        actor: &Actor,
    ) -> Result<SubjectLimits, AccessError> {
        validate::subject(scope)?;
        validate::limits("limits", &limits)?;
        self.write(actor, async |writing| {
            if let Scope::EndUser(user) = scope
                && queries::organizations::find(&mut writing.transaction, &user.organization_id)
                    .await?
                    .is_none()
            {
                let message = format!("there is no organization {}", user.organization_id);
                return Err(AccessError::invalid("organization_id", message));
            }
            let before = queries::subjects::find(&mut writing.transaction, scope).await?;
            let after = SubjectLimits { scope: scope.clone(), limits, disabled };
            if before.as_ref() != Some(&after) {
                let now = writing.now();
                queries::subjects::put(&mut writing.transaction, &after, now).await?;
                let before = before.as_ref().map(describe::subject);
                let after = Some(describe::subject(&after));
                writing.record(&Changed::Subject(scope.clone()), "limits.set", before, after).await?;
            }
            Ok(after)
        })
        .await
    }

    /// Removes the limits of an end user or a tag.
    pub async fn remove_subject(&self, scope: &Scope, actor: &Actor) -> Result<(), AccessError> {
        self.write(actor, async |writing| {
            let before = queries::subjects::find(&mut writing.transaction, scope)
                .await?
                .ok_or_else(|| AccessError::not_found("limit of", scope.to_string()))?;
            queries::subjects::remove(&mut writing.transaction, scope).await?;
            let before = Some(describe::subject(&before));
            Ok(writing.record(&Changed::Subject(scope.clone()), "limits.remove", before, None).await?)
        })
        .await
    }
}
