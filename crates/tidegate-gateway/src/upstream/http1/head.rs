//! The head of an answer. Called by `connection` with what has been read so far.

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, response};
use memchr::memmem;

use super::framing::Framing;
use crate::upstream::error::InvalidResponse;

/// A head longer than this is an error: providers send one or two kilobytes.
pub(super) const MAX_HEAD_BYTES: usize = 64 * 1024;

/// More headers than this are an error.
const MAX_HEADERS: usize = 128;

/// Headers that belong to the provider's connection and say nothing to the caller.
const HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The head of an answer, and what it says about the body and the connection.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) parts: response::Parts,
    pub(super) framing: Framing,
    pub(super) keep_alive: bool,
}

/// Takes a head off the buffer; `None` when it is not complete yet. Interim answers (`100 Continue`, `103 Early Hints`)
/// are passed over. `searched` bytes are known to hold no end of a head.
pub(super) fn parse(
    buffer: &mut BytesMut,
    searched: usize,
    no_body_expected: bool,
) -> Result<Option<Head>, InvalidResponse> {
    let mut searched = searched;
    loop {
        // The end mark may have been cut in the middle.
        let from = searched.saturating_sub(3);
        let Some(end) = memmem::find(buffer.get(from..).unwrap_or_default(), b"\r\n\r\n") else {
            return if buffer.len() > MAX_HEAD_BYTES { Err(InvalidResponse::HeadTooLong) } else { Ok(None) };
        };
        let end = from + end + 4;
        if end > MAX_HEAD_BYTES {
            return Err(InvalidResponse::HeadTooLong);
        }
        let head = parse_complete(&buffer.split_to(end).freeze(), no_body_expected)?;
        if head.parts.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(InvalidResponse::SwitchingProtocols);
        }
        if !head.parts.status.is_informational() {
            return Ok(Some(head));
        }
        searched = 0;
    }
}

fn parse_complete(bytes: &Bytes, no_body_expected: bool) -> Result<Head, InvalidResponse> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut fields);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(InvalidResponse::HeadTooLong),
        Ok(httparse::Status::Partial) | Err(_) => return Err(InvalidResponse::Head),
    }
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(InvalidResponse::Head)?;
    let version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_invalid| InvalidResponse::Head)?;
        // Shares the bytes that were read instead of copying each value.
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value))
            .map_err(|_invalid| InvalidResponse::Head)?;
        headers.append(name, value);
    }
    let (framing, framing_allows_reuse) = framing(&headers, status, no_body_expected)?;
    let keep_alive = framing_allows_reuse && connection_is_kept(&headers, version);
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = status;
    parts.headers = headers;
    Ok(Head { parts, framing, keep_alive })
}

/// How the body is framed (RFC 9112, section 6.3), and whether the connection can be used again as far as that goes.
fn framing(
    headers: &HeaderMap,
    status: StatusCode,
    no_body_expected: bool,
) -> Result<(Framing, bool), InvalidResponse> {
    if no_body_expected
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
    {
        return Ok((Framing::ended(), true));
    }
    let length = content_length(headers)?;
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if codings.next().is_some() || !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") {
            return Err(InvalidResponse::TransferEncoding);
        }
        // Both at once is how answers are smuggled: the chunks count, and the connection is not trusted any further.
        return Ok((Framing::chunked(), length.is_none()));
    }
    Ok(match length {
        Some(length) => (Framing::length(length), true),
        None => (Framing::until_close(), false),
    })
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, InvalidResponse> {
    let mut found = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        for part in value.as_bytes().split(|byte| *byte == b',') {
            let digits = part.trim_ascii();
            // `parse` alone would take a plus sign.
            let length = std::str::from_utf8(digits)
                .ok()
                .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|digits| digits.parse::<u64>().ok())
                .ok_or(InvalidResponse::ContentLength)?;
            if found.is_some_and(|other| other != length) {
                return Err(InvalidResponse::ContentLength);
            }
            found = Some(length);
        }
    }
    Ok(found)
}

fn connection_is_kept(headers: &HeaderMap, version: Version) -> bool {
    let says = |wanted: &[u8]| {
        let values = headers.get_all(CONNECTION);
        let mut options = values.iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(wanted))
    };
    !says(b"close") && (version == Version::HTTP_11 || says(b"keep-alive"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Option<Head>, InvalidResponse> {
        parse(&mut BytesMut::from(text), 0, false)
    }

    #[test]
    fn a_head_says_how_its_body_is_framed_and_whether_the_connection_is_kept() {
        for (head, framing, kept) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", Framing::length(5), true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", Framing::length(5), true),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: Close\r\n\r\n", Framing::length(5), false),
            ("HTTP/1.1 200\r\ntransfer-encoding: Chunked\r\n\r\n", Framing::chunked(), true),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n",
                Framing::chunked(),
                false,
            ),
            ("HTTP/1.1 200 OK\r\n\r\n", Framing::until_close(), false),
            ("HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\n", Framing::length(5), false),
            (
                "HTTP/1.0 200 OK\r\ncontent-length: 5\r\nconnection: keep-alive\r\n\r\n",
                Framing::length(5),
                true,
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n", Framing::ended(), true),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
                Framing::length(5),
                true,
            ),
        ] {
            let found = parsed(head).unwrap().unwrap();
            assert_eq!((found.framing, found.keep_alive), (framing, kept), "{head}");
        }
    }

    #[test]
    fn a_head_that_breaks_the_rules_is_refused() {
        let long = format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "b".repeat(MAX_HEAD_BYTES));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MAX_HEADERS + 1));
        for (head, problem) in [
            ("SSH-2.0-OpenSSH_9.2\r\n\r\n", InvalidResponse::Head),
            ("HTTP/1.1 9999 What\r\n\r\n", InvalidResponse::Head),
            ("HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\n", InvalidResponse::ContentLength),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
                InvalidResponse::ContentLength,
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
                InvalidResponse::ContentLength,
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
                InvalidResponse::TransferEncoding,
            ),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", InvalidResponse::SwitchingProtocols),
            (&long, InvalidResponse::HeadTooLong),
            (&many, InvalidResponse::HeadTooLong),
        ] {
            assert_eq!(parsed(head).unwrap_err(), problem, "{}", head.get(..60).unwrap_or(head));
        }
    }

    #[test]
    fn a_head_may_come_byte_by_byte() {
        let text = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nrest";
        let mut buffer = BytesMut::new();
        for (number, byte) in text.iter().enumerate() {
            let searched = buffer.len();
            buffer.extend_from_slice(&[*byte]);
            if parse(&mut buffer, searched, false).unwrap().is_some() {
                assert_eq!(text.get(number + 1..).unwrap(), b"rest");
                return;
            }
        }
        panic!("the head was never complete");
    }
}
