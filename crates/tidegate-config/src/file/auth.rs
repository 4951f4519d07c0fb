//! The part of the file that says whose tokens are believed: `auth`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use crate::read::Located;
use crate::units::DurationText;

/// Who callers are, besides the keys that Tidegate gives out.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct AuthSection {
    /// Identity providers whose signed tokens (JWT) are accepted in place of a key.
    pub(crate) jwt: Option<Vec<Located<JwtSection>>>,
}

/// An identity provider whose tokens are accepted.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct JwtSection {
    /// The `iss` of its tokens, letter by letter.
    pub(crate) issuer: Located<String>,
    /// The `aud` that tokens for Tidegate carry, one or several. Tokens for somebody else are refused.
    pub(crate) audience: Located<OneOrList>,
    /// Where its public keys are. Looked up in its OpenID discovery document, when left out.
    pub(crate) jwks_url: Option<Located<String>>,
    /// The ways of signing that are accepted. All of them, when left out; shared secrets (`HS256`) never are.
    #[schemars(with = "Option<Vec<AlgorithmKind>>")]
    pub(crate) algorithms: Option<Located<Vec<Located<String>>>>,
    /// Which claims say who is calling. A name with dots leads into nested claims: `realm_access.team`. A token without a claim
    /// that is named here is refused: otherwise whoever has none would be free of all that depends on it.
    pub(crate) claims: Option<ClaimsSection>,
    /// The organisation that its callers belong to, by name or id. The default one, when left out.
    pub(crate) organization: Option<Located<String>>,
    /// How far the clocks may be apart when a token's times are checked.
    #[schemars(extend("default" = "1m"))]
    pub(crate) leeway: Option<Located<DurationText>>,
}

/// The names of claims.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ClaimsSection {
    /// The claim that holds the team, by name or id.
    #[schemars(extend("default" = "team"))]
    pub(crate) team: Option<Located<String>>,
    /// The claim that holds the end user.
    #[schemars(extend("default" = "sub"))]
    pub(crate) user: Option<Located<String>>,
    /// The claim that lists the models that may be called: a list, or names with spaces in between; an empty one allows none. All
    /// that the team may call, when left out.
    pub(crate) models: Option<Located<String>>,
}

/// Ways of signing, for the schema.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
enum AlgorithmKind {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

/// One text, or a list of them.
#[derive(Debug)]
pub(crate) struct OneOrList(pub(crate) Vec<String>);

impl<'de> Deserialize<'de> for OneOrList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrListVisitor;

        impl<'de> Visitor<'de> for OneOrListVisitor {
            type Value = OneOrList;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a text or a list of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<OneOrList, E> {
                Ok(OneOrList(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<OneOrList, A::Error> {
                let mut list = Vec::new();
                while let Some(text) = access.next_element()? {
                    list.push(text);
                }
                Ok(OneOrList(list))
            }
        }

        deserializer.deserialize_any(OneOrListVisitor)
    }
}

impl JsonSchema for OneOrList {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "OneOrList".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "array"], "items": {"type": "string"}})
    }
}
