//! Verifies the signed tokens (JWT) that callers show in place of a key. Called by `admit` for what is no key of Tidegate's.
//!
//! | module | for |
//! |---|---|
//! | `token` | a token taken apart, before anything in it is believed |
//! | `claims` | whom it was made for and until when, and what it says of the caller |
//! | `keys` | the public keys of an issuer, as they come |
//! | `source` | fetching them: when, how often, who waits |
//! | `fetch` | asking the issuer |
//! | `cache` | what was found good before, since a signature costs a tenth of a millisecond |

mod cache;
mod claims;
mod fetch;
mod keys;
mod refused;
mod source;
mod token;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tidegate_config::JwtIssuer;

use cache::{Cache, Verified};
use source::KeySource;
use token::Token;

pub use claims::JwtClaims;
pub use refused::JwtRefused;
pub use source::JwtTiming;

/// Verifies tokens of the configured issuers. One for the process, shared by all workers; a reload makes a new one.
#[derive(Debug)]
pub struct JwtVerifier {
    issuers: Vec<Issuer>,
    cache: Cache,
}

#[derive(Debug)]
struct Issuer {
    settings: JwtIssuer,
    keys: Arc<KeySource>,
}

impl JwtVerifier {
    /// A verifier for these issuers. Nothing is fetched before the first token comes.
    pub fn new(issuers: &[JwtIssuer]) -> Self {
        Self::with_timing(issuers, JwtTiming::default())
    }

    /// A verifier that fetches keys more or less often than usual.
    pub fn with_timing(issuers: &[JwtIssuer], timing: JwtTiming) -> Self {
        let issuers = issuers.iter().map(|settings| Issuer {
            settings: settings.clone(),
            keys: Arc::new(KeySource::new(settings, timing)),
        });
        Self { issuers: issuers.collect(), cache: Cache::default() }
    }

    /// Whether there is any issuer whose tokens could be good.
    pub fn has_issuers(&self) -> bool {
        !self.issuers.is_empty()
    }

    /// Whether this text has the form of a token, and not that of a key.
    pub fn looks_like_token(text: &str) -> bool {
        // The header is a JSON object in base64, and `{"` is `eyJ` there.
        text.starts_with("eyJ") && text.bytes().filter(|byte| *byte == b'.').count() == 2
    }

    /// What a token says of its bearer, if it can be believed. Waits only where an issuer's keys have to be fetched first.
    pub async fn verify(&self, token: &str) -> Result<Arc<JwtClaims>, JwtRefused> {
        self.verify_at(token, unix_now()).await
    }

    async fn verify_at(&self, text: &str, now: i64) -> Result<Arc<JwtClaims>, JwtRefused> {
        let fingerprint = cache::fingerprint(text);
        if let Some(known) = self.cache.get(&fingerprint)
            && let Some(issuer) = self.issuers.get(known.issuer)
            && issuer.keys.generation() == known.generation
            && now < known.claims.expires_at
        {
            issuer.keys.refresh_if_old();
            return Ok(known.claims);
        }
        let token = Token::parse(text)?;
        let (place, issuer) = self.issuer_of(&token)?;
        let algorithm = token.algorithm(&issuer.settings.algorithms)?;
        // Before the signature, as it is cheaper, and says of most bad tokens what is wrong with them: they are old.
        let claims = claims::check(&token, &issuer.settings, now)?;
        let set = issuer.keys.keys_for(token.key_id(), algorithm, &issuer.settings.issuer).await?;
        if !set.verifies(&token, algorithm) {
            return Err(JwtRefused::BadSignature);
        }
        let claims = Arc::new(claims);
        let verified = Verified { issuer: place, generation: set.generation, claims: Arc::clone(&claims) };
        self.cache.put(fingerprint, verified);
        Ok(claims)
    }

    fn issuer_of(&self, token: &Token<'_>) -> Result<(usize, &Issuer), JwtRefused> {
        let named = token.text_claim("iss").ok_or(JwtRefused::UnknownIssuer)?;
        self.issuers
            .iter()
            .enumerate()
            .find(|(_, issuer)| issuer.settings.issuer == named)
            .ok_or(JwtRefused::UnknownIssuer)
    }
}

/// Seconds since 1970, as tokens count. A clock before that is taken for 1970, where no token is valid yet.
fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
