//! What to say, free of any dialect and drawn from the request alone: the same request gets the same answer, and models
//! and dialects say the same words to the same user text, so that a call can go on at another target in mid-answer.
//!
//! [`words`] text in tokens; [`schema`] JSON that fits a schema; [`tools`] whether and how tools are called;
//! [`usage`] the counts; [`compose`] puts them together; [`steps`] an answer as the steps of a stream; [`signature`]
//! what thinking is signed with.

mod compose;
mod schema;
pub(crate) mod signature;
mod steps;
mod tools;
mod usage;
mod words;

pub(crate) use compose::compose;
pub(crate) use steps::{Step, steps};
pub(crate) use usage::{Tokens, count_input};

/// One answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) choices: Vec<Choice>,
    pub(crate) usage: Tokens,
}

#[derive(Debug, Clone)]
pub(crate) struct Choice {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) finish: Finish,
}

/// A part of an answer; its text is in tokens, each of which is one event of a stream.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    /// Hidden thinking is counted and never shown; its signature may still be.
    Thinking {
        words: Vec<String>,
        signature: String,
        hidden: bool,
    },
    Redacted {
        data: String,
    },
    Text {
        words: Vec<String>,
        cited: bool,
    },
    Refusal {
        words: Vec<String>,
    },
    Call {
        id: String,
        name: String,
        arguments: Vec<String>,
        signature: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finish {
    Stop,
    StopSequence(String),
    Length,
    Calls,
    ContentFilter,
    Refusal,
}

impl Piece {
    /// Its tokens.
    pub(crate) fn words(&self) -> &[String] {
        match self {
            Self::Thinking { words, .. } | Self::Text { words, .. } | Self::Refusal { words } => words,
            Self::Call { arguments, .. } => arguments,
            Self::Redacted { .. } => &[],
        }
    }

    /// Its tokens in one.
    pub(crate) fn text(&self) -> String {
        self.words().concat()
    }
}
