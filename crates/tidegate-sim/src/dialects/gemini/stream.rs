//! Writes the chunks of a stream: server-sent events with `alt=sse`, else the elements of one JSON array.

use serde_json::{Map, Value};

use super::reply::{candidate, close, part, response, signature_before};
use crate::answer::{Piece, Step};
use crate::dialects::{Rendering, event};

pub(crate) fn events(rendering: &Rendering, step: Step, written: u64) -> Vec<u8> {
    let answer = &rendering.answer;
    let choice_of = |index: usize| answer.choices.get(index);
    match step {
        Step::Open | Step::Usage => Vec::new(),
        // A call comes whole, however many tokens it has.
        Step::PieceClose { choice, .. } => match step.piece(answer) {
            Some(call @ Piece::Call { .. }) => {
                chunk(rendering, written, candidate(choice, part(call, "", None).as_slice()))
            }
            _ => Vec::new(),
        },
        Step::Word { choice, piece, word } => {
            let Some((content, said)) = step.word(answer) else { return Vec::new() };
            if matches!(content, Piece::Call { .. }) {
                return Vec::new();
            }
            let signature = if word == 0 {
                choice_of(choice).and_then(|choice| signature_before(choice, piece))
            } else {
                None
            };
            match part(content, said, signature) {
                Some(part) => chunk(rendering, written, candidate(choice, &[part])),
                None => Vec::new(),
            }
        }
        Step::PieceOpen { .. } => Vec::new(),
        Step::ChoiceEnd { choice: index } => {
            let Some(choice) = choice_of(index) else { return Vec::new() };
            let mut last = candidate(index, &[serde_json::json!({"text": ""})]);
            close(&mut last, rendering, choice);
            chunk(rendering, written, last)
        }
        Step::End => {
            if rendering.sse {
                Vec::new()
            } else if answer.choices.is_empty() {
                b"[]".to_vec()
            } else {
                b"\n]".to_vec()
            }
        }
    }
}

fn chunk(rendering: &Rendering, written: u64, candidate: Map<String, Value>) -> Vec<u8> {
    let response = response(rendering, vec![Value::Object(candidate)], written);
    if rendering.sse {
        return event(None, &response);
    }
    // The first element's bracket is put in front by the body, which knows what is first.
    format!(",\r\n{response}").into_bytes()
}

/// What the first element has in front of it.
pub(crate) fn opened(bytes: &[u8]) -> Vec<u8> {
    let rest = bytes.strip_prefix(b",\r\n").unwrap_or(bytes);
    [b"[", rest].concat()
}
