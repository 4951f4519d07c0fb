//! Texts told apart by where they lie, for grouping a batch's calls. The calls share most of their texts, so to find the
//! few that are alike takes no look at what the texts say. Equal texts may lie in two places: whoever needs one group for
//! each text merges by content afterwards.

use crate::ledger::Text;

/// Where a text lies, as long as it is borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    start: usize,
    length: usize,
}

impl Identity {
    /// Of a text that is not there.
    const NONE: Self = Self { start: 0, length: 0 };

    pub(super) fn of(text: &Text) -> Self {
        Self { start: text.as_ptr().addr(), length: text.len() }
    }

    pub(super) fn of_optional(text: Option<&Text>) -> Self {
        text.map_or(Self::NONE, Self::of)
    }
}
