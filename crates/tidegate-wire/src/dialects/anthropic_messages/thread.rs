//! Conversations that Anthropic keeps between requests (`thread`): each request then holds only what is new, so that no
//! other dialect can be asked with it. Called by the gateway before it translates.

use crate::Dialect;
use crate::conversation::Conversation;

/// The error code at which Anthropic's SDKs send the whole conversation instead.
pub const THREAD_UNSUPPORTED: &str = "thread_unsupported_request";

/// Whether the conversation is, or is to be, kept by the provider.
pub fn is_threaded(conversation: &Conversation) -> bool {
    conversation.origin == Dialect::AnthropicMessages
        && conversation.rest.get("thread").is_some_and(|thread| !thread.is_null())
}
