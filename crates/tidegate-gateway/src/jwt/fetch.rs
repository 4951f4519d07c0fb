//! Asking an issuer for its public keys, over the client that calls providers. Called by `source`.

use http::uri::PathAndQuery;
use http::{Request, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use std::time::Duration;
use tidegate_config::JwtIssuer;

use super::keys::KeySet;
use crate::upstream::{
    BodyError, Endpoint, EndpointError, SendFailure, SendOptions, UpstreamBody, UpstreamClient,
};

/// A hundred keys with their certificates fit in.
const MOST_BYTES: usize = 512 * 1024;
/// Where OpenID Connect Discovery puts an issuer's description.
const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";
/// Within the limit for the whole fetch.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Where an issuer's keys are.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) issuer: String,
    /// Looked up where not set.
    keys: Option<String>,
}

/// Why there are no keys. For the log: callers are not told where an issuer is.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("`{url}` cannot be asked")]
    Url { url: String, source: EndpointError },
    #[error("`{0}` cannot be asked: it is not a URL")]
    Path(String),
    #[error("`{url}` did not answer")]
    Send { url: String, source: SendFailure },
    #[error("`{url}` answered with {status}{hint}")]
    Status { url: String, status: StatusCode, hint: &'static str },
    #[error("the answer of `{url}` broke off")]
    Body { url: String, source: BodyError },
    #[error("the answer of `{0}` is longer than 512 KiB")]
    TooLong(String),
    #[error("`{url}`: {why}")]
    Content { url: String, why: &'static str },
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Address {
    pub(super) fn of(issuer: &JwtIssuer) -> Self {
        Self { issuer: issuer.issuer.clone(), keys: issuer.jwks_url.clone() }
    }
}

/// The keys, and the text that they were published in.
pub(super) async fn published_keys(address: &Address) -> Result<(KeySet, Vec<u8>), FetchError> {
    // Connections belong to the runtime they were made on, which is another one each time; so a client for each fetch.
    let client = UpstreamClient::new();
    let url = match &address.keys {
        Some(url) => url.clone(),
        None => discover(&client, &address.issuer).await?,
    };
    let body = get(&client, &url).await?;
    let keys = KeySet::parse(&body).map_err(|why| FetchError::Content { url, why })?;
    Ok((keys, body))
}

async fn discover(client: &UpstreamClient, issuer: &str) -> Result<String, FetchError> {
    let url = format!("{}{DISCOVERY_PATH}", issuer.trim_end_matches('/'));
    let body = get(client, &url).await?;
    let wrong = |why| FetchError::Content { url: url.clone(), why };
    let found: Discovery = serde_json::from_slice(&body)
        .map_err(|_error| wrong("what came is no discovery document with `issuer` and `jwks_uri`"))?;
    // The standard demands it: else one issuer could speak for another.
    if found.issuer != issuer {
        return Err(wrong("it describes another issuer; write `issuer` as it does, or say `jwks_url`"));
    }
    if issuer.starts_with("https://") && !found.jwks_uri.starts_with("https://") {
        return Err(wrong("its `jwks_uri` is not `https`"));
    }
    Ok(found.jwks_uri)
}

async fn get(client: &UpstreamClient, url: &str) -> Result<Vec<u8>, FetchError> {
    let not_a_url = || FetchError::Path(url.to_owned());
    let uri: Uri = url.parse().map_err(|_not_a_url| not_a_url())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(not_a_url());
    };
    let endpoint = Endpoint::parse(&format!("{scheme}://{authority}"))
        .map_err(|source| FetchError::Url { url: url.to_owned(), source })?;
    let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let request = Request::get(Uri::from(path))
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")))
        .body(UpstreamBody::empty())
        .map_err(|_error| not_a_url())?;
    let options = SendOptions { connect_timeout: CONNECT_TIMEOUT, fresh_connection: false, sent: None };
    let response = client
        .send(&endpoint, request, options)
        .await
        .map_err(|source| FetchError::Send { url: url.to_owned(), source })?;
    let status = response.status();
    if status != StatusCode::OK {
        let hint = if status.is_redirection() { "; redirects are not followed" } else { "" };
        return Err(FetchError::Status { url: url.to_owned(), status, hint });
    }
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|source| FetchError::Body { url: url.to_owned(), source })?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len().saturating_add(data.len()) > MOST_BYTES {
            return Err(FetchError::TooLong(url.to_owned()));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}
