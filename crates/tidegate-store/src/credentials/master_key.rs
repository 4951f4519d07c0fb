//! The master key: encrypts what the store keeps of the providers' credentials, and seals the audit log. It is never
//! kept in the store itself.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{hkdf, hmac};
use zeroize::Zeroizing;

use super::{CredentialError, CredentialId, CredentialSecret};
use crate::access::NoRandomness;

/// What it takes to be a key of AES-256.
const BYTES: usize = 32;

/// 256 bits from the environment or a file, expanded into one key for each purpose. Cheap to clone.
#[derive(Clone)]
pub struct MasterKey(Arc<Keys>);

struct Keys {
    encryption: LessSafeKey,
    sealing: hmac::Key,
    fingerprint: String,
}

/// A text that is no master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the master key is not 32 bytes in base64 or hexadecimal; make one with `openssl rand -base64 32`")]
pub struct NotAMasterKey;

impl MasterKey {
    /// Reads 32 bytes in base64 (of either alphabet) or hexadecimal.
    pub fn parse(text: &str) -> Result<Self, NotAMasterKey> {
        let text = text.trim();
        let bytes = Zeroizing::new(
            match text.len() {
                64 => from_hexadecimal(text),
                _ => [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD]
                    .iter()
                    .find_map(|engine| engine.decode(text).ok()),
            }
            .ok_or(NotAMasterKey)?,
        );
        Self::from_bytes(&bytes).ok_or(NotAMasterKey)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != BYTES {
            return None;
        }
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"tidegate master key").extract(bytes);
        let expand = |purpose: &[u8]| {
            let mut key = Zeroizing::new([0_u8; BYTES]);
            root.expand(&[purpose], hkdf::HKDF_SHA256).and_then(|okm| okm.fill(key.as_mut())).ok()?;
            Some(key)
        };
        let encryption = UnboundKey::new(&AES_256_GCM, expand(b"credentials")?.as_ref()).ok()?;
        let sealing = hmac::Key::new(hmac::HMAC_SHA256, expand(b"audit seal")?.as_ref());
        let fingerprint = hexadecimal(expand(b"fingerprint")?.get(..8)?);
        Some(Self(Arc::new(Keys { encryption: LessSafeKey::new(encryption), sealing, fingerprint })))
    }

    /// Tells master keys apart without saying anything about them.
    pub fn fingerprint(&self) -> &str {
        &self.0.fingerprint
    }

    /// Encrypts a provider's credential. What comes out opens only for the same provider and id.
    pub(crate) fn encrypt(
        &self,
        provider: &str,
        id: &CredentialId,
        secret: &CredentialSecret,
    ) -> Result<Vec<u8>, CredentialError> {
        let mut nonce = [0; NONCE_LEN];
        // Random nonces of 96 bits are safe for billions of messages under one key.
        SystemRandom::new().fill(&mut nonce).map_err(|_unspecified| NoRandomness)?;
        let mut text = secret.expose().as_bytes().to_vec();
        let tag = self
            .0
            .encryption
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                belongs_to(provider, id),
                &mut text,
            )
            .map_err(|_unspecified| CredentialError::TooLong)?;
        let mut sealed = Vec::with_capacity(NONCE_LEN + text.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&text);
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// The secret again; `None` where the key is another, or the bytes or whom they belong to were changed.
    pub(crate) fn decrypt(
        &self,
        provider: &str,
        id: &CredentialId,
        sealed: &[u8],
    ) -> Option<CredentialSecret> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = Zeroizing::new(text.to_vec());
        let opened =
            self.0.encryption.open_in_place(nonce, belongs_to(provider, id), text.as_mut_slice()).ok()?;
        std::str::from_utf8(opened).ok().map(CredentialSecret::new)
    }

    /// Seals bytes: only who has the key can make this for other bytes.
    pub(crate) fn seal(&self, bytes: &[u8]) -> Vec<u8> {
        hmac::sign(&self.0.sealing, bytes).as_ref().to_vec()
    }

    /// Whether this is the seal of these bytes.
    pub(crate) fn is_seal_of(&self, bytes: &[u8], seal: &[u8]) -> bool {
        hmac::verify(&self.0.sealing, bytes, seal).is_ok()
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "MasterKey({})", self.fingerprint())
    }
}

/// A credential that is moved to another row, or under another provider's name (and so to another host), does not open.
fn belongs_to(provider: &str, id: &CredentialId) -> Aad<Vec<u8>> {
    Aad::from(format!("tidegate credential\0{provider}\0{id}").into_bytes())
}

fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digits = b"0123456789abcdef".map(char::from);
    let digit = |value: u8| digits.get(usize::from(value)).copied().unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> MasterKey {
        MasterKey::parse(&STANDARD.encode([byte; 32])).unwrap()
    }

    #[test]
    fn a_master_key_is_read_from_base64_and_hexadecimal_and_nothing_else() {
        let fingerprint = key(0xfb).fingerprint().to_owned();
        for text in [
            "fb".repeat(32),
            "FB".repeat(32),
            format!(" {}\n", STANDARD.encode([0xfb; 32])),
            URL_SAFE_NO_PAD.encode([0xfb; 32]),
        ] {
            assert_eq!(MasterKey::parse(&text).unwrap().fingerprint(), fingerprint, "{text}");
        }
        for wrong in ["", "secret", &"zz".repeat(32), &STANDARD.encode([1; 31]), &STANDARD.encode([1; 33])] {
            assert_eq!(MasterKey::parse(wrong).unwrap_err(), NotAMasterKey, "{wrong}");
        }
    }

    #[test]
    fn a_credential_opens_only_with_its_key_for_its_provider_and_id() {
        let (right, id) = (key(1), CredentialId::new());
        let secret = CredentialSecret::new("sk-live-1234567890");
        let sealed = right.encrypt("openai", &id, &secret).unwrap();
        assert_eq!(right.decrypt("openai", &id, &sealed).unwrap().expose(), secret.expose());
        assert!(key(2).decrypt("openai", &id, &sealed).is_none());
        assert!(right.decrypt("elsewhere", &id, &sealed).is_none());
        assert!(right.decrypt("openai", &CredentialId::new(), &sealed).is_none());
        for place in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[place] ^= 1;
            assert!(right.decrypt("openai", &id, &altered).is_none(), "{place}");
            assert!(right.decrypt("openai", &id, &sealed[..place]).is_none(), "{place}");
        }
        assert_ne!(right.encrypt("openai", &id, &secret).unwrap(), sealed, "every nonce is new");
    }
}
