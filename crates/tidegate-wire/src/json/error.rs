//! Why a text is not JSON, and where. Shown to callers whose request body is refused, and kept for the ledger when a
//! provider's answer is.

use std::fmt;

/// A text that is not JSON, or passes a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column} (byte {offset}): {problem}")]
pub struct JsonError {
    /// Bytes before the place.
    pub offset: usize,
    /// The line, counted from 1.
    pub line: usize,
    /// The character within the line, counted from 1.
    pub column: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// Something else should stand there.
    Unexpected {
        /// What should stand there, in words.
        expected: &'static str,
        /// What does, or nothing at the end of the text.
        found: Option<char>,
    },
    /// The bytes are not UTF-8.
    NotUtf8,
    /// More arrays and objects within each other than the limit.
    TooDeep {
        /// How many are allowed.
        limit: usize,
    },
    /// More top-level members than the limit.
    TooManyMembers {
        /// How many are allowed.
        limit: usize,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unexpected { expected, found: Some(found) } => {
                write!(formatter, "expected {expected}, found {found:?}")
            }
            Self::Unexpected { expected, found: None } => {
                write!(formatter, "expected {expected}, but the text ends here")
            }
            Self::NotUtf8 => formatter.write_str("the bytes are not UTF-8; send the body as UTF-8"),
            Self::TooDeep { limit } => {
                write!(
                    formatter,
                    "more than {limit} arrays and objects lie within each other; send a flatter body"
                )
            }
            Self::TooManyMembers { limit } => {
                write!(formatter, "the object has more than {limit} members; send fewer")
            }
        }
    }
}

impl JsonError {
    /// Works out line and column, which costs a pass over what comes before: only failures pay for it.
    #[cold]
    pub(super) fn at(text: &[u8], offset: usize, problem: Problem) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = memchr::memrchr(b'\n', before).map_or(0, |line_end| line_end + 1);
        let is_character_start = |byte: &&u8| **byte & 0b1100_0000 != 0b1000_0000;
        Self {
            offset,
            line: memchr::memchr_iter(b'\n', before).count() + 1,
            column: before.iter().skip(line_start).filter(is_character_start).count() + 1,
            problem,
        }
    }

    #[cold]
    pub(super) fn unexpected(text: &[u8], offset: usize, expected: &'static str) -> Self {
        // Long enough for one character of UTF-8.
        let found = text.get(offset..).map(|rest| &rest[..rest.len().min(4)]).unwrap_or_default();
        let found = String::from_utf8_lossy(found).chars().next();
        Self::at(text, offset, Problem::Unexpected { expected, found })
    }
}
