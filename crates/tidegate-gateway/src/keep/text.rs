//! A body as text. JSON and event streams of JSON are read as far as needed to see strings as they were meant: what is `\n` there is a line
//! break, not a letter in front of an address. Whatever is not JSON is searched as it stands.

use std::borrow::Cow;

use super::rules::Rules;

/// How often a string that was cut within an escape is cut back to before one: two make up a character at most.
const MOST_CUT_ESCAPES: usize = 3;

/// What the name of a rule is put between.
const BRACKETS: (&str, &str) = ("[", "]");

/// A piece of a body.
struct Piece<'t> {
    text: &'t str,
    /// Whether it stood between quotes, and if so whether the second one was there.
    quoted: Option<bool>,
}

/// The text with all that the rules find replaced, as far as it begins within the first `limit` bytes. What stands behind is only looked at.
pub(super) fn redact(text: &str, limit: usize, rules: &Rules) -> String {
    // A number of JSON becomes a text of JSON.
    let start = text.trim_start();
    let is_json = ["{", "[", "data:", "event:"].iter().any(|sign| start.starts_with(sign));
    let outside = if is_json { ("\"[", "]\"") } else { BRACKETS };
    let mut output = String::with_capacity(text.len().min(limit));
    let mut rest = text;
    let mut position = 0;
    while let Some((piece, behind)) = next_piece(rest) {
        let Some(room) = limit.checked_sub(position).filter(|room| *room > 0) else { break };
        match piece.quoted {
            None => output.push_str(&rules.replace(piece.text, room, outside)),
            Some(is_whole) => {
                let room = room.saturating_sub(1);
                output.push('"');
                output.push_str(&redact_string(piece.text, is_whole, room, rules));
                if is_whole && piece.text.len() < room {
                    output.push('"');
                }
            }
        }
        position += rest.len() - behind.len();
        rest = behind;
    }
    output
}

/// Cuts a text to this many bytes, at a character's end.
pub(super) fn cut(text: &mut String, max: usize) {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}

/// What stands before the next quote, or, at a quote, all to the closing one.
fn next_piece(text: &str) -> Option<(Piece<'_>, &str)> {
    if text.is_empty() {
        return None;
    }
    let Some(inside) = text.strip_prefix('"') else {
        let (text, behind) = text.split_at(text.find('"').unwrap_or(text.len()));
        return Some((Piece { text, quoted: None }, behind));
    };
    let mut is_escaped = false;
    for (place, byte) in inside.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => {
                let (text, behind) = inside.split_at(place);
                let behind = behind.get(1..).unwrap_or_default();
                return Some((Piece { text, quoted: Some(true) }, behind));
            }
            _ => {}
        }
    }
    Some((Piece { text: inside, quoted: Some(false) }, ""))
}

/// The content of a string, without its quotes.
fn redact_string<'t>(content: &'t str, is_whole: bool, room: usize, rules: &Rules) -> Cow<'t, str> {
    if !content.contains('\\') {
        return rules.replace(content, room, BRACKETS);
    }
    let meant = if is_whole { unescape(content) } else { unescape_cut(content) };
    let Some(meant) = meant else { return rules.replace(content, room, BRACKETS) };
    // As far as the room reaches, counted in what was meant.
    let room = match content.get(..floor(content, room)) {
        Some(within) if room < content.len() => unescape_cut(within).map_or(0, |meant| meant.len()),
        _ => meant.len(),
    };
    let redacted = rules.replace(&meant, room, BRACKETS);
    if redacted == meant {
        // As it was written, escapes and all.
        return Cow::Borrowed(content);
    }
    Cow::Owned(escape(&redacted))
}

fn floor(text: &str, mut place: usize) -> usize {
    place = place.min(text.len());
    while !text.is_char_boundary(place) {
        place -= 1;
    }
    place
}

fn unescape(content: &str) -> Option<String> {
    serde_json::from_str(&format!("\"{content}\"")).ok()
}

/// Of a string that was cut off, perhaps within an escape.
fn unescape_cut(mut content: &str) -> Option<String> {
    for _ in 0..MOST_CUT_ESCAPES {
        if let Some(meant) = unescape(content) {
            return Some(meant);
        }
        content = content.get(..content.rfind('\\')?)?;
    }
    None
}

fn escape(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned()
}
