//! Writes the events of a stream.

use serde_json::{Value, json};

use super::reply::{citation, ending, envelope, usage};
use crate::answer::{Piece, Step};
use crate::dialects::{Rendering, event};

pub(crate) fn events(rendering: &Rendering, step: Step) -> Vec<u8> {
    let answer = &rendering.answer;
    match step {
        Step::Open => {
            let mut message = envelope(rendering);
            message.insert("content".to_owned(), json!([]));
            message.insert("stop_reason".to_owned(), Value::Null);
            message.insert("stop_sequence".to_owned(), Value::Null);
            message.insert("usage".to_owned(), usage(&answer.usage, answer.usage.output.min(1)));
            let mut out = of("message_start", json!({"message": message}));
            out.extend(of("ping", json!({})));
            out
        }
        Step::PieceOpen { piece: index, .. } => {
            let Some(piece) = step.piece(answer) else { return Vec::new() };
            of("content_block_start", json!({"index": index, "content_block": opening(piece)}))
        }
        Step::Word { piece: index, .. } => {
            let Some((piece, word)) = step.word(answer) else { return Vec::new() };
            let delta = match piece {
                Piece::Thinking { hidden: true, .. } | Piece::Redacted { .. } => return Vec::new(),
                Piece::Thinking { .. } => json!({"type": "thinking_delta", "thinking": word}),
                Piece::Text { .. } | Piece::Refusal { .. } => json!({"type": "text_delta", "text": word}),
                Piece::Call { .. } => json!({"type": "input_json_delta", "partial_json": word}),
            };
            of("content_block_delta", json!({"index": index, "delta": delta}))
        }
        Step::PieceClose { piece: index, .. } => {
            let last = match step.piece(answer) {
                Some(Piece::Thinking { signature, .. }) => {
                    Some(json!({"type": "signature_delta", "signature": signature}))
                }
                Some(Piece::Text { cited: true, .. }) => {
                    Some(json!({"type": "citations_delta", "citation": citation()}))
                }
                _ => None,
            };
            let mut out = last
                .map(|delta| of("content_block_delta", json!({"index": index, "delta": delta})))
                .unwrap_or_default();
            out.extend(of("content_block_stop", json!({"index": index})));
            out
        }
        Step::ChoiceEnd { choice } => {
            let delta = answer.choices.get(choice).map(|choice| ending(&choice.finish)).unwrap_or_default();
            let mut fields = json!({"delta": delta});
            if rendering.behaviour.no_usage {
                fields["usage"] = json!({"output_tokens": 0});
            } else {
                fields["usage"] = usage(&answer.usage, answer.usage.output);
            }
            of("message_delta", fields)
        }
        Step::Usage => Vec::new(),
        Step::End => of("message_stop", json!({})),
    }
}

fn opening(piece: &Piece) -> Value {
    match piece {
        Piece::Thinking { .. } => json!({"type": "thinking", "thinking": "", "signature": ""}),
        Piece::Redacted { data } => json!({"type": "redacted_thinking", "data": data}),
        Piece::Text { cited: true, .. } => json!({"type": "text", "text": "", "citations": []}),
        Piece::Text { .. } | Piece::Refusal { .. } => json!({"type": "text", "text": ""}),
        Piece::Call { id, name, .. } => json!({"type": "tool_use", "id": id, "name": name, "input": {}}),
    }
}

fn of(name: &str, mut fields: Value) -> Vec<u8> {
    let mut data = json!({"type": name});
    if let (Some(data), Some(fields)) = (data.as_object_mut(), fields.as_object_mut()) {
        data.append(fields);
    }
    event(Some(name), &data)
}
