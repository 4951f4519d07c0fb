//! What can be wrong with catalog data. Shipped data is tested, so users only meet these with data of their own.

use crate::money::RateError;

/// Why catalog data could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The provider table is not the TOML that is expected.
    #[error("the provider table cannot be read; the field names and the closed lists stand at its top")]
    Providers(#[from] Box<toml::de::Error>),
    /// Two providers answer to one name.
    #[error("the name {name} belongs to two providers, {first} and {second}; take it from one of them")]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        first: String,
        /// Who wants it too.
        second: String,
    },
    /// A line of the model table is wrong.
    #[error("line {line} of the model table cannot be read")]
    Model {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: LineError,
    },
}

/// What is wrong with a line of the model table.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// A model before any `[provider]`.
    #[error("a model needs a [provider] line above it")]
    NoProvider,
    /// A section for a provider that the provider table does not have.
    #[error("no provider has the id {0}; add it to the provider table first")]
    UnknownProvider(String),
    /// The provider's section comes twice.
    #[error("the provider {0} has a section already; put its models there")]
    SectionTwice(String),
    /// The model comes twice.
    #[error("the model {0} is listed already; remove one of the two lines")]
    ModelTwice(String),
    /// No mode, or one that does not exist.
    #[error("after the name comes the mode, such as chat or embedding")]
    NoMode,
    /// A word that means nothing here.
    #[error("{0} is not known; lay_out.py describes the format")]
    UnknownWord(String),
    /// A count that is not one.
    #[error("{0} needs a whole number")]
    NotACount(String),
    /// A price that is not one.
    #[error("{word} has no price")]
    NotAPrice {
        /// Where.
        word: String,
        /// Why not.
        #[source]
        source: RateError,
    },
}
