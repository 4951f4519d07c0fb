//! Reading a request's body: bounded in size and in time, and not read on once it is known to be too large.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body_util::BodyExt as _;
use tidegate_gateway::GatewayError;

/// The longest pause between two pieces of a body. Bodies are sent by programs; one that stops this long has broken off.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read(headers: &HeaderMap, mut body: Body, limit: usize) -> Result<Bytes, GatewayError> {
    if let Some(coding) = headers.get(CONTENT_ENCODING).filter(|coding| coding.as_bytes() != b"identity") {
        return Err(GatewayError {
            status: 415,
            ..GatewayError::bad_request(format!(
                "The request body is compressed ({}). Send it as plain JSON.",
                coding.to_str().unwrap_or("unknown coding")
            ))
        });
    }
    let declared = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let declared = declared.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if declared.is_some_and(|length| length > limit) {
        return Err(GatewayError::too_large(limit));
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    loop {
        let frame = tokio::time::timeout(MAX_PAUSE, body.frame()).await.map_err(|_elapsed| {
            GatewayError::incomplete_body(format!(
                "The request body did not arrive: nothing came for {} seconds. Is the Content-Length right?",
                MAX_PAUSE.as_secs()
            ))
        })?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| {
            GatewayError::bad_request(format!("The request body broke off before its end: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + rest.len() + data.len() > limit {
            return Err(GatewayError::too_large(limit));
        }
        // Most bodies come in one piece, which is then not copied.
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.reserve(declared.unwrap_or(0).max(first.len() + data.len()));
                rest.extend_from_slice(&first);
                first = Bytes::new();
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}
