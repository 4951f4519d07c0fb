//! Where a provider is reached: a base URL, taken apart once. Made when the configuration is resolved, used by every call.

use std::fmt;
use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{HeaderValue, Uri};
use rustls::pki_types::ServerName;

/// A provider's base URL, parsed. Cheap to clone.
#[derive(Clone)]
pub struct Endpoint {
    parts: Arc<Parts>,
}

struct Parts {
    /// Name of the host as the resolver takes it: without brackets around an IPv6 address.
    host: String,
    port: u16,
    /// `None` for plain HTTP.
    server_name: Option<ServerName<'static>>,
    host_header: HeaderValue,
    /// Path of the base URL without a closing slash; empty when there is none.
    base_path: String,
    /// Scheme, host and port: what makes connections interchangeable.
    key: Arc<str>,
}

/// Why a base URL cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// It is not a URL at all.
    #[error("`{url}` is not a URL; write it like `https://api.example.com/v1`")]
    NotAUrl {
        /// As it was written.
        url: String,
        /// What the parser says.
        source: http::uri::InvalidUri,
    },
    /// It lacks `http://` or `https://`, or has another scheme.
    #[error("`{url}` must begin with `https://` or `http://`")]
    Scheme {
        /// As it was written.
        url: String,
    },
    /// It has no host, an impossible one, or a user name or password before it.
    #[error("`{url}` must name a host, without user name or password; keys belong in `api_key`")]
    Host {
        /// As it was written.
        url: String,
    },
    /// It has a query.
    #[error("`{url}` must not contain `?`; only a path may follow the host")]
    Query {
        /// As it was written.
        url: String,
    },
}

impl Endpoint {
    /// Takes a base URL apart: `https://api.openai.com/v1`.
    pub fn parse(base_url: &str) -> Result<Self, EndpointError> {
        let url = || base_url.to_owned();
        let uri: Uri = base_url.parse().map_err(|source| EndpointError::NotAUrl { url: url(), source })?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(EndpointError::Scheme { url: url() }),
        };
        if uri.query().is_some() {
            return Err(EndpointError::Query { url: url() });
        }
        let authority = uri.authority().ok_or_else(|| EndpointError::Host { url: url() })?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || authority.as_str().contains('@') {
            return Err(EndpointError::Host { url: url() });
        }
        let server_name = if tls {
            Some(
                ServerName::try_from(host.clone())
                    .map_err(|_impossible| EndpointError::Host { url: url() })?,
            )
        } else {
            None
        };
        let host_header = HeaderValue::from_str(authority.as_str())
            .map_err(|_impossible| EndpointError::Host { url: url() })?;
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let key =
            format!("{}://{}:{port}", if tls { "https" } else { "http" }, host.to_ascii_lowercase()).into();
        let base_path = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { parts: Arc::new(Parts { host, port, server_name, host_header, base_path, key }) })
    }

    /// The path to ask for: the base URL's with this one, which begins with a slash, behind it.
    pub fn path(&self, path_and_query: &str) -> Result<PathAndQuery, http::uri::InvalidUri> {
        if self.parts.base_path.is_empty() {
            path_and_query.parse()
        } else {
            PathAndQuery::try_from(format!("{}{path_and_query}", self.parts.base_path))
        }
    }

    /// The host's name or address.
    pub fn host(&self) -> &str {
        &self.parts.host
    }

    /// The port, the scheme's own when the URL names none.
    pub fn port(&self) -> u16 {
        self.parts.port
    }

    /// The name that the server's certificate must carry; `None` for plain HTTP.
    pub(super) fn server_name(&self) -> Option<&ServerName<'static>> {
        self.parts.server_name.as_ref()
    }

    pub(super) fn host_header(&self) -> &HeaderValue {
        &self.parts.host_header
    }

    pub(super) fn key(&self) -> &Arc<str> {
        &self.parts.key
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Endpoint({self})")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.parts.key, self.parts.base_path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_taken_apart() {
        for (url, host, port, path) in [
            ("https://api.openai.com/v1", "api.openai.com", 443, "/v1/models"),
            ("https://api.anthropic.com", "api.anthropic.com", 443, "/models"),
            ("http://127.0.0.1:8000/", "127.0.0.1", 8000, "/models"),
            ("http://[::1]:8000/a/b/", "::1", 8000, "/a/b/models"),
        ] {
            let endpoint = Endpoint::parse(url).unwrap();
            assert_eq!((endpoint.host(), endpoint.port()), (host, port), "{url}");
            assert_eq!(endpoint.path("/models").unwrap(), path, "{url}");
        }
    }

    #[test]
    fn a_base_url_that_cannot_work_is_refused() {
        for url in [
            "api.openai.com/v1",
            "ftp://host/",
            "https://",
            "https://key@host/",
            "https://host/?a=b",
            "http://a b/",
        ] {
            assert!(Endpoint::parse(url).is_err(), "{url}");
        }
    }
}
