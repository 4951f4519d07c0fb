//! Writes the chunks of a stream.

use serde_json::{Value, json};

use super::reply::{annotation, envelope, finish, log_probability, usage};
use crate::answer::{Piece, Step};
use crate::dialects::{Rendering, event};

pub(crate) fn events(rendering: &Rendering, step: Step) -> Vec<u8> {
    let answer = &rendering.answer;
    match step {
        Step::Open => {
            let mut out = Vec::new();
            for index in 0..answer.choices.len() {
                let delta = json!({"role": "assistant", "content": "", "refusal": null});
                out.extend(chunk(rendering, index, &delta, None, None));
            }
            out
        }
        Step::PieceOpen { choice, piece } => match step.piece(answer) {
            Some(Piece::Call { id, name, .. }) => {
                let index = call_index(rendering, choice, piece);
                let call = json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}});
                chunk(rendering, choice, &json!({"tool_calls": [call]}), None, None)
            }
            _ => Vec::new(),
        },
        Step::Word { choice, piece, .. } => word(rendering, step, choice, piece),
        Step::PieceClose { choice, .. } => match step.piece(answer) {
            Some(Piece::Text { words, cited: true }) => {
                let delta = json!({"annotations": [annotation(&words.concat())]});
                chunk(rendering, choice, &delta, None, None)
            }
            _ => Vec::new(),
        },
        Step::ChoiceEnd { choice } => {
            let reason = answer.choices.get(choice).map(|choice| finish(&choice.finish));
            chunk(rendering, choice, &json!({}), reason, None)
        }
        Step::Usage if rendering.asked.stream_usage && !rendering.behaviour.no_usage => {
            let mut last = envelope(rendering, "chat.completion.chunk");
            last.insert("choices".to_owned(), json!([]));
            last.insert("usage".to_owned(), usage(&answer.usage));
            event(None, &Value::Object(last))
        }
        Step::Usage => Vec::new(),
        Step::End => b"data: [DONE]\n\n".to_vec(),
    }
}

fn word(rendering: &Rendering, step: Step, choice: usize, piece: usize) -> Vec<u8> {
    let Some((content, word)) = step.word(&rendering.answer) else { return Vec::new() };
    match content {
        Piece::Text { .. } => {
            let probability = rendering.asked.logprobs.map(|_| log_probability(word, rendering));
            chunk(rendering, choice, &json!({"content": word}), None, probability)
        }
        Piece::Refusal { .. } => chunk(rendering, choice, &json!({"refusal": word}), None, None),
        Piece::Call { .. } => {
            let index = call_index(rendering, choice, piece);
            let call = json!({"index": index, "function": {"arguments": word}});
            chunk(rendering, choice, &json!({"tool_calls": [call]}), None, None)
        }
        Piece::Thinking { hidden: false, .. } if rendering.behaviour.reasoning_content => {
            chunk(rendering, choice, &json!({"reasoning_content": word}), None, None)
        }
        Piece::Thinking { .. } | Piece::Redacted { .. } => Vec::new(),
    }
}

fn chunk(
    rendering: &Rendering,
    choice: usize,
    delta: &Value,
    reason: Option<&str>,
    probability: Option<Value>,
) -> Vec<u8> {
    let mut chunk = envelope(rendering, "chat.completion.chunk");
    let logprobs = probability.map(|one| json!({"content": [one], "refusal": null}));
    let choice = json!({"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": reason});
    chunk.insert("choices".to_owned(), json!([choice]));
    if rendering.asked.stream_usage {
        chunk.insert("usage".to_owned(), Value::Null);
    }
    event(None, &Value::Object(chunk))
}

/// Calls are numbered apart from the other pieces.
fn call_index(rendering: &Rendering, choice: usize, piece: usize) -> usize {
    let pieces =
        rendering.answer.choices.get(choice).map(|choice| choice.pieces.as_slice()).unwrap_or_default();
    pieces.iter().take(piece).filter(|piece| matches!(piece, Piece::Call { .. })).count()
}
