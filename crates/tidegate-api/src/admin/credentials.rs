//! `/admin/v1/credentials`: what goes in is never given out again.

use tidegate_gateway::GatewayError;
use tidegate_store::{CredentialId, CredentialSecret};

use super::context::{Context, Reply};
use super::refusal::{of_access, of_store};
use super::requests::{CreateCredential, RotateCredential};
use super::views::{CredentialView, List};

/// The label of a provider's only credential.
const USUAL_LABEL: &str = "main";

pub(super) async fn list(context: Context) -> Result<Reply, GatewayError> {
    let all = context.access().credentials().await.map_err(|error| of_store(&error))?;
    Reply::json(&List { data: all.into_iter().map(CredentialView::from).collect(), next: None })
}

pub(super) async fn create(context: Context) -> Result<Reply, GatewayError> {
    let CreateCredential { provider, label, secret } = context.body()?;
    context.check_provider("provider", &provider)?;
    let label = label.as_deref().unwrap_or(USUAL_LABEL);
    let secret = CredentialSecret::new(secret);
    let made = context.access().create_credential(&provider, label, &secret, context.actor()).await;
    Reply::created(&CredentialView::from(made.map_err(of_access)?))
}

pub(super) async fn rotate(context: Context) -> Result<Reply, GatewayError> {
    let id = CredentialId::from(context.parameters.get("id"));
    let secret = CredentialSecret::new(context.body::<RotateCredential>()?.secret);
    let done = context.access().rotate_credential(&id, &secret, context.actor()).await;
    Reply::json(&CredentialView::from(done.map_err(of_access)?))
}

pub(super) async fn remove(context: Context) -> Result<Reply, GatewayError> {
    let id = CredentialId::from(context.parameters.get("id"));
    context.access().remove_credential(&id, context.actor()).await.map_err(of_access)?;
    Ok(Reply::done())
}
