//! A string that cannot print itself. Holds provider keys and header values, from the file to the upstream request.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

/// What stands in the place of a secret wherever it would be shown.
const MASK: &str = "***";

/// A value that must not appear in logs, errors, snapshots or answers.
///
/// Clones share the text, and the memory is overwritten when the last of them is dropped. The file's text and the
/// process environment, from which it was read, are beyond its reach.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Arc::new(Zeroizing::new(text.into())))
    }

    /// The text itself, for the one place that sends it. Named so that a reader of that place stops and looks.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Of a secret that is a URL, what may be shown: scheme, host and path, without user, password and query.
    pub fn address(&self) -> String {
        let Some((scheme, rest)) = self.0.split_once("://") else { return MASK.to_owned() };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, behind) = rest.split_at_checked(end).unwrap_or_default();
        // An `@` that late means that the password holds one of those three signs, and where it ends is anybody's guess.
        if behind.contains('@') {
            return format!("{scheme}://{MASK}");
        }
        let host = authority.rsplit('@').next().unwrap_or_default();
        let path = behind.split(['?', '#']).next().unwrap_or_default();
        format!("{scheme}://{host}{path}")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_nothing_however_it_is_printed() {
        let secret = Secret::new("sk-live-1234");
        let shown =
            format!("{secret} {secret:?} {:?} {}", Some(&secret), serde_json::to_string(&secret).unwrap());
        assert!(!shown.contains("1234"), "{shown}");
        assert_eq!(secret.expose(), "sk-live-1234");
    }

    #[test]
    fn an_address_is_shown_without_what_is_secret_in_it() {
        for (url, shown) in [
            ("postgres://user:pass@db:5432/tidegate?sslmode=require", "postgres://db:5432/tidegate"),
            ("redis://cache:6379", "redis://cache:6379"),
            ("redis://:p@ss@[::1]:6379/1", "redis://[::1]:6379/1"),
            ("postgres://user:pa/ss@db/tidegate", "postgres://***"),
            ("postgres://user:pa?ss@db/tidegate", "postgres://***"),
            ("postgres:///tidegate?host=/run&password=pass", "postgres:///tidegate"),
            ("pass", "***"),
        ] {
            assert_eq!(Secret::new(url).address(), shown);
        }
    }
}
