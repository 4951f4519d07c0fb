//! TLS towards providers. Called by `connect` for `https` endpoints.

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// One for the process: the roots take a megabyte and the session cache is worth sharing.
static DEFAULT: OnceLock<Result<Arc<ClientConfig>, rustls::Error>> = OnceLock::new();

/// The settings for every provider that has none of its own: the machine's roots, or Mozilla's where it has none.
/// Loaded on first use, since reading them takes longer than everything else at start-up. Blocks while it reads files.
pub fn default_tls() -> Result<Arc<ClientConfig>, rustls::Error> {
    DEFAULT.get_or_init(load).clone()
}

fn load() -> Result<Arc<ClientConfig>, rustls::Error> {
    let native = rustls_native_certs::load_native_certs();
    for problem in &native.errors {
        tracing::warn!(%problem, "a root certificate of this machine could not be read");
    }
    let mut roots = RootCertStore::empty();
    let (added, _ignored) = roots.add_parsable_certificates(native.certs);
    if added == 0 {
        tracing::warn!("this machine has no root certificates; Mozilla's are used");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Makes a TLS session over a fresh connection.
pub(super) async fn handshake(
    custom: Option<&Arc<ClientConfig>>,
    name: &ServerName<'static>,
    socket: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    let config = match (custom, DEFAULT.get()) {
        (Some(config), _) => Arc::clone(config),
        (None, Some(loaded)) => loaded.clone().map_err(io::Error::other)?,
        (None, None) => tokio::task::spawn_blocking(default_tls)
            .await
            .map_err(io::Error::other)?
            .map_err(io::Error::other)?,
    };
    TlsConnector::from(config).connect(name.clone(), socket).await
}
