//! Who calls: the dialect, on the paths that dialects share and on those that do not exist; the address; the key.
//! Called by `inference`, `models` and `error`.

use std::net::{IpAddr, SocketAddr};

use http::request::Parts;
use http::{HeaderMap, Uri};
use tidegate_gateway::{Gateway, GatewayError, Principal, presented};
use tidegate_store::Text;
use tidegate_wire::Dialect;

/// The other end of a request's connection, as `serve` found it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Who asks, and whether they may ask this at all.
pub(crate) async fn authenticate(
    gateway: &Gateway,
    head: &Parts,
    endpoint: &'static str,
) -> Result<Principal, GatewayError> {
    let presented = presented(&head.headers, &head.uri);
    tidegate_gateway::authenticate(gateway, presented.as_ref(), address_of(gateway, head), endpoint).await
}

/// The address that a request comes from: the other end of its connection, or what a proxy that is believed says of it.
pub(crate) fn address_of(gateway: &Gateway, head: &Parts) -> Option<IpAddr> {
    let peer = head.extensions.get::<Peer>()?.0.ip().to_canonical();
    let settings = gateway.settings();
    let is_trusted = |address: &IpAddr| settings.server.trusted_proxies.iter().any(|it| it.contains(address));
    if !is_trusted(&peer) {
        return Some(peer);
    }
    // Each proxy adds the address that it saw at the end, so the last one that is not a proxy's own is to be believed.
    let forwarded = head.headers.get_all("x-forwarded-for").into_iter().filter_map(|it| it.to_str().ok());
    let forwarded: Vec<&str> = forwarded.flat_map(|list| list.split(',')).map(str::trim).collect();
    let mut address = peer;
    for text in forwarded.into_iter().rev() {
        let Ok(said) = text.parse::<IpAddr>() else { break };
        address = said.to_canonical();
        if !is_trusted(&address) {
            break;
        }
    }
    Some(address)
}

/// The end user, where a header names it.
pub(crate) fn end_user_of(gateway: &Gateway, head: &Parts) -> Option<Text> {
    let settings = gateway.settings();
    let user = head.headers.get(settings.server.end_user_header.as_str())?.to_str().ok()?.trim();
    (!user.is_empty()).then(|| Text::from(user.to_owned()))
}

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
