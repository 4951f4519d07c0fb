//! What is known of a provider's credential, and the secret itself on its way.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::access::{AccessError, CredentialId, NoRandomness};

/// Longer than any provider's key.
const MAX_BYTES: usize = 16 << 10;
/// Of a shorter one, four characters would say too much.
const SHORTEST_WITH_HINT: usize = 16;

/// A provider's credential, without its secret.
#[derive(Debug, Clone, PartialEq)]
pub struct Credential {
    /// Its id.
    pub id: CredentialId,
    /// The configured provider that it is for.
    pub provider: String,
    /// What it is called, unique for its provider.
    pub label: String,
    /// Its last four characters.
    pub hint: String,
    /// The fingerprint of the master key that it is encrypted with.
    pub master_key: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its secret was set last.
    pub rotated_at: Timestamp,
}

/// A provider's credential. Not printable by accident; overwritten in memory when the last clone is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct CredentialSecret(Arc<Zeroizing<String>>);

impl CredentialSecret {
    /// Takes the text over.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Arc::new(Zeroizing::new(text.into())))
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Enough of it to recognise it.
    pub(crate) fn hint(&self) -> String {
        let text = self.expose();
        let characters = text.chars().count();
        if characters < SHORTEST_WITH_HINT {
            return "…".to_owned();
        }
        format!("…{}", text.chars().skip(characters - 4).collect::<String>())
    }

    /// The secret as it is kept, if a provider could take it: without what copying leaves around it, which is most often a
    /// line break, as a key in the configuration is read, too.
    pub(crate) fn checked(&self) -> Result<Self, AccessError> {
        let text = self.expose().trim();
        if text.is_empty() {
            return Err(AccessError::invalid("secret", "it is empty; give the provider's key"));
        }
        if text.len() > MAX_BYTES {
            return Err(AccessError::invalid("secret", format!("it is longer than {MAX_BYTES} bytes")));
        }
        // Every provider takes its key in a header, in which nothing else can stand.
        if text.bytes().any(|byte| !matches!(byte, b' '..=b'~')) {
            return Err(AccessError::invalid(
                "secret",
                "it holds a line break or a character that no header can carry; copy it again, on one line",
            ));
        }
        Ok(Self::new(text))
    }
}

impl fmt::Debug for CredentialSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// Why credentials cannot be encrypted or decrypted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// No master key is configured.
    #[error(
        "no master key is configured, without which the providers' credentials cannot be kept; set TIDEGATE_MASTER_KEY \
         or TIDEGATE_MASTER_KEY_FILE to 32 bytes in base64 (`openssl rand -base64 32`)"
    )]
    NoMasterKey,
    /// They are encrypted with another one.
    #[error(
        "the credential {id} of {provider} is encrypted with the master key {found}, but {configured} is configured; \
         configure that one again, or set the credential anew"
    )]
    OtherMasterKey {
        /// Which credential.
        id: CredentialId,
        /// Its provider.
        provider: String,
        /// The fingerprint of the key it is encrypted with.
        found: String,
        /// The fingerprint of the configured one.
        configured: String,
    },
    /// The master key is right, and still it does not open.
    #[error("the credential {id} of {provider} was altered in the database and does not open; set it anew")]
    Altered {
        /// Which credential.
        id: CredentialId,
        /// Its provider.
        provider: String,
    },
    /// Nothing of this length can be encrypted.
    #[error("the credential is too long to be encrypted")]
    TooLong,
    /// No nonce can be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_shows_its_end_where_that_gives_nothing_away() {
        assert_eq!(CredentialSecret::new("sk-1234567890abcdef").hint(), "…cdef");
        assert_eq!(CredentialSecret::new("short").hint(), "…");
        assert_eq!(format!("{:?}", CredentialSecret::new("sk-1234567890abcdef")), "***");
        for right in ["sk-1", " sk-1\r\n", "\tsk-1\n", "Basic a b"] {
            assert_eq!(CredentialSecret::new(right).checked().unwrap().expose(), right.trim(), "{right:?}");
        }
        for wrong in ["", " \n", "a\nb", "schlüssel", "a\0b", &"x".repeat(MAX_BYTES + 1)] {
            assert!(CredentialSecret::new(wrong).checked().is_err(), "{wrong:?}");
        }
    }
}
