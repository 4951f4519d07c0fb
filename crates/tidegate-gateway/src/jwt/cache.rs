//! Tokens that were found good, by their hash. A signature costs as much as all else of a call together, and callers show the same
//! token again and again.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use super::claims::JwtClaims;

/// Tokens in each of the two halves: what 10,000 callers show in a few minutes, in about 5 MB.
const HALF: usize = 5_000;

/// SHA-256 of a token. The token itself is not kept: it is as good as a password.
pub(super) type Fingerprint = [u8; 32];

/// A token that was found good.
#[derive(Debug, Clone)]
pub(super) struct Verified {
    /// Its issuer's place in the list.
    pub(super) issuer: usize,
    /// Of the keys it was verified by. When they change, it is verified again, as its key may have been withdrawn.
    pub(super) generation: u64,
    pub(super) claims: Arc<JwtClaims>,
}

/// Two halves: when the young one is full it becomes the old one, and the old one is forgotten. What is in use moves over.
#[derive(Debug, Default)]
pub(super) struct Cache {
    halves: Mutex<Halves>,
}

#[derive(Debug, Default)]
struct Halves {
    young: HashMap<Fingerprint, Verified>,
    old: HashMap<Fingerprint, Verified>,
}

pub(super) fn fingerprint(token: &str) -> Fingerprint {
    let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
    let mut fingerprint = Fingerprint::default();
    fingerprint.copy_from_slice(digest.as_ref());
    fingerprint
}

impl Cache {
    pub(super) fn get(&self, fingerprint: &Fingerprint) -> Option<Verified> {
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(verified) = halves.young.get(fingerprint) {
            return Some(verified.clone());
        }
        let verified = halves.old.remove(fingerprint)?;
        halves.put(*fingerprint, verified.clone());
        Some(verified)
    }

    pub(super) fn put(&self, fingerprint: Fingerprint, verified: Verified) {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner).put(fingerprint, verified);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let halves = self.halves.lock().unwrap();
        halves.young.len() + halves.old.len()
    }
}

impl Halves {
    fn put(&mut self, fingerprint: Fingerprint, verified: Verified) {
        if self.young.len() >= HALF && !self.young.contains_key(&fingerprint) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(fingerprint, verified);
    }
}
