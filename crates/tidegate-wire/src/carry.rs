//! What a caller brings back without knowing it.
//!
//! Providers sign their reasoning (Anthropic's thinking signatures and redacted blocks, Gemini's thought signatures) and
//! refuse or degrade the next turn when the signature is missing. A caller who speaks another dialect has no field for
//! it, so it travels in fields that every client echoes:
//!
//! - where the caller's dialect has a signature field of its own, a foreign signature is put there *wrapped*;
//! - in the `id` of a tool call, behind the provider's own id, travels what belongs to that call.
//!
//! Everything wrapped begins with [`MARKER`], so that one search over the request's bytes ([`is_carrying`]) tells whether
//! a body may pass through to a provider of the caller's own dialect as it is, or has to be unpacked first.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};

use crate::Dialect;

/// What every wrapped text begins with: base64 of `tidegate1`, which has no character that the two alphabets of base64
/// spell differently and ends on a whole group.
pub const MARKER: &str = "dGlkZWdhdGUx";
const PLAIN_MARKER: &[u8] = b"tidegate1";

/// Stands between a provider's own tool call id and what is carried behind it. Allowed in ids by all three dialects
/// (Anthropic's pattern is `[a-zA-Z0-9_-]+`).
const ID_SEPARATOR: &str = "--";

/// The most bytes carried in one tool call id. Ids are echoed in every later request of the conversation, and a client
/// may log them; reasoning beyond this is carried only in the fields made for it.
pub const MAX_CARRIED_IN_ID: usize = 24 * 1024;

/// Standard alphabet out; in, the URL-safe one is turned into it first, with or without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);
const URL_SAFE: GeneralPurpose = base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A provider's proof of its own reasoning, with the dialect whose providers understand it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Whose it is.
    #[serde(rename = "o")]
    pub origin: Dialect,
    /// The text as it stood on that dialect's wire.
    #[serde(rename = "d")]
    pub data: String,
}

impl Signature {
    /// A signature as it stood on the wire of its origin.
    pub fn new(origin: Dialect, data: impl Into<String>) -> Self {
        Self { origin, data: data.into() }
    }

    /// The text for a signature field of `host`'s wire: as it is at home, wrapped abroad. Wrapped text is standard
    /// base64, because Gemini's SDKs decode and encode the field.
    pub fn to_field(&self, host: Dialect) -> String {
        if self.origin == host { self.data.clone() } else { wrap(self, &LENIENT) }
    }

    /// Reads a signature field of `host`'s wire.
    pub fn from_field(field: &str, host: Dialect) -> Self {
        unwrap(field).unwrap_or_else(|| Self::new(host, field))
    }
}

/// Reasoning that belongs to a tool call and has no field of its own in the caller's dialect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Carried {
    /// The call's own thought signature.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
    /// The reasoning that came before the call.
    #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
    pub reasoning: Vec<CarriedReasoning>,
}

/// One block of reasoning, carried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedReasoning {
    /// Its text; `None` for a redacted block.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Its signature, or the redacted block's data.
    #[serde(rename = "s")]
    pub signature: Signature,
}

impl Carried {
    /// Whether there is nothing to carry.
    pub fn is_empty(&self) -> bool {
        self.signature.is_none() && self.reasoning.is_empty()
    }
}

/// The id that the caller sees: the provider's own, with what is carried behind it. Where that would exceed
/// [`MAX_CARRIED_IN_ID`], the reasoning is left out, and then the signature.
pub fn attach_to_id(id: &str, carried: &Carried) -> String {
    let without_reasoning = Carried { signature: carried.signature.clone(), reasoning: Vec::new() };
    [carried, &without_reasoning]
        .into_iter()
        .filter(|carried| !carried.is_empty())
        .map(|carried| wrap(carried, &URL_SAFE))
        .find(|wrapped| wrapped.len() <= MAX_CARRIED_IN_ID)
        .map_or_else(|| id.to_owned(), |wrapped| format!("{id}{ID_SEPARATOR}{wrapped}"))
}

/// Takes an id that the caller brought apart: the provider's own id, and what was carried.
pub fn detach_from_id(id: &str) -> (&str, Carried) {
    let Some((own, wrapped)) = id
        .rfind(MARKER)
        .map(|at| id.split_at(at))
        .and_then(|(own, wrapped)| own.strip_suffix(ID_SEPARATOR).map(|own| (own, wrapped)))
    else {
        return (id, Carried::default());
    };
    match unwrap(wrapped) {
        Some(carried) => (own, carried),
        None => (id, Carried::default()),
    }
}

/// Whether a body holds anything wrapped and therefore must not pass through unread.
pub fn is_carrying(body: &[u8]) -> bool {
    memchr::memmem::find(body, MARKER.as_bytes()).is_some()
}

/// An id for a tool call that came without one; the same call at the same place gets the same id again.
pub fn made_up_id(turn: usize, part: usize, name: &str) -> String {
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect();
    format!("call_{turn}_{part}_{name}")
}

fn wrap(value: &impl Serialize, alphabet: &GeneralPurpose) -> String {
    let mut plain = PLAIN_MARKER.to_vec();
    // Writing plain structs into a Vec cannot fail; if it did, an unreadable wrap is ignored on its way back.
    if serde_json::to_writer(&mut plain, value).is_err() {
        plain.truncate(PLAIN_MARKER.len());
    }
    alphabet.encode(plain)
}

fn unwrap<T: serde::de::DeserializeOwned>(wrapped: &str) -> Option<T> {
    if !wrapped.starts_with(MARKER) {
        return None;
    }
    let standard: String = wrapped
        .chars()
        .map(|c| match c {
            '-' => '+',
            '_' => '/',
            other => other,
        })
        .collect();
    let plain = LENIENT.decode(standard).ok()?;
    serde_json::from_slice(plain.strip_prefix(PLAIN_MARKER)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_signature_survives_both_alphabets_of_base64() {
        let signature = Signature::new(Dialect::AnthropicMessages, "EqQB+/?>é==");
        let field = signature.to_field(Dialect::Gemini);
        assert!(is_carrying(field.as_bytes()));
        assert_eq!(Signature::from_field(&field, Dialect::Gemini), signature);
        let url_safe = field.replace('+', "-").replace('/', "_");
        assert_eq!(Signature::from_field(url_safe.trim_end_matches('='), Dialect::Gemini), signature);
    }

    #[test]
    fn a_signature_at_home_stays_as_it_is() {
        let signature = Signature::new(Dialect::Gemini, "abc");
        assert_eq!(signature.to_field(Dialect::Gemini), "abc");
        assert_eq!(Signature::from_field("abc", Dialect::Gemini), signature);
    }

    #[test]
    fn an_id_gives_back_what_it_carries_and_stays_within_anthropics_pattern() {
        let carried = Carried {
            signature: Some(Signature::new(Dialect::Gemini, "sig+/=")),
            reasoning: vec![CarriedReasoning {
                text: Some("ünïcode \"quotes\"".into()),
                signature: Signature::new(Dialect::AnthropicMessages, "x"),
            }],
        };
        let id = attach_to_id("toolu_01-a--b", &carried);
        assert!(id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-'), "{id}");
        assert_eq!(detach_from_id(&id), ("toolu_01-a--b", carried));
    }

    #[test]
    fn what_is_too_long_for_an_id_is_left_out_in_steps() {
        let long = "x".repeat(MAX_CARRIED_IN_ID);
        let carried = Carried {
            signature: Some(Signature::new(Dialect::Gemini, "short")),
            reasoning: vec![CarriedReasoning {
                text: Some(long.clone()),
                signature: Signature::new(Dialect::Gemini, "y"),
            }],
        };
        let id = attach_to_id("a", &carried);
        assert_eq!(detach_from_id(&id).1, Carried { reasoning: vec![], ..carried });
        let too_long = Carried { signature: Some(Signature::new(Dialect::Gemini, long)), reasoning: vec![] };
        assert_eq!(attach_to_id("a", &too_long), "a");
    }

    #[test]
    fn ids_that_only_look_wrapped_are_left_alone() {
        for id in ["", "call_1", "--", &format!("a--{MARKER}"), &format!("a--{MARKER}!!"), MARKER] {
            assert_eq!(detach_from_id(id), (id, Carried::default()));
        }
    }
}
