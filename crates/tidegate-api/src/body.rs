//! Reading a request's body: bounded in size and in time, and not read on once it is known to be too large.

use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body_util::BodyExt as _;
use tidegate_gateway::GatewayError;

/// The longest pause between two pieces of a body. Bodies are sent by programs; one that stops this long has broken off.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// The fewest bytes per second that a body may come with, beyond one longest pause; a slow mobile connection has several
/// times that. While a body comes, its call has a place that others may wait for.
const LEAST_RATE: u32 = 32 * 1024;

/// Reads a body of at most `limit` bytes; a setting says how many, or none does.
pub(crate) async fn read(
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
    setting: Option<&'static str>,
) -> Result<Bytes, GatewayError> {
    if let Some(coding) = headers.get(CONTENT_ENCODING).filter(|coding| coding.as_bytes() != b"identity") {
        return Err(GatewayError {
            status: 415,
            ..GatewayError::bad_request(format!(
                "The request body is compressed ({}). Send it as plain JSON.",
                coding.to_str().unwrap_or("unknown coding")
            ))
        });
    }
    let declared = declared_length(headers).map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if declared.is_some_and(|length| length > limit) {
        return Err(GatewayError::too_large(limit, setting));
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let began = Instant::now();
    loop {
        let read = first.len() + rest.len();
        let frame = tokio::time::timeout(time_left(began.elapsed(), read), body.frame());
        let frame = frame.await.map_err(|_elapsed| did_not_arrive(read))?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| {
            GatewayError::bad_request(format!("The request body broke off before its end: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if read + data.len() > limit {
            return Err(GatewayError::too_large(limit, setting));
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

/// The length that the head declares.
pub(crate) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// How long to wait for the next piece, after so much has come in this time.
fn time_left(elapsed: Duration, read: usize) -> Duration {
    let read = u32::try_from(read).unwrap_or(u32::MAX);
    let earned = Duration::from_secs(1).saturating_mul(read) / LEAST_RATE;
    MAX_PAUSE.min((MAX_PAUSE + earned).saturating_sub(elapsed))
}

fn did_not_arrive(read: usize) -> GatewayError {
    GatewayError::incomplete_body(format!(
        "The request body did not arrive: after {read} bytes nothing came for {} seconds, or it came more slowly than \
         {LEAST_RATE} bytes per second. Is the Content-Length right?",
        MAX_PAUSE.as_secs()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_may_pause_but_not_trickle() {
        let second = Duration::from_secs(1);
        for (elapsed, read, left) in
            [(0, 0, 30), (29, 10, 1), (31, 10, 0), (31, 1 << 20, 30), (5_000, 1 << 25, 0)]
        {
            let allowed = time_left(second * elapsed, read);
            assert!(allowed.abs_diff(second * left) < second / 100, "{elapsed} {read}: {allowed:?}");
        }
    }
}
