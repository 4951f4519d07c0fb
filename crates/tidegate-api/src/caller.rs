//! Which dialect a caller speaks, on the paths that dialects share and on those that do not exist. Called by `models`
//! and `error`.

use http::{HeaderMap, Uri};
use tidegate_wire::Dialect;

/// The dialect of the SDK that sends such headers to such a path.
pub(crate) fn dialect_of(headers: &HeaderMap, uri: &Uri) -> Dialect {
    let path = uri.path();
    let is_google = path.starts_with("/v1beta")
        || headers.contains_key("x-goog-api-key")
        || headers.contains_key("x-goog-api-client")
        || uri.query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("key=")));
    if is_google {
        Dialect::Gemini
    } else if headers.contains_key("anthropic-version") || path.starts_with("/v1/messages") {
        Dialect::AnthropicMessages
    } else {
        Dialect::OpenAiChat
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_known_by_what_only_its_sdk_sends() {
        use Dialect::{AnthropicMessages, Gemini, OpenAiChat};
        for (name, uri, dialect) in [
            ("authorization", "/v1/models", OpenAiChat),
            ("anthropic-version", "/v1/models", AnthropicMessages),
            ("x-goog-api-key", "/v1/models", Gemini),
            ("x-goog-api-client", "/v1/models/a:b", Gemini),
            ("accept", "/v1/models?pageSize=3&key=abc", Gemini),
            ("accept", "/v1beta/anything", Gemini),
            ("accept", "/v1/messages/anything", AnthropicMessages),
            ("accept", "/v1/monkeys?monkey=1", OpenAiChat),
        ] {
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static(name),
                http::HeaderValue::from_static("x"),
            )]);
            assert_eq!(dialect_of(&headers, &Uri::from_static(uri)), dialect, "{name} {uri}");
        }
    }
}
