//! The secret of a key: 256 random bits behind `tg-`, with a checksum that lets garbage be refused without looking
//! anything up. Kept only as its hash.

use std::fmt;
use std::sync::OnceLock;

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

const PREFIX: &str = "tg-";
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^43 is just over 2^256.
const RANDOM_CHARACTERS: usize = 43;
/// 62^6 is just over 2^32.
const CHECK_CHARACTERS: usize = 6;
const LENGTH: usize = PREFIX.len() + RANDOM_CHARACTERS + CHECK_CHARACTERS;

/// A key's secret, on its way to the one who asked for it. Not printable by accident; [`KeySecret::expose`] shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySecret(Zeroizing<String>);

/// The SHA-256 of a key's secret. The secret has 256 random bits, so that no slow hash is needed to protect it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash(pub [u8; 32]);

/// The system has no randomness to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gave no random bytes for a key; try again, and see that /dev/urandom works")]
pub struct NoRandomness;

impl KeySecret {
    /// A new one.
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        SystemRandom::new().fill(bytes.as_mut()).map_err(|_unspecified| NoRandomness)?;
        Ok(Self::from_bytes(&bytes))
    }

    fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(LENGTH));
        text.push_str(PREFIX);
        // Division by 62, digit by digit, of the number that the bytes spell.
        let mut number = Zeroizing::new(*bytes);
        for _ in 0..RANDOM_CHARACTERS {
            let mut remainder = 0_u32;
            for byte in number.iter_mut() {
                let value = remainder << 8 | u32::from(*byte);
                *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
                remainder = value % 62;
            }
            text.push(digit(remainder));
        }
        let check = checksum(text.as_bytes());
        text.extend(check);
        Self(text)
    }

    /// The secret of this text, if its form and its checksum are right.
    pub fn parse(text: &str) -> Option<Self> {
        is_well_formed(text).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Its hash.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }

    /// Enough of it to recognise it.
    pub fn hint(&self) -> String {
        let text = &self.0;
        let first = text.get(..PREFIX.len() + 4).unwrap_or_default();
        let last = text.get(text.len().saturating_sub(4)..).unwrap_or_default();
        format!("{first}…{last}")
    }
}

impl fmt::Debug for KeySecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("tg-***")
    }
}

impl KeyHash {
    /// The hash of a text that is a well-formed secret; `None` for everything else, without hashing it.
    pub fn of_secret(text: &str) -> Option<Self> {
        is_well_formed(text).then(|| Self::of(text))
    }

    fn of(text: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        Self(hash)
    }
}

/// A hash is not a secret, but nobody needs to read it.
impl fmt::Debug for KeyHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "KeyHash({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

/// Whether a text has the form of a key of Tidegate's, checksum included.
fn is_well_formed(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == LENGTH
        && text.starts_with(PREFIX)
        && bytes.iter().skip(PREFIX.len()).all(u8::is_ascii_alphanumeric)
        && text
            .split_at_checked(LENGTH - CHECK_CHARACTERS)
            .is_some_and(|(body, check)| checksum(body.as_bytes()).eq(check.chars()))
}

fn checksum(bytes: &[u8]) -> impl Iterator<Item = char> + use<> {
    let mut rest = crc32fast::hash(bytes);
    (0..CHECK_CHARACTERS).map(move |_| {
        let character = digit(rest % 62);
        rest /= 62;
        character
    })
}

fn digit(value: u32) -> char {
    static DIGITS: OnceLock<[char; 62]> = OnceLock::new();
    let digits = DIGITS.get_or_init(|| ALPHABET.map(char::from));
    usize::try_from(value).ok().and_then(|place| digits.get(place)).copied().unwrap_or('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_form_and_every_mistyped_character_is_noticed() {
        let secret = KeySecret::generate().unwrap();
        let text = secret.expose();
        assert_eq!(KeySecret::parse(text).unwrap().hash(), secret.hash());
        for place in 0..text.len() {
            let mut wrong = text.as_bytes().to_vec();
            wrong[place] = if wrong[place] == b'a' { b'b' } else { b'a' };
            assert_eq!(KeyHash::of_secret(std::str::from_utf8(&wrong).unwrap()), None, "{place}");
        }
        assert_eq!(KeyHash::of_secret(&text[1..]), None);
        assert_eq!(KeyHash::of_secret(""), None);
        assert_ne!(KeySecret::generate().unwrap().expose(), text);
        assert!(!format!("{secret:?} {}", secret.hint()).contains(&text[8..40]));
    }

    #[test]
    fn all_bits_are_in_the_text() {
        assert_eq!(KeySecret::from_bytes(&[0; 32]).expose().get(3..46), Some("0".repeat(43).as_str()));
        let highest = KeySecret::from_bytes(&[0xff; 32]);
        let mut lowest = [0xff; 32];
        lowest[0] = 0x7f;
        assert_ne!(highest.expose().get(3..46), KeySecret::from_bytes(&lowest).expose().get(3..46));
    }
}
