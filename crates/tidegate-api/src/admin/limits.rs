//! `/admin/v1/end-users` and `/admin/v1/tags`: limits of what is no entity of its own.

use tidegate_gateway::GatewayError;
use tidegate_store::{EndUser, Scope};

use super::context::{Context, Reply};
use super::refusal::{invalid, not_found, of_access, of_store};
use super::requests::SetLimits;
use super::views::{List, SubjectView};

pub(super) async fn list_end_users(context: Context) -> Result<Reply, GatewayError> {
    let prefix = match context.query.get("organization_id") {
        Some(organization) => format!("user:{organization}/"),
        None => "user:".to_owned(),
    };
    list(&context, &prefix).await
}

pub(super) async fn list_tags(context: Context) -> Result<Reply, GatewayError> {
    let prefix = match context.query.get("name") {
        Some(name) => format!("tag:{name}="),
        None => "tag:".to_owned(),
    };
    list(&context, &prefix).await
}

async fn list(context: &Context, prefix: &str) -> Result<Reply, GatewayError> {
    let after = context.query.parsed::<Scope>("after")?;
    let limit = context.query.limit()?;
    let page = context.access().subjects(prefix, after.as_ref(), limit).await;
    Reply::json(&List::of(page.map_err(|error| of_store(&error))?, SubjectView::from))
}

pub(super) async fn get(context: Context) -> Result<Reply, GatewayError> {
    let scope = scope(&context)?;
    let found = context.access().subject(&scope).await.map_err(|error| of_store(&error))?;
    Reply::json(&SubjectView::from(found.ok_or_else(|| not_found("limit of", &scope.to_string()))?))
}

pub(super) async fn set(context: Context) -> Result<Reply, GatewayError> {
    let scope = scope(&context)?;
    let SetLimits { limits, disabled } = context.body()?;
    let done = context.access().set_subject(&scope, limits, disabled, context.actor()).await;
    Reply::json(&SubjectView::from(done.map_err(of_access)?))
}

pub(super) async fn remove(context: Context) -> Result<Reply, GatewayError> {
    let scope = scope(&context)?;
    context.access().remove_subject(&scope, context.actor()).await.map_err(of_access)?;
    Ok(Reply::done())
}

/// The end user or the tag that the path names.
pub(super) fn scope(context: &Context) -> Result<Scope, GatewayError> {
    let parameters = &context.parameters;
    let scope = match parameters.get("organization_id") {
        "" => Scope::tag(parameters.get("name"), parameters.get("value")),
        organization => Scope::EndUser(EndUser {
            organization_id: organization.into(),
            name: parameters.get("name").into(),
        }),
    };
    // What is written and read again must be the same: a `=` in a tag's name would end up in its value.
    let text = scope.to_string();
    match text.parse::<Scope>() {
        Ok(again) if again == scope => Ok(scope),
        _ => Err(invalid("name", "it holds a character that such a name cannot have")),
    }
}
