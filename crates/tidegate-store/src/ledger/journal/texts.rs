//! Texts and words on their way into the journal and out of it: cut, numbered, and on the way out shared by the calls that
//! say the same. Used by the layouts, [`record`](super::record) and [`group`](super::group).

use std::hash::BuildHasher as _;
use std::sync::Arc;

use rustc_hash::{FxBuildHasher, FxHashSet};

use crate::ledger::{MAX_TEXT_BYTES, Text};

pub(super) fn index<T: PartialEq>(all: &[T], value: &T) -> Option<u8> {
    all.iter().position(|known| known == value).and_then(|index| u8::try_from(index).ok())
}

pub(super) fn optional(value: Option<&Text>) -> Option<&str> {
    value.map(|value| cut(value))
}

/// The string, cut at the limit.
pub(super) fn cut(whole: &str) -> &str {
    let mut end = whole.len().min(MAX_TEXT_BYTES);
    while !whole.is_char_boundary(end) {
        end -= 1;
    }
    whole.get(..end).unwrap_or_default()
}

/// Texts that were read lately: the calls of a batch say mostly the same, and need not each have a copy of their own. Who
/// groups calls relies on that: a text that many calls of a batch share lies in one place.
#[derive(Debug, Default)]
pub(in crate::ledger) struct KnownTexts {
    /// Words, names of models and what else there is little of.
    common: FxHashSet<Arc<str>>,
    /// Who called: perhaps very many, who must not push out the others.
    callers: Vec<Option<Arc<str>>>,
}

impl KnownTexts {
    /// More are not remembered, and begin anew. Model names come from callers, who may make them up.
    const MOST_COMMON: usize = 1_024;
    /// Those who call at the same time, one in each place.
    const CALLERS: usize = 256;

    pub(super) fn text(&mut self, value: &str) -> Text {
        if let Some(known) = self.common.get(value) {
            return Text::Shared(Arc::clone(known));
        }
        if self.common.len() >= Self::MOST_COMMON {
            self.common.clear();
        }
        let new: Arc<str> = value.into();
        self.common.insert(Arc::clone(&new));
        Text::Shared(new)
    }

    pub(super) fn optional(&mut self, value: Option<&str>) -> Option<Text> {
        value.map(|value| self.text(value))
    }

    pub(super) fn caller(&mut self, value: Option<&str>) -> Option<Text> {
        let value = value?;
        self.callers.resize(Self::CALLERS, None);
        let place = usize::try_from(FxBuildHasher.hash_one(value)).unwrap_or(0) % Self::CALLERS;
        let known = self.callers.get_mut(place)?;
        match known {
            Some(known) if **known == *value => Some(Text::Shared(Arc::clone(known))),
            _ => Some(Text::Shared(Arc::clone(known.insert(value.into())))),
        }
    }
}
