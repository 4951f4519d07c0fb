//! The identity providers whose tokens are accepted. Read by the gateway's verification of tokens.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// An identity provider whose tokens are accepted in place of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JwtIssuer {
    /// The `iss` of its tokens, letter by letter.
    pub issuer: String,
    /// One of these must be among a token's `aud`. Never empty.
    pub audience: Vec<String>,
    /// Where its public keys are; to be found in its OpenID discovery document where not set.
    pub jwks_url: Option<String>,
    /// The ways of signing that are accepted. Never empty, never a shared secret.
    pub algorithms: Vec<JwtAlgorithm>,
    /// Which claims say who is calling.
    pub claims: JwtClaimNames,
    /// The organisation its callers belong to, by name or id; the default one where not set.
    pub organization: Option<String>,
    /// How far the clocks may be apart.
    pub leeway: Duration,
}

/// The names of claims. A name that is no claim itself leads into nested claims by its dots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JwtClaimNames {
    /// The team, by name or id.
    pub team: String,
    /// The end user.
    pub user: String,
    /// The models that may be called; no token restricts them where not set, and every token must where it is.
    pub models: Option<String>,
    /// Whether a token must name a team.
    pub is_team_required: bool,
    /// Whether a token must name an end user.
    pub is_user_required: bool,
}

impl Default for JwtClaimNames {
    fn default() -> Self {
        Self {
            team: "team".to_owned(),
            user: "sub".to_owned(),
            models: None,
            is_team_required: false,
            is_user_required: false,
        }
    }
}

/// A way of signing tokens with a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum JwtAlgorithm {
    /// RSA PKCS#1 v1.5 with SHA-256.
    RS256,
    /// RSA PKCS#1 v1.5 with SHA-384.
    RS384,
    /// RSA PKCS#1 v1.5 with SHA-512.
    RS512,
    /// RSA PSS with SHA-256.
    PS256,
    /// RSA PSS with SHA-384.
    PS384,
    /// RSA PSS with SHA-512.
    PS512,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// Ed25519.
    EdDSA,
}

impl JwtAlgorithm {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    /// Its name in a token's `alg`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }
}

impl fmt::Display for JwtAlgorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
