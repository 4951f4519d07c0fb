//! Puts an answer together.

use std::fmt::Write as _;

use serde_json::Value;
use tidegate_wire::Dialect;

use super::{Answer, Choice, Finish, Piece, count_input, schema, signature, tools, words};
use crate::asked::{Asked, Media, Output, Part, Role};
use crate::digest::digest;
use crate::options::MOST_TOKENS;
use crate::scenario::{Behaviour, Fault};

/// How long a thought is, in tokens.
const THOUGHT: usize = 12;
/// After so many tokens a filter or a refusal sets in.
const FILTERED_AFTER: usize = 5;

/// The answer to a request. `tokens` is the length of an ordinary one.
pub(crate) fn compose(asked: &Asked, behaviour: &Behaviour, dialect: Dialect, tokens: u32) -> Answer {
    let tokens = usize::try_from(behaviour.tokens.unwrap_or(tokens).min(MOST_TOKENS)).unwrap_or(0);
    let seed = seed(asked, behaviour);
    let choices: Vec<Choice> = (0..asked.choices.max(1))
        .map(|index| choice(asked, behaviour, dialect, tokens, seed.wrapping_add(index)))
        .collect();
    let mut usage = count_input(asked, behaviour.cached);
    for piece in choices.iter().flat_map(|choice| &choice.pieces) {
        let count = u64::try_from(piece.words().len()).unwrap_or(u64::MAX);
        usage.output += count;
        if matches!(piece, Piece::Thinking { .. }) {
            usage.reasoning += count;
        }
    }
    Answer { choices, usage }
}

/// Drawn from what the users said alone: every model of every dialect has the same words for it, so that an answer that
/// broke off can go on elsewhere.
fn seed(asked: &Asked, behaviour: &Behaviour) -> u64 {
    let mut text = String::new();
    for turn in asked.turns.iter().filter(|turn| turn.role == Role::User) {
        for part in &turn.parts {
            if let Part::Text { text: said } = part {
                text.push_str(said);
                text.push('\n');
            }
        }
    }
    if behaviour.differently {
        text.push_str("differently");
    }
    digest(text.as_bytes())
}

fn choice(asked: &Asked, behaviour: &Behaviour, dialect: Dialect, tokens: usize, seed: u64) -> Choice {
    if matches!(behaviour.fault, Some(Fault::EmptyAnswer)) {
        return Choice { pieces: Vec::new(), finish: Finish::Stop };
    }
    let mut pieces = thinking(asked, behaviour, seed);
    if behaviour.refusal {
        let words = words::tokens("I cannot help with that request.");
        let piece = if dialect == Dialect::OpenAiChat {
            Piece::Refusal { words }
        } else {
            Piece::Text { words, cited: false }
        };
        pieces.push(piece);
        return Choice { pieces, finish: Finish::Refusal };
    }
    if behaviour.describe {
        // Whole, whatever limit or stop sequence the request asks for: it is these that one wants to read of.
        let words = words::tokens(&description(asked));
        pieces.push(Piece::Text { words, cited: false });
        return Choice { pieces, finish: Finish::Stop };
    }
    if !behaviour.echo {
        let calls = tools::calls(asked, behaviour, dialect, seed);
        if !calls.is_empty() {
            pieces.extend(calls);
            return bounded(pieces, Finish::Calls, asked);
        }
    }
    let text = without_prefill(text(asked, behaviour, tokens, seed), asked);
    let (text, finish) = until_stop(text, &asked.stop);
    let mut words = words::tokens(&text);
    let finish = if behaviour.content_filter {
        words.truncate(FILTERED_AFTER);
        Finish::ContentFilter
    } else {
        finish
    };
    pieces.push(Piece::Text { words, cited: behaviour.citations || asked.citations });
    bounded(pieces, finish, asked)
}

fn thinking(asked: &Asked, behaviour: &Behaviour, seed: u64) -> Vec<Piece> {
    const MAGIC: &str = "ANTHROPIC_MAGIC_STRING_TRIGGER_REDACTED_THINKING";
    let visible = asked.reasoning.as_ref().is_some_and(|reasoning| reasoning.visible);
    if asked.reasoning.is_none() && !behaviour.thinking {
        return Vec::new();
    }
    let words = words::sentence(seed ^ 0x0074_6869_6e6b, THOUGHT);
    let signature = signature::of_text(&words.concat());
    let mut pieces = Vec::new();
    if behaviour.redacted || asked.last_user_text().contains(MAGIC) {
        pieces.push(Piece::Redacted { data: signature::redacted(seed) });
    }
    // A thought that nobody asked for is seen where the model's name asks for it.
    let shown = visible || behaviour.reasoning_content || behaviour.thinking && asked.reasoning.is_none();
    pieces.push(Piece::Thinking { words, signature, hidden: !shown });
    pieces
}

fn text(asked: &Asked, behaviour: &Behaviour, tokens: usize, seed: u64) -> String {
    if behaviour.echo {
        return asked.last_user_text();
    }
    let results = asked.pending_results();
    match &asked.output {
        Output::Schema(wanted) => return schema::value_for(wanted, seed, None).to_string(),
        Output::Json => return Value::Object(schema_free(asked, seed)).to_string(),
        Output::Text => {}
    }
    if !results.is_empty() {
        return quoted(&results);
    }
    let received: Vec<&Media> = asked.media().collect();
    if !received.is_empty() {
        return inventory(&received);
    }
    words::sentence(seed, tokens).concat()
}

fn description(asked: &Asked) -> String {
    // A request is JSON by now, so this cannot fail; an empty text would be seen at once.
    serde_json::to_string(asked).unwrap_or_default()
}

fn schema_free(asked: &Asked, seed: u64) -> serde_json::Map<String, Value> {
    let mut fields = serde_json::Map::new();
    fields.insert("answer".to_owned(), Value::String(words::sentence(seed, 4).concat()));
    fields.insert("asked".to_owned(), Value::String(asked.last_user_text()));
    fields
}

fn quoted(results: &[&Part]) -> String {
    let mut text = String::new();
    for result in results {
        if let Part::Result { name, text: said, is_error, media, .. } = result {
            let verb = if *is_error { "failed with" } else { "said" };
            // Writing to a string cannot fail.
            let _ = write!(text, "{}The tool {name} {verb}: {said}", if text.is_empty() { "" } else { " " });
            for media in media {
                let _ = write!(text, " [{}]", of_media(media));
            }
            text.push('.');
        }
    }
    text
}

fn inventory(received: &[&Media]) -> String {
    let all: Vec<String> = received.iter().map(|media| of_media(media)).collect();
    format!("I received {}.", all.join(" and "))
}

fn of_media(media: &Media) -> String {
    let what = match (&media.bytes, &media.checksum, &media.url) {
        (Some(bytes), Some(checksum), _) => format!("{bytes} bytes with checksum {checksum}"),
        (_, _, Some(url)) => format!("at {url}"),
        _ => "by reference".to_owned(),
    };
    format!("{} {} {what}", media.kind, media.media_type)
}

/// Where the request ends with the beginning of this very answer, only the rest is said.
fn without_prefill(text: String, asked: &Asked) -> String {
    let Some(last) = asked.turns.last().filter(|turn| turn.role == Role::Assistant) else { return text };
    let said: String = last
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Text { text } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    text.strip_prefix(said.as_str()).map(str::to_owned).unwrap_or(text)
}

fn until_stop(text: String, stop: &[String]) -> (String, Finish) {
    let first = stop
        .iter()
        .filter(|sequence| !sequence.is_empty())
        .filter_map(|sequence| text.find(sequence.as_str()).map(|at| (at, sequence)))
        .min_by_key(|(at, _)| *at);
    match first {
        Some((at, sequence)) => {
            (text.get(..at).unwrap_or_default().to_owned(), Finish::StopSequence(sequence.clone()))
        }
        None => (text, Finish::Stop),
    }
}

/// Keeps `max_tokens`. A call that does not fit is left out whole.
fn bounded(pieces: Vec<Piece>, finish: Finish, asked: &Asked) -> Choice {
    let Some(most) = asked.max_tokens else { return Choice { pieces, finish } };
    let mut room = usize::try_from(most).unwrap_or(usize::MAX);
    let mut kept = Vec::with_capacity(pieces.len());
    let mut cut = false;
    for mut piece in pieces {
        if cut {
            break;
        }
        let fits = piece.words().len() <= room;
        cut = !fits;
        match &mut piece {
            Piece::Call { .. } if !fits => break,
            Piece::Thinking { words, signature, .. } if !fits => {
                words.truncate(room);
                *signature = signature::of_text(&words.concat());
            }
            Piece::Text { words, .. } | Piece::Refusal { words } if !fits => words.truncate(room),
            _ => {}
        }
        room = room.saturating_sub(piece.words().len());
        kept.push(piece);
    }
    Choice { pieces: kept, finish: if cut { Finish::Length } else { finish } }
}
