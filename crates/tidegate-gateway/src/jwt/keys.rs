//! The public keys of an issuer. Made by `fetch` of what the issuer publishes, used by `verify`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use tidegate_config::JwtAlgorithm;

use super::token::Token;

/// Issuers publish two or three, large ones some dozen.
const MOST_KEYS: usize = 100;
/// How many keys a token without a key id is tried against: each costs a tenth of a millisecond.
const MOST_TRIED: usize = 4;
/// Shorter ones have been broken.
const LEAST_RSA_BYTES: usize = 2048 / 8;
/// Longer ones take long, which is the caller's choice and our loss.
const MOST_RSA_BYTES: usize = 4096 / 8;

/// A set of keys, as it was published.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    keys: Vec<Key>,
}

struct Key {
    id: Option<String>,
    decoding: DecodingKey,
    /// What its kind, and the issuer's own word, allow.
    algorithms: Vec<JwtAlgorithm>,
}

/// The keys that a token may be signed with.
#[derive(Debug)]
pub(super) struct Candidates {
    /// Of the set they are from.
    pub(super) generation: u64,
    pub(super) keys: Vec<DecodingKey>,
}

#[derive(Deserialize)]
struct Published {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a JSON Web Key Set. Keys that are not for verifying, or of a kind that is not known, are left out.
    pub(super) fn parse(body: &[u8]) -> Result<Self, &'static str> {
        let published: Published =
            serde_json::from_slice(body).map_err(|_error| "what came is no JSON with a list of `keys`")?;
        let keys: Vec<Key> = published.keys.into_iter().take(MOST_KEYS).filter_map(Key::read).collect();
        if keys.is_empty() {
            return Err("there is no key among them that can verify a signature");
        }
        Ok(Self { keys })
    }

    /// The keys for this id and way of signing; all of that kind where the token names none.
    pub(super) fn candidates(&self, id: Option<&str>, algorithm: JwtAlgorithm) -> Vec<DecodingKey> {
        let fitting = self.keys.iter().filter(|key| {
            key.algorithms.contains(&algorithm) && id.is_none_or(|id| key.id.as_deref() == Some(id))
        });
        fitting.take(MOST_TRIED).map(|key| key.decoding.clone()).collect()
    }
}

impl Candidates {
    pub(super) fn verifies(&self, token: &Token<'_>, algorithm: JwtAlgorithm) -> bool {
        let algorithm = library_name(algorithm);
        self.keys.iter().any(|key| {
            // An error means a signature of the wrong form, which is a wrong signature.
            jsonwebtoken::crypto::verify(token.signature, token.message, key, algorithm).unwrap_or(false)
        })
    }
}

impl Key {
    fn read(value: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let common = &jwk.common;
        let is_for_signatures = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature))
            && common
                .key_operations
                .as_ref()
                .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        let mut algorithms = possible_algorithms(&jwk.algorithm)?;
        if let Some(only) = common.key_algorithm {
            algorithms.retain(|algorithm| only.to_string() == algorithm.as_str());
        }
        if !is_for_signatures || algorithms.is_empty() {
            return None;
        }
        let decoding = DecodingKey::from_jwk(&jwk).ok()?;
        Some(Self { id: jwk.common.key_id, decoding, algorithms })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Key({:?}, {:?})", self.id, self.algorithms)
    }
}

/// What a key of this kind can verify. None for shared secrets: whoever published one has told the world.
fn possible_algorithms(kind: &AlgorithmParameters) -> Option<Vec<JwtAlgorithm>> {
    use JwtAlgorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    match kind {
        AlgorithmParameters::RSA(key) => {
            let modulus = URL_SAFE_NO_PAD.decode(&key.n).ok()?;
            let length = modulus.iter().skip_while(|byte| **byte == 0).count();
            (LEAST_RSA_BYTES..=MOST_RSA_BYTES)
                .contains(&length)
                .then(|| vec![RS256, RS384, RS512, PS256, PS384, PS512])
        }
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => Some(vec![ES256]),
            EllipticCurve::P384 => Some(vec![ES384]),
            _ => None,
        },
        AlgorithmParameters::OctetKeyPair(key) => (key.curve == EllipticCurve::Ed25519).then(|| vec![EdDSA]),
        _ => None,
    }
}

fn library_name(algorithm: JwtAlgorithm) -> Algorithm {
    match algorithm {
        JwtAlgorithm::RS256 => Algorithm::RS256,
        JwtAlgorithm::RS384 => Algorithm::RS384,
        JwtAlgorithm::RS512 => Algorithm::RS512,
        JwtAlgorithm::PS256 => Algorithm::PS256,
        JwtAlgorithm::PS384 => Algorithm::PS384,
        JwtAlgorithm::PS512 => Algorithm::PS512,
        JwtAlgorithm::ES256 => Algorithm::ES256,
        JwtAlgorithm::ES384 => Algorithm::ES384,
        JwtAlgorithm::EdDSA => Algorithm::EdDSA,
    }
}
