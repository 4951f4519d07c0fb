//! Why an administrative operation was not done. Made in this crate, shown by the admin API and the command line.

use super::secret::NoRandomness;
use crate::credentials::CredentialError;
use crate::error::StoreError;

/// An operation that changed nothing, and why.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// What it was to work on does not exist.
    #[error("there is no {kind} {id}")]
    NotFound {
        /// `organization`, `team`, `key`, …
        kind: &'static str,
        /// What was asked for.
        id: String,
    },
    /// It would contradict what is there.
    #[error("{message}")]
    Conflict {
        /// The field at fault.
        field: &'static str,
        /// What is there, and what to do.
        message: String,
    },
    /// A field has a value that cannot be.
    #[error("{field}: {message}")]
    Invalid {
        /// The field, as a path: `limits.budgets[0].usd`.
        field: String,
        /// What is wrong with it, and what is right.
        message: String,
    },
    /// The providers' credentials cannot be encrypted or decrypted.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// No secret can be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// The database failed; nothing was changed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AccessError {
    pub(crate) fn not_found(kind: &'static str, id: impl Into<String>) -> Self {
        // The id comes from outside and may be of any length.
        Self::NotFound { kind, id: id.into().chars().take(200).collect() }
    }

    pub(crate) fn conflict(field: &'static str, message: impl Into<String>) -> Self {
        Self::Conflict { field, message: message.into() }
    }

    pub(crate) fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), message: message.into() }
    }
}
