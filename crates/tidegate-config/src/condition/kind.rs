//! The types that the parts of a condition have.

use std::fmt;

/// What a part of a condition is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// True or false.
    Bool,
    /// A whole number.
    Int,
    /// A number with a fraction.
    Double,
    /// A text.
    Text,
    /// Texts by name, such as headers.
    Texts,
    /// A list.
    List(Box<Kind>),
    /// What cannot be known before the call: an element of a list of different things.
    Any,
}

impl Kind {
    pub(super) fn list_of(element: Self) -> Self {
        Self::List(Box::new(element))
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Int | Self::Double | Self::Any)
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self, Self::Text | Self::Any)
    }

    pub(super) fn is_bool(&self) -> bool {
        matches!(self, Self::Bool | Self::Any)
    }

    /// Whether `==` between the two can ever be true.
    pub(super) fn can_equal(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Texts, _) | (_, Self::Texts) => false,
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::List(one), Self::List(other)) => one.can_equal(other),
            _ => self == other || (self.is_number() && other.is_number()),
        }
    }

    /// Whether `<` between the two is defined.
    pub(super) fn can_compare(&self, other: &Self) -> bool {
        (self.is_number() && other.is_number()) || (self.is_text() && other.is_text())
    }

    /// What something is that is either of the two.
    pub(super) fn or(self, other: &Self) -> Self {
        match (self, other) {
            (Self::List(one), Self::List(other)) => Self::list_of(one.or(other)),
            (one, other) if one == *other => one,
            _ => Self::Any,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Bool => "true or false",
            Self::Int => "a whole number",
            Self::Double => "a number",
            Self::Text => "a text",
            Self::Texts => "several texts",
            Self::List(_) => "a list",
            Self::Any => "something",
        })
    }
}
