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
/// None where such a proxy says something that is no address: the proxy's own is not the caller's, and may be allowed more.
pub(crate) fn address_of(gateway: &Gateway, head: &Parts) -> Option<IpAddr> {
    let peer = head.extensions.get::<Peer>()?.0.ip().to_canonical();
    let settings = gateway.settings();
    let is_trusted = |address: &IpAddr| settings.server.trusted_proxies.iter().any(|it| it.contains(address));
    if !is_trusted(&peer) {
        return Some(peer);
    }
    // Each proxy adds the address that it saw at the end, so the last one that is not a proxy's own is to be believed.
    // What is not even text is no address either.
    let forwarded = head.headers.get_all("x-forwarded-for").into_iter().map(|it| it.to_str().unwrap_or("?"));
    let forwarded: Vec<&str> = forwarded.flat_map(|list| list.split(',')).map(str::trim).collect();
    let mut address = peer;
    for text in forwarded.into_iter().rev().filter(|text| !text.is_empty()) {
        address = read_address(text)?.to_canonical();
        if !is_trusted(&address) {
            break;
        }
    }
    Some(address)
}

/// An address as proxies write it: with a port where Azure's gateway does, in brackets where a port could follow, with the
/// zone of a link-local one, in quotes.
fn read_address(text: &str) -> Option<IpAddr> {
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let (address, after) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        // One colon is before a port, several are those of an address.
        None if text.matches(':').count() == 1 => text.split_at(text.find(':')?),
        None => (text, ""),
    };
    let is_port = |digits: &str| digits.parse::<u16>().is_ok() && !digits.starts_with('+');
    if !after.is_empty() && !after.strip_prefix(':').is_some_and(is_port) {
        return None;
    }
    let address = address.split_once('%').map_or(address, |(address, _zone)| address);
    address.parse().ok()
}

/// The end user, where a header names it.
pub(crate) fn end_user_of(gateway: &Gateway, head: &Parts) -> Option<Text> {
    let settings = gateway.settings();
    let user = head.headers.get(settings.server.end_user_header.as_str())?.as_bytes();
    // What is not UTF-8 is what HTTP once took all headers for, Latin-1. Passed over, nobody's limits would hold.
    let user = std::str::from_utf8(user)
        .map_or_else(|_latin| user.iter().map(|byte| char::from(*byte)).collect(), str::to_owned);
    let user = user.trim();
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
    fn an_address_is_read_as_proxies_write_it_and_nothing_else_is_one() {
        for (text, address) in [
            ("9.9.9.9", Some("9.9.9.9")),
            ("9.9.9.9:1234", Some("9.9.9.9")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:443", Some("2001:db8::1")),
            ("\"[2001:db8::1]:443\"", Some("2001:db8::1")),
            ("fe80::1%eth0", Some("fe80::1")),
            ("[::ffff:9.9.9.9]:80", Some("::ffff:9.9.9.9")),
            ("unknown", None),
            ("_hidden", None),
            ("9.9.9.9:", None),
            ("9.9.9.9:http", None),
            ("9.9.9.9:123456", None),
            ("[2001:db8::1", None),
            ("[2001:db8::1]x", None),
            ("for=9.9.9.9", None),
            ("?", None),
        ] {
            assert_eq!(read_address(text), address.map(|it| it.parse().unwrap()), "{text}");
        }
    }

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
