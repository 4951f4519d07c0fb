//! Certificates that nobody else trusts, for servers that speak TLS. Made by OpenSSL's program.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::program;

/// The authority's certificate in a server's directory.
pub(super) const AUTHORITY: &str = "ca.pem";
/// The server's own certificate and key.
pub(super) const CERTIFICATE: &str = "server.pem";
pub(super) const KEY: &str = "server.key";

/// Makes an authority, and a certificate for `localhost` and 127.0.0.1 that it has signed.
pub(super) fn make(directory: &Path) {
    authority(directory);
    std::fs::write(directory.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        .expect("a file can be written");
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let mut request = vec!["req", "-subj", "/CN=localhost", "-keyout", KEY, "-out", "server.csr"];
    request.extend(key);
    openssl(directory, &request);
    openssl(
        directory,
        &[
            "x509",
            "-req",
            "-in",
            "server.csr",
            "-CA",
            AUTHORITY,
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "names",
            "-out",
            CERTIFICATE,
        ],
    );
}

/// Makes an authority that has signed nothing; its certificate's path.
pub fn another_authority(directory: &Path) -> PathBuf {
    authority(directory);
    directory.join(AUTHORITY)
}

fn authority(directory: &Path) {
    openssl(
        directory,
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=Tidegate's tests",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-keyout",
            "ca.key",
            "-out",
            AUTHORITY,
        ],
    );
}

fn openssl(directory: &Path, arguments: &[&str]) {
    let mut command = Command::new(program(&["openssl"], &[], "openssl"));
    let output = command.args(arguments).current_dir(directory).output().expect("openssl runs");
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
}
