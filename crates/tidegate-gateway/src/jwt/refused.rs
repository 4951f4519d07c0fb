//! Why a token is not believed, in words for its bearer.

/// A token was refused. All but [`JwtRefused::KeysUnavailable`] are the caller's (401); that one is nobody's fault here (503).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwtRefused {
    /// It is no token, or one of a kind that is not understood.
    #[error("the token cannot be read: {0}")]
    Malformed(&'static str),
    /// Nobody here knows who made it.
    #[error("the token's issuer (`iss`) is not one whose tokens are accepted here")]
    UnknownIssuer,
    /// It was made for somebody else.
    #[error(
        "the token is meant for another audience (`aud`); ask its issuer for one that is meant for this gateway"
    )]
    WrongAudience,
    /// Its time is over.
    #[error("the token has expired; get a new one from its issuer")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet (`nbf`); are the clocks right?")]
    NotYetValid,
    /// It is signed in a way that is not accepted.
    #[error("the token is signed with `{0}`, which is not accepted from its issuer")]
    Algorithm(String),
    /// Its issuer has no such key.
    #[error("the token is signed with a key that its issuer does not have, or no longer")]
    UnknownKey,
    /// Its signature is another one's.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// A claim is missing or not what it should be.
    #[error("the token's claim `{name}` {why}")]
    Claim {
        /// Which.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Its issuer's keys could not be fetched, so nobody can tell whether it is good.
    #[error(
        "the token cannot be verified now, since the keys of its issuer cannot be fetched; try again soon"
    )]
    KeysUnavailable,
}

impl JwtRefused {
    /// Whether the token may be good all the same, and only this gateway cannot tell.
    pub fn is_unavailable(&self) -> bool {
        *self == Self::KeysUnavailable
    }

    /// The word for metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::UnknownIssuer => "unknown_issuer",
            Self::WrongAudience => "wrong_audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Algorithm(_) => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::Claim { .. } => "claim",
            Self::KeysUnavailable => "keys_unavailable",
        }
    }
}
