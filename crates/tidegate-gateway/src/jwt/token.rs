//! A token taken apart. Nothing in it is believed yet: called by `verify` before the signature is checked.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};
use tidegate_config::JwtAlgorithm;

use super::refused::JwtRefused;

/// Tokens travel in a header, and servers take heads of 16 KiB or less.
const LONGEST_TOKEN: usize = 16 * 1024;
/// Key ids are names or hashes.
const LONGEST_KEY_ID: usize = 500;
/// What is shown of an algorithm's name.
const LONGEST_SHOWN: usize = 20;

/// A token in its parts.
#[derive(Debug)]
pub(super) struct Token<'t> {
    header: Header,
    claims: Map<String, Value>,
    /// What was signed: header and claims as they came.
    pub(super) message: &'t [u8],
    /// The signature, in base64.
    pub(super) signature: &'t str,
}

#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood; none is.
    crit: Option<Value>,
    /// A payload that is not in base64, or compressed, would be read as something else than was signed.
    b64: Option<Value>,
    zip: Option<Value>,
}

impl<'t> Token<'t> {
    pub(super) fn parse(text: &'t str) -> Result<Self, JwtRefused> {
        if text.len() > LONGEST_TOKEN {
            return Err(JwtRefused::Malformed("it is longer than 16 KiB"));
        }
        let parts = || JwtRefused::Malformed("it does not have three parts with a dot in between");
        let (signed, signature) = text.rsplit_once('.').ok_or_else(parts)?;
        let (header, claims) = signed.split_once('.').ok_or_else(parts)?;
        if claims.contains('.') {
            return Err(parts());
        }
        let header: Header = decode(header, "its header is no JSON object in base64url, or has no `alg`")?;
        if header.crit.is_some() || header.b64.is_some() || header.zip.is_some() {
            return Err(JwtRefused::Malformed("its header asks for an extension that is not known here"));
        }
        if header.kid.as_ref().is_some_and(|key_id| key_id.len() > LONGEST_KEY_ID) {
            return Err(JwtRefused::Malformed("its `kid` is too long"));
        }
        let claims = decode(claims, "its claims are no JSON object in base64url")?;
        Ok(Self { header, claims, message: signed.as_bytes(), signature })
    }

    /// The way it says it was signed, if that is one of the accepted ones. Anything else, `none` and shared secrets among it, has no
    /// name here, so that a public key can never be taken for a secret.
    pub(super) fn algorithm(&self, accepted: &[JwtAlgorithm]) -> Result<JwtAlgorithm, JwtRefused> {
        let named = self.header.alg.as_str();
        accepted.iter().copied().find(|known| known.as_str() == named).ok_or_else(|| {
            JwtRefused::Algorithm(
                named.chars().filter(|letter| !letter.is_control()).take(LONGEST_SHOWN).collect(),
            )
        })
    }

    pub(super) fn key_id(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    pub(super) fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    pub(super) fn text_claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }
}

fn decode<T: for<'de> Deserialize<'de>>(part: &str, wrong: &'static str) -> Result<T, JwtRefused> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_not_base64| JwtRefused::Malformed(wrong))?;
    serde_json::from_slice(&bytes).map_err(|_not_json| JwtRefused::Malformed(wrong))
}
