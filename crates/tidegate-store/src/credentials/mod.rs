//! The providers' credentials, encrypted with a master key that the store does not keep.

mod master_key;
mod operations;
mod records;

pub use master_key::{MasterKey, NotAMasterKey};
pub use records::{Credential, CredentialError, CredentialSecret};

pub use crate::access::CredentialId;
