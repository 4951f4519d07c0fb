//! The only place where an error becomes a status and a body: in the caller's own dialect, so that its SDK raises the
//! exception its users know.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use tidegate_gateway::{GatewayError, Refusal};
use tidegate_store::CallId;
use tidegate_wire::Dialect;

use crate::caller::dialect_of;
use crate::inference::request_id_headers;

/// OpenAI's and Anthropic's SDKs ask again by themselves. Where they are told to wait longer, some do, for hours and
/// without a word, and others ask again at once and in vain. So they are told not to: their user must hear of it.
const LONGEST_WAIT_OF_AN_SDK: Duration = Duration::from_secs(60);

/// An error for a caller of this dialect.
pub(crate) fn respond(dialect: Dialect, id: CallId, refusal: &Refusal) -> Response {
    let error = &refusal.error;
    let id = id.to_string();
    let body = dialect.codec().render_error(&error.to_caller_error(Some(&id)));
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.clone_from(&refusal.headers);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    request_id_headers(headers, dialect, &id);
    headers.insert("x-tidegate-attempts", HeaderValue::from(refusal.attempts));
    if let Some(wait) = error.retry_after {
        put_retry_after(headers, wait);
    }
    if matches!(error.status, 401 | 408 | 413) {
        // What is left of the body is not read; the connection cannot be used for another request.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Seconds for everybody, and milliseconds for OpenAI's and Anthropic's SDKs. Rounded up, so that nobody comes too early.
fn put_retry_after(headers: &mut HeaderMap, wait: Duration) {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let milliseconds = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    headers.insert("retry-after-ms", HeaderValue::from(milliseconds));
    if wait > LONGEST_WAIT_OF_AN_SDK {
        headers.insert("x-should-retry", HeaderValue::from_static("false"));
    }
}

/// The fallback for paths that do not exist.
pub(crate) async fn no_such_route(request: Request) -> Response {
    let error = GatewayError::no_such_route(request.method().as_str(), request.uri().path());
    let dialect = dialect_of(request.headers(), request.uri());
    respond(dialect, CallId::now(), &error.into())
}

/// The fallback for methods that a path does not take.
pub(crate) async fn method_not_allowed(request: Request) -> Response {
    let error = GatewayError::method_not_allowed(request.method().as_str(), request.uri().path());
    let dialect = dialect_of(request.headers(), request.uri());
    respond(dialect, CallId::now(), &error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_rounded_up_and_a_long_one_is_left_to_the_user() {
        for (nanoseconds, seconds, milliseconds, is_left) in [
            (1, "1", "1", false),
            (1_000_000_001, "2", "1001", false),
            (60_000_000_000, "60", "60000", false),
            (60_000_000_001, "61", "60001", true),
            (3_600_000_000_000, "3600", "3600000", true),
        ] {
            let mut headers = HeaderMap::new();
            put_retry_after(&mut headers, Duration::from_nanos(nanoseconds));
            let said = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
            assert_eq!(said("retry-after"), Some(seconds));
            assert_eq!(said("retry-after-ms"), Some(milliseconds));
            assert_eq!(said("x-should-retry"), is_left.then_some("false"));
        }
    }
}
