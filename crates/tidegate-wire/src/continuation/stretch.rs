//! One stretch of what was said, compared piece by piece with what another target says. Called by `following`.

use super::said::SaidPart;
use crate::event::PartStart;

/// Text, a refusal or a call that the caller has been told of, and how much of it was said again.
#[derive(Debug)]
pub(super) struct Stretch {
    pub(super) start: PartStart,
    /// The caller's part that it ends in.
    pub(super) part: u32,
    /// Whether that part can still be added to.
    pub(super) is_open: bool,
    pub(super) is_signed: bool,
    /// What is still to be said again. Of JSON without the white space between its tokens, which every model sets as it
    /// likes.
    owed: String,
    /// Where it is JSON: whether what came so far ends within a string.
    json: Option<JsonState>,
}

/// How a call without arguments is written, by those who write it at all.
const EMPTY_ARGUMENTS: &str = "{}";

/// Said again and more: the part that is new. `None` where it departs.
pub(super) type Rest<'a> = Option<&'a str>;

impl Stretch {
    /// A stretch that begins with this part.
    pub(super) fn new(said: &SaidPart, is_json: bool) -> Self {
        let is_arguments = matches!(said.start, PartStart::ToolCall { free_text: false, .. });
        let is_json = is_arguments || (is_json && said.start == PartStart::Text);
        let mut stretch = Self {
            start: said.start.clone(),
            part: said.number,
            is_open: said.is_open,
            is_signed: said.signature.is_some(),
            owed: said.text.clone(),
            json: is_json.then(JsonState::default),
        };
        if is_arguments && !said.is_open && said.text.is_empty() {
            EMPTY_ARGUMENTS.clone_into(&mut stretch.owed);
        }
        stretch.compact();
        stretch
    }

    /// The same goes on in another part: text is told apart into parts by every provider in its own way.
    pub(super) fn join(&mut self, said: &SaidPart) {
        self.part = said.number;
        self.is_open = said.is_open;
        self.is_signed = said.signature.is_some();
        self.owed.push_str(&said.text);
        self.compact();
    }

    /// Whether it is text or a refusal, not a call.
    pub(super) fn is_words(&self) -> bool {
        !matches!(self.start, PartStart::ToolCall { .. })
    }

    /// Whether all of it was said again.
    pub(super) fn is_matched(&self) -> bool {
        self.owed.is_empty()
    }

    /// Whether what the other target begins is the same kind of thing. Not every wire tells a refusal from text.
    pub(super) fn is_like(&self, start: &PartStart) -> bool {
        match (&self.start, start) {
            (PartStart::Text | PartStart::Refusal, PartStart::Text | PartStart::Refusal) => true,
            (
                PartStart::ToolCall { name, free_text, .. },
                PartStart::ToolCall { name: other, free_text: is_other_free, .. },
            ) => name == other && free_text == is_other_free,
            _ => false,
        }
    }

    /// Takes what the other target says, as long as something is owed. Gives what goes beyond it.
    pub(super) fn take<'a>(&mut self, more: &'a str) -> Rest<'a> {
        let Some(json) = &mut self.json else {
            let common = self.owed.len().min(more.len());
            let (said, rest) = more.split_at_checked(common)?;
            self.owed.starts_with(said).then(|| self.owed.drain(..common))?;
            return Some(rest);
        };
        let mut taken = 0;
        for (at, character) in more.char_indices() {
            if taken == self.owed.len() {
                self.owed.drain(..taken);
                return more.get(at..);
            }
            if json.is_significant(character) {
                if !self.owed.get(taken..)?.starts_with(character) {
                    return None;
                }
                taken += character.len_utf8();
            }
        }
        self.owed.drain(..taken);
        Some("")
    }

    /// Whether the other target's part may end here: a call whose arguments were not said whole departs, except that some
    /// write none at all as `{}`.
    pub(super) fn may_end(&self) -> bool {
        self.is_matched() || (self.owed == EMPTY_ARGUMENTS && self.json.is_some())
    }

    /// Whether what goes beyond a stretch that cannot be added to says nothing.
    pub(super) fn is_nothing(&self, rest: &str) -> bool {
        self.json.is_some() && rest.trim().is_empty()
    }

    /// Nothing more is owed.
    pub(super) fn settle(&mut self) {
        self.owed.clear();
    }

    fn compact(&mut self) {
        if self.json.is_some() {
            let mut state = JsonState::default();
            self.owed.retain(|character| state.is_significant(character));
        }
    }
}

/// Tells white space between the tokens of JSON from white space within its strings.
#[derive(Debug, Default)]
struct JsonState {
    is_in_string: bool,
    is_escaped: bool,
}

impl JsonState {
    fn is_significant(&mut self, character: char) -> bool {
        if !self.is_in_string {
            self.is_in_string = character == '"';
            return !matches!(character, ' ' | '\t' | '\n' | '\r');
        }
        if self.is_escaped {
            self.is_escaped = false;
        } else {
            match character {
                '\\' => self.is_escaped = true,
                '"' => self.is_in_string = false,
                _ => {}
            }
        }
        true
    }
}
