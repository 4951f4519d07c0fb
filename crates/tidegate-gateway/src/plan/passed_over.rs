//! Who is not asked and why not, and what the caller is told when that is everybody.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::Condition;

use super::order::Plan;
use super::requirements::Lack;
use super::steering::Unwanted;
use crate::accept::Call;
use crate::error::GatewayError;

/// So many targets are named in an error.
const NAMED_TARGETS: usize = 6;

/// When to come back where a provider has no key yet.
const KEY_MAY_BE_SET: Duration = Duration::from_secs(30);

/// A target that is not asked.
#[derive(Debug, Clone)]
pub(crate) struct PassedOver {
    /// The model behind which it stands.
    pub(crate) model: Arc<str>,
    /// `provider/upstream-model`.
    pub(crate) target: Arc<str>,
    pub(crate) why: Why,
}

/// Why a target is not asked.
#[derive(Debug, Clone)]
pub(crate) enum Why {
    /// The principal may not use it.
    Permission,
    /// Its provider takes a key, and none is set.
    NoKey,
    /// Its condition does not hold for the call.
    Condition(Condition),
    /// The caller does not want it.
    Unwanted(Unwanted),
    /// It lacks what the call needs.
    Lack(Lack),
}

impl Why {
    /// Whether it stays so when nobody else can be asked.
    pub(super) fn is_certain(&self) -> bool {
        match self {
            Self::Permission | Self::NoKey | Self::Condition(_) | Self::Unwanted(_) => true,
            Self::Lack(lack) => lack.is_certain(),
        }
    }

    /// The reason with what only operators may know.
    pub(super) fn words_for_operators(&self) -> String {
        match self {
            Self::Condition(condition) => format!("`{}` does not hold", condition.text()),
            _ => self.to_string(),
        }
    }

    /// The word for the kind of reason.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Permission => "permission",
            Self::NoKey => "no_key",
            Self::Condition(_) => "condition",
            Self::Unwanted(_) => "steering",
            Self::Lack(_) => "requirement",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permission => formatter.write_str("is not open to this key"),
            Self::NoKey => formatter.write_str("has no key at its provider yet"),
            // What the condition says is the operator's matter.
            Self::Condition(_) => formatter.write_str("is not meant for calls like this one"),
            Self::Unwanted(unwanted) => unwanted.fmt(formatter),
            Self::Lack(lack) => lack.fmt(formatter),
        }
    }
}

/// What the caller is told when a plan has no targets: what is missing where. `None` where all of it is a matter of
/// permission, about which nothing is said.
pub(crate) fn nobody_left(plan: &Plan, call: &Call) -> Option<GatewayError> {
    let told = || plan.passed_over.iter().filter(|passed| !matches!(passed.why, Why::Permission));
    let count = told().count();
    if count == 0 {
        return None;
    }
    let shown: String = call.model.chars().take(200).collect();
    let mut message = format!("No target of the model `{shown}` can answer this request: ");
    for (place, passed) in told().take(NAMED_TARGETS).enumerate() {
        let comma = if place == 0 { "" } else { "; " };
        // Writing to a string cannot fail.
        let _ = write!(message, "{comma}{} {}", passed.target, passed.why);
    }
    if count > NAMED_TARGETS {
        let _ = write!(message, "; and {} more", count - NAMED_TARGETS);
    }
    // Only the operator can set a key, and then this call may well be answered.
    if told().any(|passed| matches!(passed.why, Why::NoKey)) {
        message.push_str(
            ". Whoever runs this gateway has to set the key: in the configuration, or under /admin/v1/credentials.",
        );
        return Some(GatewayError {
            code: Some("provider_without_key".to_owned()),
            ..GatewayError::unavailable(message, KEY_MAY_BE_SET)
        });
    }
    message.push_str(". Change the request, or ask a model that can.");
    let is_length = told().all(|passed| matches!(passed.why, Why::Lack(lack) if lack.is_length()));
    let code = if is_length { "context_length_exceeded" } else { "no_capable_target" };
    Some(GatewayError { code: Some(code.to_owned()), ..GatewayError::bad_request(message) })
}
