//! What a caller is told when there is no answer: kind, source, public words. `tidegate-api` gives it a status and a body.

use std::fmt;
use std::time::Duration;

use tidegate_wire::{CallerError, ErrorClass, FailureKind, RequestError};

/// When to come back to a gateway that is being stopped: another replica takes the call at once.
const AFTER_A_RESTART: Duration = Duration::from_secs(1);

/// Who is at fault: what the operator asks first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The caller's request.
    Caller,
    /// Tidegate itself.
    Gateway,
    /// A provider.
    Provider,
}

impl Source {
    /// The word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Gateway => "gateway",
            Self::Provider => "provider",
        }
    }
}

/// No answer, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayError {
    /// The HTTP status for the caller.
    pub status: u16,
    /// The class, by which dialects choose their type word.
    pub class: ErrorClass,
    /// Who is at fault.
    pub source: Source,
    /// The failure kind, where an attempt failed.
    pub failure: Option<FailureKind>,
    /// What happened, at which target, and what to do.
    pub message: String,
    /// A code, where one is known.
    pub code: Option<String>,
    /// The request's field at fault.
    pub param: Option<String>,
    /// When to come back.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for GatewayError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for GatewayError {}

impl GatewayError {
    /// The caller's request is wrong.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self {
            status: 400,
            class: ErrorClass::InvalidRequest,
            source: Source::Caller,
            failure: None,
            message: message.into(),
            code: None,
            param: None,
            retry_after: None,
        }
    }

    /// The body is larger than is taken here; by which setting, where there is one.
    pub fn too_large(limit: usize, setting: Option<&str>) -> Self {
        let raise = setting.map(|setting| format!(", or raise `{setting}`")).unwrap_or_default();
        Self {
            status: 413,
            class: ErrorClass::TooLarge,
            code: Some("request_too_large".into()),
            ..Self::bad_request(format!("The request body is larger than {limit} bytes. Send less{raise}."))
        }
    }

    /// The body did not arrive whole or in time.
    pub fn incomplete_body(message: impl Into<String>) -> Self {
        Self { status: 408, ..Self::bad_request(message) }
    }

    /// There is no such path.
    pub fn no_such_route(method: &str, path: &str) -> Self {
        Self {
            status: 404,
            class: ErrorClass::NotFound,
            code: Some("unknown_url".into()),
            ..Self::bad_request(format!(
                "Tidegate has no {method} {path}. See the README for the paths it serves."
            ))
        }
    }

    /// The path exists, but not for this method.
    pub fn method_not_allowed(method: &str, path: &str) -> Self {
        Self {
            status: 405,
            class: ErrorClass::MethodNotAllowed,
            code: Some("method_not_allowed".into()),
            ..Self::bad_request(format!("{path} does not take {method} requests."))
        }
    }

    /// Nobody serves a model of that name.
    pub fn no_such_model(model: &str, closest: &[String]) -> Self {
        let hint = match closest {
            [] => "`tidegate models` lists the models one can ask for.".to_owned(),
            names => format!(
                "Did you mean {}?",
                names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
            ),
        };
        // The name comes from the caller and may be of any length.
        let shown: String = model.chars().take(200).collect();
        Self {
            status: 404,
            class: ErrorClass::NotFound,
            code: Some("model_not_found".into()),
            param: Some("model".into()),
            ..Self::bad_request(format!("The model `{shown}` is not known here. {hint}"))
        }
    }

    /// No target can express these fields and the caller wants nothing dropped.
    pub fn not_expressible(fields: &str) -> Self {
        Self {
            code: Some("not_expressible".into()),
            ..Self::bad_request(format!(
                "No target of this model can express: {fields}. Remove them, or allow dropping by leaving \
                 `x-tidegate-strict` away."
            ))
        }
    }

    /// Tidegate itself cannot take the call now.
    pub fn unavailable(message: impl Into<String>, retry_after: Duration) -> Self {
        Self {
            status: 503,
            class: ErrorClass::Overloaded,
            source: Source::Gateway,
            retry_after: Some(retry_after),
            ..Self::bad_request(message)
        }
    }

    /// Tidegate is being stopped, and the call has taken longer than the time for draining.
    pub fn ending() -> Self {
        Self {
            code: Some("shutting_down".into()),
            ..Self::unavailable(
                "Tidegate is being stopped and could not wait for this answer any longer. What came so far is \
                 incomplete; ask again.",
                AFTER_A_RESTART,
            )
        }
    }

    /// Tidegate itself is at fault.
    pub fn internal(message: impl Into<String>) -> Self {
        Self {
            status: 500,
            class: ErrorClass::Upstream,
            source: Source::Gateway,
            ..Self::bad_request(message)
        }
    }

    /// The shape that dialects render.
    pub fn to_caller_error(&self, request_id: Option<&str>) -> CallerError {
        CallerError {
            status: self.status,
            class: self.class,
            message: self.message.clone(),
            code: self.code.clone(),
            param: self.param.clone(),
            request_id: request_id.map(str::to_owned),
        }
    }
}

impl From<RequestError> for GatewayError {
    fn from(error: RequestError) -> Self {
        Self { param: error.param, ..Self::bad_request(error.message) }
    }
}
