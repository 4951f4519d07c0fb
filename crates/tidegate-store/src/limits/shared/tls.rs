//! TLS towards Redis: who is trusted. By default whom the machine trusts; with `?sslrootcert=FILE` in the URL, as PostgreSQL's
//! URLs have it, who is in that file and nobody else.

use std::path::Path;
use std::sync::Arc;

use fred::prelude::{TlsConfig, TlsConnector};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::options::SharedError;

/// The parameter of the URL.
const ROOTS: &str = "sslrootcert";

/// The URL without what is said here, and the file that it names.
pub(super) fn split(url: &str) -> (String, Option<String>) {
    let Some((address, query)) = url.split_once('?') else { return (url.to_owned(), None) };
    let mut file = None;
    let others: Vec<&str> = query
        .split('&')
        .filter(|pair| match pair.split_once('=') {
            Some((ROOTS, path)) => {
                file = Some(percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned());
                false
            }
            _ => true,
        })
        .collect();
    let others = others.join("&");
    (if others.is_empty() { address.to_owned() } else { format!("{address}?{others}") }, file)
}

/// Trusts whoever is in the file, or whom the machine trusts.
pub(super) fn trusting(file: Option<&str>) -> Result<TlsConfig, SharedError> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = file {
        let unusable = |reason: String| SharedError::Roots { file: file.to_owned(), reason };
        let certificates = CertificateDer::pem_file_iter(Path::new(file))
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| unusable(error.to_string()))?;
        for certificate in certificates {
            roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(unusable("there is no certificate in it".to_owned()));
        }
    } else {
        let native = rustls_native_certs::load_native_certs();
        for problem in &native.errors {
            tracing::warn!(%problem, "a root certificate of this machine could not be read");
        }
        roots.add_parsable_certificates(native.certs);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SharedError::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(config).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_roots_is_taken_out_of_the_url_and_all_else_stays() {
        for (url, without, file) in [
            ("rediss://cache:6379", "rediss://cache:6379", None),
            ("rediss://:p%40@cache/3?sslrootcert=/etc/ca.pem", "rediss://:p%40@cache/3", Some("/etc/ca.pem")),
            (
                "rediss-sentinel://a:1/?sentinelServiceName=x&sslrootcert=%2Fetc%2Fmy%20ca.pem&node=b:2",
                "rediss-sentinel://a:1/?sentinelServiceName=x&node=b:2",
                Some("/etc/my ca.pem"),
            ),
        ] {
            assert_eq!(split(url), (without.to_owned(), file.map(str::to_owned)));
        }
        let error = trusting(Some("/no/such/file.pem")).unwrap_err().to_string();
        assert!(error.contains("/no/such/file.pem"), "{error}");
    }
}
