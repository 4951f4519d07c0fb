//! Why somebody is turned away, in words for the caller, a label for the metrics and a line for the audit log.

use std::time::Duration;

use tidegate_store::RefusedAct;
use tidegate_wire::ErrorClass;

use super::Principal;
use crate::error::{GatewayError, Source};
use crate::gateway::Gateway;
use crate::jwt::JwtRefused;

/// When to come back while an issuer's keys cannot be fetched: they are asked for again after ten seconds.
const KEYS_UNAVAILABLE_RETRY: Duration = Duration::from_secs(10);

/// Why a call is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// No key was shown.
    NoKey,
    /// The key that was shown does not exist.
    WrongKey,
    /// The secret that was shown has been replaced.
    RotatedKey,
    /// The key has expired.
    ExpiredKey,
    /// The key, its team or its organisation is disabled.
    DisabledKey,
    /// An administrator's key, which is not for calls.
    AdministratorsKey,
    /// The token that was shown is not valid.
    WrongToken,
    /// Not from this address.
    Address,
    /// Not this operation.
    Endpoint,
    /// Not this model, or none of its providers.
    Model,
    /// Not with this feature.
    Feature,
    /// Dearer than a call may be.
    Price,
    /// Not for this end user.
    EndUser,
    /// Not with this tag.
    Tag,
    /// Too many requests or tokens, or too many calls in flight.
    Limit,
    /// The budget is used up.
    Budget,
    /// Nobody knows whether there is room.
    Unavailable,
}

impl RefusalReason {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::NoKey,
        Self::WrongKey,
        Self::RotatedKey,
        Self::ExpiredKey,
        Self::DisabledKey,
        Self::AdministratorsKey,
        Self::WrongToken,
        Self::Address,
        Self::Endpoint,
        Self::Model,
        Self::Feature,
        Self::Price,
        Self::EndUser,
        Self::Tag,
        Self::Limit,
        Self::Budget,
        Self::Unavailable,
    ];

    /// The word for the metrics, and the code of the error.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoKey => "missing_api_key",
            Self::WrongKey => "invalid_api_key",
            Self::RotatedKey => "rotated_api_key",
            Self::ExpiredKey => "expired_api_key",
            Self::DisabledKey => "disabled_api_key",
            Self::AdministratorsKey => "administrators_key",
            Self::WrongToken => "invalid_token",
            Self::Address => "address_not_allowed",
            Self::Endpoint => "endpoint_not_allowed",
            Self::Model => "model_not_allowed",
            Self::Feature => "feature_not_allowed",
            Self::Price => "call_too_expensive",
            Self::EndUser => "end_user_not_allowed",
            Self::Tag => "tag_not_allowed",
            Self::Limit => "rate_limit_exceeded",
            Self::Budget => "budget_exceeded",
            Self::Unavailable => "limits_unavailable",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::NoKey => {
                "No API key was sent. Send one of Tidegate's keys (`tg-…`) where your SDK puts its API key, for example \
                 as `Authorization: Bearer tg-…`."
            }
            Self::WrongKey => {
                "This API key is not known here. Tidegate's keys begin with `tg-`; provider keys do not work here."
            }
            Self::RotatedKey => "This API key has been replaced by a new one. Ask for the new one.",
            Self::ExpiredKey => "This API key has expired. Ask for a new one.",
            Self::DisabledKey => "This API key is disabled, or its team or organisation is.",
            Self::AdministratorsKey => {
                "This is an administrator's key, which works under /admin/v1 only. Make a key for calls with \
                 `tidegate keys create` or POST /admin/v1/keys."
            }
            _ => "This call is not allowed.",
        }
    }
}

/// Refuses somebody who is not known, or not any more.
pub(super) fn refuse(gateway: &Gateway, reason: RefusalReason) -> GatewayError {
    gateway.series.not_admitted(reason);
    refused(reason)
}

/// What such a one is told.
pub(super) fn refused(reason: RefusalReason) -> GatewayError {
    let (status, class) = match reason {
        RefusalReason::AdministratorsKey => (403, ErrorClass::Permission),
        _ => (401, ErrorClass::Authentication),
    };
    GatewayError {
        status,
        class,
        source: Source::Caller,
        code: Some(reason.as_str().to_owned()),
        ..GatewayError::bad_request(reason.words())
    }
}

/// Refuses a token.
pub(super) fn refuse_token(gateway: &Gateway, refused: &JwtRefused) -> GatewayError {
    gateway.series.not_admitted(RefusalReason::WrongToken);
    let message = format!("This token is not accepted: {refused}.");
    if refused.is_unavailable() {
        return GatewayError::unavailable(message, KEYS_UNAVAILABLE_RETRY);
    }
    GatewayError {
        status: 401,
        class: ErrorClass::Authentication,
        code: Some(RefusalReason::WrongToken.as_str().to_owned()),
        ..GatewayError::bad_request(message)
    }
}

/// Why somebody who is known may not do this.
#[derive(Debug, Clone)]
pub(crate) struct Hindrance {
    pub(crate) reason: RefusalReason,
    pub(crate) message: String,
}

impl Hindrance {
    /// What it is told.
    pub(crate) fn to_error(&self) -> GatewayError {
        GatewayError {
            status: 403,
            class: ErrorClass::Permission,
            code: Some(self.reason.as_str().to_owned()),
            ..GatewayError::bad_request(self.message.clone())
        }
    }
}

/// Refuses somebody who is known, but may not do this.
pub(crate) fn refuse_permission(
    gateway: &Gateway,
    principal: &Principal,
    reason: RefusalReason,
    object: &str,
    message: String,
) -> GatewayError {
    gateway.series.not_admitted(reason);
    gateway.audit(RefusedAct {
        actor: principal.actor(),
        act: "call".into(),
        object: object.into(),
        reason: message.as_str().into(),
    });
    Hindrance { reason, message }.to_error()
}
