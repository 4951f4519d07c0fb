//! What a caller shows to say who it is: a key, taken from wherever its SDK puts it.

use std::fmt;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Uri};
use tidegate_config::Secret;

/// No key and no token is longer; tokens with many claims have some kilobytes.
const MAX_BYTES: usize = 16 * 1024;

/// The headers besides `Authorization` that SDKs put their key into.
const KEY_HEADERS: [&str; 3] = ["x-api-key", "x-goog-api-key", "api-key"];

/// A key or a token as it was shown. Cannot print itself.
#[derive(Clone)]
pub struct Presented(Secret);

impl Presented {
    /// The text, to be looked up or verified.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

/// Finds what the caller shows. `Authorization` counts first: other headers may be left-overs of an SDK that was given
/// one on top. Empty values count as absent, since SDKs send those too.
pub fn presented(headers: &HeaderMap, uri: &Uri) -> Option<Presented> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim).filter(|text| !text.is_empty());
    let bearer = text(AUTHORIZATION.as_str()).map(|text| match text.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => rest.trim(),
        None if text.eq_ignore_ascii_case("bearer") => "",
        _ => text,
    });
    let found = bearer
        .filter(|text| !text.is_empty())
        .or_else(|| KEY_HEADERS.into_iter().find_map(text))
        .map(Secret::new)
        .or_else(|| key_of_query(uri.query()?).map(Secret::new))?;
    (found.expose().len() <= MAX_BYTES).then_some(Presented(found))
}

/// Google's way: `?key=…`.
fn key_of_query(query: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("key="))?;
    let value = percent_encoding::percent_decode_str(value).decode_utf8().ok()?;
    (!value.is_empty()).then(|| value.into_owned())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_key_is_found_wherever_an_sdk_puts_it() {
        for (headers, uri, found) in [
            (&[("authorization", "Bearer abc")][..], "/", Some("abc")),
            (&[("authorization", "bearer  abc ")], "/", Some("abc")),
            (&[("authorization", "abc")], "/", Some("abc")),
            (&[("x-api-key", "abc")], "/", Some("abc")),
            (&[("x-goog-api-key", "abc")], "/", Some("abc")),
            (&[("api-key", "abc")], "/", Some("abc")),
            (&[], "/v1beta/models/x:y?alt=sse&key=a%62c", Some("abc")),
            (&[("authorization", "Bearer abc"), ("x-api-key", "def")], "/?key=ghi", Some("abc")),
            (&[("authorization", "Bearer "), ("x-api-key", "def")], "/", Some("def")),
            (&[("x-api-key", "")], "/?key=", None),
            (&[], "/", None),
        ] {
            let map: HeaderMap = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            let shown = presented(&map, &Uri::from_static(uri));
            assert_eq!(shown.as_ref().map(Presented::expose), found, "{headers:?} {uri}");
            assert!(!format!("{shown:?}").contains("abc"));
        }
    }
}
